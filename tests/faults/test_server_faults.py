"""A PostgreSQL that cuts, refuses, restarts and fills up: nothing is lost, nothing is done twice, and it is said what happened."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest
from fault_field import WAITS_TO_GO, Field
from servers import PostgresServer
from side_by_side import JOBS
from waiting import wait_until

pytestmark = pytest.mark.postgres

SLOW = """
import time
from child import executed, here
from migrate_graph import migration

@migration
def one_1(db):
    executed("one_1")
    db.executesql("CREATE TABLE one (id integer)")
    print("here")
    {wait}
    return True

@migration
def two_2(db):
    executed("two_2")
    db.executesql("CREATE TABLE two (id integer)")
    return True
"""


@pytest.fixture
def own_field(own_postgres: PostgresServer, tmp_path: Path) -> tuple[Field, PostgresServer]:
    """A project on a server of its own, to stop."""
    # What was committed must survive the server's own death here.
    own_postgres.execute(
        "CREATE DATABASE app OWNER app", "ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()"
    )
    return Field(tmp_path / "project", own_postgres.app_uri("app")), own_postgres


def _terminate(server: PostgresServer, like: str) -> None:
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'migrate_graph:{like}'"
    )


def test_the_session_of_the_work_is_terminated(on_postgres: Field, postgres_server: PostgresServer) -> None:
    on_postgres.write(SLOW.format(wait="db.executesql('SELECT pg_sleep(20)')"))
    process = on_postgres.open("apply")
    process.wait_for("one_1 | here")
    _terminate(postgres_server, "one%")
    ended = process.end()
    assert ended.code == 1
    assert re.search("FAILED one_1 .*(terminating connection|closed the connection)", ended.output)
    state = on_postgres.probe()
    assert state.tables == set()
    assert state.last("one_1") == ("failed", 0)


_WAYS_TO_MEET_A_LOSS = {
    "let it pass": "db.executesql('SELECT pg_sleep(20)')",
    "raise another": "try: db.executesql('SELECT pg_sleep(20)')\n    except Exception: raise ValueError('of my own') from None",
    "return False": "try: db.executesql('SELECT pg_sleep(20)')\n    except Exception: return False",
    "go on": "try: db.executesql('SELECT pg_sleep(20)')\n    except Exception: db.close()\n    db.executesql('SELECT 1')",
}


@pytest.mark.parametrize("way", _WAYS_TO_MEET_A_LOSS)
def test_a_connection_lost_after_an_own_commit_asks_a_human(
    way: str, on_postgres: Field, postgres_server: PostgresServer
) -> None:
    """However soon the server is back, and whatever the body makes of it: what was committed is not committed again."""
    on_postgres.write(
        SLOW.format(wait=_WAYS_TO_MEET_A_LOSS[way]).replace('print("here")', "db.commit(); print('here')")
    )
    process = on_postgres.open("apply")
    process.wait_for("one_1 | here")
    _terminate(postgres_server, "one%")
    ended = process.end()
    assert ended.code == 5, ended.output
    assert "INTERRUPTED one_1" in ended.output
    assert "the connection to the database was lost" in ended.output
    assert "1 commit of its own stayed in the database" in ended.output
    assert "migrate resolve one_1 --retry" in ended.output
    assert on_postgres.probe().last("one_1") == ("running", 1)
    assert on_postgres.apply().code == 5
    assert on_postgres.executions("one_1") == 1


def test_a_server_that_restarts_after_an_own_commit(own_field: tuple[Field, PostgresServer]) -> None:
    field, server = own_field
    field.write(
        SLOW.format(wait="db.executesql('SELECT pg_sleep(20)')").replace('print("here")', "db.commit(); print('here')")
    )
    process = field.open("apply")
    process.wait_for("one_1 | here")
    server.stop(signal.SIGQUIT)
    server.start()
    ended = process.end()
    assert ended.code in {5, 6}, ended.output
    assert "INTERRUPTED one_1" in ended.output
    assert field.apply().code == 5
    assert field.executions("one_1") == 1


def test_a_server_that_does_not_come_back_leaves_the_commits_unknown(own_field: tuple[Field, PostgresServer]) -> None:
    """Unknown is not none: the cache is flushed by the next run, and a human is asked."""
    field, server = own_field
    field.env["MIGRATE_CONNECT_WAIT"] = "0.5"
    field.write(
        SLOW.format(wait="db.executesql('SELECT pg_sleep(20)')").replace('print("here")', "db.commit(); print('here')")
    )
    process = field.open("apply")
    process.wait_for("one_1 | here")
    server.stop(signal.SIGQUIT)
    ended = process.end()
    assert ended.code == 6, ended.output
    assert "INTERRUPTED one_1" in ended.output
    assert "whether something of it stayed in the database is not known" in ended.output
    server.start()
    assert field.apply().code == 5
    assert field.executions("one_1") == 1


def test_a_swallowed_loss_of_the_connection_is_no_success(on_postgres: Field, postgres_server: PostgresServer) -> None:
    """pyDAL reconnects after a `db.close()`, so that the record could be written without the work."""
    wait = "try: db.executesql('SELECT pg_sleep(20)')\n    except Exception: db.close()\n    db.executesql('SELECT 1')"
    on_postgres.write(SLOW.format(wait=wait))
    process = on_postgres.open("apply")
    process.wait_for("one_1 | here")
    _terminate(postgres_server, "one%")
    ended = process.end()
    assert ended.code == 1, ended.output
    assert "lost, with uncommitted work" in ended.output
    assert on_postgres.probe().tables == set()


def test_the_session_that_holds_the_lock_is_terminated(on_postgres: Field) -> None:
    """The migration at hand may be finished, since its own lock still stands; nothing after it is begun.

    With --jobs several may be at hand, and who comes next could begin what one of them requires: none is finished, and it is run again.
    """
    on_postgres.write(SLOW.format(wait=WAITS_TO_GO))
    process = on_postgres.open("apply")
    process.wait_for("one_1 | here")
    holder = "FROM pg_locks WHERE locktype = 'advisory' AND classid = 28007 AND granted"
    assert on_postgres.query(f"SELECT pg_terminate_backend(pid) {holder}") == [(True,)]
    wait_until(lambda: on_postgres.query(f"SELECT count(*) {holder}") == [(0,)])
    run = on_postgres.start("apply", "--lock-timeout", "0")
    wait_until(lambda: on_postgres.query(f"SELECT count(*) {holder}") == [(1,)])
    assert on_postgres.executions("two_2") == 0
    on_postgres.go()
    ended, second = process.end(), run()
    assert ended.code == 6, ended.output
    assert "the lock" in ended.output
    assert "lost" in ended.output
    assert second.code in {0, 75}, "the work's own lock is waited for a moment"
    assert on_postgres.apply().code == 0
    assert (on_postgres.executions("one_1"), on_postgres.executions("two_2")) == (1 if JOBS == 1 else 2, 1)
    state = on_postgres.probe()
    assert state.tables == {"one", "two"}
    assert [how for name, how, _ in state.journal if name == "one_1"][-1] == "applied"


def test_the_server_restarts_in_the_middle(own_field: tuple[Field, PostgresServer]) -> None:
    field, server = own_field
    field.write(SLOW.format(wait="db.executesql('SELECT pg_sleep(20)')"))
    process = field.open("apply")
    process.wait_for("one_1 | here")
    server.stop(signal.SIGQUIT)
    server.start()
    ended = process.end()
    assert ended.code == 6, ended.output
    assert "FAILED one_1" in ended.output
    state = field.probe()
    assert state.tables == set()
    assert state.last("one_1") == ("failed", 0), "the failure is recorded when the server is back"
    field.write(SLOW.format(wait="pass"))
    assert field.apply().code == 0


@pytest.mark.parametrize("commit_arrives", [True, False])
def test_the_connection_is_lost_at_commit(
    commit_arrives: bool, on_postgres: Field, postgres_server: PostgresServer
) -> None:
    """Whether it is applied is looked up, never guessed: a deferred trigger delays the COMMIT, and meanwhile the client's line is cut."""
    on_postgres.query("CREATE TABLE slow (id integer)")
    on_postgres.query(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$"
    )
    on_postgres.query(
        "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    on_postgres.env["MIGRATE_URI"] = f"{on_postgres.uri}"
    relay = Relay(postgres_server.port)
    on_postgres.env["MIGRATE_URI"] = on_postgres.uri.replace(f":{postgres_server.port}/", f":{relay.port}/")
    on_postgres.write(
        "from child import executed\nfrom migrate_graph import migration\n\n@migration\ndef one_1(db):\n    executed('one_1')\n"
        "    db.executesql('SET client_connection_check_interval = 0')\n"
        "    db.executesql('INSERT INTO slow VALUES (1)')\n    return True\n"
    )
    assert on_postgres.migrate("mark", "one_1", "--pending").code == 0
    run = on_postgres.start("apply")
    committing = (
        "SELECT pid FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()"
    )
    found: list[tuple[int]] = []
    wait_until(lambda: bool(found.extend(on_postgres.query(committing)) or found))
    relay.cut()
    if not commit_arrives:
        postgres_server.execute(f"SELECT pg_terminate_backend({found[0][0]})")
    ended = run()
    assert "Traceback" not in ended.output
    state = on_postgres.probe()
    if commit_arrives:
        assert ended.code == 6, "applied, and then the run stops: the line of the lock was cut, too"
        assert state.last("one_1") == ("applied", 0)
        assert "ok one_1" in ended.output
    else:
        assert state.last("one_1") == ("failed", 0)
        assert on_postgres.query("SELECT count(*) FROM slow") == [(0,)]
    assert on_postgres.apply().code == 0
    assert on_postgres.query("SELECT count(*) FROM slow") == [(1,)], "once, never twice"
    assert on_postgres.executions("one_1") == (1 if commit_arrives else 2)


class Relay:
    """Passes bytes on to a server until it is told to cut every line at once."""

    def __init__(self, target: int) -> None:
        import socket

        self._socket = socket
        self._target = target
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: object, target: object) -> None:
        try:
            while data := source.recv(65536):  # type: ignore[attr-defined] # sockets
                target.sendall(data)  # type: ignore[attr-defined] # as above
        except OSError:
            pass
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(2)  # type: ignore[attr-defined] # as above

    def cut(self) -> None:
        """Cut the lines that are open on the client's side; the server learns nothing of it."""
        for client in self._open[::2]:
            with suppress(OSError):
                client.shutdown(2)


