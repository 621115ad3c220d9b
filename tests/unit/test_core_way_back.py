"""The way back that nobody has written: what keeps it from being derived, and what it drops first."""

from __future__ import annotations

import pytest

from migrate_graph.core.drift import Described, Drifted, Inventory
from migrate_graph.core.footprint import Fact, Footprint, Statement, Wrote
from migrate_graph.core.way_back import Objection, drops, objections, ties
from migrate_graph.user_files import SourceLocation

AT = SourceLocation("migrations.py", 3)


def added(kind: str, name: str, *parts: str, relation: str = "") -> Drifted:
    own = name if kind in {"table", "view", "sequence"} else relation
    return Drifted(Fact(kind, name), None, "now", own, tuple(Fact(*part.split(" ", 1)) for part in parts))


def drop_of(change: Drifted) -> str:
    kinds = {"table", "index", "view", "column", "constraint", "function", "type", "trigger"}
    return f"DROP {change.fact.kind} {change.fact.identity}" if change.fact.kind in kinds else ""


def sent(sql: str, line: int = 9, **more: object) -> Statement:
    return Statement(sql, SourceLocation("migrations.py", line), **more)  # type: ignore[arg-type]


def told(*changes: Drifted, managed: tuple[str, ...] = (), **seen: object) -> list[str]:
    footprint = Footprint(**seen)  # type: ignore[arg-type]
    return [str(each) for each in objections(changes, footprint, drop_of=drop_of, managed=managed, at=AT)]


NEW = (
    added("table", "public.t", "column public.t.a", "constraint public.t.t_pkey"),
    added("column", "public.old.b", relation="public.old"),
    added("trigger", "public.old.tr", relation="public.old"),
    added("function", "public.f(a integer)"),
)


@pytest.mark.parametrize(
    "change",
    [
        added("comment", "table column public.t.a"),
        added("comment", "table public.t"),
        added("comment", "trigger tr on public.old"),
        added("comment", "function public.f(integer)"),
        added("grants", "public.t", relation="public.t"),
        added("constraint", "old foreign key (b)", relation="public.old"),
        added("text", "public.t.x"),
    ],
)
def test_what_belongs_to_what_was_added_goes_with_it(change: Drifted) -> None:
    assert told(*NEW, change) == []


def test_the_line_that_touches_a_relation_whose_name_holds_a_dot() -> None:
    """Only what stands behind the last dot was looked for, so that another relation was taken for it."""
    changed = Drifted(Fact("column", 'public."a.b".c'), "integer", "bigint", 'public."a.b"')
    statements = (
        sent('ALTER TABLE public."z.b" ADD x integer', 10),
        sent('ALTER TABLE public."a.b" ALTER c TYPE bigint', 11),
    )
    assert told(changed, statements=statements)[0].endswith("(migrations.py:11)")


@pytest.mark.parametrize("name", ['"a.b"', 'public."a.b"', 'Public."a.b"', '"public"."a.b"'])
@pytest.mark.parametrize(
    ("managed", "is_of_manager"),
    [('public."a.b"', True), ("public.b", False), ('other."b"', False), ('"a"."b"', False)],
)
def test_a_view_of_a_manager_whose_name_holds_a_dot(name: str, managed: str, is_of_manager: bool) -> None:
    found = told(managed=(managed,), statements=(sent(f"CREATE OR REPLACE VIEW {name} AS SELECT 1"),))
    assert (found == []) is is_of_manager


def test_what_was_there_before_is_told_with_the_line_that_touches_it() -> None:
    changed = Drifted(Fact("column", "public.old.a"), "integer", "bigint", "public.old")
    gone = Drifted(Fact("index", "public.i"), "x", None)
    statements = (
        sent("SELECT 1"), sent("UPDATE old SET a = 1", 10), sent("ALTER TABLE public.old ALTER a TYPE bigint", 11),
        sent("DROP INDEX i", 12),
    )  # fmt: skip
    assert told(changed, gone, statements=statements) == [
        "changes the column public.old.a, which was there before (migrations.py:11)",
        "removes the index public.i, which was there before (migrations.py:12)",
    ]
    strong = (*statements, sent("DO ''", 13, locks={"public.old": "ACCESS EXCLUSIVE"}))
    assert "(migrations.py:13)" in told(changed, statements=strong)[0]
    assert told(changed, statements=(Statement("ALTER TABLE old"), sent("old", 14)))[0].endswith("(migrations.py:14)")
    assert told(changed)[0].endswith("(migrations.py:3)")
    assert told(added("extension", "hstore")) == [
        "adds the extension hstore, and nothing here drops that (migrations.py:3)"
    ]
    assert told(added("comment", "table public.old")) == [
        "says something of what was there before (comment table public.old) (migrations.py:3)"
    ]
    assert str(Objection("does it")) == "does it"


