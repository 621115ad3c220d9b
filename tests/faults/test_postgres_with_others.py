"""PostgreSQL with others on it: whoever waits outside of a body says what for, hears signals and ends; whoever shares a ledger meets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2
import pytest
from fault_field import Field
from servers import APP_PASSWORD, PostgresServer, free_port

from migrate_graph.database import Settings
from migrate_graph.database.postgres.session import opening as sessions
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.errors import DatabaseUnreachable

pytestmark = pytest.mark.postgres

ONE = """
from child import executed
from migrate_graph import migration

@migration
def one_1(db):
    executed("one_1")
    db.executesql("CREATE TABLE one (id integer)")
    return True
"""
TWO = (
    ONE
    + """
@migration
def two_2(db):
    import pathlib, time
    executed("two_2")
    db.executesql("CREATE TABLE two (id integer)")
    print("here", db.executesql("SELECT pg_backend_pid()")[0][0])
    while pathlib.Path("wait").exists():
        time.sleep(0.05)
    return True
"""
)

HELD = ONE.replace(
    "    return True",
    "    import pathlib, time\n    print('here')\n    while pathlib.Path('wait').exists():\n        time.sleep(0.05)\n    return True",
)


# -- waits outside of a body ---------------------------------------------------------------------------------------------


@contextmanager
def locked(field: Field, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    with closing(psycopg2.connect(field.uri)) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
        yield


@pytest.mark.parametrize("signum", [signal.SIGTERM, None])
def test_a_ledger_that_somebody_has_locked(signum: signal.Signals | None, on_postgres: Field) -> None:
    on_postgres.write(ONE)
    assert on_postgres.apply().code == 0
    with locked(on_postgres, "ewh_implemented_features"):
        process = on_postgres.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "300" if signum else "3"})
        line = process.wait_for("waiting for a lock held by pid")
        assert "role app" in line
        assert "LOCK TABLE" not in line, "what others run is theirs alone"
        ended = process.stop(signum) if signum else process.end()
    assert ended.code == (143 if signum else 6), ended.output


OTHERS = {
    "rename": "ALTER TABLE ewh_implemented_features RENAME TO gone",
    "drop": "DROP TABLE ewh_implemented_features_journal",
    "record": "INSERT INTO ewh_implemented_features (name, installed) VALUES ('two_2', 'T')",
}


@pytest.mark.parametrize("act", OTHERS)
def test_tables_that_somebody_changes_while_a_command_waits_for_them(act: str, on_postgres: Field) -> None:
    on_postgres.write(ONE)
    assert on_postgres.apply().code == 0
    on_postgres.write(TWO)
    with closing(psycopg2.connect(on_postgres.uri)) as other, other.cursor() as cursor:
        cursor.execute(OTHERS[act])
        process = on_postgres.open("mark", "two_2", "--installed", env={"MIGRATE_LOCK_TIMEOUT": "300"})
        process.wait_for("waiting for a lock held by pid")
        other.commit()
    ended = process.end()
    assert ended.code == 6, ended.output
    assert "another session has changed the tool's tables meanwhile: migrate status" in ended.output


def waits(field: Field) -> None:
    (field.path / "wait").touch()


def goes_on(field: Field) -> None:
    (field.path / "wait").unlink()


VIEWS = """
from child import executed
from migrate_graph import ViewMigrationManager, migration

class V(ViewMigrationManager):
    uses = ()
    since = "one_1"
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT 1 AS x")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

@migration
def one_1(db):
    import pathlib, time
    executed("one_1")
    with V(db):
        pass
    db.commit()
    print("here", flush=True)
    while pathlib.Path("wait").exists():
        time.sleep(0.05)
    return True
