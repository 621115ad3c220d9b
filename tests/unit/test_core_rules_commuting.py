"""MG701 to MG704: the graph against what the migrations were seen to need."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of
from msgspec.structs import replace

from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.rules import RULES, Finding, Needs, RuleSettings, Severity, check
from migrate_graph.core.traces import Entry, Touch, Trace, Traces, Trial, TrialKind
from migrate_graph.core.way_back import ADVICE
from migrate_graph.user_files import SourceLocation

HERE = SourceLocation("migrations.py", 7)
FILE = "migrations.footprint.json"
TABLE, COLUMN = Fact("relation", "public.stock"), Fact("column", "public.stock.product")
MORE = frozenset(Fact("column", f"public.stock.{name}") for name in ("quantity", "warehouse", "place"))
MAKE = Trace(makes=frozenset({TABLE, COLUMN, *MORE}))
USE = Trace(needs=frozenset({TABLE, COLUMN}))
WRITE = Trace(rows={"public.stock": {Touch.UPDATE: frozenset({"product"})}})


def traces(file: str = FILE, faults: tuple[tuple[int, str], ...] = (), **entries: Trace | Entry) -> Traces:
    return Traces(
        {name: each if isinstance(each, Entry) else Entry(each) for name, each in entries.items()}, file, faults
    )


def judged(code: str, graph: MigrationGraph, known: Traces, **settings: Any) -> list[Finding]:
    found = check(graph, settings=RuleSettings(select=(code,), **settings), footprints=known)
    assert all(each.code.startswith(code) for each in found)
    return list(found)


def said(code: str, graph: MigrationGraph, known: Traces) -> list[tuple[str, str, str, str]]:
    return [(each.subject.name, str(each.severity), each.message, each.hint) for each in judged(code, graph, known)]


BOTH = traces(make=MAKE, use=USE)
# For every rule: a graph and what is known of it, what is said, and the same put right.
CASES: dict[str, tuple[MigrationGraph, Traces, list[tuple[str, str, str, str]], MigrationGraph, Traces]] = {
    "MG701": (
        graph_of("make", "other < use"), BOTH,
        [
            (
                "use", "error", "'use' needs what 'make' makes, and does not require it: public.stock.product",
                'add: requires=["other", "make"]',
            )
        ],
        graph_of("make < other < use"), BOTH,
    ),
    "MG702": (
        graph_of("a", "b"), traces(a=WRITE, b=WRITE),
        [
            (
                "b", "warning",
                "nothing orders 'a' and 'b', and it matters: public.stock.product is written by the first and written by the second",
                "on 'b', requires=[\"a\"]; or, when both orders are right, commutes_with=\"a\"",
            )
        ],
        graph_of("a", migrations={"b": {"commutes_with": ("a",)}}), traces(a=WRITE, b=WRITE),
    ),
    "MG703": (
        graph_of(migrations={"a": {"facts": {"fingerprint": "new"}}}), traces(a=Entry(WRITE, "old")),
        [
            (
                "a", "warning", f"the footprint of 'a' in {FILE} is of another text", "write it anew: migrate verify --write",
            )
        ],
        graph_of(migrations={"a": {"facts": {"fingerprint": "new"}}}), traces(a=Entry(WRITE, "new")),
    ),
    "MG704": (
        graph_of("a"), traces(faults=((3, "it holds the marks of a merge"),)),
        [
            (
                FILE, "error", f"{FILE} cannot be used: it holds the marks of a merge", "write it anew: migrate verify --write",
            )
        ],
        graph_of("a"), traces(a=WRITE),
    ),
    "MG705": (
        graph_of("a", "x < b"), replace(traces(), trials=(Trial("b", TrialKind.ALONE, "no such table: t", HERE, "a"),)),
        [
            (
                "b", "error", "'b' fails on what it requires alone: no such table: t",
                'add: requires=["x", "a"]',
            )
        ],
        graph_of("a", "x < b"), traces(),
    ),
    "MG706": (
        graph_of("a", "b"), replace(traces(), trials=(Trial("b", TrialKind.OTHER, other="a", differences=("column t.a",), order=("b", "a")),)),
        [
            (
                "b", "error", "'b' before 'a' does something else: column t.a", 'add: requires=["a"]',
            )
        ],
        graph_of("a", "b"), traces(),
    ),
    "MG707": (
        graph_of("a", "b", "c"),
        replace(traces(), trials=(
            Trial("a", TrialKind.BACK, "no such table: t", HERE), Trial("b", TrialKind.AGAIN, "t exists", HERE),
            Trial("c", TrialKind.BACK, reasons=(("puts rows into t", HERE), ("cannot be seen", None))),
            Trial("a", TrialKind.PLANNED, "boom", HERE), Trial("a", TrialKind.BACK, differences=("table t, too",)),
        )),
        [
            ("a", "error", "'a' fails when it is undone: no such table: t", "correct its down"),
            ("b", "error", "'b' fails when it is applied again after its way back: t exists", "let its down undo all that it does"),
            ("c", "error", "no way back can be derived for 'c': puts rows into t; cannot be seen", ADVICE),
        ],
        graph_of("a"), traces(),
    ),
    "MG708": (
        graph_of("a", "b"),
        replace(traces(), trials=(
            Trial("a", TrialKind.BACK, differences=("index i, too",)),
            Trial("b", TrialKind.AGAIN, differences=tuple(f"no column t.c{at}" for at in range(8))),
            Trial("b", TrialKind.BACK, "boom"), Trial("b", TrialKind.OTHER, differences=("table t",)),
        )),
        [
            ("a", "error", "after its way back, 'a' leaves something else: index i, too", "let its down undo all that it does, and nothing else"),
            (
                "b", "error",
                "after its way back and a second time there, 'b' leaves something else: " + ", ".join(f"no column t.c{at}" for at in range(6))
                + " and 2 more",
                "let its down undo all that it does, and nothing else",
            ),
        ],
        graph_of("a"), traces(),
    ),
}  # fmt: skip


def test_what_failed_is_told_also_where_nobody_knows_why() -> None:
    trials = (
        Trial("a", TrialKind.PLANNED, "boom", HERE),
        Trial("b", TrialKind.OTHER, "boom", order=("b", "a")),
        Trial("b", TrialKind.OTHER, differences=("table t",), order=("b", "a")),
    )
    known = replace(traces(), trials=trials)
    assert [(each.message, each.hint, str(each.source)) for each in judged("MG705", graph_of("a", "b"), known)] == [
        (
            "'a' fails in the order of the project: boom",
            (
                "read the error and the line: something that it needs is not there on a new database "
                "(tables older than the migrations come from a dump: database_to_restore)"
            ),
            "migrations.py:7",
        ),
        (
            "'b' fails in another order that the graph permits: boom",
            "find out what it needs, and require it; migrate verify --json tells the order",
            "migrations.py:11",
        ),
    ]
    (other,) = judged("MG706", graph_of("a", "b"), known)
    assert (other.message, other.related) == (
        "'b' in another order that the graph permits does something else: table t", (),
    )  # fmt: skip


def test_no_way_back_can_be_derived_is_told_at_the_line_that_does_more() -> None:
    trials = (
        Trial("a", TrialKind.BACK, reasons=(("puts rows into t", HERE),)),
        Trial("b", TrialKind.BACK, reasons=(("cannot be seen", None),)),
    )
    first, second = judged("MG707", graph_of("a", "b"), replace(traces(), trials=trials))
    assert (str(first.source), [each.message for each in first.related]) == ("migrations.py:7", ["puts rows into t"])
    assert (str(second.source), second.related) == ("migrations.py:11", ())
    assert not judged("MG705", graph_of("a", "b"), replace(traces(), trials=(Trial("a", TrialKind.BACK, "boom"),)))
    assert not judged(
        "MG706", graph_of("a", "b"), replace(traces(), trials=(Trial("a", TrialKind.AGAIN, differences=("x",)),))
    )


def test_what_was_tried_confirms_what_was_seen_and_is_told_once() -> None:
    alone = Trial("use", TrialKind.ALONE, "no such table: stock", HERE, order=("use",))
    known = replace(BOTH, trials=(alone,))
    graph = graph_of("make", "use")
    (found,) = judged("MG7", graph, known)
    assert found.code == "MG701"
    assert found.message.endswith("public.stock.product; on what it requires alone it fails: no such table: stock")
    swapped = Trial("b", TrialKind.OTHER, other="a", differences=("rows of stock",), order=("b", "a"))
    known = replace(traces(a=WRITE, b=WRITE), trials=(swapped,))
    (found,) = judged("MG7", graph_of("a", "b"), known)
    assert found.code == "MG702"
    assert found.message.endswith("; in another order that the graph permits it does something else: rows of stock")
    elsewhere = Trial("b", TrialKind.OTHER, "boom", other="c")
    known = replace(traces(a=WRITE, b=WRITE), trials=(elsewhere,))
    assert {each.code for each in judged("MG7", graph_of("a", "b", "c"), known)} >= {"MG702", "MG705"}


def test_every_rule_about_footprints_has_a_case() -> None:
    assert list(CASES) == [each.code for each in RULES.values() if each.needs == (Needs.FOOTPRINTS,)]


@pytest.mark.parametrize("code", CASES)
def test_every_rule_finds_what_it_should_and_nothing_else(code: str) -> None:
    graph, known, expected, right, known_then = CASES[code]
    assert said(code, graph, known) == expected
    assert said(code, right, known_then) == []
    assert check(graph, settings=RuleSettings(select=(code,))) == (), "without footprints nothing is said"


def test_what_the_declarations_alone_do_not_tell_needs_more() -> None:
    assert {code[:3] for code, each in RULES.items() if each.needs_more} == {"MG4", "MG6", "MG7"}


def test_it_can_be_ignored_and_made_an_error() -> None:
    graph, known, *_ = CASES["MG702"]
    assert judged("MG702", graph, known, error=("MG702",))[0].severity is Severity.ERROR
    assert judged("MG702", graph, known, ignore=("MG7",)) == []
    assert judged("MG702", graph_of("a", migrations={"b": {"ignore": frozenset({"MG702"})}}), known) == []


def test_where_the_graph_says_all_a_conflict_is_an_error() -> None:
    graph, known, *_ = CASES["MG702"]
    severities = {
        ordering: [
            each.severity
            for each in check(graph, ordering=ordering, footprints=known, settings=RuleSettings(select=("MG7",)))
        ]
        for ordering in Ordering
    }
    assert severities == {
        Ordering.LEGACY: [Severity.WARNING],
        Ordering.INTERTWINED: [Severity.WARNING],
        Ordering.DECLARED: [Severity.ERROR],
    }


def test_a_need_names_both_places_and_not_more_than_a_line_can_hold() -> None:
    need = Trace(needs=frozenset({TABLE, COLUMN, *MORE}))
    (found,) = judged("MG701", graph_of("make", "use"), traces(make=MAKE, use=need))
    assert found.message.endswith("public.stock.place, public.stock.product, public.stock.quantity and 1 more")
    assert [(each.subject.name, str(each.source)) for each in found.related] == [("make", "migrations.py:1")]
    assert str(found.source) == "migrations.py:11"
    (bare,) = judged("MG701", graph_of("make", "use"), traces(make=MAKE, use=Trace(needs=frozenset({TABLE}))))
    assert bare.message.endswith(": public.stock")
    alone = frozenset({Fact("relation", "stock"), Fact("schema", "app")})
    known = traces(make=Trace(makes=alone), use=Trace(needs=alone))
    (found,) = judged("MG701", graph_of("make", "use"), known)
    assert found.message.endswith(": stock, schema app"), "names without dots"


def test_the_line_to_add_holds_all_that_is_missing() -> None:
    other = Fact("relation", "public.other")
    known = traces(make=MAKE, more=Trace(makes=frozenset({other})), use=Trace(needs=frozenset({TABLE, other})))
    found = judged("MG701", graph_of("make", "more", "use"), known)
    assert [each.hint for each in found] == ['add: requires=["make", "more"]'] * 2


def test_a_conflict_names_both_and_why() -> None:
    many = Trace(rows={"public.stock": {Touch.UPDATE: frozenset("abcde")}})
    (found,) = judged("MG702", graph_of("a", "b"), traces(a=many, b=many))
    assert found.message.endswith("public.stock.c is written by the first and written by the second and 2 more")
    assert [each.subject.name for each in found.related] == ["a"]


def test_only_what_was_watched_with_this_text_counts() -> None:
    stale = traces(make=Entry(MAKE, "old"), use=USE)
    graph = graph_of(migrations={"make": {"facts": {"fingerprint": "new"}}, "use": {}})
    assert judged("MG701", graph, stale) == []
    assert len(judged("MG701", graph, traces(make=Entry(MAKE, "new"), use=USE))) == 1
    assert judged("MG701", graph_of("use"), BOTH) == [], "the other one is not declared any more"


def test_a_view_with_another_text_makes_what_built_it_stale() -> None:
    known = traces(a=Entry(WRITE, views={"V": "old", "W": "same"}))
    same = graph_of("a", views={"V": {"fingerprint": "old"}, "W": {"fingerprint": "same"}})
    assert said("MG703", same, known) == []
    edited = graph_of("a", views={"V": {"fingerprint": "new"}, "W": {"fingerprint": "same"}})
    assert said("MG703", edited, known)[0][2] == f"the footprint of 'a' in {FILE} is of another text of the view 'V'"
    gone = graph_of("a", views={"V": {"fingerprint": "old"}})
    assert said("MG703", gone, known)[0][2].endswith("of the view 'W'")


def test_what_has_no_entry_and_what_only_has_one_is_information() -> None:
    found = judged("MG703", graph_of("a"), traces(b=WRITE))
    assert [(each.subject, each.severity, each.message) for each in found] == [
        (Node(NodeKind.FILE, FILE), Severity.INFO, f"{FILE} has a footprint of 'b', which nothing declares"),
        (Node(NodeKind.MIGRATION, "a"), Severity.INFO, f"'a' has no footprint in {FILE}"),
    ]


def test_a_damaged_file_says_only_that() -> None:
    known = traces(faults=((1, "it is not JSON"),))
    assert [each.code for each in check(graph_of("a"), footprints=known)] == ["MG704"]


def test_what_is_on_a_cycle_is_left_out() -> None:
    known = traces(make=MAKE, use=USE, a=MAKE, b=USE)
    assert [each.subject.name for each in judged("MG701", graph_of("make", "use", "a < b < a"), known)] == ["use"]
