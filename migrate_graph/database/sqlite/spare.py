"""Keeps the connection of a successful migration for the next one, if nothing was left in it: a new one would read the whole schema again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from migrate_graph.database.sole_holder import Holder, is_ours_alone, references
from migrate_graph.database.sqlite.work import WorkConnection


class Spare:
    """Keeps the connection of a successful migration until the next one begins.

    Attributes:
        connection: the kept connection; None where there is none.
    """

    def __init__(self, open_one: Callable[[], WorkConnection], *, wanted: bool) -> None:
        """Start without a connection.

        Args:
            open_one: opens a new connection.
            wanted: whether connections are kept; if False, every migration gets a new one.
        """
        self._open = open_one
        self._wanted = wanted
        self.connection: WorkConnection | None = None

    def take(self) -> tuple[WorkConnection, bool]:
        """Return a connection that is new or like new, and whether it is new."""
        connection, self.connection = self.connection, None
        return (self._open(), True) if connection is None else (connection, False)

    def keep(self, holder: Holder) -> bool:
        """Keep the connection of a successful migration; False where it cannot be kept: the body left something in it, or still refers to it."""
        if not self._wanted or not is_ours_alone(holder, alone=_alone()):
            return False
        connection: WorkConnection = holder._connection  # noqa: SLF001 - `Holder` declares it
        if not connection.is_as_new():
            return False
        connection.forget_attempt()
        self.connection = connection
        return True

    def close(self) -> None:
        """Close the kept connection."""
        if self.connection is not None:
            with suppress(sqlite3.Error):
                self.connection.close()
        self.connection = None


class _Probe:
    """A holder of a connection that nothing else refers to."""

    def __init__(self) -> None:
        self._connection = WorkConnection(":memory:")


@cache
def _alone() -> int:
    """Return the reference count of a connection that only its holder and its own authorizer refer to."""
    probe = _Probe()
    try:
        return references(probe)
    finally:
        probe._connection.close()  # noqa: SLF001 - as above
