"""A migration meets a fresh session, whatever the one before it did to its own (D07)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extras
import pydal
import pytest
from stand import Stand

from migrate_graph.core.events import LockAcquired, StepFinished
from migrate_graph.core.model import Migration
from migrate_graph.database import open_backend
from migrate_graph.database.books.ledger import AttemptKey
from migrate_graph.database.postgres import backend as postgres_backend
from migrate_graph.errors import UsageError

DIRT: dict[str, Callable[[Any], object]] = {
    "search_path": lambda db: db.executesql("SET search_path TO pg_catalog"),
    "search_path, then commit": lambda db: (db.executesql("SET search_path TO pg_catalog"), db.commit()),
    "role": lambda db: db.executesql("SET ROLE pg_monitor"),
    "role, then commit": lambda db: (db.executesql("SET ROLE pg_monitor"), db.commit(), db.executesql("SELECT 1")),
    "session authorization": lambda db: (db.executesql("SET SESSION AUTHORIZATION other"), db.commit(), db.executesql("SELECT 1")),
    "autocommit": lambda db: (db.commit(), setattr(db._adapter.connection, "autocommit", True), db.executesql("SELECT 1")),
    "isolation level": lambda db: (db.commit(), db._adapter.connection.set_session(isolation_level="SERIALIZABLE")),
    "read only, and back": lambda db: (
        db.commit(), db._adapter.connection.set_session(readonly=True), db.executesql("SELECT 1"), db.rollback(),
        db._adapter.connection.set_session(readonly=False),
    ),
    "temporary table": lambda db: (db.executesql("CREATE TEMP TABLE shadow (id integer)"), db.commit()),
    "settings": lambda db: (db.executesql("SET work_mem = '64kB'; SET app.tenant = '7'"), db.commit()),
    "discard all": lambda db: (
        db.commit(), setattr(db._adapter.connection, "autocommit", True), db.executesql("DISCARD ALL"),
    ),
    "advisory unlock": lambda db: db.executesql("SELECT pg_advisory_unlock_all()"),
    "advisory lock": lambda db: db.executesql("SELECT pg_advisory_lock(1)"),
    "rollback": lambda db: (db.executesql("SELECT 1"), db.rollback()),
    "close": lambda db: db.close(),
    "close and go on": lambda db: (db.executesql("CREATE TABLE kept (id integer)"), db.close(), db.executesql("SELECT 1")),
    "closed driver connection": lambda db: (db.commit(), db._adapter.connection.close()),
    "prepared": lambda db: (db.executesql("PREPARE q AS SELECT 1"), db.commit()),
    "listen": lambda db: (db.executesql("LISTEN news"), db.commit()),
    "cursor with hold": lambda db: (db.executesql("DECLARE c CURSOR WITH HOLD FOR SELECT 1"), db.commit()),
    "large object": lambda db: db._adapter.connection.lobject(0, "wb").write(b"x"),
    "other tables": lambda db: db.define_table("thing", migrate=False),
    "encoding, told to the driver": lambda db: (db.commit(), db._adapter.connection.set_client_encoding("LATIN1")),
    "encoding, told to the server": lambda db: (db.executesql("SET client_encoding TO 'LATIN1'"), db.commit()),
    "notices": lambda db: db.executesql("DO $$ BEGIN RAISE NOTICE 'hear'; END $$"),
    "standard_conforming_strings": lambda db: (db.executesql("SET standard_conforming_strings = off"), db.commit()),
    "sequence cache": lambda db: db.executesql("CREATE SEQUENCE counted; SELECT nextval('counted')"),
}  # fmt: skip

_FACTS = """
SELECT current_setting('search_path'), current_user::text, session_user::text, current_setting('transaction_isolation'),
    current_setting('transaction_read_only'), current_setting('work_mem'), coalesce(current_setting('app.tenant', true), ''),
    current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout'),
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'shadow' AND pg_table_is_visible(oid)),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
    current_setting('client_encoding'), current_setting('standard_conforming_strings'), current_setting('statement_timeout')
