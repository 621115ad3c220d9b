"""Which views a view reads where that was left out: what its query names, and what it only seems to name."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from migrate_graph.core.footprint import Footprint
from migrate_graph.core.graph import build_graph
from migrate_graph.core.model import Registry, UsesFrom, View
from migrate_graph.core.rules import RuleSettings, check
from migrate_graph.core.traces import Entry, Trace, Traces
from migrate_graph.core.uses import (
    as_written,
    known_uses,
    with_known_uses,
    with_more_uses,
    with_uses,
    with_uses_seen,
    words_of,
)
from migrate_graph.user_files import SourceLocation


def view(
    name: str, query: str = "SELECT 1", *, relation: str = "", uses: tuple[str, ...] | None = None, replaces: str = ""
) -> View:
    return View(
        name, object, uses or (), replaces=replaces or None, query=query, relations=(relation or name.lower(),),
        uses_from=UsesFrom.GUESSED if uses is None else UsesFrom.DECLARED,
    )  # fmt: skip


def guessed(query: str, *others: View) -> tuple[str, ...]:
    return with_uses([*others, view("Reader", query)])[-1].uses


def test_what_a_query_names_is_used_in_order_of_declaration() -> None:
    query = "SELECT * FROM best b JOIN Totals t ON b.id = t.id, (SELECT 1 FROM totals) x"
    others = [View(name, object, relations=(name,), position=at) for at, name in enumerate(["totals", "best", "third"])]
    assert guessed(query, *others) == ("totals", "best")


@pytest.mark.parametrize(
    ("query", "relation", "is_named"),
    [
        ("SELECT 1 FROM totals", "totals", True),
        ("SELECT 1 FROM TOTALS", "totals", True),
        ('SELECT 1 FROM "Totals"', '"Totals"', True),
        ('SELECT 1 FROM "Totals ""of"" all"', '"Totals ""of"" all"', True),
        ("SELECT 1 FROM Totals", '"Totals"', False),
        ("SELECT 1 FROM billing.totals", "billing.totals", True),
        ("SELECT 1 FROM a JOIN ONLY billing . totals", "billing.totals", True),
        ("SELECT 1 FROM public.totals", "totals", True),
        ("SELECT 1 FROM totals", "billing.totals", True),
        ("SELECT 1 FROM sales.totals", "billing.totals", False),
        ("SELECT t.totals FROM t", "totals", False),
        (".totals", "totals", False),
        ("SELECT sum(x) AS totals FROM t", "totals", False),
        ("SELECT 'totals', 'it''s totals' -- totals\n FROM t /* totals */", "totals", False),
        ("SELECT $$ totals $$, $a$ totals $$ $a$ FROM t", "totals", False),
        ("SELECT $1 FROM totals", "totals", True),
        ("SELECT totals_2, subtotals FROM t", "totals", False),
    ],
)
def test_what_names_a_view(query: str, relation: str, *, is_named: bool) -> None:
    assert guessed(query, view("Totals", relation=relation, uses=())) == (("Totals",) if is_named else ())


def test_of_several_versions_the_oldest_is_meant_and_what_is_declared_stays() -> None:
    first, second = (
        view("First", relation="totals", uses=()),
        view("Second", relation="totals", uses=(), replaces="First"),
    )
    third = view("Third", "SELECT 1 FROM totals", relation="totals", replaces="Second")
    reader, declared = view("Reader", "SELECT 1 FROM totals"), view("Declared", "SELECT 1 FROM reader", uses=("First",))
    found = {each.name: each.uses for each in with_uses([third, second, first, reader, declared])}
    assert found == {"First": (), "Second": (), "Third": (), "Reader": ("First",), "Declared": ("First",)}


def test_of_a_ring_nothing_stays_that_is_not_declared() -> None:
    views = [
        view("A", "SELECT 1 FROM b"), view("B", "SELECT 1 FROM a, c"), view("C"),
        view("D", "SELECT 1 FROM a, e"), view("E", uses=("D",)),
    ]  # fmt: skip
    graph = build_graph(Registry(views=with_uses(views)))
    assert {name: each.uses for name, each in graph.views.items()} == {
        "A": (), "B": ("C",), "C": (), "D": ("A",), "E": ("D",),
    }  # fmt: skip
    assert all(each.uses_from is UsesFrom.GUESSED for name, each in graph.views.items() if name != "E")


def test_where_everything_is_declared_nothing_is_looked_at() -> None:
    views = (view("A", "SELECT 1 FROM b", uses=()), view("B", uses=()))
    assert with_uses(views) == views
    assert with_uses([]) == ()


def test_what_was_seen_is_not_guessed_again() -> None:
    seen = View("Seen", object, ("A",), query="SELECT 1 FROM b", uses_from=UsesFrom.LEARNT)
    assert with_uses([view("A"), view("B"), seen])[-1].uses == ("A",)


def entry(**views: tuple[str, ...] | None) -> Entry:
    """What a migration was seen to bring up; of None the database did not know what it uses."""
    uses = {name: frozenset(used) for name, used in views.items() if used is not None}
    return Entry(Trace(), views=dict.fromkeys(views, "1"), uses=uses)


def seen(views: list[View], *entries: Entry) -> dict[str, tuple[tuple[str, ...], str]]:
    known = with_uses_seen([replace(each, fingerprint=each.fingerprint or "1") for each in views], entries)
    return {each.name: (each.uses, each.uses_from.value) for each in known}


def test_what_was_seen_takes_the_place_of_what_the_query_seems_to_name() -> None:
    views = [
        view("A", uses=()),
        view("B", uses=()),
        view("C", uses=()),
        view("R", "SELECT a, c FROM b"),
        view("D", uses=("A",)),
    ]
    found = seen([*with_uses(views)], entry(A=(), B=(), R=("B",)), entry(R=("B",)), entry(D=()))
    assert found["R"] == (("B", "C"), "seen")  # nobody has seen C come up, so nobody knows
    assert found["D"] == (("A",), "declared")


@pytest.mark.parametrize(
    ("entries", "fingerprint"),
    [((), "1"), ((entry(R=None, B=()),), "1"), ((entry(R=("B",)),), "2"), ((entry(R=("Gone",)),), "1")],
    ids=["nothing", "not-known", "edited", "renamed"],
)
def test_without_a_use_the_guess_stays(entries: tuple[Entry, ...], fingerprint: str) -> None:
    views = with_uses(
        [view("A", uses=()), view("B", uses=()), replace(view("R", "SELECT 1 FROM a"), fingerprint=fingerprint)]
    )
    assert seen([*views], *entries)["R"] == (("A",), "guessed")


def said(views: list[View], *entries: Entry, rehearsed: dict[str, Footprint] | None = None) -> list[tuple[str, ...]]:
    graph = build_graph(Registry(views=tuple(replace(each, fingerprint=each.fingerprint or "1") for each in views)))
    traces = Traces({str(at): each for at, each in enumerate(entries)}) if entries else None
    found = check(graph, footprints=traces, rehearsed=rehearsed, settings=RuleSettings(select=("MG709", "MG710")))
    return [(each.code, str(each.severity), each.subject.name, each.message, each.hint) for each in found]


A, B = view("A", uses=()), view("B", uses=())


def test_a_line_that_names_what_is_declared_below_says_what_to_move() -> None:
    """A name of Python must be known where it is written; one of another file is imported."""
    reader = replace(view("R", uses=()), source=SourceLocation("migrations.py", 5))
    above, below, elsewhere = (
        replace(each, source=SourceLocation(path, line))
        for each, path, line in ((A, "migrations.py", 1), (B, "migrations.py", 9), (view("C", uses=()), "more.py", 9))
    )
    seen_by = lambda *names: entry(A=(), B=(), C=(), R=names)  # noqa: E731 - one line
    hints = [said([reader, above, below, elsewhere], seen_by(*names))[0][-1] for names in (("B", "C"), ("A", "C"))]
    assert hints == ["write: uses = (B, C); and move R below 'B'", "write: uses = (A, C)"]


def test_missing_and_superfluous_uses_are_told_with_the_line_to_write() -> None:
    reader, idle = view("R", uses=("B",)), view("I", uses=("A", "B", "B"))
    entries = entry(A=(), B=(), R=("A", "B"), I=("B",)), entry(R=("A",))
    told = [
        ("MG709", "error", "R", "view 'R' reads 'A', which its `uses` does not name", "write: uses = (A, B)"),
        (
            "MG710", "warning", "I", "the database sees no use of 'A' in view 'I'",
            "unless a function that it calls reads it, write: uses = (B,)",
        ),
    ]  # fmt: skip
    assert said([A, B, reader, idle], *entries) == told
    uses = {name: frozenset(used) for each in entries for name, used in each.uses.items()}
    rehearsed = {"m": Footprint(view_uses=uses), "n": Footprint(view_uses={"R": frozenset("B"), "Gone": frozenset()})}
    assert said([A, B, reader, idle], rehearsed=rehearsed) == told
    assert said([A, B, reader, idle]) == []
    both = said([A, B, view("I", uses=("Unknown", "A", "B"))], entry(A=(), B=(), I=()))
    assert both[0][-1] == "unless a function that it calls reads them, write: uses = (Unknown,)"


@pytest.mark.parametrize(
    "views",
    [
        [A, view("R")],
        [A, view("R", uses=("A",))],
        [A, replace(view("R", uses=()), fingerprint="2")],
        [A, view("Old", uses=(), replaces="Unknown"), view("A", uses=(), replaces="Old"), view("R", uses=("Old",))],
    ],
    ids=["left-out", "declared", "edited", "a-version"],
)
def test_nothing_is_told_of_what_is_right_or_not_known(views: list[View]) -> None:
    views = [*{each.name: each for each in views}.values()]
    assert said(views, entry(A=(), R=("A",))) == []


def test_what_may_be_more_than_views_is_not_called_superfluous() -> None:
    reader, seen = view("R", uses=("A",)), entry(R=(), A=())
    assert len(said([A, reader], seen)) == 1
    assert said([replace(A, query=""), reader], seen) == said([A, replace(reader, query="")], seen) == []


def test_a_use_of_what_was_never_seen_is_not_called_superfluous() -> None:
    assert said([A, view("R", uses=("A",))], entry(R=())) == []
    assert len(said([A, view("R", uses=("A",))], entry(R=(), A=()))) == 1


def test_what_a_database_tells_in_a_run_is_added_to_what_is_not_declared() -> None:
    views = with_uses([A, view("Q", "SELECT 1 FROM a"), view("R"), view("D", uses=()), view("B", "SELECT 1 FROM r")])
    found = with_more_uses(views, {"Q": ["A"], "R": ["A", "Q", "Gone", "B"], "D": ["A"]})
    assert {each.name: (each.uses, each.uses_from.value) for each in found} == {
        "A": ((), "declared"), "Q": (("A",), "guessed"), "R": (("A", "Q"), "seen"), "D": ((), "declared"), "B": ((), "guessed"),
    }  # fmt: skip


def test_what_is_known_of_views_is_what_another_process_takes_over() -> None:
    """A worker loads the same declarations, and is told what the run has learnt of those that leave `uses` out."""
    declared = [view("Totals"), view("Best"), view("Reader"), view("Said", uses=("Totals",))]
    learnt = (
        declared[0],
        replace(declared[1], uses=("Totals",), uses_from=UsesFrom.LEARNT),
        declared[2],
        declared[3],
    )
    known = known_uses(learnt)
    assert known == {
        "Totals": (UsesFrom.GUESSED, ()),
        "Best": (UsesFrom.LEARNT, ("Totals",)),
        "Reader": (UsesFrom.GUESSED, ()),
    }
    taken = with_known_uses(declared, known)
    assert [(each.name, each.uses_from, each.uses) for each in taken] == [
        (each.name, each.uses_from, each.uses) for each in learnt
    ]
    assert with_known_uses(declared, {"Said": (UsesFrom.LEARNT, ("Best",))}) == tuple(declared)


def test_uses_is_written_in_the_order_of_declaration() -> None:
    assert as_written({"B", "A", "Unknown"}, ["A", "B", "C"]) == "uses = (A, B, Unknown)"
    assert as_written(["B"], ["A", "B"]) == "uses = (B,)"


def test_the_words_of_a_query_are_those_outside_of_comments_and_texts() -> None:
    assert words_of("SELECT 'a', b FROM C.\"D\" -- e") == {"select", "b", "from", "c", "D"}
