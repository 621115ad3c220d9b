"""Every rule finds what it should and nothing else; the catalogue of rules is complete."""

from __future__ import annotations

from functools import partial, wraps
from typing import Any

import pytest
from drawing import graph_of, history_of, migration_of, view_of
from msgspec.structs import replace
from rules_stand import BILLING, OPENS, told
from rules_views import VIEW_CASES

from migrate_graph.core.drift import Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import MigrationGraph, Ordering, build_graph
from migrate_graph.core.history import History, StoredView
from migrate_graph.core.model import BodyKind, DecoratedAbove, Registry, UnreachedFile
from migrate_graph.core.rules import RULES, Needs, check
from migrate_graph.user_files import SourceLocation


def named(size: int) -> str:
    return "m" * size


def versions(**fingerprints: str) -> MigrationGraph:
    """Declare migrations by the fingerprints of their bodies."""
    return graph_of(migrations={name: {"facts": {"fingerprint": value}} for name, value in fingerprints.items()})


class Billed:
    def create(self, db: Any) -> bool:
        return bool(db)


_UNDO = "`migrate drift --adopt NAME` writes a migration for it; undo it, or name it in `drift_ignore`"


# For every rule: a graph that breaks it, what is said of it, and the same graph put right.
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str, str]], dict[str, Any]]] = {
    "MG101": (
        {"graph": graph_of("a < b < c < a", "c < innocent", declared="abc")},
        [
            (
                "a",
                "'a' requires 'c' requires 'b' requires 'a'",
                "cut it where 'a' (migrations.py:1) requires 'c', declared later",
            )
        ],
        {"graph": graph_of("a < b < c", "c < innocent")},
    ),
    "MG102": (
        {"graph": graph_of("(invocie) < total", "invoice", "(zzz) < other", declared=["invoice", "total", "other"])},
        [
            ("total", "'total' requires 'invocie', which nothing declares", "did you mean 'invoice'?"),
            ("other", "'other' requires 'zzz', which nothing declares", "declare 'zzz', or remove it from `requires`"),
        ],
        {"graph": graph_of("invoice < total")},
    ),
    "MG103": (
        {
            "graph": build_graph(
                Registry(
                    (migration_of("a"), migration_of("a", position=1)), (view_of("V"), view_of("W", 1), view_of("V", 2))
                )
            )
        },
        [
            (
                "a",
                "migration 'a' is declared 2 times: migrations.py:1 and migrations.py:11",
                "rename the one at migrations.py:11, or remove it",
            ),
            (
                "V",
                "view 'V' is declared 2 times: views.py:1 and views.py:21",
                "rename the one at views.py:21, or remove it",
            ),
        ],
        {"graph": graph_of("a", views={"a": {}})},
    ),
    "MG104": (
        {"graph": graph_of(migrations={"a": {"module": "app/migrations.py"}}, unreached=(BILLING,))},
        [
            (
                "app/billing.py",
                "'app/billing.py' declares 'invoice' and 'refund', and nothing imports it",
                "add `import billing`",
            )
        ],
        {"graph": graph_of("a")},
    ),
    "MG105": (
        {"graph": graph_of("a < b < c < d", "a < d")},
        [("d", "'d' requires 'a', which its requirement 'c' implies", "remove 'a' from `requires` of 'd'")],
        {"graph": graph_of("a < b < d", "a < c < d")},
    ),
    "MG106": (
        {"graph": graph_of("a < b", "alone")},
        [("alone", "'alone' is connected to nothing", "say what 'alone' builds on: `@migration(requires=…)`")],
        {
            "graph": graph_of(
                "a < b", migrations={"opens": OPENS}, views={"V": {"since": "first"}}, declared=["a", "b", "first"]
            )
        },
    ),
    "MG107": (
        {"graph": graph_of("a", "b_20260401_001"), "ordering": Ordering.INTERTWINED},
        [
            (
                "a",
                "'a' has no trailing number, and the ordering is intertwined",
                "if it was never applied, end its name in `_YYYYMMDD_NNN`",
            )
        ],
        {"graph": graph_of("a", "b_20260401_001")},
    ),
    "MG108": (
        {"graph": graph_of("a_20260401_001", "b_20260401_001", "c_7", "d_7")},
        [
            (
                "b_20260401_001",
                "'a_20260401_001' and 'b_20260401_001' share the number 20260401_001: only the order of imports puts them in order",
                "give 'b_20260401_001' the next number, or let it require 'a_20260401_001'",
            ),
            (
                "d_7",
                "'c_7' and 'd_7' share the number 7: only the order of imports puts them in order",
                "give 'd_7' the next number, or let it require 'c_7'",
            ),
        ],
        {"graph": graph_of("a_20260401_001 < b_20260401_001 < x < c_20260401_001", "d_20260401_002", "e")},
    ),
    "MG109": (
        {"graph": graph_of(unreached=(UnreachedFile("a.py", (("a", 3),)), UnreachedFile("b.py", (("b", 3),))))},
        [("the migrations file", "no migration is declared, and nothing imports 'a.py' and 'b.py'", "add `import a`")],
        {"graph": graph_of(), "history": history_of()},
    ),
    "MG110": (
        {"graph": graph_of(undecorated=(UnreachedFile("a.py", (("add_20260101_001", 3), ("drop_20260102_001", 9))),))},
        [
            (
                "a.py",
                "'add_20260101_001' is called like a migration, and is not declared as one",
                "write @migration above it, or give it another name",
            ),
            (
                "a.py",
                "'drop_20260102_001' is called like a migration, and is not declared as one",
                "write @migration above it, or give it another name",
            ),
        ],
        {"graph": graph_of("add_20260101_001")},
    ),
    "MG111": (
        {
            "graph": graph_of(
                "count",
                migrations={
                    "a": {"commutes_with": ("cuont", "count")},
                    "b": {"commutes_with": ("b",)},
                    "c": {"commutes_with": ("zzz",)},
                },
            )
        },
        [
            ("a", "'a' says that it commutes with 'cuont', which nothing declares", "did you mean 'count'?"),
            ("b", "'b' says that it commutes with itself", "name the other migration"),
            ("c", "'c' says that it commutes with 'zzz', which nothing declares", "remove 'zzz' from `commutes_with`"),
        ],
        {"graph": graph_of("count", migrations={"a": {"commutes_with": ("count",)}})},
    ),
    "MG112": (
        {"graph": graph_of("a", unused_decorators=(SourceLocation("m.py", 7),))},
        [
            (
                "m.py",
                "a call of migration() at m.py:7 declares nothing: it is given no function",
                "write `@` before it, above the function; a decorator between the two must return a function",
            )
        ],
        {"graph": graph_of("a")},
    ),
    "MG113": (
        {
            "graph": graph_of(
                "a", "b", decorated_above=(DecoratedAbove("a", ("timed", "tried(3)"), SourceLocation("m.py", 7)),)
            )
        },
        [
            (
                "a",
                "'a' runs without '@timed' and '@tried(3)', which stands above @migration",
                "write `@migration` above it",
            )
        ],
        {"graph": graph_of("a", "b")},
    ),
    "MG114": (
        {"graph": graph_of("a", migrations={"<lambda>": {}})},
        [
            (
                "<lambda>",
                "a lambda is declared as a migration, and is recorded under the name '<lambda>' that all of them have",
                "write a function: `@migration`, and `def add_total_20260401_001(db):` below it",
            )
        ],
        {"graph": graph_of("a")},
    ),
    **VIEW_CASES,
    "MG301": (
        {
            "graph": graph_of(
                migrations={
                    "a": {"kind": BodyKind.COROUTINE},
                    "b": {"kind": BodyKind.GENERATOR},
                    "c": {"kind": BodyKind.CLASS},
                }
            )
        },
        [
            (
                "a",
                "'a' is a coroutine function: calling it runs none of it",
                "turn `async def` into `def`, and return True at the end",
            ),
            (
                "b",
                "'b' is a generator function: calling it runs none of it",
                "turn `yield` into an ordinary loop, and return True at the end",
            ),
            (
                "c",
                "'c' is a class: calling it only makes an object of it",
                "turn it into a function of `db`, and return True at the end",
            ),
        ],
        {"graph": graph_of("a")},
    ),
    "MG302": (
        {"graph": graph_of(migrations={"a": {"facts": {"returns_value": False}}})},
        [("a", "'a' never returns a value, so it can only fail", "end it with `return True`")],
        # What does not run at all is MG301, whatever it returns.
        {"graph": graph_of("b", migrations={"a": {"facts": {"returns_value": False}, "kind": BodyKind.COROUTINE}})},
    ),
    "MG303": (
        {"graph": graph_of(named(513))},
        [
            (
                named(513),
                f"'{named(80)}…' has 513 characters; the ledger holds 512",
                "shorten the name to at most 512 characters",
            )
        ],
        {"graph": graph_of(named(512))},
    ),
    "MG304": (
        {"graph": graph_of(migrations={"a": {"facts": {"commits_before_return": SourceLocation("m.py", 9)}}})},
        [("a", "'a' commits just before it returns", "remove `db.commit()`: success commits work and record together")],
        {"graph": graph_of("a")},
    ),
    "MG305": (
        {"graph": graph_of(migrations={"a": {"facts": {"creates_by_definition": SourceLocation("a.py", 4)}}})},
        [
            (
                "a",
                "'a' lets pyDAL create a table, which it does not do here",
                "write the CREATE TABLE; pydal2sql create prints it",
            )
        ],
        {"graph": graph_of("a")},
    ),
    "MG306": (
        {
            "graph": graph_of(
                migrations={"a": {"function": lambda: True}, "b": {"function": lambda db, name, also=3, *, at: True}}
            )
        },
        [
            (
                name,
                f"'{name}' cannot be called with `db`: its arguments are {arguments}",
                "let it take `db`, and give every other argument a default",
            )
            for name, arguments in (("a", "()"), ("b", "(db, name, also, *, at)"))
        ],
        {
            "graph": graph_of(
                migrations={
                    name: {"function": function}
                    for name, function in {
                        "one": lambda db: True,
                        "defaults": lambda db, name="", *, at="": True,
                        "all": lambda *a, **k: True,
                        "partial": partial(lambda db, name: True, name=""),
                        "bound": Billed().create,
                        "silent": dict,
                        "wrapped": wraps(lambda db, session: True)(lambda *words: True),
                    }.items()
                }
            )
        },
    ),
    "MG401": (
        {
            "graph": graph_of("create_invoice", unreached=(BILLING,)),
            "history": history_of("create_invioce refund zzz", failed="never"),
        },
        [
            (
                "create_invioce",
                "'create_invioce' is recorded as installed, and nothing declares it",
                "did you mean 'create_invoice'?",
            ),
            (
                "refund",
                "'refund' is recorded as installed, and nothing declares it",
                "defined in app/billing.py:30, which nothing imports: add `import app.billing`",
            ),
            (
                "zzz",
                "'zzz' is recorded as installed, and nothing declares it",
                "declare it again, or forget it: `migrate mark zzz --pending`",
            ),
        ],
        {"graph": graph_of("a"), "history": history_of("a", failed="gone")},
    ),
    "MG402": (
        {"graph": graph_of("a < b", "(gone) < b"), "history": history_of("b")},
        [
            (
                "b",
                "'b' is applied, but 'a', which it requires, is not",
                "`migrate mark a --installed` if its work is there; otherwise remove the requirement",
            )
        ],
        {"graph": graph_of("a < b", "a < c"), "history": history_of("a b")},
    ),
    "MG403": (
        {
            "graph": graph_of(migrations={name: {"facts": {"fingerprint": "now"}} for name in "abcd"}),
            "history": history_of("a b c", fingerprints={"a": "then", "b": "now", "d": "then"}),
        },
        [("a", "'a' was edited after it was applied", "undo the edit, and write a new migration for the difference")],
        {"graph": graph_of("a", "b"), "history": history_of("a b", fingerprints={"a": "then", "b": ""})},
    ),
    "MG404": (
        {"graph": graph_of("z", "a", "b", "c"), "history": history_of("a c")},
        [
            (
                name,
                f"'{name}' is pending, and stands before 'c', which is applied",
                "if it builds on what is applied, let it require that; otherwise `migrate apply` runs it now",
            )
            for name in ("z", "b")
        ],
        {"graph": graph_of("a", "b", "c"), "history": history_of("a b")},
    ),
    "MG405": (
        {"graph": graph_of("a"), "history": history_of(interrupted="a gone", commits=3)},
        [
            (
                name,
                f"'{name}' was interrupted after 3 own commits",
                f"look, then `migrate resolve {name} --applied` or `migrate resolve {name} --retry`",
            )
            for name in ("gone", "a")
        ],
        {"graph": graph_of("a", "b"), "history": history_of("a", failed="b")},
    ),
    "MG406": (
        {
            "graph": graph_of("a", views={name: {"fingerprint": "new"} for name in ("V", "W")}),
            "history": history_of("a", views={"V": "old", "W": "new", "gone": "old"}),
        },
        [
            (
                "V",
                "the text of view 'V' was edited after it was created, and no pending migration brings it up",
                "bring it in with a new migration: `V.renew(db)`, or declare a successor with `replaces = V`",
            )
        ],
        {
            "graph": graph_of(
                "a < b",
                views={
                    "Coming": {"fingerprint": "new"},
                    "Retired": {"fingerprint": "new", "until": "a"},
                    "Elder": {"fingerprint": "new"},
                },
                migrations={"b": {"touches": ["Coming"]}},
            ),
            "history": history_of("a", views={"Coming": "old", "Retired": "old", "Elder": ""}),
        },
    ),
    "MG408": (
        {
            "graph": graph_of("a"),
            "history": history_of("a"),
            "drifted": (
                Drifted(Fact("index", "public.i"), None, f"CREATE INDEX i ON {'t' * 400}"),
                Drifted(Fact("view", "public.v"), "SELECT  1", "SELECT 2"),
                *(Drifted(Fact("table", f"public.t{number:02}"), None, "") for number in range(21)),
            ),
        },
        [
            ("public.i", f"index 'public.i' was added by hand; is: CREATE INDEX i ON {'t' * 282}…", _UNDO),
            (
                "public.t00",
                "table 'public.t00' and 20 more of that kind were added by hand",
                f"`migrate drift` shows each of them; {_UNDO}",
            ),
            ("public.v", "view 'public.v' was changed by hand; was: SELECT 1; is: SELECT 2", _UNDO),
        ],
        {"graph": graph_of("a"), "history": history_of("a")},
    ),
    "MG409": (
        {
            "graph": graph_of("a", migrations={"a": OPENS}, views={"V": {}}),
            "history": replace(
                history_of("a"),
                views_unfilled=(StoredView("public.v", "V", "a"), StoredView("public.w", "public.w", "a")),
            ),
        },
        [
            (
                name,
                f"materialized view '{relation}' came up in 'a' without its rows, and has none yet",
                "run `migrate apply`: it refreshes it first",
            )
            for name, relation in (("public.w", "public.w"), ("V", "public.v"))
        ],
        {"graph": graph_of("a"), "history": history_of("a")},
    ),
    "MG501": (
        {"graph": versions(a="new", b="same"), "base": versions(a="old", b="same")},
        [
            (
                "a",
                "'a' was edited after it was published",
                "take the edit back and write a new migration that requires 'a': migrate new NAME",
            )
        ],
        {"graph": versions(a="same", b="new", c=""), "base": versions(a="same", c="old")},
    ),
    "MG502": (
        {"graph": graph_of("b"), "base": graph_of("a", "b", views={"V": {}})},
        [("a", "'a' was removed", "bring it back; a new migration can undo what it did")],
        {"graph": graph_of("a", "b"), "base": graph_of("a")},
    ),
    "MG503": (
        {"graph": versions(new="body"), "base": versions(old="body")},
        [
            (
                "new",
                "'old' was renamed to 'new'",
                "keep the name 'old', or in every database: migrate mark new --installed",
            )
        ],
        {"graph": versions(a="body", b="other"), "base": versions(a="body")},
    ),
    "MG504": (
        {"graph": graph_of("a < c", "b < c"), "base": graph_of("a < c", "b")},
        [
            (
                "c",
                "'c' requires 'b' now, which it did not before",
                "leave the requirements of 'c' as they were, and let a new migration require 'b' too",
            )
        ],
        {"graph": graph_of("a < b < c", "a < c"), "base": graph_of("a < b < c")},
    ),
    "MG505": (
        {
            "graph": graph_of("a", "b", views={"V": {"since": "b"}}),
            "base": graph_of("a", "b", views={"V": {"since": "a", "until": "b"}}),
        },
        [
            (
                "V",
                "the window of 'V' was changed: since 'a' → 'b', until 'b' → nothing",
                "leave the window as it was; write a new manager that `replaces` this one",
            )
        ],
        {"graph": graph_of("a", "b", views={"V": {"until": "b"}, "W": {}}), "base": graph_of("a", views={"V": {}})},
    ),
    "MG506": (
        {
            "graph": graph_of("a", views={"V": {"fingerprint": "new"}}),
            "base": graph_of("a", views={"V": {"fingerprint": "old"}}),
        },
        [
            (
                "V",
                "the text of view 'V' was edited, and no new migration brings it up",
                "bring it in with a new migration: `V.renew(db)`, or declare a successor with `replaces = V`",
            )
        ],
        {
            "graph": graph_of("a < b", views={"V": {"fingerprint": "new"}}, migrations={"b": {"touches": ["V"]}}),
            "base": graph_of("a", views={"V": {"fingerprint": "old"}}),
        },
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_every_rule_finds_what_it_should_and_nothing_else(code: str) -> None:
    broken, expected, right = CASES[code]
    assert told(code, **broken) == expected
    assert told(code, **right) == []


def test_an_empty_history_and_an_empty_graph_have_no_faults() -> None:
    assert check(graph_of(), History()) == ()


def test_the_catalogue_is_complete_and_in_order() -> None:
    expected = [
        *range(101, 115),
        *range(201, 212),
        213,
        214,
        215,
        216,
        217,
        *range(301, 307),
        *range(401, 407),
        408,
        409,
        *range(501, 507),
        *range(601, 613),
        *range(701, 711),
    ]
    assert list(RULES) == [f"MG{number}" for number in expected]
    assert [each.code for each in RULES.values() if not {Needs.REHEARSAL, Needs.FOOTPRINTS} & {*each.needs}] == list(
        CASES
    ), "others have cases elsewhere"
    assert len({each.name for each in RULES.values()}) == len(RULES)
