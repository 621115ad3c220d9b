"""Runs statements about our own tables as who the session was before the body of a migration became another role."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from migrate_graph.database.postgres.connection import INERROR, INTRANS, WHO

if TYPE_CHECKING:
    from migrate_graph.database.postgres.connection import WorkConnection

Who: TypeAlias = tuple[str, ...]
"""User and role of a session."""


def becoming(now: Who, then: Who, *, local: bool) -> tuple[str, tuple[str, ...]]:
    """Return the query that makes a session act as somebody else, and its parameters.

    The user is set only where it is another one: when a transaction ends, the server sets what was set for it alone back, and with the
    user the role is forgotten (PostgreSQL, `assign_session_authorization`).

    Args:
        now: user and role that it has.
        then: user and role that it gets.
        local: for the open transaction alone, so that what was set for the session is there again after it.
    """
    settings = ("session_authorization", "role") if now[0] != then[0] else ("role",)
    sets = ", ".join(f"pg_catalog.set_config('{each}', %s, {str(local).lower()})" for each in settings)
    return f"SELECT {sets}", then[-len(settings) :]


class AsOurselves(Struct, frozen=True):
    """Sends statements of the view ledger; the role that a body has chosen need not have any rights on it.

    Attributes:
        connect: returns the connection of the migration.
        run: sends a statement with parameters and returns its rows.
    """

    connect: Callable[[], WorkConnection]
    run: Callable[..., list[tuple[Any, ...]]]

    def __call__(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Send a statement as who the session was at first."""
        with self.acting():
            return self.run(statement, parameters)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Act as who the session was at first, and become again who it is."""
        connection = self.connect()
        was = connection.was
        now = None if was is None else self.run(WHO, ())[0]
        if was is None or now is None or now == was:
            yield
            return
        local = connection.info.transaction_status == INTRANS
        self.run(*becoming(now, was, local=local))
        try:
            yield
        except BaseException:
            aborted = connection.closed or connection.info.transaction_status == INERROR
            if not aborted:  # else a rollback makes it who it is
                self.run(*becoming(was, now, local=local))
            raise
        self.run(*becoming(was, now, local=local))
