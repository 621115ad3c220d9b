"""On SQLite a migration gets the connection of the one before only where nothing of that one is left in it."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from stand import Stand

_kept: list[Any] = []


def driver(db: Any) -> Any:
    return db._adapter.connection


USED_AGAIN: dict[str, Callable[[Any], object]] = {
    "nothing": lambda db: None,
    "work": lambda db: db.executesql("CREATE TABLE work (id integer)"),
    "own commits": lambda db: (db.executesql("CREATE TABLE work (id integer)"), db.commit(), db.executesql("SELECT 1")),
    "a rollback": lambda db: (db.executesql("CREATE TABLE gone (id integer)"), db.rollback()),
    "a raw commit": lambda db: (db.executesql("CREATE TABLE work (id integer)"), db.executesql("COMMIT")),
    "a script": lambda db: driver(db).executescript("CREATE TABLE work (id integer); INSERT INTO work VALUES (1)"),
    "a question": lambda db: (db.executesql("PRAGMA table_info(t)"), db.executesql("PRAGMA foreign_keys")),
    "a query of pyDAL": lambda db: db(db.ewh_implemented_features.id > 0).select(),
}  # fmt: skip

NOT_USED_AGAIN: dict[str, Callable[[Any], object]] = {
    "a pragma": lambda db: db.executesql("PRAGMA foreign_keys = OFF"),
    "a pragma with brackets": lambda db: db.executesql("PRAGMA recursive_triggers(1)"),
    "a pragma that cannot be asked for": lambda db: db.executesql("PRAGMA case_sensitive_like = ON"),
    "a pragma in a script": lambda db: driver(db).executescript("PRAGMA busy_timeout = 7; SELECT 1"),
    "a temporary table": lambda db: db.executesql("CREATE TEMP TABLE shadow (id integer)"),
    "the same by its schema": lambda db: db.executesql("CREATE TABLE temp.shadow (id integer)"),
    "a temporary view": lambda db: db.executesql("CREATE TEMPORARY VIEW shadow AS SELECT 1"),
    "a temporary trigger": lambda db: db.executesql("CREATE TEMP TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END"),
    "another database": lambda db: db.executesql("ATTACH ':memory:' AS other"),
    "a function": lambda db: driver(db).create_function("REGEXP", 2, lambda *_words: 1),
    "an aggregate": lambda db: driver(db).create_aggregate("total", 1, object),
    "a collation": lambda db: driver(db).create_collation("nocase", lambda *_words: 0),
    "what is told of progress": lambda db: driver(db).set_progress_handler(lambda: 0, 1000),
    "a trace": lambda db: driver(db).set_trace_callback(lambda _statement: None),
    "a limit": lambda db: driver(db).setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 9),
    "an authorizer": lambda db: driver(db).set_authorizer(lambda *_asked: sqlite3.SQLITE_OK),
    "rows of another kind": lambda db: setattr(driver(db), "row_factory", sqlite3.Row),
    "texts of another kind": lambda db: setattr(driver(db), "text_factory", bytes),
    "an isolation level": lambda db: setattr(driver(db), "isolation_level", "IMMEDIATE"),
    "an attribute": lambda db: setattr(driver(db), "tenant", 7),
    "a method put in place of ours": lambda db: setattr(driver(db), "commit", driver(db).commit),
    "a cursor that is kept": lambda db: _kept.append(driver(db).cursor()),
    "a connection that is kept": lambda db: _kept.append(driver(db)),
    "the connection closed": lambda db: (db.commit(), db.close()),
}  # fmt: skip


def _facts(db: Any) -> list[Any]:
    connection = driver(db)
    pragmas = [db.executesql(f"PRAGMA {name}") for name in ("foreign_keys", "recursive_triggers", "busy_timeout")]
    return [
        *pragmas, db.executesql("SELECT 'a' LIKE 'A', 'b' REGEXP 'a', total(1), 'a' = 'b' COLLATE nocase"),
        db.executesql("SELECT count(*) FROM temp.sqlite_master"), [name for _, name, _ in db.executesql("PRAGMA database_list")],
        connection.row_factory, connection.text_factory, connection.isolation_level, hasattr(connection, "tenant"),
        connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER), connection.in_transaction, "commit" in vars(connection),
    ]  # fmt: skip


def _run(stand: Stand, what: Callable[[Any], object], **options: Any) -> bool:
    """Run three migrations, of which the middle one does something; return whether the last one has its connection."""
    facts: list[Any] = []
    met: list[Any] = []

    def first_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        facts.append(_facts(db))
        return True

    def middle_2(db: Any) -> bool:
        met.append(weakref.ref(driver(db)))
        db.executesql("SELECT 1")  # pyDAL's own is still open, and functions cannot be replaced then
        what(db)
        return True

    def last_3(db: Any) -> bool:
        met.append(met[0]() is driver(db))
        db.commit()  # its own first statement opens a transaction
        facts.append(_facts(db))
        return True

    finished = stand.run(first_1, middle_2, last_3, **options)
    assert finished.succeeded, [each.error for each in finished.results]
    facts[0][-2] = facts[1][-2]
    assert facts[0] == facts[1]
    return bool(met[1])


@pytest.mark.parametrize("what", USED_AGAIN)
def test_the_connection_of_a_success_is_used_again(what: str, sqlite_uri: str) -> None:
    assert _run(Stand(sqlite_uri), USED_AGAIN[what])


@pytest.mark.parametrize("what", NOT_USED_AGAIN)
def test_what_would_be_left_in_it_means_a_new_connection(what: str, sqlite_uri: str) -> None:
    try:
        assert not _run(Stand(sqlite_uri), NOT_USED_AGAIN[what])
    finally:
        _kept.clear()


@pytest.mark.parametrize("mode", ["single", "none"])
def test_other_modes_get_a_connection_of_their_own(mode: str, sqlite_uri: str) -> None:
    assert not _run(Stand(sqlite_uri), lambda db: None, modes={"middle_2": mode})


def test_every_connection_is_new_where_that_is_asked_for(sqlite_uri: str) -> None:
    assert not _run(Stand(sqlite_uri, session="fresh"), lambda db: None)


def test_a_failure_ends_its_connection(sqlite_uri: str) -> None:
    met: list[Any] = []

    def fails_1(db: Any) -> bool:
        met.append(weakref.ref(driver(db)))
        return False

    def goes_on_2(db: Any) -> bool:
        met.append(met[0]() is driver(db))
        return True

    Stand(sqlite_uri).run(fails_1, goes_on_2)
    assert met[1] is False
