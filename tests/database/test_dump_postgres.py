"""Restoring a dump into a real PostgreSQL: all of it or nothing."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest
from servers import APP_PASSWORD, postgres_binaries

from migrate_graph.core.events import Event, RestoreFinished, RestoreProgress, RestoreStarted, ignore_events
from migrate_graph.database.backup.dump import VerifiedDump, verify
from migrate_graph.database.backup.restore import _knows_restrict, restore_postgres
from migrate_graph.errors import RestoreError

pytestmark = pytest.mark.postgres

LEDGER = "CREATE TABLE ewh_implemented_features (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1));\n"
BODY = LEDGER + "CREATE TABLE customer (id int PRIMARY KEY);\nINSERT INTO customer SELECT generate_series(1, 1000);\n"


def knows_restrict() -> bool:
    found = shutil.which("psql")
    return bool(found) and _knows_restrict(str(found))


@pytest.fixture
def dsn(postgres_uri: str) -> dict[str, str]:
    return psycopg2.extensions.parse_dsn(postgres_uri)


def ask(dsn: dict[str, str], query: str) -> list[tuple[object, ...]]:
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def relations(dsn: dict[str, str]) -> list[str]:
    query = "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_|^inf'"
    return sorted(str(name) for (name,) in ask(dsn, query))


PSQL = str(postgres_binaries() / "psql")


def restore(
    dump: VerifiedDump,
    dsn: dict[str, str],
    *,
    schema: str | None = "public",
    table: str = "ewh_implemented_features",
    observer: Callable[[Event], None] = ignore_events,
    psql: str = PSQL,
) -> None:
    restore_postgres(dump, dsn, schema=schema, table=table, observer=observer, psql=psql)


def pg_dump(dsn: dict[str, str], *arguments: str) -> bytes:
    environment = {"PGHOST": dsn["host"], "PGPORT": dsn["port"], "PGUSER": dsn["user"], "PGPASSWORD": dsn["password"]}
    program = str(postgres_binaries() / "pg_dump")
    return subprocess.run(
        [program, *arguments, dsn["dbname"]],
        check=True,
        capture_output=True,
        env=environment,
    ).stdout


@pytest.fixture
def dumped(dsn: dict[str, str]) -> bytes:
    """A real dump of a database with awkward contents; the database is empty again afterwards."""
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(BODY)
        cursor.execute(
            "CREATE TABLE note (t text); INSERT INTO note VALUES (E'a\\\\b\\n\\\\.\\n\\t; ROLLBACK; \\\\! x'), (NULL), ('é😀');"
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;"
            "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END; $$;"
            "CREATE VIEW v AS SELECT 'ROLLBACK; \\!'::text AS x;"
            "SELECT lo_from_bytea(0, 'large object'); SELECT lo_from_bytea(0, 'another');"
        )
    text = pg_dump(dsn, "--large-objects")
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        )
    return text


def write(path: Path, text: bytes | str) -> Path:
    data = text.encode() if isinstance(text, str) else text
    packed = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(data)
    path.write_bytes(packed)
    return path


@pytest.mark.parametrize("name", ["b.sql", "b.sql.gz", "b.xz", "b.SQL"])
def test_a_dump_of_pg_dump_comes_back_whole(tmp_path: Path, dsn: dict[str, str], dumped: bytes, name: str) -> None:
    restore(verify(write(tmp_path / name, dumped), kind="postgres"), dsn)
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1000,)]
    assert ("a\\b\n\\.\n\t; ROLLBACK; \\! x",) in ask(dsn, "SELECT t FROM note")
    assert ask(dsn, "SELECT f(), (SELECT x FROM v)") == [(2, "ROLLBACK; \\!")]
    # Around large objects pg_dump writes BEGIN and COMMIT of its own: they must not end the transaction of the restore.
    assert b"\nBEGIN;\n" in dumped
    assert ask(dsn, "SELECT count(*) FROM pg_largeobject_metadata") == [(2,)]


def test_inserts_instead_of_copy_and_a_byte_order_mark(tmp_path: Path, dsn: dict[str, str]) -> None:
    rows = "".join(
        f"INSERT INTO ewh_implemented_features (name, installed) VALUES ('m{n}; it''s', 'T');\n" for n in range(500)
    )
    restore(verify(write(tmp_path / "b.sql", "\ufeff" + LEDGER + rows), kind="postgres"), dsn)
    assert ask(dsn, "SELECT count(*) FROM ewh_implemented_features") == [(500,)]


@pytest.mark.parametrize("at", ["inside COPY", "at a statement's end", "inside the ledger's statement"])
def test_d09_a_cut_dump_is_refused_before_anything_is_written(
    tmp_path: Path, dsn: dict[str, str], dumped: bytes, at: str
) -> None:
    place = {
        "inside COPY": dumped.index(b"COPY public.customer") + 60,
        "at a statement's end": dumped.index(b"COPY public.customer"),
        "inside the ledger's statement": dumped.index(b"CREATE TABLE public.ewh") + 30,
    }[at]
    with pytest.raises(RestoreError, match="cannot be restored: line") as caught:
        verify(write(tmp_path / "b.sql", dumped[:place]), kind="postgres")
    assert caught.value.hint
    assert relations(dsn) == []


@pytest.mark.parametrize("name", ["b.sql.gz", "b.xz"])
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_d09_a_truncated_archive_is_refused(tmp_path: Path, dumped: bytes, name: str, keep: float) -> None:
    path = write(tmp_path / name, dumped)
    packed = path.read_bytes()
    path.write_bytes(packed[: int(len(packed) * keep)])
    with pytest.raises(RestoreError, match="damaged or cut off"):
        verify(path, kind="postgres")


def test_d09_an_error_in_the_middle_leaves_nothing_behind(tmp_path: Path, dsn: dict[str, str]) -> None:
    text = BODY + "SELECT no_such_function();\n" + "INSERT INTO customer VALUES (5000);\n" * 20_000
    with pytest.raises(RestoreError, match=r"rolled back.*:4: ERROR:.*no_such_function\(\) does not exist"):
        restore(verify(write(tmp_path / "b.sql", text), kind="postgres"), dsn)
    assert relations(dsn) == []


def test_an_error_at_the_commit_leaves_nothing_behind(tmp_path: Path, dsn: dict[str, str]) -> None:
    text = BODY + (
        "CREATE TABLE o (c int REFERENCES customer DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO o VALUES (99999);\n"
    )
    with pytest.raises(RestoreError, match="foreign key"):
        restore(verify(write(tmp_path / "b.sql", text), kind="postgres"), dsn)
    assert relations(dsn) == []


def test_a_missing_role_is_told_with_what_to_do(tmp_path: Path, dsn: dict[str, str]) -> None:
    with pytest.raises(RestoreError) as caught:
        restore(
            verify(write(tmp_path / "b.sql", BODY + "ALTER TABLE customer OWNER TO nobody_here;"), kind="postgres"), dsn
        )
    assert "--no-owner" in caught.value.hint


@pytest.mark.parametrize("table", ["ewh_implemented_features", "Other Table", 'x"; DROP TABLE customer; --', "'; é"])
def test_a_dump_without_the_ledger_table_is_rolled_back(tmp_path: Path, dsn: dict[str, str], table: str) -> None:
    with pytest.raises(RestoreError, match="holds no table"):
        restore(verify(write(tmp_path / "b.sql", "CREATE TABLE customer (id int);"), kind="postgres"), dsn, table=table)
    assert relations(dsn) == []


@pytest.mark.parametrize("table", ["Mixed Case", 'quo"te', "it's", "ünïcode"])
def test_d26_hostile_names_of_ledger_and_schema(tmp_path: Path, dsn: dict[str, str], table: str) -> None:
    quoted = '"' + table.replace('"', '""') + '"'
    text = f"CREATE SCHEMA {quoted};\nCREATE TABLE {quoted} (id int);\nCREATE TABLE public.x ();\n"
    restore(verify(write(tmp_path / "b.sql", text), kind="postgres"), dsn, schema=table, table=table)
    found = ask(dsn, "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE n.nspname !~ '^pg_|^inf' ORDER BY 2")  # fmt: skip
    assert (table, table) in found


def test_d14_the_password_is_not_in_argv_and_not_in_the_message(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrate_graph.database.backup.dump._PROGRESS_EVERY", 0.0)
    text = LEDGER + "-- padding\n" * 300_000 + f"SELECT '{APP_PASSWORD}'::int;\n"
    seen: list[str] = []

    def observer(event: Event) -> None:
        seen.append(subprocess.run(["ps", "-axww", "-o", "args"], check=False, capture_output=True, text=True).stdout)

    path = write(tmp_path / "b.sql", text)
    with pytest.raises(RestoreError, match="invalid input syntax") as caught:
        restore(verify(path, kind="postgres"), dsn, observer=observer)
    assert APP_PASSWORD not in caught.value.message
    assert any("ON_ERROR_STOP=1" in processes for processes in seen)
    assert APP_PASSWORD not in "".join(seen)


def test_a_psql_that_knows_restrict_is_told_to_refuse_commands(tmp_path: Path, dsn: dict[str, str]) -> None:
    """The reader's verdict is not the only fence: what it takes for text, psql itself may not obey either."""
    fake = tmp_path / "psql"
    taken = tmp_path / "taken"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "psql (PostgreSQL) 17.6" && exit\nprintf "%s\\n" "$@" > {taken}\ncat >> {taken}\n'
    )
    fake.chmod(0o755)
    dump = verify(write(tmp_path / "b.sql", "\\restrict k\n" + LEDGER + "\\unrestrict k\n"), kind="postgres")
    restore_postgres(dump, dsn, schema=None, table="t", observer=ignore_events, psql=str(fake))
    lines = taken.read_text().splitlines()
    assert [line.partition(" ")[0] for line in lines if "restrict" in line] == ["\\restrict"]
    commands = [lines[at + 1] for at, line in enumerate(lines) if line == "-c"]
    assert commands[0].startswith("\\restrict ")
    assert commands[1] == "BEGIN"
    assert lines[-1] == "COMMIT;"


