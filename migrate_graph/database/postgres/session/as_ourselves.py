"""Runs statements on the tool's tables with the run's own user and role, after the body of a migration has changed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from migrate_graph.database.postgres.session.connection import INERROR, INTRANS, WHO

if TYPE_CHECKING:
    from migrate_graph.database.postgres.session.connection import WorkConnection

Who: TypeAlias = tuple[str, ...]
"""User and role of a session."""


def becoming(now: Who, then: Who, *, local: bool) -> tuple[str, tuple[str, ...]]:
    """Return the query that gives a session another user and role, and its parameters.

    The user is set only if it changes: at the end of a transaction the server restores a user that was set for the transaction alone,
    and forgets the role then (PostgreSQL, `assign_session_authorization`).

    Args:
        now: user and role that the session has.
        then: user and role that it gets.
        local: set them for the open transaction only; after it, those of the session hold again.
    """
    settings = ("session_authorization", "role") if now[0] != then[0] else ("role",)
    sets = ", ".join(f"pg_catalog.set_config('{each}', %s, {str(local).lower()})" for each in settings)
    return f"SELECT {sets}", then[-len(settings) :]


class AsOurselves(Struct, frozen=True):
    """Sends statements on the tool's tables; the role that a body has set may have no rights on them.

    Attributes:
        connect: returns the connection of the migration.
        run: sends a statement with parameters and returns its rows.
    """

    connect: Callable[[], WorkConnection]
    run: Callable[..., list[tuple[Any, ...]]]

    def __call__(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Send a statement with the user and role that the session had at first."""
        with self.acting():
            return self.run(statement, parameters)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """For the block, set the user and role that the session had at first; afterwards restore the present ones."""
        connection = self.connect()
        was = connection.who_before
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
            if not aborted:  # otherwise the rollback restores them
                self.run(*becoming(was, now, local=local))
            raise
        self.run(*becoming(was, now, local=local))
