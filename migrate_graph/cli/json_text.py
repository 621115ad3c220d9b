"""JSON documents as text without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from migrate_graph.cli.redacted import redacted


def indented(document: Any, redact: Callable[[str], str]) -> str:
    """Return a document as `json.dumps` writes it with an indent of two, every text in it redacted.

    `json` writes indented documents in Python, part by part; a plan of ten thousand steps has a million parts. So what it writes on one
    line, in C, is indented by msgspec. Each text is redacted once, however often it stands in the document.

    Args:
        document: mappings, sequences, texts and numbers in each other; anything else is written as its `str`.
        redact: masks secrets in one text.
    """
    document = redacted(document, cache(redact))
    try:
        return msgspec.json.format(json.dumps(document, default=str), indent=2)
    except msgspec.DecodeError:  # half of a surrogate pair, or NaN, which are no JSON for everybody
        return json.dumps(document, default=str, indent=2)