"""


@pytest.mark.parametrize("dirt", DIRT)
def test_d07_a_fresh_session(dirt: str, postgres_server: Any, postgres_database: str) -> None:
    """As the superuser, who is allowed everything that is tried."""
    postgres_server.execute("DO $$ BEGIN CREATE ROLE other; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    stand = Stand(postgres_server.admin_uri(postgres_database))
    facts: list[Any] = []

    def look(db: Any) -> bool:
        connection = db._adapter.connection
        facts.append(
            (
                db.executesql(_FACTS), sorted(db.tables), connection.autocommit, connection.encoding, connection.isolation_level,
                connection.readonly, list(connection.notices),
            )
        )  # fmt: skip
        return True

    def first_1(db: Any) -> bool:
        return look(db)

    def dirty_2(db: Any) -> bool:
        db.executesql("CREATE TABLE mine (id integer)")
        DIRT[dirt](db)
        return True

    def last_3(db: Any) -> bool:
        return look(db)

    finished = stand.run(first_1, dirty_2, last_3)
    assert finished.succeeded, finished.results
    assert facts[0] == facts[1]
    assert finished.results[1].outcome == "applied"
    with (
        closing(psycopg2.connect(postgres_server.admin_uri(postgres_database))) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM ewh_implemented_features WHERE installed = 'T'")
        assert cursor.fetchone() == (3,)
        cursor.execute("SELECT count(*) FROM ewh_implemented_features_journal WHERE state = 'applied'")
        assert cursor.fetchone() == (3,)
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname = 'mine'")
        assert cursor.fetchone() == ((0 if dirt == "rollback" else 1),)


def test_set_role_and_commit_in_one_body_as_an_ordinary_role(postgres_server: Any, postgres_database: str) -> None:
    """The marker of the second transaction is written as who we are, and what follows runs as who the body became."""
    postgres_server.execute(
        "DO $$ BEGIN CREATE ROLE lesser; EXCEPTION WHEN duplicate_object THEN NULL; END $$", "GRANT lesser TO app",
        database=postgres_database,
    )  # fmt: skip
    stand = Stand(postgres_server.app_uri(postgres_database))
    seen: list[Any] = []

    def roles_1(db: Any) -> bool:
        db.executesql("SET ROLE lesser")
        db.commit()
        seen.append(db.executesql("SELECT current_user::text")[0][0])
        db.commit()
        seen.append(db.executesql("SELECT current_user::text")[0][0])
        return True

    finished = stand.run(roles_1)
    assert finished.succeeded, finished.results
    assert seen == ["lesser", "lesser"]
    assert stand.history().attempts[-1].commits == 2


# -- sessions that are used again ---------------------------------------------------------------------------------------------


def _pid(db: Any) -> int:
    return int(db.executesql("SELECT pg_backend_pid()")[0][0])


def _sessions_of(stand: Stand, between: Callable[[Any], object], **options: Any) -> tuple[int, int]:
    """Run three migrations; return the sessions of the middle one, which does something, and of the one after it."""
    pids: list[int] = []

    def first_1(db: Any) -> bool:
        return bool(_pid(db))

    def middle_2(db: Any) -> bool:
        pids.append(_pid(db))
        between(db)
        return True

    def last_3(db: Any) -> bool:
        pids.append(_pid(db))
        return True

    finished = stand.run(first_1, middle_2, last_3, **options)
    assert finished.succeeded, finished.results
    return pids[0], pids[1]


@pytest.fixture
def stand(postgres_server: Any, postgres_database: str) -> Stand:
    """A database, as its owner."""
    return Stand(postgres_server.app_uri(postgres_database))


USED_AGAIN: dict[str, Callable[[Any], object]] = {
    "nothing": lambda db: None,
    "work": lambda db: db.executesql("CREATE TABLE work (id integer)"),
    "own commits": lambda db: (db.executesql("CREATE TABLE work (id integer)"), db.commit(), db.executesql("SELECT 1")),
    "a query of pyDAL": lambda db: db(db.ewh_implemented_features.id > 0).select(),
    "a setting": lambda db: db.executesql("SET search_path TO pg_catalog"),
    "autocommit": lambda db: (db.commit(), setattr(db._adapter.connection, "autocommit", True), db.executesql("SELECT 1")),
}  # fmt: skip


@pytest.mark.parametrize("what", USED_AGAIN)
def test_the_session_of_a_success_is_used_again(what: str, stand: Stand) -> None:
    middle, last = _sessions_of(stand, USED_AGAIN[what])
    assert middle == last


_kept: list[Any] = []

NOT_USED_AGAIN: dict[str, Callable[[Any], object]] = {
    "the driver's encoding": lambda db: (db.commit(), db._adapter.connection.set_client_encoding("LATIN1")),
    "a factory of cursors": lambda db: setattr(db._adapter.connection, "cursor_factory", psycopg2.extras.DictCursor),
    "types": lambda db: psycopg2.extensions.register_type(
        psycopg2.extensions.new_type((23,), "WORDS", lambda value, _cursor: f"<{value}>"), db._adapter.connection
    ),
    "an attribute": lambda db: setattr(db._adapter.connection, "tenant", 7),
    "a method put in place of ours": lambda db: setattr(db._adapter.connection, "reset", lambda: None),
    "an isolation level": lambda db: (db.commit(), db._adapter.connection.set_session(isolation_level="SERIALIZABLE")),
    "a list of notices": lambda db: setattr(db._adapter.connection, "notices", ()),
    "a cursor that is kept": lambda db: _kept.append(db._adapter.connection.cursor()),
    "a connection that is kept": lambda db: _kept.append(db._adapter.connection),
    "the seed of random()": lambda db: db.executesql("SELECT setseed(0.5)"),
    "a library": lambda db: db.executesql("DO $$ BEGIN LOAD 'plpgsql'; EXCEPTION WHEN OTHERS THEN NULL; END $$"),
    "strings": lambda db: (db.executesql("SET standard_conforming_strings = off"), db.commit()),
    "a setting of its own": lambda db: db.executesql("SET app.tenant = '7'"),
    "the same, called": lambda db: db.executesql("SELECT set_config('app.tenant', '7', false)"),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_USED_AGAIN)
def test_what_nothing_undoes_is_not_met_by_the_next(what: str, stand: Stand) -> None:
    """What the driver remembers, what somebody still holds, and what stays in a server process."""
    middle, last = _sessions_of(stand, NOT_USED_AGAIN[what])
    _kept.clear()
    assert middle != last


def test_what_a_body_kept_reaches_no_later_migration(stand: Stand) -> None:
    refused: list[str] = []

    def keeps_1(db: Any) -> bool:
        _kept[:] = [db, db._adapter.connection, db._adapter.connection.cursor()]
        return True

    def uses_2(db: Any) -> bool:
        earlier, connection, cursor = _kept
        for use in (lambda: earlier.executesql("SELECT 1"), connection.cursor, lambda: cursor.execute("SELECT 1")):
            try:
                use()
            except (psycopg2.InterfaceError, UsageError) as error:
                refused.append(type(error).__name__)
        return True

    assert stand.run(keeps_1, uses_2).succeeded
    _kept.clear()
    assert refused == ["UsageError", "InterfaceError", "InterfaceError"]


@pytest.mark.parametrize("mode", ["single", "none"])
def test_other_modes_get_a_session_of_their_own(mode: str, stand: Stand) -> None:
    middle, last = _sessions_of(stand, lambda db: None, modes={"middle_2": mode})
    assert middle != last


def test_a_failure_ends_its_session(stand: Stand) -> None:
    pids: list[int] = []

    def fails_1(db: Any) -> bool:
        pids.append(_pid(db))
        return False

    def goes_on_2(db: Any) -> bool:
        pids.append(_pid(db))
        return True

    stand.run(fails_1, goes_on_2)
    assert pids[0] != pids[1]


def test_every_session_is_new_where_that_is_asked_for(postgres_server: Any, postgres_database: str) -> None:
    stand = Stand(postgres_server.app_uri(postgres_database), session="fresh")
    middle, last = _sessions_of(stand, lambda db: None)
    assert middle != last


def test_the_next_migration_has_what_new_sessions_are_given(postgres_server: Any, postgres_database: str) -> None:
    """A function changes the role's settings: nothing in the body's own words tells of it."""
    postgres_server.execute(
        "DO $$ BEGIN CREATE ROLE settled LOGIN SUPERUSER PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "CREATE FUNCTION public.settle() RETURNS void LANGUAGE plpgsql AS "
        "$$ BEGIN EXECUTE 'ALTER ROLE settled IN DATABASE ' || current_database() || ' SET work_mem = 77'; END $$",
        database=postgres_database,
    )  # fmt: skip
    address = postgres_server.admin_uri(postgres_database).partition("@")[2]
    stand = Stand(f"postgres://settled:x@{address}")
    seen: list[str] = []

    def settles_1(db: Any) -> bool:
        db.executesql("SELECT public.settle()")
        return True

    def looks_2(db: Any) -> bool:
        seen.append(db.executesql("SHOW work_mem")[0][0])
        return True

    assert stand.run(settles_1, looks_2).succeeded
    assert seen == ["77kB"]


def test_a_kept_session_looks_itself_where_no_other_has_for_it(postgres_server: Any, postgres_database: str) -> None:
    """As in a worker of `--jobs`, whose run's lock another process holds."""
    stand = Stand(postgres_server.app_uri(postgres_database))
    assert stand.run().succeeded

    def session(backend: Any, name: str) -> int:
        work = backend.work(Migration(name, lambda _db: True), AttemptKey.now(name, run="r"))
        try:
            work.start()
            pid = _pid(work.db)
            work.finish(seconds=0.0, guard=lambda: None)
        finally:
            work.close()
        return pid

    with open_backend(stand.settings, writing=True) as backend, backend.lock(0.0, lambda _event: None):
        one, two = session(backend, "one"), session(backend, "two")
        postgres_server.execute(f"ALTER DATABASE {postgres_database} SET work_mem = 77")
        three = session(backend, "three")
    assert one == two != three


