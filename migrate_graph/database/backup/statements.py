"""Judges one statement of a PostgreSQL dump by its words: where it ends, what kind it is, and whether a restore refuses it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

_OWN_TRANSACTION = re.compile(r"(BEGIN|START TRANSACTION|COMMIT|END)( WORK| TRANSACTION)?")
_HARMLESS = re.compile(r"ROLLBACK (WORK |TRANSACTION )?TO\b")
_BREAKS_TRANSACTION = re.compile(r"(BEGIN|START TRANSACTION|COMMIT|END|ROLLBACK|ABORT|PREPARE TRANSACTION)\b")
_WHOLE_DATABASE = re.compile(r"(CREATE|DROP) DATABASE\b")
_FUNCTION = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE)\b")
_HEAD_WORDS = 6
_ANSWERS = {"SELECT", "VALUES", "TABLE", "WITH"}
_CHANGES = {"INSERT", "UPDATE", "DELETE", "MERGE"}
_ANSWERS_OTHERWISE = {"FETCH", "EXECUTE"}

_SETS = re.compile(
    rb"SET\s+(?:SESSION\s+|LOCAL\s+)?(?:(names)|(\w+)\s*(?:=|\bTO\b))\s*'?([^';]*?)'?\s*;", re.IGNORECASE
)
_AS_THE_STANDARD_SAYS = {"on", "true", "yes", "1"}
# Encodings in which a byte of a character may look like a quote or a backslash, so that the dump would be misread. Only clients use them.
CLIENT_ONLY = {"BIG5", "GB18030", "GBK", "JOHAB", "SHIFTJIS2004", "SJIS", "SHIFTJIS", "MSKANJI", "WIN932", "WIN936",
               "WIN949", "WIN950", "UHC", "WINDOWS932", "WINDOWS936", "WINDOWS949", "WINDOWS950"}  # fmt: skip


class TextFault(Struct, frozen=True):
    """A fault for which a dump is not restored.

    Attributes:
        line: line of the fault, counted from 1.
        message: what is wrong there.
        hint: what to do about it.
    """

    line: int
    message: str
    hint: str


class StatementJudge:
    """Reads the words of one statement, and judges it by them.

    Attributes:
        head: its first words, in capitals.
    """

    def __init__(self) -> None:
        self.head = ""
        self._words = 0
        self._previous = ""
        self._parentheses = 0
        self._body_depth = 0
        self._is_function = False
        self._copy_partner = ""
        self._outer_words: set[str] = set()

    def take_word(self, word: str) -> None:
        """Read a word that is not quoted."""
        if self._words < _HEAD_WORDS:
            self.head = f"{self.head} {word}".lstrip()
            self._words += 1
            self._is_function = bool(_FUNCTION.match(self.head))
        self._take_partner(word)
        self._previous = word
        if not self._parentheses and (word in _CHANGES or word in {"INTO", "RETURNING"}):
            self._outer_words.add(word)
        # psql's own rule for `CREATE FUNCTION … BEGIN ATOMIC …; END`: semicolons inside do not end the statement.
        if self._is_function and not self._parentheses:
            if word == "BEGIN" or (word == "CASE" and self._body_depth):
                self._body_depth += 1
            elif word == "END" and self._body_depth:
                self._body_depth -= 1

    def take_parenthesis(self, *, opening: bool) -> None:
        """Read a parenthesis: semicolons inside do not end the statement."""
        self.take_other()
        self._parentheses = max(0, self._parentheses + (1 if opening else -1))

    def take_other(self) -> None:
        """Read anything else: a string, a quoted name, a number."""
        self._take_partner("anything else")
        self._previous = ""

    def _take_partner(self, word: str) -> None:
        """Remember where a COPY reads from or writes to: `FROM STDIN`, for example, but not the FROM of a query in parentheses."""
        if not self._copy_partner and not self._parentheses and self._previous in {"FROM", "TO"}:
            self._copy_partner = f"{self._previous} {word}"

    def is_over(self) -> bool:
        """Return whether a semicolon here ends the statement."""
        return not self._parentheses and not self._body_depth

    def is_own_transaction(self) -> bool:
        """Return whether the statement is a plain BEGIN or COMMIT."""
        return bool(_OWN_TRANSACTION.fullmatch(self.head))

    def begins_transaction(self) -> bool:
        """Return whether the statement is a BEGIN."""
        return self.head.startswith(("BEGIN", "START"))

    def copies_in(self) -> bool:
        """Return whether the statement is a COPY that is followed by its data."""
        return self.head.startswith("COPY") and self._copy_partner == "FROM STDIN"

    def is_query(self) -> bool:
        """Return whether the statement is a query: it returns rows, which the restore discards."""
        changes = bool(self._outer_words & _CHANGES) and self._first == "WITH"
        return self._first in _ANSWERS and "INTO" not in self._outer_words and not changes

    @property
    def _first(self) -> str:
        return self.head.partition(" ")[0]

    def faults(self, text: bytes, *, trusted: bool) -> Iterator[tuple[str, str]]:
        """Yield why the statement must not be restored, each reason with what to do.

        Args:
            text: text of the statement.
            trusted: it may use files of the server.
        """
        head = self.head
        if _BREAKS_TRANSACTION.match(head) and not self.is_own_transaction() and not _HARMLESS.match(head):
            yield (
                f"'{head}' would break the one transaction of the restore",
                "remove the statement, or dump again with plain pg_dump",
            )
        elif _WHOLE_DATABASE.match(head):
            yield (
                f"'{head}' is about whole databases",
                "dump again without --create (and with pg_dump, not pg_dumpall)",
            )
        elif head.startswith("COPY") and not self.copies_in() and not trusted:
            yield (
                "this COPY uses a file or a program of the server, or writes",
                "if you trust whoever made the file: restore_trusted = true",
            )
        elif not trusted and (
            self._first in _ANSWERS_OTHERWISE
            or ("RETURNING" in self._outer_words and self._first in _CHANGES | {"WITH"})
        ):
            yield "this statement asks for rows, which no backup does", "remove the statement"
        elif head.startswith("SET "):
            yield from _setting_faults(text)


def _setting_faults(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield why a SET must not be restored: some settings change how the text after them is read."""
    found = _SETS.match(text)
    if not found:
        return
    name = "client_encoding" if found[1] else found[2].decode().lower()
    value = found[3].decode("utf-8", "replace")
    if name == "standard_conforming_strings" and value.lower() not in _AS_THE_STANDARD_SAYS:
        yield (
            "standard_conforming_strings is switched off: a backslash would hide a quote",
            "dump again with it switched on: PGOPTIONS='-c standard_conforming_strings=on' pg_dump …",
        )
    elif name == "client_encoding" and is_client_only(value):
        yield (
            f"the encoding {value} has characters with a quote or a backslash inside",
            "dump again with --encoding=UTF8",
        )


def is_client_only(encoding: str) -> bool:
    """Return whether bytes of a character in this encoding may look like SQL."""
    return "".join(char for char in encoding.upper() if char.isalnum()) in CLIENT_ONLY
