"""The driver's exceptions under edwh-migrate's names; stand-ins where it is not installed."""

from migrate_graph.database.driver_errors import postgres_errors

PostgresError, PostgresUndefinedTable = postgres_errors()
