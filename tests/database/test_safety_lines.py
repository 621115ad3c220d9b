"""Second lines of defence: each is the only thing in the way of what its test does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from msgspec.structs import replace
from servers import PostgresServer
from stand import Stand

from migrate_graph.core.events import Outcome, Warned
from migrate_graph.database import open_backend
from migrate_graph.database.books.ledger import AttemptKey, Known
from migrate_graph.errors import LockLost

WORK_KEYS = "SELECT classid::int8, objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = {}"


def _query(uri: str, statement: str) -> list[tuple[Any, ...]]:
    if uri.startswith("sqlite"):
        with closing(sqlite3.connect(uri.partition("://")[2])) as file:
            return file.execute(statement).fetchall()
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _terminate(server: PostgresServer, name: str) -> None:
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'migrate_graph:{name}'"
    )


def table_1(db: Any) -> bool:
    db.executesql("CREATE TABLE t (id integer)")
    return True


@pytest.mark.postgres
def test_the_work_lock_lives_as_long_as_the_session(postgres_uri: str) -> None:
    """A dead runner's statement after its own commit would be overtaken otherwise."""
    stand, held = Stand(postgres_uri), []

    def commits_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        db.commit()
        ((pid,),) = db.executesql("SELECT pg_backend_pid()")
        db.commit()
        held.extend(_query(postgres_uri, WORK_KEYS.format(pid)))
        return True

    assert stand.run(commits_1).succeeded
    assert len(held) == 1, "between two transactions the session holds it"


@pytest.mark.postgres
def test_no_transaction_begins_when_another_holds_the_work_lock(postgres_uri: str) -> None:
    stand = Stand(postgres_uri)

    def lets_go_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        ((pid,),) = db.executesql("SELECT pg_backend_pid()")
        (key,) = set(_query(postgres_uri, WORK_KEYS.format(pid)))
        db.executesql("SELECT pg_advisory_unlock_all()")
        db.commit()
        with closing(psycopg2.connect(postgres_uri)) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [one - 2**32 if one >= 2**31 else one for one in key])
            assert cursor.fetchone() == (True,)
            db.executesql("INSERT INTO t VALUES (1)")
        return True

    (result,) = stand.run(lets_go_1).results
    assert result.outcome is Outcome.RAISED
    assert "another run is at work" in result.error
    assert _query(postgres_uri, "SELECT count(*) FROM t") == [(0,)]


@pytest.mark.postgres
def test_nothing_begins_when_the_lock_is_lost(postgres_uri: str, postgres_server: PostgresServer) -> None:
    stand, begun = Stand(postgres_uri), []

    def begins_1(_db: Any) -> bool:
        begun.append(1)
        return True

    with pytest.raises(LockLost):
        stand.run(begins_1, before=lambda: _terminate(postgres_server, "keeper"))
    assert begun == []


@pytest.mark.postgres
def test_a_lock_that_is_lost_in_the_last_migration_is_told(postgres_uri: str, postgres_server: PostgresServer) -> None:
    stand = Stand(postgres_uri)

    def loses_1(db: Any) -> bool:
        table_1(db)
        _terminate(postgres_server, "keeper")
        return True

    with pytest.raises(LockLost):
        stand.run(loses_1)
    assert "the lock is lost; this migration is finished, then the run stops" in [
        one.message for one in stand.told(Warned)
    ]
    assert stand.history().applied == {"loses_1"}


def test_a_success_that_is_recorded_is_no_failure_any_more(database_uri: str) -> None:
    stand = Stand(database_uri)
    assert stand.run(table_1).succeeded
    with open_backend(stand.settings, writing=True) as backend:
        ((attempt,),) = _query(database_uri, "SELECT attempt FROM ewh_implemented_features_journal")
        key = replace(AttemptKey.now("table_1", run="r"), attempt=attempt)
        backend.record_failure(key, error="too late", seconds=1.0)
        assert backend.outcome_of(key) == Known(succeeded=True, commits=0)
    assert stand.history().applied == {"table_1"}
    assert stand.history().attempts[-1].error == ""


