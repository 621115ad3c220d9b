"""What depends on what: the graph of migrations and views, built from any registry without judging it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import NamedTuple, TypeVar

from msgspec import Struct

from migrate_graph.core.history import History
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration, Registry, UsesFrom, View
from migrate_graph.core.reachability import ancestor_masks, redundant_edges, rings

Named = TypeVar("Named", Migration, View)


class Ordering(StrEnum):
    """How ties between migrations that could both run next are broken (the first two are edwh-migrate's)."""

    LEGACY = "legacy"
    """By order of definition; a migration with requirements is pulled up to right after them."""
    INTERTWINED = "intertwined"
    """By the trailing number of the name, then by order of definition."""
    DECLARED = "declared"
    """As `legacy`; but only declared requirements count: migrations that do not require each other may run side by side."""


class NodeKind(StrEnum):
    """Migrations and views have separate names: one of each kind may be called the same."""

    MIGRATION = "migration"
    VIEW = "view"
    FILE = "file"
    """Never part of a graph: a finding may be about a file that nothing imports."""
    OBJECT = "object"
    """Never part of a graph: a finding may be about something in the database."""


class Node(NamedTuple):
    """One node of the graph."""

    kind: NodeKind
    name: str


class EdgeKind(StrEnum):
    """Why something comes before something else. `before → after` in each case."""

    REQUIRES = "requires"
    """requirement → migration"""
    SINCE = "since"
    """migration → the view whose window it opens"""
    UNTIL = "until"
    """view → the migration that closes its window"""
    USES = "uses"
    """view read → view that reads it"""
    READS = "reads"
    """view read → view that reads it, where the reader leaves `uses` out: a database reported it, or the query names it"""
    REPLACES = "replaces"
    """predecessor → successor"""
    TOUCHES = "touches"
    """migration → view that it drops and recreates"""
    NEEDS = "needs"
    """migration → migration that was seen to need it, but does not require it; never declared"""
    CONFLICTS = "conflicts"
    """migration → migration: they may not change places, but no declared edge orders them; never declared"""


class Edge(Struct, frozen=True, order=True):
    """An edge from what comes first to what comes after.

    Attributes:
        before: comes first.
        after: comes after.
        kind: why.
    """

    before: Node
    after: Node
    kind: EdgeKind


class MigrationGraph:
    """Migrations and views, resolved against each other.

    It can be built from any registry, also one with unknown names, duplicates and cycles; finding these is for `rules`.
    Of several declarations of one name the first counts here; all stay in `registry`.

    Attributes:
        registry: what it was built from.
        migrations: by name, in order of declaration.
        views: by name, in order of declaration.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.migrations: Mapping[str, Migration] = _first_of_each(registry.migrations)
        self.views: Mapping[str, View] = _first_of_each(registry.views)
        self._orders: dict[Ordering, tuple[str, ...]] = {}

    @cached_property
    def requires(self) -> nx.DiGraph[str]:
        """Digraph of migration names (requirement → migration); unknown requirements are nodes too."""
        return _digraph({name: each.requires for name, each in self.migrations.items()})

    @cached_property
    def uses(self) -> nx.DiGraph[str]:
        """Digraph of view names (view read → reader); unknown views are nodes too."""
        return _digraph({name: each.uses for name, each in self.views.items()})

    @cached_property
    def replaces(self) -> nx.DiGraph[str]:
        """Digraph of view names (predecessor → successor); unknown views are nodes too."""
        replaced = {name: () if each.replaces is None else (each.replaces,) for name, each in self.views.items()}
        return _digraph(replaced)

    @cached_property
    def unknown_requirements(self) -> tuple[str, ...]:
        """Names that migrations require but nothing declares, in the order of the requirements."""
        named = chain.from_iterable(each.requires for each in self.migrations.values())
        return tuple(dict.fromkeys(name for name in named if name not in self.migrations))

    @cached_property
    def commuting(self) -> frozenset[frozenset[str]]:
        """Pairs of migrations that may change places because one of the two says so."""
        return frozenset(
            frozenset({name, other}) for name, each in self.migrations.items() for other in each.commutes_with
        )

    def nodes(self) -> Iterator[Node]:
        """Yield every declared migration, then every declared view, in order of declaration."""
        yield from (Node(NodeKind.MIGRATION, name) for name in self.migrations)
        yield from (Node(NodeKind.VIEW, name) for name in self.views)

    def edges(self) -> Iterator[Edge]:
        """Return every edge of every kind, sorted; an edge may lead from or to a name that nothing declares."""
        return iter(sorted(self.edges_as_declared()))

    def edges_as_declared(self) -> Iterator[Edge]:
        """Yield the same edges in the order of their declarations, which saves the time for sorting."""
        for migration in self.migrations.values():
            for before in dict.fromkeys(migration.requires):
                yield Edge(
                    Node(NodeKind.MIGRATION, before), Node(NodeKind.MIGRATION, migration.name), EdgeKind.REQUIRES
                )
        for view in self.views.values():
            for before in dict.fromkeys(view.uses):
                kind = EdgeKind.USES if view.uses_from is UsesFrom.DECLARED else EdgeKind.READS
                yield Edge(Node(NodeKind.VIEW, before), Node(NodeKind.VIEW, view.name), kind)
            if view.replaces is not None:
                yield Edge(Node(NodeKind.VIEW, view.replaces), Node(NodeKind.VIEW, view.name), EdgeKind.REPLACES)
            if view.since is not None:
                yield Edge(Node(NodeKind.MIGRATION, view.since), Node(NodeKind.VIEW, view.name), EdgeKind.SINCE)
            if view.until is not None:
                yield Edge(Node(NodeKind.VIEW, view.name), Node(NodeKind.MIGRATION, view.until), EdgeKind.UNTIL)
        for migration in self.migrations.values():
            for touched in dict.fromkeys(migration.touches):
                yield Edge(Node(NodeKind.MIGRATION, migration.name), Node(NodeKind.VIEW, touched), EdgeKind.TOUCHES)

    def order(self, ordering: Ordering = Ordering.LEGACY) -> tuple[str, ...]:
        """Return every declared migration in the order in which they would run on an empty database.

        The order is edwh-migrate's. Migrations on or behind a cycle have no place in it: they stand last, in order of declaration.
        """
        if ordering not in self._orders:
            front = self._front(ordering)
            back = (name for name in self.migrations if name in self.unsortable)
            self._orders[ordering] = (*front, *back)
        return self._orders[ordering]

    def _front(self, ordering: Ordering) -> list[str]:
        """Return the migrations that have a place in an order: of all that could come next, always the one with the smallest key.

        networkx could do that, too. Many runs need nothing else of it, and importing it takes longer than such a run.
        """
        keys = {name: _tie_break(each, rank, ordering) for rank, (name, each) in enumerate(self.migrations.items())}
        missing = {name: {each for each in one.requires if each in keys} for name, one in self.migrations.items()}
        behind: dict[str, list[str]] = {name: [] for name in keys}
        for name, befores in missing.items():
            for before in befores:
                behind[before].append(name)
        ready = [(keys[name], name) for name, befores in missing.items() if not befores]
        heapify(ready)
        front = []
        while ready:
            _, name = heappop(ready)
            front.append(name)
            for after in behind[name]:
                missing[after].remove(name)
                if not missing[after]:
                    heappush(ready, (keys[after], after))
        return front

    @cached_property
    def unsortable(self) -> frozenset[str]:
        """Migrations on or behind a cycle of `requires`."""
        return frozenset(self.migrations).difference(self._front(Ordering.LEGACY))

    def cycles(self, kind: EdgeKind = EdgeKind.REQUIRES) -> tuple[tuple[str, ...], ...]:
        """Return minimal rings that share no edge, each from its first-declared member along `before → after`.

        Args:
            kind: REQUIRES, USES or REPLACES: the kinds of edges that join two migrations or two views.
        """
        return self._rings[kind]

    @cached_property
    def _rings(self) -> dict[EdgeKind, tuple[tuple[str, ...], ...]]:
        found: dict[EdgeKind, tuple[tuple[str, ...], ...]] = dict.fromkeys(
            (EdgeKind.REQUIRES, EdgeKind.USES, EdgeKind.REPLACES), ()
        )
        if self.unsortable:
            found[EdgeKind.REQUIRES] = _rings_in(self.requires)
        if self.views:
            found |= {EdgeKind.USES: _rings_in(self.uses), EdgeKind.REPLACES: _rings_in(self.replaces)}
        return found

    @cached_property
    def ring_edges(self) -> frozenset[tuple[Node, Node]]:
        """Pairs of neighbours on the rings of the graph, along `before → after`."""
        return frozenset(
            (Node(kind, before), Node(kind, after))
            for edge_kind, found in self._rings.items()
            for kind in [NodeKind.MIGRATION if edge_kind is EdgeKind.REQUIRES else NodeKind.VIEW]
            for ring in found
            for before, after in zip(ring, (*ring[1:], ring[0]), strict=True)
        )

    def ancestors(self, name: str) -> frozenset[str]:
        """Return every migration that a migration requires, directly or not, unknown names included."""
        return frozenset(nx.ancestors(self.requires, name)) if name in self.requires else frozenset()

    def descendants(self, name: str) -> frozenset[str]:
        """Return every migration that requires a migration, directly or not."""
        return frozenset(nx.descendants(self.requires, name)) if name in self.requires else frozenset()

    def precedes(self, *, before: str, after: str) -> bool:
        """Whether one migration must run before another; one on a cycle precedes itself.

        Fast for a `before` that opens or closes a window or touches a view (one pass over the graph for all of them).
        """
        bits, masks = self._landmarks
        if before not in bits:
            bits, masks = ancestor_masks(self.requires, [before])
        return bool(bits[before] & masks.get(after, 0))

    @cached_property
    def _landmarks(self) -> tuple[dict[str, int], dict[str, int]]:
        windows = (name for view in self.views.values() for name in (view.since, view.until) if name is not None)
        touching = (name for name, each in self.migrations.items() if each.touches)
        return ancestor_masks(self.requires, (*windows, *touching))

    @cached_property
    def redundant_requires(self) -> Mapping[tuple[str, str], str]:
        """Pairs (requirement, migration) that another requirement of the migration implies; the value is that other requirement."""
        if all(len(each.requires) < 2 for each in self.migrations.values()):
            return {}
        return redundant_edges(self.requires)

    def reduced_requires(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs (requirement, migration) that no other path implies; the edges of cycles all stay."""
        return tuple(sorted(edge for edge in self.requires.edges if edge not in self.redundant_requires))

    def orphans(self, history: History) -> tuple[str, ...]:
        """Return the recorded names that nothing declares, sorted."""
        return tuple(sorted(name for name in history.records if name not in self.migrations))

    @cached_property
    def bounds(self) -> Mapping[str, tuple[str, ...]]:
        """For each migration that a `since` or an `until` names: the views whose window it opens or closes, in order of declaration."""
        found: dict[str, dict[str, None]] = {}
        for view in self.views.values():
            for bound in (view.since, view.until):
                if bound is not None:
                    found.setdefault(bound, {})[view.name] = None
        return {name: tuple(views) for name, views in found.items()}

    def touched_by(self, view: str) -> tuple[str, ...]:
        """Return the migrations that open a view themselves, in order of declaration."""
        return self._touching.get(view, ())

    @cached_property
    def _touching(self) -> dict[str, tuple[str, ...]]:
        touching: dict[str, list[str]] = {}
        for name, migration in self.migrations.items():
            for view in dict.fromkeys(migration.touches):
                touching.setdefault(view, []).append(name)
        return {view: tuple(names) for view, names in touching.items()}


def build_graph(registry: Registry) -> MigrationGraph:
    """Build the graph of a registry; never raises, whatever was declared."""
    return MigrationGraph(registry)


def _rings_in(digraph: nx.DiGraph[str]) -> tuple[tuple[str, ...], ...]:
    return rings(digraph, {name: rank for rank, name in enumerate(digraph)})


def _tie_break(migration: Migration, rank: int, ordering: Ordering) -> tuple[int, int, int]:
    """Return the key with which edwh-migrate 2.1.0 breaks ties; a requirement counts even if its name is unknown."""
    pulled_up = 0 if migration.requires else 1
    if ordering is not Ordering.INTERTWINED:
        return pulled_up, rank, rank
    first, second = migration.sequence or (0, 0)
    return pulled_up, first * 1_000_000 + second, rank


def _first_of_each(declared: Iterable[Named]) -> dict[str, Named]:
    """Index by name; of several declarations of one name the first stays."""
    found: dict[str, Named] = {}
    for each in declared:
        found.setdefault(each.name, each)
    return found


def _digraph(befores: Mapping[str, Iterable[str]]) -> nx.DiGraph[str]:
    """Return a digraph of what comes before each name. Its nodes are the declared names in order, then the unknown ones."""
    digraph: nx.DiGraph[str] = nx.DiGraph()
    digraph.add_nodes_from(befores)
    digraph.add_edges_from((before, after) for after, names in befores.items() for before in names)
    return digraph
