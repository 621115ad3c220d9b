"""Which views an answer of the server names as what stands in the way, in whatever language it speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

_Key = TypeVar("_Key")

REFUSALS: Final = frozenset({"2BP01", "0A000"})
"""SQLSTATEs of what the server refuses since something depends on it; the second one has other reasons, too."""

# The server describes objects in its messages as this function does; whether with their schema depends on the search_path. An ORDER BY
# would have some of this worked out before it and some after it.
_VIEWS: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
  pg_catalog.pg_describe_object(c.tableoid, c.oid, 0),
  pg_catalog.set_config('search_path', pg_catalog.quote_ident(n.nspname), true),
  pg_catalog.pg_describe_object(c.tableoid, c.oid, 0),
  pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY (CAST(ARRAY['v', 'm'] AS pg_catalog."char"[])) AND c.oid OPERATOR(pg_catalog.>=) 16384
"""

# The same where the message was made: under the same search_path, so that each view is called as the message calls it.
_VIEWS_HERE: Final = """
SELECT c.oid::pg_catalog.int8, pg_catalog.pg_describe_object(c.tableoid, c.oid, 0) FROM pg_catalog.pg_class c
WHERE c.relkind OPERATOR(pg_catalog.=) ANY (CAST(ARRAY['v', 'm'] AS pg_catalog."char"[])) AND c.oid OPERATOR(pg_catalog.>=) 16384
"""


def views_blocking(detail: str, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> dict[int, str]:
    """Return the OIDs of the views that the detail of an error names, with how it calls them.

    Args:
        detail: what the server said below its message.
        ask: runs a query in the session of the error.
    """
    described: dict[int, str] = (
        {oid: text for oid, text in ask(_VIEWS_HERE) if text} if detail else {}
    )  # none: just dropped
    return {oid: described[oid] for oid in said_in(detail, described)}


def said_in(text: str, described: Mapping[int, str]) -> list[int]:
    """Return which of some views a text names.

    Args:
        text: of the server, or a line of it.
        described: how it calls each of them.
    """
    return _said(text, list(described.items()))


def views_named(detail: str, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> tuple[str, ...]:
    """Return the views that the detail of an error names, by their names with schema.

    Args:
        detail: what the server said below its message.
        ask: runs a query under a search_path of its own.
    """
    described = [
        (name, text)
        for name, with_schema, _, without, _ in (sorted(ask(_VIEWS)) if detail else ())
        for text in (with_schema, without)
        if text
    ]
    return tuple(dict.fromkeys(_said(detail, described)))


def _said(detail: str, described: Sequence[tuple[_Key, str]]) -> list[_Key]:
    """Return whose description stands in a text, and not only as the beginning of another one that stands there.

    Not every language puts a space behind a name, so that what follows decides only where it can be nothing but more of the name.
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
