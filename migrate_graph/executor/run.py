"""Runs every step of a plan that can run, in order; a step that another session blocked is tried again."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from msgspec import field
from msgspec.structs import replace

from migrate_graph.core.events import Observer, Outcome, Result, RunFinished, RunStarted, StepFinished, StepStarted
from migrate_graph.core.timeline import overdue_views
from migrate_graph.executor import checkpoints
from migrate_graph.executor.approved import Approved
from migrate_graph.executor.atomic import AtomicRunner, Extent
from migrate_graph.executor.attempt import Progress, Surroundings, WeavingOptions
from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.executor.output import isolated
from migrate_graph.executor.pauses import Patience
from migrate_graph.executor.revert import RevertRunner
from migrate_graph.executor.steps import blocked, bring_back, look_again, not_to_run, note, tried, with_kept_before
from migrate_graph.executor.watch import Watch
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.history import History
    from migrate_graph.core.plan import Plan, Step
    from migrate_graph.database import Backend, Lock
    from migrate_graph.executor.worker_options import WorkerOptions


class RunOptions(Patience, frozen=True, kw_only=True):
    """How a run behaves when something goes wrong.

    Attributes:
        keep_going: after an exception, go on with the migrations that do not depend on the failed one.
        fail_fast: stop also when a migration returns something falsy.
        watch_every: the database is asked every so many seconds what a running statement waits for.
        atomic: the run is one transaction.
        reverts: the steps are undone.
        weaving: whether views step aside for statements that they block.
        segments: groups of consecutive steps; each group is one transaction.
        rehearses: the run is a rehearsal: nothing is really committed.
        approved: see `Surroundings`.
        learns: see `Surroundings`.
        stop_on_partial: a migration that failed after commits of its own is not tried again before a human has decided.
    """

    keep_going: bool = False
    fail_fast: bool = False
    watch_every: float = 2.0
    atomic: bool = False
    reverts: bool = False
    weaving: WeavingOptions = field(default_factory=WeavingOptions)
    segments: tuple[Segment, ...] = ()
    rehearses: bool = False
    approved: Approved = field(default_factory=Approved)
    learns: Callable[[str, Mapping[str, frozenset[str]]], None] | None = None
    stop_on_partial: bool = False


class Executor:
    """Runs plans against one backend, under a lock that is held already.

    Args:
        backend: the database.
        lock: the lock of this run.
        observer: called with every event of the run.
        interruption: knows whether a signal has arrived.
        options: how to behave when something goes wrong.
        root: directory that paths in messages are relative to.
        workers: what is needed to run steps side by side in other processes; None: the steps run one after another.
    """

    def __init__(
        self,
        backend: Backend,
        lock: Lock,
        observer: Observer,
        *,
        interruption: Interruption | None = None,
        options: RunOptions | None = None,
        root: str = "",
        workers: WorkerOptions | None = None,
    ) -> None:
        self._options = options or RunOptions()
        self._workers = workers
        self._observer = isolated(observer)
        self._interruption = interruption or Interruption()
        self._watch = Watch(self._observer, every=self._options.watch_every)
        self._surroundings = Surroundings(
            backend,
            lock,
            self._observer,
            self._interruption,
            self._watch,
            root,
            open_work=backend.work,
            weaving=self._options.weaving,
            fills_at_once=self._options.rehearses,
            approved=self._options.approved,
            learns=self._options.learns,
        )

    def run(self, plan: Plan, graph: MigrationGraph, history: History) -> RunFinished:
        """Run every step of a plan that can run, in order.

        Args:
            plan: what to run.
            graph: the graph that the plan was made from; it tells which other views go down with a view in `with V(db)`.
            history: the history that the plan was made from.

        Returns:
            How each step ended. A migration that fails is a result, not an exception.

        Raises:
            LockLost: the lock was lost; what was finished before is recorded, and nothing more is run.
            DatabaseError: the database cannot be reached any more, or the ledger or the journal cannot be written.
        """
        started = time.monotonic()
        progress = Progress(
            run=str(uuid.uuid4()),
            graph=graph,
            applied=set(history.applied),
            overdue=overdue_views(graph, history),
            unrecorded=(history.views_there or frozenset()) - history.view_texts.keys(),
        )
        jobs = self._workers.jobs if self._workers is not None else 1
        self._observer(
            RunStarted(progress.run, plan, atomic=self._options.atomic, jobs=jobs, reverts=self._options.reverts)
        )
        for step in plan.steps:
            # Read before any body runs: bodies may change what their names stand for.
            _ = step.migration.facts.fingerprint
        checkpoints.reached(Checkpoint.RUN_STARTED)
        with self._watch.running():
            self._run_steps(plan, progress)
        waiting = [blocked(one.migration, one.by) for one in plan.blocked]
        checkpoints.reached(Checkpoint.RUN_FINISHED)
        finished = RunFinished(
            progress.run,
            (*progress.results, *waiting),
            time.monotonic() - started,
            self._interruption.signal,
            changed=progress.changed,
            atomic=self._options.atomic,
            reverts=self._options.reverts,
        )
        self._observer(finished)
        if progress.broken and not finished.signal:
            raise progress.broken
        return finished

    def _run_steps(self, plan: Plan, progress: Progress) -> None:
        if self._options.reverts:
            RevertRunner(self._surroundings, self._options).run(plan, progress)
        elif self._options.atomic:
            self._atomic_runner().run(plan, progress)
        elif self._workers is not None:
            # Imported late, so that most runs, which do not need it, start faster.
            from migrate_graph.executor.side_by_side import SideBySideRunner

            SideBySideRunner(self._surroundings, self._options, self._workers).run(plan, progress)
        else:
            self._in_a_row(plan, progress)

    def _in_a_row(self, plan: Plan, progress: Progress) -> None:
        segments = {segment.names[0]: segment for segment in self._options.segments}
        for index, step in enumerate(plan.steps, 1):
            if len(progress.results) >= index:  # this step was part of a segment that has run
                continue
            if not self._is_over(progress):
                bring_back(self._surroundings, progress)
            if progress.results and not self._is_over(progress):
                look_again(self._surroundings, progress, (step.migration.name, *step.migration.requires))
            segment = segments.get(step.migration.name)
            if segment is not None and self._can_begin(segment, progress):
                self._run_together(segment, plan, progress)
                continue
            result = self._one(step, index, len(plan.steps), progress)
            if result.outcome is not Outcome.APPLIED:
                result = with_kept_before(result, plan, stop_on_partial=self._options.stop_on_partial)
            progress.results.append(result)
            self._observer(StepFinished(index, len(plan.steps), result))

    def _is_over(self, progress: Progress) -> bool:
        return bool(progress.stopped or progress.broken or self._interruption.signal)

    def _atomic_runner(self, extent: Extent | None = None) -> AtomicRunner:
        return AtomicRunner(self._surroundings, self._options, extent, stop_on_partial=self._options.stop_on_partial)

    def _can_begin(self, segment: Segment, progress: Progress) -> bool:
        """Return whether all steps of a segment can run now; otherwise each of them runs in its own transaction."""
        known = progress.applied.union(segment.names)
        return not self._is_over(progress) and all(known.issuperset(step.migration.requires) for step in segment.steps)

    def _run_together(self, segment: Segment, plan: Plan, progress: Progress) -> None:
        """Run a segment in one transaction: all of its steps are kept, or none."""
        extent = Extent.of_segment(segment, before=len(progress.results), total=len(plan.steps))
        part = Progress(
            progress.run,
            progress.graph,
            set(progress.applied),
            overdue=progress.overdue,
            unrecorded=progress.unrecorded,
        )
        self._atomic_runner(extent).run(replace(plan, steps=segment.steps), part)
        progress.results += part.results
        progress.broken, progress.changed = progress.broken or part.broken, progress.changed or part.changed
        for result in part.results:
            note(result, progress, keep_going=self._options.keep_going, fail_fast=self._options.fail_fast)

    def _one(self, step: Step, index: int, total: int, progress: Progress) -> Result:
        migration = step.migration
        if self._is_over(progress):
            return Result(migration.name, Outcome.NOT_REACHED, source=migration.source)
        if (result := not_to_run(migration, progress, self._observer)) is not None:
            return result
        self._observer(StepStarted(migration.name, index, total, migration.source))
        result = tried(self._surroundings, self._options, migration, progress)
        note(result, progress, keep_going=self._options.keep_going, fail_fast=self._options.fail_fast)
        return result
