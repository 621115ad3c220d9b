"""SQLite: the file and its lock, one attempt at a migration, and reading the schema."""
