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
from migrate_graph.errors import UsageError
from migrate_graph.loader import ProjectImports, load_project
from migrate_graph.loader.paths import file_at
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrate_graph.config import Config
    from migrate_graph.core.drift import Drift
    from migrate_graph.database import Backend, Settings
    from migrate_graph.database.views.presence import ViewPresence
    from migrate_graph.executor.attempt import WeavingOptions

NO_DATABASE = "no database is configured (set MIGRATE_URI)"
"""Why nothing is known of a database, where that need not be mended."""

READING_WAIT = 10.0
"""Seconds that a reading command waits for a database that does not answer; `apply` waits `connect_wait`."""


class Project(Struct, frozen=True, eq=False):
    """What a command works on.

    Attributes:
        config: the settings.
        registry: what the files declare.
        graph: the same, resolved.
        path: of the migrations file, or of the directory of numbered files.
        root: the directory that shown paths are relative to.
        name: to show: the name of the directory that holds the migrations file.
        ordering: how ties are broken.
        one_of_many: the migrations file was named, and is not the configured one: others may lie beside it.
        imports: lets bodies import what lies beside their file; None for declarations of the process.
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
        """Return the same project where this is declared, with what its settings and its footprint file say of that.

        Nothing else makes the graph of a project: two that were made in different ways would not be one and the same.
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
    """What was read of the database, or why nothing was.

    Attributes:
        history: what it remembers; empty when nothing was read.
        database: its label, redacted; empty without one.
        note: why the history is empty although one may have expected more; empty when it was read.
        lock_holder: who is at work on it just now.
        lived_before: it holds relations and no ledger, so that `apply` refuses it.
        presences: what has become of the relations of each view manager, where that is known.
        drift: what somebody changed by hand since the last run; None where nobody has looked.
    """

    history: History = field(default_factory=History)
    database: str = ""
    note: str = ""
    lock_holder: LockHolder | None = None
    lived_before: bool = False
    presences: Mapping[str, ViewPresence] = field(default_factory=dict)
    drift: Drift | None = None

    @property
    def was_read(self) -> bool:
        """Whether a database was read: the empty history of one that nothing was applied to counts, none at all does not."""
        return bool(self.database) or not self.note