def test_an_exception_after_the_commit_undoes_no_success(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raises it: what is durable is looked up."""
    stand = Stand(database_uri)

    def wrap(work: Any) -> Any:
        finish = work.finish

        def finish_and_raise(**options: Any) -> None:
            finish(**options)
            raise TimeoutError("too late")

        work.finish = finish_and_raise
        return work

    def before() -> None:
        opened = stand.backend.work
        monkeypatch.setattr(stand.backend, "work", lambda *arguments: wrap(opened(*arguments)), raising=False)

    finished = stand.run(table_1, before=before)
    assert finished.succeeded, finished.results
    assert stand.history().applied == {"table_1"}


@pytest.mark.postgres
def test_the_loss_of_another_connection_is_an_error_like_any_other(
    postgres_uri: str, postgres_server: PostgresServer
) -> None:
    """A body may have connections of its own: what happens to them is no reason to ask a human about ours."""
    stand = Stand(postgres_uri)

    def other_1(db: Any) -> bool:
        table_1(db)
        db.commit()
        with closing(psycopg2.connect(postgres_uri, application_name="the body's own")) as own, own.cursor() as cursor:
            postgres_server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'the body''s own'"
            )
            cursor.execute("SELECT 1")
        return True

    (result,) = stand.run(other_1).results
    assert result.outcome is Outcome.RAISED
    assert "the connection to the database was lost" not in result.error
    assert not result.passes
    assert result.commits == 1
    assert [(each.state.value, each.commits) for each in stand.history().attempts] == [("failed", 1)]


@pytest.mark.postgres
@pytest.mark.parametrize("keeper", ["with an old snapshot by default", "lost as well"])
def test_the_keeper_sees_what_a_new_connection_would(
    keeper: str, postgres_uri: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks when the work's lock is free, in a statement of its own: what was committed is visible then, however old the session is."""
    if keeper != "lost as well":
        name = postgres_uri.rpartition("/")[2]
        postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    stand = Stand(postgres_uri)
    seen: list[Known] = []

    def before() -> None:
        opened, outcome_of = stand.backend.work, stand.backend.outcome_of

        def open_work(*arguments: Any) -> Any:
            work = opened(*arguments)
            finish = work.finish

            def finish_and_raise(**options: Any) -> None:
                finish(**options)
                if keeper == "lost as well":
                    _terminate(postgres_server, "keeper")
                raise TimeoutError("too late")

            work.finish = finish_and_raise
            return work

        def look(key: AttemptKey) -> Known:
            seen.append(outcome_of(key))
            return seen[-1]

        monkeypatch.setattr(stand.backend, "work", open_work, raising=False)
        monkeypatch.setattr(stand.backend, "outcome_of", look, raising=False)

    if keeper == "lost as well":
        with pytest.raises(LockLost):
            stand.run(table_1, before=before)
    else:
        assert stand.run(table_1, before=before).succeeded
    assert [each.succeeded for each in seen] == [True]
    assert stand.history().applied == {"table_1"}
    with open_backend(stand.settings) as fresh:
        (attempt,) = fresh.read_history().attempts
    assert attempt.state.value == "applied"


def test_a_failing_run_is_tried_again_only_if_nothing_was_kept(database_uri: str) -> None:
    """Somebody is in the way after an own commit: it is not run a second time by itself."""
    stand, runs = Stand(database_uri), []

    def _blocked_error() -> Exception:
        if database_uri.startswith("postgres"):
            return psycopg2.errors.LockNotAvailable("in the way")
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return error

    def half_1(db: Any) -> bool:
        runs.append(1)
        db.executesql(f"CREATE TABLE t{len(runs)} (id integer)")
        db.commit()
        if database_uri.startswith("postgres"):
            db.executesql("DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '55P03'; END $$")
        raise _blocked_error()

    (result,) = stand.run(half_1, tries=3).results
    assert (result.outcome, result.commits, len(runs)) == (Outcome.RAISED, 1, 1)


def test_foreign_keys_cannot_be_switched_in_a_transaction(sqlite_uri: str) -> None:
    """SQLite ignores it there, and a table that is dropped takes the rows that refer to it along."""
    stand = Stand(sqlite_uri)

    def late_1(db: Any) -> bool:
        db.executesql("CREATE TABLE t (id integer)")
        on = db.executesql("PRAGMA foreign_keys")[0][0]
        db.executesql(f"PRAGMA foreign_keys = {'OFF' if on else 'ON'}")
        return True

    (result,) = stand.run(late_1).results
    assert result.outcome is Outcome.RAISED
    assert "PRAGMA foreign_keys has no effect inside a transaction" in result.error


@pytest.mark.postgres
@pytest.mark.parametrize("ours", [False, True])
def test_only_an_index_that_became_invalid_meanwhile_is_told(ours: bool, postgres_uri: str) -> None:
    stand = Stand(postgres_uri)
    _query(postgres_uri, "CREATE TABLE twice (id integer)")
    _query(postgres_uri, "INSERT INTO twice VALUES (1), (1)")
    build: Callable[[str], str] = lambda name: f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON twice (id)"  # noqa: E731
    with pytest.raises(psycopg2.Error):
        _query(postgres_uri, build("old"))

    def builds_1(db: Any) -> bool:
        if ours:
            db.executesql(build("fresh"))
        return False

    (result,) = stand.run(builds_1, modes={"builds_1": "none"}).results
    assert [warning.split()[1] for warning in result.warnings] == (["fresh"] if ours else [])


@pytest.mark.postgres
def test_what_belongs_to_an_extension_makes_no_database_full(postgres_uri: str, postgres_admin_uri: str) -> None:
    _query(postgres_admin_uri, "CREATE TABLE of_extension (id integer)")
    _query(postgres_admin_uri, "ALTER EXTENSION plpgsql ADD TABLE of_extension")
    with open_backend(Stand(postgres_uri).settings, writing=True) as backend:
        assert backend.user_relations() == []


@pytest.mark.postgres
def test_a_lock_that_somebody_released_is_told(postgres_uri: str) -> None:
    stand = Stand(postgres_uri)

    def before() -> None:
        stand.backend._execute("SELECT pg_advisory_unlock_all()")  # type: ignore[attr-defined] # the keeper's session

    with pytest.raises(LockLost):
        stand.run(table_1, before=before)
    assert any("not ours any more" in one.message for one in stand.told(Warned))


@pytest.mark.postgres
def test_the_lock_is_held_twice_so_that_giving_one_back_to_ask_leaves_no_gap(postgres_uri: str) -> None:
    with (
        open_backend(Stand(postgres_uri).settings, writing=True) as backend,
        closing(psycopg2.connect(postgres_uri)) as other,
        other.cursor() as cursor,
        backend.lock(0, lambda _event: None) as lock,
    ):
        key = lock.key  # type: ignore[attr-defined] # of PostgreSQL's
        backend._execute("SELECT pg_advisory_unlock(%s, %s)", (0x6D67, key))  # type: ignore[attr-defined] # the keeper's session
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (0x6D67, key))
        assert cursor.fetchone() == (False,), "it is held once more"
        assert lock.is_held()
        backend._execute("SELECT pg_advisory_unlock(%s, %s)", (0x6D67, key))  # type: ignore[attr-defined] # as above
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (0x6D67, key))
        assert cursor.fetchone() == (True,)
        assert not lock.is_held(), "another has it"
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (0x6D67, key))
        assert not lock.is_held(), "it is not taken again by asking"


@pytest.mark.postgres
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_session_that_others_may_have_is_asked_before_a_commit(postgres_uri: str, *, is_alone: bool) -> None:
    """Somebody may reset it, which no socket tells."""
    with (
        open_backend(Stand(postgres_uri).settings, writing=True) as backend,
        backend.lock(0, lambda _event: None) as lock,
    ):
        held = replace(lock, is_alone=is_alone)  # type: ignore[type-var] # of PostgreSQL's
        assert held.seems_held()
        backend._execute("SELECT pg_advisory_unlock_all()")  # type: ignore[attr-defined] # the keeper's session
        assert held.seems_held() is is_alone
        assert not held.is_held()
