"""The exceptions of the PostgreSQL driver under edwh-migrate's names; substitutes when the driver is not installed."""

from migrate_graph.database.driver_errors import postgres_errors

PostgresError, PostgresUndefinedTable = postgres_errors()
