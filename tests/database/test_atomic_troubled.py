"""A run that is one transaction while others are in the way, and when its connection breaks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from atomic_stand import called, making, nothing_was_kept, outcomes_of, tables_of
from servers import PostgresServer
from stand import Stand

from migrate_graph.core.events import Outcome, RunFinished, StepRetrying, Warned
from migrate_graph.errors import DatabaseUnreachable, LockLost
from migrate_graph.executor import checkpoints
from migrate_graph.signals import Interruption

# -- others are in the way -----------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_the_whole_run_begins_again_when_somebody_was_in_the_way(postgres_uri: str) -> None:
    stand = Stand(postgres_uri, lock_timeout=0.2)
    assert stand.run(making("busy")).succeeded
    other = psycopg2.connect(postgres_uri)
    other.cursor().execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
    runs = []

    def waits(db: Any) -> None:
        runs.append("waits")
        if len(runs) == 4:
            other.rollback()
        db.executesql("ALTER TABLE busy ADD COLUMN name text")

    counts = called("counts", lambda _: runs.append("counts"))
    finished = stand.run(counts, called("waits", waits), atomic=True)
    assert finished.succeeded, finished.results
    assert runs == ["counts", "waits"] * 2
    (retrying,) = stand.told(StepRetrying)
    assert retrying.name == "waits"
    assert "the whole run begins again" in retrying.reason
    other.close()


@pytest.mark.postgres
def test_it_gives_up_when_somebody_stays_in_the_way(postgres_uri: str) -> None:
    stand = Stand(postgres_uri, lock_timeout=0.1)
    assert stand.run(making("busy")).succeeded
    other = psycopg2.connect(postgres_uri)
    other.cursor().execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
    alters = called("alters", lambda db: db.executesql("ALTER TABLE busy ADD COLUMN name text"))
    finished = stand.run(making("a"), alters, atomic=True, tries=2)
    other.close()
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED]
    assert len(stand.told(StepRetrying)) == 1
    assert tables_of(postgres_uri) == {"busy"}


def test_a_reader_in_the_way_of_the_commit(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's commit waits for readers; when they stay, the whole run begins again."""
    stand = Stand(sqlite_uri, lock_timeout=0.6)
    assert stand.run(making("first")).succeeded
    reader = sqlite3.connect(sqlite_uri.partition("://")[2], isolation_level=None, check_same_thread=False)
    runs = []

    def reads(db: Any) -> None:
        runs.append(1)
        if len(runs) == 1:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM first").fetchall()
        db.executesql("CREATE TABLE b (id integer)")

    def reached(checkpoint: str) -> None:
        if checkpoint == "rolled back":
            reader.execute("ROLLBACK")

    monkeypatch.setattr(checkpoints, "reached", reached)
    finished = stand.run(making("a"), called("reads", reads), atomic=True)
    reader.close()
    assert finished.succeeded
    assert len(runs) == 2
    assert len(stand.told(StepRetrying)) == 1


