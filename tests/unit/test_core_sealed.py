"""What has moved since a plan was sealed: every kind by itself, also where a part of the plan has run."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of
from msgspec.structs import replace

from migrate_graph.core.drift import Described, Inventory
from migrate_graph.core.footprint import Fact, Footprint, Statement
from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.history import Attempt, AttemptState, History, Record, StoredView
from migrate_graph.core.plan import build_plan
from migrate_graph.core.sealed import Snapshot, _shapes, comparable, done_of, snapshot_of, touched_by, verdict

MADE = {
    Fact("table", "public.t"): Described("", "public.t"),
    Fact("column", "public.t.a"): Described("int", "public.t"),
    Fact("index", "public.t_a"): Described("CREATE INDEX", "public.t"),
    Fact("table", "public.u"): Described("", "public.u"),
    Fact("schema", "public"): Described("owner app"),
    Fact("function", "public.f()"): Described("RETURN 1"),
}


def inventory(**changed: Any) -> Inventory:
    return replace(Inventory(MADE, server="postgres 16", version="1"), **changed)


def graph(**fingerprints: str) -> MigrationGraph:
    codes = {"first": "1", "b": "2", "c": "3"} | fingerprints
    return graph_of(
        "first < b < c",
        migrations={name: {"facts": {"fingerprint": code}} for name, code in codes.items()},
        views={"V": {"fingerprint": "v"}},
    )


def history(*installed: str, attempts: tuple[Attempt, ...] = (), **more: Any) -> History:
    return History(records={name: Record(name, installed=True) for name in installed}, attempts=attempts, **more)


def snapshot(
    known: History | None = None,
    *,
    declared: MigrationGraph | None = None,
    made: Inventory | None = None,
    footprints: dict[str, Footprint] | None = None,
    **more: Any,
) -> Snapshot:
    known, declared = known or history("first"), declared or graph()
    plan = build_plan(declared, known)
    steps = tuple(replace(step, footprint=(footprints or {}).get(step.migration.name)) for step in plan.steps)
    values = {"journal": "j", "address": "a", **more}
    return snapshot_of(declared, replace(plan, steps=steps), known, made or inventory(), **values)


def told(sealed: Snapshot, now: Snapshot, known: History | None = None) -> list[tuple[str, str]]:
    return [(each.what, each.name) for each in verdict(sealed, now, known or history("first")).moved]


def attempt(name: str, state: AttemptState = AttemptState.APPLIED, fingerprint: str = "2", commits: int = 0) -> Attempt:
    return Attempt(1, name, "run", state, fingerprint=fingerprint, commits=commits)


def test_where_nothing_moved_everything_is_left() -> None:
    found = verdict(snapshot(), snapshot(), history("first"))
    assert (found.done, found.left, found.moved, found.unseen, found.is_over) == ((), ("b", "c"), (), "", False)


VIEW_ROW = StoredView("public.v", "V", "m")

CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "edited": ({"declared": graph(b="9")}, [("edited", "b")]),
    "database": ({"journal": "other", "declared": graph(b="9")}, [("database", "")]),
    "server": ({"made": inventory(server="postgres 17")}, [("server", "postgres 17, migrate_graph 1")]),
    "view": ({"known": history("first", view_texts={"V": "v"})}, [("view", "V")]),
    "view down": ({"known": history("first", views_down=(VIEW_ROW,))}, [("view", "V")]),
    "changed": (
        {"made": inventory(facts={**MADE, Fact("index", "public.t_b"): Described("x", "public.t")})},
        [("changed by hand", "public.t")],
    ),
    "made": (
        {"made": inventory(facts={**MADE, Fact("table", "public.w"): Described("", "public.w")})},
        [("changed by hand", "public.w")],
    ),
    "dropped": (
        {"made": inventory(facts={fact: each for fact, each in MADE.items() if each.relation != "public.u"})},
        [("changed by hand", "public.u")],
    ),
    "kept commits": (
        {"known": history("first", attempts=(attempt("b", AttemptState.FAILED, commits=2),))},
        [("ledger", "b")],
    ),
    "failed and rolled back": ({"known": history("first", attempts=(attempt("b", AttemptState.FAILED),))}, []),
    "interrupted": (
        {"known": history("first", attempts=(attempt("b", AttemptState.RUNNING, commits=1),))},
        [("ledger", "b"), ("ledger", "c")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_moved_is_named(case: str) -> None:
    values, expected = CASES[case]
    assert told(snapshot(), snapshot(**values)) == expected


def test_declarations_that_came_and_went_and_got_another_place() -> None:
    came = graph_of("first < b < c", "first < d", views={"V": {"fingerprint": "w", "since": "b"}, "W": {}})
    bare = graph_of("first < b < c", views={"V": {"fingerprint": "v"}})
    sealed = snapshot(declared=bare)
    assert set(told(sealed, snapshot(declared=came))) == {
        ("added", "d"), ("added", "W"), ("edited", "V"), ("requirements", "V"), ("order", "d"),
    }  # fmt: skip
    assert told(snapshot(declared=came), sealed)[:1] == [("gone", "d")]
    turned = snapshot(declared=graph_of("first < c < b", views={"V": {"fingerprint": "v"}}))
    assert told(sealed, turned) == [("requirements", "b"), ("requirements", "c"), ("order", "")]


def test_records_that_came_and_went() -> None:
    both = history("first", "else")
    assert told(snapshot(), snapshot(both), both) == [("ledger", "else")]
    assert ("ledger", "first") in told(snapshot(), snapshot(history()), history())


def test_views_that_a_finished_step_touched_are_passed_over() -> None:
    up = history("first", view_texts={"V": "v", "W": "w"})
    assert told(snapshot(up), snapshot(up), up) == []
    half = history("first", "b", attempts=(attempt("b"),), view_texts={"V": "new", "W": "w"})
    sealed = snapshot(up)
    touching = replace(sealed, steps=(replace(sealed.steps[0], views=("V",)), *sealed.steps[1:]))
    assert told(sealed, snapshot(half), half) == [("view", "V")]
    assert told(touching, snapshot(half), half) == []


def test_views_that_a_setting_adds_to_a_step_or_takes_from_it_are_named() -> None:
    bare = snapshot()
    opening = replace(bare, steps=(replace(bare.steps[0], views=("V",)), *bare.steps[1:]))
    assert told(bare, opening) == told(opening, bare) == [("view", "V")]
    (more,), (fewer,) = verdict(bare, opening, history("first")).moved, verdict(opening, bare, history("first")).moved
    assert "would come up or go down, too" in more.told
    assert "would not come up or go down any more" in fewer.told


def test_views_of_the_steps_left_are_compared_where_a_part_has_run() -> None:
    known = history("first", "b", attempts=(attempt("b"),))
    sealed, half = snapshot(), snapshot(known)
    other = replace(half, steps=(replace(half.steps[0], views=("V",)),))
    assert told(sealed, half, known) == []
    assert told(sealed, other, known) == [("view", "V")]


@pytest.mark.parametrize("installed", [("first",), ("first", "b")])
def test_another_setting_is_named_also_where_a_part_has_run(installed: tuple[str, ...]) -> None:
    known = history(*installed, attempts=(attempt("b"),) if "b" in installed else ())
    sealed, now = (
        snapshot(settings={"weave": "off", "schema": "a"}),
        snapshot(known, settings={"weave": "blocked", "schema": "a"}),
    )
    (moved,) = verdict(sealed, now, known).moved
    assert (moved.what, moved.name, moved.told) == ("setting", "weave", "the setting weave was off, and is blocked")
    assert told(sealed, replace(now, settings=sealed.settings), known) == []


def test_a_new_database_is_known_by_its_address() -> None:
    sealed = snapshot(history(), journal="")
    assert told(sealed, snapshot(history(), journal="new"), history()) == []
    assert told(sealed, snapshot(history(), journal="new", address="other"), history()) == [("database", "")]


def test_where_a_part_has_run_the_rest_is_judged_as_if_it_had_run_then() -> None:
    half = history("first", "b", attempts=(attempt("b"),))
    found = verdict(snapshot(), snapshot(half), half)
    assert (found.done, found.left, found.moved) == (("b",), ("c",), ())
    assert "without a rehearsal" in found.unseen
    for other in (attempt("b", AttemptState.MARKED), attempt("b", fingerprint="9")):
        other_half = history("first", "b", attempts=(other,))
        assert told(snapshot(), snapshot(other_half), other_half) == [("ledger", "b")]
    unknown = history("first", "b")
    assert told(snapshot(), snapshot(unknown), unknown) == [("ledger", "b")]
    whole = history("first", "b", "c")
    assert verdict(snapshot(), snapshot(whole), whole).is_over
    out_of_order = history("first", "c")
    assert done_of(snapshot(), out_of_order) == ("c",)
    assert told(snapshot(), snapshot(out_of_order), out_of_order) == [("ledger", "c")]


SEEN = {
    "b": Footprint(
        statements=(Statement("ALTER TABLE t"),),
        locks={"public.t": "ACCESS EXCLUSIVE"},
        added=frozenset({Fact("table", "public.new"), Fact("column", "public.new.x"), Fact("type", "public.mood")}),
    ),
    "c": Footprint(uses=frozenset({"public.u.a", "public.gone.x"}), calls=frozenset({Fact("function", "public.f()")})),
}


def test_a_rehearsed_plan_depends_on_what_it_touches() -> None:
    sealed = snapshot(footprints=SEEN)
    assert not sealed.is_whole
    assert sealed.steps[0].shapes == ("ALTER TABLE t",)
    assert set(sealed.facts) == {
        "public.t",
        "public.new",
        "column public.new.x",
        "type public.mood",
        "public.u",
        "function public.f()",
    }
    only = frozenset(sealed.facts)
    far = inventory(facts={**MADE, Fact("schema", "public"): Described("owner other")})
    assert told(sealed, snapshot(made=far, only=only)) == []
    near = inventory(facts={**MADE, Fact("table", "public.new"): Described("", "public.new")})
    assert told(sealed, snapshot(made=near, only=only)) == [("changed by hand", "public.new")]
    half = history("first", "b", attempts=(attempt("b"),))
    found = verdict(sealed, snapshot(half, made=near, only=only), half)
    assert (found.moved, found.unseen) == ((), ""), "the first step has made it"
    other = inventory(facts={**MADE, Fact("function", "public.f()"): Described("RETURN 2")})
    assert told(sealed, snapshot(half, made=other, only=only), half) == [("changed by hand", "function public.f()")]


@pytest.mark.parametrize("blind", [Footprint(not_rehearsed=("a part",)), Footprint(failure="no")])
def test_a_step_that_was_not_seen_whole_makes_everything_count(blind: Footprint) -> None:
    sealed = snapshot(footprints={**SEEN, "c": blind})
    assert sealed.is_whole
    assert sealed.steps[0].touches is None
    assert "schema public" in sealed.facts


def test_patterns_take_facts_out() -> None:
    assert "public.u" not in snapshot(ignore=("public.u*",)).facts


def test_what_is_touched_is_found_by_the_longest_name() -> None:
    made = inventory(facts={**MADE, Fact("table", "public.t.odd"): Described("", "public.t.odd")})
    assert touched_by(Footprint(uses=frozenset({"public.t.odd.x"})), made) >= {"public.t.odd"}
    assert touched_by(Footprint(changed=frozenset({Fact("index", "public.t_a")})), made) == {"public.t"}
    assert touched_by(Footprint(removed=frozenset({Fact("column", "public.t.gone")})), made) == {"public.t"}


@pytest.mark.parametrize(
    "other",
    [
        "INSERT INTO t  (a, b)\n VALUES (?, ?)",
        "INSERT INTO t (a, b) VALUES ( -?, NULL)",
        "INSERT INTO t (a, b) VALUES (%s, %(name)s)",
        "INSERT INTO t (a, b) VALUES (?1, :name)",
        "INSERT INTO t (a, b) VALUES (8.5, true)",
        "INSERT INTO t (a, b) VALUES (+1, - 2)",
    ],
)
def test_statements_that_differ_in_values_are_equal(other: str) -> None:
    assert comparable(other) == comparable("INSERT INTO t (a, b) VALUES (?, ?)")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ARRAY[{}]", "SELECT a WHERE a IS DISTINCT FROM {}", "SET a TO {}", "INSERT INTO t DEFAULT VALUES RETURNING {}",
        "SELECT a || {}", "SELECT a[?:{}]", "SELECT a - {}", 'SELECT "a" * {}', "SELECT CASE {} WHEN {} THEN {} END", "FETCH a LIMIT {}",
        "SELECT a::int + {}", "SELECT (a) / {}",
    ],
)  # fmt: skip
def test_a_sign_belongs_to_its_value_wherever_that_stands(text: str) -> None:
    assert (
        comparable(text.replace("{}", "-?"))
        == comparable(text.replace("{}", "?"))
        == comparable(text.replace("{}", "+ 5"))
    )


def test_truth_is_a_value_also_behind_not() -> None:
    assert comparable("SELECT 1 WHERE NOT TRUE") == comparable("SELECT 1 WHERE NOT FALSE")
    assert comparable("SELECT 1 WHERE a IS NOT NULL") != comparable("SELECT 1 WHERE a IS NOT TRUE")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("UPDATE a SET n = n - ?", "UPDATE a SET n = n + ?"),
        ('SELECT "a" - ?', 'SELECT "a" + ?'),
        ("SELECT f(a) - ?", "SELECT f(a) + ?"),
        ("SELECT a[?] - ?", "SELECT a[?] + ?"),
        ("SELECT ? - ?", "SELECT ? + ?"),
        ("SELECT ? WHERE x IS NULL", "SELECT ? WHERE x IS TRUE"),
        ('DROP TABLE "log-1"', 'DROP TABLE "log-2"'),
        ('DROP TABLE "true"', 'DROP TABLE "null"'),
        ("SELECT a1", "SELECT a2"),
        ("SELECT a - b", "SELECT b"),
        ("SELECT a::int", "SELECT a::text"),
        ("SELECT ?", "SELECT ?, ?"),
    ],
)
def test_statements_that_differ_in_more_are_not(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)


def test_what_was_not_wholly_rehearsed_has_no_shapes() -> None:
    whole = Footprint(statements=(Statement("SELECT ?"),))
    assert _shapes(whole) == ("SELECT ?",)
    assert _shapes(replace(whole, not_rehearsed=("a part",))) is None
    assert _shapes(None) is None
