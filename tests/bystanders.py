"""Another session that creates, drops, refreshes and locks things of its own while a test runs, in a schema of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

SCHEMA = "bystander"

_ROUND = """
BEGIN;
CREATE TABLE bystander.work (id serial, kind bystander.kind);
CREATE VIEW bystander.seen AS SELECT id FROM bystander.work;
CREATE MATERIALIZED VIEW bystander.held AS SELECT id FROM bystander.seen;
CREATE FUNCTION bystander.of_seen(bystander.seen) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE bystander.pair AS (one bystander.seen);
CREATE TEMP TABLE work_{round} AS SELECT id FROM bystander.held;
CREATE TEMP VIEW seen_{round} AS SELECT id FROM work_{round};
CREATE SEQUENCE bystander.counter;
COMMIT;
BEGIN; LOCK TABLE bystander.work IN ACCESS EXCLUSIVE MODE; REFRESH MATERIALIZED VIEW bystander.held; ROLLBACK;
REFRESH MATERIALIZED VIEW bystander.held;
BEGIN; DROP VIEW bystander.seen CASCADE; ROLLBACK;
DROP TABLE bystander.work CASCADE; DROP TABLE work_{round} CASCADE; DROP SEQUENCE bystander.counter; DROP TYPE bystander.pair
"""


class Bystander:
    """A session of its own; `round()` does everything once.

    Attributes:
        rounds: how often it has done everything.
        failed: what went wrong.
    """

    def __init__(self, uri: str) -> None:
        self.connection = psycopg2.connect(uri, options="-c lock_timeout=10000")
        self.connection.autocommit = True
        self.rounds = 0
        self.failed: list[str] = []
        self._cursor = self.connection.cursor()
        self._cursor.execute("CREATE SCHEMA bystander; CREATE TYPE bystander.kind AS ENUM ('a', 'b')")

    def round(self) -> None:
        """Create, lock, refresh and drop."""
        for statement in _ROUND.format(round=self.rounds).split(";"):
            if statement.strip():
                self._cursor.execute(statement)
        self.rounds += 1

    def work(self, stop: threading.Event, worked: threading.Event) -> None:
        """Go on until it is stopped; `worked` is set after each round."""
        try:
            while not stop.is_set():
                self.round()
                worked.set()
        except psycopg2.errors.InsufficientPrivilege:
            pass  # an event trigger of the test has given its things to others
        except psycopg2.Error as error:
            self.failed.append(str(error))
        finally:
            worked.set()

    def close(self) -> None:
        """Leave nothing behind."""
        self.connection.close()


@contextmanager
def bystanding(uri: str) -> Iterator[Bystander | None]:
    """Have somebody work in a database meanwhile: at least one round before, and one while the block runs.

    Args:
        uri: of a role that may create schemas there. In a file of SQLite one session writes at a time, so there nobody does.
    """
    if uri.startswith("sqlite"):
        yield None
        return
    bystander = Bystander(uri)
    stop, worked = threading.Event(), threading.Event()
    thread = threading.Thread(target=bystander.work, args=(stop, worked))
    thread.start()
    try:
        assert worked.wait(30)
        worked.clear()
        yield bystander
        assert worked.wait(30), "nobody else did anything meanwhile"
    finally:
        stop.set()
        thread.join(30)
        bystander.close()
    assert not bystander.failed, bystander.failed


def in_step(bystander: Bystander, catalog: Any) -> None:
    """Make a bystander do everything once before each question that a view keeper asks its catalog."""
    for name in ("observe", "changes", "describe", "find", "restore"):
        asked = getattr(catalog, name)

        def first(*arguments: Any, asked: Any = asked, **options: Any) -> Any:
            bystander.round()
            return asked(*arguments, **options)

        setattr(catalog, name, first)
