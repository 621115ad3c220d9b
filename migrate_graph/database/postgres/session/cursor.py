"""Cursors: the class that an attempt uses, which sends everything through its connection, and functions that run a statement and return rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2.extensions as pg

from migrate_graph.database.postgres.session.statements import Kind

if TYPE_CHECKING:
    from migrate_graph.database.postgres.session.connection import WorkConnection

# The first statements that pyDAL sends. They are not needed: the encoding is set when we connect, `standard_conforming_strings` with
# our other settings.
_GREETINGS = {"SET CLIENT_ENCODING TO 'UTF8'", "SET standard_conforming_strings=on;", "SELECT 1;"}


class WorkCursor(pg.cursor):
    """A cursor whose connection opens each transaction with the marker.

    If one of several statements in a text ends the transaction, the statements are sent one by one. Sent as one message, the server
    would commit what follows that statement at once, before a marker could be written.
    """

    connection: WorkConnection

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        if self.connection.being_greeted and query in _GREETINGS:
            return
        self.connection.overhear(lambda: query if vars is None else self.mogrify(query, vars))
        found = self.connection.read(self, query, vars)
        if len(found) == 1:
            self.connection.send(found[0].kind, partial(super().execute, query, vars), query)
            return
        for each in found:
            self.connection.send(each.kind, partial(super().execute, each.text), each.text)

    def executemany(self, query: Any, vars_list: Any) -> None:
        self.connection.overhear(lambda: self.connection.text_of(query).replace("%%", "%"))
        found = self.connection.read(self, query, None)
        if len(found) > 1 or self.connection.may_weave(query):
            for each in vars_list:
                self.execute(query, each)
        else:
            self.connection.send(found[0].kind, partial(super().executemany, query, vars_list))

    def callproc(self, procname: Any, *arguments: Any) -> Any:
        given = arguments[0] if arguments else ()
        values = (f"{name} := ?" for name in given) if isinstance(given, dict) else ("?" for _ in given or ())
        self.connection.overhear(lambda: f"SELECT * FROM {procname}({', '.join(values)})")
        self.connection.send_one(self, procname, partial(super().callproc, procname, *arguments))

    def copy_expert(self, sql: Any, *arguments: Any, **options: Any) -> None:
        self.connection.overhear(lambda: sql)
        self.connection.send_one(self, sql, partial(super().copy_expert, sql, *arguments, **options))

    def copy_from(self, *arguments: Any, **options: Any) -> None:
        self.connection.overhear(
            lambda: f"COPY {arguments[1] if len(arguments) > 1 else options.get('table')} FROM STDIN"
        )
        self.connection.send(Kind.PLAIN, partial(super().copy_from, *arguments, **options))

    def copy_to(self, *arguments: Any, **options: Any) -> None:
        self.connection.overhear(
            lambda: f"COPY {arguments[1] if len(arguments) > 1 else options.get('table')} TO STDOUT"
        )
        self.connection.send(Kind.PLAIN, partial(super().copy_to, *arguments, **options))


def rows_of(cursor: Any, statement: str | bytes, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows; an empty list for a statement that returns none."""
    cursor.execute(statement, parameters)
    return list(cursor.fetchall()) if cursor.description else []


def send(connection: Any, statement: str | bytes, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run a statement on a cursor of its own, and return its rows."""
    with connection.cursor() as cursor:
        return rows_of(cursor, statement, parameters)
