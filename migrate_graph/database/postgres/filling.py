"""Asks which materialized views have their rows, and writes what fills one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from migrate_graph.database.postgres.snapshot import texts
from migrate_graph.database.views.catalog import Contents
from migrate_graph.quoting import quote_identifier

# Nothing is locked by asking. `role`: the owner, where this session's role has not what he has, and may become him.
_CONTENTS = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity, c.relispopulated AS populated,
    CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE') OR NOT pg_catalog.pg_has_role(c.relowner, 'MEMBER') THEN ''
        ELSE pg_catalog.pg_get_userbyid(c.relowner)::text END AS role
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND pg_catalog.format('%I.%I', n.nspname, c.relname) = ANY ({identities}) ORDER BY c.oid
"""


def contents_of(identities: Collection[str]) -> str:
    """Return the query for what is in some materialized views."""
    return _CONTENTS.format(identities=texts(identities))


def contents_in(rows: Iterable[list[Any]]) -> dict[str, Contents]:
    """Return what is in them, oldest first."""
    return {identity: Contents(bool(populated), role) for identity, populated, role in rows}


def filling(identity: str, role: str) -> Iterator[str]:
    """Yield the statements that fill one; another role is this session's only as long as that takes.

    What the query calls runs as the owner in any case. A view that has never had its rows cannot be refreshed CONCURRENTLY.
    """
    if role:
        yield f"SET LOCAL ROLE {quote_identifier(role)}"
    yield f"REFRESH MATERIALIZED VIEW {identity}"
    if role:
        yield "RESET ROLE"
