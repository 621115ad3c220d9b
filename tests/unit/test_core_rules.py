import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from drawing import graph_of, history_of, migration_of, registry_of, view_of

from migrate_graph.core.comparison import compare
from migrate_graph.core.drift import Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, Ordering, build_graph
from migrate_graph.core.history import History, StoredView
from migrate_graph.core.model import BodyKind, Rebuild, Registry, UnreachedFile
from migrate_graph.core.rules import RULES, Context, Finding, Hit, Needs, Related, RuleSettings, Severity, check, rule
from migrate_graph.errors import UsageError
from migrate_graph.user_files import SourceLocation

OPENS = {"touches": ["V"]}
BILLING = UnreachedFile("app/billing.py", (("invoice", 14), ("refund", 30)))


def judged(code: str, graph: MigrationGraph, history: History | None = None, **values: Any) -> list[Finding]:
    """Return the findings of one rule."""
    settings = RuleSettings(select=(code,))
    return [each for each in check(graph, history, settings=settings, **values) if each.code == code]


def told(code: str, graph: MigrationGraph, history: History | None = None, **values: Any) -> list[tuple[str, str, str]]:
    found = judged(code, graph, history, **values)
    return [(each.subject.name, each.message, each.hint.removesuffix(", if it is not applied yet")) for each in found]


def named(size: int) -> str:
    return "m" * size


