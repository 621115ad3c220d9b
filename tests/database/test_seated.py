"""What works under a lock that another session holds: nothing without that lock, nothing that two do at once, nothing of a dead one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2
import pytest
from bodies import ask
from msgspec.structs import replace
from servers import PostgresServer

from migrate_graph.core.events import ignore_events
from migrate_graph.core.model import Migration
from migrate_graph.database import Backend, Settings, open_backend
from migrate_graph.database.books.ledger import AttemptKey, Known
from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.postgres.seated import Seat, SeatedBackend
from migrate_graph.database.room import Room
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable, LockTimeout, MigrateGraphError
from migrate_graph.signals import Interruption

pytestmark = pytest.mark.postgres


@contextmanager
def run(uri: str) -> Iterator[tuple[Backend, Any]]:
    """Hold the lock of a run."""
    with (
        open_backend(Settings(uri), ignore_events, interruption=Interruption(), writing=True) as backend,
        backend.lock(0, ignore_events) as lock,
    ):
        backend.prepare()
        yield backend, lock


@contextmanager
def seated(uri: str, seat: Seat, **settings: Any) -> Iterator[SeatedBackend]:
    """Take a seat."""
    backend = SeatedBackend(replace(Settings(uri), **settings), seat)
    try:
        backend.connect(observer=ignore_events, interruption=Interruption())
        yield backend
    finally:
        backend.close()


@contextmanager
def work_of(backend: SeatedBackend, name: str) -> Iterator[Any]:
    """Begin an attempt."""
    work = backend.work(Migration(name, lambda _db: True), AttemptKey.now(name, run="r"))
    try:
        work.start()
        yield work
    finally:
        work.close()


def lose_lock(uri: str) -> None:
    """End the session that holds the lock of the run."""
    ask(uri, "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND classid = 28007")


def test_two_work_at_once_and_both_are_recorded(postgres_uri: str) -> None:
    with run(postgres_uri) as (backend, lock):
        assert not backend.room_for(2).why
        seats = [backend.seat(lock, name) for name in ("r 1", "r 2")]
        assert seats[0].number != seats[1].number
        with seated(postgres_uri, seats[0]) as one, seated(postgres_uri, seats[1]) as two:
            assert one.lock_of_run.is_held()
            with work_of(one, "a") as first, work_of(two, "b") as second:
                first.db.executesql("CREATE TABLE a (id integer)")
                second.db.executesql("CREATE TABLE b (id integer)")
                for each in (first, second):
                    each.finish(seconds=0.0, guard=lambda: None)
        assert backend.read_history().applied == {"a", "b"}


def test_no_transaction_begins_without_the_lock(postgres_uri: str) -> None:
    with suppress(MigrateGraphError), run(postgres_uri) as (backend, lock):  # noqa: SIM117 - an error of the outer one is expected
        with seated(postgres_uri, backend.seat(lock, "r 1")) as one, work_of(one, "a") as work:
            lose_lock(postgres_uri)
            assert not one.lock_of_run.is_held()
            with pytest.raises(AttemptFailed, match="another run is at work"):
                work.db.executesql("CREATE TABLE a (id integer)")
    assert ask(postgres_uri, "SELECT to_regclass('a')") == [(None,)]


@pytest.mark.parametrize("commit", ["db.commit()", "db.executesql('COMMIT')", "db._adapter.connection.commit()"])
def test_nothing_is_committed_without_the_lock(commit: str, postgres_uri: str) -> None:
    with suppress(MigrateGraphError), run(postgres_uri) as (backend, lock):  # noqa: SIM117 - an error of the outer one is expected
        with seated(postgres_uri, backend.seat(lock, "r 1")) as one, work_of(one, "a") as work:
            work.db.executesql("CREATE TABLE a (id integer)")
            lose_lock(postgres_uri)
            with pytest.raises(AttemptFailed, match="the lock of this run is lost"):
                eval(commit, {"db": work.db})
    assert ask(postgres_uri, "SELECT to_regclass('a')") == [(None,)]


def test_a_lock_that_another_session_took_is_not_the_runs(postgres_uri: str) -> None:
    with run(postgres_uri) as (backend, lock):
        seat = backend.seat(lock, "r 1")
        with seated(postgres_uri, replace(seat, since="1.0")) as late:
            assert not late.lock_of_run.is_held(), "another session has its number by now"
        with seated(postgres_uri, replace(seat, holder=1)) as other:
            assert not other.lock_of_run.is_held()


def test_the_next_run_waits_for_the_last_session_of_a_seat(postgres_uri: str) -> None:
    with suppress(MigrateGraphError), run(postgres_uri) as (backend, lock):  # noqa: SIM117 - an error of the outer one is expected
        with seated(postgres_uri, backend.seat(lock, "r 1")) as one, work_of(one, "a") as work:
            work.db.executesql("SELECT pg_advisory_unlock_all()")
            lose_lock(postgres_uri)
            with pytest.raises(LockTimeout), run(postgres_uri):
                pass
    with run(postgres_uri):
        pass


def test_a_seat_is_free_when_its_work_has_ended(postgres_uri: str) -> None:
    """What a dead worker's session still does is waited for before its outcome is looked up."""
    with run(postgres_uri) as (backend, lock):
        seat = backend.seat(lock, "r 1")
        key = AttemptKey.now("a", run="r")
        with closing(psycopg2.connect(postgres_uri)) as dead, seated(postgres_uri, seat) as heir:
            dead.cursor().execute("SELECT pg_advisory_lock(28009, %s)", (seat.number,))
            assert not heir._work_is_over()
            dead.close()
            assert heir.outcome_of(key) == Known(succeeded=False, commits=0)


