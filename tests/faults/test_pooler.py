"""Behind a pooler in transaction mode a session belongs to whoever comes next: nothing of ours stays there, and the lock still locks."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psycopg2
import pytest
from fault_field import Field
from rehearsal_stand import RehearsalStand, footprint
from servers import APP_PASSWORD, PostgresServer, free_port
from side_by_side import ONE_TRANSACTION
from transaction_pooler import TransactionPooler
from waiting import wait_until

pytestmark = pytest.mark.postgres


def _pgbouncer(
    directory: Path, server: PostgresServer, mode: str = "transaction", size: int = 4
) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    (directory / "users").write_text(f'"app" "{APP_PASSWORD}"\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = plain\nauth_file = {directory}/users\npool_mode = {mode}\ndefault_pool_size = {size}\nunix_socket_dir =\n"
        "server_round_robin = 1\nlogfile = \npidfile = \n"
    )
    identity = {}
    if os.geteuid() == 0:
        identity = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid}
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755)
    process = subprocess.Popen(
        [shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "pgbouncer", str(directory / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity,
    )  # fmt: skip
    return process, port


def wait_until_it_answers(uri: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(uri).close()
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.fixture(params=["our own", "pgbouncer"])
def pooled(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_uri: str,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> Iterator[Field]:
    """A project whose database is reached through a pooler in transaction mode; `direct` in its `env` leads past it."""
    process = None
    if request.param == "our own":
        pooler = TransactionPooler(postgres_uri, size=3)
        port = pooler.port
    else:
        if shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
            pytest.skip("pgbouncer is not installed here; our own pooler has shown the same")
        directory = Path("/tmp") / f"mg-pgbouncer-{os.getpid()}-{time.monotonic_ns()}"
        directory.mkdir()
        process, port = _pgbouncer(directory, postgres_server)
    field = Field(tmp_path / "project", postgres_uri)
    field.env["MIGRATE_URI"] = postgres_uri.replace(f":{postgres_server.port}/", f":{port}/")
    wait_until_it_answers(field.env["MIGRATE_URI"])
    yield field
    if process is not None:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)
    else:
        with suppress(OSError):
            pooler.close()


TEXT = """
import time
from child import executed
from migrate_graph import ViewMigrationManager, migration

class V(ViewMigrationManager):
    uses = ()
    since = "one_1"
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT id FROM one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

@migration
def one_1(db):
    executed("one_1")
    db.executesql("CREATE TABLE one (id integer)")
    db.commit()
    time.sleep(1)
    with V(db):
        db.executesql("CREATE TABLE also (id integer)")
    return True

@migration(requires=one_1)
def two_2(db):
    executed("two_2")
    with V(db):
        db.executesql("ALTER TABLE one ADD note text")
    return True
"""


def test_a_run_behind_a_pooler(pooled: Field) -> None:
    """Also in a schema of its own, which every transaction has to be told."""
    pooled.query("CREATE SCHEMA shop")
    pooled.write(TEXT)
    pooled.env["SCHEMA"] = "shop"
    ended = pooled.apply()
    assert ended.code == 0, ended.output
    assert "connect to the server's own port" in ended.output
    assert pooled.query("SELECT relname, relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('one', 'also', 'v') ORDER BY 1") == [
        ("also", "shop"), ("one", "shop"), ("v", "shop"),
    ]  # fmt: skip
    assert pooled.query("SELECT name, installed FROM shop.ewh_implemented_features ORDER BY 1") == [
        ("one_1", "T"),
        ("two_2", "T"),
    ]
    assert pooled.query("SELECT state, commits FROM shop.ewh_implemented_features_journal WHERE name = 'one_1'") == [
        ("applied", 1)
    ]
    assert "nothing to do" in pooled.apply().output


def test_nothing_of_ours_stays_in_the_sessions_of_others(pooled: Field) -> None:
    pooled.query("CREATE SCHEMA shop")
    pooled.write(TEXT)
    pooled.env["SCHEMA"] = "shop"
    assert pooled.apply().code == 0
    with (
        closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as first,
        closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as second,
    ):
        for _ in range(6):
            for connection in (first, second):
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT current_setting('search_path'), current_setting('lock_timeout')")
                    assert cursor.fetchone() == ('"$user", public', "0")
    assert pooled.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


WHOLE = """
from migrate_graph import migration

