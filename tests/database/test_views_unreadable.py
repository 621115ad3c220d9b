"""Views that come up before what they read: it is created first where it has a manager; SQLite creates them in any case."""

from __future__ import annotations

from typing import Any

import pytest
from bodies import Body, ask, forget_managers, named, sql, view
from stand import Stand

from migrate_graph.core.events import ViewCreated, Warned

__all__ = ["forget_managers"]

BASE = sql("base", "CREATE TABLE t (id int, a int)", "INSERT INTO t VALUES (1, 2)")


def opens(name: str, manager: Any, *statements: str, inside: Any = None) -> Body:
    """Return a migration that opens a manager, and another one inside of it, and then sends statements."""

    def body(db: Any) -> None:
        with manager(db):
            if inside is not None:
                with inside(db):
                    pass
        for each in statements:
            db.executesql(each)

    return named(name, body)


def succeeds(stand: Stand, *bodies: Body, views: dict[str, list[Any]]) -> str:
    """Run bodies; return the names of the managers whose views came up."""
    stand.events.clear()
    finished = stand.run(*bodies, views=views)
    assert finished.succeeded, "".join(f"{each.error} {each.hint} {each.traceback}" for each in finished.results)
    return " ".join(each.view for each in stand.told(ViewCreated))


def warnings_of(stand: Stand) -> list[str]:
    return [each.message for each in stand.told(Warned) if "cannot be read" in each.message]


def test_what_a_view_uses_is_created_first_where_nobody_has_created_it(database_uri: str) -> None:
    a = view("A", "SELECT id, a FROM t", since="base")
    b = view("B", "SELECT a FROM a", a, since="second")
    c = view("C", "SELECT a FROM b", b, since="second")
    stand = Stand(database_uri)
    assert succeeds(stand, BASE, opens("second", c), views={"": [a, b], "second": [c]}) == "A B C"
    assert ask(database_uri, "SELECT a FROM c") == [(2,)]
    assert not warnings_of(stand)


def test_a_successor_that_uses_what_nobody_has_created(database_uri: str) -> None:
    """The successor has the name of a view that worked. On SQLite the block was refused, with the hint to give it a manager."""
    a = view("A", "SELECT id, a FROM t", since="second")
    v = view("V", "SELECT id FROM t", since="base")
    v2 = view("V2", "SELECT a AS id FROM a", a, since="second", replaces=v, name="v")
    stand = Stand(database_uri)
    base = named("base", lambda db: (db.executesql("CREATE TABLE t (id int, a int)"), v.renew(db)))
    assert succeeds(stand, base, views={"base": [v], "": [a, v2]}) == "V"
    assert succeeds(stand, base, opens("second", v), views={"base": [v], "": [a, v2], "second": [v]}) == "A V2"
    assert ask(database_uri, "SELECT id FROM v") == []
    assert not warnings_of(stand)


def test_sqlite_a_view_that_cannot_be_read_is_named(sqlite_uri: str) -> None:
    lost = view("Lost", "SELECT x FROM nowhere", since="base")
    stand = Stand(sqlite_uri)
    base = named("base", lambda db: (db.executesql("CREATE TABLE t (id int)"), lost.renew(db)))
    assert succeeds(stand, base, views={"base": [lost]}) == "Lost"
    assert warnings_of(stand) == ['"lost" came up in base, but cannot be read: no such table: main.nowhere']


def test_sqlite_a_view_that_can_be_read_when_its_migration_ends_is_not(sqlite_uri: str) -> None:
    early = view("Early", "SELECT x FROM late", since="second")
    stand = Stand(sqlite_uri)
    second = opens("second", early, "CREATE TABLE late (x int)")
    assert succeeds(stand, BASE, second, views={"second": [early]}) == "Early"
    assert not warnings_of(stand)


def test_sqlite_a_view_that_reads_one_of_an_outer_block_is_not(sqlite_uri: str) -> None:
    a = view("A", "SELECT id, a FROM t", since="second")
    b = view("B", "SELECT a FROM a", since="second")
    stand = Stand(sqlite_uri)
    assert succeeds(stand, BASE, opens("second", a, inside=b), views={"second": [a, b]}) == "B A"
    assert not warnings_of(stand)


@pytest.mark.parametrize(
    "query", ["SELECT only_the_application_has_it(id) AS x FROM t", "SELECT id FROM t ORDER BY id COLLATE theirs"]
)
def test_sqlite_what_an_application_adds_is_not_missed(sqlite_uri: str, query: str) -> None:
    v = view("V", query, since="base")
    stand = Stand(sqlite_uri)
    base = named("base", lambda db: (db.executesql("CREATE TABLE t (id int)"), v.renew(db)))
    assert succeeds(stand, base, views={"base": [v]}) == "V"
    assert not warnings_of(stand)
