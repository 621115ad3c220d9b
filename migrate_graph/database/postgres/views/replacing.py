"""What must be known of views to change them with `CREATE OR REPLACE VIEW`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, cast

import psycopg2
from msgspec.structs import replace

from migrate_graph.database.postgres.views.objects import PG_CLASS, Address
from migrate_graph.database.postgres.views.plain_views import IS_WATCHED
from migrate_graph.database.postgres.views.snapshot import Made
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Key, taken_back

if TYPE_CHECKING:
    from migrate_graph.database.postgres.views.catalog import PostgresCatalog

# Classes of SQLSTATE with which the server refuses the statement itself: syntax, names or a change that is not allowed (42), a feature that
# is not supported (0A), dependent objects (2B). Errors about locks, connections and cancelled statements have other classes.
_REFUSALS = {"42", "0A", "2B"}

_PROBE = "migrate_graph_probe"

# A view whose rules name another view reads it, or writes to it.
_READERS = """
SELECT DISTINCT c.oid::int8 AS oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm') JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid IN ({oids}) AND r.ev_class <> d.refobjid
ORDER BY 1
"""

# `c.relkind`: only views read others. `refobjid <> ev_class`: a view's own rule always names the view itself.
_CIRCLES = """
WITH RECURSIVE reads (first, oid) AS (
    SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid IN ({oids})
    UNION
    SELECT reads.first, d.refobjid FROM reads JOIN pg_catalog.pg_rewrite r ON r.ev_class = reads.oid AND r.rulename = '_RETURN'
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> r.ev_class
    JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
)
SELECT first.oid::int8 AS oid FROM pg_catalog.pg_class first
WHERE first.oid IN ({oids}) AND EXISTS (
    SELECT FROM reads JOIN pg_catalog.pg_rewrite r ON r.ev_class = reads.oid AND r.ev_class <> first.oid AND r.rulename = '_RETURN'
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = first.oid
    WHERE reads.first = first.oid)
"""

_TWO = f"""
SELECT pg_catalog.pg_get_viewdef(c.oid) AS definition FROM pg_catalog.pg_class c
WHERE c.oid = {{oid}} OR (c.relname = '{_PROBE}' AND c.relnamespace = pg_catalog.pg_my_temp_schema())
"""


class PostgresInPlace:
    """See `views.catalog.InPlace`.

    Args:
        catalog: the view catalog on the migration's connection.
        made: the circumstances of each object's creation, by key; `was` corrects them.
    """

    def __init__(self, catalog: PostgresCatalog, made: dict[Key, Made]) -> None:
        self._catalog = catalog
        self._made = made

    def forbids(self, error: BaseException) -> bool:
        """See `views.catalog.InPlace`."""
        return isinstance(error, psycopg2.Error) and (error.pgcode or "")[:2] in _REFUSALS

    def is_watched(self) -> bool:
        """See `views.catalog.InPlace`: by event triggers."""
        return bool(self._catalog.read(f"SELECT {IS_WATCHED} AS watched")[0][0])

    def readers(self, keys: Collection[Key]) -> dict[Key, str]:
        """See `views.catalog.InPlace`."""
        rows = self._catalog.read(_READERS.format(oids=_oids(keys)))
        return {(PG_CLASS, oid, 0): identity for oid, identity in rows}

    def is_circular(self, keys: Collection[Key]) -> bool:
        """See `views.catalog.InPlace`."""
        return bool(keys) and bool(self._catalog.read(_CIRCLES.format(oids=_oids(keys))))

    def is_made_by(self, key: Key, query: str) -> bool:
        """See `views.catalog.InPlace`. A temporary view is created from the query, compared and rolled back; it locks like a SELECT."""
        with taken_back(self._catalog):
            self._catalog.run(f"CREATE TEMPORARY VIEW {_PROBE} AS\n{query}\n")
            view, probe = (text for (text,) in self._catalog.read(_TWO.format(oid=_oids([key]))))
        return bool(view == probe)

    def was(self, key: Key, before: Relation) -> None:
        """See `views.catalog.InPlace`."""
        made = self._made.get(key, Made())
        self._made[key] = replace(made, creator=before.owner, fresh=frozenset(before.grants))


def _oids(keys: Collection[Key]) -> str:
    return ", ".join(str(cast("Address", key)[1]) for key in sorted(keys, key=str))
