"""Restoring a dump into SQLite: all of it or nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from user_project import Project, clean_environment

from migrate_graph.core.events import Event, RestoreFinished, RestoreStarted
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.backup.dump import verify
from migrate_graph.database.sqlite import restore as restore_module
from migrate_graph.database.sqlite.leftovers import remove_leftovers
from migrate_graph.database.sqlite.restore import restore_sqlite
from migrate_graph.errors import ExitCode, RestoreError

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


def test_a_damaged_database_is_not_copied(tmp_path: Path) -> None:
    """A trusted dump may write the schema itself, and so make a column forbid what stands in it."""
    damage = (
        "CREATE TABLE a (x);\nINSERT INTO a VALUES (NULL);\nPRAGMA writable_schema = ON;\n"
        "UPDATE sqlite_master SET sql = 'CREATE TABLE a (x NOT NULL)' WHERE name = 'a';\nPRAGMA writable_schema = RESET;\n"
    )
    with pytest.raises(RestoreError, match=r"makes a damaged database: NULL value in a.x"):
        restore(tmp_path, BODY + damage, tmp_path / "db.sqlite", trusted=True)
    assert left_behind(tmp_path) == []


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


def test_a_reader_that_does_not_go_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrate_graph.database.sqlite.restore._BUSY_WAIT", 0.2)
    target = tmp_path / "db.sqlite"
    with closing(sqlite3.connect(target, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 42")
        database.execute("BEGIN")
        database.execute("SELECT * FROM sqlite_master").fetchall()
        with pytest.raises(RestoreError, match="locked"):
            restore(tmp_path, BODY, target)
    assert ask(target, "PRAGMA user_version") == [(42,)]


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


# -- an untrusted dump may only fill its database -----------------------------------------------------------------------------

HOSTILE = {
    "load_extension": "SELECT load_extension('/tmp/evil');",
    "fts3_tokenizer": "SELECT fts3_tokenizer('simple');",
    "the log of SQLite": "SELECT sqlite_log(1, 'x');",
    "fts3_tokenizer in a view that is read": "CREATE VIEW v AS SELECT fts3_tokenizer('x');\nINSERT INTO customer (name) SELECT * FROM v;",
    "the schema itself": "PRAGMA writable_schema = ON;",
    "a file": "ATTACH 'other.db' AS o;",
    "a copy": "VACUUM INTO 'other.db';",
    "another journal": "PRAGMA journal_mode = WAL;",
    "another page size": "PRAGMA page_size = 512;",
    "a directory": "PRAGMA temp_store_directory = '/tmp';",
    "memory mapping": "PRAGMA mmap_size = 1000000;",
    "more pages": "PRAGMA max_page_count = 1000000000;",
    "trust": "PRAGMA trusted_schema = ON;",
    "a temporary trigger": "CREATE TEMP TRIGGER x AFTER INSERT ON customer BEGIN SELECT 1; END;",
    "a module": "CREATE VIRTUAL TABLE x USING dbstat(main);",
    "the schema by a statement": "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (a)');",
    "sorting in memory": "PRAGMA temp_store = MEMORY;",
    "sorting in memory, by number": "PRAGMA main.temp_store(2);",
    "a large cache": "PRAGMA cache_size = -9999999;",
    "a large cache in pages": "PRAGMA cache_size = '999999';",
    "a cache that never spills": "PRAGMA cache_spill = OFF;",
    "a value that is too large": "INSERT INTO customer (name) VALUES (zeroblob(400000000));",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_dump_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RestoreError, match=r"line (10[34]|53|54)") as caught:
        restore(tmp_path, BODY + HOSTILE[name], tmp_path / "db")
    assert caught.value.hint
    assert not (tmp_path / "db").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.sql"]


def test_a_dump_that_outgrows_its_text_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate_graph.database.sqlite.restore._ALWAYS_ALLOWED", 1 << 20)
    long = "INSERT INTO customer (name) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000) SELECT n FROM c;"
    with pytest.raises(RestoreError, match="full"):
        restore(tmp_path, BODY + long, tmp_path / "db")
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python older than 3.12 cannot set SQLITE_DBCONFIG_DEFENSIVE")
def test_the_database_is_defensive(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        dump = tmp_path / "b.sql"
        dump.write_text(BODY)
        restore_module._harden(database, verify(dump, kind="sqlite"), [])
        assert database.getconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE)


def test_what_dumps_do_is_allowed(tmp_path: Path) -> None:
    text = BODY + (
        "PRAGMA temp_store=0;\nPRAGMA cache_size = -2000;\nPRAGMA cache_size;\n"
        "PRAGMA foreign_keys=OFF;\nPRAGMA encoding = 'UTF-8';\nPRAGMA user_version = 7;\nPRAGMA application_id = 9;\n"
        "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT DEFAULT (datetime('now')), j TEXT CHECK (json_valid(j)));\n"
        "DELETE FROM sqlite_sequence;\nINSERT INTO sqlite_sequence VALUES ('a', 41);\nINSERT INTO a (j) VALUES ('{}');\n"
        "ANALYZE sqlite_schema;\nCREATE INDEX i ON a (lower(at)) WHERE id > 0;\nALTER TABLE a ADD COLUMN z;\n"
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM customer WHERE id = random(); END;\n"
        "CREATE VIEW v AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9) SELECT n FROM c;\n"
        "CREATE VIRTUAL TABLE f USING fts5(x);\nINSERT INTO f VALUES ('some words');\n"
        "CREATE VIRTUAL TABLE g USING fts4(x);\nINSERT INTO g VALUES ('some words');\n"
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);\nDROP TABLE IF EXISTS no_such_table;\nREINDEX;\nSAVEPOINT s;\nRELEASE s;\n"
    )
    restore(tmp_path, text, tmp_path / "db")
    assert ask(tmp_path / "db", "PRAGMA user_version") == [(7,)]
    assert ask(tmp_path / "db", "SELECT id FROM a") == [(42,)]
    assert ask(tmp_path / "db", "SELECT count(*) FROM f WHERE f MATCH 'words'") == [(1,)]


def test_a_database_that_is_filled_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = restore_module._judge

    def judge_and_fill(*arguments: Any) -> None:
        original(*arguments)
        with closing(sqlite3.connect(tmp_path / "db")) as other:
            other.execute("CREATE TABLE of_somebody_else (x)")

    monkeypatch.setattr(restore_module, "_judge", judge_and_fill)
    with pytest.raises(RestoreError, match=r"is not empty \(1 relation, e\.g\. of_somebody_else\)") as caught:
        restore(tmp_path, BODY, tmp_path / "db")
    assert "migrate baseline" in caught.value.hint
    assert ask(tmp_path / "db", "SELECT name FROM sqlite_master") == [("of_somebody_else",)]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_that_changes_between_the_proof_and_the_copy_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        original = restore_module._state
        filled: list[Path] = []

        def state_and_fill(path: Path) -> bytes:
            state = original(path)
            if not filled:
                filled.append(path)
                other.execute("CREATE TABLE of_somebody_else (x)")
                other.commit()
            return state

        monkeypatch.setattr(restore_module, "_state", state_and_fill)
        monkeypatch.setattr(restore_module, "USER_RELATIONS", "SELECT 'x' WHERE false")
        with pytest.raises(RestoreError, match="was changed by another program"):
            restore(tmp_path, BODY, tmp_path / "db")
    assert ask(tmp_path / "db", "SELECT name FROM sqlite_master") == [("of_somebody_else",)]


def test_what_killed_restores_left_is_removed_by_the_next_run_under_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom migrate_graph.database.backup.dump import verify\n"
        "from migrate_graph.database.sqlite import restore\n"
        "restore._judge = lambda *_: os._exit(9)\n"
        "restore.restore_sqlite(verify(Path(sys.argv[1]), kind='sqlite'), Path(sys.argv[2]), table='t', observer=lambda _: None)\n"
    )
    (tmp_path / "b.sql").write_text(BODY)
    for database in (path, tmp_path / "other.db"):
        done = subprocess.run([sys.executable, "-c", program, tmp_path / "b.sql", database], check=False)
        assert done.returncode == 9
    assert [name.partition("-restore-")[0] for name in left_behind(tmp_path)] == [
        ".app.db.migrate",
        ".other.db.migrate",
    ]
    outside = tmp_path / "precious"
    outside.mkdir()
    (tmp_path / ".app.db.migrate-restore-link").symlink_to(outside)
    with open_backend(Settings(f"sqlite://{path}"), writing=True) as backend:
        assert len(left_behind(tmp_path)) == 3  # without the lock another may be at work
        with backend.lock(5, lambda _: None):
            assert [name.partition("-2")[0] for name in left_behind(tmp_path)] == [
                ".app.db.migrate-restore-link",
                ".other.db.migrate-restore",
            ]
    assert outside.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_what_another_user_left_is_his(tmp_path: Path) -> None:
    his = tmp_path / ".app.db.migrate-restore-his"
    his.mkdir()
    os.chown(his, 65534, 65534)
    remove_leftovers(tmp_path / "app.db")
    assert his.is_dir()
    os.chown(his, 0, 0)
    remove_leftovers(tmp_path / "app.db")
    assert not his.exists()


def test_an_endless_statement_hears_a_signal(tmp_path: Path, project: Project) -> None:
    (tmp_path / "b.sql").write_text(
        LEDGER
        + "SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c);\n"
    )
    project.env |= {"MIGRATE_URI": f"sqlite://{tmp_path / 'db'}", "DATABASE_TO_RESTORE": str(tmp_path / "b.sql")}
    project.write("migrations.py", "")
    process = subprocess.Popen(
        [sys.executable, "-m", "migrate_graph", "restore"],
        cwd=project.path,
        env=clean_environment(tmp_path, project.env),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not left_behind(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)  # into the statement; a signal before it is heard as well
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == ExitCode.SIGNAL + signal.SIGTERM, said
    assert "Traceback" not in said
    assert left_behind(tmp_path) == []
    assert not (tmp_path / "db").exists() or ask(tmp_path / "db", "SELECT name FROM sqlite_master") == []
