"""Tries on a copy in memory whether records can be written, for commands that only read: what triggers do, nobody can read from them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from msgspec import Struct

from migrate_graph.database.books.ledger import Execute, Ledger
from migrate_graph.database.books.obstacles import Fault, tried
from migrate_graph.database.names import TableNames
from migrate_graph.errors import DatabaseError

LARGEST = 1 << 28
"""Bytes of the largest database that is copied."""


def in_memory(connection: sqlite3.Connection) -> sqlite3.Connection | None:
    """Return a copy of a database in memory; None where it is too large, or cannot be copied now."""
    ((size,),) = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    if size > LARGEST:
        return None
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.backup(copy)
    except sqlite3.Error:
        copy.close()
        return None
    return copy


class Trial(Struct, frozen=True):
    """Writes records into a copy of a database.

    Attributes:
        names: names of the tool's tables.
        execute: runs a statement on the copy and returns its rows.
    """

    names: TableNames
    execute: Execute

    def __call__(self, names: Sequence[str], installed: bool) -> list[Fault]:  # noqa: FBT001 - of `Obstacles.tries`
        """Return why records of these names do not stand; see `Obstacles.tries`."""
        ledger = Ledger(self.names, self.execute)
        there = {name for (name,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'table'", ())}
        ledger.create({self.names.journal} - there)
        return tried(names, partial(self._try, ledger, installed=installed))

    def _try(self, ledger: Ledger, name: str, *, installed: bool) -> str:
        self.execute("BEGIN", ())
        try:
            return ledger.try_success(name, installed=installed)
        finally:
            with suppress(DatabaseError):  # a trigger may have rolled back already
                self.execute("ROLLBACK", ())
