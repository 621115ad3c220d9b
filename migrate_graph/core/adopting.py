"""What a migration must say so that other databases get what somebody changed by hand: statements in their order, and what cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from migrate_graph.core.drift import Drifted
from migrate_graph.core.footprint import Fact


@dataclass(frozen=True, slots=True)
class Making:
    """The statements that make one thing, or change it to what it is now.

    Attributes:
        now: in their order, where the thing has its place; none where that cannot be written.
        later: what ties it to others, when everything is there.
    """

    now: Sequence[str] = ()
    later: Sequence[str] = ()


Definer: TypeAlias = Callable[[Drifted, Fact], Making]

ORDER = (
    "schema", "extension", "type", "sequence", "table", "column", "function", "procedure", "view", "matview", "index", "constraint",
    "statistics", "rule", "trigger", "policy", "comment",
)  # fmt: skip
"""Kinds in the order in which they are made; they are dropped the other way round."""


def rank_of(fact: Fact) -> int:
    """Return the place of a fact's kind in that order; of all others after them."""
    return ORDER.index(fact.kind) if fact.kind in ORDER else len(ORDER)


@dataclass(frozen=True, slots=True)
class Adoption:
    """What can be written of a drift, and what cannot.

    Attributes:
        statements: in the order in which they can run.
        left: what nobody can write, with why.
    """

    statements: tuple[str, ...] = ()
    left: tuple[tuple[Fact, str], ...] = ()


def adoption_of(
    changes: Iterable[Drifted],
    *,
    made: Definer,
    dropped: Callable[[Drifted], str],
    included: frozenset[str],
    managed: frozenset[str] = frozenset(),
) -> Adoption:
    """Return what a migration says that does what somebody did by hand.

    Args:
        changes: what somebody did; of one kind, what others need comes first.
        made: gives the statements for what is there now.
        dropped: gives the statement for what is gone; empty where that cannot be written.
        included: kinds of parts that the statement of a new table or view makes.
        managed: relations that view managers make: they are changed there.
    """
    drops: list[tuple[int, str]] = []
    makes: list[tuple[int, str]] = []
    left: list[tuple[Fact, str]] = []
    for change in changes:
        if change.relation in managed and change.fact.identity == change.relation:
            left.append((change.fact, "a view manager makes it: change the manager, or its query"))
        elif change.after is None:
            statement = dropped(change)
            _note(change.fact, Making([statement] if statement else []), drops, left)
        else:
            parts = change.parts if change.before is None else ()
            for fact in (change.fact, *(part for part in parts if part.kind not in included)):
                _note(fact, made(change, fact), makes, left)
    drops.sort(key=lambda each: -each[0])
    makes.sort(key=lambda each: each[0])
    return Adoption(tuple(statement for _, statement in (*drops, *makes)), tuple(left))


def _note(fact: Fact, making: Making, found: list[tuple[int, str]], left: list[tuple[Fact, str]]) -> None:
    if not making.now:
        left.append((fact, "nothing here writes a statement for it: write it by hand"))
    found += [(rank_of(fact), each) for each in making.now]
    found += [(len(ORDER) + 1, each) for each in making.later]
