"""Restoring a dump into a real PostgreSQL: all of it or nothing."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from servers import APP_PASSWORD, PostgresServer, postgres_binaries

from migrate_graph.core.events import Event, RestoreFinished, RestoreProgress, RestoreStarted, Warned, ignore_events
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.backup.dump import VerifiedDump, verify
from migrate_graph.database.backup.dump_text import Part, PartKind
from migrate_graph.database.backup.stream import DumpStream
from migrate_graph.database.postgres import programs
from migrate_graph.database.postgres import restore as restore_module
from migrate_graph.database.postgres.sessions import Sessions
from migrate_graph.errors import DatabaseError, DatabaseUnreachable, RestoreError

pytestmark = pytest.mark.postgres

LEDGER = "CREATE TABLE ewh_implemented_features (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1));\n"
BODY = LEDGER + "CREATE TABLE customer (id int PRIMARY KEY);\nINSERT INTO customer SELECT generate_series(1, 1000);\n"


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
    """Restore as `migrate restore` does, through the backend and under the lock."""
    parts = "&".join(f"{name}={value}" for name, value in dsn.items())
    with (
        open_backend(Settings(f"postgresql://?{parts}", schema=schema, table=table), writing=True) as backend,
        backend.lock(5, ignore_events),
    ):
        backend.restore(dump, observer=observer, psql=psql)


def checked(path: Path, text: bytes | str, **options: Any) -> VerifiedDump:
    return verify(write(path, text), kind="postgres", **options)


def pg_dump(dsn: dict[str, str], *arguments: str, tool: str = "pg_dump") -> bytes:
    environment = {"PGHOST": dsn["host"], "PGPORT": dsn["port"], "PGUSER": dsn["user"], "PGPASSWORD": dsn["password"]}
    program = str(postgres_binaries() / tool)
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
    with pytest.raises(RestoreError, match=r"rolled back: line 4: .*no_such_function\(\) does not exist.*42883"):
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


def test_a_file_that_changes_after_it_was_verified_is_not_committed(tmp_path: Path, dsn: dict[str, str]) -> None:
    path = write(tmp_path / "b.sql", BODY)
    dump = verify(path, kind="postgres")
    write(path, BODY + "INSERT INTO customer VALUES (2000);\n")
    with pytest.raises(RestoreError, match="changed while"):
        restore(dump, dsn)
    status = path.stat()
    dump = verify(path, kind="postgres")
    path.write_text(path.read_text().replace("(2000)", "(3000)"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(RestoreError, match="changed while"):
        restore(dump, dsn)
    assert relations(dsn) == []


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


def test_a_long_statement_is_told_with_its_line(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read meanwhile, so only the clock can tell that the restore goes on; no value is told, it may be secret."""
    monkeypatch.setattr("migrate_graph.database.backup.dump._BEAT_EVERY", 0.05)
    told: list[str] = []

    def observer(event: Event) -> None:
        if isinstance(event, RestoreProgress):
            told.append(event.doing)

    restore(checked(tmp_path / "b.sql", BODY + "SELECT 'secret', pg_sleep(0.5);\n"), dsn, observer=observer)
    assert told.count("line 4: SELECT") >= 2
    assert "secret" not in "".join(told)


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


# -- an untrusted dump meets the server only ----------------------------------------------------------------------------------


def test_an_untrusted_dump_starts_no_program(
    tmp_path: Path, dsn: dict[str, str], dumped: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_a, **_k: pytest.fail("a program was started"))
    restore(checked(tmp_path / "b.sql", dumped), dsn)
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1000,)]


