"""What both ways to walk a plan say of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.core.events import Observer, Outcome, Result, Warned
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.errors import MigrateGraphError
from migrate_graph.executor.attempt import Attempt, Surroundings, Walk, lock_lost
from migrate_graph.executor.pauses import Pauses
from migrate_graph.executor.refreshing import Refreshing

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.executor.pauses import Patience


def blocked(migration: Migration, by: Sequence[str]) -> Result:
    """Return the result of a migration that waits for others, or for a human."""
    waits = "needs a decision: migrate resolve" if tuple(by) == (migration.name,) else f"waits for {', '.join(by)}"
    return Result(migration.name, Outcome.BLOCKED, error=waits, source=migration.source)


def recorded_meanwhile(migration: Migration, observer: Observer) -> Result:
    """Return the result of a migration that the body of an earlier one has recorded as installed."""
    note = "recorded as installed by an earlier migration of this run; not run"
    observer(Warned(f"{migration.name} is {note}"))
    return Result(migration.name, Outcome.APPLIED, hint=note, source=migration.source)


def with_kept_before(result: Result, plan: Plan, *, stop_on_partial: bool) -> Result:
    """Return a result that tells what earlier attempts have left in the database, and whether a human has to decide about it.

    Args:
        result: of a migration that was not applied.
        plan: it is a part of.
        stop_on_partial: see `RunOptions`.
    """
    before = plan.standing.get(Node(NodeKind.MIGRATION, result.name))
    result = replace(result, kept_before=before.commits if before else 0)
    failed = result.outcome in {Outcome.RAISED, Outcome.REFUSED} and bool(result.commits or result.kept_before)
    is_resumable = plan.steps[plan.places[result.name] - 1].migration.resumable
    return replace(result, needs_decision=result.needs_decision or (stop_on_partial and failed and not is_resumable))


def look_again(around: Surroundings, walk: Walk, names: Sequence[str], *, reverts: bool = False) -> None:
    """Read which of these are installed now: a body may have written records of others, which is how people squash.

    Whether the lock is still ours is asked with it.
    """
    try:
        installed = around.backend.installed_if_held(around.lock, names)
    except MigrateGraphError as error:
        walk.broken = error
        return
    if installed is None:
        walk.broken = lock_lost(around.backend, reverts=reverts)
        return
    walk.applied.difference_update(names)
    walk.applied.update(installed)
    walk.is_sure = True


def not_to_run(migration: Migration, walk: Walk, observer: Observer) -> Result | None:
    """Return the result of a migration that an earlier one has recorded, or that waits for others; None for one that can run."""
    if migration.name in walk.applied:
        return recorded_meanwhile(migration, observer)
    unmet = tuple(name for name in migration.requires if name not in walk.applied)
    return blocked(migration, unmet) if unmet else None


def tried(
    around: Surroundings,
    patience: Patience,
    migration: Migration,
    walk: Walk,
    *,
    begins: Callable[[AttemptKey], None] = lambda _key: None,
    attempt_at: Callable[[Surroundings, Migration, Walk], Attempt] = Attempt,
) -> Result:
    """Run a migration, and try again from the beginning when somebody was in the way and nothing was kept.

    Args:
        around: what the run works with.
        patience: how often.
        migration: which.
        walk: how far the run is.
        begins: told of each attempt before it begins.
        attempt_at: makes an attempt.
    """
    pauses = Pauses(patience, around.interruption, around.observer)
    while True:
        attempt = attempt_at(around, migration, walk)
        begins(attempt.key)
        settled = attempt.run()
        if not settled.retry or walk.broken or not pauses.pause(migration.name, settled.result.error):
            if not walk.broken and (settled.result.outcome.succeeded or settled.result.commits):
                refresh_after(around, patience, [settled.result], reverts=attempt.reverts)
            return settled.result


def refresh_after(
    around: Surroundings, patience: Patience, results: Sequence[Result], *, reverts: bool = False
) -> None:
    """Fill what came up without its rows in migrations that are committed; a rehearsal has done so already."""
    if not around.fills_at_once:
        Refreshing(
            around.backend, around.observer, around.interruption, patience, around.watch, around.is_seated, reverts
        ).after(results)


def note(result: Result, walk: Walk, *, keep_going: bool, fail_fast: bool) -> None:
    """Note what a migration that has run means for the others."""
    if result.outcome is Outcome.APPLIED:
        walk.applied.add(result.name)
    walk.changed = walk.changed or result.outcome is Outcome.APPLIED or result.commits != 0
    walk.stopped = (
        walk.stopped
        or result.outcome is Outcome.INTERRUPTED
        or (result.outcome is Outcome.RAISED and not keep_going)
        or (result.outcome is Outcome.REFUSED and fail_fast)
    )
