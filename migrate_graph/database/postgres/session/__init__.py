"""Sessions on a PostgreSQL server: opened, kept clean for the next migration, waited for, and what their errors mean."""
