"""Several runners at once: every migration is executed once, whoever comes late waits and says so."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest
from fault_field import Ended, Field
from waiting import wait_until

from migrate_graph.database.books.bookkeeping import Bookkeeping
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.sqlite.backend import SqliteBackend
from migrate_graph.signals import Interruption

ONCE = """
import os, time
from child import executed
from migrate_graph import migration

@migration
def one_1(db):
    executed("one_1")
    db.executesql("CREATE TABLE one (id integer)")
    while os.path.exists("wait"):
        time.sleep(0.02)
    return True

@migration(requires=one_1)
def two_2(db):
    executed("two_2")
    db.executesql("CREATE TABLE two (id integer)")
    return True
"""


WAITS = "waiting for another run"


def at_work(field: Field, text: str = ONCE) -> Callable[[], Ended]:
    """Start a run whose first migration waits until it is let go, and return when it is at it; what is given waits for its end."""
    field.write(text)
    (field.path / "wait").touch()
    run = field.start("apply")
    wait_until(lambda: field.executions("one_1") == 1)
    return run


def let_go(field: Field) -> None:
    """End the wait of that migration."""
    (field.path / "wait").unlink()


def test_d02_eight_runners_apply_everything_once(anywhere: Field) -> None:
    anywhere.write(ONCE)
    (anywhere.path / "wait").touch()
    runs = [anywhere.start("apply") for _ in range(8)]
    wait_until(lambda: anywhere.saying(WAITS) == 7)
    let_go(anywhere)
    ended = [wait() for wait in runs]
    assert [each.code for each in ended] == [0] * 8, [each.output for each in ended]
    waited = [each for each in ended if "waiting for another run to finish" in each.output]
    assert len(waited) == 7
    assert any("held by pid" in each.output for each in waited)
    assert (anywhere.executions("one_1"), anywhere.executions("two_2")) == (1, 1)
    assert anywhere.probe().ledger == {"one_1": "T", "two_2": "T"}


def test_d02_when_the_winner_fails_the_next_one_tries(anywhere: Field) -> None:
    """As often as there are runners: a failed migration is tried again by the next run."""
    anywhere.write(ONCE.replace("    return True", "    if db: raise ValueError('no')\n    return True", 1))
    (anywhere.path / "wait").touch()
    runs = [anywhere.start("apply") for _ in range(3)]
    wait_until(lambda: anywhere.saying(WAITS) == 2)
    let_go(anywhere)
    ended = [wait() for wait in runs]
    assert [each.code for each in ended] == [1] * 3
    assert anywhere.executions("one_1") == 3
    assert anywhere.executions("two_2") == 0
    state = anywhere.probe()
    assert state.tables == set()
    assert [row[1] for row in state.journal] == ["failed"] * 3


def test_d02_the_successor_of_a_killed_winner_takes_over(anywhere: Field) -> None:
    anywhere.write(ONCE)
    (anywhere.path / "wait").touch()
    winner = anywhere.start("apply", fatal=("success written, not committed", 1))
    wait_until(lambda: anywhere.executions("one_1") == 1)
    others = [anywhere.start("apply") for _ in range(2)]
    wait_until(lambda: anywhere.saying(WAITS) == 2)
    let_go(anywhere)
    assert winner().code == -9
    assert [wait().code for wait in others] == [0, 0]
    assert anywhere.executions("one_1") == 2, "the killed attempt was rolled back, and one of the others did it again"
    assert anywhere.probe().tables == {"one", "two"}


@pytest.mark.postgres
def test_the_winner_creates_an_index_concurrently_while_others_wait(on_postgres: Field) -> None:
    """A blocking waiter would hold a snapshot, for which CREATE INDEX CONCURRENTLY waits in turn."""
    on_postgres.write(
        """
        import os, time
        from migrate_graph import migration

        @migration
        def table_1(db):
            db.executesql("CREATE TABLE big AS SELECT generate_series(1, 1000) AS id")
            return True

        @migration(requires=table_1, transaction="none")
        def index_2(db):
            while os.path.exists("wait"):
                time.sleep(0.02)
            db.executesql("CREATE INDEX CONCURRENTLY big_id ON big (id)")
            return True
        """
    )
    (on_postgres.path / "wait").touch()
    runs = [on_postgres.start("apply") for _ in range(4)]
    wait_until(lambda: on_postgres.saying(WAITS) == 3)
    let_go(on_postgres)
    ended = [wait() for wait in runs]
    assert [each.code for each in ended] == [0] * 4
    assert on_postgres.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'big_id'::regclass") == [(True,)]


def test_giving_up_on_the_lock_is_75_and_names_the_holder(anywhere: Field) -> None:
    first = at_work(anywhere)
    late = anywhere.apply("--lock-timeout", "0.3")
    at_once = anywhere.apply("--lock-timeout", "0")
    assert (late.code, at_once.code) == (75, 75)
    assert "held by pid" in late.output
    assert "raise --lock-timeout" in late.output
    let_go(anywhere)
    assert first().code == 0


@pytest.mark.parametrize("kind", [PostgresBackend, SqliteBackend])
def test_the_lock_comes_soon_after_it_is_free(kind: type[Bookkeeping]) -> None:
    """Whoever waits asks again after pauses that grow, and never longer than two seconds; the next one waits for no more than that."""
    pauses: list[float] = []

    class Busy:
        label = "x"
        _longest_pause = kind._longest_pause

    class Sleeping(Interruption):
        def sleep(self, seconds: float) -> None:
            pauses.append(seconds)

    answers = iter([False] * 30 + [True])
    Bookkeeping._wait(Busy(), lambda: next(answers), 600, lambda _: None, Sleeping(), lambda: None)  # type: ignore[arg-type]
    assert len(pauses) == 30
    assert max(pauses[:2]) <= 0.5
    assert max(pauses) <= 2.0


@pytest.mark.postgres
def test_other_tables_do_not_wait_for_each_other(on_postgres: Field) -> None:
    first = at_work(on_postgres, ONCE.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
    other = on_postgres.apply("--fake", env={"MIGRATE_TABLE": "other_features"})
    assert other.code == 8, "it got as far as finding a database that is not empty"
    assert WAITS not in other.output
    let_go(on_postgres)
    assert first().code == 0


@pytest.mark.postgres
def test_every_spelling_of_one_table_is_one_lock(on_postgres: Field) -> None:
    first = at_work(on_postgres)
    for env in ({"MIGRATE_TABLE": "public.ewh_implemented_features"}, {"SCHEMA": "public"}):
        assert on_postgres.apply("--lock-timeout", "0", env=env).code == 75, env
    let_go(on_postgres)
    assert first().code == 0


def test_three_programs_that_only_activate_migrations(anywhere: Field) -> None:
    program = f"{ONCE}\nimport sys\nfrom migrate_graph import activate_migrations\nsys.exit(0 if activate_migrations() else 9)\n"
    anywhere.write(program, "program.py")
    (anywhere.path / "child.py").write_text("def executed(name):\n    open('executed', 'a').write(name + '\\n')\n")
    (anywhere.path / "wait").touch()
    running = [
        subprocess.Popen(
            [sys.executable, "program.py"], cwd=anywhere.path, env=anywhere.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for _ in range(3)
    ]  # fmt: skip
    wait_until(lambda: anywhere.executions("one_1") == 1)
    let_go(anywhere)
    outputs = [each.communicate(timeout=120)[0] for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], outputs
    assert (anywhere.executions("one_1"), anywhere.executions("two_2")) == (1, 1)


def test_a_removed_lock_file_does_not_let_two_run(on_sqlite: Field) -> None:
    first = at_work(on_sqlite)
    lock = on_sqlite.path.parent / "database.sqlite.migrate.lock"
    assert lock.exists()
    lock.unlink()
    let_go(on_sqlite)
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
    first = at_work(anywhere)
    told = anywhere.migrate("status").output
    let_go(anywhere)
    assert first().code == 0
    assert re.search(r"one_1 +running", told), told
    assert not re.search(r" running", anywhere.migrate("status").output)
