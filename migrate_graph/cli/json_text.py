"""Write JSON documents as indented text without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from migrate_graph.cli.redacted import redacted


def indented(document: Any, redact: Callable[[str], str]) -> str:
    """Return a document as `json.dumps` writes it with an indent of two, with the secrets masked.

    With an indent, `json` writes each part in Python, which is slow; without an indent it writes in C. So the document is written on one
    line, and msgspec indents it. Each different text is redacted once, however often it occurs.

    Args:
        document: nested mappings, sequences, texts and numbers; anything else is written as its `str`.
        redact: masks secrets in one text.
    """
    document = redacted(document, cache(redact))
    try:
        return msgspec.json.format(json.dumps(document, default=str), indent=2)
    except msgspec.DecodeError:  # a lone surrogate or NaN, which msgspec does not accept as JSON
        return json.dumps(document, default=str, indent=2)
