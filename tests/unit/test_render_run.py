"""The picture of a run that is over: order, durations, tries, waiting, and how long each view was away."""

from datetime import UTC, datetime, timedelta

import pytest
from drawing import graph_of

from migrate_graph.core.history import Attempt, AttemptState, History, Record
from migrate_graph.core.states import State, states_of
from migrate_graph.core.timeline import Course, Timeline
from migrate_graph.errors import UsageError
from migrate_graph.render import FORMATS, PictureOptions, render
from migrate_graph.render.compose.run import picture_of_run
from migrate_graph.render.picture import Picture, PictureInput
from migrate_graph.workflow.log import run_of

START = datetime(2026, 4, 6, 3, 0, 0, tzinfo=UTC)
GRAPH = graph_of(
    "a < b < c",
    migrations={name: {"touches": ["V1"]} for name in "abc"},
    views={"V1": {"since": "a"}, "V2": {"since": "c", "replaces": "V1"}, "Reader": {"uses": "V1", "since": "a"}},
)


def attempt(
    name: str, start: float, seconds: float | None, state: AttemptState = AttemptState.APPLIED, run: str = "r1"
) -> Attempt:
    started = START + timedelta(seconds=start)
    finished = started + timedelta(seconds=seconds) if seconds is not None else None
    error = "deadlock detected" if state is AttemptState.FAILED else ""
    return Attempt(int(start * 10), name, run, state, 0, started, finished, seconds, error=error)


RUN = (
    attempt("a", 0, 2.0),
    attempt("b", 2.1, 1.0, AttemptState.FAILED),
    attempt("b", 8.1, 3.0),
    attempt("c", 11.2, 0.5),
)


def drawn(run: tuple[Attempt, ...]) -> Picture:
    course = Course(Timeline(GRAPH), frozenset())
    changes = {name: course.run(GRAPH.migrations[name]) for name in "abc"}
    history = History({name: Record(name, installed=True) for name in "abc"}, run)
    given = PictureInput(GRAPH, states_of(GRAPH, history))
    return picture_of_run(given, run, changes=changes, options=PictureOptions(title="shop"))


def test_a_run_tells_durations_tries_and_waiting() -> None:
    picture = drawn(RUN)
    notes = {node.name: node.notes for node in picture.nodes if node.kind == "migration"}
    assert notes == {"a": ("2.0 s",), "b": ("3.0 s", "2 tries", "waited 5.0 s"), "c": ("0.5 s",)}
    assert [node.place for node in picture.nodes if node.kind == "migration"] == [1, 2, 3]
    assert picture.subtitle == "run r1 · 3 applied · 2026-04-06 03:00:00Z, 11.7 s in all · 1 retry"


def test_a_view_is_away_as_long_as_what_rebuilds_it_at_most() -> None:
    notes = {node.name: node.notes for node in drawn(RUN).nodes if node.kind == "view"}
    assert notes["Reader"] == ("view · new #1,#2,#3", "away 3.5 s at most")
    assert notes["V1"] == ("view · retire #1,#2,#3", "away 3.0 s at most")
    assert notes["V2"] == ("view · new #3",)


def test_what_failed_and_what_died_say_so() -> None:
    picture = drawn((attempt("a", 0, 1.0, AttemptState.FAILED), attempt("b", 1, None, AttemptState.RUNNING)))
    states = {node.name: (node.state, node.notes, node.sentence) for node in picture.nodes}
    assert states == {
        "a": (State.FAILED, ("1.0 s",), "deadlock detected"),
        "b": (State.INTERRUPTED, ("not finished",), ""),
    }


@pytest.mark.parametrize("name", ["svg", "mermaid", "markdown", "json", "text", "graphml", "dot", "html"])
def test_every_format_draws_a_run(name: str) -> None:
    assert name in FORMATS
    assert b"3.0 s" in render(drawn(RUN), name) or name == "graphml"


def test_a_migration_that_is_declared_no_more_is_drawn_too() -> None:
    picture = drawn((*RUN, attempt("gone", 12, 0.1)))
    assert [node.name for node in picture.nodes if node.kind == "migration"] == ["a", "b", "c", "gone"]


def test_which_run_is_meant() -> None:
    runs = (attempt("a", 0, 1, run="abc1"), attempt("b", 1, 1, run="abd2"), attempt("c", 2, 1, run="abd2"))
    by_hand = attempt("x", 3, 0, AttemptState.MARKED, run="hand")
    assert [each.name for each in run_of((*runs, by_hand), None)] == ["b", "c"]
    assert [each.name for each in run_of(runs, "abc")] == ["a"]
    with pytest.raises(UsageError, match="2 runs begin with 'ab'"):
        run_of(runs, "ab")
    with pytest.raises(UsageError, match="the journal has no run"):
        run_of((by_hand,), None)
    with pytest.raises(UsageError, match="no run"):
        run_of(runs, "zzz")
