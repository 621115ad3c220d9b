"""What the different ways to run a plan have in common: results of steps that do not run, tries, and the state between steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.core.events import Observer, Outcome, Result, Warned
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.errors import MigrateGraphError, Stopped
from migrate_graph.executor.attempt import Attempt, Progress, Surroundings, lock_lost
from migrate_graph.executor.own_work import bring_back_views
from migrate_graph.executor.pauses import Pauses
from migrate_graph.executor.refreshing import Refreshing
from migrate_graph.messages import some

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.executor.pauses import Patience


def blocked(migration: Migration, by: Sequence[str]) -> Result:
    """Return the result of a migration that waits for other migrations, or for a decision of a human."""
    waits = "needs a decision: migrate resolve" if tuple(by) == (migration.name,) else f"waits for {', '.join(by)}"
    return Result(migration.name, Outcome.BLOCKED, error=waits, source=migration.source)


def recorded_meanwhile(migration: Migration, observer: Observer) -> Result:
    """Return the result of a migration that the body of an earlier one has recorded as installed."""
    note = "recorded as installed by an earlier migration of this run; not run"
    observer(Warned(f"{migration.name} is {note}"))
    return Result(migration.name, Outcome.APPLIED, hint=note, source=migration.source)


def with_kept_before(result: Result, plan: Plan, *, stop_on_partial: bool) -> Result:
    """Return a result completed with what earlier attempts have left in the database, and whether a human has to decide about it.

    Args:
        result: the result of a migration that was not applied.
        plan: the plan that the migration is a step of.
        stop_on_partial: see `RunOptions`.
    """
    before = plan.standing.get(Node(NodeKind.MIGRATION, result.name))
    result = replace(result, kept_before=before.commits if before else 0)
    failed = result.outcome in {Outcome.RAISED, Outcome.REFUSED} and bool(result.commits or result.kept_before)
    is_resumable = plan.steps[plan.places[result.name] - 1].migration.resumable
    return replace(result, needs_decision=result.needs_decision or (stop_on_partial and failed and not is_resumable))


def look_again(around: Surroundings, progress: Progress, names: Sequence[str], *, reverts: bool = False) -> None:
    """Read which of these migrations are installed now, and whether this run still holds the lock, in one query.

    A body may have written records of other migrations: that is how people squash.
    """
    try:
        installed = around.backend.installed_if_held(around.lock, names)
    except MigrateGraphError as error:
        progress.broken = error
        return
    if installed is None:
        progress.broken = lock_lost(around.backend, reverts=reverts)
        return
    progress.applied.difference_update(names)
    progress.applied.update(installed)
    progress.lock_checked = True


def bring_back(around: Surroundings, progress: Progress) -> None:
    """Bring up the views that failed migrations of this run have left down, before another migration begins: it may read them.

    Where that is impossible, no further migration begins, as none would begin in the next run; the end of the run says what to do.
    In a rehearsal no commit is durable, so none has left a view down.
    """
    if not progress.may_lack_views or around.fills_at_once:
        return
    progress.may_lack_views = False
    try:
        history = around.backend.read_history()
        if not history.views_down:
            return
        missing = bring_back_views(
            around.backend, progress.graph, around.observer, around.interruption, history.applied
        )
    except Stopped:
        return  # the run ends with the signal
    except MigrateGraphError as error:
        progress.broken = error
        return
    if missing:
        progress.stopped = True
        names = some([f"{each.manager} ({each.error})" for each in missing], 5)
        told = (
            f"no further migration begins: a failed one has left views down, and they cannot be brought back: {names}"
        )
        around.observer(Warned(told))


def not_to_run(migration: Migration, progress: Progress, observer: Observer) -> Result | None:
    """Return the result of a migration that must not run: an earlier body has recorded it, or it waits for others. None: it can run."""
    if migration.name in progress.applied:
        return recorded_meanwhile(migration, observer)
    unmet = tuple(name for name in migration.requires if name not in progress.applied)
    return blocked(migration, unmet) if unmet else None


def tried(
    around: Surroundings,
    patience: Patience,
    migration: Migration,
    progress: Progress,
    *,
    begins: Callable[[AttemptKey], None] = lambda _key: None,
    attempt_at: Callable[[Surroundings, Migration, Progress], Attempt] = Attempt,
) -> Result:
    """Run a migration; when another session blocked it and nothing of it was kept, try again from the beginning.

    Args:
        around: what the run works with.
        patience: how often it is tried, and how long the pauses are.
        migration: the migration.
        progress: how far the run is.
        begins: called with the key of each attempt before it begins.
        attempt_at: makes an attempt.
    """
    pauses = Pauses(patience, around.interruption, around.observer)
    while True:
        attempt = attempt_at(around, migration, progress)
        begins(attempt.key)
        settled = attempt.run()
        if not settled.retry or progress.broken or not pauses.pause(migration.name, settled.result.error):
            if not progress.broken and (settled.result.outcome.succeeded or settled.result.commits):
                refresh_after(around, patience, [settled.result], reverts=attempt.reverts)
            return settled.result


def refresh_after(
    around: Surroundings, patience: Patience, results: Sequence[Result], *, reverts: bool = False
) -> None:
    """Fill the materialized views that came up without their rows in committed migrations; a rehearsal has filled them already."""
    if not around.fills_at_once:
        Refreshing(
            around.backend, around.observer, around.interruption, patience, around.watch, around.is_seated, reverts
        ).after(results)


def note(result: Result, progress: Progress, *, keep_going: bool, fail_fast: bool) -> None:
    """Update `progress` with the result of a migration: what is applied, and whether the run goes on."""
    if result.outcome is Outcome.APPLIED:
        progress.applied.add(result.name)
    progress.changed = progress.changed or result.outcome is Outcome.APPLIED or result.commits != 0
    progress.may_lack_views = progress.may_lack_views or (not result.outcome.succeeded and result.commits != 0)
    progress.stopped = (
        progress.stopped
        or result.outcome is Outcome.INTERRUPTED
        or (result.outcome is Outcome.RAISED and not keep_going)
        or (result.outcome is Outcome.REFUSED and fail_fast)
    )
