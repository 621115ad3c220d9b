"""What a migration sends is compared with what was approved, however it sends it; on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from stand import Stand

from migrate_graph.core.events import Outcome, Warned
from migrate_graph.executor.approved import Approved

# Each sends `CREATE TABLE besides (id integer)` in a way of its own.
WAYS: dict[str, Callable[[Any], object]] = {
    "plainly": lambda db: db.executesql("CREATE TABLE besides (id integer)"),
    "with others in one text": lambda db: _script(db, "SELECT 1; CREATE TABLE besides (id integer)"),
    "by a cursor": lambda db: db._adapter.connection.cursor().execute("CREATE TABLE besides (id integer)"),
    "after a commit": lambda db: (db.commit(), db.executesql("CREATE TABLE besides (id integer)")),
    "after a rollback": lambda db: (db.rollback(), db.executesql("CREATE TABLE besides (id integer)")),
    "on a new connection": lambda db: (db.close(), db.executesql("CREATE TABLE besides (id integer)")),
}

# What pyDAL says to a new connection; a rehearsal notes it as well, where the body opens one.
GREETINGS = ("SET CLIENT_ENCODING TO ?", "SET standard_conforming_strings=on", "PRAGMA foreign_keys=ON")


def _is_there(uri: str) -> bool:
    with closing(psycopg2.connect(uri) if uri.startswith("postgres") else sqlite3.connect(uri[9:])) as connection:
        cursor = connection.cursor()
        names = "pg_class WHERE relname" if uri.startswith("postgres") else "sqlite_master WHERE name"
        cursor.execute(f"SELECT count(*) FROM {names} = 'besides'")
        return bool(cursor.fetchone()[0])


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
        db.executesql("CREATE TABLE IF NOT EXISTS known (id integer)")
        WAYS[way](db)
        return True

    options: dict[str, Any] = {"atomic": True} if mode == "atomic" else {"modes": {"body_1": mode}}
    known = {"body_1": ("CREATE TABLE IF NOT EXISTS known (id integer)", "SELECT ?", *GREETINGS)}
    (refused,) = stand.run(body_1, approved=Approved(known, strict=True), **options).results
    assert refused.outcome is Outcome.RAISED
    assert "sends what it did not send when the plan was approved: CREATE TABLE besides" in refused.error
    assert ("what it had done stayed in the database" in refused.error) == (mode == "none")
    assert not _is_there(database_uri), "it was heard before it was sent"
    stand.events.clear()
    finished = stand.run(body_1, approved=Approved(known), **options)
    one_transaction = mode in {"single", "atomic"} and way == "on a new connection"  # which ends with it
    assert finished.succeeded != one_transaction
    assert _is_there(database_uri) != one_transaction
    (warning,) = (each.message for each in stand.told(Warned) if "when the plan was approved" in each.message)
    assert warning.endswith(
        "has sent what it did not send when the plan was approved: CREATE TABLE besides (id integer)"
    )


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
