"""Tells whether any object besides its holder refers to a connection."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Holder(Protocol):
    """The object that holds a connection."""

    _connection: Any


def references(holder: Holder) -> int:
    """Return the reference count of a holder's connection."""
    return sys.getrefcount(holder._connection)  # noqa: SLF001 - `Holder` declares it


def is_ours_alone(holder: Holder, *, alone: int) -> bool:
    """Return whether nothing but `holder` refers to its connection: no cursor, no thread, no exception that was kept.

    Code that still has the connection could write in the transaction of a later migration.

    Args:
        holder: holds the connection.
        alone: the value of `references` for such a connection that nothing else refers to.
    """
    return references(holder) == alone
