"""The names and signatures of edwh-migrate, thin over the command line and the use cases."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from migrate_graph.authoring import MigrationStore, migrations
from migrate_graph.config import Config, load_config, share_dotenv
from migrate_graph.core.model import Migration, Registry
from migrate_graph.errors import ConfigError, ExitCode, LoadError, RestoreError

# What programs import from the inside of edwh-migrate.
__all__ = [
    "BackupNotFound",
    "BaseEDWHMigrateException",
    "Config",
    "DatabaseNotYetInitialized",
    "EDWHMigrateException",
    "FlagLocationMissing",
    "InvalidConfigException",
    "MigrateLockExists",
    "Migration",
    "MigrationFailed",
    "MigrationStore",
    "RequimentsNotMet",
    "UnknownConfigException",
    "activate_migrations",
    "console_hook",
    "define_ewh_implemented_features",
    "get_config",
    "import_migrations",
    "install_as_edwh_migrate",
    "list_migrations",
    "mark_migration",
    "print_migrations_status_table",
    "recover_database_from_backup",
    "schema_versioned_lock_file",
    "setup_db",
    "should_run",
]

TEN_MINUTES = 600


# --- exceptions --------------------------------------------------------------------------------------------------


class BaseEDWHMigrateException(BaseException):
    """The root of edwh-migrate's exceptions; not caught by `except Exception`."""


class EDWHMigrateException(BaseEDWHMigrateException, Exception):
    """Those that `except Exception` catches."""


class UnknownConfigException(BaseEDWHMigrateException):
    """Never raised, there as here."""


class InvalidConfigException(BaseEDWHMigrateException, ConfigError):
    """No database is configured; a `ConfigError` too."""


class DatabaseNotYetInitialized(BaseEDWHMigrateException):
    """The ledger table is missing; `args` are the message and the connected `DAL`."""


class RequimentsNotMet(BaseEDWHMigrateException):
    """No longer raised: a migration with an unmet requirement is blocked, and the independent ones go on."""


class MigrateLockExists(EDWHMigrateException):
    """The flag of this schema version is there; its path is the message."""


class MigrationFailed(EDWHMigrateException):
    """Raised inside `schema_versioned_lock_file` to leave no flag."""


class BackupNotFound(RestoreError, FileNotFoundError):
    """There is no backup; edwh-migrate's programs catch it as a `FileNotFoundError`."""


class FlagLocationMissing(ConfigError, NotADirectoryError):
    """There is no directory for the flags; edwh-migrate's programs catch it as a `NotADirectoryError`."""


