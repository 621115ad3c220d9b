"""Run a plan where it cannot do harm (a copy, a scratch database), watched or not, and return the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.events import Event, Observer, Outcome, Result, RunFinished, ignore_events
from migrate_graph.database import backend_class
from migrate_graph.database.driver_errors import ANSWERS
from migrate_graph.errors import DatabaseError, DatabaseUnreachable, LockLost, MigrateGraphError
from migrate_graph.executor import Executor, RunOptions
from migrate_graph.loader import user_imports
from migrate_graph.workflow.laboratory.scratch_runs import on_scratch, start_from_nothing
from migrate_graph.workflow.project import weaving_options
from migrate_graph.workflow.restore import restore_database

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from migrate_graph.core.footprint import Footprint
    from migrate_graph.core.history import History
    from migrate_graph.core.plan import Plan
    from migrate_graph.database import Backend, Connectable, Lock, Settings
    from migrate_graph.database.scratch_database import ScratchDatabase
    from migrate_graph.database.watching import Watching
    from migrate_graph.signals import Interruption
    from migrate_graph.workflow.project import Project

    AnyBackend = TypeVar("AnyBackend", bound=Connectable)

LOCK_WAIT = 10.0
"""Seconds to wait while another run holds the lock; the command can be tried again later."""


class TrialRun(Struct, frozen=True, kw_only=True):
    """How a plan is run.

    Attributes:
        project: the project of the plan.
        interruption: knows whether a signal has arrived.
        watching: how its migrations are watched; without `is_watched`, only acts outside of the database are.
        is_watched: footprints are taken.
        keep_going: migrations that do not require a failed one run all the same.
        observer: called with every event of the run.
        reverts: the steps are undone.
    """

    project: Project
    interruption: Interruption
    watching: Watching
    is_watched: bool = True
    keep_going: bool = True
    observer: Observer = ignore_events
    reverts: bool = False


class TrialResult(Struct, frozen=True):
    """The result of running a plan.

    Attributes:
        results: how each step ended, and which migrations are blocked.
        footprints: what each migration did, by name.
        cut: why the run ended too early; empty when it did not.
        remarks: what will be different in a real run.
    """

    results: tuple[Result, ...] = ()
    footprints: Mapping[str, Footprint] = field(default_factory=dict)
    cut: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def failed(self) -> Result | None:
        """The first migration that ran and failed; None when none did."""
        ran = (result for result in self.results if result.outcome is not Outcome.BLOCKED)
        return next((result for result in ran if not result.outcome.succeeded), None)


def run_trial(how: TrialRun, settings: Settings, plan: Plan, history: History) -> TrialResult:
    """Run a plan.

    Args:
        how: how it is run.
        settings: how to connect to the database.
        plan: what runs.
        history: what the database remembers.

    Raises:
        Stopped: a signal arrived.
        DatabaseError: a connection was lost, or it could not be read what a migration left. That says nothing about the migrations.
    """
    run = _watched if how.is_watched else _unwatched
    try:
        trial = run(how, settings, plan, history)
    except LockLost as error:
        raise _unfinished(error.message) from error
    for result in trial.results:
        if result.passes == ANSWERS:
            raise _unfinished(f"{result.name}: {result.error}")
    return trial


def _unfinished(why: str, hint: str = "run it again when the database answers") -> DatabaseError:
    return DatabaseError(f"this was not tried to its end, so nothing follows from it: {why}", hint=hint)


def _watched(how: TrialRun, settings: Settings, plan: Plan, history: History) -> TrialResult:
    kind, cut = backend_class(settings.uri), ""
    heard: list[RunFinished] = []
    learnt: dict[str, Mapping[str, frozenset[str]]] = {}
    with _connected(kind.rehearsing(settings, how.watching), how) as backend, _locked(how, backend) as lock:
        backend.prepare()
        backend.begin()
        try:
            with user_imports(how.project.imports, how.project.registry):
                executor = _executor(how, backend, lock, heard, learnt.__setitem__)
                executor.run(plan, how.project.graph, history)
        except MigrateGraphError as error:
            how.interruption.check()
            if isinstance(error, DatabaseUnreachable | LockLost) and not backend.ended:
                raise
            cut = error.message
        cut = backend.ended or cut
        how.interruption.check()
        if backend.unseen is not None and not cut:
            raise _unfinished(backend.unseen.message, backend.unseen.hint)
        remarks = backend.remarks()
    footprints = {name: replace(seen, view_uses=learnt.get(name, {})) for name, seen in backend.footprints.items()}
    return TrialResult(heard[-1].results if heard else (), footprints, cut, remarks)


def _unwatched(how: TrialRun, settings: Settings, plan: Plan, history: History) -> TrialResult:
    kind = backend_class(settings.uri)
    heard: list[RunFinished] = []
    with (
        _connected(kind(settings, writing=True), how) as backend,
        _locked(how, backend) as lock,
        how.watching.outside(""),
        user_imports(how.project.imports, how.project.registry),
    ):
        backend.prepare()
        _executor(how, backend, lock, heard).run(plan, how.project.graph, history)
    how.interruption.check()
    return TrialResult(heard[-1].results)


def _executor(
    how: TrialRun,
    backend: Backend,
    lock: Lock,
    heard: list[RunFinished],
    learns: Callable[[str, Mapping[str, frozenset[str]]], None] | None = None,
) -> Executor:
    def listen(event: Event) -> None:
        if isinstance(event, RunFinished):
            heard.append(event)
        how.observer(event)

    weaving = weaving_options(how.project.config)
    options = RunOptions(
        keep_going=how.keep_going,
        tries=1,
        reverts=how.reverts,
        weaving=weaving,
        rehearses=how.is_watched,
        learns=learns,
    )
    root = str(how.project.root)
    return Executor(backend, lock, listen, interruption=how.interruption, options=options, root=root)


@contextmanager
def _connected(backend: AnyBackend, how: TrialRun) -> Iterator[AnyBackend]:
    """Connect a backend, and close it at the end of the block."""
    with closing(backend), how.interruption.overhearing():
        backend.connect(observer=how.observer, interruption=how.interruption)
        yield backend


def _locked(how: TrialRun, backend: Backend) -> AbstractContextManager[Lock]:
    return backend.lock(wait=LOCK_WAIT, observer=how.observer, interruption=how.interruption)


def start_on(project: Project, made: ScratchDatabase, observer: Observer = ignore_events) -> Project:
    """Restore the configured backup into an empty database, or only create the ledger there; return the project on this database.

    Args:
        project: what is to run there.
        made: the database.
        observer: called with the progress of the restore.

    Raises:
        MigrateGraphError: the configured backup does not exist, or cannot be restored.
    """
    backup = Path(project.config.database_to_restore) if has_backup(project) else None
    there = on_scratch(project, made, backup=backup)
    if backup:
        restore_database(there.config, None, lock_wait=LOCK_WAIT, observer=observer)
    else:
        start_from_nothing(there)
    return there


def has_backup(project: Project) -> bool:
    """Return whether a backup is configured. A file at the default place does not count: it may belong to another project."""
    from migrate_graph.config import SourceKind

    config = project.config
    return bool(config.database_to_restore) and config.sources["database_to_restore"].kind is not SourceKind.DEFAULT