HOSTILE = {
    "a bare carriage return": b"SELECT 1; -- x\r\\! touch WITNESS\n",
    "a carriage return after a string": b"SELECT 'x'\r\\! touch WITNESS\n;",
    "strings read as of old": b"SET standard_conforming_strings = off;\nSELECT '\\'; \\! touch WITNESS\n--';\n",
    "the same by a function": b"SELECT set_config('standard_conforming_strings', 'off', false);\nSELECT '\\'; \\! touch WITNESS\n--';\n",
    "the same by a block": b"DO $$ BEGIN SET standard_conforming_strings = off; END $$;\nSELECT '\\''; SELECT 2; --';\n",
    "an encoding that eats a quote": b"SET client_encoding = 'SJIS';\nSELECT '\x83'; \\! touch WITNESS\n--';\n",
    "the same by a function ": b"SELECT set_config('client_encoding', 'SJIS', false);\nSELECT '\x83'; SELECT 2; --';\n",
    "the same, though nothing is hidden yet": b"SELECT set_config('client_encoding', 'SJIS', false);\nSELECT 1;\n",
    "a table named stdin": b"CREATE TABLE stdin (i int);\nCOPY (SELECT 1 FROM stdin) TO STDOUT;\n\\! touch WITNESS\n\\.\n",
    "a number glued to a string": b"SELECT 1E'\\'; \\! touch WITNESS\n--';\n",
    "nested dollar quotes": b"DO $a$ $b$ $a$; \\! touch WITNESS\n$b$ $a$;\n",
    "nested comments": b"/* /* */ \\! touch WITNESS\n*/ SELECT 1; \\! touch WITNESS\n",
    "a program of the server": b"COPY customer FROM PROGRAM 'touch WITNESS';\n",
    "a file of the server": b"COPY customer FROM '/etc/passwd';\n",
    "psql's copy": b"\\copy customer from program 'touch WITNESS'\n",
    "output to a program": b"\\o |touch WITNESS\nSELECT 1;\n",
    "a query to a program": b"SELECT 1 \\g |touch WITNESS\n",
    "backticks": b"\\set x `touch WITNESS`\n",
    "a condition": b"\\if true\nSELECT 1;\n\\endif\n",
    "a variable": b"SELECT :var;\n",
    "a commit": b"SELECT 1; COMMIT AND CHAIN;\n",
    "a rollback": b"ROLLBACK;\nCREATE TABLE leaked ();\n",
    "a prepared transaction": b"PREPARE TRANSACTION 'x';\n",
    "a block that commits": b"DO $$ BEGIN COMMIT; END $$;\n",
    "a procedure that commits": b"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;\nCALL p();\n",
    "a procedure that rolls back": b"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN ROLLBACK; END $$;\nCALL p();\n",
    "constraints checked now": b"SET CONSTRAINTS ALL IMMEDIATE;\n",
    "temporary tables thrown away": b"DISCARD TEMP;\n",
    "another database": b"\\connect postgres\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_dump_leaves_nothing_and_runs_nothing(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    witness = tmp_path / "witness"
    text = (
        LEDGER.encode()
        + b"CREATE TABLE customer (id int);\n"
        + HOSTILE[name].replace(b"WITNESS", str(witness).encode())
    )
    with pytest.raises(RestoreError) as caught:
        restore(checked(tmp_path / "b.sql", text), dsn)
    assert caught.value.hint
    assert re.search(r"line [3-9]", caught.value.message)
    assert relations(dsn) == []
    assert not witness.exists()


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        (b"SELECT 1; COMMIT; CREATE TABLE leaked ()", "would have ended the one transaction"),
        (b"COMMIT; BEGIN", "would have ended the one transaction"),
        (b"COMMIT AND CHAIN", "would have ended the one transaction"),
        (b"END", "would have ended the one transaction"),
        (b"ROLLBACK", "ended the transaction of the restore .* everything was rolled back"),
        (b"ROLLBACK; BEGIN", "ended the transaction of the restore; everything was rolled back"),
        (
            b"ROLLBACK; CREATE TABLE public.leaked (); COMMIT; BEGIN",
            r"ended the transaction of the restore; but 1 relation stayed in the database \(e.g. public.leaked\)",
        ),
        # An error after that is no sign that nothing stayed.
        (
            b"ROLLBACK; CREATE TABLE public.leaked (); COMMIT; BEGIN; SELECT 1/0",
            r"could not be restored; but 1 relation stayed in the database \(e.g. public.leaked\)",
        ),
        (b"SELECT 1/0", "could not be restored; everything was rolled back"),
    ],
)
def test_what_the_reader_does_not_see_the_server_refuses(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch, hidden: bytes, said: str
) -> None:
    """The reader's verdict is not the only fence: here it has missed what ends the transaction."""

    def parts(_stream: DumpStream) -> Iterator[Part]:
        yield Part(PartKind.STATEMENT, 1, BODY.encode())
        yield Part(PartKind.STATEMENT, 4, hidden)
        yield Part(PartKind.STATEMENT, 5, LEDGER.replace("TABLE", "TABLE IF NOT EXISTS").encode())

    monkeypatch.setattr(DumpStream, "parts", parts)
    with pytest.raises(RestoreError, match=said):
        restore(checked(tmp_path / "b.sql", BODY), dsn)
    assert relations(dsn) == (["leaked"] if b"leaked" in hidden and b"ROLLBACK" in hidden else [])


