"""Runs a plan, or a part of it, in one transaction: all of its migrations are kept, with their records, or nothing is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from types import CellType
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.code_walk import codes_of
from migrate_graph.core.events import Outcome, Result, StepFinished, StepStarted, Warned
from migrate_graph.database import AtomicIntent
from migrate_graph.database.driver_errors import TroubleKind
from migrate_graph.executor import checkpoints
from migrate_graph.executor.attempt import Applied, Attempt, End, Progress, Raised, Refused, Stopped, Surroundings
from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.executor.pauses import Pauses
from migrate_graph.executor.steps import blocked, recorded_meanwhile, refresh_after, with_kept_before
from migrate_graph.loader.sources import chain_of
from migrate_graph.messages import counted
from migrate_graph.signals import StopNow

if TYPE_CHECKING:
    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan
    from migrate_graph.database import AtomicRun
    from migrate_graph.executor.pauses import Patience


_CAREFULLY = (
    "begins again, carefully: views come up after each migration that opens them, and a rollback goes back to where its "
    "migration began"
)


class Extent(Struct, frozen=True):
    """Which steps of a run are one transaction; the defaults stand for all of them.

    Attributes:
        what: the name of this part of the run, for messages.
        option: the command line option that asks for one transaction.
        scope: which option promises one transaction, and for which migrations; for messages.
        before: how many steps of the run come before the transaction.
        total: how many steps the run has; 0: all of them are in the transaction.
        woven: managers whose views will block statements, by the migration's name.
    """

    what: str = "the run"
    option: str = "--atomic"
    scope: str = "--atomic promises one transaction for the whole run"
    before: int = 0
    total: int = 0
    woven: Mapping[str, Collection[str]] = field(default_factory=dict)

    @classmethod
    def of_segment(cls, segment: Segment, *, before: int, total: int) -> Extent:
        """Return the extent of a segment: consecutive steps that share a transaction (`apply --coalesce`)."""
        first, last = segment.names[0], segment.names[-1]
        scope = f"--coalesce promises one transaction from {first} to {last}"
        return cls("its transaction", "--coalesce", scope, before, total, segment.woven)


class _Try(Struct):
    """One try at the whole plan.

    Attributes:
        results: results of the steps that have done their work, or are blocked, in order.
        attempts: the attempts that have begun, by the migration's name.
        last: the attempt that ran last.
        end: why the last attempt, or the commit, failed; None when neither did.
        was_careful: no work was postponed that could have ended differently at its own place.
        is_durable: every step has done its work, and all of that is committed.
    """

    results: list[Result] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    last: Attempt | None = None
    end: End | None = None
    was_careful: bool = True
    is_durable: bool = False

    @property
    def may_go_otherwise(self) -> bool:
        """Whether a careful run may succeed, or fail at the migration that has the fault."""
        by_itself = isinstance(self.end, Refused) or (
            isinstance(self.end, Raised) and self.end.trouble.kind is not TroubleKind.RETRY
        )
        return not self.was_careful and by_itself and self.last is not None and not self.last.is_unsure


class AtomicRunner:
    """Runs every step of a plan in one transaction.

    Args:
        around: what the run works with.
        patience: how often the whole plan is tried when another session blocks it.
        extent: which steps of the run the plan is.
        stop_on_partial: see `RunOptions`.
    """

    def __init__(
        self, around: Surroundings, patience: Patience, extent: Extent | None = None, *, stop_on_partial: bool = False
    ) -> None:
        self._around = around
        self._extent = extent or Extent()
        self._patience = patience
        self._stop_on_partial = stop_on_partial
        self._observer = around.observer
        self._pauses = Pauses(patience, around.interruption, around.observer)

    def run(self, plan: Plan, progress: Progress) -> None:
        """Run the plan; the result of each step is put into `progress`."""
        applied = frozenset(progress.applied)
        intent = _intent(plan, self._extent)
        while plan.steps:
            progress.applied, progress.lock_checked = set(applied), False
            tried = self._try(plan, progress, intent)
            if tried.may_go_otherwise and not intent.careful:
                intent = replace(intent, careful=True)
                self._observer(Warned(f"{self._extent.what} {_CAREFULLY}"))
            elif not self._settle(tried, plan, progress):
                return

    def _place(self, index: int, plan: Plan) -> tuple[int, int]:
        """Return the place of a step in the run (from 1), and how many steps the run has."""
        return self._extent.before + index, self._extent.total or len(plan.steps)

    # -- one try --------------------------------------------------------------------------------------------------------------

    def _try(self, plan: Plan, progress: Progress, intent: AtomicIntent) -> _Try:
        run = self._around.backend.atomic_run(intent)
        around = replace(self._around, open_work=run.work)
        tried = _Try()
        try:
            for index, step in enumerate(plan.steps, 1):
                if progress.broken or self._around.interruption.signal:
                    break
                if not self._one(step.migration, self._place(index, plan), around, tried, progress):
                    break
                if (names := intent.following.get(step.migration.name)) and tried.last is not None:
                    progress.applied.difference_update(names)
                    progress.applied.update(run.installed(names))
            else:
                self._commit(run, tried)
            tried.was_careful = run.was_careful
        finally:
            run.close()
        return tried

    def _one(
        self, migration: Migration, place: tuple[int, int], around: Surroundings, tried: _Try, progress: Progress
    ) -> bool:
        """Run one step; return whether the next one can begin."""
        if migration.name in progress.applied:
            tried.results.append(replace(recorded_meanwhile(migration, self._observer), outcome=Outcome.DONE))
            return True
        if unmet := tuple(name for name in migration.requires if name not in progress.applied):
            tried.results.append(blocked(migration, unmet))
            return False
        self._observer(StepStarted(migration.name, *place, migration.source))
        tried.last = tried.attempts[migration.name] = attempt = Attempt(around, migration, progress)
        end = attempt.end()
        if isinstance(end, Applied) and self._around.interruption.signal:
            end = Stopped(StopNow())  # the body has caught the exception that the signal raised in it
        if not isinstance(end, Applied):
            tried.end = end
            return False
        progress.applied.add(migration.name)
        # While the transaction is open, its lock keeps every other run from starting anything.
        progress.lock_checked = True
        tried.results.append(attempt.result(Outcome.DONE))
        self._observer(StepFinished(*place, tried.results[-1]))
        return True

    def _commit(self, run: AtomicRun, tried: _Try) -> None:
        if tried.last is not None:
            try:
                run.commit(tried.last.guard)
            except BaseException as error:  # noqa: BLE001 - it is settled like an exception of a body
                tried.end = tried.last.judged(error)
                return
            checkpoints.reached(Checkpoint.COMMITTED)
        tried.is_durable = True

    # -- the settlement -------------------------------------------------------------------------------------------------------

    def _settle(self, tried: _Try, plan: Plan, progress: Progress) -> bool:
        """Record how the run ended; return whether it is tried again."""
        if tried.is_durable:
            self._all_applied(tried, progress)
            return False
        if tried.last is None or tried.end is None:  # a signal between two migrations, or a migration that is blocked
            self._report(tried, None, plan, progress)
            return False
        others = len(tried.attempts) - 1
        what = self._extent.what
        with_it = f"; {counted(others, 'migration')} before it in {what} {'was' if others == 1 else 'were'} rolled back with it"
        settled = tried.last.settle(
            tried.end, note=f"nothing of {what} was kept ({self._extent.option}){with_it if others else ''}"
        )
        if settled.result.outcome is Outcome.APPLIED:  # the connection was lost after the server had committed
            self._all_applied(tried, progress)
            return False
        name, error = settled.result.name, settled.result.error
        if settled.retry and not progress.broken and self._pauses.pause(name, f"{error}; {self._again()}"):
            return True
        self._report(tried, settled.result, plan, progress)
        return False

    def _again(self) -> str:
        return "the whole run begins again" if not self._extent.total else f"{self._extent.what} begins again"

    def _all_applied(self, tried: _Try, progress: Progress) -> None:
        progress.changed = bool(tried.attempts)
        progress.results = [replace(each, outcome=Outcome.APPLIED) for each in tried.results]
        refresh_after(self._around, self._patience, tried.results)

    def _report(self, tried: _Try, failed: Result | None, plan: Plan, progress: Progress) -> None:
        """Record a result for every step. Where something may have been kept, it is looked up for each step that had done its work."""
        known = {each.name: each for each in (*tried.results, *([failed] if failed is not None else ()))}
        may_be_kept = failed is not None and failed.commits != 0
        for index, step in enumerate(plan.steps, 1):
            name, source = step.migration.name, step.migration.source
            result = known.get(name) or Result(name, Outcome.NOT_REACHED, source=source)
            was_told = result.outcome is Outcome.DONE
            if was_told:
                result = self._undone(result, tried.attempts.get(name), may_be_kept=may_be_kept)
            if result.outcome is not Outcome.APPLIED:
                result = with_kept_before(result, plan, stop_on_partial=self._stop_on_partial)
            progress.changed = progress.changed or result.outcome is Outcome.APPLIED or result.commits != 0
            progress.results.append(result)
            if not was_told:
                self._observer(StepFinished(*self._place(index, plan), result))

    @staticmethod
    def _undone(result: Result, attempt: Attempt | None, *, may_be_kept: bool) -> Result:
        """Return the result of a migration that had done its work before the run failed."""
        if attempt is None:  # it did not run: the body of another migration had recorded it
            return replace(result, outcome=Outcome.NOT_REACHED, hint="")
        if not may_be_kept:
            return replace(result, outcome=Outcome.ROLLED_BACK)
        try:
            kept = attempt.is_durable()
        except Exception:  # noqa: BLE001 - also MemoryError
            told = "whether it stayed in the database is not known"
            return replace(result, outcome=Outcome.INTERRUPTED, commits=None, error=told)
        return replace(result, outcome=Outcome.APPLIED if kept else Outcome.ROLLED_BACK)


def _intent(plan: Plan, extent: Extent) -> AtomicIntent:
    """Return what the database room needs to know before a run that is one transaction."""
    migrations = [step.migration for step in plan.steps]
    return AtomicIntent(
        places=plan.places,
        needed_until={
            view: place
            for place, step in enumerate(plan.steps, 1)
            for view in (*step.views.down, *step.views.up, *extent.woven.get(step.migration.name, ()))
        },
        # A body may write records of other migrations: that is how people squash.
        following={one.name: (after.name, *after.requires) for one, after in pairwise(migrations)},
        may_go_back={one.name for one in migrations if _mentions_rollback(one.function)},
        scope=extent.scope,
        option=extent.option,
    )


def _mentions_rollback(function: object) -> bool:
    """Return whether a body, or a function of the same file that it calls, mentions `rollback`.

    A rollback in a function of another file is not found; when it happens, the run begins again, carefully.

    Args:
        function: the body, decorated or not.
    """
    functions = chain_of(function)
    for one in functions:  # the list grows in the loop
        names = set(one.__code__.co_freevars).union(*(code.co_names for code in codes_of(one.__code__)))
        if "rollback" in names:
            return True
        called = [one.__globals__.get(name) for name in names]
        called += [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        found = [part for each in called for part in chain_of(each)]
        functions += [each for each in found if each.__module__ == one.__module__ and each not in functions]
    return False


def _is_filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # nothing was assigned to the variable yet
        return False
    return True
