"""Whatever migrations do, the inferred edges order every need and every conflict, and none of them is superfluous."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.core.commuting import Commuting
from migrate_graph.core.footprint import Fact
from migrate_graph.core.traces import Touch, Trace

TABLES = ["t", "u"]
COLUMNS = ["a", "b", "*"]
THINGS = [*(Fact("relation", table) for table in TABLES), *(Fact("column", f"{t}.{c}") for t in TABLES for c in "ab")]
NAMES = [f"m{place}" for place in range(8)]

things = st.frozensets(st.sampled_from(THINGS), max_size=2)
rows = st.dictionaries(
    st.sampled_from(TABLES),
    st.dictionaries(
        st.sampled_from(list(Touch)), st.frozensets(st.sampled_from(COLUMNS), min_size=1, max_size=2), max_size=2
    ),
    max_size=2,
)
traces = st.builds(
    Trace,
    makes=things,
    changes=things,
    removes=things,
    needs=things,
    lost=things,
    rows=rows,
    fires=st.frozensets(st.sampled_from(TABLES), max_size=1),
)
steps = st.integers(0, len(NAMES)).flatmap(lambda size: st.lists(traces, min_size=size, max_size=size))
pairs = st.frozensets(st.sampled_from([frozenset(pair) for pair in combinations(NAMES, 2)]), max_size=4)
edges = st.lists(st.sampled_from(list(combinations(NAMES, 2))), max_size=5)

# Written out once more, as the documentation tells it: what on the same rows may not change places.
ROWS = {
    frozenset(pair.split())
    for pair in (
        "read insert", "read update", "read delete", "insert update", "insert delete", "update update", "update delete", "delete delete",
        "check insert", "check delete", "prove insert", "prove update", "prove delete", "index update", "index delete",
    )
}  # fmt: skip


def acts(trace: Trace) -> frozenset[Fact]:
    return trace.makes | trace.changes | trace.removes


def bears(trace: Trace, table: str) -> list[tuple[str, frozenset[str]]]:
    return [(str(touch), columns) for touch, columns in trace.rows.get(table, {}).items()]


def is_shared(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one & other) or "*" in one or "*" in other


def on_rows(one: Trace, other: Trace) -> bool:
    return any(
        frozenset({does, too}) in ROWS and is_shared(columns, others)
        for table in TABLES
        for does, columns in bears(one, table)
        for too, others in bears(other, table)
    )


def one_sided(one: Trace, other: Trace) -> bool:
    """What is told of the first and the second in this order, and holds in the other as well."""
    altered = {fact.identity[0] for fact in other.changes if fact.kind == "column"}
    dropped = {fact.identity[0] for fact in other.removes if fact.kind == "column"}
    whole = {table for table in TABLES if "*" in one.rows.get(table, {}).get(Touch.READ, ())}
    filled = {table for table in TABLES if Touch.INSERT in one.rows.get(table, {})}
    written = {table for table in TABLES if {Touch.INSERT, Touch.UPDATE, Touch.DELETE} & set(one.rows.get(table, {}))}
    uses = (one.needs | one.lost) & acts(other)
    return bool(uses or whole & (altered | dropped) or filled & altered or written & other.fires)


def conflict(one: Trace, other: Trace) -> bool:
    return bool(acts(one) & acts(other)) or on_rows(one, other) or one_sided(one, other) or one_sided(other, one)


def needs(order: list[Trace]) -> set[tuple[str, str]]:
    """Who needs what another was the last to make."""
    found = set()
    for place, trace in enumerate(order):
        for thing in trace.needs | trace.changes | trace.removes:
            for earlier in range(place - 1, -1, -1):
                if thing in order[earlier].removes:
                    break
                if thing in order[earlier].makes:
                    found.add((NAMES[earlier], NAMES[place]))
                    break
    return found


def wanted(order: list[Trace], excused: frozenset[frozenset[str]]) -> set[tuple[str, str]]:
    """Every pair that must keep its order, found by looking at all of them."""
    return needs(order) | {
        (NAMES[one], NAMES[other])
        for one, other in combinations(range(len(order)), 2)
        if conflict(order[one], order[other]) and frozenset({NAMES[one], NAMES[other]}) not in excused
    }


def judged(order: list[Trace], excused: frozenset[frozenset[str]], declared: list[tuple[str, str]]) -> Commuting:
    names = NAMES[: len(order)]
    return Commuting(names, dict(zip(names, order, strict=True)), declared, excused)


def closure(order: list[Trace], *found: tuple[str, str]) -> set[tuple[str, str]]:
    graph = nx.DiGraph(list(found))
    graph.add_nodes_from(NAMES[: len(order)])
    return set(nx.transitive_closure_dag(graph).edges)


@given(steps, pairs)
def test_the_inferred_graph_orders_everything_that_must_be_ordered_with_the_fewest_edges(
    order: list[Trace], excused: frozenset[frozenset[str]]
) -> None:
    found, all_of_it = judged(order, excused, []).inferred, wanted(order, excused)
    assert all_of_it <= closure(order, *found)
    assert set(found) <= all_of_it, "no edge without a reason of its own"
    graph = nx.DiGraph(list(found))
    assert set(nx.transitive_reduction(graph).edges) == set(found)
    assert list(found) == sorted(found, key=lambda pair: pair[::-1])


@given(steps, pairs, edges)
def test_what_is_missing_completes_what_is_declared(
    order: list[Trace], excused: frozenset[frozenset[str]], declared: list[tuple[str, str]]
) -> None:
    names = set(NAMES[: len(order)])
    known = [pair for pair in declared if names.issuperset(pair)]
    found = judged(order, excused, declared)
    assert wanted(order, excused) <= closure(order, *known, *found.missing)
    assert not set(found.missing) & closure(order, *known)
    told = {(tie.before, tie.after) for tie in (*found.undeclared, *found.unordered)}
    assert bool(told) == bool(found.missing), "silence means that nothing is missing"
    assert wanted(order, excused) <= closure(order, *known, *told)
    assert not told & closure(order, *known)
    assert all(tie.needs for tie in found.undeclared)
    assert all(tie.conflicts for tie in found.unordered)
