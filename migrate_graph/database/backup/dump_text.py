"""What psql would make of a dump's text: where its transactions, commands and data begin and end."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
      (?P<remark>--[^\n]*)
    | (?P<comment>/\*)
    | (?P<escape>[eE]')
    | (?P<string>')
    | (?P<identifier>")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)
    | (?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
    | (?P<end>;)
    | (?P<parenthesis>[()])
    | (?P<command>\\[^\s]*)
    """,
    re.VERBOSE,
)
# One row of a dump with --inserts, on one line and without anything that needs a closer look: nearly all of such a dump.
_PLAIN_INSERT = re.compile(rb"""INSERT INTO (?:[^'"\\$;/-]++|"[^"\n]*"|'[^'\\\n]*'|-(?!-)|/(?!\*))*+;\r?\n""")
_IN_ESCAPE_STRING = re.compile(rb"\\[\s\S]|''|'")
_IN_COMMENT = re.compile(rb"/\*|\*/")

_DUMP_HEADER = b"-- PostgreSQL database dump"
_DUMP_TRAILER = b"-- PostgreSQL database dump complete"

# A whole transaction of the dump's own: `pg_dump` puts one around each batch of large objects. Left out of what psql
# gets, because the restore is one transaction already.
_OWN_TRANSACTION = re.compile(r"(BEGIN|START TRANSACTION|COMMIT|END)( WORK| TRANSACTION)?")
_HARMLESS = re.compile(r"ROLLBACK (WORK |TRANSACTION )?TO\b")
_BREAKS_TRANSACTION = re.compile(r"(BEGIN|START TRANSACTION|COMMIT|END|ROLLBACK|ABORT|PREPARE TRANSACTION)\b")
_WHOLE_DATABASE = re.compile(r"(CREATE|DROP) DATABASE\b")
_FUNCTION = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE)\b")
_HEAD_WORDS = 6

# What PostgreSQL allows for one line of COPY data; psql holds a line of SQL in memory, with the same limit.
_LONGEST_LINE = 1 << 30
_MOST_FAULTS = 5


@dataclass(frozen=True, slots=True)
class TextFault:
    """Something that forbids restoring a dump.

    Attributes:
        line: counted from 1.
        message: what is wrong there.
        hint: what to do about it.
    """

    line: int
    message: str
    hint: str


