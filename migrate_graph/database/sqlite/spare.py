"""Keeps the connection of a migration that succeeded for the next one, where it has left nothing behind: a new one reads the whole schema anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from migrate_graph.database.sole_holder import Holder, is_ours_alone, references
from migrate_graph.database.sqlite.work import WorkConnection


class Spare:
    """Keeps the connection of a migration that succeeded until the next one begins.

    Attributes:
        connection: what is kept; None where nothing is.
    """

    def __init__(self, open_one: Callable[[], WorkConnection], *, wanted: bool) -> None:
        """Make one for a run.

        Args:
            open_one: opens a new connection.
            wanted: False: every migration gets a new one.
        """
        self._open = open_one
        self._wanted = wanted
        self.connection: WorkConnection | None = None

    def take(self) -> tuple[WorkConnection, bool]:
        """Return a connection as it was when it was opened, and whether it is new."""
        connection, self.connection = self.connection, None
        return (self._open(), True) if connection is None else (connection, False)

    def keep(self, holder: Holder) -> bool:
        """Take over the connection of a migration that has succeeded; False where the next one is better off with another."""
        if not self._wanted or not is_ours_alone(holder, alone=_alone()):
            return False
        connection: WorkConnection = holder._connection  # noqa: SLF001 - of a holder, that is what it is for
        if not connection.is_as_new():
            return False
        connection.forget_attempt()
        self.connection = connection
        return True

    def close(self) -> None:
        """Close what is kept."""
        if self.connection is not None:
            with suppress(sqlite3.Error):
                self.connection.close()
        self.connection = None


class _Probe:
    """A holder of a connection that nobody else holds."""

    def __init__(self) -> None:
        self._connection = WorkConnection(":memory:")


@cache
def _alone() -> int:
    """Return how often a connection is referred to that only its holder, and its own authorizer, reach."""
    probe = _Probe()
    try:
        return references(probe)
    finally:
        probe._connection.close()  # noqa: SLF001 - as above
