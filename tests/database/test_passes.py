"""A failure that is no fault of a migration's text: it is to run again, and nothing of it is to be corrected."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from stand import Stand

from migrate_graph.cli.run_text import summary
from migrate_graph.core.events import Outcome, RunFinished
from migrate_graph.database.postgres.session.held_lock import RUN_CLASS, lock_key
from migrate_graph.errors import LockTimeout


class _Plain:
    def paint(self, text: str, _: str) -> str:
        return text

    def lines(self, text: str, *, head: str = "", **_: object) -> list[str]:
        return [f"{head}{text}"]


def following(finished: RunFinished) -> str:
    """Return what the summary says that is to be typed."""
    (result,) = finished.results
    assert result.outcome is Outcome.RAISED
    return [*summary(finished, _Plain())][-1]  # type: ignore[arg-type] # as far as it is used


def raising(raises: Callable[[Any], object]) -> Callable[[Any], bool]:
    def fails_1(db: Any) -> bool:
        raises(db)
        return True

    return fails_1


def _throws(error: Exception) -> Callable[[Any], object]:
    def throws(_: Any) -> None:
        raise error

    return throws


LACKING = [
    MemoryError(),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENFILE, "Too many open files in system"),
    OSError(errno.ENOSPC, "No space left on device", "/tmp/x"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("error", LACKING, ids=str)
def test_what_the_machine_lacks(error: Exception, database_uri: str) -> None:
    assert (
        following(Stand(database_uri).run(raising(_throws(error)))) == "next: migrate apply, when there is room for it"
    )


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), OSError(errno.ENOENT, "No such file", "x"), RuntimeError("no"), KeyError("start")],
    ids=str,
)
def test_an_error_of_the_text_is_to_be_corrected(error: Exception, database_uri: str) -> None:
    assert following(Stand(database_uri).run(raising(_throws(error)))).startswith("next: correct fails_1 at ")


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("code", "when"),
    [
        ("55P03", ", when nobody holds what it waited for"),
        ("40P01", ", as it is"),
        ("40001", ", as it is"),
        ("57014", ", as it is"),
        ("25006", ", when the database can be written to"),
        ("53100", ", when there is room for it"),
        ("53200", ", when there is room for it"),
        ("53300", ", when there is room for it"),
        ("58030", ", when the server's disk can be read and written"),
        ("08006", ""),
        ("23505", ""),
        ("42P01", ""),
        ("58P01", ""),
    ],
)
def test_what_the_server_says(code: str, when: str, postgres_uri: str) -> None:
    """The server itself says it, by its SQLSTATE; a connection that is not gone cannot be what is lost."""
    statement = f"DO $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END$$"
    told = following(Stand(postgres_uri).run(raising(lambda db: db.executesql(statement)), tries=1))
    assert told == f"next: migrate apply{when}" if when else told.startswith("next: correct fails_1 at ")


@pytest.mark.parametrize(
    ("code", "when"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "when nobody holds what it waited for"),
        (sqlite3.SQLITE_LOCKED, "when nobody holds what it waited for"),
        (sqlite3.SQLITE_INTERRUPT, "as it is"),
        (sqlite3.SQLITE_FULL, "when there is room for it"),
        (sqlite3.SQLITE_NOMEM, "when there is room for it"),
        (sqlite3.SQLITE_IOERR_WRITE, "when the file can be read and written"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "when the database can be written to"),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, ""),
        (sqlite3.SQLITE_ERROR, ""),
    ],
)
def test_what_sqlite_says(code: int, when: str, sqlite_uri: str) -> None:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    told = following(Stand(sqlite_uri).run(raising(_throws(error)), tries=1))
    assert told == f"next: migrate apply, {when}" if when else told.startswith("next: correct fails_1 at ")


@pytest.mark.postgres
def test_a_lock_that_somebody_holds(postgres_uri: str) -> None:
    """He is named, and he is what is waited for."""
    stand = Stand(postgres_uri, lock_timeout=1.5)
    with closing(psycopg2.connect(postgres_uri)) as other, other.cursor() as cursor:
        cursor.execute("CREATE TABLE held (id integer)")
        other.commit()
        cursor.execute("LOCK TABLE held")
        finished = stand.run(raising(lambda db: db.executesql("DROP TABLE held")), tries=1)
        other.rollback()
    assert following(finished) == "next: migrate apply, when nobody holds what it waited for"
    assert "it was waiting for a lock held by pid" in finished.results[0].error
    assert stand.run(raising(lambda db: db.executesql("DROP TABLE held"))).succeeded


@pytest.mark.postgres
@pytest.mark.parametrize("holds", ["LOCK TABLE held", "INSERT INTO held VALUES (1)"])
def test_a_lock_that_a_prepared_transaction_holds(postgres_uri: str, holds: str) -> None:
    """It has no session that could be found or ended: its name is what is needed."""
    with closing(psycopg2.connect(postgres_uri)) as other, other.cursor() as cursor:
        other.autocommit = True
        cursor.execute("CREATE TABLE held (id integer)")
        cursor.execute(f"BEGIN; {holds}; PREPARE TRANSACTION 'it''s'")
        finished = Stand(postgres_uri, lock_timeout=1.5).run(
            raising(lambda db: db.executesql("DROP TABLE held")), tries=1
        )
        cursor.execute("ROLLBACK PREPARED 'it''s'")
    held_by = r"""it was waiting for a lock held by the prepared transaction "it's" \(role \w+, since [^)]+\), which COMMIT PREPARED or"""
    assert re.search(held_by, finished.results[0].error)


@pytest.mark.postgres
def test_a_prepared_transaction_that_holds_our_lock(postgres_uri: str) -> None:
    """What ends it is the statement that the hint tells."""
    stand = Stand(postgres_uri)
    assert stand.run(raising(lambda _db: None)).succeeded
    with closing(psycopg2.connect(postgres_uri)) as other, other.cursor() as cursor:
        other.autocommit = True
        key = lock_key("public", "ewh_implemented_features")
        cursor.execute(f"BEGIN; SELECT pg_advisory_xact_lock({RUN_CLASS}, {key}); PREPARE TRANSACTION 'o''s'")
        with pytest.raises(LockTimeout, match=r"held by a prepared transaction, role \w+, o's, since") as refused:
            stand.run(raising(lambda _db: None))
        statement = refused.value.hint.rpartition("to end it: ")[2]
        assert statement == "ROLLBACK PREPARED 'o''s'"
        cursor.execute(statement)
    assert stand.run(raising(lambda _db: None)).succeeded


@pytest.mark.postgres
def test_a_lock_that_the_body_itself_holds_is_to_be_corrected(postgres_uri: str) -> None:
    def in_its_own_way(db: Any) -> None:
        db.executesql("CREATE TABLE held (id integer)")
        db.commit()
        db.executesql("LOCK TABLE held")
        with closing(psycopg2.connect(postgres_uri, options="-c lock_timeout=2000")) as own, own.cursor() as cursor:
            cursor.execute("DROP TABLE held")

    told = following(Stand(postgres_uri).run(raising(in_its_own_way), tries=1))
    assert told.startswith("next: correct fails_1 at ")
