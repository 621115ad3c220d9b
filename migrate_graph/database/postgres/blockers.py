"""Which views an answer of the server names as what stands in the way, in whatever language it speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

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
    return {oid: described for oid, described in ask(_VIEWS_HERE) if says(detail, described)} if detail else {}


def views_named(detail: str, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> tuple[str, ...]:
    """Return the views that the detail of an error names, by their names with schema.

    Args:
        detail: what the server said below its message.
        ask: runs a query under a search_path of its own.
    """
    if not detail:
        return ()
    return tuple(
        name
        for name, with_schema, _, without, _ in sorted(ask(_VIEWS))
        if says(detail, with_schema) or says(detail, without)
    )


def says(detail: str, description: str | None) -> bool:
    """Return whether a description stands in a text, and not as the beginning of a longer name; None: somebody has just dropped it."""
    return description is not None and re.search(rf"(?<![\w.]){re.escape(description)}(?![\w$.\"])", detail) is not None