"""


@pytest.mark.parametrize("told", [True, False])
def test_the_look_at_what_a_body_has_left(told: bool, on_postgres: Field) -> None:
    on_postgres.write(VIEWS)
    waits(on_postgres)
    process = on_postgres.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "300"})
    process.wait_for("here")
    with locked(on_postgres, "ewh_implemented_features_views"):
        goes_on(on_postgres)
        line = process.wait_for("waiting for a lock held by pid")
        assert "looking at what one_1 has left" in line
        if told:
            ended = process.stop(signal.SIGTERM)
            assert ended.code == 143, ended.output
    if not told:
        assert process.end().code == 0
    on_postgres.wait_until_quiet()
    assert on_postgres.apply().code == (5 if told else 0)
    assert on_postgres.executions("one_1") == 1


def test_the_beginning_of_a_migration_without_a_transaction(on_postgres: Field) -> None:
    """Its marker is durable before its body: whoever holds the journal is told, and a signal is heard."""
    on_postgres.write(ONE)
    assert on_postgres.apply().code == 0
    on_postgres.write(TWO.replace("@migration\ndef two_2", '@migration(transaction="none")\ndef two_2'))
    with locked(on_postgres, "ewh_implemented_features_journal", "SHARE"):  # it may be read
        process = on_postgres.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "300"})
        line = process.wait_for("waiting for a lock held by pid")
        ended = process.stop(signal.SIGTERM)
    assert "beginning two_2" in line
    assert ended.code == 143, ended.output
    assert on_postgres.executions("two_2") == 0
    assert on_postgres.apply().code == 0


@pytest.mark.parametrize("told", [True, False])
def test_a_commit_behind_a_standby_that_is_gone(
    told: bool, own_postgres: PostgresServer, tmp_path: os.PathLike[str]
) -> None:
    with own_postgres.database() as name:
        field = Field(tmp_path / "project", own_postgres.app_uri(name))  # type: ignore[operator]
        field.write(ONE)
        assert field.apply().code == 0
        own_postgres.execute(
            "ALTER SYSTEM SET synchronous_standby_names = 'gone'", f'ALTER DATABASE "{name}" SET synchronous_commit = on',
            "SELECT pg_reload_conf()",
        )  # fmt: skip
        field.write(TWO)
        process = field.open("apply")
        line = process.wait_for("standby")
        assert "two_2" in line
        if told:
            ended = process.stop(signal.SIGTERM)
            assert ended.code == 143, ended.output
        else:
            own_postgres.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
            assert process.end().code == 0
        own_postgres.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        assert field.apply().code == 0
        assert field.executions("two_2") == 1, "the server had committed it, and that was looked up"


@pytest.mark.parametrize("told", [True, False])
def test_a_server_process_that_is_frozen(told: bool, on_postgres: Field) -> None:
    on_postgres.write(TWO)
    waits(on_postgres)
    process = on_postgres.open("apply")
    pid = int(process.wait_for("here ").split()[-1])
    os.kill(pid, signal.SIGSTOP)
    try:
        goes_on(on_postgres)
        line = process.wait_for("waits for nothing: it is busy, or stopped")
        assert "two_2" in line
        if told:
            ended = process.stop(signal.SIGTERM)
            assert ended.code == 143, ended.output
    finally:
        os.kill(pid, signal.SIGCONT)
    if not told:
        assert process.end().code == 0
    on_postgres.wait_until_quiet()
    assert on_postgres.apply().code == 0
    assert on_postgres.query("SELECT count(*) FROM two") == [(0,)]


# -- one ledger, one lock ------------------------------------------------------------------------------------------------


def test_two_spellings_of_one_schema_meet(on_postgres: Field) -> None:
    on_postgres.query("CREATE SCHEMA a")
    on_postgres.query("CREATE SCHEMA b")
    on_postgres.write(HELD)
    (on_postgres.path / "wait").touch()
    assert on_postgres.migrate("mark", "one_1", "--pending", env={"SCHEMA": "b"}).code == 0
    first = on_postgres.open("apply", env={"SCHEMA": "b"})
    first.wait_for("here")
    others = [on_postgres.open("apply", env={"SCHEMA": each}) for each in ("a,b", '"b"', "b,a")]
    for other in others:
        other.wait_for("waiting for another run")
    (on_postgres.path / "wait").unlink()
    ended = [run.end() for run in (first, *others)]
    assert [each.code for each in ended] == [0, 0, 0, 0], [each.output for each in ended]
    assert on_postgres.executions("one_1") == 1
    assert on_postgres.query("SELECT to_regclass('a.ewh_implemented_features')") == [(None,)]


def test_a_ledger_that_was_made_while_another_was_waited_for(on_postgres: Field) -> None:
    """`a,b` would make its ledger in a; while it waits for that lock, b gets one, and so the lock of b is what counts."""
    on_postgres.query("CREATE SCHEMA a")
    on_postgres.query("CREATE SCHEMA b")
    on_postgres.write(ONE.replace("executed(", "import time; time.sleep(1); executed("))
    import hashlib

    key = int.from_bytes(hashlib.sha256(b"a\0ewh_implemented_features").digest()[:4], "big", signed=True)
    with closing(on_postgres.connect()) as holder, holder.cursor() as cursor:
        holder.autocommit = True
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (0x6D67, key))
        waiting = on_postgres.open("apply", env={"SCHEMA": "a,b"})
        waiting.wait_for("waiting for another run")
        other = on_postgres.start("apply", env={"SCHEMA": "b"})
        deadline = time.monotonic() + 60
        while on_postgres.query("SELECT to_regclass('b.ewh_implemented_features')") == [(None,)]:
            assert time.monotonic() < deadline
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (0x6D67, key))
        assert waiting.end().code == 0
        assert other().code == 0
    assert on_postgres.executions("one_1") == 1


def test_the_lock_of_a_ledger_that_was_made_meanwhile_is_asked_for(on_postgres: Field) -> None:
    """Whoever holds it may be between two migrations, where nothing is at work: only the lock itself says so."""
    on_postgres.query("CREATE SCHEMA a")
    on_postgres.query("CREATE SCHEMA b")
    on_postgres.write(ONE)
    import hashlib

    of_a, of_b = (
        int.from_bytes(hashlib.sha256(f"{schema}\0ewh_implemented_features".encode()).digest()[:4], "big", signed=True)
        for schema in "ab"
    )
    with closing(on_postgres.connect()) as one, closing(on_postgres.connect()) as other:
        one.autocommit = other.autocommit = True
        one.cursor().execute("SELECT pg_advisory_lock(%s, %s)", (0x6D67, of_a))
        waiting = on_postgres.open("apply", "--lock-timeout", "120", env={"SCHEMA": "a,b"})
        waiting.wait_for(f"held by pid {one.info.backend_pid},")
        assert on_postgres.migrate("mark", "one_1", "--pending", env={"SCHEMA": "b"}).code == 0
        other.cursor().execute("SELECT pg_advisory_lock(%s, %s)", (0x6D67, of_b))
        one.cursor().execute("SELECT pg_advisory_unlock(%s, %s)", (0x6D67, of_a))
        waiting.wait_for(f"held by pid {other.info.backend_pid},")
        assert on_postgres.executions("one_1") == 0
        other.cursor().execute("SELECT pg_advisory_unlock(%s, %s)", (0x6D67, of_b))
        ended = waiting.end()
    assert ended.code == 0, ended.output
    assert on_postgres.executions("one_1") == 1


def test_what_a_dead_runner_still_commits_is_not_run_again(on_postgres: Field) -> None:
    """Its lock is free, its session still at work on the server: what it records is read after it has ended."""
    import hashlib

    on_postgres.write(ONE)
    assert on_postgres.migrate("mark", "one_1", "--pending").code == 0
    key = int.from_bytes(hashlib.sha256(b"public\0ewh_implemented_features").digest()[:4], "big", signed=True)
    with closing(psycopg2.connect(on_postgres.uri)) as dead, dead.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (0x6D68, key))
        cursor.execute("UPDATE ewh_implemented_features SET installed = 'T' WHERE name = 'one_1'")
        process = on_postgres.open("apply")
        process.wait_for("waiting for another run")
        dead.commit()
        ended = process.end()
    assert ended.code == 0, ended.output
    assert on_postgres.executions("one_1") == 0


def test_nobody_waits_for_himself(on_postgres: Field) -> None:
    """The work of a run that is dead goes on in the server: that session is named, not our own."""
    on_postgres.write(ONE)
    assert on_postgres.apply().code == 0
    on_postgres.write(TWO)
    import hashlib

    key = int.from_bytes(hashlib.sha256(b"public\0ewh_implemented_features").digest()[:4], "big", signed=True)
    with (
        closing(psycopg2.connect(on_postgres.uri, application_name="the dead one")) as holder,
        holder.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_advisory_lock(%s, %s), pg_backend_pid()", (0x6D68, key))
        process = on_postgres.open("apply")
        line = process.wait_for("waiting for another run")
        assert f"pid {holder.info.backend_pid}, role app, the dead one" in line
        holder.rollback()
        cursor.execute("SELECT pg_advisory_unlock_all()")
        holder.commit()
        assert process.end().code == 0
    with closing(psycopg2.connect(on_postgres.uri, application_name="a runner")) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (0x6D67, key))
        pid = holder.info.backend_pid
        ended = on_postgres.apply("--lock-timeout", "0")
    assert ended.code == 75
    assert f"SELECT pg_terminate_backend({pid})" in ended.output
    assert "role app" in ended.output


# -- settings of roles, servers that speak other languages ---------------------------------------------------------------


def test_what_is_off_is_sent_too(on_postgres: Field, postgres_server: PostgresServer) -> None:
    name = on_postgres.uri.rpartition("/")[2]
    postgres_server.execute(
        *(
            f'ALTER DATABASE "{name}" SET {setting}'
            for setting in (
                "statement_timeout = 300",
                "lock_timeout = 300",
                "idle_in_transaction_session_timeout = 300",
            )
        )
    )
    on_postgres.write(
        ONE.replace(
            "    return True",
            "    import time\n    db.executesql('SELECT pg_sleep(0.6)')\n    time.sleep(0.6)\n"
            "    print('now', db.executesql('SHOW statement_timeout'), db.executesql('SHOW lock_timeout'))\n    return True",
        )
    )
    ended = on_postgres.apply(env={"MIGRATE_LOCK_TIMEOUT": "0"})
    assert ended.code == 0, ended.output
    assert "now [('0',)] [('0',)]" in ended.output


class GermanServer:
    """Refuses the first connections in German, with an SQLSTATE that libpq does not pass on, then leads to the real server."""

    def __init__(self, port: int, refusals: int) -> None:
        self._target = port
        self._left = refusals
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._left > 0:
                    self._left -= 1
                    self._refuse(client)
                else:
                    threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    @staticmethod
    def _refuse(client: socket.socket) -> None:
        if struct.unpack("!II", client.recv(8))[1] in {80877103, 80877104}:  # SSL or GSS is asked for
            client.sendall(b"N")
            client.recv(4096)
        text = b"SFATAL\0VFATAL\0C53300\0Mtut mir leid, schon zu viele Verbindungen\0\0"
        client.sendall(b"E" + struct.pack("!I", len(text) + 4) + text)
        client.close()

    def _lead(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        for one, two in ((client, server), (server, client)):
            threading.Thread(target=self._copy, args=(one, two), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


def test_a_refusal_in_german_is_waited_for(on_postgres: Field, postgres_server: PostgresServer) -> None:
    german = GermanServer(postgres_server.port, refusals=2)
    on_postgres.write(ONE)
    uri = on_postgres.uri.replace(f":{postgres_server.port}/", f":{german.port}/") + "?gssencmode=disable"
    try:
        ended = on_postgres.apply(env={"MIGRATE_URI": uri})
    finally:
        german.close()
    assert ended.code == 0, ended.output
    assert "schon zu viele Verbindungen" in ended.output


def test_a_wrong_password_is_not(on_postgres: Field) -> None:
    on_postgres.write(ONE)
    ended = on_postgres.apply(env={"MIGRATE_URI": on_postgres.uri.replace(APP_PASSWORD, "wrong")})
    assert ended.code == 6
    assert "does not answer yet" not in ended.output


# -- what a reader sees --------------------------------------------------------------------------------------------------


def test_a_server_that_refuses_in_another_language_is_no_server_that_is_down(
    on_postgres: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the words says why; that a password was asked for says that there is a server."""
    monkeypatch.setattr(sessions, "_PERMANENT", re.compile("nur auf Deutsch"))
    refused = Sessions(Settings(on_postgres.uri.replace(APP_PASSWORD, "wrong"), connect_wait=0))
    with pytest.raises(DatabaseUnreachable, match="did not let us in") as told:
        refused.open("keeper")
    assert "check user, password and database in migrate_uri" in told.value.hint
    down = Sessions(Settings(f"postgres://app:wrong@127.0.0.1:{free_port()}/shop", connect_wait=0))
    with pytest.raises(DatabaseUnreachable, match="did not answer") as told:
        down.open("keeper")
    assert "is the server running" in told.value.hint


