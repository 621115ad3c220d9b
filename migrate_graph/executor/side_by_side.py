"""Runs a plan with `--jobs`: gives each step that can begin to a worker process, and collects the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.core.events import Outcome, Result, StepFinished, StepStarted
from migrate_graph.core.lanes import Queue
from migrate_graph.core.uses import known_uses
from migrate_graph.database import backend_class
from migrate_graph.errors import MigrateGraphError
from migrate_graph.executor.attempt import Attempt, Died, Surroundings, Walk
from migrate_graph.executor.crew import Crew, Worker
from migrate_graph.executor.line import Assignment, Begun, Ended, Told, Unfit, code_of
from migrate_graph.executor.pauses import Patience
from migrate_graph.executor.steps import look_again, not_to_run, note, refresh_after, with_kept_before
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.core.plan import Plan
    from migrate_graph.executor.run import RunOptions
    from migrate_graph.executor.team import Team

_LOOK_EVERY = 0.1
"""How often it is checked whether a signal has arrived, in seconds."""

_LAST_LOOK = 1.0
"""Seconds that the database server may take to answer when a signal asks the run to end."""


class SideBySideWalk:
    """Runs the steps of a plan in several processes.

    Args:
        around: what the run works with.
        options: how the run behaves when something goes wrong.
        team: what is needed to have steps run by worker processes.
    """

    def __init__(self, around: Surroundings, options: RunOptions, team: Team) -> None:
        self._around = around
        self._options = options
        self._team = team
        self._results: dict[str, Result] = {}
        self._is_told = False
        self._overdue: dict[str, frozenset[str]] = {}

    def run(self, plan: Plan, walk: Walk) -> None:
        """Run the plan; the result of each step is put into `walk`, in the order of the plan."""
        self._around.interruption.have_supervisor()
        names = tuple(plan.places)
        code = code_of(walk.graph, names)
        self._overdue = {
            step.migration.name: frozenset(step.views.new) & walk.overdue for step in plan.steps if step.views.new
        }
        crew = Crew(lambda number: self._assignment(number, names, code, walk), self._team.server)
        queue = Queue(self._team.order, self._team.jobs)
        try:
            self._begin_what_can(plan, walk, queue, crew)
            while crew.is_busy:
                for worker, word in crew.heard(_LOOK_EVERY):
                    self._hear(worker, word, plan, walk, queue)
                if self._around.interruption.signal and not self._is_told:
                    self._is_told = True
                    crew.stop(self._around.interruption.signal)
                if self._is_told:
                    crew.end_deaf()
                self._begin_what_can(plan, walk, queue, crew)
        finally:
            crew.leave(at_once=bool(self._around.interruption.signal))
        for step in plan.steps:
            name = step.migration.name
            if name not in self._results:
                self._finish(Result(name, Outcome.NOT_REACHED, source=step.migration.source), plan)
            walk.results.append(self._results[name])

    def _assignment(self, number: int, names: tuple[str, ...], code: str, walk: Walk) -> Assignment:
        team, asked = self._team, self._options
        return Assignment(
            arguments=team.arguments,
            directory=team.directory,
            settings=team.settings,
            seat=self._around.backend.seat(self._around.lock, f"{walk.run} {number}"),
            path=team.path,
            root=team.root,
            names=names,
            code=code,
            run=walk.run,
            patience=Patience(tries=asked.tries, first_delay=asked.first_delay, longest_delay=asked.longest_delay),
            watch_every=asked.watch_every,
            shown_root=self._around.root,
            windows=walk.graph.registry.windows,
            uses=known_uses(walk.graph.registry.views),
            overdue=self._overdue,
            unrecorded=frozenset(walk.unrecorded),
            weaves=self._around.weaving.wanted,
        )

    # -- beginning ------------------------------------------------------------------------------------------------------------

    def _begin_what_can(self, plan: Plan, walk: Walk, queue: Queue, crew: Crew) -> None:
        while not self._is_over(walk) and (name := queue.begin()) is not None:
            index = plan.places[name]
            migration = plan.steps[index - 1].migration
            if self._results:
                look_again(self._around, walk, (migration.name, *migration.requires))
            if walk.broken:
                return
            result = not_to_run(migration, walk, self._around.observer)
            if result is not None:
                self._finish(result, plan)
                queue.end(name)
                continue
            try:
                crew.begin(name)
            except MigrateGraphError as error:
                walk.broken = error
                return

    def _is_over(self, walk: Walk) -> bool:
        return bool(walk.stopped or walk.broken or self._around.interruption.signal)

    # -- ending ---------------------------------------------------------------------------------------------------------------

    def _hear(self, worker: Worker, word: object, plan: Plan, walk: Walk, queue: Queue) -> None:
        if isinstance(word, Told):
            self._around.observer(word.event)
            return
        name = worker.name
        if isinstance(word, Begun):
            index = plan.places[name]
            if worker.key is None:
                self._around.observer(StepStarted(name, index, len(plan.steps), plan.steps[index - 1].migration.source))
            worker.key = word.key
            return
        if isinstance(word, Ended):
            result = word.result
            walk.broken = walk.broken or word.broken
            if word.signal:
                self._around.interruption.take_over(word.signal)
        else:
            how = worker.end()
            if not name:
                return  # it was running no migration; another worker can take its place
            result = self._of_gone(worker, word, how, plan, walk)
        if result.outcome is not Outcome.NOT_REACHED:
            note(result, walk, keep_going=self._options.keep_going, fail_fast=self._options.fail_fast)
        self._finish(result, plan)
        queue.end(name)

    def _of_gone(self, worker: Worker, word: object, how: str, plan: Plan, walk: Walk) -> Result:
        """Return the result of the migration of a worker that has ended too early; it is looked up in the database."""
        migration = plan.steps[plan.places[worker.name] - 1].migration
        if worker.key is None:  # it has not begun an attempt
            if isinstance(word, Unfit):
                walk.broken = walk.broken or word.error
            elif not self._around.interruption.signal:
                walk.broken = walk.broken or MigrateGraphError(
                    f"{migration.name} was not begun: {how}", hint="run migrate apply again"
                )
            return Result(migration.name, Outcome.NOT_REACHED, source=migration.source)
        settings, interruption = self._team.settings, self._around.interruption
        if number := interruption.signal:  # the lookup must be done in spite of the signal, but must not take long
            settings, interruption = replace(settings, connect_wait=_LAST_LOOK), Interruption()
        backend = backend_class(settings.uri).seated(settings, worker.seat)
        try:
            backend.connect(observer=self._around.observer, interruption=interruption)
            if number:
                interruption.take_over(number)
            around = replace(self._around, backend=backend, is_seated=True)
            result = Attempt(around, migration, walk, key=worker.key).settle(Died(how)).result
            return self._filled(result, around, walk)
        except MigrateGraphError as error:
            walk.broken = walk.broken or error
            told = f"{how}; whether something of it stayed in the database is not known"
            return Result(migration.name, Outcome.INTERRUPTED, commits=None, error=told, source=migration.source)
        finally:
            backend.close()

    def _filled(self, result: Result, around: Surroundings, walk: Walk) -> Result:
        """Fill the views that came up without their rows in a migration whose worker has ended: migrations after it may read the rows."""
        if walk.broken or not (result.outcome.succeeded or result.commits):
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
