import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from drawing import graph_of, history_of, migration_of, view_of

from migrate_graph.core.graph import Edge, EdgeKind, Node, NodeKind, Ordering, build_graph
from migrate_graph.core.model import Registry
from migrate_graph.core.reachability import RINGS_PER_KNOT, rings


def test_an_empty_registry_is_a_graph() -> None:
    graph = build_graph(Registry())
    assert graph.order() == ()
    assert list(graph.nodes()) == []
    assert list(graph.edges()) == []
    assert graph.cycles() == ()


def test_a_diamond_runs_top_down() -> None:
    assert graph_of("a < b < d", "a < c < d").order() == ("a", "b", "c", "d")


def test_legacy_order_pulls_a_migration_up_behind_its_requirements() -> None:
    graph = graph_of("late < needs_late", declared=["first", "late", "second", "needs_late"])
    assert graph.order(Ordering.LEGACY) == ("first", "late", "needs_late", "second")


def test_intertwined_order_goes_by_numbers() -> None:
    declared = ["b_20260402_001", "a_20260401_002", "c_20260401_001", "unnumbered"]
    expected = ("unnumbered", "c_20260401_001", "a_20260401_002", "b_20260402_001")
    assert graph_of(declared=declared).order(Ordering.INTERTWINED) == expected


def test_an_unknown_requirement_still_pulls_up() -> None:
    assert graph_of("(gone) < b", declared=["a", "b"]).order() == ("b", "a")


def test_the_first_of_two_declarations_counts_and_both_stay() -> None:
    first, second = migration_of("a"), migration_of("a", ["b"], 1)
    graph = build_graph(Registry(migrations=(first, second), views=(view_of("V"), view_of("V", 1))))
    assert graph.migrations == {"a": first}
    assert graph.registry.migrations == (first, second)
    assert list(graph.views) == ["V"]


def test_nodes_of_one_name_are_told_apart_by_kind() -> None:
    graph = graph_of("a", views={"a": {}})
    assert list(graph.nodes()) == [Node(NodeKind.MIGRATION, "a"), Node(NodeKind.VIEW, "a")]


def test_edges_lead_from_what_comes_first() -> None:
    graph = graph_of(
        "a < b",
        "(gone) < a",
        migrations={"b": {"touches": ["V", "V", "Unknown"]}},
        views={"V": {"since": "a", "until": "b"}, "W": {"uses": "V", "replaces": "Old"}},
    )
    told = {(edge.kind.value, edge.before.name, edge.after.name) for edge in graph.edges()}
    assert told == {
        ("requires", "a", "b"),
        ("requires", "gone", "a"),
        ("touches", "b", "V"),
        ("touches", "b", "Unknown"),
        ("since", "a", "V"),
        ("until", "V", "b"),
        ("uses", "V", "W"),
        ("replaces", "Old", "W"),
    }
    assert Edge(Node(NodeKind.MIGRATION, "a"), Node(NodeKind.VIEW, "V"), EdgeKind.SINCE) in graph.edges()


@pytest.mark.parametrize("size", [1, 2, 50])
def test_a_ring_is_found_from_its_first_declared_member(size: int) -> None:
    names = [f"m{index}" for index in range(size)]
    graph = graph_of(" < ".join([*names, names[0]]), f"{names[-1]} < innocent", "before < " + names[0], declared=names)
    assert graph.cycles() == (tuple(names),)
    assert graph.unsortable == {*names, "innocent"}
    assert graph.order() == ("before", *names, "innocent")


def test_rings_with_a_common_member_are_all_found() -> None:
    assert graph_of("a < b < a", "a < c < a").cycles() == (("a", "b"), ("a", "c"))


def test_a_shortcut_makes_the_ring_shorter() -> None:
    # a → b → c → d → a with the way back c → b: the short ring first, then what is left is none.
    assert graph_of("a < b < c < d < a", "c < b").cycles() == (("b", "c"),)


def test_rings_of_views_are_found_by_kind() -> None:
    graph = graph_of(views={"A": {"uses": "B", "replaces": "A"}, "B": {"uses": "A"}})
    assert graph.cycles(EdgeKind.USES) == (("A", "B"),)
    assert graph.cycles(EdgeKind.REPLACES) == (("A",),)


def test_a_tangle_of_thousands_is_told_briefly() -> None:
    size = 3000
    graph = graph_of(*(f"m{index} < m{(index * 7 + 1) % size} < m{(index + 1) % size}" for index in range(size)))
    assert 1 <= len(graph.cycles()) <= RINGS_PER_KNOT
    assert len(graph.order()) == size