def versions(**fingerprints: str) -> MigrationGraph:
    """Declare migrations by the fingerprints of their bodies."""
    return graph_of(migrations={name: {"facts": {"fingerprint": value}} for name, value in fingerprints.items()})


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
    "MG201": (
        {
            "graph": graph_of(
                migrations={"m": {"declared_views": ("Totls", "Far")}},
                views={"Totals": {"uses": "Lines Gone"}, "New": {"replaces": "Totalz"}},
                unreached=(UnreachedFile("lines.py", (("Lines", 3),)),),
            )
        },
        [
            ("m", "'m' says it opens view 'Far', which nothing declares", "remove 'Far' from `views`"),
            ("m", "'m' says it opens view 'Totls', which nothing declares", "did you mean 'Totals'?"),
            ("Totals", "view 'Totals' uses 'Gone', which nothing declares", "declare 'Gone', or remove it"),
            (
                "Totals",
                "view 'Totals' uses 'Lines', which nothing declares",
                "defined in lines.py:3, which nothing imports: add `import lines`",
            ),
            ("New", "view 'New' replaces 'Totalz', which nothing declares", "did you mean 'Totals'?"),
        ],
        {
            "graph": graph_of(
                migrations={"m": {"declared_views": ("A",)}}, views={"A": {}, "B": {"uses": "A", "replaces": "A"}}
            )
        },
    ),
    "MG202": (
        {"graph": graph_of(views={"A": {"uses": "B"}, "B": {"uses": "A"}, "C": {"replaces": "C"}})},
        [
            ("A", "'A' uses 'B' uses 'A'", "cut it where 'A' (views.py:1) uses 'B', declared later"),
            ("C", "'C' replaces itself", "take 'C' out of its own `replaces`"),
        ],
        {"graph": graph_of(views={"A": {}, "B": {"uses": "A", "replaces": "A"}})},
    ),
    "MG203": (
        {"graph": graph_of("create_invoice", views={"V": {"since": "create_invioce"}})},
        [
            (
                "V",
                "view 'V' lives since 'create_invioce', which nothing declares: it never would",
                "did you mean 'create_invoice'?",
            )
        ],
        {"graph": graph_of("a", views={"V": {"since": "a"}, "W": {}})},
    ),
    "MG204": (
        {"graph": graph_of("a", views={"V": {"until": "later"}})},
        [
            (
                "V",
                "view 'V' lives until 'later', which nothing declares: it never ends",
                "declare 'later', or remove `until`",
            )
        ],
        {"graph": graph_of("a", views={"V": {"until": "a"}, "W": {}})},
    ),
    "MG205": (
        {"graph": graph_of("a < b", views={"V": {"since": "b", "until": "a"}, "W": {"since": "a", "until": "a"}})},
        [
            (
                "V",
                "view 'V' lives until 'a', which runs before 'b', its `since`",
                "name a migration for `until` that requires 'b'",
            ),
            (
                "W",
                "view 'W' lives until 'a', which is also its `since`",
                "name a migration for `until` that requires 'a'",
            ),
        ],
        {"graph": graph_of("a < b", views={"V": {"since": "a", "until": "b"}, "W": {"since": "b"}})},
    ),
    "MG206": (
        {"graph": graph_of("a < b", views={"Lines": {"until": "b"}, "Totals": {"uses": "Lines"}})},
        [
            (
                "Totals",
                "view 'Totals' uses 'Lines', which does not live after 'b'",
                "give 'Totals' a window inside that of 'Lines', or 'Lines' a successor",
            )
        ],
        {"graph": graph_of("a < b", views={"Lines": {"until": "b"}, "Totals": {"uses": "Lines", "until": "b"}})},
    ),
    "MG207": (
        {"graph": graph_of("a < b", views={"T_V1": {}, "T_V2": {"since": "b"}})},
        [
            (
                "T_V2",
                "views 'T_V1' and 'T_V2' both live after 'b'",
                "add `replaces = T_V1` to 'T_V2', or end 'T_V1' with `until`",
            )
        ],
        {"graph": graph_of("a < b", views={"T_V1": {}, "T_V2": {"since": "b", "replaces": "T_V1"}})},
    ),
    "MG208": (
        {"graph": graph_of("m < s", migrations={"m": OPENS}, views={"V": {"since": "s"}})},
        [
            (
                "m",
                "'m' opens view 'V', but runs before its `since`, 's'",
                "remove the block from 'm', or correct the window",
            )
        ],
        {"graph": graph_of("s < m", migrations={"m": OPENS, "s": OPENS}, views={"V": {"since": "s"}})},
    ),
    "MG209": (
        {"graph": graph_of("s", "m", migrations={"m": OPENS}, views={"V": {"since": "s"}})},
        [("V", "only the tie-break orders 's', the `since` of view 'V', against 'm'", "let 'm' require 's'")],
        {"graph": graph_of("s < m", migrations={"m": OPENS}, views={"V": {"since": "s"}})},
    ),
    "MG210": (
        {"graph": graph_of("a", views={"V": {"since": "a"}, "W": {}})},
        [
            ("V", "no migration brings up view 'V'", "open it in 'a' with `with V(db):`, or remove it"),
            (
                "W",
                "no migration brings up view 'W'",
                "a database that has it keeps it; for an empty one, open it where it should be created, with `with W(db):`",
            ),
        ],
        {"graph": graph_of("a", migrations={"a": OPENS}, views={"V": {}, "W": {"uses": "V"}})},
    ),
    "MG211": (
        {"graph": graph_of("a < b", views={"V": {"until": "b"}}, windows=True)},
        [
            (
                "V",
                "view 'V' ends with 'b' and begins nowhere: an empty database never has it",
                "give 'V' a `since`, or remove it",
            )
        ],
        {"graph": graph_of("a < b", views={"V": {"since": "a", "until": "b"}, "W": {}}, windows=True)},
    ),
    "MG213": (
        {
            "graph": graph_of(
                "a",
                migrations={"a": {"touches": ["V", "W"]}},
                views={
                    "V": {"rebuild": Rebuild.DEFERRED, "can_defer": False},
                    "W": {"rebuild": Rebuild.SWAP, "can_swap": False},
                },
            )
        },
        [
            (
                "V",
                "view 'V' is declared as deferred, and its up() creates it with its rows, or without a need for any",
                "declare a SqlView with `materialized = True`, let up() ask `self.deferred`, or remove `rebuild`",
            ),
            (
                "W",
                "view 'W' cannot be built beside the old one, as `rebuild` says: it is no materialized SqlView with rows",
                "declare a SqlView with `materialized = True`, without up() and down() of its own, or remove `rebuild`",
            ),
        ],
        {
            "graph": graph_of(
                "a",
                migrations={"a": {"touches": ["V", "W", "X"]}},
                views={
                    "V": {"rebuild": Rebuild.DEFERRED, "can_swap": False},
                    "W": {"can_defer": False},
                    "X": {"rebuild": Rebuild.SWAP},
                },
            )
        },
    ),
    "MG301": (
        {"graph": graph_of(migrations={"a": {"kind": BodyKind.COROUTINE}, "b": {"kind": BodyKind.GENERATOR}})},
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
        *range(101, 112),
        *range(201, 212),
        213,
        *range(301, 306),
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


@pytest.mark.parametrize("each", RULES.values(), ids=RULES)
def test_every_rule_has_a_page(each: Any) -> None:
    lines = each.page.splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert [line for line in headings if line.startswith("##")] == [
        "## What it finds",
        "## Why it matters",
        "## How to fix it",
    ]
    assert each.summary == lines[0]
    assert each.summary.endswith(".")
    assert lines[1] == ""
    assert each.page.count("```") == 4, "a bad example and a good one"
    assert "bad" in each.page
    assert "good" in each.page
    assert each.name == each.find.__name__.replace("_", "-")
    assert (Needs.HISTORY in each.needs) == each.code.startswith("MG4")
    assert (Needs.BASE in each.needs) == each.code.startswith("MG5")


def test_a_code_is_given_once() -> None:
    def another_cycle(context: Context) -> Any: ...

    with pytest.raises(AssertionError, match="MG101 is taken by dependency-cycle"):
        rule("MG101", Severity.INFO)(another_cycle)


# Cycles --------------------------------------------------------------------------------------------------------------


def test_d27_a_cycle_is_told_edge_by_edge_and_names_nothing_behind_it() -> None:
    graph = graph_of("a < b < a", "b < innocent < also_innocent")
    (finding,) = [each for each in check(graph) if each.severity is Severity.ERROR]
    assert finding.source == SourceLocation("migrations.py", 1)
    assert finding.related == (
        Related(Node(NodeKind.MIGRATION, "a"), "requires 'b'", SourceLocation("migrations.py", 1)),
        Related(Node(NodeKind.MIGRATION, "b"), "requires 'a'", SourceLocation("migrations.py", 11)),
    )
    assert "innocent" not in f"{finding}"


def test_a_migration_that_requires_itself() -> None:
    assert told("MG101", graph_of("a < a")) == [("a", "'a' requires itself", "take 'a' out of its own `requires`")]


def test_a_long_ring_is_shortened_in_the_message_only() -> None:
    names = [f"m{index}" for index in range(50)]
    (finding,) = judged("MG101", graph_of(" < ".join([*names, "m0"])))
    assert finding.message == (
        "'m0' requires 'm49' requires 'm48' requires 'm47' requires 'm46' requires 'm45' requires … (44 more) … requires 'm0'"
    )
    assert len(finding.related) == 50


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modules", "path", "hint"),
    [
        (["migrations.py"], "billing.py", "add `import billing`"),
        (["app/migrations.py", "app/sub/x.py"], "app/sub/billing.py", "add `import sub.billing`"),
        (["elsewhere/migrations.py"], "app/billing.py", "add `import app.billing`"),
        (["migrations.py"], "2026-billing.py", "import it, under a name that Python can import"),
    ],
)
def test_the_import_to_add_is_spelt_out(modules: list[str], path: str, hint: str) -> None:
    fields = {f"m{index}": {"module": module} for index, module in enumerate(modules)}
    graph = graph_of(migrations=fields, unreached=(UnreachedFile(path, (("x", 1),)),))
    assert [each.hint for each in judged("MG104", graph)] == [hint]


