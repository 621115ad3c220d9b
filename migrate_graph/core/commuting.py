"""Which migrations need each other, and which may not change places: the edges for which watched migrations give a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from functools import cache, cached_property
from itertools import chain
from typing import TypeAlias

from msgspec import Struct, field

from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.model import same_fingerprint
from migrate_graph.core.traces import ALL, Entry, Touch, Trace, Traces, owner_of

Pair: TypeAlias = tuple[str, str]
"""Two migrations, the one that runs before the other first."""


class _Does(StrEnum):
    """What a migration does to a thing; the values are the words that people read."""

    USE = "used"
    MAKE = "made"
    CHANGE = "changed"
    REMOVE = "removed"
    READ = "read"
    INSERT = "given rows"
    UPDATE = "written"
    DELETE = "written or emptied"
    CHECK = "looked up for a foreign key"
    PROVE = "bound by a constraint"
    INDEX = "indexed"
    FIRE = "given another trigger, rule or policy"
    WHOLE = "used as a whole"
    FILL = "given new rows"
    ALTER = "altered"
    DROP = "dropped"


_ROWS = {Touch(each.name.lower()): each for each in _Does if each.name.lower() in set(Touch)}

_STRUCTURE = frozenset({_Does.MAKE, _Does.CHANGE, _Does.REMOVE})
_WRITES = frozenset({_Does.INSERT, _Does.UPDATE, _Does.DELETE})

# What may not change places with what, on one thing; each pair stands here in both directions. Two that only insert may.
_CONFLICTS: dict[_Does, frozenset[_Does]] = {
    _Does.USE: _STRUCTURE,
    _Does.MAKE: _STRUCTURE | {_Does.USE},
    _Does.CHANGE: _STRUCTURE | {_Does.USE},
    _Does.REMOVE: _STRUCTURE | {_Does.USE},
    _Does.READ: _WRITES,
    _Does.INSERT: frozenset({_Does.READ, _Does.UPDATE, _Does.DELETE, _Does.CHECK, _Does.PROVE, _Does.FIRE}),
    _Does.UPDATE: frozenset({_Does.READ, *_WRITES, _Does.PROVE, _Does.INDEX, _Does.FIRE}),
    _Does.DELETE: frozenset({_Does.READ, *_WRITES, _Does.CHECK, _Does.PROVE, _Does.INDEX, _Does.FIRE}),
    _Does.CHECK: frozenset({_Does.INSERT, _Does.DELETE}),
    _Does.PROVE: _WRITES,
    _Does.INDEX: frozenset({_Does.UPDATE, _Does.DELETE}),
    _Does.FIRE: _WRITES,
    _Does.WHOLE: frozenset({_Does.ALTER, _Does.DROP}),
    _Does.FILL: frozenset({_Does.ALTER}),
    _Does.ALTER: frozenset({_Does.WHOLE, _Does.FILL}),
    _Does.DROP: frozenset({_Does.WHOLE}),
}


_Set: TypeAlias = frozenset[_Does]


@cache
def _meets(doing: _Set) -> _Set:
    """Return all that may not change places with one of these."""
    return frozenset(other for each in doing for other in _CONFLICTS[each])


@cache
def _clashes(one: _Set, other: _Set) -> bool:
    return not _meets(one).isdisjoint(other)


@cache
def _covers(later: _Set, earlier: _Set) -> bool:
    """Return whether all that clashes with `earlier` also clashes with `later`."""
    return _meets(later) >= _meets(earlier)


class Reason(Struct, frozen=True, order=True):
    """Why two migrations may not change places.

    Attributes:
        what: a column, a relation or the rows of a table, in words.
        before: what the first migration does to it: `used`.
        after: what the other migration does to it: `removed`.
    """

    what: str
    before: str
    after: str

    @property
    def told(self) -> str:
        """What the first migration does, in words: `public.invoice is used`."""
        several = self.what.startswith((_ROWS_OF, _COLUMNS_OF))
        return f"{self.what} {'are' if several else 'is'} {self.before}"


class Tie(Struct):
    """What binds one migration to an earlier one.

    Attributes:
        before: the earlier one.
        after: the later one.
        needs: what the later one needs and the earlier one was the last to make, in words; in order.
        conflicts: other reasons why they may not change places; in order.
    """

    before: str
    after: str
    needs: list[str] = field(default_factory=list)
    conflicts: list[Reason] = field(default_factory=list)


class Commuting:
    """The edges that footprints give reasons for, compared with those that are declared.

    Args:
        order: migrations in the order in which they were watched; the declared edges go along it.
        traces: what each of them did; migrations without a trace are left out.
        requires: the declared edges; one that goes against the order does not count.
        commuting: pairs of names that may change places whatever was seen.
    """

    def __init__(
        self,
        order: Sequence[str],
        traces: Mapping[str, Trace],
        requires: Iterable[Pair] = (),
        commuting: AbstractSet[frozenset[str]] = frozenset(),
    ) -> None:
        self._place = {name: place for place, name in enumerate(order)}
        self._order = [name for name in order if name in traces]
        self._traces = traces
        self._commuting = commuting
        self._excused = frozenset(name for pair in commuting for name in pair)
        self._declared = self._by_after(
            (before, after)
            for before, after in requires
            if -1 < self._place.get(before, -1) < self._place.get(after, -1)
        )

    @cached_property
    def ties(self) -> Mapping[Pair, Tie]:
        """Everything that binds two migrations, by pair, in order; without what a migration between them binds by the same thing."""
        ties: dict[Pair, Tie] = {}
        self._find_conflicts(ties, self._find_needs(ties))
        for tie in ties.values():
            tie.conflicts = _without_parts(tie.conflicts)
        return {pair: ties[pair] for pair in self._in_order(ties)}

    def _in_order(self, pairs: Iterable[Pair]) -> list[Pair]:
        return sorted(pairs, key=lambda pair: (self._place[pair[1]], self._place[pair[0]]))

    @cached_property
    def undeclared(self) -> tuple[Tie, ...]:
        """Pairs of which one migration needs what the other made, and no declared edge orders them; without those that others imply."""
        needs = [pair for pair, tie in self.ties.items() if tie.needs]
        return tuple(self.ties[pair] for pair in self._lacking(needs))

    @cached_property
    def unordered(self) -> tuple[Tie, ...]:
        """Pairs that may not change places, but are not ordered by the declared edges, even with the needs that are undeclared."""
        ancestors = self._ancestors(self._with_declared(pair for pair, tie in self.ties.items() if tie.needs))
        return tuple(tie for pair, tie in self.ties.items() if not self._is_among(ancestors, pair))

    @cached_property
    def _bound(self) -> dict[str, int]:
        """For each migration: the places of all that must come before it, by what was seen, as bits."""
        return self._ancestors(self._by_after(self.ties))

    @cached_property
    def _known(self) -> int:
        """The places of the migrations that do the same in any database, as bits.

        A migration that reads rows which were there before may do something else where there are others: traces are of new databases.
        """
        return sum(1 << self._place[name] for name in self._order if not _reads_rows(self._traces[name]))

    @property
    def places(self) -> Mapping[str, int]:
        """The place of each in the order."""
        return self._place

    def bound_to(self, name: str, among: int) -> int:
        """Return which of some others must come before a migration: what was seen binds them, or nothing is known of one of the two.

        Args:
            name: of the migration.
            among: places of the others, as bits.
        """
        is_known = self._known >> self._place[name] & 1
        return among & (self._bound[name] | ~self._known) if is_known else among

    @cached_property
    def unreasoned(self) -> tuple[Pair, ...]:
        """Declared edges for which nothing that was seen gives a reason; the reason may be in rows, or known only to people."""
        edges = self._in_order(self._reduced(self._declared))
        return tuple(each for each in edges if self._traces.keys() >= {*each} and not self._is_among(self._bound, each))

    @cached_property
    def inferred(self) -> tuple[Pair, ...]:
        """The fewest edges that order all pairs of `ties`; in order."""
        kept = self._reduced(self._by_after(self.ties))
        return tuple(pair for pair in self.ties if pair in kept)

    @cached_property
    def missing(self) -> tuple[Pair, ...]:
        """The fewest edges that, together with the declared ones, order all pairs of `ties`; in order."""
        return tuple(self._lacking(self.ties))

    def _lacking(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Return which of some edges are implied neither by the declared ones, nor by these together with the other edges."""
        given = [*pairs]
        kept, ancestors = self._reduced(self._with_declared(given)), self._ancestors(self._declared)
        return [pair for pair in given if pair in kept and not self._is_among(ancestors, pair)]

    def _is_among(self, ancestors: Mapping[str, int], pair: Pair) -> bool:
        before, after = pair
        return bool(ancestors[after] >> self._place[before] & 1)

    def _by_after(self, pairs: Iterable[Pair]) -> dict[str, list[str]]:
        """Return edges by what comes after; each name has its list."""
        befores: dict[str, list[str]] = {name: [] for name in self._place}
        for before, after in pairs:
            befores[after].append(before)
        return befores

    def _with_declared(self, pairs: Iterable[Pair]) -> dict[str, list[str]]:
        """Return the declared edges and others, by what comes after."""
        return {name: [*self._declared[name], *others] for name, others in self._by_after(pairs).items()}

    def _ancestors(self, befores: Mapping[str, Iterable[str]]) -> dict[str, int]:
        """Return of each name the places of all that comes before it, as bits."""
        found: dict[str, int] = {}
        for name in self._place:
            mask = 0
            for before in befores[name]:
                mask |= found[before] | 1 << self._place[before]
            found[name] = mask
        return found

    def _reduced(self, befores: Mapping[str, Iterable[str]]) -> set[Pair]:
        """Return the edges that no others imply."""
        ancestors = self._ancestors(befores)
        kept: set[Pair] = set()
        for name, names in befores.items():
            implied = 0
            for before in sorted(set(names), key=self._place.__getitem__, reverse=True):
                if not implied >> self._place[before] & 1:
                    kept.add((before, name))
                implied |= ancestors[before] | 1 << self._place[before]
        return kept

    # -- what binds two ---------------------------------------------------------------------------------------------------

    def _find_needs(self, ties: dict[Pair, Tie]) -> set[tuple[Fact, str, str]]:
        """Note which migrations need what an earlier one has made; return each need with the one that made it and the one that needs it."""
        maker: dict[Fact, str] = {}
        found = set()
        for name in self._order:
            trace = self._traces[name]
            for need in sorted(trace.needs | trace.changes | trace.removes):
                if need in maker:
                    found.add((need, maker[need], name))
                    _tie(ties, maker[need], name).needs.append(_told(need))
            maker.update(dict.fromkeys(trace.makes, name))
            for gone in trace.removes:
                maker.pop(gone, None)
        return found

    def _find_conflicts(self, ties: dict[Pair, Tie], needs: AbstractSet[tuple[Fact, str, str]]) -> None:
        """Note which migrations may not change places, thing by thing; what is a need already is left out."""
        columns = _columns_of(self._traces[name] for name in self._order)
        things: dict[Fact, list[tuple[str, _Set]]] = {}
        for name in self._order:
            for thing, doing in _doings(self._traces[name], columns).items():
                things.setdefault(thing, []).append((name, frozenset(doing)))
        for thing in sorted(things):
            for before, first, after, then in self._clashing(things[thing]):
                if (thing, before, after) not in needs:
                    _tie(ties, before, after).conflicts.append(_reason(thing, first, then))

    def _clashing(self, doings: Iterable[tuple[str, _Set]]) -> Iterator[tuple[str, _Set, str, _Set]]:
        """Yield the pairs that clash on one thing: each migration with the last ones before it, which stand between it and all earlier."""
        open_ones: list[tuple[str, _Set]] = []
        for name, doing in doings:
            still_open = []
            for earlier, did in open_ones:
                clash = _clashes(did, doing) and frozenset({earlier, name}) not in self._commuting
                if clash:
                    yield earlier, did, name, doing
                # A migration that may change places with another one (`commutes_with`) stands between no others.
                if not (clash and _covers(doing, did) and name not in self._excused):
                    still_open.append((earlier, did))
            open_ones = [*still_open, (name, doing)]


