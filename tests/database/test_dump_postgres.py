"""Restoring a dump into a real PostgreSQL: all of it or nothing."""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions as pg
import pytest
from dump_stand import BODY, LEDGER, ask, checked, dsn, dumped, pg_dump, relations, restore, write
from servers import APP_PASSWORD, PostgresServer

from migrate_graph.core.events import Event, RestoreFinished, RestoreProgress, RestoreStarted, Warned
from migrate_graph.database.backup.dump import verify
from migrate_graph.database.postgres import programs
from migrate_graph.database.postgres.restore import by_driver as restore_module
from migrate_graph.errors import DatabaseError, RestoreError

__all__ = ["dsn", "dumped"]

pytestmark = pytest.mark.postgres


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


def test_who_holds_a_lock_that_a_statement_waits_for_is_told(
    tmp_path: Path, dsn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore waits as long as it takes. What somebody else has made meanwhile is not taken for its own."""
    monkeypatch.setattr("migrate_graph.database.backup.dump._BEAT_EVERY", 0.05)
    told: list[str] = []
    with closing(psycopg2.connect(**dsn)) as other, other.cursor() as cursor:
        dump, pid = checked(tmp_path / "b.sql", BODY), other.info.backend_pid

        def observer(event: Event) -> None:
            if isinstance(event, RestoreStarted):
                cursor.execute("CREATE TABLE customer (somebodys integer)")
            elif isinstance(event, RestoreProgress):
                told.append(event.doing)
                if "waiting for" in event.doing and other.info.transaction_status == pg.TRANSACTION_STATUS_INTRANS:
                    other.commit()

        with pytest.raises(RestoreError) as raised:
            restore(dump, dsn, observer=observer)
    assert "stayed in the database (e.g. public.customer), or came from another session meanwhile" in str(raised.value)
    waiting = [each for each in told if "waiting for" in each]
    assert f"; waiting for a lock held by pid {pid} (role " in waiting[0]
    assert waiting[0].startswith("line ")


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
    with pytest.raises(RestoreError, match="is not empty, but") as caught:
        restore(checked(tmp_path / "b.sql", BODY + "\\echo x\n", trusted=True), dsn)
    assert "migrate baseline" in caught.value.hint


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


def test_a_refused_connection_is_closed_at_once(tmp_path: Path, dsn: dict[str, str]) -> None:
    before = _sockets()
    with pytest.raises(DatabaseError) as refused:
        restore(checked(tmp_path / "b.sql", BODY), dsn | {"require_auth": "none"})
    assert _sockets() == before, "the server would wait a minute for us, and drop no database meanwhile"
    assert refused, "somebody still holds the error"


def _sockets() -> list[int]:
    """Return the open sockets of this process."""
    found = []
    for number in (int(each.name) for each in Path("/dev/fd").iterdir()):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                found.append(number)
    return sorted(found)


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
    role = pg.parse_dsn(postgres_server.admin_uri(dsn["dbname"])) if "authorization" in "".join(options) else dsn
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
    admin = pg.parse_dsn(postgres_server.admin_uri(dsn["dbname"]))
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
