"""PostgreSQL: sessions, the lock, one attempt at a migration, and what its catalog tells."""
