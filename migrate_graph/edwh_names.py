"""The names of edwh-migrate, and which of ours answers to each."""

from __future__ import annotations

import importlib.machinery
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

PACKAGE = "edwh_migrate"
VERSION = "2.1.0"
"""The version whose behaviour this is: programs compare it."""

# Each name, and where it is: a module of ours, then after a colon its name there where that is another one.
_EXPORTED = {
    "migration": "authoring",
    "migrations": "authoring",
    "activate_migrations": "compat",
    "setup_db": "compat",
    "recover_database_from_backup": "compat",
    "InvalidConfigException": "compat",
    "UnknownConfigException": "compat",
    "Config": "compat",
    "get_config": "compat",
    "console_hook": "compat",
    "list_migrations": "compat",
    "mark_migration": "compat",
    "ViewMigrationManager": "authoring",
    "classproperty": "authoring",
}
_INSIDE = {
    "BaseEDWHMigrateException": "compat",
    "DatabaseNotYetInitialized": "compat",
    "EDWHMigrateException": "compat",
    "MIGRATION_SUFFIX_RE": "compat",
    "MigrateLockExists": "compat",
    "Migration": "core.model",
    "MigrationFailed": "compat",
    "MigrationFn": "compat",
    "MigrationStore": "authoring",
    "RequimentsNotMet": "compat",
    "MigrationOrderingMode": "compat",
    "TEN_MINUTES": "compat",
    "VALID_MIGRATION_ORDERING_MODES": "compat",
    "define_ewh_implemented_features": "compat",
    "import_migrations": "compat",
    "print_migrations_status_table": "compat",
    "schema_versioned_lock_file": "compat",
    "should_run": "compat",
    "truncate_appname": "compat",
    "try_setup_db": "compat",
}
# What its modules hold besides, and programs may have taken from there: types of annotations, and two helpers.
_BESIDES = {
    "DAL": "pydal",
    "Field": "pydal",
    "Table": "pydal.objects",
    "TypeDAL": "typedal",
    "HeapKey": "compat.kinds",
    "T_Dal": "compat.kinds",
    "print_trimmed_exception": "compat.importing",
    "temporary_import": "compat.importing",
}
_POSTGRES = {"PostgresError": "compat.drivers", "PostgresUndefinedTable": "compat.drivers"}
_CONSTANTS = {"CURRENT_MIGRATION": "authoring.running"}

MODULES: dict[str, dict[str, str]] = {
    PACKAGE: _EXPORTED,
    # There, `console_hook` is the script, and `_console_hook` the function that the package exports.
    f"{PACKAGE}.migrate": {
        **_EXPORTED,
        **_INSIDE,
        **_BESIDES,
        **_POSTGRES,
        **_CONSTANTS,
        "console_hook": "compat:console_script",
        "_console_hook": "compat:console_hook",
        "_get_config": "compat:get_config",
    },
    f"{PACKAGE}.view_migration_manager": {
        "ViewMigrationManager": "authoring",
        "classproperty": "authoring",
        "DAL": "pydal",
        **_CONSTANTS,
    },
    f"{PACKAGE}.helpers": {"classproperty": "authoring"},
    f"{PACKAGE}.constants": _CONSTANTS,
    f"{PACKAGE}.postgres": _POSTGRES,
    f"{PACKAGE}.__about__": {"__version__": "edwh_names:VERSION"},
}

FRONT_DOOR = {**_INSIDE, **_EXPORTED}
"""What `migrate_graph` itself exports of these."""


def fetch(home: str, name: str) -> Any:
    """Return the object that a name of the tables stands for.

    Args:
        home: the right side of a table.
        name: the left side.
    """
    module, _, other = home.partition(":")
    is_ours = module.partition(".")[0] not in {"pydal", "typedal"}
    return getattr(import_module(f"migrate_graph.{module}" if is_ours else module), other or name)


class _CompatibleModule(ModuleType):
    """A module of edwh-migrate: each name is looked up in its home when it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if home := MODULES[self.__name__].get(name):
            return fetch(home, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *MODULES[self.__name__]})


def edwh_migrate_modules() -> dict[str, ModuleType]:
    """Return modules that answer to edwh-migrate's names, by name, packages first; `sys.modules` is not touched."""
    modules: dict[str, ModuleType] = {}
    for name in MODULES:
        module = _CompatibleModule(name, "edwh-migrate's names, spoken by migrate_graph.")
        # With a spec, `importlib.util.find_spec` finds it; without a loader, nobody can run it again.
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=name == PACKAGE)
        module.__package__ = PACKAGE
        if name != PACKAGE:
            setattr(modules[PACKAGE], name.rpartition(".")[2], module)
        modules[name] = module
    modules[PACKAGE].__path__ = []
    modules[PACKAGE].__all__ = [*_EXPORTED]  # type: ignore[attr-defined] # as a package has it
    return modules


def install_as_edwh_migrate() -> None:
    """Make every later `import edwh_migrate` of this process mean this package, whether or not that one is installed.

    While migrations are loaded this is so anyway; this is for programs that import it elsewhere.
    """
    sys.modules.update(edwh_migrate_modules())
