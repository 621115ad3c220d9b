"""Several runners at once: every migration is executed once, whoever comes late waits and says so."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from fault_field import Field

ONCE = """
import time
from child import executed
from migrate_graph import migration

@migration
def one_1(db):
    executed("one_1")
    db.executesql("CREATE TABLE one (id integer)")
    time.sleep(2)
    return True

@migration(requires=one_1)
def two_2(db):
    executed("two_2")
    db.executesql("CREATE TABLE two (id integer)")
    return True
"""


def test_d02_eight_runners_apply_everything_once(anywhere: Field) -> None:
    anywhere.write(ONCE)
    ended = [wait() for wait in [anywhere.start("apply") for _ in range(8)]]
    assert [each.code for each in ended] == [0] * 8, [each.output for each in ended]
    waited = [each for each in ended if "waiting for another run to finish" in each.output]
    assert len(waited) == 7
    assert any("held by pid" in each.output for each in waited)
    assert (anywhere.executions("one_1"), anywhere.executions("two_2")) == (1, 1)
    assert anywhere.probe().ledger == {"one_1": "T", "two_2": "T"}


def test_d02_when_the_winner_fails_the_next_one_tries(anywhere: Field) -> None:
    """As often as there are runners: a failed migration is tried again by the next run."""
    anywhere.write(ONCE.replace("time.sleep(2)", "time.sleep(0.8)\n    if db: raise ValueError('no')"))
    ended = [wait() for wait in [anywhere.start("apply") for _ in range(3)]]
    assert [each.code for each in ended] == [1] * 3
    assert anywhere.executions("one_1") == 3
    assert anywhere.executions("two_2") == 0
    state = anywhere.probe()
    assert state.tables == set()
    assert [row[1] for row in state.journal] == ["failed"] * 3


def test_d02_the_successor_of_a_killed_winner_takes_over(anywhere: Field) -> None:
    anywhere.write(ONCE)
    winner = anywhere.start("apply", fatal=("success written, not committed", 1))
    time.sleep(0.6)
    others = [anywhere.start("apply") for _ in range(2)]
    assert winner().code == -9
    assert [wait().code for wait in others] == [0, 0]
    assert anywhere.executions("one_1") == 2, "the killed attempt was rolled back, and one of the others did it again"
    assert anywhere.probe().tables == {"one", "two"}


@pytest.mark.postgres
def test_the_winner_creates_an_index_concurrently_while_others_wait(on_postgres: Field) -> None:
    """A blocking waiter would hold a snapshot, for which CREATE INDEX CONCURRENTLY waits in turn."""
    on_postgres.write(
        """
        import time
        from migrate_graph import migration

        @migration
        def table_1(db):
            db.executesql("CREATE TABLE big AS SELECT generate_series(1, 1000) AS id")
            return True

        @migration(requires=table_1, transaction="none")
        def index_2(db):
            time.sleep(1)
            db.executesql("CREATE INDEX CONCURRENTLY big_id ON big (id)")
            return True
        """
    )
    ended = [wait() for wait in [on_postgres.start("apply") for _ in range(4)]]
    assert [each.code for each in ended] == [0] * 4
    assert max(each.seconds for each in ended) < 20
    assert on_postgres.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'big_id'::regclass") == [(True,)]


def test_giving_up_on_the_lock_is_75_and_names_the_holder(anywhere: Field) -> None:
    anywhere.write(ONCE.replace("sleep(2)", "sleep(3)"))
    first = anywhere.start("apply")
    time.sleep(1)
    late = anywhere.apply("--lock-timeout", "0.3")
    at_once = anywhere.apply("--lock-timeout", "0")
    assert (late.code, at_once.code) == (75, 75)
    assert "held by pid" in late.output
    assert "raise --lock-timeout" in late.output
    assert first().code == 0


def test_the_lock_comes_soon_after_it_is_free(anywhere: Field) -> None:
    anywhere.write(ONCE)
    first = anywhere.start("apply")
    time.sleep(0.7)
    second = anywhere.start("apply")
    started = time.monotonic()
    assert first().code == 0
    gone = time.monotonic() - started
    assert second().code == 0
    assert time.monotonic() - started - gone < 5


@pytest.mark.postgres
def test_other_tables_do_not_wait_for_each_other(on_postgres: Field) -> None:
    on_postgres.write(ONCE.replace("sleep(2)", "sleep(3)").replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    first = on_postgres.start("apply")
    time.sleep(1)
    started = time.monotonic()
    other = on_postgres.apply("--fake", env={"MIGRATE_TABLE": "other_features"})
    assert other.code == 8, "it got as far as finding a database that is not empty"
    assert "waiting for another run" not in other.output
    assert time.monotonic() - started < 2.5
    assert first().code == 0


@pytest.mark.postgres
def test_every_spelling_of_one_table_is_one_lock(on_postgres: Field) -> None:
    on_postgres.write(ONCE.replace("sleep(2)", "sleep(3)"))
    first = on_postgres.start("apply")
    time.sleep(1.2)
    for env in ({"MIGRATE_TABLE": "public.ewh_implemented_features"}, {"SCHEMA": "public"}):
        assert on_postgres.apply("--lock-timeout", "0", env=env).code == 75, env
    assert first().code == 0


def test_three_programs_that_only_activate_migrations(anywhere: Field) -> None:
    program = f"{ONCE}\nimport sys\nfrom migrate_graph import activate_migrations\nsys.exit(0 if activate_migrations() else 9)\n"
    anywhere.write(program.replace("sleep(2)", "sleep(0.5)"), "program.py")
    (anywhere.path / "child.py").write_text("def executed(name):\n    open('executed', 'a').write(name + '\\n')\n")
    running = [
        subprocess.Popen(
            [sys.executable, "program.py"], cwd=anywhere.path, env=anywhere.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for _ in range(3)
    ]  # fmt: skip
    outputs = [each.communicate(timeout=60)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], outputs
    assert (anywhere.executions("one_1"), anywhere.executions("two_2")) == (1, 1)


def test_a_removed_lock_file_does_not_let_two_run(on_sqlite: Field) -> None:
    on_sqlite.write(ONCE)
    first = on_sqlite.start("apply")
    time.sleep(1)
    lock = on_sqlite.path.parent / "database.sqlite.migrate.lock"
    assert lock.exists()
    lock.unlink()
    ended = first()
    assert ended.code == 6, "whoever holds a lock that is gone stops after the migration at hand"
    assert "lock" in ended.output
    assert on_sqlite.probe().ledger == {"one_1": "T"}


def test_a_lock_file_that_is_replaced_during_the_wait(on_sqlite: Field) -> None:
    """Whoever gets the lock on a file that is gone would run beside the one that locks its successor."""
    on_sqlite.write("from migrate_graph import migration\n\n@migration\ndef one_1(db):\n    return True\n")
    path = on_sqlite.path.parent / "database.sqlite.migrate.lock"
    with path.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        process = on_sqlite.open("apply")
        process.wait_for("waiting for another run")
        path.unlink()
        second = path.open("w")
        fcntl.flock(second, fcntl.LOCK_EX)
    process.wait_for("waiting for another run")
    second.close()
    ended = process.end()
    assert ended.code == 0, ended.output


@pytest.mark.postgres
def test_a_dead_runner_whose_statement_still_runs_is_waited_for(on_postgres: Field) -> None:
    """After kill -9 of a client the server goes on with its statement; the next runner begins only when that is over."""
    on_postgres.write(
        """
        from child import executed
        from migrate_graph import migration

        @migration
        def slow_1(db):
            executed("slow_1")
            db.executesql("SET client_connection_check_interval = 0; SET lock_timeout = 0")
            db.executesql("SELECT pg_advisory_lock(4242)")
            return True
        """
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242 AND NOT granted"
    with closing(on_postgres.connect()) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT pg_advisory_lock(4242)")
        first = on_postgres.open("apply")
        while on_postgres.query(waiting) != [(1,)]:
            assert first.process.poll() is None, first.end().output
        first.stop(signal.SIGKILL)
        assert on_postgres.query(waiting) == [(1,)], "the statement of the dead client still runs"
        on_postgres.write(
            "from child import executed\nfrom migrate_graph import migration\n\n"
            "@migration\ndef slow_1(db):\n    executed('slow_1')\n    "
            f"assert db.executesql({waiting!r}) == [(0,)]\n    return True\n"
        )
        second = on_postgres.open("apply")
        second.wait_for("waiting for another run")
        assert on_postgres.executions("slow_1") == 1
        cursor.execute("SELECT pg_advisory_unlock(4242)")
        ended = second.end()
    assert ended.code == 0, ended.output
    assert on_postgres.executions("slow_1") == 2


def test_status_says_running_of_what_runs(anywhere: Field) -> None:
    """Before its first commit nothing of it is in the journal: who holds the lock says what it is at."""
    anywhere.write(
        ONCE.replace("time.sleep(2)", "while not __import__('os').path.exists('go'):\n        time.sleep(0.05)")
    )
    first = anywhere.open("apply")
    first.wait_for("one_1")
    told = anywhere.migrate("status").output
    (anywhere.path / "go").touch()
    assert first.end().code == 0
    assert re.search(r"one_1 +running", told), told
    assert not re.search(r" running", anywhere.migrate("status").output)
