"""JSON documents as text without secrets: what is written is redacted as it is written, so that no copy of a long document is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import StringIO
from json.encoder import encode_basestring_ascii
from typing import Any

from migrate_graph.cli.redacted import redacted

_PLAIN = {None: "null", True: "true", False: "false"}


def indented(document: Any, redact: Callable[[str], str]) -> str:
    """Return a document as `json.dumps` writes it with an indent of two, every text in it redacted.

    `json` writes indented documents in Python, part by part; a plan of ten thousand steps has a million parts. Here each text is redacted
    and quoted once, however often it stands in the document.

    Args:
        document: mappings, sequences, texts and numbers in each other; anything else is written as its `str`.
        redact: masks secrets in one text.
    """
    writer = _Writer(redact)
    writer.write(document, "\n")
    return writer.text.getvalue()


class _Writer:
    """What is written of one document.

    Args:
        redact: masks secrets in one text.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self.text = StringIO()
        self._redact = redact
        self._quoted: dict[str, str] = {}

    def write(self, value: Any, margin: str) -> None:
        """Write a value; the margin is the line end and the indent of the line on which it begins."""
        kind = type(value)
        if kind is str:
            self.text.write(self._text(value))
        elif kind is dict:
            self._write_mapping(value, margin)
        elif kind is list or kind is tuple:
            self._write_items(value, margin)
        elif value is None or kind is bool:
            self.text.write(_PLAIN[value])
        elif kind is int:
            self.text.write(int.__repr__(value))
        else:
            self._write_other(value, margin)

    def _text(self, text: str) -> str:
        quoted = self._quoted.get(text)
        if quoted is None:
            quoted = self._quoted[text] = encode_basestring_ascii(self._redact(text))
        return quoted

    def _write_mapping(self, mapping: Mapping[Any, Any], margin: str) -> None:
        if not mapping:
            self.text.write("{}")
            return
        # Keys that are the same without their secrets are one key.
        items = {self._text(key) if type(key) is str else _key(key): item for key, item in mapping.items()}
        write, inner, opening = self.text.write, margin + "  ", "{"
        for key, item in items.items():
            write(f"{opening}{inner}{key}: ")
            self.write(item, inner)
            opening = ","
        write(margin + "}")

    def _write_items(self, items: Any, margin: str) -> None:
        if not items:
            self.text.write("[]")
            return
        write, inner, opening = self.text.write, margin + "  ", "["
        for item in items:
            write(opening + inner)
            self.write(item, inner)
            opening = ","
        write(margin + "]")

    def _write_other(self, value: Any, margin: str) -> None:
        """Write what is none of the common types, as it is when it is redacted: a mapping, a set, part of an enumeration, a number."""
        value = redacted(value, self._redact)
        if isinstance(value, (dict, list, tuple)):
            text = json.dumps(value, ensure_ascii=True, indent=2, default=str)
            self.text.write(text.replace("\n", margin))
        else:
            self.text.write(json.dumps(value, ensure_ascii=True, default=str))


def _key(key: Any) -> str:
    """Return a key that is no plain text as `json` writes it."""
    return json.dumps({key: 0})[1:-4]
