"""The line is cut when the work of a command is committed: it says that the work is done, and never to do it again."""

from __future__ import annotations

from contextlib import closing

import pytest
from fault_field import TABLE, Field
from line_cutter import LineCutter
from servers import PostgresServer

pytestmark = pytest.mark.postgres

PROJECT = """
from migrate_graph import migration


def undo(db):
    db.executesql("DROP TABLE customer")
    return True


@migration(down=undo)
def customer_1(db):
    db.executesql("CREATE TABLE customer (id integer)")
    return True
"""
DUMP = f"""
CREATE TABLE {TABLE} (id serial PRIMARY KEY, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp);
INSERT INTO {TABLE} (name, installed) VALUES ('customer_1', 'T');
CREATE TABLE customer (id integer);
"""
JOURNAL = f'"public"."{TABLE}_journal"'.encode()


def _cut(field: Field, server: PostgresServer, *words: str, texts: tuple[bytes, ...]) -> str:
    """Run a command whose line is cut; return what it says, on one line."""
    with closing(LineCutter(server.port, texts, is_answered=True)) as cutter:
        ended = field.migrate(*words, env={"MIGRATE_URI": field.uri.replace(f":{server.port}/", f":{cutter.port}/")})
        assert cutter.has_cut
    assert ended.code == 6, ended.output
    field.wait_until_quiet()
    return " ".join(ended.output.split())


def test_after_a_restore(on_postgres: Field, postgres_server: PostgresServer) -> None:
    """It was said to run it again, which refuses the database, since it is not empty any more."""
    on_postgres.write(PROJECT)
    on_postgres.write(DUMP, "dump.sql")
    told = _cut(on_postgres, postgres_server, "restore", "dump.sql", texts=(b"CREATE TABLE " + JOURNAL,))
    assert "the backup is restored, but what follows was not done: the connection" in told
    assert "go on with migrate status, then migrate apply" in told
    assert "run it again" not in told
    assert on_postgres.apply().code == 0
    assert on_postgres.read().tables == {"customer"}
    assert on_postgres.read().last("customer_1") is None


@pytest.mark.redis
@pytest.mark.parametrize(
    "texts",
    [(b"CREATE TABLE " + JOURNAL,), (b"INSERT INTO " + JOURNAL, b"DELETE FROM " + JOURNAL)],
    ids=["before the flush", "after it"],
)
def test_after_a_restore_the_cache_is_flushed_all_the_same(
    texts: tuple[bytes, ...], on_postgres: Field, postgres_server: PostgresServer, redis_uri: str
) -> None:
    """Nothing could be written down that would have the next run flush it."""
    on_postgres.write(PROJECT)
    on_postgres.write(DUMP, "dump.sql")
    on_postgres.env["REDIS_HOST"] = redis_uri
    told = _cut(on_postgres, postgres_server, "restore", "dump.sql", texts=texts)
    assert told.count("note: flushed") == 2, told  # before the restore, and after it
    assert "the backup is restored, but" in told


def test_after_a_revert(on_postgres: Field, postgres_server: PostgresServer) -> None:
    """It was said to run it again, which finds nothing to revert."""
    on_postgres.write(PROJECT)
    assert on_postgres.apply().code == 0
    stored = b"INSERT INTO " + JOURNAL
    told = _cut(
        on_postgres, postgres_server, "revert", "customer_1", "--yes", texts=(stored, b"pg_try_advisory_xact_lock")
    )
    assert "'customer_1' is reverted, but what follows was not done: the connection" in told
    assert "migrate status shows what is reverted" in told
    assert "run it again" not in told
    assert on_postgres.read().ledger == {"customer_1": "F"}