def test_a_requirement_in_a_forgotten_file_says_which() -> None:
    graph = graph_of("(refund) < a", migrations={"a": {"module": "app/migrations.py"}}, unreached=(BILLING,))
    assert [each.hint for each in judged("MG102", graph)] == [
        "defined in app/billing.py:30, which nothing imports: add `import billing`"
    ]
    assert judged("MG104", graph)[0].source == SourceLocation("app/billing.py", 14)


def test_many_unknown_names_do_not_cost_a_search_each() -> None:
    # With several hundred names to compare each search takes milliseconds; only the first ones are made.
    graph = graph_of(*(f"(unknown_requirement_{index}) < migration_requirement_{index}" for index in range(600)))
    findings = judged("MG102", graph)
    assert len(findings) == 600
    assert any("did you mean" in each.hint for each in findings)
    assert sum("did you mean" in each.hint for each in findings) <= 40


def test_many_names_are_listed_briefly() -> None:
    file = UnreachedFile("b.py", tuple((f"m{index}", index) for index in range(1, 9)))
    assert judged("MG104", graph_of("a", unreached=(file,)))[0].message == (
        "'b.py' declares 'm1', 'm2', 'm3', 'm4', 'm5' and 3 more, and nothing imports it"
    )
    one = UnreachedFile("c.py", (("m", 4),))
    assert judged("MG104", graph_of("a", unreached=(one,)))[0].message == "'c.py' declares 'm', and nothing imports it"


