"""Lay text out in the columns of a terminal: measure its width, and break lines between words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

Paint: TypeAlias = Callable[[str, str], str]
"""Return a text in a style: `paint("3 to run", "bold")`."""

_COLOR = re.compile("\x1b\\[[0-9;]*m")
"""The escape sequence of a colour: it takes no column."""

_LEAST = 20
"""The least width of a line in columns, even if the terminal is narrower."""


def columns(text: str) -> int:
    """Return how many columns a printable text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # its tables are large, and most texts do not need them

    wide: int = wcswidth(text)
    return wide if wide >= 0 else len(text)  # `wcswidth` returns -1 for a text with control characters


def plain(text: str, style: str) -> str:
    """Return the text unchanged: the `Paint` function of a stream without colour."""
    del style
    return text


def padded(text: str, width: int) -> str:
    """Return a text filled with spaces to a width."""
    return text + " " * (width - columns(text))


def shortened(text: str, width: int, *, gap: str = "…", tail: bool = True) -> str:
    """Return a text cut to a width.

    Args:
        text: on one line.
        width: available columns.
        gap: replaces the part that is cut out.
        tail: cut in the middle and keep as much of the end as of the beginning, since names often differ at the end; otherwise
            cut the end.
    """
    if columns(text) <= width:
        return text
    kept = max(0, width - columns(gap))
    end = _fitting(text[::-1], kept // 2)[::-1] if tail else ""
    return _fitting(text, kept - columns(end)) + gap + end if kept else gap[:width]


def _fitting(text: str, width: int) -> str:
    """Return the longest beginning of a text that fits into a width."""
    part = text[:width]
    while part and columns(part) > width:
        part = part[:-1]
    return part


def hanging(text: str, width: int | None, *, column: int, indent: int) -> list[str]:
    """Break a text between words; a word is never cut, so a long word may go beyond the width.

    Args:
        text: on one line.
        width: available columns; None for no limit.
        column: where the first line begins; that line is empty when not even one word fits there.
        indent: of the further lines, in columns.

    Returns:
        The first line without indent, and the further lines with their indent.
    """
    if width is None or column + columns(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        room = width - column if len(lines) == 1 else max(width - indent, _LEAST)
        if columns(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [lines[0], *(" " * indent + line for line in lines[1:])]


def behind(
    head: str, text: str, width: int | None, *, indent: int | None = None, paint: Callable[[str], str] = str
) -> list[str]:
    """Return the lines of a text that follows a heading on the same line, broken between words.

    Args:
        head: the heading; it may contain colours.
        text: on one line.
        width: available columns; None for no limit.
        indent: of the further lines; None for the column where the text begins.
        paint: colours the text, line by line.
    """
    column = columns(_COLOR.sub("", head))
    first, *more = hanging(text, width, column=column, indent=column if indent is None else indent)
    return [f"{head}{paint(first)}", *map(paint, more)]


def broken(text: str, width: int | None) -> list[str]:
    """Return the lines of a text that is broken between words to fit a width."""
    return [line for line in hanging(text, width, column=0, indent=0) if line] or [""]


def table(rows: Sequence[Sequence[str]], width: int | None = None, *, indent: int = 0) -> list[list[str]]:
    """Lay rows out as a table; return each row as a list of lines.

    If the table is too wide, the last cell of each row is broken between words. If there is no room even for that, the first cell gets
    a line of its own, and the other cells follow below it with a deeper indent. No word is cut.

    Args:
        rows: of printable cells; all rows have the same number of cells.
        width: available columns; None for no limit.
        indent: of every line, in columns.
    """
    if not rows:
        return []
    widths = [max(columns(row[at]) for row in rows) for at in range(len(rows[0]))]
    ahead = indent + sum(widths[:-1]) + 2 * (len(widths) - 1)
    if width is None or ahead + widths[-1] <= width:
        return [[_line(row, widths, indent)] for row in rows]
    if ahead + 24 <= width:
        return [_with_last_broken(row, widths, indent, width) for row in rows]
    below = table([row[1:] for row in rows], width, indent=indent + 4) if len(widths) > 2 else None
    if below is None:
        return [[" " * indent + row[0], *_indented(broken(row[1], width - indent - 4), indent + 4)] for row in rows]
    return [[" " * indent + row[0], *(line for line in rest if line)] for row, rest in zip(rows, below, strict=True)]


def _line(row: Sequence[str], widths: Sequence[int], indent: int) -> str:
    cells = (padded(cell, width) for cell, width in zip(row, widths, strict=True))
    return (" " * indent + "  ".join(cells)).rstrip()


def _with_last_broken(row: Sequence[str], widths: Sequence[int], indent: int, width: int) -> list[str]:
    ahead = indent + sum(widths[:-1]) + 2 * (len(widths) - 1)
    first, *more = broken(row[-1], width - ahead)
    return [_line([*row[:-1], first], [*widths[:-1], 0], indent), *_indented(more, ahead)]


def _indented(lines: Sequence[str], indent: int) -> list[str]:
    return [(" " * indent + line).rstrip() for line in lines if line]


def window(text: str, span: tuple[int, int] | None, width: int | None) -> tuple[str, tuple[int, int] | None]:
    """Return the part of a source line that fits into a width, around the characters of interest; `…` marks what is left out.

    Args:
        text: the line.
        span: start and end of the characters that must be seen; None for the beginning of the line.
        width: available columns; None for no limit.

    Returns:
        The part, and the position of the span in it.
    """
    if width is None or columns(text) <= width:
        return text, span
    start, end = span or (0, 0)
    room = max(width - 2, _LEAST)  # each end may need a `…`
    first = 0 if columns(text[:end]) <= room else start
    while first and columns(text[first - 1 : start]) <= room // 3 and columns(text[first - 1 : end]) <= room:
        first -= 1
    last = first
    while last < len(text) and columns(text[first : last + 1]) <= room:
        last += 1
    head, tail = "…" if first else "", "…" if last < len(text) else ""
    shown = f"{head}{text[first:last]}{tail}"
    return shown, (start - first + len(head), min(end, last) - first + len(head)) if span else None
