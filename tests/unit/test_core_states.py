"""The judge of states: one answer for status, plan, graph, selectors, rules and pictures."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of, history_of

from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, build_graph
from migrate_graph.core.history import Attempt, AttemptState, History, Record, StoredView
from migrate_graph.core.model import Migration, Registry
from migrate_graph.core.plan import Plan, build_plan
from migrate_graph.core.rules import RuleSettings, check
from migrate_graph.core.states import GRAVITY, WORDINGS, NodeState, State, ViewChange, standing_of, states_of


def migration(name: str) -> Node:
    return Node(NodeKind.MIGRATION, name)


def states(graph: MigrationGraph, history: History | None, plan: Plan | None = None) -> dict[str, str]:
    return {node.name: str(known.state) for node, known in states_of(graph, history, plan).items()}


def journal(
    *attempts: tuple[str, AttemptState, dict[str, Any]], installed: str = "", not_installed: str = ""
) -> History:
    records = {name: Record(name, installed=True) for name in installed.split()}
    records |= {name: Record(name, installed=False) for name in not_installed.split()}
    rows = (Attempt(place, name, "run", state, **values) for place, (name, state, values) in enumerate(attempts))
    return History(records=records, attempts=tuple(rows))


def test_every_state_has_words_of_its_own() -> None:
    assert set(WORDINGS) == set(GRAVITY) == set(State)
    for word in ("glyph", "ascii"):
        # What a plan rebuilds and what a change changes are never in one picture.
        signs = [getattr(each, word) for state, each in WORDINGS.items() if state is not State.CHANGED]
        assert len(set(signs)) == len(signs), f"one {word} for two states"
    assert all(each.ascii.isascii() and len(each.ascii) == len(each.glyph) == 1 for each in WORDINGS.values())


def test_without_a_history_nothing_is_said_but_what_the_graph_says() -> None:
    graph = graph_of("(nope) < a", "b < c < b", views={"V": {"uses": "W"}})
    assert states(graph, None) == {
        "a": "declared", "b": "cycle", "c": "cycle", "V": "declared", "nope": "orphan", "W": "orphan",
    }  # fmt: skip
    assert set(standing_of(graph, None).values()) == {NodeState(State.DECLARED)}


def test_records_and_attempts_add_up() -> None:
    history = history_of("a b", failed="c d", interrupted="b e")
    assert states(graph_of("a", "b", "c", "d", "e", "f"), history) == {
        "a": "applied",
        # A record wins over a journal row that nobody closed: 2.1.0 may have applied it since.
        "b": "applied",
        "c": "failed",
        "d": "failed",
        "e": "interrupted",
        "f": "pending",
    }


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (AttemptState.RUNNING, State.INTERRUPTED),
        (AttemptState.FAILED, State.FAILED),
        (AttemptState.RESOLVED, State.PENDING),
        (AttemptState.MARKED, State.PENDING),
        (AttemptState.APPLIED, State.FAILED),
    ],
)
def test_the_last_attempt_tells_what_the_record_does_not(last: AttemptState, state: State) -> None:
    history = journal(("a", AttemptState.RUNNING, {}), ("a", last, {}), not_installed="a")
    assert states_of(graph_of("a"), history)[migration("a")].state is state


def test_kept_commits_are_never_forgotten() -> None:
    """The first attempt left a commit, the second failed cleanly: the commit is still in the database."""
    failed = ("a", AttemptState.FAILED, {"commits": 1, "error": "first"})
    clean = ("a", AttemptState.FAILED, {"commits": 0, "error": "second"})
    known = states_of(graph_of("a"), journal(failed, clean))[migration("a")]
    assert (known.state, known.commits, known.error) == (State.FAILED, 1, "second")
    # Where such a thing needs a decision, the clean failure after it changes nothing.
    stopped = standing_of(graph_of("a"), journal(failed, clean), stop_on_partial=True)[migration("a")]
    assert (stopped.state, stopped.commits) == (State.INTERRUPTED, 1)
    # A human who has looked, or a success, settles it.
    decided = standing_of(graph_of("a"), journal(failed, ("a", AttemptState.RESOLVED, {}), clean), stop_on_partial=True)
    assert (decided[migration("a")].state, decided[migration("a")].commits) == (State.FAILED, 0)
    applied = states_of(graph_of("a"), journal(failed, ("a", AttemptState.APPLIED, {"commits": 2}), installed="a"))
    assert applied[migration("a")].commits == 0


def test_what_was_written_by_hand_is_no_error() -> None:
    by_hand = journal(
        ("a", AttemptState.FAILED, {"error": "boom"}),
        ("a", AttemptState.MARKED, {"error": "root@host: done by hand"}),
        ("b", AttemptState.MARKED, {"error": "apply --fake"}),
        not_installed="a",
        installed="b",
    )
    known = states_of(graph_of("a", "b"), by_hand)
    assert [(each.state, each.error, each.remark) for each in known.values()] == [
        (State.PENDING, "", "root@host: done by hand"),
        (State.APPLIED, "", "apply --fake"),
    ]


def test_changed_means_since_it_was_last_accepted() -> None:
    graph = graph_of(migrations={name: {"facts": {"fingerprint": "new"}} for name in ("ran", "marked", "again", "old")})
    history = journal(
        ("ran", AttemptState.APPLIED, {"fingerprint": "before"}),
        ("marked", AttemptState.APPLIED, {"fingerprint": "before"}),
        ("marked", AttemptState.MARKED, {}),
        ("again", AttemptState.APPLIED, {"fingerprint": "before"}),
        ("again", AttemptState.MARKED, {"fingerprint": "between"}),
        installed="ran marked again old",
    )
    known = states_of(graph, history)
    assert {node.name for node, each in known.items() if each.changed} == {"ran", "again"}


def test_what_waits_says_for_what() -> None:
    graph = graph_of("(nope) < a < b", "x < y", "r < s < r < behind")
    known = states_of(graph, history_of(interrupted="x"))
    told = {node.name: (str(each.state), each.waits_for) for node, each in known.items()}
    assert told["a"] == ("blocked", ("nope",))
    assert told["b"] == ("blocked", ("a",))
    assert told["x"] == ("interrupted", ())
    assert told["y"] == ("blocked", ("x",))
    assert told["r"] == ("cycle", ("s",))
    assert told["behind"] == ("blocked", ("r",))


def test_a_failed_migration_whose_requirement_cannot_run_is_blocked_and_keeps_its_error() -> None:
    history = journal(("a", AttemptState.RUNNING, {"commits": 1}), ("b", AttemptState.FAILED, {"error": "boom"}))
    known = states_of(graph_of("a < b"), history)[migration("b")]
    assert (known.state, known.waits_for, known.error) == (State.BLOCKED, ("a",), "boom")


def test_the_newest_unfinished_attempt_runs_while_the_lock_is_held() -> None:
    history = journal(("old", AttemptState.RUNNING, {"commits": 1}), ("busy", AttemptState.RUNNING, {"commits": 1}))
    graph = graph_of("old", "busy < next")
    held = standing_of(graph, history, at_work=True)
    assert [str(each.state) for each in held.values()] == ["interrupted", "running", "blocked"]
    plan = build_plan(graph, history, standing=held)
    assert plan.interrupted == plan.undecided == ("old",)
    assert {each.migration.name: each.by for each in plan.blocked} == {
        "old": ("old",),
        "busy": ("busy",),
        "next": ("busy",),
    }
    assert standing_of(graph, History(), at_work=True)[migration("busy")].state is State.PENDING
    assert standing_of(graph, History(), running={"busy"})[migration("busy")].state is State.RUNNING


def test_orphans_and_unfinished_strangers() -> None:
    history = history_of("gone", interrupted="halfway")
    assert states(graph_of("a"), history) == {"a": "pending", "gone": "orphan", "halfway": "interrupted"}
    known = states_of(graph_of("a"), history)[migration("gone")]
    assert known.recorded
    assert known.applied
    assert known.when is None
    assert known.duration is None


def test_a_plan_gives_places_and_tells_what_it_was_not_asked_for() -> None:
    graph = graph_of("a < b", "c", "d")
    history = history_of(failed="d")
    known = states_of(graph, history, build_plan(graph, history, selection={"b"}))
    told = {node.name: (str(each.state), each.place, each.asked) for node, each in known.items()}
    assert told == {
        "a": ("pending", 1, True), "b": ("pending", 2, True), "c": ("declared", 0, False), "d": ("failed", 0, False),
    }  # fmt: skip
    whole = states_of(graph, history, build_plan(graph, history))
    assert [each.place for each in whole.values()] == [1, 2, 3, 4]


def test_late_is_what_stands_before_something_applied() -> None:
    known = states_of(graph_of("a", "b", "c"), history_of("b"))
    assert [each.late for each in known.values()] == [True, False, False]


def view(graph: MigrationGraph, history: History, name: str, plan: Plan | None = None) -> NodeState:
    return states_of(graph, history, plan)[Node(NodeKind.VIEW, name)]


def test_a_view_is_replaced_by_the_end_of_its_chain() -> None:
    """V2's own window has closed, V3 lives: then V1 does not live again."""
    graph = graph_of(
        "m1 < m2 < m3",
        views={"V1": {"since": "m1"}, "V2": {"replaces": "V1", "since": "m2", "until": "m3"}, "V3": {"replaces": "V2"}},
    )
    history = history_of("m1 m2 m3")
    one, two, three = (view(graph, history, name) for name in ("V1", "V2", "V3"))
    assert (one.state, one.applied, one.replaced_by) == (State.RETIRED, False, "V3")
    assert (two.state, two.replaced_by) == (State.RETIRED, None)
    assert (three.state, three.applied) == (State.APPLIED, True)


