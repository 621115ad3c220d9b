"""Which statements of a text begin or end a transaction, read as the server reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a statement does to the transaction that it is sent in."""

    PLAIN = "none of the following"
    BEGINS = "begins one, or says how it is to be: only possible before its first query"
    COMMITS = "commits it"
    ROLLS_BACK = "rolls it back"
    TWO_PHASE = "hands it to whoever finishes it later"


ENDS = {Kind.COMMITS, Kind.ROLLS_BACK}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text.

    Attributes:
        text: what is sent.
        kind: what it does to the transaction.
    """

    text: str
    kind: Kind


_WORDS = r"(?:COMMIT|END|ABORT|ROLLBACK|PREPARE|BEGIN|START|SET)\b"
_BEGINNING = re.compile(rf"(?:\A|;)\s*{_WORDS}", re.IGNORECASE)
_ANYWHERE = re.compile(rf"\b{_WORDS}", re.IGNORECASE)

# What is skipped as a whole. Identifiers and words come too, so that `E'` and `$` inside of one are no beginnings.
_PATTERN = r"""
      (?P<space> \s+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<text> {escaping}'[^'\\]*(?:(?:''|\\.)[^'\\]*)*(?:'|\Z) | '[^']*(?:''[^']*)*(?:'|\Z) | "[^"]*(?:""[^"]*)*(?:"|\Z) )
    | (?P<dollar> \$(?:[^\W\d]\w*)?\$ )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<end> ; )
    | (?P<other> . )
"""
_TOKEN = re.compile(_PATTERN.format(escaping="[eE]"), re.VERBOSE | re.DOTALL)
_TOKEN_WHERE_ALL_ESCAPE = re.compile(_PATTERN.format(escaping="[eE]?"), re.VERBOSE | re.DOTALL)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def statements(text: str, *, backslashes: bool = False) -> list[Statement]:
    """Return the statements of a text; one that cannot touch the transaction is not read any closer.

    Args:
        text: as it is sent.
        backslashes: they escape in every string (`standard_conforming_strings` is off).
    """
    # Only the first word of a statement counts, and only a comment may stand before it.
    suspicious = _ANYWHERE if "--" in text or "/*" in text else _BEGINNING
    if not suspicious.search(text):
        return [Statement(text, Kind.PLAIN)]
    found = [
        Statement(part, _kind(words))
        for part, words in _parts(text, _TOKEN_WHERE_ALL_ESCAPE if backslashes else _TOKEN)
    ]
    return found or [Statement(text, Kind.PLAIN)]


def _parts(text: str, tokens: re.Pattern[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each statement with its first words in capitals; a body written as BEGIN ATOMIC … END is one statement's."""
    start, position, depth = 0, 0, 0
    words: list[str] = []
    while position < len(text):
        token = tokens.match(text, position)
        if token is None:  # unreachable: `other` takes anything
            break
        position = _end_of(text, token)
        if token.lastgroup == "word":
            word = token[0].upper()
            depth = _depth(depth, word, words)
            words.append(word)
        elif token.lastgroup == "end" and not depth:
            if words:
                yield text[start:position], words
            start, words = position, []
        elif token.lastgroup not in {"space", "comment"} and not words:
            words.append(token[0])
    if words:
        yield text[start:], words


def _end_of(text: str, token: re.Match[str]) -> int:
    if token.lastgroup == "dollar":
        end = text.find(token[0], token.end())
        return end + len(token[0]) if end >= 0 else len(text)
    if token.lastgroup != "comment":
        return token.end()
    depth, position = 1, token.end()
    while depth and (edge := _COMMENT_EDGE.search(text, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position if not depth else len(text)


def _depth(depth: int, word: str, words: list[str]) -> int:
    if words[:1] != ["CREATE"] or not {"FUNCTION", "PROCEDURE"} & set(words[1:4]):
        return 0
    if word == "BEGIN" or (word == "CASE" and depth):
        return depth + 1
    return depth - 1 if word == "END" and depth else depth


def _kind(words: list[str]) -> Kind:
    first, second, third = [*words[:3], "", "", ""][:3]
    if first == "PREPARE" and second == "TRANSACTION":
        return Kind.TWO_PHASE
    if first in {"COMMIT", "END", "ABORT", "ROLLBACK"}:
        back_to_savepoint = first == "ROLLBACK" and "TO" in {second, third}
        if second == "PREPARED":
            return Kind.TWO_PHASE
        return Kind.PLAIN if back_to_savepoint else Kind.COMMITS if first in {"COMMIT", "END"} else Kind.ROLLS_BACK
    if first == "BEGIN" or (first == "START" and second == "TRANSACTION"):
        return Kind.BEGINS
    if first == "SET" and (second == "TRANSACTION" or (second == "LOCAL" and third == "TRANSACTION")):
        return Kind.BEGINS
    return Kind.PLAIN