class DumpText:
    r"""A dump read piece by piece, with psql's own rules for quotes, comments, function bodies and COPY data.

    Attributes:
        faults: what forbids restoring, the first few.
        left_out: ranges of bytes that psql must not see: the dump's own BEGIN and COMMIT, and `\restrict`.
        statements: how many ended so far.
        hopeless: reading on would only cost memory.
    """

    def __init__(self, *, trusted: bool) -> None:
        self.faults: list[TextFault] = []
        self.left_out: list[tuple[int, int]] = []
        self.statements = 0
        self.hopeless = False
        self._trusted = trusted
        self._pieces: list[bytes] = []
        self._offset = 0
        self._line = 0
        self._line_start = 0
        self._quote = ""
        self._dollar_tag = b""
        self._comment_depth = 0
        self._continues_escape = False
        self._copies = 0
        self._own_begin = 0
        self._headers = 0
        self._trailers = 0
        self._start_statement()

    def _start_statement(self) -> None:
        self._head: list[str] = []
        self._previous_word = ""
        self._statement_start = -1
        self._statement_line = 0
        self._parentheses = 0
        self._body_depth = 0
        self._reads_stdin = False
        self._is_function = False

    def feed(self, piece: bytes) -> None:
        """Read on; lines may be cut anywhere."""
        cut = piece.rfind(b"\n") + 1
        if not cut:
            self._pieces.append(piece)
            self.hopeless = sum(map(len, self._pieces)) > _LONGEST_LINE
            if self.hopeless:
                self._fault("a line of more than 1 GiB", "this is no dump that psql could read")
                self._pieces.clear()
            return
        block = b"".join((*self._pieces, piece[:cut]))
        self._pieces = [piece[cut:]]
        self._read(block)

    def finish(self) -> None:
        """Judge how it ends: a dump that was cut off is a fault."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        if rest:
            self._read(rest + b"\n")
        again = "the file was cut off: make or copy it again"
        if self._copies:
            self._fault("it ends inside the data of a COPY", again)
        elif self._quote:
            self._fault(f"it ends inside {self._quote} that began earlier", again)
        elif self._statement_start >= 0:
            self._fault(f"it ends in the middle of the statement of line {self._statement_line}", again)
        elif self._own_begin:
            self._fault("it ends inside its own transaction (BEGIN without COMMIT)", again)
        elif self._headers > self._trailers:
            self._fault("the line '-- PostgreSQL database dump complete' is missing at its end", again)
        elif not self.statements:
            self._fault("it holds no SQL statement", "is database_to_restore the right file?")

    def _fault(self, message: str, hint: str) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(TextFault(max(self._line, 1), message, hint))

    def _read(self, block: bytes) -> None:
        position = 0
        while position < len(block):
            if self._copies:
                position = self._skip_data(block, position)
            else:
                end = block.index(b"\n", position) + 1
                self._read_line(block, position, end)
                position = end
        self._offset += len(block)

    def _skip_data(self, block: bytes, position: int) -> int:
        for end_of_data in (b"\\.\n", b"\\.\r\n"):
            if block.startswith(end_of_data, position):
                self._line += 1
                self._copies -= 1
                return position + len(end_of_data)
        found = [at for mark in (b"\n\\.\n", b"\n\\.\r\n") if (at := block.find(mark, position)) >= 0]
        end = min(found) + 1 if found else len(block)
        self._line += block.count(b"\n", position, end)
        return end

    def _read_line(self, text: bytes, position: int, end: int) -> None:
        self._line += 1
        self._line_start = position
        if not self._quote and self._statement_start < 0 and _PLAIN_INSERT.match(text, position, end):
            self.statements += 1
            self._continues_escape = False
            return
        # Of a line with a COPY in it the rest is still SQL: its data begins on the next line.
        while position < end:
            position = self._read_quoted(text, position, end) if self._quote else self._read_token(text, position, end)

    def _read_quoted(self, text: bytes, position: int, end: int) -> int:
        if self._quote == "a comment":
            return self._read_comment(text, position, end)
        if self._quote == "an escape string":
            for found in _IN_ESCAPE_STRING.finditer(text, position, end):
                if found.group() == b"'":
                    self._quote = ""
                    self._continues_escape = True
                    return found.end()
            return end
        closing = {"a string": b"'", "a quoted name": b'"'}.get(self._quote, self._dollar_tag)
        at = text.find(closing, position, end)
        if at < 0:
            return end
        self._quote = ""
        return at + len(closing)

    def _read_comment(self, text: bytes, position: int, end: int) -> int:
        found = _IN_COMMENT.search(text, position, end)
        if not found:
            return end
        self._comment_depth += 1 if found.group() == b"/*" else -1
        if not self._comment_depth:
            self._quote = ""
        return found.end()

    def _read_token(self, text: bytes, position: int, end: int) -> int:
        found = _TOKEN.search(text, position, end)
        if not found:
            self._continues_escape = self._continues_escape and not text[position:end].strip()
            return end
        kind = found.lastgroup
        # The standard's rule: a string goes on in the next string when only white space with a line end lies between.
        # An escape string then goes on as one, and a backslash in it may hide a quote.
        goes_on = self._continues_escape and not text[position : found.start()].strip()
        self._continues_escape = False
        if kind == "remark":
            self._continues_escape = goes_on
            self._count_marks(found.group().rstrip())
            return found.end()
        if kind == "comment":
            self._quote, self._comment_depth = "a comment", 1
            return found.end()
        if self._statement_start < 0:
            self._statement_start = self._offset + found.start()
            self._statement_line = self._line
        if kind == "command":
            return self._read_command(found, end)
        if kind == "string" and goes_on and position == self._line_start:
            kind = "escape"
        self._take(kind or "", found)
        return found.end()

    def _take(self, kind: str, found: re.Match[bytes]) -> None:
        match kind:
            case "word":
                self._take_word(found.group().decode("utf-8", "replace").upper())
                return
            case "end" if not self._parentheses and not self._body_depth:
                self._end_statement(self._offset + found.end())
            case "parenthesis":
                self._parentheses = max(0, self._parentheses + (1 if found.group() == b"(" else -1))
            case "escape":
                self._quote = "an escape string"
            case "string":
                self._quote = "a string"
            case "identifier":
                self._quote = "a quoted name"
            case "dollar":
                self._quote, self._dollar_tag = "a dollar-quoted text", found.group()
        self._previous_word = ""

    def _take_word(self, word: str) -> None:
        if len(self._head) < _HEAD_WORDS:
            self._head.append(word)
            self._is_function = bool(_FUNCTION.match(" ".join(self._head)))
        if self._previous_word == "FROM" and word == "STDIN" and self._head[0] == "COPY":
            self._reads_stdin = True
        self._previous_word = word
        # psql's own rule for `CREATE FUNCTION … BEGIN ATOMIC …; END`: semicolons inside do not end the statement.
        if self._is_function and not self._parentheses:
            if word == "BEGIN" or (word == "CASE" and self._body_depth):
                self._body_depth += 1
            elif word == "END" and self._body_depth:
                self._body_depth -= 1

    def _end_statement(self, end: int) -> None:
        head = " ".join(self._head)
        if _OWN_TRANSACTION.fullmatch(head):
            self.left_out.append((self._statement_start, end))
            self._own_begin = 1 if self._head[0] in {"BEGIN", "START"} else 0
        elif _BREAKS_TRANSACTION.match(head) and not _HARMLESS.match(head):
            self._fault(
                f"'{head}' would break the one transaction of the restore",
                "remove the statement, or dump again with plain pg_dump",
            )
        elif _WHOLE_DATABASE.match(head):
            self._fault(
                f"'{head}' is about whole databases", "dump again without --create (and with pg_dump, not pg_dumpall)"
            )
        self.statements += 1
        self._copies += self._reads_stdin
        self._start_statement()

    def _read_command(self, found: re.Match[bytes], end: int) -> int:
        name = found.group().decode("utf-8", "replace")
        starts_here = self._statement_start == self._offset + found.start()
        if starts_here or self._trusted:  # a trusted `\\gexec` or `\\gset` ends the statement before it
            self._start_statement()
        if name in {"\\restrict", "\\unrestrict"} and starts_here:
            self.left_out.append((self._offset + found.start(), self._offset + end - 1))
        elif name in {"\\c", "\\connect"}:
            self._fault(
                f"the psql command '{name}' leaves the transaction of the restore",
                "dump again without --create (with pg_dump)",
            )
        elif not self._trusted:
            self._fault(
                f"the psql command '{name}' (such a command may run programs on this machine)",
                "if you trust whoever made the file: restore_trusted = true",
            )
        return end

    def _count_marks(self, remark: bytes) -> None:
        if remark == _DUMP_HEADER:
            self._headers += 1
        elif remark == _DUMP_TRAILER:
            self._trailers += 1
