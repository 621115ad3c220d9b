"""An untrusted dump meets the server only: it runs no program, and what it does is done within one transaction."""

from __future__ import annotations

import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from dump_stand import BODY, LEDGER, ask, checked, dsn, dumped, relations, restore
from servers import PostgresServer

from migrate_graph.core.events import ignore_events
from migrate_graph.database.backup.dump_text import Part, PartKind
from migrate_graph.database.backup.stream import DumpStream
from migrate_graph.database.postgres.restore import by_driver as restore_module
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.errors import DatabaseError, DatabaseUnreachable, RestoreError

__all__ = ["dsn", "dumped"]

pytestmark = pytest.mark.postgres


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
