"""What one ordinary migration costs: counted in statements, connections and threads, never in time."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from growing import calls_of
from servers import PostgresServer
from stand import Stand

from migrate_graph.authoring import ViewMigrationManager
from migrate_graph.database import open_backend
from migrate_graph.database.postgres.session.connection import OurConnection
from migrate_graph.database.sqlite.backend import SqliteBackend

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


def _opening(first: int, last: int) -> tuple[list[Callable[[Any], bool]], dict[str, list[Any]]]:
    """Return bodies that open a view of their own each, and what each opens."""

    def manager(number: int) -> Any:
        up = f"CREATE VIEW v_{number} AS SELECT 1 AS one"
        return type(
            f"V{number}",
            (ViewMigrationManager,),
            {
                "uses": (),
                "up": lambda self: self.db.executesql(up),
                "down": lambda self: self.db.executesql(f"DROP VIEW IF EXISTS v_{number}"),
                "says": up,
            },
        )

    def body(view: Any, number: int, again: int) -> Callable[[Any], bool]:
        def opens(db: Any) -> bool:
            with view(db):
                pass
            return True

        opens.__name__ = f"opens_{number}_{again}"
        return opens

    views = [manager(number) for number in range(first, last)]
    bodies = [body(view, at, again) for again in range(2) for at, view in enumerate(views, first)]
    return bodies, {each.__name__: [views[at % len(views)]] for at, each in enumerate(bodies)}


@pytest.mark.postgres
def test_a_view_that_each_migration_opens_costs_messages_and_no_session(
    postgres_server: PostgresServer, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = Stand(postgres_server.app_uri(postgres_database))
    assert stand.run(*_bodies(0, 1)).succeeded
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET log_statement = 'all'")

    def measured(first: int, last: int) -> tuple[int, int]:
        """Return how many messages the session of the work got, and how many connections there were."""
        seen = len(postgres_server.log())
        bodies, views = _opening(first, last)
        with monkeypatch.context() as patched:
            counted = Counted(patched)
            assert stand.run(*bodies, views=views).succeeded
        log = postgres_server.log()[seen:]
        (work,) = {pid for pid, _ in re.findall(r"\[(\d+)\] LOG:  statement: (CREATE VIEW)", log)}
        return Counter(_STATEMENT.findall(log))[work], counted.connections

    (two, of_two), (twelve, of_twelve) = measured(1, 3), measured(3, 15)
    # Five of a migration without a view, which names are installed, what is down, where the view ledger stands, and nine or ten of the block:
    # of a new view the row is looked for, too.
    assert (twelve - two) / 20 == 17.5
    assert of_two == of_twelve, "the session goes on to the next migration"


@pytest.mark.postgres
def test_statements_connections_and_threads_of_a_migration(
    postgres_server: PostgresServer, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six statements where the work is done, of which one is its own, and one where the lock and the books are."""
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
    assert [(many - few) / 10 for many, few in zip(twelve, two, strict=True)] == [6, 1]
    assert of_two == of_twelve, "connections and threads do not grow with the migrations"


def test_statements_connections_and_threads_of_a_migration_on_sqlite(
    sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven statements besides its own, of which one commits; the connection is that of the migration before."""
    stand = Stand(sqlite_uri)
    sent: list[str] = []
    opened: list[object] = []
    opens = SqliteBackend._open

    def opens_traced(backend: SqliteBackend, factory: type[sqlite3.Connection], *, mode: str) -> Any:
        connection = opens(backend, factory, mode=mode)
        sqlite3.Connection.set_trace_callback(connection, sent.append)
        opened.append(factory)
        return connection

    monkeypatch.setattr(SqliteBackend, "_open", opens_traced)

    def measured(first: int, last: int) -> tuple[Counter[str], int, int]:
        sent.clear(), opened.clear()
        with monkeypatch.context() as patched:
            counted = Counted(patched)
            assert stand.run(*_bodies(first, last)).succeeded
        return Counter(re.sub(r"'[^']*'|\d+", "?", each) for each in sent), len(opened), counted.threads

    assert stand.run(*_bodies(0, 1)).succeeded
    (two, *of_two), (twelve, *of_twelve) = measured(1, 3), measured(3, 15)
    assert of_two == of_twelve, "connections and threads do not grow with the migrations"
    more = twelve - two
    assert sum(more.values()) / 10 == 8, more
    assert more["COMMIT"] == more["BEGIN IMMEDIATE"] == 10


def test_a_migration_costs_the_same_whatever_is_applied(database_uri: str) -> None:
    """Counted in calls: nothing of what a step does looks at all that is installed."""

    def of_one(first: int, stand: Stand) -> float:
        assert stand.run(*_bodies(first, first + 2)).succeeded
        two, twelve = (
            calls_of(lambda a=a, b=b: stand.run(*_bodies(a, b)))
            for a, b in ((first + 2, first + 4), (first + 4, first + 16))
        )  # type: ignore[misc]
        return (twelve - two) / 10

    stand = Stand(database_uri)
    few = of_one(0, stand)
    with open_backend(stand.settings, writing=True) as backend:
        backend.mark([f"old_{number}" for number in range(3000)], installed=True, reason="a test", run="r")
    assert len(stand.history().applied) > 3000
    assert of_one(100, stand) < 1.1 * few


def test_a_block_costs_the_same_whatever_views_are_declared(database_uri: str) -> None:
    """Counted in calls: nothing of what a block does looks at all managers."""
    stand = Stand(database_uri)
    crowd = [view for some in _opening(1_000, 1_200)[1].values() for view in some]

    def of_one(first: int, declared: list[Any]) -> float:
        two, twelve = (_opening(a, b) for a, b in ((first, first + 2), (first + 2, first + 7)))
        calls = [
            calls_of(lambda bodies=bodies, views=views: stand.run(*bodies, views=views | {"": declared}))
            for bodies, views in (two, twelve)
        ]  # type: ignore[misc]
        return (calls[1] - calls[0]) / 6

    of_one(0, crowd[:2])
    few = of_one(100, crowd[:2])
    assert of_one(200, crowd) < 1.2 * few


def test_nothing_to_do_costs_ten_times_as_much_where_ten_times_as_much_is_applied(database_uri: str) -> None:
    stand = Stand(database_uri)
    calls = []
    for first, last in ((0, 300), (300, 3000)):
        with open_backend(stand.settings, writing=True) as backend:
            backend.prepare()
            backend.mark([f"old_{number}" for number in range(first, last)], installed=True, reason="a test", run="r")
        calls.append(calls_of(stand.run))
    assert calls[1] < 13 * calls[0]
