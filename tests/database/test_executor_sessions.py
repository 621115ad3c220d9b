"""A migration meets a virgin session, whatever the one before it did to its own (D07)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from stand import Stand

pytestmark = pytest.mark.postgres

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
}  # fmt: skip

_FACTS = """
SELECT current_setting('search_path'), current_user::text, session_user::text, current_setting('transaction_isolation'),
    current_setting('transaction_read_only'), current_setting('work_mem'), coalesce(current_setting('app.tenant', true), ''),
    current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout'),
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'shadow' AND pg_table_is_visible(oid)),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
"""


@pytest.mark.parametrize("dirt", DIRT)
def test_d07_a_virgin_session(dirt: str, postgres_server: Any, postgres_database: str) -> None:
    """As the superuser, who is allowed everything that is tried."""
    postgres_server.execute("DO $$ BEGIN CREATE ROLE other; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    stand = Stand(postgres_server.admin_uri(postgres_database))
    facts: list[Any] = []

    def look(db: Any) -> bool:
        facts.append((db.executesql(_FACTS), db._adapter.connection.autocommit, sorted(db.tables)))
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
