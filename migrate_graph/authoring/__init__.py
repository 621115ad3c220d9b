"""What a migrations file imports: `@migration`, `ViewMigrationManager`, and who listens to them."""

from migrate_graph.authoring.declare import (
    Collector,
    MigrationStore,
    ViewMigrationManager,
    classproperty,
    collecting,
    declared_at,
    migration,
    migrations,
)
from migrate_graph.authoring.running import Running, current, progress, running

__all__ = [
    "Collector",
    "MigrationStore",
    "Running",
    "ViewMigrationManager",
    "classproperty",
    "collecting",
    "current",
    "declared_at",
    "migration",
    "migrations",
    "progress",
    "running",
]
