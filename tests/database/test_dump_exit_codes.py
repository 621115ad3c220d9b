"""Every bad backup, cache and flag from the outside: the exit code, and the database as it was."""

from __future__ import annotations

import gzip
import lzma
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from servers import postgres_binaries
from user_project import Project

from migrate_graph import Config, console_hook
from migrate_graph.errors import ExitCode
from migrate_graph.redis_cache import flush

LEDGER = (
    "CREATE TABLE ewh_implemented_features (id serial, name text, installed char(1), last_update_dttm timestamp);\n"
)
WHOLE = LEDGER + "CREATE TABLE customer (id int);\n" + "INSERT INTO customer VALUES (1);\n" * 200
HEADER = "--\n-- PostgreSQL database dump\n--\n"
COPY = "COPY customer (id) FROM stdin;\n1\n2\n"
BOMB = b"-- " + b"x" * (1 << 20) + b"\n"


def packed(name: str, data: bytes, keep: float = 1.0) -> Callable[[Path], Path]:
    def write(directory: Path) -> Path:
        path = directory / name
        path.write_bytes(data[: int(len(data) * keep)])
        return path

    return write


def a_directory(directory: Path) -> Path:
    (directory / "b.sql").mkdir()
    return directory / "b.sql"


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated gz": (packed("b.sql.gz", gzip.compress(WHOLE.encode()), 0.9), "damaged or cut off"),
    "truncated xz": (packed("b.sql.xz", lzma.compress(WHOLE.encode()), 0.9), "damaged or cut off"),
    "syntax error in the middle": (packed("b.sql", (WHOLE + "SELEC 1;\n" + WHOLE).encode()), "rror"),
    "an HTML page": (packed("b.sql", b"<!DOCTYPE html><html>not found</html>"), "HTML page"),
    "a gzip bomb": (packed("b.sql.gz", gzip.compress(BOMB * 20)), "restore_size_limit"),
    "without the ledger": (packed("b.sql", b"CREATE TABLE customer (id int);\n"), "holds no table"),
    "a directory": (a_directory, "is a directory"),
    "absent": (lambda directory: directory / "absent.sql", "does not exist"),
    "empty": (packed("b.sql", b""), "is empty"),
    "unknown extension": (packed("b.7z", b"7z"), "unknown extension"),
}
BAD_FOR_POSTGRES = {
    "cut inside COPY": (packed("b.sql", (LEDGER + COPY).encode()), "inside the data of a COPY"),
    "cut at a statement's end": (packed("b.sql", (HEADER + LEDGER).encode()), "dump complete"),
    "a psql command": (packed("b.sql", (WHOLE + "\\! touch witness\n").encode()), "restore_trusted"),
    "a commit of its own": (packed("b.sql", (LEDGER + "COMMIT AND CHAIN;\nSELEC;\n").encode()), "one transaction"),
}
BAD_FOR_SQLITE = {
    "cut inside its transaction": (packed("b.sql", ("BEGIN;\n" + LEDGER).encode()), "cut off"),
    "a sqlite3 command": (packed("b.sql", (WHOLE + ".shell touch witness\n").encode()), "command of sqlite3"),
}


def relations(uri: str) -> list[str]:
    if uri.startswith("sqlite"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite://"))) as database:
            return [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'"
        )
        return [name for (name,) in cursor.fetchall()]


def prepare(project: Project, uri: str, **settings: object) -> None:
    project.env["MIGRATE_URI"] = uri
    project.env["PATH"] = f"{postgres_binaries()}{os.pathsep}{os.defpath}"
    project.env |= {name.upper(): str(value) for name, value in settings.items()}
    project.write("migrations.py", """
        from edwh_migrate import migration

        @migration
        def first(db):
            db.executesql("CREATE TABLE first (id int)")
            return True
    """)  # fmt: skip


@pytest.fixture
def refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Path, str], None]:
    """Run what `migrate` runs, in this process for the sake of speed, and expect the backup to be refused."""

    def run(uri: str, backup: Path, said: str) -> None:
        prepare(project, uri)
        monkeypatch.chdir(project.path)
        monkeypatch.setenv("PATH", project.env["PATH"])
        config = Config.load({"migrate_uri": uri, "database_to_restore": str(backup), "restore_size_limit": 10_000_000})
        code = console_hook([], config=config)
        told = capsys.readouterr().err
        assert code == ExitCode.RESTORE, told
        assert said in told
        assert "Traceback" not in told
        assert relations(uri) == []
        assert not (project.path / "witness").exists()

    return run


