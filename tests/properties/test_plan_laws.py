"""Whatever is declared and remembered: a plan keeps the order, meets requirements, and ends where nothing is left."""

from hypothesis import given
from hypothesis import strategies as st
from registries import registries

from migrate_graph.core.graph import Ordering, build_graph
from migrate_graph.core.history import Attempt, AttemptState, History, Record
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import RULES, Severity, check
from migrate_graph.core.states import standing_of


@st.composite
def histories(draw: st.DrawFn, names: list[str]) -> History:
    """Return any history, also one that no run could have made."""
    recorded = draw(st.dictionaries(st.sampled_from([*names, "gone"]), st.booleans()))
    attempts = draw(st.lists(st.tuples(st.sampled_from([*names, "gone"]), st.sampled_from(AttemptState)), max_size=4))
    return History(
        records={name: Record(name, installed=installed) for name, installed in recorded.items()},
        attempts=tuple(
            Attempt(index, *attempt, commits=index % 2)
            for index, attempt in enumerate((name, "run", state) for name, state in attempts)
        ),
    )


@given(registries(cyclic=True), st.data(), st.sampled_from(Ordering), st.booleans())
def test_laws_of_every_plan(registry: Registry, data: st.DataObject, ordering: Ordering, stop: bool) -> None:
    graph = build_graph(registry)
    history = data.draw(histories(list(graph.migrations)))
    selection = data.draw(st.none() | st.frozensets(st.sampled_from([*graph.migrations, "nowhere"])))
    standing = standing_of(graph, history, ordering=ordering, stop_on_partial=stop)
    plan = build_plan(graph, history, ordering=ordering, selection=selection, standing=standing)
    steps = [step.migration.name for step in plan.steps]
    blocked = [each.migration.name for each in plan.blocked]

    places = {name: place for place, name in enumerate(graph.order(ordering))}
    for names in (steps, blocked, plan.applied, plan.unselected, plan.added, plan.interrupted):
        assert [places[name] for name in names] == sorted(places[name] for name in names)
    # Every declared migration is in exactly one place.
    assert sorted([*steps, *blocked, *plan.applied, *plan.unselected]) == sorted(graph.migrations)
    met = set(history.applied)
    for step in plan.steps:
        assert met.issuperset(step.migration.requires)
        assert set(step.reason.after) <= set(step.migration.requires)
        assert plan.step_of(step.migration.name) is step
        met.add(step.migration.name)
    for each in plan.blocked:
        assert each.by
    assert not set(steps) & (set(plan.interrupted) | graph.unsortable)
    if selection is not None:
        assert set(steps) | set(blocked) <= selection.union(*(graph.ancestors(name) for name in selection))
        assert set(plan.added).isdisjoint(selection)


@given(registries(), st.data())
def test_the_plan_of_a_plans_end_is_empty(registry: Registry, data: st.DataObject) -> None:
    graph = build_graph(registry)
    history = data.draw(histories(list(graph.migrations)))
    done = build_plan(graph, history)
    records = {
        **history.records,
        **{each.migration.name: Record(each.migration.name, installed=True) for each in done.steps},
    }
    applied = [Attempt(9, each.migration.name, "run", AttemptState.APPLIED) for each in done.steps]
    after = build_plan(graph, History(records=records, attempts=(*history.attempts, *applied)))
    assert not after.steps
    assert after.blocked == done.blocked


@given(registries(cyclic=True), st.data(), st.sampled_from(Ordering))
def test_every_registry_can_be_judged(registry: Registry, data: st.DataObject, ordering: Ordering) -> None:
    graph = build_graph(registry)
    findings = check(graph, data.draw(histories(list(graph.migrations))), ordering=ordering)
    assert findings == tuple(sorted(findings, key=lambda each: (list(Severity).index(each.severity), each.code)))
    for finding in findings:
        assert finding.code in RULES
        assert finding.message
        assert finding.hint
    # Nothing behind a ring is accused of the ring (D27).
    ringed = {name for ring in graph.cycles() for name in ring}
    for finding in findings:
        if finding.code == "MG101":
            assert finding.subject.name in ringed
            assert {each.subject.name for each in finding.related} <= ringed
