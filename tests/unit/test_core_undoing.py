"""What undoing takes along: what requires a migration, and the views as they were before it."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of

from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.history import Attempt, AttemptState, History, Record, ways_out
from migrate_graph.core.plan import build_plan
from migrate_graph.core.states import State, standing_of
from migrate_graph.core.timeline import ViewChanges
from migrate_graph.core.undoing import changes_of, undoing, undone_with

GRAPH = graph_of(
    "a < b", "b < c", "a < d",
    migrations={"b": {"touches": ["V"]}, "c": {"touches": ["V"]}, "d": {"touches": ["X"]}},
    views={
        "V": {"since": "b", "until": "c"},
        "V2": {"since": "c", "replaces": "V"},
        "W": {"uses": "V"},
        "X": {},
        "Y": {"since": "d"},
    },
)  # fmt: skip


def _undone(name: str, applied: str, graph: MigrationGraph = GRAPH) -> ViewChanges:
    return changes_of(undoing(graph, graph.order(Ordering.LEGACY), set(applied.split()) - {name}, name))


def _history(*attempts: tuple[str, AttemptState, int], installed: str = "", gone: str = "") -> History:
    records = {name: Record(name, installed=True) for name in installed.split()}
    records |= {name: Record(name, installed=False) for name in gone.split()}
    rows = (Attempt(at, name, "run", state, commits=commits) for at, (name, state, commits) in enumerate(attempts))
    return History(records=records, attempts=tuple(rows))


def _state(history: History, name: str = "b", **more: Any) -> State:
    return standing_of(GRAPH, history, **more)[Node(NodeKind.MIGRATION, name)].state


def test_what_requires_it_goes_first() -> None:
    applied = {"a", "b", "c", "d"}
    assert undone_with(GRAPH, "b", applied, Ordering.LEGACY) == ("c", "b")
    assert set(undone_with(GRAPH, "a", applied, Ordering.LEGACY)[:-1]) == {"b", "c", "d"}
    assert undone_with(GRAPH, "a", applied, Ordering.LEGACY)[-1] == "a"
    assert undone_with(GRAPH, "b", {"a", "b"}, Ordering.LEGACY) == ("b",), "what is not applied stays where it is"


def test_a_view_that_was_replaced_comes_back_and_its_readers_are_made_anew() -> None:
    changes = _undone("c", "a b c d")
    assert (changes.new, changes.retired) == (("V",), ("V2",))
    assert changes.rebuilt == ("W",)
    assert changes.down.index("W") < changes.down.index("V2")
    assert changes.up.index("V") < changes.up.index("W")


def test_what_lives_only_since_it_goes_for_good() -> None:
    changes = _undone("b", "a b d")
    assert set(changes.retired) == {"V", "W"}, "W has no window, and no other migration has made it"
    assert changes.up == ()


def test_what_another_migration_has_made_before_comes_up_again() -> None:
    graph = graph_of("a < b", migrations={"a": {"touches": ["X"]}, "b": {"touches": ["X"]}}, views={"X": {}})
    assert _undone("b", "a b", graph).rebuilt == ("X",)
    assert _undone("b", "b", graph).retired == ("X",)


def test_one_that_touches_no_view_leaves_them_alone() -> None:
    assert _undone("a", "a") == ViewChanges()


def test_a_view_that_it_closed_comes_back() -> None:
    graph = graph_of("a < b", migrations={"a": {"touches": ["V"]}}, views={"V": {"until": "b"}})
    assert _undone("b", "a b", graph).new == ("V",)
    assert _undone("b", "b", graph).new == (), "it had never been made"


def test_a_reverted_migration_is_pending_and_says_so() -> None:
    history = _history(
        ("a", AttemptState.APPLIED, 0),
        ("b", AttemptState.APPLIED, 0),
        ("b", AttemptState.REVERTED, 0),
        installed="a",
        gone="b",
    )
    assert _state(history) is State.REVERTED
    plan = build_plan(GRAPH, history)
    assert plan.steps[0].migration.name == "b"
    assert plan.steps[0].reason.status is State.REVERTED
    assert not plan.blocked
    again = _history(("b", AttemptState.REVERTED, 0), ("b", AttemptState.MARKED, 0), installed="a", gone="b")
    assert _state(again) is State.PENDING


@pytest.mark.parametrize(
    ("last", "commits", "state"),
    [
        (AttemptState.REVERT_FAILED, 0, State.APPLIED),
        (AttemptState.REVERT_FAILED, 1, State.INTERRUPTED),
        (AttemptState.REVERTING, 1, State.INTERRUPTED),
    ],
)
def test_a_revert_that_came_to_no_end_is_a_question_only_where_it_left_something(
    last: AttemptState, commits: int, state: State
) -> None:
    history = _history(
        ("a", AttemptState.APPLIED, 0), ("b", AttemptState.APPLIED, 0), ("b", last, commits), installed="a b"
    )
    assert _state(history) is state
    known = standing_of(GRAPH, history)[Node(NodeKind.MIGRATION, "b")]
    assert known.applied is (state is State.APPLIED)
    assert known.commits == (commits if state is State.INTERRUPTED else 0)
    plan = build_plan(GRAPH, history)
    assert plan.interrupted == (("b",) if state is State.INTERRUPTED else ())
    assert ("c" in {each.migration.name for each in plan.blocked}) is (state is State.INTERRUPTED)
    assert ways_out(history.last_attempts()["b"]) == (
        ("--applied", "--retry") if state is State.APPLIED else ("--applied", "--reverted")
    )


def test_one_that_is_undone_now_is_running() -> None:
    history = _history(("a", AttemptState.APPLIED, 0), ("b", AttemptState.REVERTING, 1), installed="a b")
    assert history.is_unfinished
    assert _state(history, at_work=True) is State.RUNNING


def test_what_is_declared_no_more_and_half_undone_is_told() -> None:
    history = _history(("z", AttemptState.REVERTING, 1), installed="z")
    assert _state(history, "z") is State.INTERRUPTED
    assert ways_out(None) == ("--applied", "--retry")