def commuting_of(graph: MigrationGraph, current: Mapping[str, Trace], ordering: Ordering) -> Commuting:
    """Return what is known of the migrations of a graph; nothing of what is on or behind a cycle.

    Args:
        graph: the migrations.
        current: what `current_traces` gives.
        ordering: how ties of their order are broken.
    """
    order = [name for name in graph.order(ordering) if name not in graph.unsortable]
    return Commuting(order, current, graph.requires.edges, graph.commuting)


def current_traces(graph: MigrationGraph, traces: Traces) -> dict[str, Trace]:
    """Return the traces of the migrations that still have the text with which they were watched; so must the views that they made."""
    return {
        name: entry.trace
        for name, entry in traces.entries.items()
        if name in graph.migrations
        and same_fingerprint(entry.fingerprint, graph.migrations[name].facts.fingerprint)
        and all(is_same_view(graph, entry, view) for view in entry.views)
    }


def is_same_view(graph: MigrationGraph, entry: Entry, view: str) -> bool:
    """Return whether a view still has the text that it had when a migration that made it was watched."""
    known = graph.views.get(view)
    return known is not None and same_fingerprint(entry.views[view], known.fingerprint)


def _reads_rows(trace: Trace) -> bool:
    return any(Touch.READ in touched for touched in trace.rows.values())