def test_a_view_that_is_not_there_says_why() -> None:
    graph = graph_of("a < b", "(nope) < c", views={"V": {"since": "b"}, "W": {"since": "c"}, "X": {"since": "nowhere"}})
    waiting, behind, unknown = (view(graph, history_of("a"), name) for name in "VWX")
    assert (waiting.state, waiting.waits_for) == (State.DECLARED, ("b",))
    assert (behind.state, behind.waits_for) == (State.BLOCKED, ("c",))
    assert (unknown.state, unknown.waits_for) == (State.BLOCKED, ("nowhere",))


def test_a_view_that_is_down_is_down_whatever_the_plan_does() -> None:
    graph = graph_of(
        "a < b", views={"V": {"since": "a"}}, migrations={"a": {"touches": ["V"]}, "b": {"touches": ["V"]}}
    )
    history = History(
        records={"a": Record("a", installed=True)}, views_down=(StoredView("public.v", manager="V", migration="b"),)
    )
    known = view(graph, history, "V", build_plan(graph, history))
    assert (known.state, known.change) == (State.DOWN, ViewChange.REBUILT)


def test_what_a_plan_does_to_views_and_in_which_step() -> None:
    graph = graph_of(
        "create < widen < hand_over < drop",
        views={
            "Old": {"since": "create"},
            "New": {"replaces": "Old", "since": "hand_over", "until": "drop"},
            "Reader": {"uses": "Old", "since": "create"},
        },
        migrations={name: {"touches": ["Old"]} for name in ("create", "widen", "hand_over", "drop")},
    )
    plan = build_plan(graph, History())
    assert plan.steps[2].views.handed_over == (("Old", "New"),)
    assert plan.steps[1].views.rebuilt == ("Old", "Reader")
    told = {
        name: (each.change, each.taken_down, each.brought_up)
        for name in graph.views
        for each in [view(graph, History(), name, plan)]
    }
    assert told["Old"] == (ViewChange.PASSING, (2, 3), (1, 2))
    assert told["New"][:2] == (ViewChange.PASSING, (4,))
    assert told["Reader"][0] is ViewChange.NEW
    done = history_of("create widen hand_over")
    rest = build_plan(graph, done)
    assert view(graph, done, "New", rest).change is ViewChange.RETIRED
    assert view(graph, done, "Old", rest).change in {None, ViewChange.NEW}
    half = history_of("create")
    assert view(graph, half, "Reader", build_plan(graph, half)).change is ViewChange.REBUILT


