"""MG601 to MG612: what a rehearsal saw, judged by the size of the tables where the migrations will really run."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import graph_of
from msgspec.structs import replace

from migrate_graph.core.footprint import Budget, Fact, Footprint, Held, OutsideAct, Rewrite, Size, Statement, Wrote
from migrate_graph.core.history import History
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import RULES, Finding, Needs, RuleSettings, Severity, check
from migrate_graph.core.traces import owner_of
from migrate_graph.user_files import SourceLocation

LARGE, SMALL = Size(380_000_000, 600_000), Size(8_192, 40)
SIZES = {"public.invoice": LARGE, "public.tiny": SMALL}
EXCLUSIVE, SHARE, ROWS = "ACCESS EXCLUSIVE", "SHARE", "ROW EXCLUSIVE"
HERE = SourceLocation("migrations.py", 7)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Rewrite("public.invoice", LARGE.bytes, LARGE.rows), "public.invoice (380.0 MB, 600,000 rows)"),
        (Rewrite("public.invoice", LARGE.bytes), "public.invoice"),
        (Rewrite("public.invoice"), "public.invoice"),
        (Wrote(inserted=1_200, deleted=3), "1,200 inserted, 3 deleted"),
        (Wrote(updated=1), "1 updated"),
    ],
)
def test_what_was_seen_is_told_in_words(seen: Rewrite | Wrote, words: str) -> None:
    assert str(seen) == words


def statement(sql: str = "SELECT 1", **values: Any) -> Statement:
    return Statement(sql, HERE, **values)


def footprint(*statements: Statement, **values: Any) -> Footprint:
    return Footprint(statements, **{"sizes": SIZES, **values})


def judged(code: str, *steps: Footprint, **settings: Any) -> list[Finding]:
    names = "abcdefg"[: len(steps)]
    graph = graph_of(*names)
    found = check(
        graph, settings=RuleSettings(select=(code,), **settings), rehearsed=dict(zip(names, steps, strict=True))
    )
    assert {each.code for each in found} <= {code}
    return list(found)


def said(code: str, *steps: Footprint) -> list[tuple[str, str, str]]:
    return [(each.subject.name, str(each.severity), each.message) for each in judged(code, *steps)]


NEW_INVOICE = footprint(
    added=frozenset({Fact("table", "public.invoice"), Fact("column", "public.invoice.qty")}), sizes={}
)
RETYPE = statement(
    "ALTER TABLE invoice\n  ALTER COLUMN qty TYPE bigint",
    locks={"public.invoice": EXCLUSIVE},
    rewrites=(Rewrite("public.invoice", LARGE.bytes, LARGE.rows),),
)
TO_BIGINT = "`ALTER TABLE invoice ALTER COLUMN qty TYPE bigint`"
ADD = statement("ALTER TABLE invoice ADD note text", locks={"public.invoice": EXCLUSIVE})
FILL = statement("UPDATE customer SET name = ''", uses=("public.customer.name",), rows=3)
INDEX = statement("CREATE INDEX i ON invoice (qty)", locks={"public.invoice": SHARE}, scans=("public.invoice",))
NOT_NULL = statement("ALTER TABLE invoice ALTER qty SET NOT NULL", scans=("public.invoice",))
UPDATE = statement(
    "UPDATE invoice SET qty = 0", locks={"public.invoice": ROWS}, uses=("public.invoice.qty",), rows=600_000
)
GONE = frozenset({Fact("column", "public.invoice.qty")})

# For every rule: a footprint that breaks it, what is said of it, and one like it that is right.
CASES: dict[str, tuple[Footprint, tuple[str, str], Footprint]] = {
    "MG601": (
        footprint(RETYPE),
        ("error", f"'a' writes public.invoice (380.0 MB, 600,000 rows) anew: {TO_BIGINT}"),
        footprint(ADD),
    ),
    "MG602": (
        footprint(ADD, FILL),
        (
            "warning",
            ("'a' keeps everybody out of public.invoice (380.0 MB, 600,000 rows) from `ALTER TABLE invoice ADD note text` until "
            "its transaction ends, and works on: `UPDATE customer SET name = ''`"),
        ),
        footprint(FILL, ADD),
    ),
    "MG603": (
        footprint(INDEX),
        ("warning", "'a' keeps writers out of public.invoice (380.0 MB, 600,000 rows): `CREATE INDEX i ON invoice (qty)`"),
        footprint(statement("CREATE INDEX CONCURRENTLY i ON invoice (qty)", held=Held.CHANGED, locks=INDEX.locks, scans=INDEX.scans)),
    ),
    "MG604": (
        footprint(ADD, NOT_NULL),
        (
            "warning",
            ("'a' reads all of public.invoice (380.0 MB, 600,000 rows) while nobody else can: "
            "`ALTER TABLE invoice ALTER qty SET NOT NULL`"),
        ),
        footprint(NOT_NULL),
    ),
    "MG605": (
        footprint(UPDATE, wrote={"public.invoice": Wrote(updated=600_000)}),
        ("warning", "'a' writes 600,000 rows of public.invoice in one statement: `UPDATE invoice SET qty = 0`"),
        footprint(UPDATE, wrote={"public.tiny": Wrote(updated=3)}),
    ),
    "MG606": (footprint(removed=GONE), ("warning", "'a' drops column public.invoice.qty"), footprint(removed=GONE, renamed=GONE)),
    "MG607": (
        footprint(outside=(OutsideAct("runs curl", HERE),)),
        ("warning", "'a' runs curl; it was refused"),
        footprint(),
    ),
    "MG608": (
        footprint(statement("VACUUM invoice", held=Held.SKIPPED)),
        ("warning", "'a': `VACUUM invoice` was not run: it cannot be part of a transaction"),
        footprint(statement("COMMIT", held=Held.HELD_BACK)),
    ),
    "MG609": (
        footprint(statement("ALTER TABLE t DROP x", error_code="2BP01", blockers=("public.unpaid", "public.paid"))),
        ("error", "'a' fails at `ALTER TABLE t DROP x`, with 'public.unpaid' and 'public.paid' in the way"),
        footprint(statement("DROP TABLE t", error_code="2BP01")),
    ),
    "MG610": (footprint(invalid=("public.i",)), ("error", "'a' leaves 'public.i' invalid"), footprint()),
    "MG611": (
        footprint(removed=GONE, renamed=GONE),
        ("warning", "'a' takes away column public.invoice.qty"),
        footprint(removed=frozenset({Fact("index", "public.i")})),
    ),
    "MG612": (footprint(failure="ValueError: no", failed_at=HERE), ("error", "'a' fails: ValueError: no"), footprint(ADD)),
}  # fmt: skip


def test_every_rule_about_rehearsals_has_a_case() -> None:
    assert list(CASES) == [each.code for each in RULES.values() if each.needs == (Needs.REHEARSAL,)]


@pytest.mark.parametrize("code", CASES)
def test_every_rule_finds_what_it_should_and_nothing_else(code: str) -> None:
    broken, (severity, message), right = CASES[code]
    assert said(code, broken) == [("a", severity, message)]
    assert said(code, right) == []


@pytest.mark.parametrize("code", CASES)
def test_a_rehearsal_is_needed(code: str) -> None:
    assert check(graph_of("a"), settings=RuleSettings(select=(code,))) == ()


def test_findings_stand_where_the_statement_was_sent_and_as_bad_as_configured() -> None:
    (found,) = judged("MG601", CASES["MG601"][0])
    assert found.source == HERE
    assert judged("MG601", CASES["MG601"][0], warn=("MG601",))[0].severity is Severity.WARNING
    assert judged("MG602", CASES["MG602"][0], strict=True)[0].severity is Severity.ERROR
    assert judged("MG601", CASES["MG601"][0], ignore=("MG6",)) == []
    assert judged("MG602", CASES["MG602"][0])[0].related[0].source == HERE


@pytest.mark.parametrize("code", ["MG601", "MG605", "MG606", "MG611"])
def test_what_the_same_run_made_is_silent(code: str) -> None:
    broken = CASES[code][0]
    later = Footprint(broken.statements, removed=broken.removed, wrote=broken.wrote, renamed=broken.renamed)
    assert said(code, NEW_INVOICE, later) == []
    assert said(code, Footprint(), broken), "where another made it"


def test_rewrites_weigh_as_much_as_the_table() -> None:
    small = statement("ALTER TABLE tiny …", rewrites=(Rewrite("public.tiny", SMALL.bytes, SMALL.rows),))
    unknown = statement("ALTER TABLE x …", rewrites=(Rewrite("public.x"), Rewrite("public.y", 1)))
    assert said("MG601", footprint(small)) == [
        ("a", "info", "'a' writes public.tiny (8.2 kB, 40 rows) anew: `ALTER TABLE tiny …`")
    ]
    assert [severity for _, severity, _ in said("MG601", footprint(unknown))] == ["warning", "warning"]
    assert "its size is not known" in said("MG601", footprint(unknown))[0][2]
    assert judged("MG601", footprint(RETYPE), budget=Budget(rewrite=10**9, rows=10**9))[0].severity is Severity.INFO
    truncate = statement(" truncate invoice", rewrites=RETYPE.rewrites, locks=RETYPE.locks)
    assert said("MG601", footprint(truncate)) == [], "there is nothing left to write"


def test_long_statements_are_shortened() -> None:
    (found,) = judged("MG601", footprint(statement("ALTER " + "x" * 100, rewrites=RETYPE.rewrites)))
    assert found.message.endswith("anew: `ALTER " + "x" * 54 + "…`")


def test_a_lock_matters_by_what_is_locked_and_what_comes_after_it() -> None:
    tiny = statement("ALTER TABLE tiny ADD x int", locks={"public.tiny": EXCLUSIVE, "public.new": EXCLUSIVE})
    assert said("MG602", footprint(tiny, FILL)) == [], "small, or made by this run"
    assert said("MG602", footprint(ADD)) == [], "nothing comes after it"
    assert said("MG602", footprint(ADD, ADD)) == [], "what is done at once is no work"
    assert said("MG602", footprint(ADD, statement(transaction=1, uses=("public.c.x",)))) == [], (
        "its commit frees the table"
    )
    held_back = statement("VACUUM", held=Held.SKIPPED, rows=2)
    assert said("MG602", footprint(ADD, held_back)) == []
    slow = statement("UPDATE customer …", rows=5, seconds=2.5)
    assert judged("MG602", footprint(ADD, slow))[0].severity is Severity.ERROR
    assert judged("MG602", footprint(ADD, slow), budget=Budget(lock=3.0))[0].severity is Severity.WARNING


def test_writers_wait_only_for_what_takes_long() -> None:
    trigger = statement("CREATE TRIGGER …", locks={"public.invoice": "SHARE ROW EXCLUSIVE"})
    assert said("MG603", footprint(trigger)) == [], "done at once"
    assert len(said("MG603", footprint(trigger, FILL))) == 1
    assert said("MG603", footprint(statement(locks={"public.tiny": SHARE}, scans=("public.tiny",)))) == []


def test_a_scan_is_under_the_lock_of_its_own_transaction() -> None:
    again = statement("SELECT count(*) FROM invoice", transaction=1, scans=("public.invoice",))
    assert said("MG604", footprint(ADD, again)) == []
    rewriting = statement(locks=RETYPE.locks, rewrites=RETYPE.rewrites, scans=("public.invoice",))
    assert said("MG604", footprint(rewriting)) == [], "MG601 tells of it"


def test_rows_count_where_they_are_written() -> None:
    wrote = {"public.invoice": Wrote(inserted=200_000, deleted=1)}
    block = statement("DO $$ … $$", locks={"public.invoice": ROWS}, rows=200_001)
    assert "writes 200,001 rows of public.invoice" in said("MG605", footprint(block, wrote=wrote))[0][2]
    reading = statement("SELECT * FROM invoice", uses=("public.invoice.*",), rows=600_000)
    assert said("MG605", footprint(reading, wrote=wrote)) == [], "these rows were read"
    few = statement(locks={"public.invoice": ROWS}, uses=("public.invoice.qty",), rows=1)
    assert said("MG605", footprint(few, wrote=wrote)) == []


def test_on_a_copy_without_rows_the_size_tells_what_may_be() -> None:
    nothing = statement("UPDATE invoice …", locks={"public.invoice": ROWS}, uses=("public.invoice.qty",), rows=0)
    assert said("MG605", footprint(nothing, without_rows=True)) == [
        ("a", "warning", "'a' may write every row of public.invoice (380.0 MB, 600,000 rows) in one statement: `UPDATE invoice …`")
    ]  # fmt: skip
    assert said("MG605", footprint(nothing)) == [], "here there were none"
    reading = statement("SELECT …", locks={"public.invoice": "ACCESS SHARE"}, uses=("public.invoice.qty",))
    assert said("MG605", footprint(reading, without_rows=True)) == []
    tiny = statement(locks={"public.tiny": ROWS}, uses=("public.tiny.x",))
    assert said("MG605", footprint(tiny, without_rows=True)) == []


def test_what_goes_with_its_table_is_told_once_and_what_is_empty_not_at_all() -> None:
    table = frozenset({Fact("table", "public.invoice"), *GONE, Fact("column", 'public.invoice."the.note"')})
    assert said("MG606", footprint(removed=table)) == [
        ("a", "warning", "'a' drops table public.invoice (380.0 MB, 600,000 rows)")
    ]
    assert said("MG606", footprint(removed=table, sizes={"public.invoice": Size(0, 0)})) == []
    assert len(said("MG606", footprint(removed=table, sizes={}))) == 1, "nothing is known of its rows"
    columns = frozenset(Fact("column", f"public.invoice.c{number}") for number in range(8))
    assert said("MG606", footprint(removed=columns))[0][2].endswith("column public.invoice.c4 and 3 more")
    truncate = statement("TRUNCATE invoice", locks={"public.invoice": EXCLUSIVE})
    assert said("MG606", footprint(truncate)) == [
        ("a", "warning", "'a' empties public.invoice (380.0 MB, 600,000 rows): `TRUNCATE invoice`")
    ]
    assert said("MG606", footprint(statement("TRUNCATE x", locks={"public.x": EXCLUSIVE}))) == []


@pytest.mark.parametrize("kind", ["view", "matview"])
def test_a_view_holds_no_rows_of_its_own(kind: str) -> None:
    of_it, itself = Fact("column", "public.totals.amount"), Fact(kind, "public.totals")
    assert said("MG606", footprint(removed=frozenset({of_it, itself}))) == []
    assert said("MG606", footprint(removed=frozenset({of_it}), changed=frozenset({itself}))) == []
    assert len(said("MG606", footprint(removed=frozenset({of_it})))) == 1


@pytest.mark.parametrize(
    ("column", "table"),
    [("public.t.x", "public.t"), ('public.t."a.b"', "public.t"), ('public."a.b".x', 'public."a.b"'), ("t.x", "t")],
)
def test_the_table_of_a_column(column: str, table: str) -> None:
    assert owner_of(column) == table


def test_acts_that_were_let_happen_are_told_as_well() -> None:
    assert said("MG607", footprint(outside=(OutsideAct("runs curl", HERE, refused=False),)))[0][2] == "'a' runs curl"


def test_what_was_not_watched_is_told_in_its_words() -> None:
    assert said("MG608", footprint(not_rehearsed=("it ended the transaction of the rehearsal",))) == [
        ("a", "warning", "'a' was not watched to its end: it ended the transaction of the rehearsal")
    ]


@pytest.mark.parametrize(
    ("size", "small"),
    [(Size(100_000_000, 0), True), (Size(100_000_001, 0), False), (Size(0, 100_000), True), (Size(0, 100_001), False)],
)
def test_a_small_table_is_within_bytes_and_rows(size: Size, *, small: bool) -> None:
    assert Budget().is_small(size) is small


def test_a_footprint_knows_every_table_that_was_written_anew() -> None:
    assert footprint(ADD, RETYPE).rewrites == RETYPE.rewrites


def test_a_budget_reads_as_it_is_written() -> None:
    assert str(Budget()) == "rewrite=100 MB, lock=2, rows=100000"
    assert str(Budget(rewrite=4096, lock=0.5)) == "rewrite=4096, lock=0.5, rows=100000"


def test_a_plan_knows_what_was_seen_of_its_steps() -> None:
    graph = graph_of("a < b")
    plan = build_plan(graph, History())
    assert plan.footprints == {}
    seen = replace(plan, steps=(plan.steps[0], replace(plan.steps[1], footprint=footprint(ADD))))
    assert seen.footprints == {"b": footprint(ADD)}