class _Listening(list[Any]):
    """A list of events that tells of each."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, event: Any) -> None:
        super().append(event)
        self._tell(event)


def test_a_kept_session_that_the_server_ends_is_replaced(postgres_server: Any, stand: Stand) -> None:
    pids: list[int] = []

    def first_1(db: Any) -> bool:
        pids.append(_pid(db))
        return True

    def second_2(db: Any) -> bool:
        pids.append(_pid(db))
        return True

    def end_it(event: object) -> None:
        if isinstance(event, StepFinished) and event.index == 1:
            postgres_server.execute(f"SELECT pg_terminate_backend({pids[0]})")

    stand.events = _Listening(end_it)
    finished = stand.run(first_1, second_2)
    assert finished.succeeded, finished.results
    assert pids[0] != pids[1]


def test_a_kept_session_holds_no_lock_of_a_body(postgres_server: Any, postgres_database: str, stand: Stand) -> None:
    """Only the work's: the session of the next migration has it before that begins."""
    held: list[list[Any]] = []

    def first_1(db: Any) -> bool:
        db.executesql("SELECT pg_advisory_lock(1)")
        return True

    def second_2(db: Any) -> bool:
        return True

    def look(event: object) -> None:
        if isinstance(event, StepFinished) and event.index == 1:
            with closing(psycopg2.connect(postgres_server.admin_uri(postgres_database))) as connection:
                cursor = connection.cursor()
                cursor.execute(
                    "SELECT DISTINCT CAST(CAST(classid AS bigint) AS integer) FROM pg_locks WHERE locktype = 'advisory'"
                )
                held.append(sorted(cursor.fetchall()))

    stand.events = _Listening(look)
    assert stand.run(first_1, second_2).succeeded
    assert held == [[(0x6D67,), (0x6D68,)]], "only the run's own and the work's"