def test_the_rules_take_how_things_stand_from_who_knows_it() -> None:
    """`on_partial = "stop"`: what failed with a commit needs a decision, and the rules say so like everybody else."""
    graph, history = graph_of("a"), journal(("a", AttemptState.FAILED, {"commits": 1}))
    settings = RuleSettings(select=("MG4",))
    assert check(graph, history, settings=settings) == ()
    (finding,) = check(graph, history, settings=settings, standing=standing_of(graph, history, stop_on_partial=True))
    assert (finding.code, finding.subject) == ("MG405", migration("a"))


def test_a_history_is_unfinished_while_its_newest_attempt_has_no_end() -> None:
    assert not History().is_unfinished
    assert journal(("a", AttemptState.RUNNING, {})).is_unfinished
    assert not journal(("a", AttemptState.RUNNING, {}), ("b", AttemptState.FAILED, {})).is_unfinished


@pytest.mark.parametrize(
    ("last", "resumable", "state"),
    [
        (AttemptState.RUNNING, True, State.PENDING),
        (AttemptState.RUNNING, False, State.INTERRUPTED),
        (AttemptState.FAILED, True, State.FAILED),
        (AttemptState.FAILED, False, State.INTERRUPTED),
    ],
)
def test_one_that_is_resumable_is_never_a_question(last: AttemptState, resumable: bool, state: State) -> None:
    """Whatever it kept; what it kept is told all the same."""
    graph = build_graph(Registry((Migration("a", bool, resumable=resumable),)))
    history = journal(("a", last, {"commits": 2}))
    known = standing_of(graph, history, stop_on_partial=True)
    assert (known[migration("a")].state, known[migration("a")].commits) == (state, 2)
    plan = build_plan(graph, history, standing=known)
    assert [step.migration.name for step in plan.steps] == (["a"] if resumable else [])
    assert standing_of(graph, history, at_work=True)[migration("a")].state is (
        State.RUNNING if last is AttemptState.RUNNING else State.FAILED
    )