def test_what_stayed_is_looked_up_through_a_connection_of_its_own(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what cannot be looked up is not said."""
    opened: list[str] = []
    original = Sessions.open

    def opening(sessions: Sessions, role: str, *arguments: Any, **options: Any) -> Any:
        opened.append(role)
        if role == "look" and opened.count("look") > 1:
            raise DatabaseUnreachable("the server is gone")
        return original(sessions, role, *arguments, **options)

    monkeypatch.setattr(Sessions, "open", opening)
    dump = checked(tmp_path / "b.sql", BODY + "SELECT 1/0;\n")
    with pytest.raises(RestoreError, match="could not be restored; everything was rolled back: line"):
        restore(dump, dsn)
    assert opened == ["keeper", "restore", "look"]
    with pytest.raises(
        RestoreError, match=r"whether something of it stayed could not be looked up \(the server is gone\): line"
    ):
        restore(dump, dsn)


def test_data_that_the_server_does_not_take_is_told(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(_stream: DumpStream) -> Iterator[Part]:
        yield Part(PartKind.COPY, 1, LEDGER.encode())
        yield Part(PartKind.DATA, 2, b"1\n")
        yield Part(PartKind.END_OF_DATA, 3)

    monkeypatch.setattr(DumpStream, "parts", parts)
    with pytest.raises(RestoreError, match="line 1: the server took no data"):
        restore(checked(tmp_path / "b.sql", BODY), dsn)
    assert relations(dsn) == []


def test_a_database_that_is_filled_meanwhile_is_left_alone(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptiness is proved inside the restoring transaction, whatever was seen before."""
    dump = checked(tmp_path / "b.sql", BODY)
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE of_somebody_else ()")
    with pytest.raises(RestoreError, match=r"is not empty .*of_somebody_else"):
        restore(dump, dsn)
    assert relations(dsn) == ["of_somebody_else"]


def test_what_a_dump_sets_for_its_session_is_undone(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a pooler the session is another client's next."""
    seen: list[tuple[object, ...]] = []
    original = restore_module._Restore._end

    def end(self: Any) -> None:
        original(self)
        seen.extend(
            self._ask(
                "SELECT current_setting('search_path'), current_setting('work_mem'), current_setting('statement_timeout'), "
                "current_setting('client_encoding'), to_regclass('pg_temp.' || quote_ident(%s)) IS NULL",
                (self._guard,),
            )
        )

    monkeypatch.setattr(restore_module._Restore, "_end", end)
    text = (
        "SET statement_timeout = 1234567;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET work_mem = '77MB';\n"
        "SET client_encoding = 'LATIN1';\n" + BODY.replace("TABLE ", "TABLE public.").replace("INTO ", "INTO public.")
    )
    restore(checked(tmp_path / "b.sql", text), dsn)
    (search_path, memory, timeout, encoding, guard_gone) = seen[0]
    assert (memory, timeout, encoding, guard_gone) == ("4MB", "0", "UTF8", True)
    assert search_path != ""


@pytest.mark.parametrize("command", ["", "\\echo x\n"], ids=["driver", "psql"])
def test_timeouts_of_the_role_do_not_end_a_restore(
    command: str, tmp_path: Path, dsn: dict[str, str], postgres_server: PostgresServer
) -> None:
    name = dsn["dbname"]
    for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        postgres_server.execute(f"ALTER DATABASE {name} SET {setting} = '150ms'")
    at_commit = (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END';\n"
        "CREATE TABLE late (x int);\nCREATE CONSTRAINT TRIGGER slow AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow();\nINSERT INTO late VALUES (1);\n"
    )
    text = BODY + command + "SELECT pg_sleep(0.4);\n" + at_commit
    restore(checked(tmp_path / "b.sql", text, trusted=bool(command)), dsn)
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1000,)]