def test_d06_an_idle_session_timeout_of_the_server(own_field: tuple[Field, PostgresServer]) -> None:
    field, server = own_field
    server.execute(
        "ALTER SYSTEM SET idle_in_transaction_session_timeout = '1s'", "ALTER SYSTEM SET idle_session_timeout = '1s'",
        "SELECT pg_reload_conf()",
    )  # fmt: skip
    field.write(SLOW.format(wait="time.sleep(3)"))
    ended = field.apply()
    assert ended.code == 0, ended.output
    assert "nothing to do" in field.apply().output
    assert field.executions("one_1") == 1


def test_d17_a_migration_may_change_the_ledger_table(on_postgres: Field) -> None:
    on_postgres.write(
        "from migrate_graph import migration\n\n@migration\ndef wide_1(db):\n"
        "    db.executesql('ALTER TABLE ewh_implemented_features ALTER name TYPE varchar(600)')\n"
        "    db.executesql('ALTER TABLE ewh_implemented_features ADD note text')\n    return True\n"
    )
    ended = on_postgres.apply()
    assert ended.code == 0, ended.output
    assert "is tried again" not in ended.output, "nothing of ours was in its way"
    assert "waiting for a lock" not in ended.output


def test_statement_timeout(on_postgres: Field) -> None:
    on_postgres.write(SLOW.format(wait="db.executesql('SELECT pg_sleep(20)')"))
    ended = on_postgres.apply(env={"MIGRATE_STATEMENT_TIMEOUT": "0.5"})
    assert ended.code == 1
    assert "statement timeout" in ended.output
    assert on_postgres.probe().tables == set()


