"""A graph-first migration planner: prove the graph, draw the plan, apply it safely."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrate_graph.authoring import ViewMigrationManager as ViewMigrationManager
    from migrate_graph.authoring import classproperty as classproperty
    from migrate_graph.authoring import migration as migration
    from migrate_graph.authoring import migrations as migrations
    from migrate_graph.authoring import progress as progress
    from migrate_graph.config import Config as Config

__version__ = "0.1.0"

# Where each name lives. They are fetched when asked for: `from migrate_graph import migration` in a migrations file
# brings in neither networkx nor pyDAL nor typer.
_HOMES = {
    "migration": "authoring",
    "migrations": "authoring",
    "ViewMigrationManager": "authoring",
    "classproperty": "authoring",
    "progress": "authoring",
    "Config": "config",
    "activate_migrations": "compat",
    "console_hook": "compat",
    "define_ewh_implemented_features": "compat",
    "get_config": "compat",
    "import_migrations": "compat",
    "install_as_edwh_migrate": "compat",
    "list_migrations": "compat",
    "mark_migration": "compat",
    "print_migrations_status_table": "compat",
    "recover_database_from_backup": "compat",
    "schema_versioned_lock_file": "compat",
    "setup_db": "compat",
    "should_run": "compat",
    "DatabaseNotYetInitialized": "compat",
    "InvalidConfigException": "compat",
    "MigrateLockExists": "compat",
    "MigrationFailed": "compat",
    "RequimentsNotMet": "compat",
    "UnknownConfigException": "compat",
}

__all__ = [  # noqa: PLE0604 - made of the table, in its order
    *_HOMES,
    "__version__",
]


def __getattr__(name: str) -> object:
    if home := _HOMES.get(name):
        return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=import_module(__name__))


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
