"""Names, times and columns as text: what several commands write alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from textwrap import wrap

from migrate_graph.redaction import one_line


def listed(names: Iterable[str], *, nothing: str = "nothing") -> str:
    """Return names as one line of text."""
    return ", ".join(one_line(name) for name in names) or nothing


def lasting(seconds: float) -> str:
    """Return a duration: `0.2 s`, `3 m 12 s`, `2 h 05 m`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(timedelta(seconds=seconds).total_seconds()), 60)
    return f"{minutes} m {rest:02} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} m"


def moment(when: datetime | None) -> str:
    """Return a time to the minute, with `Z` when it is known to be UTC; the ledger of 2.1.0 does not tell its zone."""
    if when is None:
        return ""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}Z" if when.tzinfo else f"{when:%Y-%m-%d %H:%M}"


def hanging(text: str, *, column: int, width: int | None) -> list[str]:
    """Break a text at spaces so that it fits between a column and the terminal's width; words are never cut."""
    if width is None or column + len(text) <= width:
        return [text]
    return wrap(text, max(width - column, 20), break_long_words=False, break_on_hyphens=False) or [""]


def aligned(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Align the rows; no name is ever cut, whatever the terminal is like."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
