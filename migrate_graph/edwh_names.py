"""The public names of edwh-migrate, and which object of this package stands behind each."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

PACKAGE = "edwh_migrate"
VERSION = "2.1.0"
"""The version of edwh-migrate whose behaviour is reproduced; programs read it as `edwh_migrate.__about__.__version__`."""

# Each name, and the module of this package that has it. A different name in that module follows after a colon.
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
# What these modules import of the standard library: `from edwh_migrate.migrate import *` gives it to a migrations file.
# `module:` means the module itself.
_STANDARD_LIBRARY = {
    "contextlib": "contextlib:",
    "datetime": "datetime:",
    "importlib": "importlib:",
    "inspect": "inspect:",
    "os": "os:",
    "pathlib": "pathlib:",
    "re": "re:",
    "sqlite3": "sqlite3:",
    "sys": "sys:",
    "time": "time:",
    "traceback": "traceback:",
    "typing": "typing:",
    "urllib": "urllib:",
    "warnings": "warnings:",
    "OrderedDict": "collections",
    "Optional": "typing",
    "Path": "pathlib",
    "dataclass": "dataclasses",
    "heappop": "heapq",
    "heappush": "heapq",
}
# Other names that the modules of edwh-migrate contain, and that programs may import from there: types for annotations, and two helpers.
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
    # In this module of edwh-migrate, `console_hook` is the script, and `_console_hook` is the function that the package exports.
    f"{PACKAGE}.migrate": {
        **_EXPORTED,
        **_INSIDE,
        **_BESIDES,
        **_POSTGRES,
        **_CONSTANTS,
        **_STANDARD_LIBRARY,
        "console_hook": "compat:console_script",
        "_console_hook": "compat:console_hook",
        "_get_config": "compat:get_config",
    },
    f"{PACKAGE}.view_migration_manager": {
        "ViewMigrationManager": "authoring",
        "classproperty": "authoring",
        "DAL": "pydal",
        **_CONSTANTS,
        **{name: _STANDARD_LIBRARY[name] for name in ("os", "warnings")},
        "abc": "abc:",
        "t": "typing:",
        "types": "types:",
    },
    f"{PACKAGE}.helpers": {"classproperty": "authoring"},
    f"{PACKAGE}.constants": _CONSTANTS,
    f"{PACKAGE}.postgres": _POSTGRES,
    f"{PACKAGE}.__about__": {"__version__": "edwh_names:VERSION"},
}

FRONT_DOOR = {**_INSIDE, **_EXPORTED}
"""The names of edwh-migrate that the package `migrate_graph` exports too."""


def fetch(home: str, name: str) -> Any:
    """Return the object for an entry of the tables above.

    Args:
        home: the right side of the entry: a module, `module:name`, or `module:` for the module itself.
        name: the left side of the entry.
    """
    module, colon, other = home.partition(":")
    if module == "typedal" and importlib.util.find_spec(module) is None:
        module, other = "pydal", "DAL"  # as in edwh-migrate, whose annotations hold without TypeDAL, too
    is_ours = module.partition(".")[0] not in {"pydal", "typedal", *sys.stdlib_module_names}
    found = import_module(f"migrate_graph.{module}" if is_ours else module)
    return found if colon and not other else getattr(found, other or name)


class _CompatibleModule(ModuleType):
    """A stand-in for a module of edwh-migrate; each name is imported from this package when it is first used."""

    def __getattr__(self, name: str) -> Any:
        if home := MODULES[self.__name__].get(name):
            return fetch(home, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *MODULES[self.__name__]})


def edwh_migrate_modules() -> dict[str, ModuleType]:
    """Return stand-ins for the modules of edwh-migrate, by module name, packages first; `sys.modules` is not changed."""
    modules: dict[str, ModuleType] = {}
    for name, names in MODULES.items():
        module = _CompatibleModule(name, "edwh-migrate's names, spoken by migrate_graph.")
        # The spec is for `importlib.util.find_spec`. It has no loader, so `importlib.reload` cannot run the module again.
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=name == PACKAGE)
        module.__package__ = PACKAGE
        # `import *` reads this list: the names themselves are made when they are asked for.
        module.__all__ = [each for each in names if not each.startswith("_")]  # type: ignore[attr-defined] # a module object may have any attribute
        if name != PACKAGE:
            setattr(modules[PACKAGE], name.rpartition(".")[2], module)
        modules[name] = module
    modules[PACKAGE].__path__ = []
    return modules


def install_as_edwh_migrate() -> None:
    """Make every later `import edwh_migrate` in this process import this package, whether or not edwh-migrate is installed.

    While migrations files are loaded, this is done automatically. Call it in programs that import edwh_migrate elsewhere.
    """
    sys.modules.update(edwh_migrate_modules())
