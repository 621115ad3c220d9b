"""Rings are minimal and share no edge; closures and the reduction say what networkx says."""

import networkx as nx
from hypothesis import given
from registries import digraphs, registries

from migrate_graph.core.graph import EdgeKind, build_graph
from migrate_graph.core.model import Registry
from migrate_graph.core.reachability import ancestor_masks, redundant_edges, rings


def digraph_of(requires: dict[str, list[str]]) -> "nx.DiGraph[str]":
    digraph: nx.DiGraph[str] = nx.DiGraph()
    digraph.add_nodes_from(requires)
    digraph.add_edges_from((before, name) for name, befores in requires.items() for before in befores)
    return digraph


@given(digraphs())
def test_rings_are_rings_without_chords_and_without_common_edges(requires: dict[str, list[str]]) -> None:
    digraph = digraph_of(requires)
    rank = {name: place for place, name in enumerate(requires)}
    rest = digraph.copy()
    found = rings(digraph, rank)
    for ring in found:
        assert rank[ring[0]] == min(rank[name] for name in ring)
        assert len(set(ring)) == len(ring)
    # In the order in which they were found each has no chord among what the earlier ones left; some order must do.
    edges = [set(zip(ring, ring[1:] + ring[:1], strict=True)) for ring in found]
    assert sum(map(len, edges)) == len(set().union(*edges))
    for ring in edges:
        assert all(rest.has_edge(*edge) for edge in ring)
        rest.remove_edges_from(ring)
    assert nx.is_directed_acyclic_graph(rest)
    assert bool(found) == (not nx.is_directed_acyclic_graph(digraph))


@given(digraphs())
def test_every_component_shows_a_ring_without_chords(requires: dict[str, list[str]]) -> None:
    digraph = digraph_of(requires)
    found = rings(digraph, {name: place for place, name in enumerate(requires)})
    chordless = {ring for ring in found if digraph.subgraph(ring).number_of_edges() == len(ring)}
    for members in nx.strongly_connected_components(digraph):
        if len(members) > 1 or digraph.has_edge(*[*members] * 2):
            assert any(set(ring) <= members for ring in chordless)


@given(digraphs())
def test_masks_are_ancestors(requires: dict[str, list[str]]) -> None:
    digraph = digraph_of(requires)
    bits, masks = ancestor_masks(digraph, requires)
    closure = nx.transitive_closure(digraph)
    for before in requires:
        for after in requires:
            assert bool(bits[before] & masks[after]) == closure.has_edge(before, after)


@given(digraphs(cyclic=False))
def test_the_reduction_is_networkx(requires: dict[str, list[str]]) -> None:
    digraph = digraph_of(requires)
    redundant = redundant_edges(digraph)
    assert set(digraph.edges) - redundant.keys() == set(nx.transitive_reduction(digraph).edges)
    for (before, name), via in redundant.items():
        assert via in requires[name]
        assert before in nx.ancestors(digraph, via)


@given(digraphs())
def test_the_reduction_of_a_graph_with_rings_loses_no_path(requires: dict[str, list[str]]) -> None:
    digraph = digraph_of(requires)
    reduced = digraph.copy()
    reduced.remove_edges_from(redundant_edges(digraph))
    assert set(nx.transitive_closure(reduced).edges) == set(nx.transitive_closure(digraph).edges)


@given(registries(cyclic=True))
def test_the_graph_answers_about_any_registry(registry: Registry) -> None:
    graph = build_graph(registry)
    assert sorted(graph.order()) == sorted(graph.migrations)
    assert list(graph.edges()) == sorted(graph.edges())
    closure = nx.transitive_closure(graph.requires)
    for one in graph.migrations:
        assert graph.ancestors(one) == {other for other in closure.predecessors(one) if other != one}
        assert graph.descendants(one) == {other for other in closure.successors(one) if other != one}
        for other in graph.migrations:
            assert graph.precedes(before=one, after=other) == closure.has_edge(one, other)
    for kind in (EdgeKind.REQUIRES, EdgeKind.USES, EdgeKind.REPLACES):
        graph.cycles(kind)
