"""One run inside the lock, from its plan to the work after it: views that a failure left down, the cache, the flag."""

from __future__ import annotations

import time
import uuid
from contextlib import closing, nullcontext
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING

from migrate_graph import __version__
from migrate_graph.core.events import Observer, Outcome, Result, RunFinished, RunStarted, StepFinished, Warned
from migrate_graph.core.history import FLUSH
from migrate_graph.errors import ExitCode, MigrateGraphError, PendingTaskFailed
from migrate_graph.executor import Checkpoint, checkpoints
from migrate_graph.loader import user_imports
from migrate_graph.messages import counted, some
from migrate_graph.workflow.locked import recording
from migrate_graph.workflow.project import Project, Reading, database_settings, weaving_options
from migrate_graph.workflow.repair import decision_needed, read_and_repair, refresh

if TYPE_CHECKING:
    from migrate_graph.completion_flag import CompletionFlag
    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.plan import Plan
    from migrate_graph.database import Backend, Lock
    from migrate_graph.executor.worker_options import WorkerOptions
    from migrate_graph.signals import Interruption
    from migrate_graph.workflow.apply import ApplyOptions
    from migrate_graph.workflow.sealing import SealedPlan


class LockedRun:
    """One run inside the lock, from its plan to the work after it.

    Args:
        project: what is declared.
        backend: the database; the lock is held.
        plan: what runs.
        reading: what the database remembers.
        observer: called with every event of the run.
    """

    def __init__(self, project: Project, backend: Backend, plan: Plan, reading: Reading, observer: Observer) -> None:
        self._project = project
        self._config = project.config
        self._backend = backend
        self._plan = plan
        self._reading = reading
        self._observer = observer
        self._run = str(uuid.uuid4())
        self._flush_is_pending = FLUSH in reading.history.pending_tasks
        self._is_side_by_side = False
        self._segments: tuple[Segment, ...] = ()

    def remember_flush(self) -> None:
        """Record, before anything is committed, that the cache must be flushed: if this process dies, the next run does it."""
        if self._config.redis_host and not self._flush_is_pending and self._plan.steps:
            from migrate_graph.workflow.cache import remember_flush

            remember_flush(self._config, self._backend, run=self._run)

    def execute(self, options: ApplyOptions, lock: Lock, interruption: Interruption) -> RunFinished:
        """Run the plan."""
        workers = self._workers(options.jobs or 1)
        if workers is None and not self._plan.steps and not self._plan.blocked:
            return self._report_nothing(interruption, atomic=bool(options.atomic))
        with nullcontext() if workers is None else closing(workers.server):
            return self._carry_out(workers, options, lock, interruption)

    def _carry_out(
        self, workers: WorkerOptions | None, options: ApplyOptions, lock: Lock, interruption: Interruption
    ) -> RunFinished:
        from migrate_graph.core.coalescing import segments_of
        from migrate_graph.executor import Executor, RunOptions
        from migrate_graph.executor.approved import Approved

        self._tell_of_drift()
        self._is_side_by_side = workers is not None
        self._segments = segments_of(self._plan, options.woven) if options.coalesce else ()
        executor = Executor(
            self._backend,
            lock,
            self._observer,
            interruption=interruption,
            options=RunOptions(
                keep_going=options.keep_going,
                fail_fast=options.fail_fast,
                atomic=bool(options.atomic),
                weaving=weaving_options(self._config),
                segments=self._segments,
                approved=Approved(_shapes(options.sealed), options.strict),
                stop_on_partial=self._config.on_partial == "stop",
            ),
            root=str(self._project.root),
            workers=workers,
        )
        # Bodies may import modules from their directory.
        with user_imports(self._project.imports, self._project.registry):
            return executor.run(self._plan, self._project.graph, self._reading.history)

    def _report_nothing(self, interruption: Interruption, *, atomic: bool) -> RunFinished:
        """Report a run with nothing to do like any other run. The executor is not imported: that would take a third of the time."""
        started = time.monotonic()
        self._observer(RunStarted(self._run, self._plan, atomic=atomic))
        checkpoints.reached(Checkpoint.RUN_STARTED)
        checkpoints.reached(Checkpoint.RUN_FINISHED)
        finished = RunFinished(self._run, (), time.monotonic() - started, interruption.signal, atomic=atomic)
        self._observer(finished)
        return finished

    def _workers(self, jobs: int) -> WorkerOptions | None:
        """Return what is needed to run steps side by side; None when they run one after another. A warning says why `--jobs` has no effect."""
        if jobs == 1:
            return None
        from migrate_graph.workflow.side_by_side import order_for, why_no_workers

        if why := why_no_workers(self._project):
            self._observer(Warned(f"migrations run one after another, not {jobs}: {why}"))
            return None
        order = order_for(self._project, self._plan, self._observer)
        if order.is_a_row or (seats := self._seats(jobs)) < 2:
            return None
        from migrate_graph.executor.fork_server import ForkServer
        from migrate_graph.executor.worker_options import WorkerOptions

        settings = database_settings(self._config)
        server = ForkServer(settings)  # started now, so that it imports while this process goes on
        project = self._project
        assert project.imports is not None  # noqa: S101 - `why_no_workers` refuses migrations that this process has declared itself
        return WorkerOptions(
            seats, order, settings, server,
            path=project.path, root=project.root, arguments=project.imports.arguments, directory=project.imports.started_in,
        )  # fmt: skip

    def _seats(self, jobs: int) -> int:
        """Return how many workers the server has connections for, and warn when that is fewer than wanted: one more would wait for ever."""
        room = self._backend.room_for(jobs)
        if room.why:
            how = f"up to {room.number} at once" if room.number > 1 else "one after another"
            self._observer(Warned(f"migrations run {how}, not {jobs}: {room.why}", room.hint))
        return room.number

    def revert(self, lock: Lock, interruption: Interruption) -> RunFinished:
        """Undo every step of the plan."""
        from migrate_graph.executor import Executor, RunOptions

        self._tell_of_drift()
        executor = Executor(
            self._backend, lock, self._observer,
            interruption=interruption, options=RunOptions(reverts=True, weaving=weaving_options(self._config)),
            root=str(self._project.root),
        )  # fmt: skip
        with user_imports(self._project.imports, self._project.registry):
            return executor.run(self._plan, self._project.graph, self._reading.history)

    def _tell_of_drift(self) -> None:
        if self._plan.steps:
            from migrate_graph.workflow.drift import tell_before_run

            tell_before_run(self._backend, self._reading.history, self._observer, ignore=self._config.drift_ignore)

    def fake(self) -> RunFinished:
        """Record every step as installed without running it."""
        names = [step.migration.name for step in self._plan.steps]
        self._observer(RunStarted(self._run, self._plan))
        started = time.monotonic()
        codes = {step.migration.name: step.migration.facts.fingerprint for step in self._plan.steps}
        with recording(self._backend):
            self._backend.mark(names, installed=True, reason="apply --fake", run=self._run, fingerprints=codes)
        results = tuple(Result(name, Outcome.APPLIED, hint="recorded, not run") for name in names)
        for index, result in enumerate(results, 1):
            self._observer(StepFinished(index, len(names), result))
        finished = RunFinished(self._run, results, time.monotonic() - started)
        self._observer(finished)
        return finished

    def conclude(self, finished: RunFinished, flag: CompletionFlag | None, interruption: Interruption) -> int:
        """Do what follows a run: bring up views that a failure left down, flush the cache, set the flag; return the exit code."""
        if finished.signal:
            return ExitCode.SIGNAL + finished.signal
        if finished.succeeded:
            self._remember_facts(changed=finished.changed)
        trouble = self._flush(interruption, changed=finished.changed)
        if not finished.succeeded:
            read_and_repair(
                self._project, self._backend, self._observer, interruption,
                fills=self._may_be_mended(finished), reverts=finished.reverts,
            )  # fmt: skip
            if finished.changed:
                self._remember_facts(changed=True)
                self._tell_missing_views()
            if trouble:
                self._observer(Warned(trouble.message, trouble.hint))
            self._ask_about_interrupted()
            return ExitCode.FAILED
        if trouble:
            raise trouble
        self._require_records(finished)
        if finished.changed:
            self._tell_missing_views()
        self._require_filled(finished, interruption)
        if flag and not self._plan.unselected:
            flag.set(fingerprint=self._backend.fingerprint(), names=self._plan.order, version=__version__)
        return ExitCode.OK

    @cached_property
    def _installed_at_end(self) -> frozenset[str]:
        """Names of the migrations that are installed when the run is over."""
        return self._backend.read_installed_at_end()

    def _require_records(self, finished: RunFinished) -> None:
        """Raise when records have disappeared during the run: the next run would run their migrations again."""
        if not finished.changed:
            return
        undone = {each.name for each in finished.of(Outcome.REVERTED)}
        known = self._reading.history.applied.union(each.name for each in finished.of(Outcome.APPLIED)) - undone
        gone = [name for name in self._project.graph.migrations if name in known and name not in self._installed_at_end]
        if gone:
            raise _records_gone(gone, reverts=finished.reverts)

    def _tell_missing_views(self) -> None:
        """Warn of living views that their managers have made and that do not exist: a function or a trigger may drop one, unnoticed."""
        from migrate_graph.core.timeline import Timeline

        graph = self._project.graph
        living = Timeline(graph).living(self._installed_at_end)
        found = self._backend.view_presences({name: graph.views[name].manager for name in sorted(living)})
        missing = {
            name: each.missing for name, each in found.items() if each.is_recorded and not each.down and each.missing
        }
        if missing:
            names = [f"{name} ({', '.join(relations)})" for name, relations in missing.items()]
            self._observer(
                Warned(
                    f"{counted(len(names), 'view')} not in the database, although no window was closed: {some(names, 5)}",
                    "let a migration create it again (`with V(db): pass`), or close its window with `until`",
                )
            )

    def _require_filled(self, finished: RunFinished, interruption: Interruption) -> None:
        """Raise when a materialized view is still without its rows; a warning has said why."""
        may_be = bool(self._reading.history.views_unfilled) or any(each.unfilled for each in finished.results)
        left = self._backend.unfilled_views() if may_be else ()
        if left and self._may_be_mended(finished):
            refresh(self._backend, self._observer, interruption, reverts=finished.reverts)
            left = self._backend.unfilled_views()
        if left:
            names = ", ".join(f"{each.relation} ({each.manager})" for each in left)
            if finished.reverts:
                ways = "; ".join(f"REFRESH MATERIALIZED VIEW {each.relation}" for each in left)
                raise PendingTaskFailed(
                    f"the migrations are reverted; without their rows still: {names}",
                    hint=f"mend what the note above names, then, by hand: {ways} "
                    "(migrate apply refreshes them, too, but then applies again what is reverted)",
                )
            raise PendingTaskFailed(
                f"the migrations are applied; without their rows still: {names}",
                hint="mend what the note above names, then run migrate apply again: it refreshes them first",
            )

    def _may_be_mended(self, finished: RunFinished) -> bool:
        """Return whether a migration ran after the last attempt to fill the views without rows: it may have removed the obstacle."""
        if not finished.changed or (finished.atomic and finished.succeeded):
            return False
        durable = [each for each in finished.results if each.outcome.succeeded or each.commits != 0]
        tried = [each.name for each in durable if each.unfilled]
        if self._is_side_by_side:  # it is not known which came last; each worker has filled only its own views
            return len(durable) > 1 or not tried
        together = next((each.names for each in self._segments if tried and tried[-1] in each.names), tried)
        return not tried or durable[-1].name != together[-1]

    def _remember_facts(self, *, changed: bool) -> None:
        """Store the schema of the database, so that later changes by hand are seen. Without a change: only when it is not stored yet."""
        before = self._reading.history
        if before.facts_at and before.has_lost_facts:
            self._observer(
                Warned(
                    "the run before ended before it could store the schema of the database: whether it was changed by hand is unknown"
                )
            )
        if changed or not before.facts_are_current:
            from migrate_graph.workflow.drift import remember

            remember(self._backend, self._observer, run=self._run, quietly=not changed)

    def _flush(self, interruption: Interruption, *, changed: bool) -> PendingTaskFailed | None:
        """Flush the cache when this run has changed something, or when an earlier run could not flush it; return the failure, or None."""
        if not self._config.redis_host:
            return None
        from migrate_graph.workflow import cache

        if changed or self._flush_is_pending:
            return cache.flush(self._config, self._backend, self._observer, interruption)
        cache.leave_alone(self._config, self._backend, self._observer)
        return None

    def _ask_about_interrupted(self) -> None:
        undecided = [one.migration.name for one in self._plan.blocked if one.by == (one.migration.name,)]
        if undecided:
            raise decision_needed(undecided, self._reading)


def _records_gone(names: list[str], *, reverts: bool) -> MigrateGraphError:
    again = "" if reverts else "; if not, migrate apply runs again what is missing"
    return MigrateGraphError(
        f"the ledger has lost {counted(len(names), 'record')} during this run: {some(names, 5)} "
        f"{'is' if len(names) == 1 else 'are'} not installed any more, although nothing was undone; a body of this run has changed "
        "the ledger, or somebody beside it",
        hint=f"if what was done is still there: migrate mark {' '.join(map(quote, names))} --installed{again}",
    )


def _shapes(sealed: SealedPlan | None) -> dict[str, tuple[str, ...]]:
    """Return the statements that the migrations of a sealed plan sent in its rehearsal, by the migration's name."""
    steps = sealed.snapshot.steps if sealed is not None else ()
    return {step.name: step.shapes for step in steps if step.shapes is not None}