def __getattr__(name: str) -> Any:
    """Return the driver's exceptions under edwh-migrate's names; the driver may not be installed."""
    if name not in {"PostgresError", "PostgresUndefinedTable"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    from migrate_graph.database.driver_errors import postgres_errors

    return postgres_errors()[0 if name == "PostgresError" else 1]


# --- settings ----------------------------------------------------------------------------------------------------


class _ProcessConfig:
    """The settings of this process, read once; what changes in the environment later is taken over."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._seen: dict[str, str] = {}

    def read(self) -> Config:
        if self._config is None:
            self._config = load_config(Path.cwd(), os.environ)
        else:
            # Only what is new: what the program has set itself must not be set back.
            new = {name: text for name, text in os.environ.items() if self._seen.get(name) != text}
            self._config.update_from_env(new)
        share_dotenv(Path.cwd(), os.environ)
        self._seen = dict(os.environ)
        return self._config


_process = _ProcessConfig()


def get_config() -> Config:
    """Return the settings of this process: one object, whose attributes can be set.

    `.env` is read, and also made part of the environment, as edwh-migrate does.

    Raises:
        ConfigError: naming every fault at once.
    """
    return _process.read()


# --- the default store -------------------------------------------------------------------------------------------


@dataclass
class _Imported:
    """What the default store holds from a file, as opposed to what this process declared itself.

    Attributes:
        registry: what was loaded; None when nothing was.
        path: the file.
        named: it was named by an argument, and so belongs to no settings.
    """

    registry: Registry | None = None
    path: Path | None = None
    named: bool = False

    def is_for(self, config: Config) -> bool:
        return self.named or self.path == _configured_file(config)

    def forget(self) -> None:
        loaded = self._bodies()
        migrations.migrations[:] = [each for each in migrations.migrations if each.function not in loaded]
        self.registry = self.path = None

    def own(self) -> list[Migration]:
        """Return what this process declared itself, in order of rank."""
        loaded = self._bodies()
        return [each for each in migrations.migrations if each.function not in loaded]

    def _bodies(self) -> set[Any]:
        return {each.function for each in self.registry.migrations} if self.registry else set()


_imported = _Imported()


def _configured_file(config: Config) -> Path:
    return Path(config.migrations_file).absolute()


def import_migrations(args: list[str], config: Config) -> bool:
    """Load the migrations of a file into the default store; nothing is run.

    Args:
        args: at most one: a file, or a directory with a `migrations.py`; without one the configured file.
        config: the settings.

    Returns:
        Whether there is such a file.

    Raises:
        LoadError: it does not run.
        ValueError: a name is taken, a requirement is unknown, or there is a circular dependency.
    """
    from migrate_graph.loader import load

    path = Path(args[0]).absolute() if args else _configured_file(config)
    if not path.exists():
        _say(f"no migrations found at {path}")
        return False
    registry = load(path, root=Path.cwd())
    _imported.forget()
    _imported.registry, _imported.path, _imported.named = registry, path, bool(args)
    try:
        with migrations.defer_dependency_validation():
            for declared in registry.migrations:
                migrations.add(declared)
        migrations.resolve_order(config.migration_ordering_mode)
    except ValueError:
        _imported.forget()
        raise
    return True


def list_migrations(config: Config, args: list[str] | None = None) -> OrderedDict[str, Migration]:
    """Return the migrations by name in the order in which they run: those of this process, or else of the file.

    Args:
        config: the settings.
        args: as for `import_migrations`.
    """
    if args or not (_imported.own() or (_imported.registry and _imported.is_for(config))):
        _imported.forget()
        import_migrations(args or [], config)
    return migrations.list()


def _registry(config: Config) -> Registry:
    """Return what the default store holds as a registry; what was loaded for other settings is loaded anew for these."""
    if _imported.registry and not _imported.is_for(config) and not import_migrations([], config):
        raise LoadError(
            f"no migrations found at {config.migrations_file}", hint="set migrations_file, or register migrations first"
        )
    return _with_own(_imported.registry)


def _with_own(loaded: Registry | None) -> Registry:
    """Put what this process declared itself before what was loaded."""
    from migrate_graph.loader import build_registry

    own, managers = _imported.own(), migrations.managers
    if not own and not managers:
        return loaded or Registry(root=str(Path.cwd()))
    declared = build_registry(own, managers, root=Path.cwd())
    if loaded is None:
        return declared
    together = (*declared.migrations, *loaded.migrations)
    views = (*declared.views, *loaded.views)
    return replace(
        loaded,
        migrations=tuple(replace(each, position=rank) for rank, each in enumerate(together)),
        views=tuple(replace(each, position=rank) for rank, each in enumerate(views)),
    )


# --- running -----------------------------------------------------------------------------------------------------


def activate_migrations(
    config: Config | None = None, max_time: int = TEN_MINUTES, failed_migrations: list[str] | None = None
) -> bool:
    """Run what is pending of the default store, under the lock.

    Args:
        config: the settings; None for `get_config()`.
        max_time: seconds to wait for a database that does not answer.
        failed_migrations: takes the names of those that failed.

    Returns:
        Whether there are migrations and all of them are installed.

    Raises:
        MigrateGraphError: nothing could be run, or the cache could not be flushed; see the exception.
    """
    from migrate_graph.cli.progress import PlainProgress
    from migrate_graph.core.events import Event, StepFinished
    from migrate_graph.workflow.apply import ApplyOptions, apply_project

    config = copy.copy(config or get_config())  # the copy is changed below, the caller's is not
    project = _project(config, _registry(config))
    config.connect_wait = max_time
    config.schema_version = None  # the flag is `console_hook`'s
    config.warn = (*config.warn, *_new_errors())
    with PlainProgress(_session(config).console) as progress:

        def observer(event: Event) -> None:
            if isinstance(event, StepFinished) and event.result.outcome.failed and failed_migrations is not None:
                failed_migrations.append(event.result.name)
            progress(event)

        _warn_of(project, observer)
        code = apply_project(project, ApplyOptions(), observer)
    if code > ExitCode.SIGNAL:
        signal.raise_signal(code - ExitCode.SIGNAL)  # the run is rolled back; the program's own answer to it comes now
    return code == ExitCode.OK and bool(project.registry.migrations)


def _new_errors() -> list[str]:
    """List the rules that edwh-migrate did not have: programs that ran with it must not be refused by them.

    What stays an error is what it refused as well, or recorded as installed without running it.
    """
    from migrate_graph.core.rules import RULES, Severity

    stay = {"MG101", "MG102", "MG103", "MG301"}
    return [code for code, rule in RULES.items() if rule.severity is Severity.ERROR and code not in stay]


def _warn_of(project: Any, observer: Any) -> None:
    from migrate_graph.core.events import Warned
    from migrate_graph.core.rules import Severity, check
    from migrate_graph.workflow.project import rule_settings

    for finding in check(project.graph, ordering=project.ordering, settings=rule_settings(project)):
        if finding.severity is Severity.WARNING:
            observer(Warned(f"{finding.code} {finding.message} ({finding.source})", finding.hint))


def _project(config: Config, registry: Registry) -> Any:
    from migrate_graph.core.graph import Ordering, build_graph
    from migrate_graph.workflow.project import Project

    root = Path.cwd()
    return Project(
        config=config,
        registry=registry,
        graph=build_graph(registry),
        path=_imported.path or root,
        root=root,
        name=(_imported.path.parent if _imported.path else root).name or "project",
        ordering=Ordering(config.migration_ordering_mode),
    )


def _session(config: Config) -> Any:
    """Return a session of the command line with these settings, which also runs what this process declared itself."""
    from migrate_graph.cli.console import Console
    from migrate_graph.cli.session import Session
    from migrate_graph.core.graph import build_graph

    class GivenSession(Session):
        def config(self) -> Config:
            self.guard(config)
            return config

        def project(self, path: Path | None) -> Any:
            project = super().project(path)
            registry = _with_own(project.registry)
            return replace(project, registry=registry, graph=build_graph(registry))

    session = GivenSession(Console(environ=os.environ), os.environ)
    session.guard(config)
    return session


def console_hook(args: Sequence[str], config: Config | None = None) -> int:
    """Do what `migrate` does with these arguments, and give what it would end with.

    Args:
        args: what follows the program's name.
        config: the settings; None for `get_config()`.
    """
    from migrate_graph.cli import run

    try:
        session = _session(config or get_config())
    except ConfigError as error:
        return _tell(error)
    return run(session, list(args))


def _tell(error: ConfigError) -> int:
    from migrate_graph.cli.console import Console

    Console(environ=os.environ).tell_error(error)
    return error.exit_code


def _say(text: str) -> None:
    from migrate_graph.cli.console import Console

    Console(environ=os.environ).tell(text)


def print_migrations_status_table(config: Config) -> None:
    """Show every migration with its state."""
    console_hook(["--list"], config)


# --- the database ------------------------------------------------------------------------------------------------


def define_ewh_implemented_features(db: Any, rname: str = "ewh_implemented_features", migrate: bool = True) -> Any:
    """Define the ledger table on a connection, as `db.ewh_implemented_features`."""
    from migrate_graph.database.dal import define_ledger

    return define_ledger(db, rname=rname, migrate=migrate)


def setup_db(
    migrate: bool = False,
    migrate_enabled: bool = False,
    appname: str = " ".join(sys.argv),
    long_running: bool | int = False,
    dal_class: Any = None,
    impl_feat_table_name: str | None = None,
    folder: str | None = None,
    config: Config | None = None,
    remove_migrate_tablefile: bool = False,
) -> Any:
    """Connect to the database, for an application of its own.

    Args:
        migrate: pyDAL may alter tables that it defines.
        migrate_enabled: pyDAL may create tables, the ledger table too.
        appname: name the server shows for the connection.
        long_running: keep PGPOOL from closing an idle connection, for so many seconds (3600 for True).
        dal_class: class of the connection; None for pyDAL's `DAL`, or `TypeDAL` with `use_typedal`.
        impl_feat_table_name: name of the ledger table; None for `migrate_table`.
        folder: directory of pyDAL's files; None for `db_folder`.
        config: the settings; None for `get_config()`.
        remove_migrate_tablefile: let pyDAL forget that it has created the ledger table.

    Raises:
        InvalidConfigException: no database is configured.
        DatabaseNotYetInitialized: the ledger table is missing; the connection is its second argument.
    """
    from migrate_graph.database import application, is_postgres
    from migrate_graph.workflow.project import database_settings

    config = config or get_config()
    if not config.has_database:
        raise InvalidConfigException("$MIGRATE_URI not found in environment", hint="set MIGRATE_URI, or migrate_uri")
    settings = database_settings(config)
    settings = replace(settings, folder=Path(folder)) if folder else settings
    db = application.open_dal(
        settings, kind=dal_class, application=appname, migrate=migrate, migrate_enabled=migrate_enabled
    )
    if long_running and is_postgres(settings.uri):
        seconds = 3600 if long_running is True else int(long_running)
        application.try_statement(db, f"PGPOOL SET client_idle_limit = {seconds};")
    if remove_migrate_tablefile:
        application.forget_table_file(db, "ewh_implemented_features")
    table = impl_feat_table_name or config.migrate_table
    define_ewh_implemented_features(db, application.ledger_rname(settings, table))
    db.commit()
    try:
        db(db.ewh_implemented_features).count()
    except Exception as error:
        db.rollback()
        if application.table_is_missing(error):
            raise DatabaseNotYetInitialized(f"{table} is missing.", db) from error
        raise
    return db


def should_run(db: Any, name: str) -> bool:
    """Return whether a migration is not installed, by the ledger of this connection."""
    row = db(db.ewh_implemented_features.name == name).select().first()
    return not (row and row.installed)


def mark_migration(db: Any, name: str, installed: bool) -> int | None:
    """Write the record of a migration, on this connection and without a commit.

    Returns:
        The id of a new record; None when it was there.
    """
    table = db.ewh_implemented_features
    added: int | None = table.update_or_insert(
        table.name == name, name=name, installed=bool(installed), last_update_dttm=dt.datetime.now()
    )
    return added


def recover_database_from_backup(
    set_schema: str | bool | None = None, config: Config | None = None, postgres_client: Any = None
) -> None:
    """Restore the backup into a database that is proved empty: all of it or nothing.

    Args:
        set_schema: search_path while it is restored; None for the configured one.
        config: the settings; None for `get_config()`.
        postgres_client: `psql`, as a path or a plumbum command; None for the one on PATH.

    Raises:
        BackupNotFound: there is none.
        RestoreError: it was refused or failed; the database is as it was.
    """
    from migrate_graph.cli.progress import PlainProgress
    from migrate_graph.database.backup.dump import find_dump
    from migrate_graph.workflow.apply import restore_database

    config = copy.copy(config or get_config())
    if set_schema is not None:
        config.update(_skip_none=False, schema=None if set_schema is True else set_schema)
    wanted = config.database_to_restore
    backup = find_dump(Path(wanted).absolute(), is_default=True) if wanted else None
    if backup is None:
        raise BackupNotFound(f"the backup {wanted!r} does not exist", hint="set database_to_restore to the file")
    psql = str(getattr(postgres_client, "executable", postgres_client)) if postgres_client else None
    with PlainProgress(_session(config).console) as progress:
        restore_database(config, backup, lock_wait=None, observer=progress, psql=psql)


@contextlib.contextmanager
def schema_versioned_lock_file(
    flag_location: str | Path | None = None, create_flag_location: bool = False, config: Config | None = None
) -> Iterator[Path | None]:
    """Set the flag of the configured schema version when the block ends well.

    Args:
        flag_location: directory of the flags; None for the configured one.
        create_flag_location: create it when it is missing.
        config: the settings; None for `get_config()`.

    Yields:
        The path of the flag; None when no schema version is configured.

    Raises:
        MigrateLockExists: the flag is there; the block is not entered.
        FlagLocationMissing: there is no such directory; the block is not entered.
        ConfigError: the directory or the version cannot be used; the block is not entered.
    """
    from migrate_graph.completion_flag import CompletionFlag

    config = config or get_config()
    if config.schema_version is None:
        yield None
        return
    directory = Path(flag_location or config.flag_location)
    flag = CompletionFlag(directory, config.schema_version, create=create_flag_location or config.create_flag_location)
    try:
        flag.validate()
    except ConfigError as error:
        if flag.directory.is_dir():
            raise
        raise FlagLocationMissing(error.message, hint=error.hint) from None
    if flag.path.exists():
        raise MigrateLockExists(str(flag.path))
    try:
        yield flag.path
    except MigrationFailed as error:
        flag.path.unlink(missing_ok=True)
        _say(f"migration failed, no flag is set: {error}" if error.args else "migration failed, no flag is set")
    except BaseException:
        flag.path.unlink(missing_ok=True)
        raise
    else:
        flag.path.touch()


def install_as_edwh_migrate() -> None:
    """Let every later `import edwh_migrate` of this process mean this package, whether or not that one is installed.

    While migrations are loaded this is so anyway; this is for programs that import it elsewhere.
    """
    from migrate_graph.loader import edwh_migrate_modules

    sys.modules.update(edwh_migrate_modules())