@pytest.mark.parametrize("last", ["SET ROLE", "SET SESSION AUTHORIZATION"])
def test_a_dump_may_change_its_role(tmp_path: Path, postgres_admin_uri: str, roles: tuple[str, ...], last: str) -> None:
    admin = psycopg2.extensions.parse_dsn(postgres_admin_uri)
    text = (
        f"CREATE SCHEMA s AUTHORIZATION {roles[0]};\nSET SESSION AUTHORIZATION '{roles[0]}';\nCREATE TABLE s.t ();\n"
        f"RESET SESSION AUTHORIZATION;\n{BODY}{last} {roles[0]};\n"
    )
    restore(checked(tmp_path / "b.sql", text), admin)
    assert ask(admin, "SELECT tableowner FROM pg_tables WHERE schemaname = 's'") == [(roles[0],)]


def test_nothing_is_restored_while_the_work_of_another_run_goes_on(tmp_path: Path, dsn: dict[str, str]) -> None:
    """Its lock is not ours to wait for: whoever restores has waited for it before."""
    target = restore_module.RestoreTarget(
        label="x",
        schema="public",
        table="ewh_implemented_features",
        lock=(77, 88),
        look=lambda: pytest.fail("nothing was begun"),
    )
    dump = checked(tmp_path / "b.sql", BODY)
    with closing(psycopg2.connect(**dsn)) as other, closing(psycopg2.connect(**dsn)) as connection:
        connection.autocommit = True
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(77, 88)")
        with pytest.raises(DatabaseError, match="another run is at work"):
            restore_module.restore_through_driver(dump, connection, target, observer=ignore_events)
    assert relations(dsn) == []


def test_the_timeout_that_new_pg_dumps_set_everywhere_is_no_error(tmp_path: Path, dsn: dict[str, str]) -> None:
    restore(checked(tmp_path / "b.sql", "SET transaction_timeout = 0;\n" + BODY), dsn)
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1000,)]


def test_other_encodings_are_read(tmp_path: Path, dsn: dict[str, str]) -> None:
    text = "SET client_encoding = 'LATIN1';\n" + LEDGER + "COPY ewh_implemented_features (name) FROM stdin;\né\n\\.\n"
    restore(checked(tmp_path / "b.sql", text.encode("latin-1")), dsn)
    assert ask(dsn, "SELECT name FROM ewh_implemented_features") == [("é",)]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("COMMENT ON EXTENSION plpgsql IS 'x';\n", "--no-comments"),
        ("ALTER TABLE ONLY public.item DROP CONSTRAINT item_pkey;\n", "--clean --if-exists"),
        ("DROP TABLE public.item;\n", "--clean --if-exists"),
        ("DROP SCHEMA item;\n", "--clean --if-exists"),
        ("ALTER TABLE customer OWNER TO nobody_here;\n", "--no-owner"),
        ("GRANT SELECT ON customer TO nobody_here;\n", "--no-owner"),
        ("SET no_such_setting = 0;\n", "newer server"),
        ("CREATE EXTENSION no_such_extension;\n", "extension"),
        ("CREATE INDEX CONCURRENTLY ON customer (id);\n", "cannot run inside a transaction"),
        ("CREATE SCHEMA public;\n", "is there already"),
        ("COPY customer FROM '/etc/passwd' \n;", "restore_trusted"),
    ],
)
def test_refused_for_the_right_reason_with_the_right_next_command(
    tmp_path: Path, dsn: dict[str, str], text: str, hint: str
) -> None:
    with pytest.raises(RestoreError) as caught:
        restore(checked(tmp_path / "b.sql", BODY + text), dsn)
    assert hint in caught.value.hint
    assert "line 4" in caught.value.message
    assert relations(dsn) == []


def test_the_rows_of_a_query_are_held_by_nobody(tmp_path: Path, dsn: dict[str, str]) -> None:
    """A hundred bytes of dump could fill the memory of whoever restores it."""
    text = (
        BODY + "CREATE SEQUENCE s;\nSELECT repeat('x', 1000), nextval('s') FROM generate_series(1, 300000);\n"
        "SELECT;\nSELECT pg_sleep(0) -- void\n;\nWITH x AS (INSERT INTO customer VALUES (5000) RETURNING id) SELECT * FROM x;\n"
        "SELECT 1 AS a INTO made;\nWITH x AS (SELECT 2) INSERT INTO made SELECT * FROM x;\n"
    )
    dump = checked(tmp_path / "b.sql", text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    restore(dump, dsn)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    )  # kilobytes, of three hundred megabytes
    assert ask(dsn, "SELECT last_value, (SELECT count(*) FROM made) FROM s") == [(300_000, 2)]


