"""Whatever is declared: side by side runs only what may, and as much of it as there are jobs for."""

from heapq import heappop, heappush

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from registries import registries

from migrate_graph.core.graph import MigrationGraph, Ordering, build_graph
from migrate_graph.core.history import History, Record
from migrate_graph.core.lanes import Queue, forecast, order_of
from migrate_graph.core.model import Registry, TransactionMode
from migrate_graph.core.plan import Plan, build_plan

Times = dict[str, tuple[float, float]]


@st.composite
def plans(draw: st.DrawFn, ordering: Ordering) -> tuple[Plan, MigrationGraph]:
    """Return a plan of migrations in several files, some independent, some outside of a transaction, some applied."""
    registry: Registry = draw(registries())
    mode = st.sampled_from([TransactionMode.OWN] * 4 + [TransactionMode.NONE])
    migrations = tuple(
        replace(
            each, module=draw(st.sampled_from(["one.py", "two.py"])), independent=draw(st.booleans()), transaction=draw(mode)
        )
        for each in registry.migrations
    )  # fmt: skip
    graph = build_graph(replace(registry, migrations=migrations))
    applied = draw(st.frozensets(st.sampled_from(list(graph.migrations))))
    history = History(records={name: Record(name, installed=True) for name in applied})
    return build_plan(graph, history, ordering=ordering), graph


def run(queue: Queue, seconds: dict[str, float]) -> Times:
    """Run a plan on paper, as simply as can be: begin what begins, end what ends first."""
    now, running, times = 0.0, list[tuple[float, str]](), Times()
    while True:
        while (name := queue.begin()) is not None:
            times[name] = now, now + seconds[name]
            heappush(running, (now + seconds[name], name))
        if not running:
            return times
        now = running[0][0]
        while running and running[0][0] == now:
            queue.end(heappop(running)[1])


def family(graph: MigrationGraph, name: str) -> set[str]:
    """Return the views that a migration may have to do with, by walking from view to view."""
    near: nx.Graph[str] = nx.Graph()
    near.add_edges_from((view.name, other) for view in graph.views.values() for other in view.uses)
    near.add_edges_from((view.name, view.replaces) for view in graph.views.values() if view.replaces)
    near.add_nodes_from(graph.views)
    bounds = {view.name for view in graph.views.values() if name in {view.since, view.until}}
    return {
        other
        for view in {*graph.migrations[name].touches, *bounds}
        if view in near
        for other in nx.node_connected_component(near, view)
    }


def must_wait(graph: MigrationGraph, ordering: Ordering, *, before: str, after: str) -> bool:
    """Return whether two steps, which stand so in the plan, may not overlap, by the words of the documentation."""
    first, second = graph.migrations[before], graph.migrations[after]
    one_history = ordering is Ordering.INTERTWINED or first.module == second.module
    undeclared = not (second.requires or second.independent or ordering is Ordering.DECLARED)
    return (
        TransactionMode.NONE in {first.transaction, second.transaction}
        or nx.has_path(graph.requires, before, after)
        or bool(family(graph, before) & family(graph, after))
        or (one_history and undeclared)
    )


@given(st.data(), st.sampled_from(Ordering), st.integers(1, 5))
def test_only_what_may_overlap_does(data: st.DataObject, ordering: Ordering, jobs: int) -> None:
    plan, graph = data.draw(plans(ordering))
    steps = [step.migration.name for step in plan.steps]
    seconds = {name: float(data.draw(st.integers(1, 4))) for name in steps}
    times = run(Queue(order_of(plan, graph, ordering=ordering), jobs), seconds)
    assert set(times) == set(steps), "each step runs once"
    for at, before in enumerate(steps):
        for after in steps[at + 1 :]:
            if must_wait(graph, ordering, before=before, after=after):
                overlap = times[before][0] < times[after][1] and times[after][0] < times[before][1]
                assert not overlap, (before, after)
                is_alone = TransactionMode.NONE in {graph.migrations[each].transaction for each in (before, after)}
                assert is_alone or times[before][1] <= times[after][0], "what must not overlap keeps the plan's order"
    for begin, _ in times.values():
        assert sum(start <= begin < end for start, end in times.values()) <= jobs


@given(st.data(), st.sampled_from(Ordering))
def test_one_job_is_the_plan_and_many_reach_the_longest_way(data: st.DataObject, ordering: Ordering) -> None:
    plan, graph = data.draw(plans(ordering))
    steps = [step.migration.name for step in plan.steps]
    seconds = {name: float(data.draw(st.integers(1, 4))) for name in steps}
    order = order_of(plan, graph, ordering=ordering)
    assert list(run(Queue(order, 1), seconds)) == steps
    assert forecast(order, 1, seconds).seconds == sum(seconds.values())
    many = forecast(order, max(len(steps), 1), seconds)
    assert {slot.name: (slot.start, slot.end) for slot in many.slots} == run(Queue(order, len(steps) or 1), seconds)
    if not order.alone:
        assert many.seconds == many.critical_seconds
    if order.is_a_row:
        assert many.seconds == sum(seconds.values())


@given(st.data(), st.sampled_from(Ordering))
def test_a_row_is_a_row_however_many_jobs_there_are(data: st.DataObject, ordering: Ordering) -> None:
    plan, graph = data.draw(plans(ordering))
    order = order_of(plan, graph, ordering=ordering)
    queue, most = Queue(order, len(plan.steps) or 1), 0
    seconds = dict.fromkeys(order.waits, 1.0)
    times = run(queue, seconds)
    for begin, _ in times.values():
        most = max(most, sum(start <= begin < end for start, end in times.values()))
    if order.is_a_row:
        assert most <= 1