def test_sessions_that_find_another_ledger_are_refused(postgres_uri: str) -> None:
    with run(postgres_uri) as (backend, lock):
        seat = backend.seat(lock, "r 1")
        with pytest.raises(DatabaseRefused, match="finds another table"), seated(postgres_uri, seat, table="other"):
            pass


def test_no_seat_under_a_lost_lock(postgres_uri: str) -> None:
    refused = False
    with suppress(MigrateGraphError), run(postgres_uri) as (backend, lock):  # a lock that is lost cannot be given back
        lose_lock(postgres_uri)
        with pytest.raises(DatabaseUnreachable, match="was lost"):
            backend.seat(lock, "r 1")
        refused = True
    assert refused


def test_a_session_is_used_again_with_both_its_locks(postgres_uri: str) -> None:
    with run(postgres_uri) as (backend, lock), seated(postgres_uri, backend.seat(lock, "r 1")) as one:
        pids = []
        for name in ("a", "b"):
            with work_of(one, name) as work:
                ((pid,),) = work.db.executesql("SELECT pg_backend_pid()")
                held = work.db.executesql(
                    f"SELECT classid::int, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = {pid} GROUP BY 1, 2"
                )
                assert set(held) == {(28008, "ShareLock"), (28009, "ExclusiveLock")}
                pids.append(pid)
                work.finish(seconds=0.0, guard=lambda: None)
        assert pids[0] == pids[1]


def test_there_are_as_many_seats_as_connections_are_allowed(postgres_uri: str, postgres_server: PostgresServer) -> None:
    name = postgres_uri.rpartition("/")[2]
    with run(postgres_uri) as (backend, _):
        found = []
        for allowed in (-1, 2, 3, 4, 5, 9):
            postgres_server.execute(f"ALTER DATABASE {name} CONNECTION LIMIT {allowed}")
            found.append(backend.room_for(9).number)
    assert found == [9, 0, 1, 1, 2, 4], "the run has one, and each seat two"
    postgres_server.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 2")
    with run(postgres_server.admin_uri(name)) as (backend, _):
        assert backend.room_for(9) == Room(9), "no limit is one for a superuser"


def test_behind_a_pooler_there_are_no_seats(postgres_uri: str) -> None:
    backend = PostgresBackend(Settings(postgres_uri), writing=True)
    backend._sessions.pooled = True
    assert "a pooler in transaction mode" in backend.room_for(2).why