def test_an_error_in_a_long_statement_or_in_data_names_the_line(tmp_path: Path, dsn: dict[str, str]) -> None:
    with pytest.raises(RestoreError, match="line 6: "):
        restore(checked(tmp_path / "b.sql", BODY + "SELECT 1,\n2,\nno_such_column;\n"), dsn)
    with pytest.raises(RestoreError, match=r"line 4: .*; COPY customer, line 2, column id: .x."):
        restore(checked(tmp_path / "b.sql", BODY + "COPY customer FROM stdin;\n5000\nx\n\\.\n"), dsn)


def test_a_connection_that_is_lost_during_the_commit_is_looked_up(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = restore_module._Restore._ask

    def lose(when: str) -> None:
        def ask_and_lose(self: Any, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
            if statement == "COMMIT" and when == "before":
                self._connection.close()
            answer = original(self, statement, parameters)
            if statement == "COMMIT" and when == "after":
                self._connection.close()
                raise psycopg2.OperationalError("server closed the connection unexpectedly")
            return answer

        monkeypatch.setattr(restore_module._Restore, "_ask", ask_and_lose)

    lose("before")
    with pytest.raises(RestoreError, match="nothing of it is in the database"):
        restore(checked(tmp_path / "b.sql", BODY), dsn)
    assert relations(dsn) == []
    lose("after")
    restore(checked(tmp_path / "b.sql", BODY), dsn)
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1000,)]


# -- a trusted one with commands of psql --------------------------------------------------------------------------------------


def test_a_trusted_command_runs_and_an_untrusted_one_does_not(tmp_path: Path, dsn: dict[str, str]) -> None:
    witness = tmp_path / "witness"
    path = write(
        tmp_path / "b.sql",
        "\n\n"
        + BODY
        + f"\\! touch {witness}\nBEGIN;\nCOPY customer FROM stdin;\n5000\n\\.\nCOMMIT;\nSELECT 1 \\gexec\n",
    )
    with pytest.raises(RestoreError, match=r"line 6: .*'\\!'") as caught:
        verify(path, kind="postgres")
    assert "restore_trusted" in caught.value.hint
    assert not witness.exists()
    path.write_text(path.read_text().replace("SELECT 1 \\gexec", "SELECT 'SELECT 1' \\gexec"))
    restore(verify(path, kind="postgres", trusted=True), dsn)
    assert witness.exists()
    assert ask(dsn, "SELECT count(*) FROM customer") == [(1001,)]


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (BODY + "\\echo x\nSELECT no_such_function();\n", ":5: .*no_such_function", ""),
        (BODY + "\\echo x\nSELECT 'COMMIT' \\gexec\n", "duplicate key", ""),
        (BODY + "\\echo x\nGRANT SELECT ON customer TO nobody_here;\n", "nobody_here", "--no-owner"),
        ("\\echo x\nCREATE TABLE customer ();\n", "holds no table", "migrate_table"),
    ],
)
def test_a_trusted_dump_that_fails_leaves_nothing(
    tmp_path: Path, dsn: dict[str, str], text: str, said: str, hint: str
) -> None:
    with pytest.raises(RestoreError, match=said) as caught:
        restore(checked(tmp_path / "b.sql", text, trusted=True), dsn)
    assert hint in caught.value.hint
    assert relations(dsn) == []


def test_a_trusted_dump_goes_into_an_empty_database_only(tmp_path: Path, dsn: dict[str, str]) -> None:
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE of_somebody_else ()")
    with pytest.raises(RestoreError, match="is not empty"):
        restore(checked(tmp_path / "b.sql", BODY + "\\echo x\n", trusted=True), dsn)


def test_a_trusted_dump_without_commands_needs_no_psql(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_a, **_k: pytest.fail("a program was started"))
    restore(checked(tmp_path / "b.sql", BODY, trusted=True), dsn)