@migration
def one_1(db):
    db.executesql("CREATE TABLE one (id integer)")
    db.commit()
    return True

@migration(requires=one_1)
def two_2(db):
    db.executesql("SET work_mem TO '1MB'")
    db.executesql("LISTEN something")
    db.executesql("CREATE TABLE two (id integer)")
    return RETURNED
"""


@ONE_TRANSACTION
def test_one_transaction_behind_a_pooler(pooled: Field) -> None:
    pooled.write(WHOLE.replace("RETURNED", "bool(db) and 1 / 0"))
    ended = pooled.apply("--atomic")
    assert ended.code == 1, ended.output
    assert "ZeroDivisionError" in ended.output
    state = pooled.read()
    assert state.tables == set()
    assert state.ledger == {"two_2": "F"}
    pooled.write(WHOLE.replace("RETURNED", "True"))
    ended = pooled.apply("--atomic")
    assert ended.code == 0, ended.output
    state = pooled.read()
    assert state.tables == {"one", "two"}
    assert state.ledger == {"one_1": "T", "two_2": "T"}
    with (
        closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as first,
        closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as second,
    ):
        for connection in (first, second) * 3:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('work_mem'), (SELECT count(*) FROM pg_listening_channels())")
                assert cursor.fetchone() == ("4MB", 0), "nothing of it stays in the sessions of others"


FILLED = """
from child import executed
from migrate_graph import SqlView, ViewMigrationManager, migration

@migration
def one_1(db):
    db.executesql("CREATE TABLE one (id integer)")
    with M(db), V(db):
        return True

class M(SqlView):
    uses = ()
    since = one_1
    rebuild = "deferred"
    materialized = True
    query = "SELECT CAST(pg_sleep(1) AS text) AS slept, CAST(pg_advisory_xact_lock_shared(4242) AS text) AS waited"

class V(ViewMigrationManager):
    uses = ()
    since = one_1
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT id FROM one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

@migration(requires=one_1)
def two_2(db):
    with V(db):
        db.commit()
        return 1 / 0
"""


def test_what_we_do_between_migrations_behind_a_pooler(pooled: Field) -> None:
    """A refresh after the commit, and the repair of views, have the settings of a migration, and its lock: a later run waits for them."""
    pooled.query("CREATE SCHEMA shop")
    pooled.env["SCHEMA"] = "shop"
    with ExitStack() as stack:
        others = [stack.enter_context(closing(psycopg2.connect(pooled.env["MIGRATE_URI"]))) for _ in range(3)]
        for each in others:  # another program leaves its setting in each session
            each.cursor().execute("SET statement_timeout TO 500")
        for each in others:
            each.commit()
    pooled.write(FILLED)
    with closing(pooled.connect()) as gate:
        gate.cursor().execute("SELECT pg_advisory_lock(4242)")
        process = pooled.open("apply", env={"MIGRATE_LOCK_TIMEOUT": "0"})
        process.wait_for("refreshing shop.m")
        at_work = (
            "SELECT l.classid, l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE a.query LIKE 'REFRESH%%' AND l.locktype = 'advisory' AND l.granted"
        )
        wait_until(lambda: pooled.query(at_work) == [(28008, "ExclusiveLock")], 30)
        gate.cursor().execute("SELECT pg_advisory_unlock(4242)")
        ended = process.end()
    assert ended.code == 1, ended.output
    assert "refreshed shop.m" in ended.output
    assert "could not be" not in ended.output
    assert pooled.query("SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('m', 'v')") == [
        ("m",), ("v",)
    ]  # fmt: skip
    assert pooled.query("SELECT count(*) FROM shop.ewh_implemented_features_views WHERE state = 'down'") == [(0,)]


def test_d02_two_runners_behind_a_pooler(pooled: Field) -> None:
    """A session's lock would be had by both: their statements reach the same server session."""
    pooled.write(TEXT)
    ended = [wait() for wait in [pooled.start("apply") for _ in range(3)]]
    assert [each.code for each in ended] == [0, 0, 0], [each.output for each in ended]
    assert (pooled.executions("one_1"), pooled.executions("two_2")) == (1, 1)
    assert sum("waiting for another run" in each.output for each in ended) == 2


