"""Quote identifiers and literals for SQL."""

from __future__ import annotations


def quote_identifier(name: str) -> str:
    """Quote an identifier, for PostgreSQL and SQLite."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Quote a text for PostgreSQL in pure ASCII, so that it means the same in every client encoding and with every setting."""
    return "E'" + "".join(char if char.isalnum() and char.isascii() else f"\\U{ord(char):08x}" for char in text) + "'"