def test_without_psql_the_error_says_what_to_install(tmp_path: Path, dsn: dict[str, str]) -> None:
    dump = checked(tmp_path / "b.sql", BODY + "\\echo x\n", trusted=True)
    with pytest.raises(RestoreError, match="'no-such-psql' was not found") as caught:
        restore(dump, dsn, psql="no-such-psql")
    assert "postgresql-client" in caught.value.hint


def fake_psql(tmp_path: Path, version: str) -> Path:
    fake = tmp_path / "psql"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "psql (PostgreSQL) {version}" && exit\n'
        f'printf "%s\\n" "$@" > {tmp_path}/argv\nenv > {tmp_path}/environment\ncat "$PGSERVICEFILE" > {tmp_path}/service\n'
        f"cat > {tmp_path}/taken\n"
    )
    fake.chmod(0o755)
    return fake


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        ("15.18", False),
        ("15.19", True),
        ("16.2", False),
        ("18.6", True),
        ("19.0", True),
        ("13.23", False),
        ("x", False),
    ],
)
def test_a_psql_that_may_obey_data_is_told_of(tmp_path: Path, dsn: dict[str, str], version: str, sound: bool) -> None:
    events: list[Event] = []
    text = "\\restrict k\n" + BODY + "\\echo x\n\\unrestrict k\n"
    fake = str(fake_psql(tmp_path, version))
    restore(checked(tmp_path / "b.sql", text, trusted=True), dsn, psql=fake, observer=events.append)
    assert any(isinstance(event, Warned) and "psql" in event.message for event in events) is not sound
    taken = (tmp_path / "taken").read_text()
    assert ("\\restrict k" in taken) is sound
    assert taken.endswith("COMMIT;\n")


def test_psql_is_connected_as_we_are_and_its_argv_tells_nothing(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment cannot say (`require_auth`, `sslcrl` …) reaches psql by a service file without a name."""
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    monkeypatch.setenv("PGTZ", "Europe/Amsterdam")
    asked = dsn | {"require_auth": "scram-sha-256", "gssencmode": "disable", "ssl_min_protocol_version": "TLSv1.3"}
    fake = str(fake_psql(tmp_path, "18.6"))
    restore(checked(tmp_path / "b.sql", BODY + "\\echo x\n", trusted=True), asked, psql=fake)
    argv, service, environment = ((tmp_path / name).read_text() for name in ("argv", "service", "environment"))
    assert {"require_auth=scram-sha-256", "gssencmode=disable", "ssl_min_protocol_version=TLSv1.3", f"port={dsn['port']}",
            "options=-c work_mem=9MB"} <= set(service.splitlines())  # fmt: skip
    assert APP_PASSWORD not in argv + service
    assert f"PGPASSWORD={APP_PASSWORD}" in environment
    assert "PGTZ" not in environment, "what we do not say is not said"
    assert dsn["host"] not in argv


def test_an_untrusted_restore_keeps_what_the_uri_demands(tmp_path: Path, dsn: dict[str, str]) -> None:
    with pytest.raises(DatabaseError, match="method"):
        restore(checked(tmp_path / "b.sql", BODY), dsn | {"require_auth": "none"})


def test_a_service_file_holds_what_psql_reads_only(dsn: dict[str, str]) -> None:
    with (
        pytest.raises(RestoreError, match="line end"),
        programs.service_file(dsn | {"options": "a\nhost=evil"}, "test"),
    ):
        pass


# -- real dumps of a rich schema come back equal ------------------------------------------------------------------------------

RICH = r"""
CREATE SCHEMA "Odd; schema";
CREATE TYPE mood AS ENUM ('so; so', 'it''s');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE s START 77;
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text DEFAULT E'a\\b\n', m mood, p positive, j jsonb,
    b bytea, t timestamptz DEFAULT now(), CHECK (name <> ';'));