def test_nobody_waits_for_a_kept_session(
    postgres_server: Any, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the work's lock: a run that looks whether anything is still at work, and who has the run's lock next, would wait for it."""
    monkeypatch.setattr(postgres_backend, "_LEFTOVER_WAIT", 2.0)
    monkeypatch.setattr(postgres_backend, "_LAST_MOMENT", 2.0)
    stand = Stand(postgres_server.app_uri(postgres_database))
    assert stand.run().succeeded

    def works(backend: Any, name: str) -> AttemptKey:
        key = AttemptKey.now(name, run="r")
        work = backend.work(Migration(name, lambda _db: True), key)
        try:
            work.start()
            work.db.executesql("SELECT 1")
            work.finish(seconds=0.0, guard=lambda: None)
        finally:
            work.close()
        return key

    heard: list[object] = []
    with open_backend(stand.settings, writing=True) as backend:
        with backend.lock(0.0, heard.append):
            assert backend.outcome_of(works(backend, "one")).succeeded
            assert backend.outcome_of(works(backend, "two")).succeeded
            works(backend, "three")
        with open_backend(stand.settings, writing=True) as other, other.lock(0.0, heard.append):
            pass
    assert [type(each) for each in heard] == [LockAcquired, LockAcquired]


def test_a_session_that_is_used_again_has_the_work_lock(
    postgres_server: Any, postgres_database: str, stand: Stand
) -> None:
    """Also between two transactions of a body: who comes after a crash waits until this session has ended."""
    held: list[Any] = []

    def first_1(db: Any) -> bool:
        return True

    def second_2(db: Any) -> bool:
        db.commit()
        with closing(psycopg2.connect(postgres_server.admin_uri(postgres_database))) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 28008")
            held.append(cursor.fetchone())
        return True

    assert stand.run(first_1, second_2).succeeded
    assert held == [(1,)]


# -- the `DAL` that is handed on ----------------------------------------------------------------------------------------------


def _spoken() -> dict[str, object]:
    """Return what pyDAL keeps of the dialect of the last `DAL` that was made, for all of them."""
    spoken: dict[str, object] = pydal.objects.Expression._dialect_expressions_
    return spoken


CHANGES_DAL: dict[str, Callable[[Any], object]] = {
    "a table": lambda db: db.define_table("thing", migrate=False),
    "the ledger, looked at": lambda db: db(db.ewh_implemented_features.id > 0).select(),
    "an attribute": lambda db: setattr(db, "_tenant", 7),
    "an attribute of the adapter": lambda db: setattr(db._adapter, "tenant", 7),
    "a function in place of pyDAL's": lambda db: setattr(db, "executesql", lambda *_a: []),
    "a type of the dialect": lambda db: db._adapter.dialect.types.update(string="VARCHAR(9)"),
    "fields of every table": lambda db: db._common_fields.append(pydal.Field("tenant")),
    "what all expressions say": lambda db: _spoken().update(loud=object()),
    "held by somebody": _kept.append,
    "its adapter held by somebody": lambda db: _kept.append(db._adapter),
}


@pytest.mark.parametrize("what", ["nothing", *CHANGES_DAL])
def test_a_dal_is_handed_on_only_as_it_was_made(what: str, database_uri: str) -> None:
    seen: list[Any] = []

    def first_1(db: Any) -> bool:
        return True

    def middle_2(db: Any) -> bool:
        seen.append(weakref.ref(db))
        CHANGES_DAL.get(what, lambda _db: None)(db)
        return True

    def last_3(db: Any) -> bool:
        seen.append(seen[0]() is db)
        table = db.define_table("t", pydal.Field("name"), migrate=False)
        assert db.tables == ["ewh_implemented_features", "t"]
        assert (hasattr(db, "_tenant"), hasattr(db._adapter, "tenant"), table.fields) == (False, False, ["id", "name"])
        assert db._adapter.dialect.types["string"] != "VARCHAR(9)"
        assert db.executesql("SELECT 1") == [(1,)]
        assert table.name.lower()._dialect is db._adapter.dialect
        return True

    finished = Stand(database_uri).run(first_1, middle_2, last_3)
    assert finished.succeeded, finished.results
    assert seen[1] is (what == "nothing")
    _spoken().pop("loud", None)
    _kept.clear()