def test_rows_of_older_tables_are_told_and_those_of_new_ones_are_not() -> None:
    line = sent("INSERT INTO old VALUES (1)", 7)
    assert told(*NEW, inserts=frozenset({"public.t", "public.old"}), statements=(line,)) == [
        "puts rows into public.old, which was there before (migrations.py:7)"
    ]
    assert told(*NEW, writes=frozenset({"public.old.a"})) == [
        "changes rows of public.old, which was there before (migrations.py:3)"
    ]
    line = sent("EXECUTE it", 8, writes=("public.old.a",))
    assert told(writes=frozenset({"public.old.a"}), statements=(line,))[0].endswith("(migrations.py:8)")
    assert told(wrote={"public.old": Wrote(updated=1), "public.none": Wrote()}) == [
        "changes rows of public.old, which was there before (migrations.py:3)"
    ]


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (sent("CREATE TABLE x (id int)"), ""),
        (sent("CREATE TABLE IF NOT EXISTS x (id int)"), "IF NOT EXISTS"),
        (sent("create unique index concurrently if not exists x on t (a)"), "IF NOT EXISTS"),
        (sent("ALTER TABLE t\n ADD COLUMN IF NOT EXISTS a int"), "IF NOT EXISTS"),
        (sent("CREATE OR REPLACE FUNCTION f() …"), "OR REPLACE"),
        (sent("CREATE OR REPLACE VIEW mine AS SELECT 1"), "OR REPLACE"),
        (sent("CREATE OR REPLACE VIEW managed AS SELECT 1"), ""),
        (sent("CREATE VIEW IF NOT EXISTS public.managed(a) AS SELECT 1"), ""),
        (sent("CREATE FUNCTION f() AS $$ IF NOT EXISTS (SELECT 1) $$"), ""),
        (sent("DO $$ BEGIN END $$"), "a block of statements"),
        (sent("-- one\n /* two */ DO $$ BEGIN END $$"), "a block of statements"),
        (sent("/* a\nb */CREATE TABLE IF NOT EXISTS x (id int)"), "IF NOT EXISTS"),
        (sent("ALTER TABLE IF EXISTS x ADD a int"), "says IF EXISTS: on another database it may have done nothing"),
        (sent("/* a */ INSERT INTO t /* b */ SELECT 1"), ""),
        (sent("/* a */ CREATE FUNCTION f() AS $$ x /* b */ do $$"), ""),
        (sent("/* b */ " * 60 + "CREATE TABLE x (id int)"), ""),
        (sent("/* b */ -- c\n" * 60 + "DO ''"), "runs a block of statements"),
        (sent("(SELECT to_regclass('x'))"), "asks what is there already"),
        (sent("CALL p()"), "a block of statements"),
        (sent("SELECT 1"), ""),
        (sent("SELECT a FROM old", uses=("public.old.a",)), "reads rows of public.old"),
        (sent("SELECT a FROM t", uses=("public.t.a",)), ""),
        (sent("CREATE TABLE t AS SELECT a FROM old", uses=("public.old.a",)), ""),
        (sent("SELECT 1 FROM pg_class"), "asks what is there"),
        (sent("PRAGMA table_info(x)"), "asks what is there"),
        (Statement("SELECT 1 FROM pg_class"), ""),
        (sent("DO $$ BEGIN END $$", error="no"), ""),
    ],
)
def test_what_may_have_gone_otherwise_elsewhere_is_told(statement: Statement, what: str) -> None:
    found = told(*NEW, managed=("public.managed",), statements=(statement,))
    assert [what in each for each in found] == [True] * bool(what), found
    assert all("(migrations.py:9)" in each for each in found)


def test_what_could_not_be_watched_is_told() -> None:
    assert told(not_rehearsed=("the connection was lost",)) == [
        "could not be watched to its end: the connection was lost (migrations.py:3)"
    ]


def test_views_of_managers_are_nobodys_business() -> None:
    view = Drifted(Fact("view", "public.v"), "a", "b", "public.v")
    seen = Footprint(inserts=frozenset({"public.v"}))
    assert objections([view], seen, drop_of=drop_of, managed={"public.v"}) == ()
    assert drops([view, added("view", "public.v")], drop_of=drop_of, managed=frozenset({"public.v"})) == ()


def test_what_hangs_on_others_is_dropped_first() -> None:
    changes = [
        added("table", "t"), added("strange", "s"), added("index", "i"), added("column", "t.a", relation="t"), added("trigger", "t.tr", relation="t"),
        Drifted(Fact("index", "j"), "x", "y"),
    ]  # fmt: skip
    assert drops(changes, drop_of=drop_of) == ("DROP trigger t.tr", "DROP index i", "DROP column t.a", "DROP table t")


def test_foreign_keys_of_new_tables_may_be_dropped_alone() -> None:
    changes = [
        added("table", "t", "constraint t.k", "constraint t.c", "column t.a"),
        Drifted(Fact("table", "u"), "x", "y", "u"),
    ]
    facts = {
        Fact("constraint", "t.k"): Described("FOREIGN KEY (a) REFERENCES u(id)", "t"),
        Fact("constraint", "t.c"): Described("CHECK (a > 0)", "t"),
        Fact("column", "t.a"): Described("integer", "t"),
    }
    assert ties(changes, Inventory(facts, "postgres", "1"), drop_of=drop_of) == ("DROP constraint t.k",)