@pytest.mark.skipif(not knows_restrict(), reason="no psql on this machine's PATH that knows \\restrict")
def test_a_real_psql_refuses_what_the_reader_missed(tmp_path: Path, dsn: dict[str, str]) -> None:
    witness = tmp_path / "witness"
    path = write(tmp_path / "b.sql", LEDGER + f"\\! touch {witness}\n")
    missed = verify(path, kind="postgres", trusted=True)
    with pytest.raises(RestoreError, match="restricted"):
        restore(replace(missed, trusted=False), dsn, psql="psql")
    assert not witness.exists()
    restore(missed, dsn, psql="psql")
    assert witness.exists()


@pytest.mark.skipif(not knows_restrict(), reason="no psql on this machine's PATH that knows \\restrict")
def test_a_restricted_psql_restores(tmp_path: Path, dsn: dict[str, str]) -> None:
    path = tmp_path / "b.sql"
    restore(verify(write(path, BODY), kind="postgres"), dsn, psql="psql")
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1000,)]


def test_without_psql_the_error_says_what_to_install(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    dump = verify(write(tmp_path / "b.sql", BODY), kind="postgres")
    with pytest.raises(RestoreError, match="'psql' was not found") as caught:
        restore_postgres(dump, dsn, schema="public", table="t", observer=ignore_events)
    assert "postgresql-client" in caught.value.hint


def test_a_file_that_changes_after_it_was_verified_is_not_committed(tmp_path: Path, dsn: dict[str, str]) -> None:
    path = write(tmp_path / "b.sql", BODY)
    dump = verify(path, kind="postgres")
    write(path, BODY + "INSERT INTO customer VALUES (0);\n")
    with pytest.raises(RestoreError, match="changed while"):
        restore(dump, dsn)
    status = path.stat()
    dump = verify(path, kind="postgres")
    path.write_text(path.read_text().replace("(0)", "(1)"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(RestoreError, match="changed while"):
        restore(dump, dsn)
    assert relations(dsn) == []


def test_a_server_that_does_not_answer_is_told(tmp_path: Path, dsn: dict[str, str]) -> None:
    with pytest.raises(RestoreError, match="lost its connection"):
        restore(verify(write(tmp_path / "b.sql", BODY), kind="postgres"), dsn | {"port": "1"})


def test_progress_tells_bytes_of_the_file(tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate_graph.database.backup.dump._PROGRESS_EVERY", 0.0)
    events: list[Event] = []
    path = write(tmp_path / "b.sql.gz", BODY + "-- padding padding padding\n" * 200_000)
    dump = verify(path, kind="postgres", observer=events.append)
    size = path.stat().st_size
    assert len(events) > 3  # a large file is read for a while before anything is written
    assert all(isinstance(event, RestoreProgress) and event.checking and event.size == size for event in events)
    events.clear()
    restore(dump, dsn, observer=events.append)
    assert events[0] == RestoreStarted(str(path), size)
    assert isinstance(events[-1], RestoreFinished)
    read = [event.read for event in events if isinstance(event, RestoreProgress) and not event.checking]
    assert read == sorted(read)
    assert len(read) > 3
    assert read[-1] <= size


def test_a_killed_restore_leaves_nothing_behind(tmp_path: Path, dsn: dict[str, str]) -> None:
    class StopNow(BaseException):
        pass

    def observer(event: Event) -> None:
        if isinstance(event, RestoreProgress):
            raise StopNow

    path = write(
        tmp_path / "b.sql",
        BODY + "CREATE SEQUENCE x START 5000;\n" + "INSERT INTO customer VALUES (nextval('x'));\n" * 100_000,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("migrate_graph.database.backup.dump._PROGRESS_EVERY", 0.0)
        with pytest.raises(StopNow):
            restore(verify(path, kind="postgres"), dsn, observer=observer)
    assert relations(dsn) == []


def test_a_trusted_command_runs_and_an_untrusted_one_does_not(tmp_path: Path, dsn: dict[str, str]) -> None:
    witness = tmp_path / "witness"
    path = write(tmp_path / "b.sql", LEDGER + f"\\! touch {witness}\n")
    with pytest.raises(RestoreError, match=r"'\\!'") as caught:
        verify(path, kind="postgres")
    assert "restore_trusted" in caught.value.hint
    assert not witness.exists()
    restore(verify(path, kind="postgres", trusted=True), dsn)
    assert witness.exists()
