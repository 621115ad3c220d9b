"""Places migrations and views in lanes, a row for each: its column, and what it waits for above or below it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from migrate_graph.render.picture import PictureEdge, PictureNode


class Join(Struct, frozen=True):
    """A lane that leads to a row from the side.

    Attributes:
        giver: the column that the lane comes from.
        ends: whether the lane ends here: no row below waits for it.
        started: whether another lane has reached the row's column already.
        held: for each column, whether it holds a lane while this one joins.
    """

    giver: int
    ends: bool
    started: bool
    held: tuple[bool, ...]


class Place(Struct, frozen=True):
    """Where a row stands.

    Attributes:
        column: of the node.
        joins: the lanes that lead to it from the side, from left to right.
        held: for each column, whether it holds a lane or the node itself.
    """

    column: int
    joins: tuple[Join, ...]
    held: tuple[bool, ...]


def parents_of(rows: Sequence[PictureNode], edges: Iterable[PictureEdge]) -> dict[str, list[str]]:
    """Return, for each row, the rows above it that it waits for, in their order."""
    places = {node.key: place for place, node in enumerate(rows)}
    parents: dict[str, list[str]] = {node.key: [] for node in rows}
    for edge in sorted(edges, key=lambda edge: places.get(edge.before, -1)):
        if edge.before in places and edge.after in places and places[edge.before] < places[edge.after]:
            parents[edge.after].append(edge.before)
    return {key: list(dict.fromkeys(found)) for key, found in parents.items()}


def backwards_of(rows: Sequence[PictureNode], edges: Iterable[PictureEdge]) -> dict[str, list[str]]:
    """Return, for each row, the names of rows that it waits for but that stand below it, or are itself: no lane leads upwards."""
    places = {node.key: place for place, node in enumerate(rows)}
    found: dict[str, list[str]] = {node.key: [] for node in rows}
    for edge in edges:
        if edge.before in places and edge.after in places and places[edge.before] >= places[edge.after]:
            found[edge.after].append(rows[places[edge.before]].name)
    return found


def places_of(rows: Sequence[PictureNode], parents: Mapping[str, Sequence[str]], *, widest: int) -> list[Place] | None:
    """Return the place of every row; None where more than `widest` lanes would stand side by side."""
    lanes = _Lanes.of(parents)
    found = []
    for node in rows:
        found.append(lanes.place(node.key))
        if len(lanes.held) > widest:
            return None
    return found


class _Lanes(Struct):
    """The columns of the drawing: each holds the key of a node that a later row waits for, or nothing."""

    parents: Mapping[str, Sequence[str]]
    wanted: dict[str, int]
    held: list[str | None] = field(default_factory=list)
    just_ended: int = -1
    """The column whose lane ended in the row above. The next row does not use it: two unrelated nodes would look like a chain."""

    @classmethod
    def of(cls, parents: Mapping[str, Sequence[str]]) -> _Lanes:
        wanted: dict[str, int] = defaultdict(int)
        for found in parents.values():
            for parent in found:
                wanted[parent] += 1
        return cls(parents, wanted)

    def place(self, key: str) -> Place:
        """Return where the next node stands, and keep its column for the rows that wait for it."""
        parents = self.parents[key]
        for parent in parents:
            self.wanted[parent] -= 1
        straight = next(
            (held for held in self.held if held is not None and held in parents and not self.wanted[held]), None
        )
        column = self.held.index(straight) if straight else self._free_column()
        started = straight is not None
        joins = []
        for parent in sorted((each for each in parents if each != straight), key=self.held.index):
            giver, ends = self.held.index(parent), not self.wanted[parent]
            joins.append(Join(giver, ends, started, self._held()))
            started = True
            if ends:
                self.held[giver] = None
        held = tuple(index == column or bool(name) for index, name in enumerate(self.held))
        self.held[column] = key if self.wanted[key] else None
        self.just_ended = -1 if self.wanted[key] else column
        while self.held and self.held[-1] is None:
            self.held.pop()
        return Place(column, tuple(joins), held)

    def _held(self) -> tuple[bool, ...]:
        return tuple(name is not None for name in self.held)

    def _free_column(self) -> int:
        for index, held in enumerate(self.held):
            if held is None and index != self.just_ended:
                return index
        self.held += [None] * (2 if len(self.held) == self.just_ended else 1)
        return len(self.held) - 1
