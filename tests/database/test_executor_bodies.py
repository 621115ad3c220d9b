"""Whatever way a body works on its connection: its own commits are counted, and it is recorded if, and only if, its work is there."""

from __future__ import annotations

import builtins
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pytest
from stand import Stand

from migrate_graph.core.events import LockAcquired, Outcome

say = getattr(builtins, "print")  # noqa: B009 - what a body prints is what is looked at
INSERT = "INSERT INTO t (id) VALUES (1)"


def _driver(db: Any) -> Any:
    return db._adapter.connection


def _rows(uri: str) -> int:
    """Count the rows that are durable."""
    with closing(
        psycopg2.connect(uri) if uri.startswith("postgres") else sqlite3.connect(uri.partition("://")[2])
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM t")
        return int(cursor.fetchone()[0])


def _named_cursor(db: Any) -> None:
    db.executesql(INSERT)
    with _driver(db).cursor(name="many") as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        assert len(cursor.fetchall()) == 10


def _dictionary_cursor(db: Any) -> None:
    cursor = _driver(db).cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    cursor.execute(INSERT)
    db.commit()
    cursor.execute("SELECT 1")


class _Named(sqlite3.Cursor):
    """A cursor of somebody's own."""


def _error_rolled_back(db: Any) -> None:
    with pytest.raises(psycopg2.Error):
        db.executesql("SELECT * FROM nonesuch")
    db.rollback()
    db.executesql(INSERT)


def _blob(db: Any) -> None:
    db.executesql("INSERT INTO t (id) VALUES (zeroblob(4))")
    db.commit()
    with _driver(db).blobopen("t", "id", 1) as blob:
        blob.write(b"abcd")


def _context(db: Any) -> None:
    with _driver(db), _driver(db).cursor() as cursor:
        cursor.execute(INSERT)


def _sqlite_context(db: Any) -> None:
    with _driver(db) as connection:
        connection.execute(INSERT)


def _savepoint(db: Any) -> None:
    db.executesql(INSERT)
    db.executesql("SAVEPOINT mine")
    try:
        db.executesql("SELECT * FROM nonesuch")
    except psycopg2.Error:
        db.executesql("ROLLBACK TO SAVEPOINT mine")


def _escape(db: Any) -> None:
    """The way out of the transaction that people know."""
    db.executesql(INSERT)
    db.executesql("COMMIT")
    db.executesql("CREATE INDEX CONCURRENTLY t_id ON t (id)")


POSTGRES: dict[str, tuple[Callable[[Any], object], int]] = {
    "nothing special": (lambda db: db.executesql(INSERT), 0),
    "commit": (lambda db: (db.executesql(INSERT), db.commit()), 1),
    "commit twice": (lambda db: (db.executesql(INSERT), db.commit(), db.commit(), db.executesql("SELECT 1"), db.commit()), 2),
    "rolled back first": (lambda db: (db.executesql(INSERT), db.rollback(), db.executesql(INSERT)), 0),
    "error, rolled back, again": (_error_rolled_back, 0),
    "savepoint": (_savepoint, 0),
    "several statements": (lambda db: db.executesql(f"{INSERT}; COMMIT; SELECT 1"), 1),
    "way out of the transaction": (_escape, 1),
    "commit and begin": (lambda db: (db.executesql(INSERT), db.executesql("COMMIT"), db.executesql("BEGIN"), db.executesql("SELECT 1")), 1),
    "values": (lambda db: psycopg2.extras.execute_values(_driver(db).cursor(), "INSERT INTO t (id) VALUES %s", [(1,)]), 0),
    "copy": (lambda db: _driver(db).cursor().copy_expert("COPY t (id) FROM STDIN", io.StringIO("1\n")), 0),
    "copy_from": (lambda db: _driver(db).cursor().copy_from(io.StringIO("1\n"), "t", columns=("id",)), 0),
    "named cursor": (_named_cursor, 0),
    "cursor of another class": (_dictionary_cursor, 1),
    "with connection": (_context, 1),
    "pydal": (lambda db: db.define_table("t", migrate=False).insert(id=1), 0),
    "autocommit": (lambda db: (setattr(_driver(db), "autocommit", True), db.executesql(INSERT), db.executesql("SELECT 1")), 1),
    "close, and again": (lambda db: (db.executesql(INSERT), db.close(), db.executesql("SELECT 1")), 1),
    "reset": (lambda db: (_driver(db).reset(), db.executesql(INSERT)), 0),
}  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("way", POSTGRES)
def test_a_way_to_work_on_postgres(way: str, postgres_uri: str) -> None:
    body, commits = POSTGRES[way]
    _applied_once(postgres_uri, body, commits)


SQLITE: dict[str, tuple[Callable[[Any], object], int]] = {
    "nothing special": (lambda db: db.executesql(INSERT), 0),
    "commit": (lambda db: (db.executesql(INSERT), db.commit()), 1),
    "raw commit": (lambda db: (db.executesql(INSERT), db.executesql("COMMIT"), db.executesql("SELECT 1")), 1),
    "raw begin and commit": (lambda db: (db.executesql("BEGIN"), db.executesql(INSERT), db.executesql("commit;")), 1),
    "with a comment": (lambda db: (db.executesql(INSERT), db.executesql("-- that is it\nCOMMIT")), 1),
    "rolled back first": (lambda db: (db.executesql(INSERT), db.rollback(), db.executesql(INSERT)), 0),
    "script": (lambda db: _driver(db).executescript(f"{INSERT};"), 1),
    "many": (lambda db: _driver(db).executemany("INSERT INTO t (id) VALUES (?)", [(1,)]), 0),
    "plain cursor": (lambda db: _driver(db).cursor(sqlite3.Cursor).execute(INSERT), 0),
    "cursor of another class": (lambda db: _driver(db).cursor(_Named).execute(INSERT), 0),
    "with connection": (_sqlite_context, 1),
    "blob": (_blob, 1),
    "connection": (lambda db: _driver(db).execute(INSERT), 0),
    "pydal": (lambda db: db.define_table("t", migrate=False).insert(id=1), 0),
    "foreign keys off": (lambda db: (db.executesql("PRAGMA foreign_keys = OFF"), db.executesql(INSERT)), 0),
    "vacuum": (lambda db: (db.executesql(INSERT), db.commit(), db.executesql("VACUUM")), 1),
    "close, and again": (lambda db: (db.executesql(INSERT), db.close(), db.executesql("SELECT 1")), 1),
    "savepoint": (lambda db: (db.executesql("SAVEPOINT s"), db.executesql(INSERT), db.executesql("RELEASE s")), 0),
}  # fmt: skip


@pytest.mark.parametrize("way", SQLITE)
def test_a_way_to_work_on_sqlite(way: str, sqlite_uri: str) -> None:
    body, commits = SQLITE[way]
    _applied_once(sqlite_uri, body, commits)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "way", [way for way, (_, commits) in POSTGRES.items() if not commits and way != "commit and begin"]
)
def test_what_was_not_committed_is_rolled_back_on_postgres(way: str, postgres_uri: str) -> None:
    _rolled_back(postgres_uri, POSTGRES[way][0])


