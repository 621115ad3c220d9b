"""Restoring a dump into SQLite: all of it or nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migrate_graph.core.events import Event, RestoreFinished, RestoreStarted
from migrate_graph.database.backup.dump import verify
from migrate_graph.database.sqlite.restore import restore_sqlite
from migrate_graph.errors import RestoreError

LEDGER = "CREATE TABLE ewh_implemented_features (id INTEGER PRIMARY KEY, name CHAR(512) UNIQUE, installed CHAR(1));\n"
BODY = (
    LEDGER
    + "CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT);\n"
    + "INSERT INTO customer (name) VALUES ('a;\n;b');\n" * 50
)


def restore(
    tmp_path: Path, text: str | bytes, target: Path, *, trusted: bool = False, table: str = "ewh_implemented_features"
) -> list[Event]:
    path = tmp_path / "b.sql"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    events: list[Event] = []
    restore_sqlite(verify(path, kind="sqlite", trusted=trusted), target, table=table, observer=events.append)
    return events


def ask(target: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(target)) as database:
        return database.execute(query).fetchall()


def left_behind(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if "migrate-restore" in path.name)


def test_a_dump_of_sqlite3_comes_back_whole(tmp_path: Path) -> None:
    source = sqlite3.connect(":memory:")
    source.executescript(BODY)
    source.executescript(
        "CREATE TRIGGER t AFTER INSERT ON customer BEGIN UPDATE customer SET name = 'x;'; DELETE FROM customer WHERE id < 0; END;"
        "CREATE VIEW v AS SELECT 'it''s; -- no comment' AS x; INSERT INTO ewh_implemented_features VALUES (1, 'm', 'T');"
        "CREATE TABLE b (x BLOB); INSERT INTO b VALUES (x'00ff');"
    )
    text = "PRAGMA foreign_keys=OFF;\n" + "\n".join(source.iterdump())
    events = restore(tmp_path, text, tmp_path / "db.sqlite")
    assert isinstance(events[0], RestoreStarted)
    assert isinstance(events[-1], RestoreFinished)
    with closing(sqlite3.connect(tmp_path / "db.sqlite")) as restored:
        assert list(restored.iterdump()) == list(source.iterdump())
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BODY + "INSERT INTO nowhere VALUES (1);\n" + BODY, "line 103: no such table: nowhere"),
        (BODY + "INSERT INTO customer (name) VALUES ('cut", "line 103"),
        ("BEGIN TRANSACTION;\n" + BODY, "cut off"),
        ("CREATE TABLE customer (id int);", "holds no table ewh_implemented_features"),
        (".open other.db\n" + BODY, "'.open' is a command of sqlite3"),
        (BODY + ".shell touch witness\n", "'.shell' is a command of sqlite3"),
        (BODY + "ATTACH DATABASE 'other.db' AS o;", "uses another file"),
        (BODY + "VACUUM INTO 'other.db';", "uses another file"),
        (LEDGER.encode() + b"INSERT INTO ewh_implemented_features (name) VALUES ('\xe9');", "not UTF-8"),
    ],
)
def test_d09_what_fails_leaves_the_database_as_it_was(
    tmp_path: Path, text: str | bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for existed in (False, True):
        target = tmp_path / "db.sqlite"
        if existed:
            with closing(sqlite3.connect(target)) as database:
                database.execute("PRAGMA user_version = 42")
        with pytest.raises(RestoreError, match=said):
            restore(tmp_path, text, target)
        assert target.exists() == existed
        assert ask(target, "PRAGMA user_version") == [(42,)] if existed else True
    assert left_behind(tmp_path) == []
    assert not (tmp_path / "other.db").exists()
    assert not (tmp_path / "witness").exists()


def test_a_trusted_dump_may_attach(tmp_path: Path) -> None:
    restore(
        tmp_path, BODY + f"ATTACH DATABASE '{tmp_path / 'other.db'}' AS o; DETACH o;", tmp_path / "db", trusted=True
    )
    assert ask(tmp_path / "db", "SELECT count(*) FROM customer") == [(50,)]


def test_open_connections_a_link_and_wal_survive(tmp_path: Path) -> None:
    """A rename would have left them with the old file, and the new one with the old one's write-ahead log."""
    real = tmp_path / "real.sqlite"
    (tmp_path / "db.sqlite").symlink_to(real)
    with closing(sqlite3.connect(real)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE gone (x)")
        database.execute("DROP TABLE gone")
        restore(tmp_path, BODY, tmp_path / "db.sqlite")
        assert database.execute("SELECT count(*) FROM customer").fetchall() == [(50,)]
    assert (tmp_path / "db.sqlite").is_symlink()
    assert ask(real, "PRAGMA integrity_check") == [("ok",)]


def test_a_locked_database_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate_graph.database.sqlite.restore._BUSY_WAIT", 0.2)
    target = tmp_path / "db.sqlite"
    with closing(sqlite3.connect(target, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RestoreError, match="locked"):
            restore(tmp_path, BODY, target)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RestoreError, match="cannot write beside"):
        restore(tmp_path, BODY, tmp_path / "no" / "db.sqlite")


@pytest.mark.parametrize("table", ["Mixed Case", 'quo"te', "it's; DROP", "ünï"])
def test_hostile_ledger_names(tmp_path: Path, table: str) -> None:
    quoted = '"' + table.replace('"', '""') + '"'
    restore(tmp_path, f"CREATE TABLE {quoted} (id int);", tmp_path / "db.sqlite", table=table)
    with pytest.raises(RestoreError, match="holds no table"):
        restore(tmp_path, f"CREATE VIEW {quoted} AS SELECT 1;", tmp_path / "db2.sqlite", table=table)


def test_code_stored_as_text_is_read_in_linear_time(tmp_path: Path) -> None:
    text = (
        LEDGER
        + "CREATE TABLE code (t TEXT);\nINSERT INTO code VALUES ('"
        + "if (x) { return; }\n;\n" * 200_000
        + "');\n"
    )
    restore(tmp_path, text, tmp_path / "db.sqlite")
    assert ask(tmp_path / "db.sqlite", "SELECT length(t) FROM code") == [(21 * 200_000,)]
