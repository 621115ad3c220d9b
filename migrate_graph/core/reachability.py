"""What can be reached from what in a digraph of names: closures as bit masks, minimal rings, redundant edges."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from migrate_graph.core.late import nx

T = TypeVar("T", bound=Hashable)

RINGS_PER_KNOT = 20
"""How many rings are reported of one strongly connected component, which may hold millions of them."""


def closure(names: Iterable[T], following: Callable[[T], Iterable[T]]) -> set[T]:
    """Return some names, and all that `following` leads to from them, directly or through others."""
    found = set(names)
    waiting = list(found)
    while waiting:
        new = set(following(waiting.pop())) - found
        found |= new
        waiting += new
    return found


def knots(graph: nx.DiGraph[str]) -> list[set[str]]:
    """Return the components that hold a ring: several members, or one that points to itself."""
    return [
        members
        for members in nx.strongly_connected_components(graph)
        if len(members) > 1 or _points_to_itself(graph, members)
    ]


def rings(graph: nx.DiGraph[str], rank: Mapping[str, int]) -> tuple[tuple[str, ...], ...]:
    """Find minimal rings that share no edge, so that each of them needs a cut of its own.

    Args:
        graph: the digraph; it stays as it is.
        rank: position of every name; decides where a ring starts and which comes first.

    Returns:
        Rings without chords, each along its edges from its first-declared member, sorted by their members' ranks; at
        least one and at most `RINGS_PER_KNOT` of each strongly connected component.
    """
    found: list[tuple[str, ...]] = []
    for knot in knots(graph):
        found += _rings_of(graph.subgraph(knot).copy(), rank)
    return tuple(sorted(found, key=lambda ring: [rank[name] for name in ring]))


def _rings_of(rest: nx.DiGraph[str], rank: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Take rings out of one component, edge by edge, until none is left or the limit is reached."""
    found: list[tuple[str, ...]] = []
    while len(found) < RINGS_PER_KNOT:
        tangled = [name for knot in knots(rest) for name in knot]
        if not tangled:
            break
        ring = _without_chords(rest, _shortest_ring(rest, min(tangled, key=rank.__getitem__)))
        rest.remove_edges_from(list(zip(ring, ring[1:] + ring[:1], strict=True)))
        first = min(range(len(ring)), key=lambda index: rank[ring[index]])
        found.append(tuple(ring[first:] + ring[:first]))
    return found


def _shortest_ring(graph: nx.DiGraph[str], start: str) -> list[str]:
    """Find a shortest ring through a name that lies on one, breadth first."""
    came_from: dict[str, str] = {}
    last = start
    found = nx.bfs_edges(graph, start)
    while not graph.has_edge(last, start):
        before, last = next(found)
        came_from[last] = before
    ring = [last]
    while ring[-1] != start:
        ring.append(came_from[ring[-1]])
    return ring[::-1]


def _without_chords(graph: nx.DiGraph[str], ring: list[str]) -> list[str]:
    """Shrink a ring found breadth first to the shortest one among its own members.

    Only an edge that leads back can shorten it: the search itself would have used an edge that leads further ahead.
    """
    index = {name: place for place, name in enumerate(ring)}
    shortcuts = (
        (place - index[target], index[target])
        for place, name in enumerate(ring)
        for target in graph.successors(name)
        if target in index and index[target] <= place
    )
    length, first = min(shortcuts)
    return ring[first : first + length + 1]


def ancestor_masks(graph: nx.DiGraph[str], landmarks: Iterable[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Find in one pass which landmarks lie strictly before each name.

    Args:
        graph: the digraph; it may hold rings, whose members then lie before themselves.
        landmarks: the names asked about; memory is names x landmarks in bits.

    Returns:
        The bit of each landmark, and for each name the union of the bits of the landmarks before it.
    """
    bits = {name: 1 << place for place, name in enumerate(dict.fromkeys(landmarks))}
    masks: dict[str, int] = {}
    # networkx yields components with everything reachable from them before them: reversed, that is a topological order.
    for members in reversed(list(nx.strongly_connected_components(graph))):
        mask = 0
        for name in members:
            for before in graph.predecessors(name):
                mask |= bits.get(before, 0) | masks.get(before, 0)
        masks.update(dict.fromkeys(members, mask))
    return bits, masks


def redundant_edges(graph: nx.DiGraph[str]) -> dict[tuple[str, str], str]:
    """Find the edges that a path of other edges implies; where rings put that in doubt, an edge is kept.

    Returns:
        For each such edge `(before, name)` another predecessor of `name` that `before` leads to.
    """
    joins = [name for name in graph if graph.in_degree(name) > 1]
    befores = {name: list(graph.predecessors(name)) for name in joins}
    bits, masks = ancestor_masks(graph, [*joins, *(before for names in befores.values() for before in names)])
    redundant = {}
    for name in joins:
        outside = [before for before in befores[name] if not bits[name] & (masks[before] | bits[before])]
        implied = 0
        for before in outside:
            implied |= masks[before]
        for before in outside:
            if bits[before] & implied:
                # A member of a ring stands before itself; it is implied only by one outside that ring.
                others = (
                    other
                    for other in reversed(outside)
                    if bits[before] & masks[other] and not bits[other] & masks[before]
                )
                if via := next(others, None):
                    redundant[before, name] = via
    return redundant


def _points_to_itself(graph: nx.DiGraph[str], members: set[str]) -> bool:
    return all(graph.has_edge(name, name) for name in members)
