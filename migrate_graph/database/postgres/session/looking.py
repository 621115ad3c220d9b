"""Opens a session for a few questions, where no backend is at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.database.postgres.session.trouble import explaining

if TYPE_CHECKING:
    from migrate_graph.database import Settings


@contextmanager
def opened(settings: Settings, role: str, *, ours: bool = True) -> Iterator[Any]:
    """Give a connection for the block; what the driver raises in it becomes an error of ours.

    Args:
        settings: how the database is reached.
        role: see `Sessions.open`.
        ours: see `Sessions.open`.

    Raises:
        DatabaseUnreachable: there is no connection, or it was lost.
        DatabaseRefused: a statement was refused.
    """
    sessions = Sessions(settings)
    with explaining(sessions.label, sessions.secrets), closing(sessions.open(role, ours=ours)) as connection:
        yield connection
