"""Records what SQLite asks its authorizer while it prepares statements: what each statement reads and writes, without running it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Asked(NamedTuple):
    """A question to the authorizer.

    Attributes:
        action: SQLite's code for what the statement wants to do.
        first: first argument of the action, mostly the name of a table or view.
        second: second argument, mostly the name of a column.
        database: `main` or `temp`.
        inner: the innermost view or trigger that does it; empty for the statement itself.
    """

    action: int
    first: str
    second: str
    database: str
    inner: str


@contextmanager
def overheard(connection: sqlite3.Connection, judge: Callable[..., int] | None = None) -> Iterator[list[Asked]]:
    """Collect the questions that are asked inside the block in a list; everything is permitted there.

    Args:
        connection: the connection that prepares the statements.
        judge: the authorizer that the connection gets afterwards.
    """
    asked: list[Asked] = []

    def hear(action: int, *names: str | None) -> int:
        asked.append(Asked(action, *(name or "" for name in names)))
        return sqlite3.SQLITE_OK

    sqlite3.Connection.set_authorizer(connection, hear)
    try:
        yield asked
    finally:
        sqlite3.Connection.set_authorizer(connection, judge)
