"""Open a project: its settings, what its files declare, the graph of that, and what its database remembers."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.events import LockHolder, Observer, ignore_events
from migrate_graph.core.graph import MigrationGraph, Ordering, build_graph
from migrate_graph.core.history import History
from migrate_graph.core.model import Registry, UsesFrom, View
from migrate_graph.core.rules import RuleSettings
from migrate_graph.core.timeline import Timeline, overdue_views
from migrate_graph.core.uses import with_uses_seen
from migrate_graph.errors import MigrateGraphError, RestoreError, UsageError
from migrate_graph.loader import ProjectImports, load_project
from migrate_graph.loader.paths import file_at
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrate_graph.config import Config
    from migrate_graph.core.drift import Drift
    from migrate_graph.database import Backend, Settings
    from migrate_graph.database.books.obstacles import Obstacles
    from migrate_graph.database.views.presence import ViewPresence
    from migrate_graph.executor.attempt import WeavingOptions

NO_DATABASE = "no database is configured (set MIGRATE_URI)"
"""Why nothing was read of a database, when that is not an error."""

_READING_WAIT = 10.0
"""Seconds that a command that only reads waits for a database that does not answer; `apply` waits for `connect_wait` seconds."""


class Project(Struct, frozen=True, eq=False):
    """What a command works on.

    Attributes:
        config: the settings.
        registry: what the files declare.
        graph: the graph of these declarations.
        path: path of the migrations file, or of the directory of numbered files.
        root: the directory that shown paths are relative to.
        name: the name that is shown: that of the directory that holds the migrations file.
        ordering: which migration comes first where the graph permits several.
        one_of_many: the migrations file was named by the user and is not the configured one, so there may be others beside it.
        imports: lets bodies import modules from the directory of their file; None when this process has declared the migrations itself.
    """

    config: Config
    registry: Registry
    graph: MigrationGraph
    path: Path
    root: Path
    name: str
    ordering: Ordering
    one_of_many: bool = False
    imports: ProjectImports | None = None

    def declaring(self, registry: Registry) -> Project:
        """Return the project with these declarations, completed by its settings and its footprint file, and with their graph.

        The graph of a project is made only here: otherwise two commands could see different graphs.
        """
        registry = replace(registry, windows=self.config.weave == "windows")
        if any(view.uses_from is UsesFrom.GUESSED for view in registry.views):
            from migrate_graph.workflow.footprint_file import read_footprints

            known = read_footprints(self)
            if known is not None and known.entries:
                registry = replace(registry, views=with_uses_seen(registry.views, known.entries.values()))
        return replace(self, registry=registry, graph=build_graph(registry))

    def line_of(self, source: SourceLocation) -> str:
        """Return the text of a place in the user's files; empty when it cannot be read."""
        return linecache.getline(str(self.root / source.path), source.line)


class Reading(Struct, frozen=True):
    """What was read of the database, or why nothing was read.

    Attributes:
        history: the history that the database remembers; empty when nothing was read.
        database: label of the database, redacted; empty without a database.
        note: why the history is empty, or what `apply` does first; empty when there is nothing to say.
        lock_holder: who holds the lock now.
        refused: the error with which `apply` refuses a database without a ledger; None: it does not.
        obstacles: why migrations could not be recorded; None when that was not looked for.
        presences: by the name of its manager, which relations of a view exist, are missing or were altered; empty when not asked for.
        drift: what somebody changed by hand since the last run; None when that was not looked for.
    """

    history: History = field(default_factory=History)
    database: str = ""
    note: str = ""
    lock_holder: LockHolder | None = None
    refused: MigrateGraphError | None = None
    obstacles: Obstacles | None = None
    presences: Mapping[str, ViewPresence] = field(default_factory=dict)
    drift: Drift | None = None

    @property
    def was_read(self) -> bool:
        """Whether a database was read; its history may be empty."""
        return bool(self.database) or not self.note


def open_project(config: Config, path: Path | None = None, *, root: Path | None = None) -> Project:
    """Load the migrations and build their graph; no rule is checked and no database is asked.

    Args:
        config: the settings.
        path: a migrations file, or a directory that holds a `migrations.py`; None for the configured one.
        root: the directory that shown paths are relative to; None for the current one.

    Raises:
        LoadError: the file does not exist or does not run.
    """
    base = (root or Path.cwd()).absolute()
    target = base / (path if path is not None else config.migrations_file)
    loaded = load_project(target, root=base)
    is_other = path is not None and target.is_file() and not is_same(target, base / config.migrations_file)
    return project_of(
        config, loaded.registry, path=file_at(target), root=base, one_of_many=is_other, imports=loaded.imports
    )


