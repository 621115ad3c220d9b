"""Finds the views that an error message of the server names as dependent objects, in every language of the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

_Key = TypeVar("_Key")

REFUSALS: Final = frozenset({"2BP01", "0A000"})
"""SQLSTATEs of statements that are refused because an object depends on another one; the second one has other reasons, too."""

# `pg_describe_object` writes names as the server does in its messages: with the schema, or without it if the search_path finds them. Each
# row is described both ways. There is no ORDER BY, because the columns must be computed from left to right.
_VIEWS: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
  pg_catalog.pg_describe_object(c.tableoid, c.oid, 0),
  pg_catalog.set_config('search_path', pg_catalog.quote_ident(n.nspname), true),
  pg_catalog.pg_describe_object(c.tableoid, c.oid, 0),
  pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY (CAST(ARRAY['v', 'm'] AS pg_catalog."char"[])) AND c.oid OPERATOR(pg_catalog.>=) 16384
"""

# The same in the session that got the message: its search_path is the same, so the names are written as in the message.
_VIEWS_HERE: Final = """
SELECT c.oid::pg_catalog.int8, pg_catalog.pg_describe_object(c.tableoid, c.oid, 0) FROM pg_catalog.pg_class c
WHERE c.relkind OPERATOR(pg_catalog.=) ANY (CAST(ARRAY['v', 'm'] AS pg_catalog."char"[])) AND c.oid OPERATOR(pg_catalog.>=) 16384
"""


def views_blocking(detail: str, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> dict[int, str]:
    """Return the views that the detail of an error names: their OIDs with their descriptions in it.

    Args:
        detail: the DETAIL of the error message.
        ask: runs a query in the session of the error.
    """
    # A view without a description was dropped just now.
    described: dict[int, str] = {oid: text for oid, text in ask(_VIEWS_HERE) if text} if detail else {}
    return {oid: described[oid] for oid in said_in(detail, described)}


def said_in(text: str, described: Mapping[int, str]) -> list[int]:
    """Return the OIDs of those views that a text names.

    Args:
        text: a message of the server, or a line of it.
        described: how the server describes each view, by OID.
    """
    return _said(text, list(described.items()))


def views_named(detail: str, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> tuple[str, ...]:
    """Return the views that the detail of an error names, by their names with schema.

    Args:
        detail: the DETAIL of the error message.
        ask: runs a query, which changes the search_path for its transaction.
    """
    described = [
        (name, text)
        for name, with_schema, _, without, _ in (sorted(ask(_VIEWS)) if detail else ())
        for text in (with_schema, without)
        if text
    ]
    return tuple(dict.fromkeys(_said(detail, described)))


def _said(detail: str, described: Sequence[tuple[_Key, str]]) -> list[_Key]:
    """Return the keys of the descriptions that a text contains, except where they are only the beginning of a longer one.

    Not every language writes a space after a name, so only a character that must belong to the name rules a match out.
    """
    found = [
        (
            key,
            text,
            {
                match.start()
                for match in re.finditer(rf"(?<![A-Za-z0-9_.]){re.escape(text)}(?![A-Za-z0-9_$.\"])", detail)
            },
        )
        for key, text in described
        if text in detail
    ]
    return [
        key
        for key, text, places in found
        if places
        - {place for _, other, its in found if len(other) > len(text) and other.startswith(text) for place in its}
    ]
