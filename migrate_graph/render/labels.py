"""Names in pictures: made printable, keyed for every format, wrapped to the width of a box, measured in columns."""

from __future__ import annotations

import re
from urllib.parse import quote

from migrate_graph.columns import broken, columns
from migrate_graph.core.graph import Node

COLUMNS = 24
"""Columns of the widest line of a label."""

_SENTENCE, _LINES = 32, 4
"""Columns and lines of a sentence in a box."""

_WORDS = re.compile(r"[^_/.@-]*[_/.@-]|[^_/.@-]+")
_HUMPS = re.compile(r"[A-Z]+[^A-Z_]*_*|[^A-Z_]+_*|_+")
_TAIL = re.compile(r"_\d{6,}(?:_\d+)?$")


def key_of(node: Node) -> str:
    """Return a key that is unique and safe in DOT, XML and URLs: `m.` or `v.` and the name, odd characters as `%41`."""
    return f"{node.kind[0]}.{safe(node.name)}"


def safe(name: str) -> str:
    """Escape everything but letters, digits, `_`, `-` and `.`, as in a URL."""
    return re.sub(r"[^\w.-]", lambda odd: quote(odd[0], safe="", errors="replace"), name)


def wrapped(name: str, *, capitals: bool = False, width: int = COLUMNS) -> tuple[str, ...]:
    """Break a name into lines, without a loss: joined, they are the name.

    Args:
        name: printable.
        capitals: break before capitals too (`OpenInvoice`), as classes are named; else a date at the end (`_20260330_001`) is a line of
            its own.
        width: of the widest line, in columns.
    """
    if capitals:
        return tuple(_filled(_HUMPS.findall(name), width)) or ("",)
    tail = _TAIL.search(name)
    head = name[: tail.start()] if tail else name
    lines = _filled(_WORDS.findall(head), width)
    return (*lines, tail[0]) if tail else tuple(lines) or ("",)


def told_in(sentence: str) -> tuple[str, ...]:
    """Break a sentence into the few lines that a box has room for; what does not fit ends in `…`, and no name is cut."""
    lines = broken(sentence, _SENTENCE) if sentence else []
    return tuple(lines) if len(lines) <= _LINES else (*lines[: _LINES - 1], f"{lines[_LINES - 1]} …")


def _filled(pieces: list[str], width: int) -> list[str]:
    """Join pieces while they fit in a line; what is wider than a line is cut."""
    lines: list[str] = []
    for piece in (part for each in pieces for part in _cut(each, width)):
        if lines and columns(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return lines


def _cut(piece: str, width: int) -> list[str]:
    if columns(piece) <= width:
        return [piece]
    parts = [""]
    for each in piece:
        if columns(parts[-1] + each) > width:
            parts.append("")
        parts[-1] += each
    return parts
