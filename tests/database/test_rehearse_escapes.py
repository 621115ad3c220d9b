"""Thirteen ways to commit, each through a cursor of the connection and through one made by hand: nothing of a rehearsal stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rehearsal_stand import RehearsalStand, outcomes, run, state
from servers import PostgresServer

from migrate_graph.core.events import Outcome
from migrate_graph.database.postgres.rehearsal import one_transaction as rehearsal

pytestmark = pytest.mark.postgres

MADE = "CREATE TABLE public.escaped (a int)"

WAYS = {
    "db.commit()": "db.executesql(MADE); connection.commit()",
    "COMMIT": "send(MADE); send('COMMIT')",
    "several statements": "send(MADE + '; COMMIT; CREATE TABLE public.escaped_2 (a int)')",
    "COMMIT AND CHAIN": "send(MADE + '; COMMIT AND CHAIN')",
    "PREPARE TRANSACTION": "send(MADE + \"; PREPARE TRANSACTION 'x'\")",
    "COMMIT in a block": "send('DO $$ BEGIN CREATE TABLE public.escaped (a int); COMMIT; END $$')",
    "SET CONSTRAINTS ALL IMMEDIATE": "send('SET CONSTRAINTS ALL IMMEDIATE'); send(MADE + '; COMMIT')",
    "a savepoint": "send('SAVEPOINT q; ' + MADE + '; RELEASE q; COMMIT')",
    "without the guard": "send(MADE); send('DROP TABLE ' + guard() + ' CASCADE; COMMIT')",
    "DISCARD TEMP": "send(MADE + '; DISCARD TEMP; COMMIT')",
    "session_replication_role": "send('SET session_replication_role = replica; ' + MADE + '; COMMIT')",
    "ROLLBACK, then work": "send('ROLLBACK; ' + MADE + '; COMMIT')",
    "BEGIN READ WRITE": "send('ROLLBACK; BEGIN READ WRITE; CREATE TABLE escaped (a int); COMMIT')",
}

GOOD = {
    "db.commit()", "COMMIT", "several statements", "COMMIT AND CHAIN", "SET CONSTRAINTS ALL IMMEDIATE", "a savepoint",
    "session_replication_role", "ROLLBACK, then work", "BEGIN READ WRITE",
}  # fmt: skip
"""Through a cursor that we see these are ordinary commits of a migration, which a rehearsal holds back."""

PROJECT = """
import psycopg2.extensions as pg
from migrate_graph import migration

MADE = {made!r}


@migration
def before_1(db):
    db.executesql("INSERT INTO kept VALUES (2)")
    return True


@migration(requires=before_1)
def escapes_2(db):
    connection = db._adapter.connection
    cursor = {cursor}
    send = cursor.execute
    def guard():
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'migrate_graph_guard%' AND relkind = 'r'")
        return 'pg_temp.' + cursor.fetchone()[0]
    {way}
    return True


@migration(requires=before_1)
def after_3(db):
    db.executesql("INSERT INTO kept VALUES (3)")
    return True
"""


@pytest.fixture(params=["here", "clone"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stand(
    postgres_server: PostgresServer, postgres_admin_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RehearsalStand:
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    run(postgres_admin_uri, "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (1)")
    return RehearsalStand(postgres_admin_uri, tmp_path)


def write(stand: RehearsalStand, way: str, *, by_hand: bool) -> None:
    cursor = "pg.cursor(connection)" if by_hand else "connection.cursor()"
    (stand.root / "migrations.py").write_text(PROJECT.format(made=MADE, cursor=cursor, way=way.replace("\n", "\n    ")))


@pytest.mark.parametrize("way", WAYS)
def test_a_commit_that_is_seen_is_held_back(
    way: str, stand: RehearsalStand, place: str, postgres_server: PostgresServer
) -> None:
    write(stand, WAYS[way], by_hand=False)
    before = state(postgres_server, stand.uri)
    done = stand.rehearse(place)
    assert state(postgres_server, stand.uri) == before
    ended = outcomes(done)
    assert (ended["escapes_2"] is Outcome.APPLIED) == (way in GOOD), done.results
    assert ended["before_1"] is Outcome.APPLIED
    assert ended["after_3"] is Outcome.APPLIED  # whoever fails leaves the others alone
    assert done.exit_code == (0 if way in GOOD else 1)
    assert not done.cut


@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"db.commit()", "BEGIN READ WRITE"}])
def test_a_commit_past_us_ends_the_rehearsal(
    way: str, stand: RehearsalStand, place: str, postgres_server: PostgresServer
) -> None:
    write(stand, WAYS[way], by_hand=True)
    before = state(postgres_server, stand.uri)
    done = stand.rehearse(place)
    assert state(postgres_server, stand.uri) == before
    assert outcomes(done)["escapes_2"] is Outcome.RAISED
    assert done.exit_code == 1
    if outcomes(done)["after_3"] is not Outcome.APPLIED:
        assert done.cut == "escapes_2 ended the transaction of the rehearsal"


def test_a_commit_of_the_driver_itself_ends_the_rehearsal(
    stand: RehearsalStand, place: str, postgres_server: PostgresServer
) -> None:
    write(stand, "send(MADE); pg.connection.commit(connection)", by_hand=True)
    before = state(postgres_server, stand.uri)
    done = stand.rehearse(place)
    assert state(postgres_server, stand.uri) == before
    assert done.cut == "escapes_2 ended the transaction of the rehearsal"
    (result,) = (each for each in done.results if each.name == "escapes_2")
    assert "ended the transaction of the rehearsal" in result.error
    assert "--on scratch" in result.hint


@pytest.mark.parametrize(
    "way", ["send('ROLLBACK'); send(MADE)", "send('ROLLBACK'); send('CREATE TABLE escaped (a int)')"]
)
def test_what_comes_after_a_smuggled_rollback_only_reads(
    way: str, stand: RehearsalStand, place: str, postgres_server: PostgresServer
) -> None:
    write(stand, way, by_hand=True)
    before = state(postgres_server, stand.uri)
    done = stand.rehearse(place)
    assert state(postgres_server, stand.uri) == before
    assert done.exit_code == 1
    assert done.cut == "escapes_2 ended the transaction of the rehearsal"


def test_begin_read_write_past_us_finds_nowhere_to_create(
    stand: RehearsalStand, postgres_server: PostgresServer
) -> None:
    write(stand, WAYS["BEGIN READ WRITE"], by_hand=True)
    before = state(postgres_server, stand.uri)
    done = stand.rehearse("here")
    assert state(postgres_server, stand.uri) == before
    assert done.cut == "escapes_2 ended the transaction of the rehearsal"


# -- each belt holds alone: without it the others are not enough --------------------------------------------------------------


def test_without_the_guard_a_commit_past_us_would_stay(stand: RehearsalStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal.GuardedConnection, "_arming", "SELECT 1")
    write(stand, "send(MADE); pg.connection.commit(connection)", by_hand=True)
    stand.rehearse("here")
    assert run(stand.uri, "SELECT to_regclass('escaped') IS NOT NULL") == [(True,)]


def test_without_a_session_that_only_reads_a_smuggled_rollback_would_free(
    stand: RehearsalStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = rehearsal.GuardedConnection.guard
    monkeypatch.setattr(
        rehearsal.GuardedConnection, "guard", lambda self, *, keeps, pooled: original(self, keeps=keeps, pooled=True)
    )
    write(stand, "send('ROLLBACK'); send(MADE)", by_hand=True)
    stand.rehearse("here")
    assert run(stand.uri, "SELECT to_regclass('escaped') IS NOT NULL") == [(True,)]
