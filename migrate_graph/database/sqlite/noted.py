"""Notes what the statements of a connection may have changed in SQLite's schema, so that no more than that is read again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from migrate_graph.database.sqlite.schema import SCHEMA, Schema, rows_at

_OF_FIRST = {
    sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE,
    sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_DROP_VIEW,
}  # fmt: skip
_OF_SECOND = {
    sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_DROP_TRIGGER, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_DROP_INDEX,
}  # fmt: skip
_OF_WORK = {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}
_UNGUARDED = {"writable_schema", "schema_version", "reset_database"}
_OTHERS, _NUMBER = "PRAGMA data_version", "PRAGMA schema_version"
"""What changes when another connection commits, and what changes with the schema."""

_MOST = 500
"""Places that are asked for one by one."""

Run = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query, and gives its rows."""


class Noting(sqlite3.Connection):
    """A connection that takes note of what its statements do to the schema.

    Attributes:
        noted: of it.
    """

    noted: Noted


class Noted:
    """What is known of the schema, and what may have become of it since; an authorizer tells of each statement that is prepared.

    Everything is read again after something was undone, after ALTER TABLE, and where another connection has changed the schema.

    Attributes:
        schema: as it was read last.
    """

    def __init__(self) -> None:
        self.schema = Schema()
        self._touched: set[str] | None = None  # names of tables and views; None for any
        self._is_same = False  # nobody else can have committed since
        self._was_inside = self._may_end = False
        self._never = False
        self._versions: tuple[Any, ...] = (None, None)

    def note(self, action: int, first: str | None, second: str | None, *, inside: bool) -> None:
        """Note what a statement is about to do.

        Args:
            action: what, as the authorizer is told.
            first: what is named first.
            second: what is named then.
            inside: a transaction is open.
        """
        if inside is not self._was_inside:
            if not inside and not self._may_end:
                self._touched = None  # SQLite rolled back by itself, or has numbered all rows anew (VACUUM)
            self._was_inside, self._is_same = inside, False
        self._may_end = False
        if action in _OF_FIRST or action in _OF_SECOND:
            if self._touched is not None:
                self._touched.add(((first if action in _OF_FIRST else second) or "").lower())
        elif action in _OF_WORK:
            self._may_end = True
            if first == "ROLLBACK":
                self._touched = None
        elif action == sqlite3.SQLITE_ALTER_TABLE:
            self._touched = None  # a new name of a column changes the text of every view that reads it
        elif action == sqlite3.SQLITE_PRAGMA and second is not None and (first or "").lower() in _UNGUARDED:
            self.distrust()

    def distrust(self) -> None:
        """Read everything each time from now on: the schema may change by more than statements that say so."""
        self._never = True

    def read(self, run: Run) -> Schema:
        """Return the schema as it is now, by reading what may have changed."""
        if not self._is_same:
            self._compare(run)
        touched = None if self._never else self._touched
        places = None if touched is None else self.schema.places(touched)
        if places is None or len(places) > _MOST:
            self.schema.update(run(SCHEMA))
        elif touched:
            self.schema.update(run(rows_at(places, self.schema.last)), places)
        if self._touched is None or touched:  # the number of the schema is another now
            self._versions = (self._versions[0], *run(_NUMBER)[0])
        self._touched = set()
        self._is_same = self._was_inside
        return self.schema

    def _compare(self, run: Run) -> None:
        """Look whether anything but what was noted has changed the schema."""
        versions = run(_OTHERS)[0] + run(_NUMBER)[0]
        was_touched = self._touched is None or bool(self._touched)
        if versions[0] != self._versions[0] or (not was_touched and versions != self._versions):
            self._touched = None
        self._versions = versions
