"""What the bookkeeping does when the SQLite file underneath does not play along."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from migrate_graph.database import Settings, open_backend
from migrate_graph.database.sqlite.backend import SqliteBackend
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable


@pytest.fixture
def backend(sqlite_uri: str) -> Iterator[SqliteBackend]:
    with open_backend(Settings(sqlite_uri, lock_timeout=0.1), writing=True) as opened:
        assert isinstance(opened, SqliteBackend)
        opened.prepare()
        yield opened


def test_what_was_opened_is_closed_when_connecting_fails(tmp_path: Path) -> None:
    file = tmp_path / "no.sqlite"
    file.write_text("this is a text, not a database; " * 40)
    with (
        pytest.raises(DatabaseUnreachable, match="not an SQLite database") as caught,
        open_backend(Settings(f"sqlite://{file}")),
    ):
        pass
    still_open = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed by another thread since it was listed
            still_open.append(str(each.readlink()))
    assert caught.value.hint
    assert str(file) not in still_open


def test_a_rollback_that_sqlite_has_done_already_does_not_hide_why(backend: SqliteBackend) -> None:
    def work() -> None:
        with backend.together():
            backend._execute("ROLLBACK")  # as SQLite does by itself when the disk is full
            raise DatabaseRefused("the disk is full")

    with pytest.raises(DatabaseRefused, match="disk is full"):
        work()


def test_books_can_be_kept_again_after_a_commit_that_was_refused(backend: SqliteBackend) -> None:
    with closing(sqlite3.connect(backend.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM ewh_implemented_features").fetchall()  # a commit must wait for this reader
        with pytest.raises(DatabaseUnreachable, match="locked by another program"):
            backend.mark(["one"], installed=True, reason="", run="r")
    backend.mark(["two"], installed=True, reason="", run="r")
    assert backend.read_history().applied == {"two"}


def test_a_damaged_table_is_an_error_with_a_hint(backend: SqliteBackend, sqlite_uri: str) -> None:
    (page,) = backend._execute("SELECT rootpage FROM sqlite_master WHERE name = 'ewh_implemented_features'")[0]
    ((size,),) = backend._execute("PRAGMA page_size")
    backend.close()
    with backend.path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with open_backend(Settings(sqlite_uri)) as damaged, pytest.raises(DatabaseUnreachable, match="is damaged"):
        damaged.read_history()


def test_a_ledger_in_another_case_is_the_ledger(sqlite_uri: str) -> None:
    with open_backend(Settings(sqlite_uri), writing=True) as backend:
        backend._execute(
            "CREATE TABLE EWH_Implemented_Features (ID INTEGER PRIMARY KEY, Name, Installed, Last_Update_Dttm)"
        )
        backend._execute("INSERT INTO EWH_Implemented_Features (Name, Installed) VALUES ('one', 'T')")
        backend.prepare()
        assert backend.read_history().applied == {"one"}


@pytest.mark.parametrize("columns", ["id INTEGER PRIMARY KEY, name, installed", "id INTEGER PRIMARY KEY, name"])
def test_a_ledger_without_a_column_is_no_matter_of_rights(sqlite_uri: str, columns: str) -> None:
    with open_backend(Settings(sqlite_uri), writing=True) as backend:
        backend._execute(f"CREATE TABLE ewh_implemented_features ({columns})")
        with pytest.raises(DatabaseUnreachable, match="no such column") as caught:
            backend.read_history()
    assert ".schema shows" in str(caught.value.hint)