def test_the_limit_holds_for_each_component() -> None:
    hub = [f"hub < leaf{index} < hub" for index in range(RINGS_PER_KNOT + 5)]
    assert len(graph_of(*hub, "x < y < x").cycles()) == RINGS_PER_KNOT + 1


def test_rings_leave_the_digraph_as_it_is() -> None:
    graph = graph_of("a < b < a")
    assert rings(graph.requires, {"a": 0, "b": 1}) == (("a", "b"),)
    assert set(graph.requires.edges) == {("a", "b"), ("b", "a")}


def test_ancestors_and_descendants() -> None:
    graph = graph_of("(gone) < a < b < c", "x")
    assert graph.ancestors("c") == {"gone", "a", "b"}
    assert graph.descendants("a") == {"b", "c"}
    assert graph.ancestors("nowhere") == graph.descendants("nowhere") == frozenset()


@pytest.mark.parametrize("landmarks", [{}, {"views": {"V": {"since": "a"}}}], ids=["searched", "one pass"])
def test_precedes(landmarks: dict[str, dict[str, dict[str, str]]]) -> None:
    graph = graph_of("a < b < c", "x", **landmarks)
    assert graph.precedes(before="a", after="c")
    assert not graph.precedes(before="a", after="x")
    assert not graph.precedes(before="a", after="a")
    assert not graph.precedes(before="a", after="nowhere")


def test_the_reduction_keeps_what_says_something() -> None:
    graph = graph_of("a < b < c", "a < c", "p < q < p")
    assert graph.redundant_requires == {("a", "c"): "b"}
    assert graph.reduced_requires() == (("a", "b"), ("b", "c"), ("p", "q"), ("q", "p"))


def test_an_edge_from_a_ring_is_redundant_only_through_something_outside_it() -> None:
    # p and q are one ring: p < z and q < z imply each other, so both stay; p < w < z implies p < z.
    graph = graph_of("p < q < p", "p < z", "q < z")
    assert graph.redundant_requires == {}
    graph = graph_of("p < q < p", "p < z", "p < w < z")
    assert graph.redundant_requires == {("p", "z"): "w"}


def test_orphans_are_recorded_and_not_declared() -> None:
    assert graph_of("a").orphans(history_of("a z", failed="b")) == ("b", "z")


def test_who_touches_a_view() -> None:
    graph = graph_of(migrations={"b": {"touches": ["V", "V"]}, "a": {"declared_views": ("V",)}}, views={"V": {}})
    assert graph.touched_by("V") == ("b", "a")
    assert graph.touched_by("W") == ()


def test_twenty_thousand_migrations() -> None:
    size = 20_000
    names = [f"m{index}" for index in range(size)]
    graph = graph_of(*(f"m{index // 2} < m{index}" for index in range(1, size)), declared=names)
    assert len(graph.order()) == size
    assert len(graph.order(Ordering.INTERTWINED)) == size
    assert len(graph.descendants("m1")) == size - 2


def test_a_chain_of_five_thousand_needs_no_recursion() -> None:
    names = [f"m{index}" for index in range(5_000)]
    graph = graph_of(" < ".join(names), declared=reversed(names))
    assert graph.order() == tuple(names)
    assert len(graph.ancestors(names[-1])) == 4_999
    assert graph.reduced_requires() == tuple(sorted(pairwise(names)))


PROGRAM = """
from drawing import graph_of, history_of
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
graph = graph_of(
    "a < b < d", "a < c < d", "a < d", "(x) < e", "p < q < r < p", "q < p", "r < s",
    migrations={"a": {"touches": ["U", "V"]}, "d": {"touches": ["W"]}},
    views={"U": {"until": "c"}, "V": {"uses": "U"}, "W": {"uses": "U V", "since": "b"}, "W_V2": {"replaces": "W"}},
)
print(graph.order(), graph.cycles(), list(graph.edges()), graph.redundant_requires)
plan = build_plan(graph, history_of("a gone"))
print([(step.migration.name, step.views.down, step.views.up) for step in plan.steps], plan.blocked)
print(check(graph, history_of("a gone")))
"""


def test_nothing_depends_on_the_hash_seed() -> None:
    root = Path(__file__).parents[1]
    said = set()
    for seed in ("0", "1", "4711"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{root.parent}"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        # An address is part of the printed function of a migration.
        said.add("\n".join(line.partition(" at 0x")[0] for line in done.stdout.splitlines()))
    assert len(said) == 1
