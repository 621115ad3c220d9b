"""SQLite: the file and its lock, one attempt at a migration, and what its catalog tells."""