def test_one_runner_behind_the_pooler_and_one_past_it(pooled: Field) -> None:
    pooled.write(TEXT)
    behind = pooled.start("apply")
    past = pooled.start("apply", env={"MIGRATE_URI": pooled.uri})
    assert (behind().code, past().code) == (0, 0)
    assert (pooled.executions("one_1"), pooled.executions("two_2")) == (1, 1)


def test_a_kill_behind_a_pooler(pooled: Field) -> None:
    pooled.write(TEXT)
    assert pooled.apply(fatal=("body returned", 1)).code == -9
    ended = pooled.apply()
    assert ended.code == 5, ended.output
    assert pooled.executions("one_1") == 1


def test_transaction_none_is_refused_behind_a_pooler(pooled: Field) -> None:
    pooled.write(
        "from child import executed\nfrom migrate_graph import migration\n\n"
        "@migration(transaction='none')\ndef one_1(db):\n    executed('one_1')\n    return True\n"
    )
    ended = pooled.apply()
    assert ended.code == 1
    assert "pooler" in ended.output
    assert "own port" in ended.output
    assert pooled.executions("one_1") == 0
    assert pooled.apply(env={"MIGRATE_URI": pooled.uri}).code == 0


def test_a_restore_behind_a_pooler_leaves_nothing_in_the_sessions_of_others(pooled: Field) -> None:
    """What the dump itself sets for its session, as every dump does, would be the next client's."""
    (pooled.path / "backup.sql").write_text(
        "SET statement_timeout = 0;\nSET lock_timeout = 4321;\nSELECT pg_catalog.set_config('search_path', '', false);\n"
        "CREATE TABLE public.ewh_implemented_features (id serial, name varchar(512), installed char(1), last_update_dttm timestamp);\n"
        "CREATE TABLE public.customer (id int);\nINSERT INTO public.customer VALUES (1);\n"
    )
    pooled.write("")
    pooled.env["DATABASE_TO_RESTORE"] = "backup.sql"
    ended = pooled.apply()
    assert ended.code == 0, ended.output
    assert pooled.query("SELECT id FROM customer") == [(1,)]
    with closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as connection:
        connection.autocommit = True
        for _ in range(6):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT current_setting('search_path'), current_setting('lock_timeout'), "
                    "(SELECT count(*) FROM pg_class WHERE relname LIKE 'migrate\\_graph%')"
                )
                assert cursor.fetchone() == ('"$user", public', "0", 0)


LEAVES = """
from migrate_graph import migration

@migration
def one_1(db):
    db.executesql("SELECT set_config('search_path', 'pg_catalog', false)")
    db.executesql("SET default_transaction_read_only = on")
    db.executesql("SET statement_timeout = '77s'")
    db.executesql("SET my.own = 'mine'")
    db.executesql("CREATE TEMP TABLE tt (id integer)")
    db.executesql("PREPARE mine AS SELECT 1")
    db.executesql("LISTEN mine")
    db.commit()
    db.executesql("SET TimeZone = 'Asia/Tokyo'")
    db.executesql("COMMIT")
    db.executesql("SET lock_timeout = '66s'")
    return True
"""


def test_what_a_body_sets_stays_with_it(pooled: Field) -> None:
    pooled.write(LEAVES)
    ended = pooled.apply()
    assert ended.code == 0, ended.output
    with closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as client, client.cursor() as cursor:
        client.autocommit = True
        for _ in range(8):
            cursor.execute(
                "SELECT current_setting('search_path'), current_setting('default_transaction_read_only'), current_setting('lock_timeout'), "
                "current_setting('statement_timeout'), coalesce(current_setting('my.own', true), ''), current_setting('TimeZone'), "
                "to_regclass('pg_temp.tt'), (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), "
                "(SELECT count(*) FROM pg_listening_channels())"
            )
            assert cursor.fetchone() == ('"$user", public', "off", "0", "0", "", "UTC", None, 0, 0)


