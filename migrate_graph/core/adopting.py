"""The statements with which other databases get what somebody changed by hand, in their order, and what cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from msgspec import Struct

from migrate_graph.core.drift import Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.quoting import unsigned


class Making(Struct, frozen=True):
    """The statements that make one thing, or change it to what it is now.

    Attributes:
        now: statements in their order, for the place in `ORDER` of the thing's kind; none where they cannot be written.
        later: statements that link it to other things, for when all of these exist.
        gone: statements that drop it before anything is made, where it is made anew.
        lacks: what of the thing the statements leave out, in words.
        doubts: what somebody has to check, though the statements leave nothing out.
        place: the kind at whose place in `ORDER` it is made; empty for its own.
    """

    now: Sequence[str] = ()
    later: Sequence[str] = ()
    gone: Sequence[str] = ()
    lacks: Sequence[str] = ()
    doubts: Sequence[str] = ()
    place: str = ""


Definer: TypeAlias = Callable[[Drifted, Fact], Making]

ORDER = (
    "schema", "extension", "type", "sequence", "table", "column", "function", "procedure", "view", "index", "constraint",
    "statistics", "rule", "trigger", "policy", "comment",
)  # fmt: skip
"""Kinds in the order in which they are made; they are dropped the other way round."""

_USED_BY_COLUMNS = frozenset({"schema", "extension", "type", "sequence", "function", "procedure"})
"""Kinds that are dropped last: a column that uses one may stay, and is changed first so that it does not use it any more."""


def rank_of(fact: Fact) -> int:
    """Return the place of a fact's kind in `ORDER`; other kinds come after all of these."""
    kind = "view" if fact.kind == "matview" else fact.kind  # each may read the other
    return ORDER.index(kind) if kind in ORDER else len(ORDER)


class Adoption(Struct, frozen=True):
    """What can be written of a drift, and what cannot.

    Attributes:
        statements: in the order in which they can run.
        left: what cannot be written, each with the reason.
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
    readers: frozenset[Fact] = frozenset(),
) -> Adoption:
    """Return the statements of a migration that does what somebody did by hand.

    Args:
        changes: what somebody did; within one kind, what others need comes first.
        made: returns the statements for what is there now.
        dropped: returns the statement for what is gone; empty where that cannot be written.
        included: kinds of parts that the statement of a new table or view makes.
        managed: relations that view managers make: a change of one belongs into its manager.
        readers: functions that cannot stay when relations that they read are dropped: they are dropped together with views.
    """
    drops: list[tuple[tuple[int, int], str]] = []
    last: list[tuple[tuple[int, int], str]] = []
    makes: list[tuple[int, str]] = []
    changes = [*changes]
    depths = _depths(changes, readers)
    come = {change.fact.identity for change in changes if change.before is None}
    left: list[tuple[Fact, str]] = []
    renamed = _perhaps_renamed(changes)
    for change in changes:
        if change.relation in managed and change.fact.identity == change.relation:
            left.append((change.fact, "a view manager makes it: change the manager, or its query"))
        elif change.fact in renamed:
            left.append((change.fact, renamed[change.fact]))
        elif change.after is None:
            statement = dropped(change)
            is_last = (
                change.fact.kind in _USED_BY_COLUMNS and change.fact.identity not in come and change.fact not in readers
            )
            rank = ORDER.index("view") if change.fact in readers else rank_of(change.fact)
            if statement:
                (last if is_last else drops).append(((rank, depths[change.fact]), statement))
            else:
                left.append((change.fact, _BY_HAND))
        else:
            parts = change.parts if change.before is None else ()
            for fact in (change.fact, *(part for part in parts if part.kind not in included)):
                making = made(change, fact)
                rank = _note(fact, making, makes, left)
                drops += [((rank, depths[change.fact]), each) for each in making.gone]
    for each in (drops, last):
        each.sort(key=lambda ranked: ranked[0], reverse=True)
    makes.sort(key=lambda each: each[0])
    return Adoption(tuple(statement for _, statement in (*drops, *makes, *last)), tuple(left))


_BY_HAND = "nothing here writes a statement for it: write it by hand"


def _note(fact: Fact, making: Making, makes: list[tuple[int, str]], left: list[tuple[Fact, str]]) -> int:
    """Note the statements that make a thing, and what of it cannot be written; return its place in the order."""
    rank = ORDER.index(making.place) if making.place else rank_of(fact)
    if not making.now:
        left.append((fact, f"{'; '.join(making.doubts)}: write it by hand" if making.doubts else _BY_HAND))
        return rank
    if making.lacks:
        left.append((fact, f"no statement says its {', '.join(making.lacks)}: write that by hand"))
    left += [(fact, each) for each in making.doubts]
    makes += [(rank, each) for each in making.now]
    makes += [(len(ORDER) + 1, each) for each in making.later]
    return rank


def _depths(changes: Sequence[Drifted], readers: frozenset[Fact]) -> dict[Fact, int]:
    """Return for each change the length of the longest chain of changed things that its old definition names: for a view over a view, 1."""
    below = {
        change.fact: [
            other.fact
            for other in changes
            if other.fact != change.fact
            and (other.relation == other.fact.identity or other.fact in readers)
            and _called(other.fact) in (change.before or "")
        ]
        for change in changes
    }
    depths: dict[Fact, int] = {}
    for start in below:
        stack = [start]
        while stack:
            missing = [each for each in below[stack[-1]] if each not in depths and each not in stack]
            if missing:
                stack.append(missing[0])
                continue
            fact = stack.pop()
            depths[fact] = max((depths.get(each, 0) + 1 for each in below[fact]), default=0)
    return depths


def _called(fact: Fact) -> str:
    """Return how a definition names a thing: a function with its bracket, but without the types of its arguments."""
    return f"{unsigned(fact.identity)}(" if fact.kind in {"function", "procedure"} else fact.identity


_HOLDS = {"column": "the values", "table": "the rows", "sequence": "the number that it has reached"}
"""Kinds of things that hold data, with the data that would be lost if such a thing were dropped and made anew."""


def _perhaps_renamed(changes: Sequence[Drifted]) -> dict[Fact, str]:
    """Return the things that may have been renamed, with what to do: dropping one and making it anew would lose what it holds.

    A thing that is gone and a new one are alike if they are columns of one table or sequences with the same definition, or tables
    whose columns have the same names.
    """
    gone, come = (
        [each for each in changes if each.fact.kind in _HOLDS and (each.after is None) is is_gone and (each.before is None) is not is_gone]
        for is_gone in (True, False)
    )  # fmt: skip
    found: dict[Fact, str] = {}
    for old in gone:
        for new in come:
            if _looks(old) == _looks(new):
                why = (
                    f"{old.fact.identity} may have been renamed to {new.fact.identity}, and dropping it would lose {_HOLDS[old.fact.kind]}: "
                    "write by hand what was done"
                )
                found |= {old.fact: why, new.fact: why}
    return found


def _looks(change: Drifted) -> tuple[object, ...]:
    """Return what stays the same of a thing when it is renamed."""
    kind, relation = change.fact.kind, change.relation
    if kind == "table":
        columns = {part.identity.removeprefix(f"{relation}.") for part in change.parts if part.kind == "column"}
        return (kind, frozenset(columns))
    return (kind, relation if kind == "column" else "", change.after if change.before is None else change.before)