Refused = Callable[[str, Path, str], None]


@pytest.mark.parametrize("name", BAD)
def test_d09_a_bad_backup_leaves_the_database_as_it_was(
    refused: Refused, database_uri: str, tmp_path: Path, name: str
) -> None:
    make, said = BAD[name]
    refused(database_uri, make(tmp_path), said)


@pytest.mark.postgres
@pytest.mark.parametrize("name", BAD_FOR_POSTGRES)
def test_d09_a_bad_backup_of_postgres(refused: Refused, postgres_uri: str, tmp_path: Path, name: str) -> None:
    make, said = BAD_FOR_POSTGRES[name]
    refused(postgres_uri, make(tmp_path), said)


@pytest.mark.parametrize("name", BAD_FOR_SQLITE)
def test_d09_a_bad_backup_of_sqlite(refused: Refused, sqlite_uri: str, tmp_path: Path, name: str) -> None:
    make, said = BAD_FOR_SQLITE[name]
    refused(sqlite_uri, make(tmp_path), said)


TRAILER = "--\n-- PostgreSQL database dump complete\n--\n"
HINTS = {
    "the comment of an extension": (
        HEADER
        + "CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;\nCOMMENT ON EXTENSION plpgsql IS 'PL';\n"
        + WHOLE
        + TRAILER,
        "dump again with --no-comments",
    ),
    "--clean alone": (
        HEADER + "ALTER TABLE ONLY public.item DROP CONSTRAINT item_pkey;\nDROP TABLE public.item;\n" + WHOLE + TRAILER,
        "--clean --if-exists",
    ),
    "a trailer that somebody removed": (HEADER + WHOLE, "remove the line '-- PostgreSQL database dump'"),
}


@pytest.mark.postgres
@pytest.mark.parametrize("name", HINTS)
def test_a_refusal_tells_the_next_command(project: Project, postgres_uri: str, tmp_path: Path, name: str) -> None:
    text, hint = HINTS[name]
    (tmp_path / "b.sql").write_text(text)
    prepare(project, postgres_uri, database_to_restore=tmp_path / "b.sql")
    done = project.migrate("apply")
    assert done.returncode == ExitCode.RESTORE
    assert hint in done.stderr
    assert relations(postgres_uri) == []


@pytest.mark.postgres
def test_a_dump_with_a_pasted_header_is_restored(project: Project, postgres_uri: str, tmp_path: Path) -> None:
    (tmp_path / "b.sql").write_text(
        f"-- Towns, by hand.\nBEGIN;\nCREATE TABLE town (id int);\n{HEADER}{WHOLE}COMMIT;\n"
    )
    prepare(project, postgres_uri, database_to_restore=tmp_path / "b.sql")
    done = project.migrate("apply")
    assert done.returncode == 0, done.stderr
    assert {"town", "customer", "first"} <= set(relations(postgres_uri))


def test_d26_a_stale_sibling_is_not_restored(project: Project, database_uri: str, tmp_path: Path) -> None:
    (tmp_path / "b.sql").write_text("this is stale and no SQL at all")
    (tmp_path / "b.sql.gz").write_bytes(gzip.compress((WHOLE + "CREATE TABLE newest (id int);").encode()))
    prepare(project, database_uri, database_to_restore=tmp_path / "b.sql.gz")
    done = project.migrate()
    assert done.returncode == 0, done.stderr
    assert {"newest", "first"} <= set(relations(database_uri))


def test_d08_a_table_of_another_name_is_no_reason_to_restore(
    project: Project, database_uri: str, tmp_path: Path
) -> None:
    (tmp_path / "b.sql").write_text(WHOLE)
    prepare(project, database_uri, database_to_restore=tmp_path / "b.sql")
    assert project.migrate().returncode == 0
    before = sorted(relations(database_uri))
    done = project.migrate(env={"MIGRATE_TABLE": "typo"})
    assert done.returncode == ExitCode.RESTORE
    assert "is not empty" in done.stderr
    assert sorted(relations(database_uri)) == before


