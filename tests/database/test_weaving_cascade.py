"""What a CASCADE in the body of a migration would take along goes down first, and is afterwards what it was."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import ask, forget_managers, named, sql, view
from weaving_stand import KEEP, WIDEN_A, Shop, ask_and_commit, shop

from migrate_graph.core.events import ViewDropped
from migrate_graph.database.views.weaving import Weaver

pytestmark = pytest.mark.postgres

__all__ = ["forget_managers", "shop"]

AGAIN = "ALTER TABLE t ADD a int"

# Each drops what V reads, and makes it anew.
CASCADES = {
    "column": ("ALTER TABLE t DROP COLUMN a CASCADE", AGAIN),
    "one text": (f"ALTER TABLE t DROP COLUMN a CASCADE; {AGAIN}",),
    "lower case, with a comment": ("/* again */ alter table t drop a /* all */ cascade", AGAIN),
    "DO": ("DO $$ BEGIN EXECUTE 'ALTER TABLE t DROP COLUMN a CAS' || 'CADE'; END $$", AGAIN),
    "procedure": (
        "CREATE PROCEDURE away() LANGUAGE sql AS 'ALTER TABLE t DROP COLUMN a CASCADE'",
        "CALL away()",
        AGAIN,
        "DROP PROCEDURE away()",
    ),
    "savepoint of the body": ("SAVEPOINT s", "ALTER TABLE t DROP COLUMN a CASCADE", "RELEASE s", AGAIN),
}


@pytest.mark.parametrize("statements", CASCADES.values(), ids=CASCADES)
def test_a_cascade_takes_no_managed_view(shop: Shop, statements: tuple[str, ...]) -> None:
    shop.works(sql("cascade", *statements), down="V2 V")


def test_a_table_goes_and_comes_again(shop: Shop) -> None:
    again = "CREATE TABLE t (id serial PRIMARY KEY, a int, b text, c varchar(10), s text)"
    before = ask(shop.uri, "SELECT relacl::text FROM pg_class WHERE relname = 'v'")
    finished = shop.run(sql("anew", "DROP TABLE t CASCADE", again))  # w, which nobody manages, is meant to go
    assert finished.succeeded
    assert ask(shop.uri, "SELECT relacl::text FROM pg_class WHERE relname = 'v'") == before
    assert ask(shop.uri, "SELECT to_regclass('m')::text, to_regclass('v2')::text, to_regclass('w')::text") == [
        ("m", "v2", None)
    ]
    shop.is_whole()


OTHERS = {
    "type": ("CREATE TYPE mood AS ENUM ('a')", "SELECT NULL::mood AS it", "DROP TYPE mood CASCADE"),
    "function": (
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT f() AS it",
        "DROP FUNCTION f() CASCADE",
    ),
    "schema": (
        "CREATE SCHEMA other; CREATE TABLE other.x (id int)",
        "SELECT id AS it FROM other.x",
        "DROP SCHEMA other CASCADE",
    ),
    "key": (
        "CREATE TABLE k (id int, n text, PRIMARY KEY (id))",
        "SELECT id, n FROM k GROUP BY id",
        "DROP TABLE k CASCADE",
    ),
}


@pytest.mark.parametrize(("makes", "query", "drops"), OTHERS.values(), ids=OTHERS)
def test_whatever_the_view_hangs_on(shop: Shop, makes: str, query: str, drops: str) -> None:
    reader = view("Reader", query)
    shop.others.append(reader)

    def opens(db: Any) -> None:
        db.executesql(makes)
        with reader(db):
            pass

    shop.made.append(named("opens", opens))
    assert shop.run(opens={"opens": [reader]}).succeeded
    shop.works(sql("cascade", drops, makes), down="Reader", opens={"opens": [reader]})


@pytest.mark.parametrize("drops", ["DROP VIEW v CASCADE", "DROP VIEW v", "DROP VIEW IF EXISTS public.v, u"])
def test_what_drop_view_names_is_meant_to_go_and_its_readers_are_not(shop: Shop, drops: str) -> None:
    """A refusal names both, the reader and what is dropped; also where that reads another one which goes with it."""
    before = ask(shop.uri, "SELECT obj_description('v2'::regclass)")
    if drops.endswith("u"):
        ask_and_commit(shop.uri, "CREATE VIEW u AS SELECT 1 AS a FROM v")
    finished = shop.run(sql("by_hand", drops, "CREATE VIEW v AS SELECT id, a, c FROM t"))
    assert finished.succeeded
    assert [each.view for each in shop.stand.told(ViewDropped)] == ["V2"]
    assert ask(shop.uri, "SELECT obj_description('v2'::regclass)") == before


def test_a_column_that_is_called_as_a_view_is_not_that_view(shop: Shop) -> None:
    shop.works(sql("v_goes", "ALTER TABLE t ADD v int"))
    shop.works(
        sql("v_goes", "ALTER TABLE t ADD v int"),
        sql("cascade", "ALTER TABLE t DROP v, DROP a CASCADE", AGAIN),
        down="V2 V",
    )


def test_what_cannot_come_up_again_keeps_the_cascade_from_happening(shop: Shop) -> None:
    result = shop.fails(sql("drop_a", "ALTER TABLE t DROP COLUMN a CASCADE"))
    assert result.error.startswith("V reads t.a, which drop_a drops")
    assert 'until = "drop_a"' in result.hint


def test_a_reader_that_nobody_manages_keeps_the_cascade_from_happening(shop: Shop) -> None:
    drops = sql("drop_a", "CREATE VIEW x AS SELECT a FROM v", "ALTER TABLE t DROP COLUMN a CASCADE", AGAIN)
    result = shop.fails(drops)
    assert "CASCADE would drop public.v, public.v2" in result.error
    assert "migrate views adopt public.x" in result.error
    finished = shop.run(drops, weaving=KEEP)
    assert finished.succeeded
    assert ask(shop.uri, "SELECT to_regclass('x') IS NOT NULL") == [(True,)]


@pytest.mark.parametrize("how", ["anew", "renamed"])
def test_a_view_that_a_procedure_makes_anew_was_not_taken(shop: Shop, how: str) -> None:
    body = {
        "anew": "DROP VIEW v2; CREATE VIEW v2 AS SELECT a, count(*) AS n FROM v GROUP BY a",
        "renamed": "ALTER VIEW v2 RENAME TO v3; ALTER VIEW v3 RENAME TO v2",
    }[how]
    statements = f"CREATE PROCEDURE anew() LANGUAGE plpgsql AS $$ BEGIN {body}; END $$", "CALL anew()"
    finished = shop.run(sql("calls", *statements))
    assert finished.succeeded, finished.results[-1].error
    assert not shop.stand.told(ViewDropped)


@pytest.mark.parametrize("name", ["release", "savepoint_log"])
def test_names_and_comments_are_no_savepoints(shop: Shop, name: str) -> None:
    added = sql("added", f"ALTER TABLE t ADD COLUMN {name} int")
    shop.works(added)
    widens = f"-- rollback: by hand\nALTER TABLE t ALTER COLUMN a TYPE bigint, ALTER COLUMN {name} TYPE bigint"
    shop.works(added, sql("widens", widens), down="V2 V", warned=2)


def test_where_nothing_is_woven_the_cascade_does_as_it_says(shop: Shop) -> None:
    finished = shop.run(sql("drop_a", "ALTER TABLE t DROP COLUMN a CASCADE"), unwoven=["drop_a"])
    assert finished.succeeded
    assert ask(shop.uri, "SELECT to_regclass('v') IS NULL") == [(True,)]


def test_other_statements_do_not_look_at_all_views(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def managed(_weaver: Weaver) -> dict[int, str]:
        raise AssertionError("asked for all views")

    monkeypatch.setattr(Weaver, "managed", managed)
    plain = ("ALTER TABLE t ADD d int", "ALTER TABLE t DROP COLUMN d RESTRICT", "UPDATE t SET s = 'CASCADE'", WIDEN_A)
    assert shop.run(sql("plain", *plain)).succeeded