@pytest.mark.postgres
def test_a_serialization_failure_at_the_commit_begins_again(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    uri = postgres_server.app_uri(postgres_database)
    stand = Stand(uri)
    assert stand.run(making("a"), making("b")).succeeded
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET default_transaction_isolation = 'serializable'")
    runs = []

    def skews(db: Any) -> None:
        db.executesql("SELECT count(*) FROM a")
        runs.append(1)
        if len(runs) == 1:
            with closing(psycopg2.connect(uri)) as other, other.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM b")
                cursor.execute("INSERT INTO a VALUES (1)")
                db.executesql("INSERT INTO b VALUES (1)")
                other.commit()
        else:
            db.executesql("INSERT INTO b VALUES (1)")

    finished = stand.run(called("skews", skews), making("c"), atomic=True)
    assert finished.succeeded, finished.results
    assert len(runs) == 2


# -- connections that break ----------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_a_connection_that_is_lost_keeps_nothing(postgres_server: PostgresServer, postgres_database: str) -> None:
    uri = postgres_server.app_uri(postgres_database)

    def dies(db: Any) -> None:
        ((pid,),) = db.executesql("SELECT pg_backend_pid()")
        postgres_server.execute(f"SELECT pg_terminate_backend({pid})")
        db.executesql("SELECT 1")

    stand = Stand(uri)
    finished = stand.run(making("a"), called("dies", dies), making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED, Outcome.NOT_REACHED]
    assert "the connection to the database was lost" in finished.results[1].error
    assert [each.passes for each in finished.results] == ["", "when the database answers", ""]
    nothing_was_kept(uri, stand)
    assert stand.run(making("a"), called("dies", lambda _: None), making("c"), atomic=True).succeeded


@pytest.mark.postgres
@pytest.mark.parametrize("arrives", [True, False])
def test_a_connection_that_is_lost_at_the_commit_is_settled_by_looking(
    arrives: bool, postgres_server: PostgresServer, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migrate_graph.database.postgres.atomic import AtomicConnection

    uri = postgres_server.app_uri(postgres_database)
    stand = Stand(uri)
    commits = AtomicConnection.really_commit

    def commit_and_die(connection: AtomicConnection) -> None:
        if arrives:
            commits(connection)
        postgres_server.execute(f"SELECT pg_terminate_backend({connection.server_pid})")
        connection.ask("SELECT 1")

    monkeypatch.setattr(AtomicConnection, "really_commit", commit_and_die)
    finished = stand.run(making("a"), making("b"), atomic=True)
    if arrives:
        assert finished.succeeded
        assert stand.history().applied == {"makes_a", "makes_b"}
        assert tables_of(uri) == {"a", "b"}
    else:
        assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.RAISED]
        nothing_was_kept(uri, stand)


@pytest.mark.postgres
def test_a_commit_whose_outcome_cannot_be_looked_up_is_not_called_a_failure(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(postgres_uri)

    def unreachable(*_: Any) -> None:
        raise psycopg2.OperationalError("gone")

    def before() -> None:
        from migrate_graph.database.postgres.atomic import AtomicConnection

        monkeypatch.setattr(AtomicConnection, "really_commit", unreachable)
        monkeypatch.setattr(stand.backend, "outcome_of", unreachable)

    with pytest.raises(DatabaseUnreachable, match="cannot be looked up"):
        stand.run(making("a"), making("b"), atomic=True, before=before)
    (finished,) = stand.told(RunFinished)
    assert [result.commits for result in finished.results] == [None, None]
    assert finished.changed


def test_a_lock_that_is_lost_before_the_commit_is_told(sqlite_uri: str) -> None:
    """No other run has started anything, since the file is held: the run is finished, and nothing comes after it."""
    lock = Path(f"{sqlite_uri.partition('://')[2]}.migrate.lock")
    stand = Stand(sqlite_uri)
    with pytest.raises(LockLost):
        stand.run(making("a"), called("loses", lambda _: lock.unlink()), atomic=True)
    assert tables_of(sqlite_uri) == {"a"}
    assert stand.history().applied == {"makes_a", "loses"}
    assert any("the lock is lost" in event.message for event in stand.told(Warned))


def test_a_signal_that_a_body_caught_undoes_all(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Interruption] = []

    class Remembered(Interruption):
        def __init__(self) -> None:
            super().__init__()
            heard.append(self)

    monkeypatch.setattr("stand.Interruption", Remembered)
    stand = Stand(database_uri)
    caught = called("caught", lambda _: setattr(heard[0], "signal", 15))
    finished = stand.run(making("a"), caught, making("c"), atomic=True)
    assert outcomes_of(finished) == [Outcome.ROLLED_BACK, Outcome.INTERRUPTED, Outcome.NOT_REACHED]
    assert finished.results[1].error == "stopped by SIGTERM"
    nothing_was_kept(database_uri, stand)


def test_what_others_do_meanwhile_is_left_alone(database_uri: str) -> None:
    stand = Stand(database_uri)
    assert stand.run(making("theirs")).succeeded

    def meanwhile(db: Any) -> None:
        if database_uri.startswith("postgres"):
            with closing(psycopg2.connect(database_uri)) as other:
                other.cursor().execute("INSERT INTO theirs VALUES (1); CREATE TABLE other (id integer)")
                other.commit()
        db.executesql("CREATE TABLE b (id integer)")
        raise ValueError("oops")

    assert not stand.run(making("a"), called("meanwhile", meanwhile), atomic=True).succeeded
    theirs = {"other"} if database_uri.startswith("postgres") else set()
    assert tables_of(database_uri) == {"theirs"} | theirs
    assert [event for event in stand.told(Warned) if "begins again" in event.message] == []