def test_autocommit_is_refused_behind_a_pooler(pooled: Field) -> None:
    pooled.write(
        "from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    db._adapter.connection.autocommit = True\n"
        "    db.executesql('CREATE TABLE one (id integer)')\n    return True\n"
    )
    ended = pooled.apply()
    assert ended.code == 1
    assert "own port" in ended.output
    assert pooled.query("SELECT to_regclass('one')") == [(None,)]


@pytest.fixture
def session_pooler(postgres_server: PostgresServer, postgres_uri: str, tmp_path: Path) -> Iterator[tuple[Field, int]]:
    if shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
        pytest.skip("pgbouncer is not installed here, and only it gives a server to each client")
    directory = Path("/tmp") / f"mg-pgbouncer-{os.getpid()}-{time.monotonic_ns()}"
    directory.mkdir()
    process, port = _pgbouncer(directory, postgres_server, "session")
    field = Field(tmp_path / "project", postgres_uri)
    field.env["MIGRATE_URI"] = postgres_uri.replace(f":{postgres_server.port}/", f":{port}/")
    wait_until_it_answers(field.env["MIGRATE_URI"])
    yield field, port
    process.terminate()
    process.wait(10)
    shutil.rmtree(directory, ignore_errors=True)


def test_a_pooler_in_session_mode_is_as_good_as_none(session_pooler: tuple[Field, int]) -> None:
    field, _ = session_pooler
    field.write(
        TEXT
        + "\n@migration(transaction='none')\ndef three_3(db):\n    db.executesql('CREATE INDEX CONCURRENTLY one_id ON one (id)')\n"
        "    return True\n"
    )
    ended = [wait() for wait in [field.start("apply") for _ in range(2)]]
    assert [each.code for each in ended] == [0, 0], [each.output for each in ended]
    assert not any("own port" in each.output for each in ended)
    assert (field.executions("one_1"), field.executions("two_2")) == (1, 1)


def test_a_pool_without_a_free_connection(postgres_server: PostgresServer, postgres_uri: str, tmp_path: Path) -> None:
    """It lets clients in, and answers none: that is told, a signal is heard, and there is a limit."""
    pooler = TransactionPooler(postgres_uri, size=1)
    uri = postgres_uri.replace(f":{postgres_server.port}/", f":{pooler.port}/")
    field = Field(tmp_path / "project", postgres_uri)
    field.write(TEXT)
    with closing(psycopg2.connect(uri)) as greedy, greedy.cursor() as cursor:
        cursor.execute("SELECT 1")  # and no commit
        process = field.open("apply", env={"MIGRATE_URI": uri})
        process.wait_for("no answer so far")
        ended = process.stop(signal.SIGTERM)
        assert ended.code == 143, ended.output
        ended = field.migrate("status", env={"MIGRATE_URI": uri})
        assert ended.code == 6
        assert "free connection" in ended.output
    pooler.close()


def test_a_rehearsal_in_the_database_itself_behind_a_pooler(pooled: Field, postgres_server: PostgresServer) -> None:
    """It is one transaction, so it stays on one server session, and leaves that as it was."""
    pooled.write(TEXT.replace("from child import executed\n", "executed = print\n").replace("time.sleep(1)", "pass"))
    stand = RehearsalStand(pooled.env["MIGRATE_URI"], pooled.path)
    pooled.query(
        "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)"
    )
    done = stand.rehearse("here")
    assert (done.exit_code, done.cut) == (0, ""), done.results
    assert "column public.one.note" in {f"{fact.kind} {fact.identity}" for fact in footprint(done, "two_2").added}
    assert pooled.query("SELECT to_regclass('one')") == [(None,)]
    with closing(psycopg2.connect(pooled.env["MIGRATE_URI"])) as other, other.cursor() as cursor:
        for _ in range(4):  # whichever server it gets
            cursor.execute(
                "SELECT current_setting('default_transaction_read_only'), current_setting('search_path'), pg_my_temp_schema()"
            )
            assert cursor.fetchone() == ("off", '"$user", public', 0)
            other.commit()