def test_migrate_restore(project: Project, database_uri: str, tmp_path: Path) -> None:
    prepare(project, database_uri)
    backup = tmp_path / "by hand.sql"
    backup.write_text(WHOLE)
    done = project.migrate("restore", str(backup))
    assert done.returncode == 0, done.stderr
    assert "customer" in relations(database_uri)
    assert "first" not in relations(database_uri)
    assert project.migrate("restore", str(backup)).returncode == ExitCode.RESTORE


@pytest.mark.postgres
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_restore_leaves_nothing_behind(
    project: Project, postgres_uri: str, tmp_path: Path, how: signal.Signals
) -> None:
    (tmp_path / "b.sql").write_text(WHOLE + "SELECT pg_sleep(120);\n")
    prepare(project, postgres_uri, database_to_restore=tmp_path / "b.sql")
    process = subprocess.Popen(
        [sys.executable, "-m", "migrate_graph"], cwd=project.path, env=project.env, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(postgres_uri, "query LIKE '%pg_sleep(120)%' AND pid <> pg_backend_pid()", there=True)
        process.send_signal(how)
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == ExitCode.SIGNAL + how, said
    assert "Traceback" not in said
    wait_for(postgres_uri, "query LIKE '%pg_sleep(120)%' AND pid <> pg_backend_pid()", there=False)
    assert relations(postgres_uri) == []


@pytest.mark.postgres
def test_after_a_kill_the_next_runner_waits_for_what_the_server_still_does(
    project: Project, postgres_uri: str, tmp_path: Path
) -> None:
    (tmp_path / "b.sql").write_text(WHOLE + "SELECT pg_sleep(4);\nINSERT INTO customer VALUES (77);\n")
    prepare(project, postgres_uri, database_to_restore=tmp_path / "b.sql")
    process = subprocess.Popen([sys.executable, "-m", "migrate_graph"], cwd=project.path, env=project.env)
    try:
        wait_for(postgres_uri, "query LIKE '%pg_sleep(4)%' AND pid <> pg_backend_pid()", there=True)
    finally:
        process.kill()
        process.wait()
    done = project.migrate()
    assert done.returncode == 0, done.stderr
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), sum((id = 77)::int) FROM customer")
        assert cursor.fetchone() == (201, 1)


def wait_for(uri: str, condition: str, *, there: bool) -> None:
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for _ in range(600):
            cursor.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {condition}")
            if bool(cursor.fetchall()) == there:
                return
            time.sleep(0.1)
    pytest.fail(f"{condition} is {'not ' if there else ''}so")


def test_an_empty_setting_means_no_backup(project: Project, sqlite_uri: str) -> None:
    prepare(project, sqlite_uri, database_to_restore="")
    assert project.migrate().returncode == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"schema_version": ""},
        {"schema_version": "../x"},
        {"schema_version": "x" * 300},
        {"schema_version": "v1", "flag_location": "/proc/self"},
        {"schema_version": "v1", "flag_location": "migrations.py"},
        {"schema_version": "v1", "flag_location": "absent"},
        {"redis_host": "http://cache"},
    ],
)
def test_d12_settings_that_cannot_work_run_nothing(project: Project, sqlite_uri: str, settings: dict[str, str]) -> None:
    prepare(project, sqlite_uri, **settings)
    done = project.migrate()
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert not Path(sqlite_uri.removeprefix("sqlite://")).exists()


def test_d13_a_cache_that_hangs_costs_seconds_and_no_migration(
    project: Project, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(project, sqlite_uri)
    monkeypatch.chdir(project.path)
    monkeypatch.setitem(flush.__kwdefaults__, "timeout", 0.2)
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [held.append(server.accept()[0]) for _ in range(3)], daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        code = console_hook([], config=Config.load({"migrate_uri": sqlite_uri, "redis_host": address}))
    for connection in held:
        connection.close()
    assert code == ExitCode.PENDING_TASK
    assert "could not be flushed" in capsys.readouterr().err
    assert "first" in relations(sqlite_uri)
