"""A graph-first migration planner: prove the graph, draw the plan, apply it safely."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrate_graph.authoring import MigrationStore as MigrationStore
    from migrate_graph.authoring import SqlView as SqlView
    from migrate_graph.authoring import ViewMigrationManager as ViewMigrationManager
    from migrate_graph.authoring import classproperty as classproperty
    from migrate_graph.authoring import migration as migration
    from migrate_graph.authoring import migrations as migrations
    from migrate_graph.authoring import progress as progress
    from migrate_graph.authoring import sql_file as sql_file
    from migrate_graph.compat import *  # noqa: F403 - shows type checkers the names that `__getattr__` imports
    from migrate_graph.core.footprint import Footprint as Footprint
    from migrate_graph.core.model import Migration as Migration
    from migrate_graph.edwh_names import install_as_edwh_migrate as install_as_edwh_migrate
    from migrate_graph.workflow.rehearse import Rehearsal as Rehearsal

__version__ = "0.2.0"

# The names that migrations files import, and their modules. A module is imported when its name is first used; the modules of `authoring`
# import neither networkx nor pyDAL nor typer. All other public names are those of edwh-migrate.
_OWN_NAMES = {
    "migration": "authoring",
    "migrations": "authoring",
    "SqlView": "authoring",
    "ViewMigrationManager": "authoring",
    "classproperty": "authoring",
    "progress": "authoring",
    "sql_file": "authoring",
    "Footprint": "core.footprint",
    "Rehearsal": "workflow.rehearse",
    "install_as_edwh_migrate": "edwh_names",
}


def __getattr__(name: str) -> Any:
    if home := _OWN_NAMES.get(name):
        return getattr(import_module(f"{__name__}.{home}"), name)
    if name == "__all__":
        return sorted({*_OWN_NAMES, *_of_edwh_migrate(), "__version__"})
    if not name.startswith("_") and (home := _of_edwh_migrate().get(name)):
        return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=import_module(__name__))


def _of_edwh_migrate() -> dict[str, str]:
    names: dict[str, str] = import_module(f"{__name__}.edwh_names").FRONT_DOOR
    return names


def __dir__() -> list[str]:
    return sorted({*globals(), *_OWN_NAMES, *_of_edwh_migrate()})
