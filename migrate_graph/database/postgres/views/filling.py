"""Reads which materialized views are filled, and writes the statements that fill one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from migrate_graph.database.postgres.views.snapshot import texts
from migrate_graph.database.views.catalog import Contents
from migrate_graph.quoting import quote_identifier

# The query locks no view. `role`: the owner, if this session's role must become the owner to fill the view, and may.
_CONTENTS = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity, c.relispopulated AS populated,
    CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE') OR NOT pg_catalog.pg_has_role(c.relowner, 'MEMBER') THEN ''
        ELSE pg_catalog.pg_get_userbyid(c.relowner)::text END AS role
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND pg_catalog.format('%I.%I', n.nspname, c.relname) = ANY ({identities}) ORDER BY c.oid
"""


def contents_of(identities: Collection[str]) -> str:
    """Return the query for whether some materialized views are filled; `contents_in` reads its rows."""
    return _CONTENTS.format(identities=texts(identities))


def contents_in(rows: Iterable[list[Any]]) -> dict[str, Contents]:
    """Return the rows of `contents_of` as `Contents`, by name, the oldest view first."""
    return {identity: Contents(bool(populated), role) for identity, populated, role in rows}


def filling(identity: str, role: str) -> Iterator[str]:
    """Yield the statements that fill a materialized view.

    The functions that its query calls run as its owner in any case. CONCURRENTLY is not possible for a view that was never filled.

    Args:
        identity: quoted name of the view.
        role: the role that the session has meanwhile; empty for its own.
    """
    if role:
        yield f"SET LOCAL ROLE {quote_identifier(role)}"
    yield f"REFRESH MATERIALIZED VIEW {identity}"
    if role:
        yield "RESET ROLE"