@pytest.mark.parametrize("reader_leaves", [True, False])
def test_d21_an_alter_behind_a_reader(reader_leaves: bool, on_postgres: Field) -> None:
    on_postgres.query("CREATE TABLE busy (id integer)")
    on_postgres.write(
        "from child import executed\nfrom migrate_graph import migration\n\n@migration\ndef alter_1(db):\n    executed('alter_1')\n"
        "    db.executesql('ALTER TABLE busy ADD note text')\n    return True\n"
    )
    assert on_postgres.migrate("mark", "alter_1", "--pending").code == 0
    with closing(psycopg2.connect(on_postgres.uri, application_name="the report")) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT * FROM busy")
        run = on_postgres.start(
            "apply", env={"MIGRATE_LOCK_TIMEOUT": "0.6"}, first_delay=None if reader_leaves else 0.1
        )
        wait_until(lambda: on_postgres.saying("attempt 2 of 5") == 1)
        if reader_leaves:
            reader.rollback()
        else:  # between two tries the application gets through
            with closing(on_postgres.connect()) as other:
                other.cursor().execute("SET statement_timeout = '30s'; SELECT * FROM busy")
        ended = run()
    assert "is tried again, attempt 2 of 5" in ended.output
    assert "the report" in ended.output, "the blocker is named"
    assert "role app" in ended.output
    assert "SELECT * FROM busy" not in ended.output, "what others run is theirs alone"
    if reader_leaves:
        assert ended.code == 0, ended.output
        assert on_postgres.executions("alter_1") >= 2
    else:
        assert ended.code == 1
        assert on_postgres.executions("alter_1") == 5
        assert on_postgres.probe().last("alter_1") == ("failed", 0)


