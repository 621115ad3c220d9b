"""The text of SQLite statements: splits a dump into statements, and replaces the values of a statement by `?`."""

from __future__ import annotations

import codecs
import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from migrate_graph.database.backup.dump_text import LONGEST_STATEMENT
from migrate_graph.errors import RestoreError

_TOKEN = re.compile(r"""--[^\n]*|/\*|['"`\[]|;""")
_PIECES: Final = re.compile(
    r"""(?P<value>[xX]?'(?:[^']|'')*'|\d[\w.]*)"""
    r"""|(?P<kept>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)|[A-Za-z_]\w*)""",
    re.DOTALL,
)
_CLOSING = {"/*": "*/", "[": "]"}


def without_values(sql: str) -> str:
    """Return a statement with `?` for each of its literals."""
    return _PIECES.sub(lambda match: match["kept"] or "?", sql)


def sqlite_statements(pieces: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Yield each statement of a dump with the line it begins on, also an unfinished one at the end.

    Raises:
        RestoreError: a statement is longer than 128 MiB.
        UnicodeDecodeError: the dump is not UTF-8.
    """
    splitter = _Splitter()
    for number, line in enumerate(_lines(pieces), start=1):
        yield from splitter.feed(number, line)
    if rest := splitter.rest():
        yield rest


class _Splitter:
    """Splits lines into statements, and holds the unfinished statement between two lines.

    `sqlite3.complete_statement` reads from the start every time, so it is asked only at semicolons outside quotes: once
    for each statement, and more often only inside triggers.
    """

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._held = 0
        self._start = 0
        self._closing = ""

    def feed(self, number: int, line: str) -> Iterator[tuple[int, str]]:
        begin = 0
        for end in self._semicolons(line):
            statement = "".join((*self._pending, line[begin:end])).lstrip()
            if sqlite3.complete_statement(statement):
                yield self._start or number, statement
                self._forget()
                begin = end
        if not self._start and not begin and line.startswith("."):
            yield number, line
            return
        self._pending.append(line[begin:])
        self._held += len(line) - begin
        if not self._start and (line[begin:].strip() or self._closing):
            self._start = number
        if self._held > LONGEST_STATEMENT:
            raise _too_long(self._start)

    def _forget(self) -> None:
        self._pending.clear()
        self._held = self._start = 0

    def _semicolons(self, line: str) -> Iterator[int]:
        """Yield the positions behind the semicolons that are outside of quotes and comments."""
        position = 0
        while position < len(line):
            if self._closing:
                at = line.find(self._closing, position)
                position = at + len(self._closing) if at >= 0 else len(line)
                self._closing = "" if at >= 0 else self._closing
                continue
            token = _TOKEN.search(line, position)
            position = token.end() if token else len(line)
            if token and token.group() == ";":
                yield position
            elif token and not token.group().startswith("--"):
                self._closing = _CLOSING.get(token.group(), token.group())

    def rest(self) -> tuple[int, str] | None:
        rest = "".join(self._pending).strip()
        return (self._start, rest) if rest else None


def _too_long(line: int) -> RestoreError:
    return RestoreError(
        f"the backup cannot be restored: the statement of line {line} is longer than {LONGEST_STATEMENT >> 20} MiB",
        hint="make the dump again, in smaller statements",
    )


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest: list[str] = []
    held = number = 0
    for piece in pieces:
        *whole, last = decoder.decode(piece).split("\n")
        for line in whole:
            number += 1
            yield "".join((*rest, line, "\n"))
            rest.clear()
            held = 0
        rest.append(last)
        held += len(last)
        if held > LONGEST_STATEMENT:
            raise _too_long(number + 1)
    rest.append(decoder.decode(b"", final=True))
    yield "".join(rest)
