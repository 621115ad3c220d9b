"""What a migration sends is compared with what was approved, however it sends it; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stand import Stand

from migrate_graph.core.events import Warned
from migrate_graph.executor.approved import Approved

# Each sends `CREATE TABLE besides (id integer)` in a way of its own.
WAYS: dict[str, Callable[[Any], object]] = {
    "plainly": lambda db: db.executesql("CREATE TABLE besides (id integer)"),
    "with others in one text": lambda db: _script(db, "SELECT 1; CREATE TABLE besides (id integer)"),
    "by a cursor": lambda db: db._adapter.connection.cursor().execute("CREATE TABLE besides (id integer)"),
    "after a commit": lambda db: (db.commit(), db.executesql("CREATE TABLE besides (id integer)")),
    "after a rollback": lambda db: (db.rollback(), db.executesql("CREATE TABLE besides (id integer)")),
}


def _script(db: Any, text: str) -> None:
    if db._dbname == "postgres":
        db.executesql(text)
    else:
        db._adapter.connection.executescript(text)


@pytest.mark.parametrize("mode", ["own", "single", "none", "atomic"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_heard_however_it_is_sent(way: str, mode: str, database_uri: str) -> None:
    stand = Stand(database_uri)

    def body_1(db: Any) -> bool:
        db.executesql("SELECT 1")
        WAYS[way](db)
        return True

    options: dict[str, Any] = {"atomic": True} if mode == "atomic" else {"modes": {"body_1": mode}}
    known = {"body_1": ("SELECT ?",)}
    finished = stand.run(body_1, approved=Approved(known, strict=True), **options)
    assert not finished.succeeded
    assert "sends what it did not send when the plan was approved: CREATE TABLE besides" in finished.results[0].error
    stand.events.clear()
    if stand.history().attempts and mode == "none":
        return  # it asks what to do, since nothing of it can be rolled back
    assert stand.run(body_1, approved=Approved(known), **options).succeeded
    assert sum("CREATE TABLE besides" in each.message for each in stand.told(Warned)) == 1


def test_what_was_approved_is_sent(database_uri: str) -> None:
    stand = Stand(database_uri)

    def body_1(db: Any) -> bool:
        mark = "%s" if db._dbname == "postgres" else "?"
        db.executesql("CREATE TABLE t (id integer, name varchar(20))")
        for values in ((1, "a"), (-2, None), (3, "it's")):
            db.executesql(f"INSERT INTO t (id, name) VALUES ({mark}, {mark})", placeholders=values)
        db._adapter.cursor.executemany(f"INSERT INTO t (id, name) VALUES ({mark}, {mark})", [(4, "d"), (5, None)])
        return True

    known = {"body_1": ("CREATE TABLE t (id integer, name varchar(30))", "INSERT INTO t (id, name) VALUES (?, ?)")}
    assert stand.run(body_1, approved=Approved(known, strict=True)).succeeded
    assert not stand.told(Warned)
