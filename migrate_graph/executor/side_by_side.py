"""Runs a plan with `--jobs`: gives each step that can begin to a worker process, and collects the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.core.events import Outcome, Result, StepFinished, StepStarted
from migrate_graph.core.lanes import Queue
from migrate_graph.core.uses import known_uses
from migrate_graph.database import backend_class
from migrate_graph.errors import MigrateGraphError
from migrate_graph.executor.attempt import Attempt, Died, Progress, Surroundings
from migrate_graph.executor.pauses import Patience
from migrate_graph.executor.steps import bring_back, look_again, not_to_run, note, refresh_after, with_kept_before
from migrate_graph.executor.worker_messages import Assignment, Begun, Ended, Observed, Unfit, code_of
from migrate_graph.executor.worker_pool import Worker, WorkerPool
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.core.plan import Plan
    from migrate_graph.executor.run import RunOptions
    from migrate_graph.executor.worker_options import WorkerOptions

_LOOK_EVERY = 0.1
"""How often it is checked whether a signal has arrived, in seconds."""

_LAST_LOOK = 1.0
"""Seconds that the database server may take to answer when a signal asks the run to end."""


class SideBySideRunner:
    """Runs the steps of a plan in several processes.

    Args:
        around: what the run works with.
        options: how the run behaves when something goes wrong.
        workers: what is needed to have steps run by worker processes.
    """

    def __init__(self, around: Surroundings, options: RunOptions, workers: WorkerOptions) -> None:
        self._around = around
        self._options = options
        self._workers = workers
        self._results: dict[str, Result] = {}
        self._is_told = False
        self._overdue: dict[str, frozenset[str]] = {}

    def run(self, plan: Plan, progress: Progress) -> None:
        """Run the plan; the result of each step is put into `progress`, in the order of the plan."""
        self._around.interruption.have_supervisor()
        names = tuple(plan.places)
        code = code_of(progress.graph, names)
        self._overdue = {
            step.migration.name: frozenset(step.views.new) & progress.overdue for step in plan.steps if step.views.new
        }
        pool = WorkerPool(lambda number: self._assignment(number, names, code, progress), self._workers.server)
        queue = Queue(self._workers.order, self._workers.jobs)
        try:
            self._begin_what_can(plan, progress, queue, pool)
            while pool.is_busy:
                for worker, message in pool.messages(_LOOK_EVERY):
                    self._receive(worker, message, plan, progress, queue)
                if self._around.interruption.signal and not self._is_told:
                    self._is_told = True
                    pool.stop(self._around.interruption.signal)
                if self._is_told:
                    pool.kill_unresponsive()
                self._begin_what_can(plan, progress, queue, pool)
        finally:
            pool.leave(at_once=bool(self._around.interruption.signal))
        for step in plan.steps:
            name = step.migration.name
            if name not in self._results:
                self._finish(Result(name, Outcome.NOT_REACHED, source=step.migration.source), plan)
            progress.results.append(self._results[name])

    def _assignment(self, number: int, names: tuple[str, ...], code: str, progress: Progress) -> Assignment:
        workers, asked = self._workers, self._options
        return Assignment(
            arguments=workers.arguments,
            directory=workers.directory,
            settings=workers.settings,
            seat=self._around.backend.seat(self._around.lock, f"{progress.run} {number}"),
            path=workers.path,
            root=workers.root,
            names=names,
            code=code,
            run=progress.run,
            patience=Patience(tries=asked.tries, first_delay=asked.first_delay, longest_delay=asked.longest_delay),
            watch_every=asked.watch_every,
            shown_root=self._around.root,
            windows=progress.graph.registry.windows,
            uses=known_uses(progress.graph.registry.views),
            overdue=self._overdue,
            unrecorded=frozenset(progress.unrecorded),
            weaves=self._around.weaving.wanted,
        )

    # -- beginning ------------------------------------------------------------------------------------------------------------

    def _begin_what_can(self, plan: Plan, progress: Progress, queue: Queue, pool: WorkerPool) -> None:
        if progress.may_lack_views and not self._is_over(progress):
            if pool.is_busy:  # what runs may have views down that it will bring up itself
                return
            self._bring_back(progress)
        while not self._is_over(progress) and (name := queue.begin()) is not None:
            index = plan.places[name]
            migration = plan.steps[index - 1].migration
            if self._results:
                look_again(self._around, progress, (migration.name, *migration.requires))
            if progress.broken:
                return
            result = not_to_run(migration, progress, self._around.observer)
            if result is not None:
                self._finish(result, plan)
                queue.end(name)
                continue
            try:
                pool.begin(name)
            except MigrateGraphError as error:
                progress.broken = error
                return

    def _bring_back(self, progress: Progress) -> None:
        """See `bring_back`; a seat of its own, because a session of the run itself would keep the work's lock from the workers."""
        backend = None
        try:
            seat = self._around.backend.seat(self._around.lock, f"{progress.run} repair {len(self._results)}")
            backend = backend_class(self._workers.settings.uri).seated(self._workers.settings, seat)
            backend.connect(observer=self._around.observer, interruption=self._around.interruption)
            bring_back(replace(self._around, backend=backend, is_seated=True), progress)
        except MigrateGraphError as error:
            progress.broken = progress.broken or error
        finally:
            if backend is not None:
                backend.close()

    def _is_over(self, progress: Progress) -> bool:
        return bool(progress.stopped or progress.broken or self._around.interruption.signal)

    # -- ending ---------------------------------------------------------------------------------------------------------------

    def _receive(self, worker: Worker, message: object, plan: Plan, progress: Progress, queue: Queue) -> None:
        if isinstance(message, Observed):
            self._around.observer(message.event)
            return
        name = worker.name
        if isinstance(message, Begun):
            index = plan.places[name]
            if worker.key is None:
                self._around.observer(StepStarted(name, index, len(plan.steps), plan.steps[index - 1].migration.source))
            worker.key = message.key
            return
        if isinstance(message, Ended):
            result = message.result
            progress.broken = progress.broken or message.broken
            if message.signal:
                self._around.interruption.take_over(message.signal)
        else:
            how = worker.end()
            if not name:
                return  # it was running no migration; another worker can take its place
            result = self._of_gone(worker, message, how, plan, progress)
        if result.outcome is not Outcome.NOT_REACHED:
            note(result, progress, keep_going=self._options.keep_going, fail_fast=self._options.fail_fast)
        self._finish(result, plan)
        queue.end(name)

    def _of_gone(self, worker: Worker, message: object, how: str, plan: Plan, progress: Progress) -> Result:
        """Return the result of the migration of a worker that has ended too early; it is looked up in the database."""
        migration = plan.steps[plan.places[worker.name] - 1].migration
        if worker.key is None:  # it has not begun an attempt
            if isinstance(message, Unfit):
                progress.broken = progress.broken or message.error
            elif not self._around.interruption.signal:
                progress.broken = progress.broken or MigrateGraphError(
                    f"{migration.name} was not begun: {how}", hint="run migrate apply again"
                )
            return Result(migration.name, Outcome.NOT_REACHED, source=migration.source)
        settings, interruption = self._workers.settings, self._around.interruption
        if number := interruption.signal:  # the lookup must be done in spite of the signal, but must not take long
            settings, interruption = replace(settings, connect_wait=_LAST_LOOK), Interruption()
        backend = backend_class(settings.uri).seated(settings, worker.seat)
        try:
            backend.connect(observer=self._around.observer, interruption=interruption)
            if number:
                interruption.take_over(number)
            around = replace(self._around, backend=backend, is_seated=True)
            result = (
                Attempt(around, migration, progress, key=worker.key).settle(Died(how, *worker.process.advice)).result
            )
            return self._filled(result, around, progress)
        except MigrateGraphError as error:
            progress.broken = progress.broken or error
            told = f"{how}; whether something of it stayed in the database is not known"
            return Result(migration.name, Outcome.INTERRUPTED, commits=None, error=told, source=migration.source)
        finally:
            backend.close()

    def _filled(self, result: Result, around: Surroundings, progress: Progress) -> Result:
        """Fill the views that came up without their rows in a migration whose worker has ended: migrations after it may read the rows."""
        if progress.broken or not (result.outcome.succeeded or result.commits):
            return result
        left = (each.manager for each in around.backend.unfilled_views() if each.migration == result.name)
        result = replace(result, unfilled=tuple(dict.fromkeys(left)))
        refresh_after(around, self._options, [result])
        return result

    def _finish(self, result: Result, plan: Plan) -> None:
        if result.outcome is not Outcome.APPLIED:
            result = with_kept_before(result, plan, stop_on_partial=self._options.stop_on_partial)
        self._results[result.name] = result
        self._around.observer(StepFinished(plan.places[result.name], len(plan.steps), result))
