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
        if _says(detail, with_schema) or _says(detail, without)
    )


def _says(detail: str, description: str) -> bool:
    """Return whether a description stands in a text, and not as the beginning of a longer name."""
    return re.search(rf"(?<![\w.]){re.escape(description)}(?![\w$.\"])", detail) is not None