def test_at_rest_nothing_runs_and_nothing_waits() -> None:
    graph = graph_of(
        "a < b",
        "(nope) < c",
        views={"V": {"since": "a"}},
        migrations={"b": {"touches": ["V"]}, "a": {"touches": ["V"]}},
    )
    history = history_of("a")
    states_then = states_of(graph, history, build_plan(graph, history))
    at_rest = {node.name: each.at_rest for node, each in states_then.items()}
    assert {name: str(each.state) for name, each in at_rest.items()} == {
        "a": "applied", "b": "declared", "c": "declared", "V": "applied", "nope": "orphan",
    }  # fmt: skip
    assert states_then[Node(NodeKind.VIEW, "V")].state is State.REBUILT
    assert not any(each.place or each.waits_for or each.change or each.brought_up for each in at_rest.values())


def test_a_plan_sums_up_what_becomes_of_views() -> None:
    views = {name: {"since": "make"} for name in ("A", "B")} | {"C": {"since": "make", "until": "end"}}
    touches = {"make": {"touches": ["A", "B", "C"]}, "widen": {"touches": ["A"]}, "end": {"touches": ["C"]}}
    graph = graph_of("make < widen < end", views=views, migrations=touches)
    assert build_plan(graph, History()).summary == "3 to run · 2 views new"
    assert build_plan(graph, history_of("make")).summary == "2 to run · 1 view rebuilt, 1 retired"
    assert build_plan(graph, history_of("make widen end")).summary == "0 to run"
