"""Names, durations and times as text: what several commands write alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from migrate_graph.redaction import one_line

MOST = 20
"""Of more names than these a line tells the first ones, and how many there are besides; JSON has them all."""


def listed(names: Iterable[str], *, most: int | None = None) -> str:
    """Return names as one line of text; of more than `most` the first ones, and how many there are besides."""
    shown = [one_line(name) for name in names]
    more = len(shown) - most if most is not None else 0
    if most is not None and more > 1:
        shown[most:] = [f"and {more:,} more"]
    return ", ".join(shown) or "nothing"


def between(names: Sequence[str]) -> str:
    """Return which names a run of them is: the first and the last."""
    first, last = one_line(names[0]), one_line(names[-1])
    return f"{first} … {last}" if len(names) > 1 else first


def moment(when: datetime | None) -> str:
    """Return a time to the minute, with `Z` when it is known to be UTC; the ledger of 2.1.0 does not tell its zone."""
    if when is None:
        return ""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}Z" if when.tzinfo else f"{when:%Y-%m-%d %H:%M}"