def test_status_says_what_a_running_migration_waits_for(on_postgres: Field) -> None:
    on_postgres.write(ONE)
    assert on_postgres.apply().code == 0
    on_postgres.write(
        ONE + "\n@migration\ndef two_2(db):\n    print('here')\n    db.executesql('DROP TABLE one')\n    return True\n"
    )
    with locked(on_postgres, "one"):
        process = on_postgres.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "300"})
        process.wait_for("waiting for a lock held by pid")
        told = on_postgres.migrate("status").output
        document = json.loads(on_postgres.migrate("status", "--json").output)
    assert process.end().code == 0
    assert "running" in told
    assert "it is waiting for a lock held by pid" in " ".join(told.split())
    assert document["lock_holder"]["held_up"].startswith("waiting for a lock held by pid ")
    assert json.loads(on_postgres.migrate("status", "--json").output)["lock_holder"] is None


# -- read-only servers ---------------------------------------------------------------------------------------------------


def test_a_server_that_only_reads(on_postgres: Field, postgres_server: PostgresServer) -> None:
    """As a standby: reading works, and so does `apply` where nothing is pending."""
    on_postgres.write(ONE)
    assert on_postgres.apply().code == 0
    name = on_postgres.uri.rpartition("/")[2]
    postgres_server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    for words in (("status",), ("plan",), ("apply",)):
        ended = on_postgres.migrate(*words)
        assert ended.code == 0, ended.output
    on_postgres.write(TWO)
    ended = on_postgres.apply()
    assert ended.code == 6
    assert "read-only" in ended.output
    assert on_postgres.executions("two_2") == 0