def test_a_lock_timeout_after_an_own_commit_is_not_tried_again(on_postgres: Field) -> None:
    on_postgres.query("CREATE TABLE busy (id integer)")
    on_postgres.write(
        "from child import executed\nfrom migrate_graph import migration\n\n@migration\ndef alter_1(db):\n    executed('alter_1')\n"
        "    db.executesql('CREATE TABLE mine (id integer)')\n    db.commit()\n"
        "    db.executesql('ALTER TABLE busy ADD note text')\n    return True\n"
    )
    assert on_postgres.migrate("mark", "alter_1", "--pending").code == 0
    with closing(psycopg2.connect(on_postgres.uri)) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT * FROM busy")
        ended = on_postgres.apply(env={"MIGRATE_LOCK_TIMEOUT": "0.5"})
    assert ended.code == 1
    assert "1 commit of its own stayed" in ended.output
    assert on_postgres.executions("alter_1") == 1
    assert on_postgres.probe().last("alter_1") == ("failed", 1)


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_serialization_failures_and_deadlocks_are_tried_again(state: str, on_postgres: Field) -> None:
    on_postgres.query("CREATE SEQUENCE tries")
    on_postgres.write(
        "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    db.executesql('CREATE TABLE one (id integer)')\n"
        f"    db.executesql(\"DO $$ BEGIN IF nextval('tries') < 3 THEN RAISE 'in the way' USING ERRCODE = '{state}'; END IF; END $$\")\n"
        "    return True\n"
    )
    assert on_postgres.migrate("mark", "one_1", "--pending").code == 0
    ended = on_postgres.apply()
    assert ended.code == 0, ended.output
    assert "attempt 3 of 5" in ended.output
    assert on_postgres.probe().last("one_1") == ("applied", 0)


def test_a_real_deadlock_names_who_was_in_the_way(on_postgres: Field, postgres_server: PostgresServer) -> None:
    """Whoever begins to wait last closes the circle, and looks for it: the other one waits first, and never looks."""
    name = on_postgres.uri.rpartition("/")[2]
    postgres_server.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
    on_postgres.query("CREATE TABLE a (id integer)")
    on_postgres.query("CREATE TABLE b (id integer)")
    on_postgres.write(
        "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    db.executesql('LOCK TABLE a')\n"
        f"    {WAITS_TO_GO}\n    db.executesql('LOCK TABLE b')\n    return True\n"
    )
    assert on_postgres.migrate("mark", "one_1", "--pending").code == 0
    admin = postgres_server.admin_uri(name)
    with closing(psycopg2.connect(admin, options="-c deadlock_timeout=10min")) as other, other.cursor() as cursor:
        other_pid = other.info.backend_pid
        cursor.execute("LOCK TABLE b")
        run = on_postgres.start("apply", env={"MIGRATE_LOCK_TIMEOUT": "0"})
        locks = "SELECT count(*) FROM pg_locks WHERE relation = 'a'::regclass AND granted = %s AND mode = 'AccessExclusiveLock'"
        wait_until(lambda: on_postgres.query(locks, True) == [(1,)])
        waits = threading.Thread(target=cursor.execute, args=("LOCK TABLE a",))
        waits.start()
        wait_until(lambda: on_postgres.query(locks, False) == [(1,)])
        on_postgres.go()
        waits.join()  # the migration was chosen, and gave its lock back
        wait_until(lambda: on_postgres.saying("attempt 2 of 5") == 1)
        other.rollback()
    ended = run()
    assert ended.code == 0, ended.output
    assert re.search(f"deadlock detected: Process .* blocked by process {other_pid}", ended.output)


