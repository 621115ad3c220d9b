"""How SQL writes names and texts, so that they mean themselves."""

from __future__ import annotations


def quote_identifier(name: str) -> str:
    """Quote an identifier; both databases do it alike."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Quote a text for PostgreSQL in ASCII alone, so that no client encoding and no setting can misread it."""
    return "E'" + "".join(char if char.isalnum() and char.isascii() else f"\\U{ord(char):08x}" for char in text) + "'"