def _tie(ties: dict[Pair, Tie], before: str, after: str) -> Tie:
    return ties.setdefault((before, after), Tie(before, after))


def _without_parts(reasons: Iterable[Reason]) -> list[Reason]:
    """Return reasons without those about single columns where the same reason is given for whole rows."""
    told = dict.fromkeys(reasons)
    whole = {
        (each.what.removeprefix(_ROWS_OF), each.before, each.after) for each in told if each.what.startswith(_ROWS_OF)
    }
    return [each for each in told if (owner_of(each.what), each.before, each.after) not in whole]


_ROWS_OF = "the rows of "
_COLUMNS_OF = "the columns of "


def _columns_of(traces: Iterable[Trace]) -> dict[str, set[str]]:
    """Return the columns of each table that some migration touched, and `*`; one that touches all columns touches each of these."""
    columns: dict[str, set[str]] = {}
    for trace in traces:
        for table, touches in trace.rows.items():
            columns.setdefault(table, {ALL}).update(*touches.values())
        for table in trace.fires:
            columns.setdefault(table, {ALL})
    return columns


def _doings(trace: Trace, columns: Mapping[str, AbstractSet[str]]) -> dict[Fact, set[_Does]]:
    """Return what a migration does, by the thing that it does it to."""
    found: dict[Fact, set[_Does]] = {}
    for thing, does in chain(_to_structure(trace), _to_rows(trace, columns)):
        found.setdefault(thing, set()).add(does)
    return found