def test_d22_a_read_only_server(on_postgres: Field) -> None:
    on_postgres.write(SLOW.format(wait="pass"))
    name = on_postgres.uri.rpartition("/")[2]
    on_postgres.query(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert on_postgres.migrate("status").code == 0, "reading needs no right to write"
    ended = on_postgres.apply()
    assert ended.code == 6
    assert "read-only" in ended.output
    assert on_postgres.executions("one_1") == 0


@pytest.mark.parametrize("right", ["INSERT", "UPDATE", "sequence"])
def test_d22_missing_rights(right: str, on_postgres: Field, postgres_server: PostgresServer) -> None:
    on_postgres.write(SLOW.format(wait="pass"))
    name = on_postgres.uri.rpartition("/")[2]
    assert on_postgres.migrate("mark", "one_1", "--pending").code == 0
    tables = "ewh_implemented_features", "ewh_implemented_features_journal", "ewh_implemented_features_views"
    for table in tables:
        postgres_server.execute(f"ALTER TABLE {table} OWNER TO postgres", f"GRANT ALL ON {table} TO app", database=name)
    postgres_server.execute(
        "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM app"
        if right == "sequence"
        else f"REVOKE {right} ON {tables[0]} FROM app",
        database=name,
    )
    ended = on_postgres.apply()
    assert ended.code == 6
    assert "cannot record migrations" in ended.output
    assert "nothing was run" in ended.output
    assert on_postgres.executions("one_1") == 0


def test_d22_a_name_that_does_not_fit(on_postgres: Field) -> None:
    on_postgres.query(
        "CREATE TABLE ewh_implemented_features (id serial, name varchar(8), installed char(1), last_update_dttm timestamp)"
    )
    on_postgres.write(
        "from migrate_graph import migration\n\n@migration\ndef long_name_1(db):\n    db.executesql('CREATE TABLE one (id integer)')\n    return True\n"
    )
    ended = on_postgres.apply()
    assert ended.code == 6
    assert "longer than the 8 characters" in ended.output
    assert on_postgres.probe().tables == set()


def test_connection_limit_1_is_told_before_anything_runs(own_field: tuple[Field, PostgresServer]) -> None:
    field, server = own_field
    field.write(SLOW.format(wait="pass"))
    server.execute("ALTER ROLE app CONNECTION LIMIT 1")
    ended = field.apply()
    assert ended.code == 6
    assert "needs two" in ended.output
    server.execute("ALTER ROLE app CONNECTION LIMIT -1")
    assert field.executions("one_1") == 0


def test_no_connection_left_for_the_work_is_waited_for(own_field: tuple[Field, PostgresServer]) -> None:
    """The application uses them all for a moment."""
    field, server = own_field
    field.write(SLOW.format(wait="pass"))
    server.execute("ALTER ROLE app CONNECTION LIMIT 2")
    with closing(psycopg2.connect(field.uri)):
        run = field.start("apply", env={"MIGRATE_CONNECT_WAIT": "60"})
        wait_until(lambda: "too many connections" in server.log())
    ended = run()
    assert ended.code == 0, ended.output
    assert ("migrations run one after another, not" in ended.output) == (JOBS > 1)
    assert "does not answer yet" in ended.output
    assert "too many connections" in ended.output


@pytest.mark.parametrize("what", ["password", "database", "role"])
def test_d10_what_waiting_cannot_mend_is_not_waited_for(what: str, on_postgres: Field) -> None:
    on_postgres.write(SLOW.format(wait="pass"))
    wrong = {
        "password": (":Tr0ub4dor", ":timeout"),
        "database": ("/t_", "/too_many_"),
        "role": ("//app:", "//refused:"),
    }[what]
    ended = on_postgres.apply(env={"MIGRATE_URI": on_postgres.uri.replace(*wrong)})
    assert ended.code == 6
    assert "does not answer yet" not in ended.output
    assert len(ended.output.splitlines()) <= 3, ended.output


def test_a_server_that_starts_late_is_waited_for(own_field: tuple[Field, PostgresServer]) -> None:
    field, server = own_field
    field.write(SLOW.format(wait="pass"))
    server.stop()
    process = field.open("apply")
    process.wait_for("does not answer yet")
    server.start()
    ended = process.end()
    assert ended.code == 0, ended.output
    assert "does not answer yet" in ended.output


def test_an_invalid_index_is_named(on_postgres: Field) -> None:
    on_postgres.query("CREATE TABLE twice AS SELECT 1 AS id UNION ALL SELECT 1")
    on_postgres.write(
        "from migrate_graph import migration\n\n@migration(transaction='none')\ndef index_1(db):\n"
        "    db.executesql('CREATE UNIQUE INDEX CONCURRENTLY twice_id ON twice (id)')\n    return True\n"
    )
    assert on_postgres.migrate("mark", "index_1", "--pending").code == 0
    ended = on_postgres.apply()
    assert ended.code == 1
    assert "DROP INDEX CONCURRENTLY twice_id" in ended.output
    assert "outside of a transaction" in ended.output


def test_d19_a_swallowed_error_is_no_success(on_postgres: Field) -> None:
    swallow = "try: db.executesql('SELECT * FROM nonesuch')\n    except Exception: pass"
    on_postgres.write(SLOW.format(wait=swallow))
    ended = on_postgres.apply()
    assert ended.code == 1
    assert "swallowed an SQL error" in ended.output
    assert on_postgres.probe().last("one_1") == ("failed", 0)


def test_one_durable_commit_per_migration(on_postgres: Field) -> None:
    """And no write outside of it: each transaction that wrote something has an id, and what stands behind our savepoint another."""
    on_postgres.write("from migrate_graph import migration\n" + "".join(
        f"\n@migration\ndef m_{number}(db):\n    db.executesql('CREATE TABLE t_{number} (id integer)')\n    return True\n" for number in range(20)
    ))  # fmt: skip
    assert on_postgres.migrate("mark", "m_0", "--installed").code == 0
    on_postgres.wait_until_quiet()
    ((before,),) = on_postgres.query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    assert on_postgres.apply().code == 0
    on_postgres.wait_until_quiet()
    ((after,),) = on_postgres.query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    assert after - before == 2 * 19 + 1, "and one for what the database is made of now, at the end of the run"


@pytest.mark.parametrize(
    "statement", ["VACUUM", "CREATE INDEX CONCURRENTLY i ON one (id)", "CALL committing()", "ALTER SYSTEM RESET ALL"]
)
def test_a_statement_that_refuses_a_transaction_names_the_way_out(
    statement: str, on_postgres: Field, postgres_admin_uri: str
) -> None:
    on_postgres.env["MIGRATE_URI"] = postgres_admin_uri  # ALTER SYSTEM is asked for rights first
    on_postgres.query("CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$")
    on_postgres.write(SLOW.format(wait=f"db.executesql('{statement}')"))
    ended = on_postgres.apply()
    assert ended.code == 1
    assert '@migration(transaction="none")' in ended.output


def test_an_index_that_somebody_else_is_building_is_not_ours_to_drop(on_postgres: Field) -> None:
    """CREATE INDEX CONCURRENTLY of a bystander waits for an old transaction, INVALID until it is done."""
    on_postgres.query("CREATE TABLE busy (id integer)")
    with closing(psycopg2.connect(on_postgres.uri)) as old, old.cursor() as cursor:
        cursor.execute("INSERT INTO busy VALUES (1)")
        builder = psycopg2.connect(on_postgres.uri)
        builder.autocommit = True
        building = threading.Thread(
            target=lambda: builder.cursor().execute("CREATE INDEX CONCURRENTLY theirs ON busy (id)"), daemon=True
        )
        on_postgres.write(
            SLOW.replace("@migration\ndef one_1", '@migration(transaction="none")\ndef one_1').format(
                wait=f"{WAITS_TO_GO}\n    raise ValueError"
            )
        )
        assert on_postgres.migrate("mark", "one_1", "--pending").code == 0
        process = on_postgres.open("apply")
        process.wait_for("one_1 | here")
        building.start()
        wait_until(lambda: on_postgres.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)])
        on_postgres.go()
        ended = process.end()
        assert ended.code == 1, ended.output
        assert "theirs" not in ended.output
        old.rollback()
    building.join(60)
    builder.close()
