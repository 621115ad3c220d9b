"""Splits the text of a PostgreSQL dump as psql and the server do: into statements, COPY data, and commands of psql."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto

from msgspec import Struct

from migrate_graph.database.backup.statements import StatementJudge, TextFault

LONGEST_STATEMENT = 128 << 20
"""The largest size of one statement in bytes; a statement is held in memory, the data of a COPY is not."""

_LONGEST_WORD = 1 << 16
_MOST_FAULTS = 5
_LONGEST_MARK = 80

_TOKEN = re.compile(
    rb"""
      (?P<remark>--)
    | (?P<comment>/\*)
    | (?P<escape>[eE]')
    | (?P<string>')
    | (?P<identifier>")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)
    | (?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
    | (?P<number>[0-9][0-9A-Za-z_.\x80-\xff]*'?)
    | (?P<end>;)
    | (?P<parenthesis>[()])
    | (?P<return>\r(?!\n))
    | (?P<command>\\)
    | (?P<part>(?:[-/$]|\$[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)\Z)
    """,
    re.VERBOSE,
)
# An INSERT on one line without anything that must be read more carefully. A dump with --inserts consists almost only of these.
_PLAIN_INSERT = re.compile(
    rb"""(?:\n|\r\n)*+(INSERT INTO (?:[^'"\\$;/\r0-9-]++|[0-9.]++(?![A-Za-z'])|"[^"\n]*"|'[^'\\\n]*'|-(?!-)|/(?!\*))*+;)(?=\r?\n)"""
)
_IN_ESCAPE_STRING = re.compile(rb"\\[\s\S]|''|'")
_IN_COMMENT = re.compile(rb"/\*|\*/")
_LINE_END = re.compile(rb"[\r\n]")
_END_OF_DATA = re.compile(rb"\\\.\r?\n")
_NEXT_END_OF_DATA = re.compile(rb"\n\\\.\r?\n")
_LONGEST_END_OF_DATA = 5

_QUOTES = {
    "escape": "an escape string", "string": "a string", "identifier": "a quoted name", "dollar": "a dollar-quoted text",
    "end": "", "part": "",
}  # fmt: skip

_DUMP_HEADER = b"-- PostgreSQL database dump"
_DUMP_TRAILER = b"-- PostgreSQL database dump complete"

_AGAIN = "the file was cut off: make or copy it again"


class PartKind(Enum):
    """Kinds of parts of a dump."""

    STATEMENT = auto()
    """One SQL statement, with its semicolon."""
    QUERY = auto()
    """A statement that returns rows."""
    COPY = auto()
    """`COPY … FROM stdin`; its data follows as `DATA`, ended by `END_OF_DATA`."""
    DATA = auto()
    END_OF_DATA = auto()
    OWN_TRANSACTION = auto()
    """A BEGIN or COMMIT of the dump, as `pg_dump` writes it around large objects; not needed, since the restore is one transaction."""
    RESTRICT = auto()
    """`\\restrict` or `\\unrestrict`, which only psql needs."""
    COMMAND = auto()
    """Another command of psql, with the statement that it ends; only in a trusted dump."""


class Part(Struct, frozen=True):
    """A part of a dump.

    Attributes:
        kind: kind of the part.
        line: the line on which it begins, counted from 1.
        text: its text in the dump.
    """

    kind: PartKind
    line: int
    text: bytes = b""


class DumpReader:
    r"""Splits a dump into parts, and judges it on the way; pieces and lines may have any size.

    Attributes:
        faults: the first few reasons not to restore the dump. A restore must look here before it runs each part.
        needs_psql: the dump holds a command of psql other than `\restrict`.

    Args:
        pieces: pieces of the dump's text.
        trusted: commands of psql, and files of the server, are allowed.
    """

    def __init__(self, pieces: Iterable[bytes], *, trusted: bool) -> None:
        self.faults: list[TextFault] = []
        self.needs_psql = False
        self._pieces = iter(pieces)
        self._trusted = trusted
        self._buffer = b""
        self._position = 0
        self._at_end = False
        self._line = 1
        self._line_position = 0
        self._statements = 0
        self._mode = ""
        self._tag = b""
        self._depth = 0
        self._remark = b""
        self._after_escape: bool | None = None
        self._own_begin = False
        self._nothing_yet = self._nothing_before = True
        self._needs_trailer = False
        self._command_offset = 0
        self._start_statement()

    # -- the text, a piece at a time ------------------------------------------------------------------------------------------

    def _start_statement(self) -> None:
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._start = -1
        self._start_line = 0
        self._judge = StatementJudge()

    def _refill(self) -> bool:
        """Add the next piece to the buffer and drop the consumed text; at the end of the dump add a line end. Return False when all is read."""
        if self._at_end:
            return False
        self._count_lines()
        self._keep()
        piece = next(self._pieces, b"")
        if not piece:
            self._at_end = True
            piece = b"\n"
        self._buffer = self._buffer[self._position :] + piece
        self._position = self._line_position = 0
        return True

    def _keep(self) -> None:
        if self._start >= 0:
            text = self._buffer[self._start : self._position]
            self._kept.append(text)
            self._kept_bytes += len(text)
            self._start = 0
        if self._kept_bytes > LONGEST_STATEMENT:
            self._fault(
                f"the statement that begins here is longer than {LONGEST_STATEMENT >> 20} MiB",
                "dump again without --inserts: the data of COPY may be of any length",
                line=self._start_line,
            )
            raise _Unreadable

    def _count_lines(self) -> int:
        self._line += self._buffer.count(b"\n", self._line_position, self._position)
        self._line_position = self._position
        return self._line

    def _fault(self, message: str, hint: str, *, line: int = 0) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(TextFault(line or self._count_lines(), message, hint))

    def parts(self) -> Iterator[Part]:
        """Yield the parts, one after another; after the last one, `faults` also tells whether the dump ends too early."""
        try:
            while True:
                part = self._step()
                if part is not None:
                    yield part
                    if part.kind is PartKind.COPY:
                        yield from self._data()
                elif self._position >= len(self._buffer) and not self._refill():
                    break
        except _Unreadable:
            return
        self._judge_end()

    def _step(self) -> Part | None:
        """Read one token; one that touches the end of the buffer may be incomplete, and is read again when the buffer has more."""
        match self._mode:
            case "":
                return self._read_token()
            case "a remark":
                self._read_remark()
            case "a comment":
                self._read_comment()
            case "an escape string":
                self._read_escape()
            case "a command":
                return self._read_command()
            case _:
                self._read_quoted()
        return None

    # -- tokens ---------------------------------------------------------------------------------------------------------------

    def _read_token(self) -> Part | None:
        buffer, position = self._buffer, self._position
        if self._start < 0 and (plain := _PLAIN_INSERT.match(buffer, position)):
            self._position = plain.start(1)
            line = self._count_lines()
            self._position = plain.end()
            self._after_escape, self._nothing_yet = None, False
            self._statements += 1
            return Part(PartKind.STATEMENT, line, plain[1])
        found = _TOKEN.search(buffer, position)
        self._pass_over(found.start() if found else len(buffer))
        if not found:
            return None
        if found.end() == len(buffer) and not self._at_end and found.lastgroup not in {"end", "parenthesis"}:
            self._wait_for_more(found)
            return None
        self._position = found.end()
        return self._take(found.lastgroup or "", found)

    def _wait_for_more(self, found: re.Match[bytes]) -> None:
        if len(found.group()) > _LONGEST_WORD:
            self._fault(f"a word of more than {_LONGEST_WORD >> 10} KiB", "this is no SQL: is it the right file?")
            raise _Unreadable
        self._refill()

    def _pass_over(self, end: int) -> None:
        """Skip white space and operators; note whether the next string would continue an escape string.

        The rule of SQL: a string continues the one before it when there is only white space with a line end between them.
        """
        gap = self._buffer[self._position : end]
        if self._after_escape is not None and gap:
            blank = not gap.strip()
            self._after_escape = (self._after_escape or b"\n" in gap) if blank else None
        if self._start < 0 and gap.strip():
            at = self._position + len(gap) - len(gap.lstrip())
            self._begin_statement(at)
        self._position = end

    def _begin_statement(self, at: int) -> None:
        self._start = self._position = at
        self._start_line = self._count_lines()
        self._nothing_before, self._nothing_yet = self._nothing_yet, False

    def _take(self, kind: str, found: re.Match[bytes]) -> Part | None:
        match kind:
            case "remark":
                self._mode, self._remark = "a remark", b"--"
            case "comment":
                self._mode, self._depth = "a comment", 1
            case "return":
                self._fault(
                    "a carriage return that is not followed by a line feed ends lines for some programs only",
                    "save the file with line feeds at the ends of its lines",
                )
            case _:
                return self._take_of_statement(kind, found)
        return None

    def _take_of_statement(self, kind: str, found: re.Match[bytes]) -> Part | None:
        goes_on, self._after_escape = self._after_escape, None
        if self._start < 0:
            end = self._position
            self._begin_statement(found.start())
            self._position = end
        match kind:
            case "command":
                self._mode = "a command"
                self._command_offset = self._kept_bytes + found.start() - self._start
            case "end" if self._judge.is_over():
                return self._end_statement()
            case "word":
                self._judge.take_word(found.group().decode("utf-8", "replace").upper())
            case "number":
                self._take_number(found.group())
            case "parenthesis":
                self._judge.take_parenthesis(opening=found.group() == b"(")
            case _:
                self._enter(_QUOTES["escape" if goes_on and kind == "string" else kind], found.group())
        return None

    def _enter(self, mode: str, tag: bytes) -> None:
        self._mode, self._tag = mode, tag
        self._judge.take_other()

    def _take_number(self, text: bytes) -> None:
        self._judge.take_other()
        if text.endswith(b"'"):
            self._fault("a number with a quote glued to it is read in two ways", "put a blank between them")
            raise _Unreadable

    # -- what is quoted -------------------------------------------------------------------------------------------------------

    def _read_quoted(self) -> None:
        buffer, tag = self._buffer, self._tag
        at = buffer.find(tag, self._position)
        if at < 0:
            self._position = max(self._position, len(buffer) - len(tag) + 1)
            self._refill_or_end()
            return
        self._position = at + len(tag)
        self._mode = ""

    def _read_escape(self) -> None:
        buffer, end = self._buffer, self._position
        for found in _IN_ESCAPE_STRING.finditer(buffer, end):
            if found.group() == b"'":
                if found.end() == len(buffer) and not self._at_end:  # perhaps the first of a doubled quote
                    self._position = found.start()
                    self._refill()
                    return
                self._position, self._mode, self._after_escape = found.end(), "", False
                return
            end = found.end()
        self._position = len(buffer) - (buffer.endswith(b"\\") and end < len(buffer))
        self._refill_or_end()

    def _read_comment(self) -> None:
        buffer = self._buffer
        found = _IN_COMMENT.search(buffer, self._position)
        if not found:
            self._position = max(self._position, len(buffer) - buffer.endswith((b"/", b"*")))
            self._refill_or_end()
            return
        self._position = found.end()
        self._depth += 1 if found.group() == b"/*" else -1
        if not self._depth:
            self._mode = ""

    def _read_remark(self) -> None:
        found = _LINE_END.search(self._buffer, self._position)
        end = found.start() if found else len(self._buffer)
        if len(self._remark) < _LONGEST_MARK:
            self._remark += self._buffer[self._position : end][:_LONGEST_MARK]
        self._position = end
        if found:
            self._mode = ""
            self._take_mark(self._remark.rstrip())
        else:
            self._refill_or_end()

    def _refill_or_end(self) -> None:
        """Get more text inside a string, comment and so on; at the end of the file it stays open, and `_judge_end` reports that."""
        if not self._refill():
            self._position = len(self._buffer)

    # -- ends -----------------------------------------------------------------------------------------------------------------

    def _statement_text(self) -> bytes:
        self._keep()
        return b"".join(self._kept)

    def _end_statement(self) -> Part:
        judge, text, line = self._judge, self._statement_text(), self._start_line
        for message, hint in judge.faults(text, trusted=self._trusted):
            self._fault(message, hint, line=line)
        self._statements += 1
        kind = PartKind.STATEMENT
        if judge.is_own_transaction():
            kind = PartKind.OWN_TRANSACTION
            self._own_begin = judge.begins_transaction()
        elif judge.copies_in():
            kind = PartKind.COPY
        elif judge.is_query():
            kind = PartKind.QUERY
        self._start_statement()
        return Part(kind, line, text)

    def _read_command(self) -> Part | None:
        found = _LINE_END.search(self._buffer, self._position)
        if not found:
            self._position = len(self._buffer)
            self._refill_or_end()
            return None
        self._position = found.start()
        self._mode = ""
        text, line, judge = self._statement_text(), self._start_line, self._judge
        name = text[self._command_offset :].split(None, 1)[0]
        self._start_statement()
        if name in {b"\\restrict", b"\\unrestrict"} and not self._command_offset:
            self._nothing_yet = self._nothing_before
            return Part(PartKind.RESTRICT, line, text)
        self._judge_command(name.decode("utf-8", "replace"))
        self.needs_psql = True
        self._statements += bool(judge.head)
        return Part(PartKind.COMMAND, line, text)

    def _judge_command(self, name: str) -> None:
        if name in {"\\c", "\\connect"}:
            self._fault(
                f"the psql command '{name}' leaves the transaction of the restore",
                "dump again without --create (and with pg_dump, not pg_dumpall)",
            )
        elif not self._trusted:
            self._fault(
                f"the psql command '{name}' (such a command may run programs on this machine)",
                "if you trust whoever made the file: restore_trusted = true",
            )

    def _data(self) -> Iterator[Part]:
        """Yield the data of a COPY, which begins on the next line."""
        self._rest_of_line()
        at_line_start = True
        while True:
            buffer, position = self._buffer, self._position
            if at_line_start and (found := _END_OF_DATA.match(buffer, position)):
                self._position = found.end()
                yield Part(PartKind.END_OF_DATA, self._count_lines())
                return
            next_end = _NEXT_END_OF_DATA.search(buffer, position)
            end = next_end.start() + 1 if next_end else max(position, len(buffer) - _LONGEST_END_OF_DATA + 1)
            if end > position:
                line = self._count_lines()
                self._position = end
                at_line_start = buffer[end - 1 : end] == b"\n"
                yield Part(PartKind.DATA, line, buffer[position:end])
            elif not self._refill():
                self._fault("it ends inside the data of a COPY", _AGAIN)
                raise _Unreadable

    def _rest_of_line(self) -> None:
        end = 0
        while not end:
            end = self._buffer.find(b"\n", self._position) + 1
            if self._buffer[self._position : end or len(self._buffer)].strip():
                self._fault("something follows a COPY on its line", "put it on a line of its own, after the data")
                raise _Unreadable
            self._position = end or len(self._buffer)
            if not end and not self._refill():
                return

    def _take_mark(self, remark: bytes) -> None:
        """Note the first and last comment that pg_dump writes: after the first one, the last one must come.

        A first comment in the middle of other text does not count.
        """
        if remark == _DUMP_HEADER and self._nothing_yet:
            self._needs_trailer = True
        elif remark == _DUMP_TRAILER:
            self._needs_trailer, self._nothing_yet = False, True

    def _judge_end(self) -> None:
        if self._mode and self._mode not in {"a remark", "a command"}:
            self._fault(f"it ends inside {self._mode} that began earlier", _AGAIN)
        elif self._start >= 0:
            self._fault(f"it ends in the middle of the statement of line {self._start_line}", _AGAIN)
        elif self._own_begin:
            self._fault("it ends inside its own transaction (BEGIN without COMMIT)", _AGAIN)
        elif self._needs_trailer:
            self._fault(
                "the line '-- PostgreSQL database dump complete' is missing at its end",
                f"{_AGAIN}; if it is whole, remove the line '-- PostgreSQL database dump' from its beginning",
            )
        elif not self._statements:
            self._fault("it holds no SQL statement", "is database_to_restore the right file?")


class _Unreadable(Exception):  # noqa: N818 - names what is wrong
    """It is not clear any more where statements end, so reading stops; `faults` says why."""
