"""What a migrations file imports: `@migration`, `SqlView`, `ViewMigrationManager`; and the collectors of what it declares."""

from migrate_graph.authoring.declare import migration
from migrate_graph.authoring.running import Running, current, progress, running
from migrate_graph.authoring.sql_view import SqlView, sql_file
from migrate_graph.authoring.store import Collector, MigrationStore, collecting, migrations
from migrate_graph.authoring.views import ViewMigrationManager, classproperty, declared_at

__all__ = [
    "Collector",
    "MigrationStore",
    "Running",
    "SqlView",
    "ViewMigrationManager",
    "classproperty",
    "collecting",
    "current",
    "declared_at",
    "migration",
    "migrations",
    "progress",
    "running",
    "sql_file",
]
