"""Whatever is declared and remembered: plan, picture, selectors and views agree with the one judge of states."""

from drawing import drawn
from hypothesis import given
from hypothesis import strategies as st
from registries import registries
from test_plan_laws import histories

from migrate_graph.core.graph import Node, NodeKind, build_graph
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import build_plan
from migrate_graph.core.selection import select
from migrate_graph.core.states import State, standing_of, states_of
from migrate_graph.core.timeline import Timeline
from migrate_graph.render import PictureOptions

MIGRATION_STATES = ("applied", "pending", "failed", "interrupted", "running", "blocked", "orphan", "cycle")


@given(registries(cyclic=True), st.data(), st.booleans())
def test_everybody_says_the_same(registry: Registry, data: st.DataObject, at_work: bool) -> None:
    graph = build_graph(registry)
    history = data.draw(histories(list(graph.migrations)))
    standing = standing_of(graph, history, at_work=at_work)
    plan = build_plan(graph, history, standing=standing)
    states = states_of(graph, history, plan)

    told = {name: states[Node(NodeKind.MIGRATION, name)] for name in graph.migrations}
    assert {name for name, known in told.items() if known.place} == {step.migration.name for step in plan.steps}
    assert {name for name, known in told.items() if known.applied} == set(plan.applied)
    runnable = {State.PENDING, State.FAILED}
    assert {step.migration.name for step in plan.steps} <= {
        name for name, known in told.items() if known.state in runnable
    }
    stuck = {State.BLOCKED, State.INTERRUPTED, State.RUNNING, State.CYCLE}
    assert {each.migration.name for each in plan.blocked} == {
        name for name, known in told.items() if known.state in stuck and not known.applied
    }
    for each in plan.blocked:
        assert told[each.migration.name].waits_for in {each.by, ()}

    for state in MIGRATION_STATES:
        chosen = {node.name for node in select(f"state:{state}", graph, states)}
        assert chosen >= {name for name, known in told.items() if known.state == state}
        assert chosen & told.keys() == {name for name, known in told.items() if known.state == state}

    picture = drawn("graph", graph, plan, history, options=PictureOptions(everything=True))
    if not at_work:
        drawn_states = {node.name: node.state for node in picture.nodes if node.kind == "migration"}
        assert all(drawn_states[name] is known.state for name, known in told.items())

    living = Timeline(graph).living(history.applied)
    assert living == {name for name in graph.views if states[Node(NodeKind.VIEW, name)].applied}