def open_project(config: Config, path: Path | None = None, *, root: Path | None = None) -> Project:
    """Load the migrations and build their graph; nothing is judged and no database is asked.

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
    """Return what a command works on.

    Args:
        config: the settings.
        registry: what is declared.
        path: see `Project`; where a process declares something itself, the directory that it works in.
        root: see `Project`.
        one_of_many: see `Project`.
        imports: see `Project`.
    """
    folder = path if imports is None else path.resolve().parent  # of what a process declares there is no file
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
    """Return whether a file is another one, or the `migrations.py` in a directory."""
    other = other / "migrations.py" if other.is_dir() else other
    return file.resolve() == other.resolve()


def loads_file(project: Project, file: Path) -> bool:
    """Return whether a file is one that a project loads, or a new one in its directory of numbered files."""
    known = {(project.root / each.source.path).resolve() for each in project.graph.migrations.values()}
    inside = project.path.is_dir() and file.resolve().parent == project.path.resolve()
    return inside or file.resolve() in {project.path.resolve(), *known}


def rule_settings(
    project: Project, *, select: Sequence[str] = (), ignore: Sequence[str] = (), strict: bool = False
) -> RuleSettings:
    """Return the settings of the rules: the configured ones, and those of one command on top.

    Files that stand side by side, each run by naming it, do not import each other: there a forgotten import is only a
    warning (edwh-migrate ran such files).
    """
    config = project.config
    return RuleSettings(
        select=tuple(select),
        ignore=(*config.ignore, *ignore),
        error=tuple(config.error),
        warn=(*config.warn, "MG104") if project.one_of_many else tuple(config.warn),
        strict=strict,
        budget=config.rehearse_budget,
    )


def database_settings(config: Config, *, connect_wait: float | None = None) -> Settings:
    """Return what the database room needs to know of the settings."""
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


def require_database(config: Config) -> None:
    """Raise where no database is configured.

    Raises:
        ConfigError: with what to type.
    """
    if not config.has_database:
        from migrate_graph.config.settings import no_database

        raise no_database()


def weaving_options(config: Config) -> WeavingOptions:
    """Return whether views step aside for statements that they are in the way of."""
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
) -> Reading:
    """Read what the database remembers; never write, never create a file.

    Args:
        config: the settings.
        offline: do not ask the database, even when one is configured.
        observer: told while the database is waited for.
        closely: also ask, whatever the history, who holds the lock, and what has become of these views.
        drift: also look what somebody changed by hand since the last run.
        graph: what is declared: then it is known which of its views the database has, where a plan depends on that.

    Raises:
        DatabaseUnreachable: it is configured and does not answer.
    """
    if offline:
        return Reading(note="offline: the database was not asked")
    if not config.has_database:
        return Reading(note=NO_DATABASE)
    from migrate_graph.database import open_backend

    wait = min(config.connect_wait, READING_WAIT)
    with open_backend(database_settings(config, connect_wait=wait), observer=observer) as backend:
        if not backend.has_ledger():
            return _without_ledger(backend, config)
        history = backend.read_history()
        holder = backend.lock_holder()
        if history.is_unfinished and holder is None:
            history = backend.read_history()  # what was at work on it may have ended between the two
        return Reading(
            history=with_views_there(history, graph, backend) if graph is not None else history,
            database=backend.label,
            lock_holder=holder,
            presences=backend.view_presences({name: view.manager for name, view in (closely or {}).items()}),
            drift=_drift(backend, config, history) if drift else None,
        )


def with_views_there(history: History, graph: MigrationGraph, backend: Backend) -> History:
    """Return a history that knows which declared views the database has, where views come up by themselves when they are missing."""
    if not graph.registry.windows:
        return history
    doubtful = overdue_views(graph, history)
    found = backend.view_presences({name: graph.views[name].manager for name in doubtful}) if doubtful else {}
    predecessors = Timeline(graph).predecessors
    there = (
        name
        for name, each in found.items()
        # What is there may be the view that it is to replace.
        if len(each.missing) < len(each.relations) and history.view_texts.keys().isdisjoint(predecessors(name))
    )
    return replace(history, views_there=frozenset(history.view_texts).union(there))


def _drift(backend: Backend, config: Config, history: History) -> Drift:
    from migrate_graph.workflow.drift import look

    return look(backend, history, ignore=config.drift_ignore)


def _without_ledger(backend: Backend, config: Config) -> Reading:
    """Return what a database without a ledger says: new, or alive and refused until its ledger is begun."""
    relations = backend.user_relations()
    if not relations:
        return Reading(database=backend.label, note="nothing was ever applied to it")
    from migrate_graph.workflow.no_ledger import refusal

    message, hint = refusal(backend.label, relations, config.migrate_table)
    return Reading(database=backend.label, note=f"migrate apply would refuse: {message}; {hint}", lived_before=True)


def require_name(project: Project, name: str) -> str:
    """Return the name of a declared migration or view, or say which ones are meant.

    Raises:
        UsageError: nothing is called so.
    """
    if name in project.graph.migrations or name in project.graph.views:
        return name
    raise unknown_name(project, name)


def unknown_name(project: Project, name: str) -> UsageError:
    """Return the error for a name that nothing has, with the nearest names."""
    names = [*project.graph.migrations, *project.graph.views]
    near = similar(name, names, most=3, cutoff=0.5) or [known for known in names if name in known][:3]
    hint = did_you_mean(map(repr, near), "migrate status lists all names")
    return UsageError(f"nothing is called '{name}' in {project.name}", hint=hint)
