"""Overhears what SQLite asks while it prepares statements: what each of them reads and writes, without running any."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Asked(NamedTuple):
    """A question to the authorizer.

    Attributes:
        action: what is about to be done.
        first: mostly the name of a table or view.
        second: mostly that of a column.
        database: `main` or `temp`.
        inner: the innermost view or trigger that it is done by.
    """

    action: int
    first: str
    second: str
    database: str
    inner: str


@contextmanager
def overheard(connection: sqlite3.Connection, judge: Callable[..., int] | None = None) -> Iterator[list[Asked]]:
    """Give a list of what is asked inside; everything is permitted there.

    Args:
        connection: that prepares the statements.
        judge: its authorizer afterwards.
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
