"""Notes which parts of SQLite's schema the statements of a connection may have changed, so that only these are read again."""

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
"""Queries for a number that changes when another connection commits, and one that changes with the schema."""

_MOST = 500
"""How many rows of the schema are read one by one at most; if more, the whole schema is read."""

Run = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query, and returns its rows."""


class Noting(sqlite3.Connection):
    """A connection that notes what its statements may have changed in the schema.

    Attributes:
        noted: the notes.
    """

    noted: Noted


class Noted:
    """The schema as it was read last, and what may have changed since; an authorizer calls `note` for each statement that is prepared.

    Everything is read again after a rollback, after ALTER TABLE, and where another connection has changed the schema.

    Attributes:
        schema: the schema as it was read last.
    """

    def __init__(self) -> None:
        self.schema = Schema()
        self._touched: set[str] | None = None  # tables and views that may have changed; None: all may
        self._is_same = False  # True: no other connection can have committed since the last look
        self._was_inside = self._may_end = False
        self._never = False
        self._versions: tuple[Any, ...] = (None, None)

    def note(self, action: int, first: str | None, second: str | None, *, inside: bool) -> None:
        """Note what a statement is about to do.

        Args:
            action: SQLite's code for the action.
            first: first argument of the action.
            second: second argument of the action.
            inside: a transaction is open.
        """
        if inside is not self._was_inside:
            if not inside and not self._may_end:
                self._touched = None  # SQLite rolled back by itself, or VACUUM has given all rows new numbers
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
            self._touched = None  # renaming a column changes the text of every view that reads it
        elif action == sqlite3.SQLITE_PRAGMA and second is not None and (first or "").lower() in _UNGUARDED:
            self.distrust()

    def distrust(self) -> None:
        """From now on read the whole schema each time: it may change without the authorizer reporting it."""
        self._never = True

    def read(self, run: Run) -> Schema:
        """Return the present schema; only the parts that may have changed are read again."""
        if not self._is_same:
            self._compare(run)
        touched = None if self._never else self._touched
        places = None if touched is None else self.schema.places(touched)
        if places is None or len(places) > _MOST:
            self.schema.update(run(SCHEMA))
        elif touched:
            self.schema.update(run(rows_at(places, self.schema.last)), places)
        if self._touched is None or touched:  # these changes have changed the schema's number
            self._versions = (self._versions[0], *run(_NUMBER)[0])
        self._touched = set()
        self._is_same = self._was_inside
        return self.schema

    def _compare(self, run: Run) -> None:
        """Look whether the schema has changed by anything that was not noted."""
        versions = run(_OTHERS)[0] + run(_NUMBER)[0]
        was_touched = self._touched is None or bool(self._touched)
        if versions[0] != self._versions[0] or (not was_touched and versions != self._versions):
            self._touched = None
        self._versions = versions