def project_of(
    config: Config,
    registry: Registry,
    *,
    path: Path,
    root: Path,
    one_of_many: bool = False,
    imports: ProjectImports | None = None,
) -> Project:
    """Return the project of these declarations.

    Args:
        config: the settings.
        registry: what is declared.
        path: see `Project`; when this process has declared the migrations itself, its working directory.
        root: see `Project`.
        one_of_many: see `Project`.
        imports: see `Project`.
    """
    folder = path if imports is None else path.resolve().parent  # without `imports`, `path` is a directory
    empty = Project(
        config=config,
        registry=Registry(),
        graph=build_graph(Registry()),
        path=path,
        root=root,
        name=folder.name or "project",
        ordering=Ordering(config.migration_ordering_mode),
        one_of_many=one_of_many,
        imports=imports,
    )
    return empty.declaring(registry)


def is_same(file: Path, other: Path) -> bool:
    """Return whether two paths are the same file.

    Args:
        file: a file.
        other: a file, or a directory; the latter stands for the `migrations.py` in it.
    """
    other = other / "migrations.py" if other.is_dir() else other
    return file.resolve() == other.resolve()


def loads_file(project: Project, file: Path) -> bool:
    """Return whether a project loads a file, or would load it: a new file in its directory of numbered files."""
    known = {(project.root / each.source.path).resolve() for each in project.graph.migrations.values()}
    inside = project.path.is_dir() and file.resolve().parent == project.path.resolve()
    return inside or file.resolve() in {project.path.resolve(), *known}


def rule_settings(
    project: Project, *, select: Sequence[str] = (), ignore: Sequence[str] = (), strict: bool = False
) -> RuleSettings:
    """Return the settings of the rules: the configured ones, changed by those of one command.

    Several migrations files in one directory that are each run by naming them do not import each other. For such a file a forgotten
    import (MG104) is only a warning: edwh-migrate ran such files.
    """
    config = project.config
    return RuleSettings(
        select=tuple(select),
        ignore=(*config.ignore, *ignore),
        error=tuple(config.error),
        warn=(*config.warn, "MG104") if project.one_of_many else tuple(config.warn),
        strict=strict,
        ledger=config.migrate_table,
        schema=_schema_of(config),
        budget=config.rehearse_budget,
    )


def _schema_of(config: Config) -> str:
    """Return the schema that a name without one means; empty where the role decides."""
    from migrate_graph.database import is_one_file
    from migrate_graph.database.names import schema_names

    if config.has_database and is_one_file(config.migrate_uri):
        return "main"
    return next(iter(schema_names(config.search_path or "")), "")


def database_settings(config: Config, *, connect_wait: float | None = None) -> Settings:
    """Return the settings that the `database` package needs."""
    from migrate_graph.database import Settings

    return Settings(
        uri=config.migrate_uri,
        table=config.migrate_table,
        schema=config.search_path,
        folder=Path(config.db_folder) if config.db_folder else None,
        typedal=config.use_typedal,
        connect_wait=config.connect_wait if connect_wait is None else connect_wait,
        lock_timeout=config.lock_timeout,
        statement_timeout=config.statement_timeout,
        session=config.session,
        secrets=config.secrets,
    )


def reading_settings(config: Config) -> Settings:
    """Return the same settings for a command that only reads: it does not wait long for a database that does not answer."""
    return database_settings(config, connect_wait=min(config.connect_wait, _READING_WAIT))


def require_database(config: Config) -> None:
    """Raise when no database is configured.

    Raises:
        ConfigError: no database is configured; the hint says how to set one.
    """
    if not config.has_database:
        from migrate_graph.config.settings import no_database

        raise no_database()


def weaving_options(config: Config) -> WeavingOptions:
    """Return the settings that say whether views step aside for statements that they block."""
    from migrate_graph.executor.attempt import WeavingOptions

    return WeavingOptions(wanted=config.weave != "off", keeps_unmanaged=config.unmanaged == "keep")


