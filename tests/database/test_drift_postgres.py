"""Drift on PostgreSQL beside others: who create and drop while it is read, who hold locks, who may only read, and bytes that are no text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from servers import PostgresServer

from migrate_graph.core.footprint import Fact
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.postgres.facts import inventory
from migrate_graph.errors import DatabaseRefused
from migrate_graph.workflow.drift import look

pytestmark = pytest.mark.postgres


def run(uri: str, *statements: str | bytes) -> None:
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def stored(uri: str) -> Iterator[Any]:
    """Return a backend whose database is known as it is now."""
    with open_backend(Settings(uri), writing=True) as backend:
        backend.prepare()
        backend.store_inventory(run="r")
        yield backend


def drifted(backend: Any) -> list[str]:
    found = look(backend, backend.read_history())
    assert not found.unknown
    return [f"{change.what} {change.fact.kind} {change.fact.identity}" for change in found.changes]


def test_what_is_nobody_s_work_here_is_no_drift(postgres_uri: str, postgres_admin_uri: str) -> None:
    run(postgres_uri, "CREATE TABLE t (id int)", "INSERT INTO t SELECT generate_series(1, 100)")
    with stored(postgres_uri) as backend, closing(psycopg2.connect(postgres_uri)) as other:
        with other.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE mine (id int); CREATE TEMP VIEW v AS SELECT 1 AS a")
        other.commit()
        run(postgres_admin_uri, "CREATE EXTENSION IF NOT EXISTS plpgsql", "INSERT INTO t VALUES (1)", "ANALYZE t")
        assert drifted(backend) == []
        run(postgres_uri, 'CREATE TABLE "Odd.na me" ("a.b" int)')
        assert drifted(backend) == ['added table public."Odd.na me"']


def test_the_session_s_settings_make_no_drift(postgres_server: PostgresServer, postgres_database: str) -> None:
    uri = postgres_server.app_uri(postgres_database)
    run(
        uri,
        "CREATE SCHEMA side",
        "CREATE TABLE side.t (at timestamptz DEFAULT '2020-01-02', i interval DEFAULT '1 day 2 hours', b bytea DEFAULT '\\x00')",
    )
    run(uri, "CREATE VIEW v AS SELECT at FROM side.t")
    with stored(uri) as backend:
        for setting in (
            "search_path = side, public",
            "DateStyle = 'German'",
            "IntervalStyle = 'iso_8601'",
            "TimeZone = 'Asia/Tokyo'",
            "bytea_output = 'escape'",
        ):
            postgres_server.execute(f"ALTER DATABASE {postgres_database} SET {setting}")
        with open_backend(Settings(uri, schema=None)) as reader:
            assert reader.read_inventory().digest == backend.read_inventory().digest


def test_others_create_and_drop_while_it_is_read(postgres_uri: str) -> None:
    run(postgres_uri, "CREATE TABLE kept (id int)")
    over = threading.Event()
    made = []

    def disturb() -> None:
        with closing(psycopg2.connect(postgres_uri)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not over.is_set():
                    cursor.execute(
                        "CREATE TABLE passing (id int PRIMARY KEY, a int DEFAULT 1 CHECK (a > 0)); CREATE VIEW seen AS SELECT a FROM passing"
                    )
                    cursor.execute(
                        "CREATE INDEX passing_a ON passing (a) WHERE a > 1; DROP VIEW seen; DROP TABLE passing"
                    )
                    made.append(1)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        with open_backend(Settings(postgres_uri), writing=True) as backend:
            for _ in range(25):
                assert Fact("table", "public.kept") in backend.read_inventory().facts
    finally:
        over.set()
        thread.join()
    assert made


def test_who_holds_a_lock_is_not_waited_for(postgres_uri: str) -> None:
    run(postgres_uri, "CREATE TABLE t (id int DEFAULT 1)", "CREATE VIEW v AS SELECT id FROM t")
    with stored(postgres_uri) as backend, closing(psycopg2.connect(postgres_uri)) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE v, t IN ACCESS EXCLUSIVE MODE")
        found = look(backend, backend.read_history())
        assert found.changes == ()
        assert "lock" in found.unknown
        with pytest.raises(DatabaseRefused):
            backend.store_inventory(run="r")
        other.rollback()
        assert drifted(backend) == []


def test_nobody_is_ended_for_a_deadlock_with_the_reading(postgres_uri: str) -> None:
    """Whoever drops several things may wait for a lock of ours while we wait for his: we give up before the server looks."""
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        cursor.execute(inventory._LIMITS)
        cursor.execute(
            "SELECT current_setting('lock_timeout')::interval < current_setting('deadlock_timeout')::interval / 2"
        )
        assert cursor.fetchone() == (True,)


def test_who_may_only_read_can_ask(postgres_server: PostgresServer, postgres_database: str, postgres_uri: str) -> None:
    run(postgres_uri, "CREATE TABLE t (id int)")
    role = f"reads_{postgres_database}"
    with stored(postgres_uri) as backend:
        postgres_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        run(postgres_uri, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        backend.store_inventory(run="r")
        run(postgres_uri, "CREATE INDEX by_hand ON t (id)")
        address = postgres_uri.partition("@")[2]
        try:
            with open_backend(Settings(f"postgres://{role}:x@{address}")) as reader:
                assert drifted(reader) == ["added index public.by_hand"]
                with pytest.raises(DatabaseRefused):
                    reader.store_inventory(run="r")
        finally:
            run(postgres_uri, f"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {role}")
            postgres_server.execute(f"DROP ROLE {role}")


def test_bytes_that_are_no_text_are_kept_and_compared(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as name:
        postgres_server.execute(
            f"DROP DATABASE {name}", f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' OWNER app"
        )
        uri = postgres_server.app_uri(name)
        run(
            uri,
            b"CREATE TABLE t (a text DEFAULT '\xff\xe9')",
            b"CREATE VIEW \"v\xe4\" AS SELECT a FROM t WHERE a <> '\xfe'",
        )
        with stored(uri) as backend:
            assert drifted(backend) == []
            assert backend.stored_inventory().digest == backend.read_inventory().digest
            run(uri, b"ALTER TABLE t ALTER COLUMN a SET DEFAULT '\xff\xe8'")
            assert drifted(backend) == ["changed column public.t.a"]


def test_passwords_of_user_mappings_are_not_kept(postgres_admin_uri: str) -> None:
    run(
        postgres_admin_uri, "CREATE FOREIGN DATA WRAPPER w", "CREATE SERVER s FOREIGN DATA WRAPPER w",
        "CREATE USER MAPPING FOR app SERVER s OPTIONS (password 'Geheim')",
    )  # fmt: skip
    with stored(postgres_admin_uri) as backend:
        assert not any("Geheim" in each.definition for each in backend.stored_inventory().facts.values())


def test_the_number_of_statements_does_not_grow_with_the_tables(
    postgres_server: PostgresServer, postgres_uri: str
) -> None:
    def sent(backend: Any) -> int:
        seen = len(postgres_server.log())
        backend.store_inventory(run="r")
        return postgres_server.log()[seen:].count("LOG:  statement: ")

    postgres_server.execute(f"ALTER DATABASE {postgres_uri.rpartition('/')[2]} SET log_statement = 'all'")
    with stored(postgres_uri) as backend:
        few = sent(backend)
        run(
            postgres_uri,
            "DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE t_%s (id int PRIMARY KEY)', i); END LOOP; END$$",
        )
        assert sent(backend) == few > 0