def _to_structure(trace: Trace) -> Iterator[tuple[Fact, _Does]]:
    yield from ((fact, _Does.USE) for fact in trace.needs | trace.lost)
    yield from ((fact, _Does.MAKE) for fact in trace.makes)
    for facts, does, to_columns in (
        (trace.changes, _Does.CHANGE, _Does.ALTER),
        (trace.removes, _Does.REMOVE, _Does.DROP),
    ):
        for fact in facts:
            yield fact, does
            if fact.kind == "column":
                yield Fact("columns", owner_of(fact.identity)), to_columns


def _to_rows(trace: Trace, columns: Mapping[str, AbstractSet[str]]) -> Iterator[tuple[Fact, _Does]]:
    for table, touches in trace.rows.items():
        for touch, touched in touches.items():
            for column in columns[table] if ALL in touched else touched:
                yield Fact("rows", f"{table}.{column}"), _ROWS[touch]
        if ALL in touches.get(Touch.READ, ()):
            yield Fact("columns", table), _Does.WHOLE
        if Touch.INSERT in touches:
            yield Fact("columns", table), _Does.FILL
    for table in trace.fires:
        yield from ((Fact("rows", f"{table}.{column}"), _Does.FIRE) for column in columns[table])


def _reason(thing: Fact, first: _Set, then: _Set) -> Reason:
    """Return why two migrations may not change places, in words."""
    one, other = next(
        (one, other) for one in _Does if one in first for other in _Does if other in _CONFLICTS[one] & then
    )
    return Reason(_told(thing), one.value, other.value)


_NAMED_ALONE = frozenset({"relation", "column", "rows"})


def _told(thing: Fact) -> str:
    """Return a thing in words."""
    if thing.kind == "columns":
        return f"{_COLUMNS_OF}{thing.identity}"
    if thing.kind == "rows" and thing.identity.endswith(f".{ALL}"):
        return f"{_ROWS_OF}{owner_of(thing.identity)}"
    return thing.identity if thing.kind in _NAMED_ALONE else str(thing)