def test_one_lonely_migration_is_not_isolated() -> None:
    assert told("MG106", graph_of("a")) == []


# Windows -------------------------------------------------------------------------------------------------------------


def test_a_window_that_only_the_tie_break_empties_is_empty_and_one_it_fills_is_unordered() -> None:
    fields = {"V": {"since": "s", "until": "u"}}
    empty = graph_of(declared=["u", "s"], views=fields)
    filled = graph_of(declared=["s", "u"], views=fields)
    assert [each.subject.name for each in judged("MG205", empty)] == ["V"]
    assert judged("MG209", empty) == []
    assert judged("MG205", filled) == []
    assert told("MG209", filled) == [
        ("V", "only the tie-break orders 's', the `since` of view 'V', against 'u'", "let 'u' require 's'")
    ]


def test_nothing_is_said_of_windows_behind_a_cycle_or_without_a_bound() -> None:
    graph = graph_of(
        "p < q < p",
        "q < behind",
        "ok",
        migrations={"behind": {"touches": ["V", "W"]}, "ok": {"touches": ["V", "Gone"]}},
        views={
            "V": {"since": "behind", "until": "p"},
            "W": {"since": "nowhere"},
            "R": {"uses": "V W", "until": "ok"},
            "R_V2": {"since": "q"},
        },
    )
    codes = {each.code for each in check(graph) if each.code.startswith("MG2")}
    assert codes == {"MG203", "MG210"}


def test_a_view_is_not_accused_of_the_time_before_it_is_created() -> None:
    # The ancestor's own documentation writes views so: the reader has no window of its own.
    graph = graph_of(
        "s < m", migrations={"m": {"touches": ["Lines"]}}, views={"Lines": {"since": "s"}, "T": {"uses": "Lines"}}
    )
    assert judged("MG206", graph) == []


def test_a_view_brought_up_before_what_it_uses_lives() -> None:
    graph = graph_of(
        "m < s", migrations={"m": {"touches": ["T"]}}, views={"Lines": {"since": "s"}, "T": {"uses": "Lines"}}
    )
    assert [each.message for each in judged("MG206", graph)] == [
        "view 'T' uses 'Lines', which does not live when 'm' brings it up"
    ]


def test_a_view_that_opens_before_what_it_uses_does() -> None:
    graph = graph_of("a < b", views={"Lines": {"since": "b"}, "T": {"uses": "Lines", "since": "a"}})
    assert [each.message for each in judged("MG206", graph)] == [
        "view 'T' uses 'Lines', which does not live when 'a' opens its window"
    ]


def test_a_view_that_opens_when_what_it_uses_lives_or_when_it_is_replaced_already() -> None:
    fields = {"Lines": {"since": "a"}, "T": {"uses": "Lines", "since": "b"}}
    assert judged("MG206", graph_of("a < b", views=fields)) == []
    replaced = {"Lines": {"since": "b"}, "T": {"uses": "Lines", "since": "a"}, "T_V2": {"replaces": "T"}}
    assert judged("MG206", graph_of("a < b", views=replaced)) == []


