"""Reads how large the relations of a database are, from the catalog alone, so that no relation is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migrate_graph.core.footprint import Size
from migrate_graph.database.postgres.session.looking import opened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrate_graph.database import Settings

# A relation that was never vacuumed or analyzed has `relpages` 0. Then its size is estimated: the number of live rows in the server's
# statistics, times the usual width of its columns. `pg_relation_size()` is exact, but locks the relation. Without `track_counts` there is
# no such number, and the relation is left out.
SIZES: Final = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), CAST(CASE WHEN c.relpages OPERATOR(pg_catalog.>) 0
  THEN CAST(c.relpages AS pg_catalog.int8) OPERATOR(pg_catalog.*) CAST(pg_catalog.current_setting('block_size') AS pg_catalog.int8)
  ELSE pg_catalog.pg_stat_get_live_tuples(c.oid) OPERATOR(pg_catalog.*)
    (SELECT 28 OPERATOR(pg_catalog.+) coalesce(pg_catalog.sum(CASE WHEN a.attlen OPERATOR(pg_catalog.>) 0 THEN a.attlen ELSE 32 END), 0)
    FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0
    AND NOT a.attisdropped) END AS pg_catalog.int8),
  CAST(CASE WHEN c.relpages OPERATOR(pg_catalog.>) 0 THEN greatest(CAST(c.reltuples AS pg_catalog.int8), 0)
    ELSE pg_catalog.pg_stat_get_live_tuples(c.oid) END AS pg_catalog.int8)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY (CAST(ARRAY['r', 'm'] AS pg_catalog."char"[])) AND c.oid OPERATOR(pg_catalog.>=) 16384
  AND c.relpersistence OPERATOR(pg_catalog.<>) 't' AND (c.relpages OPERATOR(pg_catalog.>) 0 OR NOT EXISTS (SELECT FROM pg_catalog.pg_settings s
    WHERE s.name OPERATOR(pg_catalog.=) 'track_counts' AND s.reset_val OPERATOR(pg_catalog.=) 'off'))
"""
"""SQL: name, bytes and rows of each table and materialized view."""


def as_sizes(rows: Iterable[tuple[str, int, int]]) -> dict[str, Size]:
    """Return the rows of `SIZES` as `Size`s, by name."""
    return {name: Size(size, count) for name, size, count in rows}


def sizes(settings: Settings) -> dict[str, Size]:
    """Return the sizes of the relations of a database, by name."""
    with opened(settings, "look") as connection, connection.cursor() as cursor:
        cursor.execute(SIZES)
        return as_sizes(cursor.fetchall())
