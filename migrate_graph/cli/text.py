"""Write lists of names, and times, in the way that all commands share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from migrate_graph.redaction import one_line

MOST = 20
"""The number of names that a line shows at most, followed by the number of the others; JSON has all names."""


def listed(names: Iterable[str], *, most: int | None = None) -> str:
    """Return names as one line of text; of more than `most`, only the first ones and the number of the others."""
    shown = [one_line(name) for name in names]
    more = len(shown) - most if most is not None else 0
    if most is not None and more > 1:
        shown[most:] = [f"and {more:,} more"]
    return ", ".join(shown) or "nothing"


def between(names: Sequence[str]) -> str:
    """Return the first and the last of consecutive names: `first … last`."""
    first, last = one_line(names[0]), one_line(names[-1])
    return f"{first} … {last}" if len(names) > 1 else first


def moment(when: datetime | None) -> str:
    """Return a time to the minute, with `Z` if its time zone is known; times written by edwh-migrate 2.1.0 have none."""
    if when is None:
        return ""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}Z" if when.tzinfo else f"{when:%Y-%m-%d %H:%M}"