def test_a_successor_takes_the_place_of_what_a_view_uses() -> None:
    fields = {"L1": {"until": "b"}, "L2": {"since": "b", "replaces": "L1"}, "T": {"uses": "L1"}}
    assert judged("MG206", graph_of("a < b < c", views=fields)) == []
    # A gap between the two is not bridged, and the end of the last is the end of all.
    gap = {**fields, "L2": {"since": "c", "replaces": "L1"}}
    assert [each.message for each in judged("MG206", graph_of("a < b < c", views=gap))] == [
        "view 'T' uses 'L1', which does not live after 'b'"
    ]
    end = {**fields, "L2": {"since": "b", "until": "c", "replaces": "L1"}}
    assert [each.message for each in judged("MG206", graph_of("a < b < c", views=end))] == [
        "view 'T' uses 'L1', which does not live after 'c'"
    ]


def test_a_ring_of_successors_does_not_hang() -> None:
    fields = {"A": {"until": "a", "replaces": "B"}, "B": {"until": "a", "replaces": "A"}, "T": {"uses": "A"}}
    assert {each.code for each in check(graph_of("a", views=fields)) if each.severity is Severity.ERROR} == {
        "MG202",
        "MG206",
    }


def test_two_successors_of_one_view_overlap() -> None:
    fields = {"T": {}, "New": {"replaces": "T", "since": "a"}, "Newer": {"replaces": "T", "since": "b"}}
    assert told("MG207", graph_of("a < b", views=fields)) == [
        ("Newer", "views 'New' and 'Newer' both live after 'b'", "let 'Newer' replace 'New' instead of 'T'")
    ]


def test_versions_without_windows_overlap_from_the_start() -> None:
    fields = {"T_V1": {}, "T_V2": {}, "IPv4": {}, "IPv6": {}}
    assert [each.message for each in judged("MG207", graph_of("a", views=fields))] == [
        "views 'T_V1' and 'T_V2' both live from the start"
    ]


def test_versions_that_follow_each_other_do_not_overlap() -> None:
    fields = {"T_V1": {"until": "a"}, "T_V2": {"since": "a", "until": "b"}, "T_V3": {"since": "c"}}
    assert judged("MG207", graph_of("a < b < c", views=fields)) == []


def test_versions_that_meet_in_one_migration_overlap_when_it_brings_both_up() -> None:
    fields = {"T_V1": {"until": "a"}, "T_V2": {"since": "a"}}
    both = graph_of(migrations={"a": {"touches": ["T_V1", "T_V2"]}}, views=fields)
    one = graph_of(migrations={"a": {"touches": ["T_V2"]}}, views=fields)
    assert [each.message for each in judged("MG207", both)] == ["views 'T_V1' and 'T_V2' both live in 'a'"]
    assert judged("MG207", one) == []


def test_two_successors_of_one_name_are_told_once() -> None:
    fields = {"T": {}, "T_V2": {"replaces": "T"}, "T_V3": {"replaces": "T"}}
    assert len(judged("MG207", graph_of("a", views=fields))) == 1


def test_a_replaced_version_does_not_overlap_with_a_stranger() -> None:
    # T_V1 is replaced by the time that T_V9 opens, so only the two that live are told.
    fields = {"T_V1": {}, "T_V2": {"replaces": "T_V1", "since": "a"}, "T_V9": {"since": "b"}}
    assert [each.message for each in judged("MG207", graph_of("a < b", views=fields))] == [
        "views 'T_V2' and 'T_V9' both live after 'b'"
    ]


def test_opening_a_closed_view_is_an_error_unless_a_relative_lives() -> None:
    closed = {"V": {"until": "u"}}
    assert [each.message for each in judged("MG208", graph_of("u < m", migrations={"m": OPENS}, views=closed))] == [
        "'m' opens view 'V', but runs after its `until`, 'u'"
    ]
    followed = {**closed, "W": {"replaces": "V", "since": "u"}}
    assert judged("MG208", graph_of("u < m", migrations={"m": OPENS}, views=followed)) == []
    awaited = {"Old": {}, "V": {"since": "s", "replaces": "Old"}}
    assert judged("MG208", graph_of("m < s", migrations={"m": OPENS}, views=awaited)) == []