def read_history(
    config: Config,
    *,
    offline: bool = False,
    observer: Observer = ignore_events,
    closely: Mapping[str, View] | None = None,
    drift: bool = False,
    graph: MigrationGraph | None = None,
    obstacles: bool = False,
) -> Reading:
    """Read what the database remembers; never write, never create a file.

    Args:
        config: the settings.
        offline: do not ask the database, even when one is configured.
        observer: called while the command waits for the database.
        closely: views by name; it is also read which of their relations exist, are missing or were altered.
        drift: also look for what somebody changed by hand since the last run.
        graph: what is declared; with it, the history also says which declared views exist, where a plan depends on that.
        obstacles: also look for what `apply` would refuse.

    Raises:
        DatabaseUnreachable: the configured database does not answer.
    """
    if offline:
        return Reading(note="offline: the database was not asked")
    if not config.has_database:
        return Reading(note=NO_DATABASE)
    from migrate_graph.database import open_backend

    with open_backend(reading_settings(config), observer=observer) as backend:
        if not backend.has_ledger():
            return _without_ledger(backend, config)
        history = backend.read_history()
        holder = backend.lock_holder()
        if history.is_unfinished and holder is None:
            history = backend.read_history()  # a run may have ended between the reading of the history and of the lock
        return Reading(
            history=with_views_there(history, graph, backend) if graph is not None else history,
            database=backend.label,
            lock_holder=holder,
            presences=backend.view_presences({name: view.manager for name, view in (closely or {}).items()}),
            drift=_drift(backend, config, history) if drift else None,
            obstacles=backend.obstacles() if obstacles else None,
        )


def with_views_there(history: History, graph: MigrationGraph, backend: Backend) -> History:
    """Return the history completed with the declared views that exist in the database (only when views follow their windows)."""
    if not graph.registry.windows:
        return history
    doubtful = overdue_views(graph, history)
    found = backend.view_presences({name: graph.views[name].manager for name in doubtful}) if doubtful else {}
    predecessors = Timeline(graph).predecessors
    there = (
        name
        for name, each in found.items()
        # A relation of this name may belong to the view that this one replaces.
        if len(each.missing) < len(each.relations) and history.view_texts.keys().isdisjoint(predecessors(name))
    )
    return replace(history, views_there=frozenset(history.view_texts).union(there))


def _drift(backend: Backend, config: Config, history: History) -> Drift:
    from migrate_graph.workflow.drift import look

    return look(backend, history, ignore=config.drift_ignore)


def _without_ledger(backend: Backend, config: Config) -> Reading:
    """Return the reading of a database without a ledger: it is new, or a backup comes first, or `apply` refuses it."""
    from migrate_graph.workflow.restore import backup_for

    try:
        backup = backup_for(backend, config)
    except RestoreError as error:
        return Reading(database=backend.label, note=would_refuse(error), refused=error)
    if backup is not None:
        note = f"nothing was ever applied to it; migrate apply first restores the backup {backup}, and runs only what that lacks"
        return Reading(database=backend.label, note=note)
    if refused := backend.obstacles().refused:
        return Reading(database=backend.label, note=would_refuse(refused), refused=refused)
    return Reading(database=backend.label, note="nothing was ever applied to it")


def would_refuse(error: MigrateGraphError, *, doing: str = "apply") -> str:
    """Return what a command that only reads says of an error with which a command that writes would end.

    Args:
        error: the error.
        doing: the command that writes.
    """
    return "; ".join(filter(None, (f"migrate {doing} would refuse: {error.message}", error.hint)))


def require_name(project: Project, name: str) -> str:
    """Return a name when a migration or view of this name is declared.

    Raises:
        UsageError: nothing has this name; the hint shows similar names.
    """
    if name in project.graph.migrations or name in project.graph.views:
        return name
    raise unknown_name(project, name)


def unknown_name(project: Project, name: str) -> UsageError:
    """Return the error for a name that nothing has; its hint shows similar names."""
    names = [*project.graph.migrations, *project.graph.views]
    near = similar(name, names, most=3, cutoff=0.5) or [known for known in names if name in known][:3]
    hint = did_you_mean(map(repr, near), "migrate status lists all names")
    return UsageError(f"nothing is called '{name}' in {project.name}", hint=hint)