@pytest.mark.parametrize("way", [way for way, (_, commits) in SQLITE.items() if not commits])
def test_what_was_not_committed_is_rolled_back_on_sqlite(way: str, sqlite_uri: str) -> None:
    _rolled_back(sqlite_uri, SQLITE[way][0])


def _rolled_back(uri: str, body: Callable[[Any], object]) -> None:
    stand = Stand(uri)

    def table_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        return True

    def way_2(db: Any) -> bool:
        body(db)
        return False

    results = stand.run(table_1, way_2).results
    assert (results[1].outcome, results[1].commits) == (Outcome.REFUSED, 0)
    assert _rows(uri) == 0


def _applied_once(uri: str, body: Callable[[Any], object], commits: int) -> None:
    stand = Stand(uri)

    def table_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        return True

    def way_2(db: Any) -> bool:
        body(db)
        return True

    finished = stand.run(table_1, way_2)
    assert finished.succeeded, finished.results
    assert _rows(uri) == 1
    assert stand.history().attempts[-1].commits == commits
    assert stand.run(table_1, way_2).results == ()


@pytest.mark.parametrize("end", ["commit", "close"])
def test_a_failure_after_an_own_commit_keeps_what_was_committed_and_counts_it(end: str, database_uri: str) -> None:
    stand = Stand(database_uri)

    def half_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        db.executesql(INSERT)
        getattr(db, end)()
        db.executesql(INSERT)
        return False

    (result,) = stand.run(half_1).results
    assert (result.outcome, result.commits) == (Outcome.REFUSED, 1)
    assert _rows(database_uri) == 1


def test_in_single_mode_commits_are_savepoints(database_uri: str) -> None:
    stand = Stand(database_uri)

    def single_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        db.commit()
        db.executesql(INSERT)
        db.rollback()
        db.executesql(INSERT)
        db.commit()
        raise ValueError("oops")

    (result,) = stand.run(single_1, modes={"single_1": "single"}).results
    assert (result.outcome, result.commits) == (Outcome.RAISED, 0)
    assert stand.history().attempts[-1].commits == 0

    def single_2(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        db.commit()
        db.executesql(INSERT)
        db.commit()
        db.executesql(INSERT)
        db.rollback()
        return True

    assert stand.run(single_2, modes={"single_2": "single"}).succeeded
    assert _rows(database_uri) == 1
    assert stand.history().attempts[-1].commits == 0


def test_work_that_is_lost_is_no_success(database_uri: str) -> None:
    """The driver's connection is closed with an open transaction, and pyDAL opens another."""
    stand = Stand(database_uri)

    def lost_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        _driver(db).close()
        db.close()
        db.executesql("SELECT 1")
        return True

    (result,) = stand.run(lost_1).results
    assert result.outcome is Outcome.RAISED
    assert stand.history().applied == frozenset()


def test_a_migration_prints_and_reports(database_uri: str) -> None:
    from migrate_graph.authoring import progress
    from migrate_graph.core.events import Printed, StepProgress

    stand = Stand(database_uri)

    def talks_1(db: Any) -> bool:
        say("half a ", end="")
        say("line")
        progress(1, 2, "rows")
        say("the end", end="")
        return True

    assert stand.run(talks_1).succeeded
    assert [event.text for event in stand.told(Printed)] == ["half a line", "the end"]
    assert [event.done for event in stand.told(StepProgress)] == [1]


def test_an_observer_that_cannot_write_stops_nothing(database_uri: str) -> None:
    stand = Stand(database_uri)

    class Closed(list):  # type: ignore[type-arg] # of events
        def append(self, event: object) -> None:
            if not isinstance(event, LockAcquired):  # of the lock, before the run
                raise BrokenPipeError

    def one_1(db: Any) -> bool:
        say("nobody reads this")
        return True

    stand.events = Closed()
    assert stand.run(one_1).succeeded


def test_paths_are_as_pydal_has_them(tmp_path: Path) -> None:
    from migrate_graph.database.sqlite.backend import resolve_path

    assert resolve_path("sqlite://x.db", tmp_path) == (tmp_path / "x.db").resolve()
    assert resolve_path(f"sqlite://{tmp_path}/x.db", None) == (tmp_path / "x.db").resolve()
