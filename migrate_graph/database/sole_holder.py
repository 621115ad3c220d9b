"""Tells whether anybody but the one who holds a connection can reach it."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Holder(Protocol):
    """The one thing that holds a connection."""

    _connection: Any


def references(holder: Holder) -> int:
    """Return how often the connection of a holder is referred to."""
    return sys.getrefcount(holder._connection)  # noqa: SLF001 - of a holder, that is what it is for


def is_ours_alone(holder: Holder, *, alone: int) -> bool:
    """Return whether nobody but `holder` can reach its connection: no cursor, no thread, no exception that was kept.

    What somebody else holds would let him write in another migration's transaction.

    Args:
        holder: the one.
        alone: what `references` gives for a connection of the kind that nobody else holds.
    """
    return references(holder) == alone
