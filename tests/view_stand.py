"""A connection with a view ledger and view managers made on the spot, to drive a `ViewKeeper` without an executor."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from migrate_graph.core.events import Event
from migrate_graph.database.ledger import POSTGRES, SQLITE, TableNames
from migrate_graph.database.view_ledger import ViewLedger
from migrate_graph.database.views import ViewKeeper

TABLE = "ewh_implemented_features"


class Stand:
    """What tests of both databases have in common.

    `manager("V", up="CREATE …", down="DROP …")` makes an instance; `calls` lists what ran.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.calls: list[str] = []
        self.events: list[Event] = []

    def __call__(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, and give the rows of the last."""
        cursor = self.connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def manager(self, name: str, *, up: str, down: str = "") -> Any:
        calls, run = self.calls, self

        def go_up(self: Any) -> None:
            calls.append(f"up {name}")
            run(self.statement_up)

        def go_down(self: Any) -> None:
            calls.append(f"down {name}")
            run(self.statement_down)

        kind = "MATERIALIZED VIEW" if "MATERIALIZED" in up else "VIEW"
        down = down or f"DROP {kind} IF EXISTS {name.lower()}"
        return type(name, (), {"up": go_up, "down": go_down, "statement_up": up, "statement_down": down})()

    @property
    def keeper(self) -> ViewKeeper:
        raise NotImplementedError

    def down_now(self) -> list[str]:
        """Give the managers that the ledger says are down."""
        return sorted({row[0] for row in self(f"SELECT manager FROM {TABLE}_views WHERE state = 'down'")})


class _PostgresConnection(psycopg2.extensions.connection):
    """Has a `__dict__`, as the connection of an attempt does."""


class PostgresStand(Stand):
    def __init__(self, uri: str, *, create: bool = True) -> None:
        super().__init__(psycopg2.connect(uri, connection_factory=_PostgresConnection, options="-c lock_timeout=5000"))
        names = TableNames.of(TABLE, POSTGRES)
        if create:
            ViewLedger(names, self._run).create()
            self.connection.commit()
        self._uri = uri
        self._keeper = ViewKeeper.on_postgres(self.connection.cursor, names)

    def reconnect(self) -> None:
        """Go on as the next process does: what was not committed is gone."""
        self.connection.close()
        self.__dict__.update(PostgresStand(self._uri, create=False).__dict__, calls=self.calls, events=self.events)

    def _run(self, statement: str, parameters: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    @property
    def keeper(self) -> ViewKeeper:
        return self._keeper


class _SqliteConnection(sqlite3.Connection):
    """Has a `__dict__`, as the connection of an attempt does."""


class SqliteStand(Stand):
    def __init__(self, path: Path) -> None:
        super().__init__(sqlite3.connect(path, isolation_level=None, factory=_SqliteConnection))
        names = TableNames.of(TABLE, SQLITE)
        ViewLedger(
            names, lambda statement, parameters: self.connection.execute(statement, parameters).fetchall()
        ).create()
        self._keeper = ViewKeeper.on_sqlite(lambda: self.connection, names)

    @property
    def keeper(self) -> ViewKeeper:
        return self._keeper