CREATE TABLE "Odd; schema"."from stdin" (id serial PRIMARY KEY, c int REFERENCES customer DEFERRABLE INITIALLY DEFERRED, g int
    GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE part (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (10);
CREATE TABLE stdin (i int);
INSERT INTO stdin VALUES (1);
INSERT INTO part VALUES (1, 'one'), (2, E'back\\slash'), (3, E'\\.'), (4, E'line\r\nline'), (5, NULL);
INSERT INTO customer (name, m, p, j, b) SELECT E'n' || i || E'\\ ; $$ '' -- /* \t', 'it''s', i, '{"a": "\\u0041 \\\\"}', '\x00ff5c27'
    FROM generate_series(1, 50) i;
INSERT INTO "Odd; schema"."from stdin" (c) SELECT id FROM customer;
CREATE INDEX odd ON customer ((lower(name)) DESC) WHERE name <> 'x;';
CREATE VIEW v AS SELECT id, name || ';' AS n FROM customer;
CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM customer;
CREATE FUNCTION atomic(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN i > 0 THEN 1 ELSE 2 END; SELECT i; END;
CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS $_$ BEGIN EXECUTE $$ SELECT ';' $$; RETURN NEW; END; $_$;
CREATE TRIGGER t BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION trig();
CREATE RULE r AS ON DELETE TO stdin DO ALSO (DELETE FROM part WHERE k = old.i; UPDATE part SET v = 'x');
CREATE POLICY pol ON customer USING (name <> '\!');
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE customer IS E'-- PostgreSQL database dump\n\\! rm';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE AGGREGATE agg(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE STATISTICS st ON k, v FROM part;
SELECT lo_from_bytea(0, 'large \\ object');
"""


def comparable(text: bytes) -> list[bytes]:
    return [line for line in text.splitlines() if not line.startswith((b"\\restrict", b"\\unrestrict"))]


@pytest.mark.parametrize(
    "options",
    [
        [], ["--inserts"], ["--column-inserts", "--rows-per-insert=7"], ["--clean", "--if-exists"], ["--no-owner"],
        ["--encoding=LATIN1"], ["--quote-all-identifiers", "--disable-dollar-quoting"], ["--use-set-session-authorization"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_rich_schema_comes_back_equal(
    tmp_path: Path, postgres_server: PostgresServer, dsn: dict[str, str], options: list[str]
) -> None:
    role = (
        psycopg2.extensions.parse_dsn(postgres_server.admin_uri(dsn["dbname"]))
        if "authorization" in "".join(options)
        else dsn
    )
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(LEDGER + RICH)
    dumped = pg_dump(role, "--large-objects", *options)
    before = pg_dump(dsn, "--large-objects")
    with postgres_server.database() as name:
        restore(checked(tmp_path / "b.sql", dumped), role | {"dbname": name})
        assert comparable(pg_dump(dsn | {"dbname": name}, "--large-objects")) == comparable(before)


@pytest.mark.parametrize("tool", ["pg_dump", "pg_dumpall"])
def test_dumps_of_whole_databases_are_refused_with_what_to_do(
    tmp_path: Path, postgres_server: PostgresServer, dsn: dict[str, str], tool: str
) -> None:
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(BODY)
    admin = psycopg2.extensions.parse_dsn(postgres_server.admin_uri(dsn["dbname"]))
    options = ["--create"] if tool == "pg_dump" else ["--no-role-passwords", "-l"]
    with pytest.raises(RestoreError, match=r"CREATE DATABASE|\\connect") as caught:
        checked(tmp_path / "b.sql", pg_dump(admin, *options, tool=tool))
    assert "without --create (and with pg_dump, not pg_dumpall)" in caught.value.hint


def test_a_hundred_thousand_rows_stay_off_the_memory(tmp_path: Path, dsn: dict[str, str]) -> None:
    """The data of COPY is handed on as it is read, whatever its size."""
    rows = b"".join(b"%d\n" % number for number in range(5000, 205_000))
    sizes: list[int] = []
    original = restore_module._CopyData.read

    def read(self: Any, size: int = -1) -> bytes:
        data = original(self, size)
        sizes.append(len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restore_module._CopyData, "read", read)
        patch.setattr("migrate_graph.database.backup.dump._PIECE", 100_000)
        restore(checked(tmp_path / "b.sql", BODY.encode() + b"COPY customer FROM stdin;\n" + rows + b"\\.\n"), dsn)
    assert ask(dsn, "SELECT count(*) FROM customer") == [(201_000,)]
    assert max(sizes) <= 200_000
    assert sum(sizes) == len(rows)