def test_opening_a_view_where_only_the_tie_break_closes_it_is_not_an_error() -> None:
    graph = graph_of("m", "s", migrations={"m": OPENS}, views={"V": {"since": "s"}})
    assert judged("MG208", graph) == []
    assert told("MG209", graph) == [
        ("V", "only the tie-break orders 's', the `since` of view 'V', against 'm'", "let 's' require 'm'")
    ]


def test_an_unordered_end_is_told_with_every_migration_that_opens_the_view() -> None:
    fields = dict.fromkeys(("m1", "m2"), OPENS)
    (finding,) = judged("MG209", graph_of("m1", "m2", "u", migrations=fields, views={"V": {"until": "u"}}))
    assert finding.message == "only the tie-break orders 'u', the `until` of view 'V', against 'm1' and 'm2'"
    assert [each.subject.name for each in finding.related] == ["m1", "m2"]


# History -------------------------------------------------------------------------------------------------------------


def test_a_graph_does_not_differ_from_itself() -> None:
    graph = graph_of("a < b", views={"V": {}})
    assert not compare(before=graph, after=graph)
    assert compare(before=graph_of("a"), after=graph)
    assert check(graph_of("a"), base=None, settings=RuleSettings(select=("MG5",))) == ()


def test_without_a_history_nothing_is_said_of_it() -> None:
    graph = graph_of("a < b")
    assert check(graph, None, settings=RuleSettings(select=("MG4",))) == ()
    assert len(check(graph, history_of("b"), settings=RuleSettings(select=("MG402",)))) == 1


def test_one_commit_is_one_commit() -> None:
    (finding,) = judged("MG405", graph_of("a"), history_of(interrupted="a"))
    assert finding.message == "'a' was interrupted after 1 own commit"


# Settings ------------------------------------------------------------------------------------------------------------


def test_findings_come_worst_first_then_by_code_and_place() -> None:
    graph = graph_of("(x) < b", "(x) < a", "c < d < e", "c < e", views={"V": {"until": "gone"}})
    assert [(each.code, each.subject.name) for each in check(graph)] == [
        ("MG102", "b"),
        ("MG102", "a"),
        ("MG204", "V"),
        ("MG105", "e"),
    ]


@pytest.mark.parametrize(
    ("settings", "severity"),
    [
        (RuleSettings(), Severity.WARNING),
        (RuleSettings(strict=True), Severity.ERROR),
        (RuleSettings(error=("MG204",)), Severity.ERROR),
        (RuleSettings(error=("MG2",)), Severity.ERROR),
        (RuleSettings(select=("MG204",)), Severity.WARNING),
        (RuleSettings(select=("MG1",)), Severity.OFF),
        (RuleSettings(ignore=("MG204",), error=("MG204",)), Severity.OFF),
    ],
)
def test_a_warning_under_settings(settings: RuleSettings, severity: Severity) -> None:
    assert settings.severity_of(RULES["MG204"]) is severity


@pytest.mark.parametrize(
    ("settings", "severity"),
    [
        (RuleSettings(), Severity.OFF),
        (RuleSettings(strict=True), Severity.OFF),
        (RuleSettings(select=("MG1",)), Severity.OFF),
        (RuleSettings(select=("MG106",)), Severity.WARNING),
        (RuleSettings(warn=("MG106",)), Severity.WARNING),
        (RuleSettings(error=("MG106",)), Severity.ERROR),
    ],
)
def test_a_rule_that_is_off_is_on_when_it_is_named(settings: RuleSettings, severity: Severity) -> None:
    assert settings.severity_of(RULES["MG106"]) is severity


def test_an_error_can_become_a_warning() -> None:
    assert RuleSettings(warn=("MG101",)).severity_of(RULES["MG101"]) is Severity.WARNING


