"""Whether a plan can be one transaction, which migrations prevent that, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.coalescing import why_apart
from migrate_graph.core.reachability import closure
from migrate_graph.errors import DecisionNeeded, UsageError
from migrate_graph.messages import counted, typed

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan
    from migrate_graph.user_files import SourceLocation

_MOST = 5
"""How many obstacles a message shows at most; `plan --atomic --json` has them all."""


class Obstacle(Struct, frozen=True):
    """A migration of a plan that cannot be part of one transaction.

    Attributes:
        name: name of the migration.
        why: why it cannot, in words.
        source: the place in the code that is the reason.
    """

    name: str
    why: str
    source: SourceLocation


def obstacles(plan: Plan) -> tuple[Obstacle, ...]:
    """Return the migrations of a plan that are known not to fit into one transaction, in its order."""
    return tuple(found for step in plan.steps if (found := _obstacle(step.migration)) is not None)


def _obstacle(migration: Migration) -> Obstacle | None:
    apart = why_apart(migration)
    return Obstacle(migration.name, *apart) if apart is not None else None


def way_around(plan: Plan) -> tuple[str, ...]:
    """Return the commands that apply a plan in several parts.

    For each obstacle: first its requirements in one transaction, then the obstacle by itself; at the end the rest in one transaction.
    """
    commands: list[str] = []
    done: set[str] = set()
    for each in obstacles(plan):
        before = _required(plan, each.name) - done
        direct = [name for name in _migration(plan, each.name).requires if name in before]
        if len(direct) == 1:
            commands.append(typed("migrate apply --atomic --to", *direct))
        elif direct:
            commands.append(" ".join(["migrate apply --atomic", *(typed("--select", f"+{name}") for name in direct)]))
        commands.append(typed("migrate apply --no-atomic --to", each.name))
        done |= {each.name, *before}
    if done and len(done) < len(plan.steps):
        commands.append("migrate apply --atomic")
    return tuple(commands)


def _migration(plan: Plan, name: str) -> Migration:
    return plan.steps[plan.places[name] - 1].migration


def _required(plan: Plan, name: str) -> set[str]:
    """Return the names of the steps that a step requires, directly or indirectly."""

    def steps_before(each: str) -> set[str]:
        return plan.places.keys() & set(_migration(plan, each).requires)

    return closure(steps_before(name), steps_before)


def require_possible(plan: Plan) -> None:
    """Refuse a plan that cannot be one transaction, before anything is run.

    Raises:
        UsageError: migrations of the plan do not fit into one transaction; the message names them.
        DecisionNeeded: a migration that was asked for needs a decision first.
    """
    found = obstacles(plan)
    if found:
        raise UsageError(f"the plan cannot be one transaction: {'; '.join(told(found))}", hint="\n".join(_hint(plan)))
    if plan.undecided:
        names = ", ".join(plan.undecided)
        raise DecisionNeeded(
            f"nothing was run: with --atomic all that was asked for is applied, or nothing, and {names} needs a decision",
            hint="\n".join(typed("migrate resolve", name, "--applied | --retry") for name in plan.undecided),
        )


def told(found: tuple[Obstacle, ...]) -> Iterator[str]:
    """Yield the first obstacles in words, and how many more there are."""
    for each in found[:_MOST]:
        yield f"{each.name} ({each.source}): {each.why}"
    if len(found) > _MOST:
        yield f"and {counted(len(found) - _MOST, 'more')}"


def _hint(plan: Plan) -> Iterator[str]:
    commands = way_around(plan)
    yield "apply them by themselves, and the others in as few transactions as that allows:"
    yield from commands[:_MOST]
    if len(commands) > _MOST:
        yield "…"
        yield commands[-1]


def added_values(plan: Plan) -> tuple[tuple[str, SourceLocation], ...]:
    """Return the migrations that add a value to an enum: in one transaction, no later migration can use the value."""
    return tuple(
        (step.migration.name, place)
        for step in plan.steps
        if (place := step.migration.facts.adds_enum_value) is not None and step is not plan.steps[-1]
    )
