"""Dumps of PostgreSQL, and what a database holds after one was restored."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from servers import postgres_binaries

from migrate_graph.core.events import Event, ignore_events
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.backup.dump import VerifiedDump, verify

LEDGER = "CREATE TABLE ewh_implemented_features (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1));\n"


BODY = LEDGER + "CREATE TABLE customer (id int PRIMARY KEY);\nINSERT INTO customer SELECT generate_series(1, 1000);\n"


@pytest.fixture
def dsn(postgres_uri: str) -> dict[str, str]:
    return psycopg2.extensions.parse_dsn(postgres_uri)


def ask(dsn: dict[str, str], query: str) -> list[tuple[object, ...]]:
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def relations(dsn: dict[str, str]) -> list[str]:
    query = "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^pg_|^inf'"
    return sorted(str(name) for (name,) in ask(dsn, query))


def restore(
    dump: VerifiedDump,
    dsn: dict[str, str],
    *,
    schema: str | None = "public",
    table: str = "ewh_implemented_features",
    observer: Callable[[Event], None] = ignore_events,
    psql: str = "",
) -> None:
    """Restore as `migrate restore` does, through the backend and under the lock."""
    parts = "&".join(f"{name}={value}" for name, value in dsn.items())
    with (
        open_backend(Settings(f"postgresql://?{parts}", schema=schema, table=table), writing=True) as backend,
        backend.lock(5, ignore_events),
    ):
        backend.restore(dump, observer=observer, psql=psql or str(postgres_binaries() / "psql"))


def checked(path: Path, text: bytes | str, **options: Any) -> VerifiedDump:
    return verify(write(path, text), kind="postgres", **options)


def pg_dump(dsn: dict[str, str], *arguments: str, tool: str = "pg_dump") -> bytes:
    environment = {"PGHOST": dsn["host"], "PGPORT": dsn["port"], "PGUSER": dsn["user"], "PGPASSWORD": dsn["password"]}
    program = str(postgres_binaries() / tool)
    return subprocess.run(
        [program, *arguments, dsn["dbname"]],
        check=True,
        capture_output=True,
        env=environment,
    ).stdout


@pytest.fixture
def dumped(dsn: dict[str, str]) -> bytes:
    """A real dump of a database with awkward contents; the database is empty again afterwards."""
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(BODY)
        cursor.execute(
            "CREATE TABLE note (t text); INSERT INTO note VALUES (E'a\\\\b\\n\\\\.\\n\\t; ROLLBACK; \\\\! x'), (NULL), ('é😀');"
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;"
            "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END; $$;"
            "CREATE VIEW v AS SELECT 'ROLLBACK; \\!'::text AS x;"
            "SELECT lo_from_bytea(0, 'large object'); SELECT lo_from_bytea(0, 'another');"
        )
    text = pg_dump(dsn, "--large-objects")
    with psycopg2.connect(**dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT lo_unlink(oid) FROM pg_largeobject_metadata; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
        )
    return text


def write(path: Path, text: bytes | str) -> Path:
    data = text.encode() if isinstance(text, str) else text
    packed = {".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(data)
    path.write_bytes(packed)
    return path
