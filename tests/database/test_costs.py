"""What one ordinary migration costs: counted in statements, connections and threads, never in time."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from servers import PostgresServer
from stand import Stand

from migrate_graph.database.postgres.connection import OurConnection

_STATEMENT = re.compile(r"\[(\d+)\] LOG:  statement: ")


def _bodies(first: int, last: int) -> list[Callable[[Any], bool]]:
    def body(number: int) -> Callable[[Any], bool]:
        def creates(db: Any) -> bool:
            db.executesql(f"CREATE TABLE t_{number} (id integer PRIMARY KEY, name varchar(80))")
            return True

        creates.__name__ = f"creates_{number}"
        return creates

    return [body(number) for number in range(first, last)]


class Counted:
    """What runs have opened and started so far."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connections = self.threads = 0
        connect, start = OurConnection.__init__, threading.Thread.start

        def connects(connection: Any, dsn: str) -> None:
            self.connections += 1
            connect(connection, dsn)

        def starts(thread: threading.Thread) -> None:
            self.threads += 1
            start(thread)

        monkeypatch.setattr(OurConnection, "__init__", connects)
        monkeypatch.setattr(threading.Thread, "start", starts)


@pytest.mark.postgres
def test_statements_connections_and_threads_of_a_migration(
    postgres_server: PostgresServer, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven statements where the work is done, of which one is its own, and one where the lock and the books are."""
    stand = Stand(postgres_server.app_uri(postgres_database))
    assert stand.run(*_bodies(0, 1)).succeeded
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET log_statement = 'all'")

    def measured(first: int, last: int) -> tuple[tuple[int, int], int, int]:
        """Return how many statements work and keeper sent in a run, and its connections and threads."""
        seen = len(postgres_server.log())
        with monkeypatch.context() as patched:
            counted = Counted(patched)
            assert stand.run(*_bodies(first, last)).succeeded
        log = postgres_server.log()[seen:]
        sent = Counter(_STATEMENT.findall(log))
        (work,) = {pid for pid in sent if f"[{pid}] LOG:  statement: CREATE TABLE t_" in log}
        (keeper,) = set(sent) - {work}
        return (sent[work], sent[keeper]), counted.connections, counted.threads

    (two, *of_two), (twelve, *of_twelve) = measured(1, 3), measured(3, 15)
    assert [(many - few) / 10 for many, few in zip(twelve, two, strict=True)] == [7, 1]
    assert of_two == of_twelve, "connections and threads do not grow with the migrations"


def test_threads_of_a_migration_on_sqlite(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(sqlite_uri)
    threads = []
    for first, last in ((0, 2), (2, 14)):
        with monkeypatch.context() as patched:
            counted = Counted(patched)
            assert stand.run(*_bodies(first, last)).succeeded
        threads.append(counted.threads)
    assert threads[0] == threads[1]