def test_a_declaration_ignores_a_rule_for_itself() -> None:
    ignoring = {"ignore": frozenset({"MG102"})}
    graph = graph_of(
        "(x) < a", "(x) < b", migrations={"a": ignoring}, views={"V": {"until": "x", "ignore": frozenset({"MG2"})}}
    )
    assert [(each.code, each.subject.name) for each in check(graph)] == [("MG102", "b")]


def test_unknown_rules_are_refused_all_at_once() -> None:
    graph = graph_of(
        migrations={"a": {"ignore": frozenset({"MG999"})}}, views={"V": {"ignore": frozenset({"nonsense"})}}
    )
    with pytest.raises(UsageError) as caught:
        check(graph, settings=RuleSettings(select=("MG1O4",), ignore=("",), error=("MG10",), warn=("M",)))
    assert caught.value.message == (
        "no such rule: 'MG1O4', '', 'M', 'MG999' in `ignore` of 'a' (migrations.py:1), 'nonsense' in `ignore` of 'V' (views.py:1)"
    )
    assert caught.value.hint == "did you mean MG104?"


def test_a_code_like_no_other_gets_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        check(graph_of(), settings=RuleSettings(select=("nonsense",)))
    assert caught.value.hint == f"the rules are {', '.join(RULES)}"


@pytest.mark.parametrize("name", ["it's", '"', "<script>alert(1)</script>", "a\nb", "💣", "\u202eabc", "\x1b[31m"])
def test_hostile_names_are_only_names(name: str) -> None:
    registry = registry_of("(x) < a", views={"V": {"since": "a", "until": "x"}})
    (migration,) = registry.migrations
    graph = build_graph(replace(registry, migrations=(replace(migration, name=name),)))
    assert {each.code for each in check(graph, history_of([name, "other"]))} >= {"MG102", "MG203", "MG401"}


def test_a_rule_is_one_function_of_one_argument() -> None:
    signature: Callable[[Any], list[str]] = lambda find: list(inspect.signature(find).parameters)  # noqa: E731
    assert {tuple(signature(each.find)) for each in RULES.values()} == {("context",)}
    assert Hit("a", "m", "h").related == ()


def test_a_file_without_migrations_is_wrong_where_the_database_remembers_some() -> None:
    (finding,) = judged("MG109", graph_of(), history_of("a b", failed="c"))
    assert finding.message == "no migration is declared, and the database remembers 3"


def test_a_wrong_requirement_has_no_false_consequences() -> None:
    """What hangs on a misspelt name has no place in the order: nothing else is said of it before the name is right."""
    views = {
        "V": {"since": "create", "until": "drop"},
        "W": {"since": "drop", "until": "create"},
        "Same": {"since": "drop", "until": "drop"},
    }
    touches = {name: {"touches": ["V"]} for name in ("create", "widen", "drop")}
    right = graph_of("create < widen < drop", views={"V": views["V"]}, migrations=touches)
    assert [each.code for each in check(right)] == []
    wrong = graph_of("create", "(craete) < widen < drop", views=views, migrations=touches)
    found = {(each.code, each.subject.name) for each in check(wrong)}
    assert ("MG102", "widen") in found
    assert ("MG205", "Same") in found, "that has nothing to do with the order"
    assert not found & {("MG209", "V"), ("MG209", "W"), ("MG205", "W"), ("MG205", "V")}
    loose = graph_of("create", "widen < drop", views={"V": views["V"]}, migrations=touches)
    assert {each.code for each in check(loose)} == {"MG209"}, "without a wrong name the order really is missing"


def test_many_views_of_a_database_taken_over_are_one_finding() -> None:
    """As `migrate views adopt` writes them: nobody is told 1,863 times to remove what the database has."""
    graph = graph_of("a", views={f"V{number:03}": {} for number in range(400)})
    graph = build_graph(
        Registry(
            tuple(graph.migrations.values()), tuple(replace(view, module="views.py") for view in graph.views.values())
        )
    )
    [finding] = [each for each in check(graph) if each.code == "MG210"]
    assert "nor 399 others of its file" in finding.message
    assert "keeps them" in finding.hint
