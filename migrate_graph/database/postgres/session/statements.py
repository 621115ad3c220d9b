"""Splits a text into SQL statements as the server does, and tells which of them begin or end a transaction."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from enum import Enum

from msgspec import Struct

from migrate_graph.sql_space import SPACE


class Kind(Enum):
    """What a statement does to the transaction that it is sent in."""

    PLAIN = "none of the following"
    BEGINS = "begins one, or says how it is to be: only possible before its first query"
    COMMITS = "commits it"
    ROLLS_BACK = "rolls it back"
    TWO_PHASE = "hands it to whoever finishes it later"


ENDS = {Kind.COMMITS, Kind.ROLLS_BACK}


class Statement(Struct, frozen=True):
    """One statement of a text.

    Attributes:
        text: the SQL of the statement.
        kind: what it does to the transaction.
    """

    text: str
    kind: Kind


_WORDS = r"(?:COMMIT|END|ABORT|ROLLBACK|PREPARE|BEGIN|START|SET)\b"
_BEGINNING = re.compile(rf"(?:\A|;)\s*{_WORDS}", re.IGNORECASE)
_ANYWHERE = re.compile(rf"\b{_WORDS}", re.IGNORECASE)

# The tokens of SQL. Words are tokens, too, so that `E'` or `$` inside of a word does not begin a string.
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
_NUMBER = re.compile(r"\d[\w.]*")  # digits inside of a name are part of a `word` token
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def statements(text: str, *, backslashes: bool = False) -> list[Statement]:
    """Return the statements of a text. A text that cannot begin or end a transaction is returned whole, as one plain statement.

    Args:
        text: as it is sent.
        backslashes: backslashes are escapes in every string (`standard_conforming_strings` is off).
    """
    # Only the first word of a statement matters, and only comments can come before it.
    suspicious = _ANYWHERE if "--" in text or "/*" in text else _BEGINNING
    is_several = suspicious is _ANYWHERE or ";" in text
    if not (suspicious.search(text) if is_several else suspicious.match(text)):
        return [Statement(text, Kind.PLAIN)]
    found = [
        Statement(part, _kind(words))
        for part, words in _parts(text, _TOKEN_WHERE_ALL_ESCAPE if backslashes else _TOKEN)
    ]
    return found or [Statement(text, Kind.PLAIN)]


def split(text: str, *, backslashes: bool = False) -> list[Statement]:
    """Return every statement of a text; a part that is nothing but comments is left out.

    Args:
        text: as it is sent.
        backslashes: as in `statements`.
    """
    tokens = _TOKEN_WHERE_ALL_ESCAPE if backslashes else _TOKEN
    return [Statement(part.strip().removesuffix(";").rstrip(), _kind(words)) for part, words in _parts(text, tokens)]


def without_values(text: str, *, backslashes: bool = False) -> str:
    """Return a statement with `?` for each of its literals; a dollar-quoted text is kept, because it is usually code.

    Args:
        text: one statement.
        backslashes: as in `statements`.
    """
    tokens, position, parts = (_TOKEN_WHERE_ALL_ESCAPE if backslashes else _TOKEN), 0, list[str]()
    while position < len(text):
        number = _NUMBER.match(text, position)
        token = number or tokens.match(text, position)
        if token is None:  # unreachable: `other` takes anything
            break
        end = token.end() if number else _end_of(text, token)
        is_value = bool(number) or (token.lastgroup == "text" and not token[0].startswith('"'))
        parts.append("?" if is_value else text[position:end])
        position = end
    return "".join(parts)


def first_word(text: str) -> str:
    """Return the first word of a statement in capitals, also after opening parentheses; empty if it does not begin with a word."""
    for token in _tokens(text):
        if token.lastgroup == "word":
            return token[0].upper()
        if token.lastgroup not in {"space", "comment"} and token[0] != "(":
            break
    return ""


# What may change user and role of a session; a DO block or a procedure may do it, too.
_BECOMES = re.compile(rf"\brole\b|authorization|(?:\A|;){SPACE}*+(?:DO|CALL)\b", re.IGNORECASE | re.DOTALL)


def may_become(text: str) -> bool:
    """Return whether a statement may change user or role of its session."""
    folded = text.casefold()
    if ";" in text or "role" in folded or "authorization" in folded:
        return _BECOMES.search(text) is not None
    return _BECOMES.match(text) is not None  # it has neither word, so only its beginning matters (DO, CALL)


_KEEPS_NOTHING = frozenset(
    {"SELECT", "WITH", "VALUES", "TABLE", "SHOW", "SET", "RESET", "LOCK", "DECLARE", "FETCH", "MOVE", "CLOSE", "SAVEPOINT", "RELEASE", "ROLLBACK"}
)  # fmt: skip
_WRITES = re.compile(r"\b(?:INTO|INSERT|DELETE|MERGE|UPDATE\s+(?!OF\b|SKIP\b|NOWAIT\b)\w)", re.IGNORECASE)


def may_write(text: str) -> bool:
    """Return whether a text may leave something in the database; what the functions that it calls do is not known here."""
    parts = split(text) if ";" in text else [Statement(text, Kind.PLAIN)]
    return any(
        first_word(each.text) not in _KEEPS_NOTHING
        or (_WRITES.search(each.text) is not None and _WRITES.search(without_values(each.text)) is not None)
        for each in parts
    )


def first_words(text: str, most: int = 6) -> list[str]:
    """Return the first words of a statement, in capitals."""
    return [token[0].upper() for token in _tokens(text) if token.lastgroup == "word"][:most]


def without_concurrently(text: str) -> str:
    """Return a statement without CONCURRENTLY, so that it can run inside a transaction."""
    words = first_words(text, most=2)
    if "concurrently" not in text.lower() or words[:1] not in (["CREATE"], ["DROP"], ["REINDEX"], ["ALTER"]):
        return text
    parts, position, depth = list[str](), 0, 0
    for token in _tokens(text):
        if token[0] in {"(", ")"}:
            depth += 1 if token[0] == "(" else -1
        if token.lastgroup == "word" and token[0].upper() == "CONCURRENTLY":
            parts += [text[position : token.start()], "CONCURRENTLY off" if depth else ""]
            position = token.end()
    return "".join((*parts, text[position:]))


def acts_outside(text: str) -> bool:
    """Return whether a statement makes the server write a file or run a program."""
    tokens = [token for token in _tokens(text) if token.lastgroup not in {"space", "comment"}]
    if not tokens or tokens[0][0].upper() != "COPY":
        return False
    depth = 0
    for token, after in itertools.pairwise(tokens):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if not depth and token[0].upper() in {"TO", "FROM"}:
            is_file = after[0].upper() == "PROGRAM" or after[0].startswith(("'", "e'", "E'", "$"))
            return after[0].upper() == "PROGRAM" or (is_file and token[0].upper() == "TO")
    return False


def _tokens(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while token := _TOKEN.match(text, position):
        yield token
        position = _end_of(text, token)


def _parts(text: str, tokens: re.Pattern[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each statement with its words in capitals; a function body between BEGIN ATOMIC and END is part of its statement."""
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
