"""Runs the plan of a revert: calls the `down` of each migration, removes its record, and restores the views as they were before it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from migrate_graph.core.events import Outcome, Result, StepFinished, StepStarted, Warned
from migrate_graph.core.undoing import Undoing, undoing
from migrate_graph.executor.attempt import Attempt, Progress, Surroundings
from migrate_graph.executor.steps import look_again, tried
from migrate_graph.executor.views import RunViews

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan
    from migrate_graph.core.timeline import Moment, ViewBlock
    from migrate_graph.executor.pauses import Patience


class UndoViews(RunViews):
    """Opens view managers while a migration is undone: views as they are with it go down, views as they were before it come up."""

    undoes = True

    def __init__(self, *arguments: Any, order: Sequence[str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._order = order
        self._left_over: AbstractSet[str] | None = None

    def _undoing(self) -> Undoing:
        return undoing(self._graph, self._order, self.read_applied(), self.migration)

    def _block(self, names: Sequence[str]) -> tuple[ViewBlock, Moment]:
        found = self._undoing()
        return self._block_of(found, names), found.then

    def _block_of(self, found: Undoing, names: Collection[str]) -> ViewBlock:
        return found.block(names, self._exist_though_closed())

    def _exist_though_closed(self) -> AbstractSet[str]:
        """Return the views whose window the migration closed, and that were not dropped; read at the first call, and kept."""
        if self._left_over is None:
            closed = {name for name, view in self._graph.views.items() if view.until == self.migration}
            with self.work.views.working():
                there = closed & self.work.views.remembered() if closed else frozenset[str]()
                self._left_over = there - self.work.views.dropped_by_hand(there) if there else there
        return self._left_over

    def _moment(self) -> Moment:
        # Views that exist only while the migration is applied, and views that it has retired, are in the block around its `down`.
        self._now = self._now or self._undoing().then
        return self._now

    def readers(self, names: Collection[str]) -> Sequence[str]:
        """See `weaving.Company`."""
        return self._block_of(self._undoing(), names).down

    def after(self, names: Collection[str]) -> Sequence[str]:
        """See `weaving.Company`."""
        return self._moment().living_versions(names)

    def has_turn(self) -> bool:
        """Return False: the views of the migration's windows go down and come up around its `down`."""
        return False

    def open_undone(self, db: Any) -> bool:
        """Take down the views that the migration has created, changed or touched; return whether there were any."""
        opened = self._undoing().opened
        if opened:
            self._open(opened, {}, db)
        return bool(opened)

    def close_undone(self) -> None:
        """Bring up the views that `open_undone` has taken down, as they were before the migration."""
        self._bring_up(self._undoing().opened)


class Undo(Attempt):
    """One attempt at undoing one migration."""

    reverts = True
    _views: UndoViews

    def __init__(self, around: Surroundings, migration: Migration, progress: Progress, *, order: Sequence[str]) -> None:
        self._order = order
        assert callable(migration.down)  # noqa: S101 - a plan of a revert holds only migrations that have one
        self._down = migration.down
        super().__init__(around, replace(migration, function=self._undo, after=None, resumable=False), progress)

    def _views_of(self, progress: Progress, foreseen: frozenset[str] | None) -> UndoViews:
        return UndoViews(
            progress.graph,
            self._migration.name,
            self._observer,
            foreseen=foreseen,
            keeps_unmanaged=self._around.weaving.keeps_unmanaged,
            defers=self._migration.defers,
            order=self._order,
        )

    def _undo(self, db: Any) -> Any:
        views = self._views
        opened = views.open_undone(db)
        try:
            value = self._down(db)
        except BaseException:
            if opened:
                views.work.views.abandon()
            raise
        if opened and value:
            views.close_undone()
        elif opened:
            views.work.views.abandon()  # a falsy return value: the attempt is refused and rolled back
        return value


class RevertRunner:
    """Undoes every step of a plan, one after another.

    Args:
        around: what the run works with.
        patience: how often a migration is tried when another session blocks it.
    """

    def __init__(self, around: Surroundings, patience: Patience) -> None:
        self._around = around
        self._patience = patience

    def run(self, plan: Plan, progress: Progress) -> None:
        """Undo the migrations of a plan; the result of each step is put into `progress`."""
        for index, step in enumerate(plan.steps, 1):
            name = step.migration.name
            if progress.results and not (progress.stopped or progress.broken or self._around.interruption.signal):
                look_again(self._around, progress, (name, *sorted(progress.graph.descendants(name))), reverts=True)
            result = self._one(step.migration, (index, len(plan.steps)), plan, progress)
            progress.results.append(result)
            self._around.observer(StepFinished(index, len(plan.steps), result))

    def _one(self, migration: Migration, place: tuple[int, int], plan: Plan, progress: Progress) -> Result:
        if progress.stopped or progress.broken or self._around.interruption.signal:
            return Result(migration.name, Outcome.NOT_REACHED, source=migration.source)
        if migration.name not in progress.applied:
            self._around.observer(Warned(f"{migration.name} is not installed any more: its down did not run"))
            return Result(migration.name, Outcome.REVERTED, source=migration.source)
        if held := sorted(progress.graph.descendants(migration.name) & progress.applied):
            progress.stopped = True
            error = f"is required by {', '.join(held)}"
            return Result(migration.name, Outcome.BLOCKED, error=error, source=migration.source)
        self._around.observer(StepStarted(migration.name, *place, migration.source))
        undo = partial(Undo, order=plan.order)
        result = tried(self._around, self._patience, migration, progress, attempt_at=undo)
        progress.changed = progress.changed or result.outcome is Outcome.REVERTED or result.commits != 0
        # This one may require migrations that come after it in the plan, so these cannot be undone.
        progress.stopped = result.outcome is not Outcome.REVERTED
        progress.applied.discard(migration.name)
        return replace(result, needs_decision=result.needs_decision or (progress.stopped and bool(result.commits)))
