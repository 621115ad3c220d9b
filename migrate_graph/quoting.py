"""Quote identifiers and literals for SQL, and read the identifiers that SQL writes."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r'[^\W\d][\w$]*|"(?:[^"\0]|"")+"')
_UNSIGNED = re.compile(r'(?:"(?:[^"]|"")*"|[^"(])*')
_QUOTES = ('"', "`", "[")  # SQLite takes the last two as well


def quote_identifier(name: str) -> str:
    """Quote an identifier, for PostgreSQL and SQLite."""
    return '"' + name.replace('"', '""') + '"'


def unquoted(name: str) -> str:
    """Return an identifier without its quotes; one that has none is returned as it is."""
    return name[1:-1].replace('""', '"') if name.startswith(_QUOTES) else name


def bare(name: str) -> str:
    """Return the name that an identifier stands for: without quotes, or folded to lower case when it is not quoted."""
    name = name.strip()
    return unquoted(name) if name.startswith(_QUOTES) else name.lower()


def parted(written: str) -> tuple[str, str]:
    """Split an identifier into schema and name, both as SQL writes them; a schema that is not written is empty."""
    parts = _NAME.findall(written)
    return (parts[-2] if len(parts) > 1 else "", parts[-1]) if parts else ("", written)


def unsigned(identity: str) -> str:
    """Return the identity of a function without its arguments."""
    found = _UNSIGNED.match(identity)
    return found[0] if found else ""


def words_of(text: str) -> set[str]:
    """Return the words and quoted names of a text, in lower case and without the quotes."""
    return {bare(word).lower() for word in _NAME.findall(text)}


def quote_literal(text: str) -> str:
    """Quote a text for PostgreSQL in pure ASCII, so that it means the same in every client encoding and with every setting."""
    return "E'" + "".join(char if char.isalnum() and char.isascii() else f"\\U{ord(char):08x}" for char in text) + "'"


def quote_text(text: str) -> str:
    """Quote a text as a person would type it, for PostgreSQL and SQLite; with a backslash, it is only read so by standard SQL strings."""
    return "'" + text.replace("'", "''") + "'"


def as_array(numbers: Iterable[int]) -> str:
    """Return numbers as the literal of an array, for PostgreSQL."""
    return f"'{{{','.join(str(int(number)) for number in numbers)}}}'"
