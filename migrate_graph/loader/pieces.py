"""Cuts a long text of Python before its functions and classes, so that one piece of it at a time is compiled or parsed.

Python needs about eighty times the length of a text for compiling or parsing it as a whole.
"""

from __future__ import annotations
import __future__

import re
from collections.abc import Callable, Iterator
from importlib.util import decode_source
from itertools import chain
from types import CodeType
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_CUT = re.compile(r"^(?=@|def |class |async def )", re.MULTILINE)
_LONG = 100_000
_LENGTH = 8_000
_FUTURE = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})


class Piece(NamedTuple, Generic[T]):
    """One piece of a text.

    Attributes:
        line: its first.
        start: where in the text it begins.
        end: where it ends.
        read: what `read` has returned for it.
    """

    line: int
    start: int
    end: int
    read: T

    def of(self, text: str) -> str:
        """Return its text, after as many empty lines as give its own lines their numbers in the file."""
        return "\n" * (self.line - 1) + text[self.start : self.end]


def pieces_of(text: str, read: Callable[[str], T]) -> Iterator[Piece[T]]:
    """Yield the pieces of a text, each with what `read` returns for it.

    A piece ends before an unindented `def`, `class` or decorator, where `read` accepts it. A line inside a string may look like such
    a line; there `read` refuses the piece, because the string is not closed, and the piece is made longer.

    Args:
        text: its lines end with a line feed alone.
        read: compiles or parses a piece.

    Raises:
        SyntaxError: raised by `read` for the rest after the last good piece.
    """
    start, line, wanted = 0, 1, _LENGTH
    for cut in chain((found.start() for found in _CUT.finditer(text)), [len(text)]):
        if cut - start < wanted and cut < len(text):
            continue
        piece = Piece(line, start, cut, None)
        try:
            found = read(piece.of(text))
        except SyntaxError:
            if cut == len(text):
                raise
            # By a quarter more each time: so a string that is never closed is not tried again at each line.
            wanted = (cut - start) * 5 // 4
            continue
        yield Piece(line, start, cut, found)
        line += text.count("\n", start, cut)
        start, wanted = cut, _LENGTH


def codes_of(data: bytes, path: str) -> list[CodeType]:
    """Compile a file in pieces, which, run one after the other, do what the file does.

    Args:
        data: its content.
        path: its name, for tracebacks.

    Raises:
        SyntaxError: it is not valid Python; none of it may be run.
        ValueError: likewise.
    """
    text = _decoded(data) if len(data) >= _LONG else None
    codes = [] if text is None else _compiled(text, path)
    return codes if len(codes) > 1 and not _annotates(codes) else [_code_of(data, path)]


def _compiled(text: str, path: str) -> list[CodeType]:
    flags = 0

    def read(part: str) -> CodeType:
        nonlocal flags
        code = _code_of(part, path, flags)
        flags |= code.co_flags & _FUTURE  # `from __future__ import …` stands in the first piece, and counts for all
        return code

    try:
        return [piece.read for piece in pieces_of(text, read)]
    except SyntaxError:
        return []  # compiling the whole file gives the better error


def _code_of(text: str | bytes, path: str, flags: int = 0) -> CodeType:
    code: CodeType = compile(text, path, "exec", flags, dont_inherit=True)
    return code


def _annotates(codes: list[CodeType]) -> bool:
    """Return whether the module itself has annotations, which Python 3.14 and later keep in one function for all of them."""
    return any("__annotate__" in code.co_names for code in codes)


def _decoded(data: bytes) -> str | None:
    try:
        return decode_source(data)
    except (SyntaxError, UnicodeError):
        return None
