"""Reads from PostgreSQL's catalog what must be known of the views that block a statement."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import psycopg2
from psycopg2.errorcodes import INTERNAL_ERROR

from migrate_graph.database.postgres.views.blockers import said_in, views_blocking
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.postgres.views.objects import PG_CLASS
from migrate_graph.database.postgres.views.restoration import create
from migrate_graph.database.postgres.views.snapshot import texts
from migrate_graph.database.relation import Relation, is_text
from migrate_graph.database.views.catalog import Manager, Observation
from migrate_graph.database.views.kept import manager_for_unmanaged
from migrate_graph.database.views.weaving import Column, NotWoven, Obstacle
from migrate_graph.quoting import as_array

_READERS = """
WITH RECURSIVE above (oid) AS (
    SELECT o.oid FROM unnest({oids}::oid[]) AS o (oid)
    UNION
    SELECT r.ev_class FROM above JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = above.oid
        AND d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.deptype = 'n'
    JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_class <> above.oid AND r.rulename = '_RETURN'
    JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm')
)
"""

_VIEWS = f"""{_READERS}
SELECT c.oid::int8 AS oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity, c.relpersistence::text AS persistence,
    (SELECT e.extname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            AND d.refclassid = 'pg_catalog.pg_extension'::regclass LIMIT 1) AS extension
FROM above JOIN pg_catalog.pg_class c ON c.oid = above.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1
"""

_READ = f"""{_READERS}
SELECT DISTINCT r.ev_class::int8 AS reader, t.oid::int8 AS read, a.attname::text AS name,
    pg_catalog.concat(pg_catalog.quote_ident(t.relname), CASE WHEN a.attnum > 0 THEN '.' END, pg_catalog.quote_ident(a.attname)) AS label
FROM above JOIN pg_catalog.pg_rewrite r ON r.ev_class = above.oid AND r.rulename = '_RETURN'
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> r.ev_class AND d.deptype = 'n'
JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid AND d.refobjsubid > 0
ORDER BY 1, 2, 3
"""

_TYPES = """
SELECT a.attrelid::int8 AS oid, a.attname::text AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type
FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY ({oids}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, a.attnum
"""

_TYPES_OF_ALL = f"{_READERS}{_TYPES.format(oids='ARRAY(SELECT above.oid FROM above)')}"

_THERE = """
SELECT c.oid::int8 AS oid, a.attname::text AS name FROM pg_catalog.pg_class c
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = ANY ({oids}::oid[])
"""


_TRIES = 5
"""Number of attempts to find the views that an error names, while other sessions drop views."""


class PostgresObstacles:
    """See `views.weaving.Obstacles`.

    Args:
        catalog: the view catalog on the connection of the attempt.
    """

    def __init__(self, catalog: PostgresCatalog) -> None:
        self._catalog = catalog

    def blocking(self, detail: str) -> set[int]:
        """Return the views that the detail of an error names; if it names one view and one column, all views that read the column.

        The server names only one view when the type of a column cannot be changed.
        """
        named = self._without_what_goes(self._named(detail), detail)
        if len(named) != 1:
            return set(named)
        ((view, described),) = named.items()
        return {view} | self._readers_of_column(view, detail.replace(described, ""))

    def _named(self, detail: str) -> dict[int, str]:
        for _ in range(_TRIES):
            try:
                with self._catalog.atomic():
                    return views_blocking(detail, self._catalog.run)
            except psycopg2.Error as error:
                if error.pgcode != INTERNAL_ERROR:  # of an old server, for a view that was just dropped
                    raise
        return {}

    def _without_what_goes(self, named: dict[int, str], detail: str) -> dict[int, str]:
        """Leave out the view that a statement drops: every line that names it also names another view, which reads it."""
        lines = [said_in(line, named) for line in detail.splitlines()]
        beside = {view: [{*line} - {view} for line in lines if view in line] for view in named}
        if all(set() in others for others in beside.values()):
            return named
        (rows,) = self._catalog.read_all(_READ.format(oids=as_array(named)))
        reads = {(reader, read) for reader, read, *_ in rows}
        return {
            view: text
            for view, text in named.items()
            if not beside[view] or not all(any((other, view) in reads for other in others) for others in beside[view])
        }

    def _readers_of_column(self, view: int, detail: str) -> set[int]:
        (columns,) = self._catalog.read_all(_READ.format(oids=as_array([view])))
        said = {
            (table, name)
            for reader, table, name, _ in columns
            if reader == view and name and re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", detail)
        }
        if len(said) != 1:  # a word of the message may be the name of a column, so it is not certain which one is meant
            return set()
        ((table, name),) = said
        (rows,) = self._catalog.read_all(
            "SELECT DISTINCT r.ev_class::int8 AS oid FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_depend d "
            "ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass "
            "AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'n' "
            "JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' "
            "JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('v', 'm') "
            f"WHERE a.attrelid = {table} AND a.attname = ANY ({texts([name])})"
        )
        return {oid for (oid,) in rows}

    def with_readers(self, keys: Collection[int]) -> dict[int, Obstacle]:
        """See `views.weaving.Obstacles`."""
        oids = as_array(keys)
        views, reads, types = self._catalog.read_all(
            _VIEWS.format(oids=oids), _READ.format(oids=oids), _TYPES_OF_ALL.replace("{oids}", oids)
        )
        read_by: dict[int, set[int]] = {}
        columns: dict[int, dict[Column, None]] = {}
        for reader, read, name, label in reads:
            read_by.setdefault(reader, set()).add(read)
            columns.setdefault(reader, {})[Column(read, name or "", label)] = None
        of_type: dict[int, dict[str, str]] = {}
        for oid, name, kind in types:
            of_type.setdefault(oid, {})[name] = kind
        mine = {oid for oid, *_ in views}
        return {
            oid: Obstacle(
                identity,
                frozenset(read_by.get(oid, set()) & mine),
                _foreign(persistence, extension),
                of_type.get(oid, {}),
                # Columns of the views that go down together with it are left out: they cannot be missed.
                tuple(each for each in columns.get(oid, ()) if each.table not in mine),
            )
            for oid, identity, persistence, extension in views
        }

    def find(self, names: Collection[str]) -> dict[str, int]:
        """See `views.weaving.Obstacles`."""
        return {name: _oid(key) for name, (key, _) in self._catalog.look_up(names).items()}

    def types(self, identities: Collection[str]) -> dict[str, dict[str, str]]:
        """See `views.weaving.Obstacles`."""
        oids = {oid: identity for identity, oid in self.find(identities).items()}
        found: dict[str, dict[str, str]] = {}
        if oids:
            for oid, name, kind in self._catalog.read(_TYPES.format(oids=f"{as_array(oids)}::oid[]")):
                found.setdefault(oids[oid], {})[name] = kind
        return found

    def missing(self, columns: Collection[Column]) -> set[Column]:
        """See `views.weaving.Obstacles`."""
        if not columns:
            return set()
        there = {
            (oid, name or "")
            for oid, name in self._catalog.read(_THERE.format(oids=as_array({each.table for each in columns})))
        }
        tables = {oid for oid, _ in there}
        return {
            each for each in columns if (each.table, each.name) not in there and (each.name or each.table not in tables)
        }

    def writes_managers(self, names: Sequence[str]) -> str:
        """See `views.weaving.Obstacles`."""
        return f"migrate views adopt {' '.join(names)}"

    def expecting(self, before: Observation, obstacles: Collection[Obstacle]) -> Observation:  # noqa: ARG002 - of the protocol
        """See `views.weaving.Obstacles`; PostgreSQL creates no view that cannot be read."""
        return before

    def broken(self) -> dict[int, str]:
        """See `views.weaving.Obstacles`; in PostgreSQL no view can become unreadable."""
        return {}

    def keeper_of(self, key: int) -> Manager:
        """See `views.weaving.Obstacles`."""
        address = (PG_CLASS, key, 0)
        stored = self._catalog.describe([address])[address]
        if not is_text(stored.identity + stored.definition):
            raise NotWoven(f"the definition of {stored.identity} holds bytes that are no text: give it a manager")
        return keeper_of(self._catalog, stored)


def keeper_of(catalog: PostgresCatalog, stored: Relation) -> Manager:
    """Return a manager for a view that has none: it drops the view, and creates it from its stored definition."""

    def up() -> None:
        with catalog.safely():
            create(catalog.say, stored)

    def down() -> None:
        catalog.say(f"DROP {stored.kind} {stored.identity}")

    return manager_for_unmanaged(
        stored.identity, f"{stored.kind} {stored.identity}", up=up, down=down, fill_as_owner=True
    )


def _oid(key: Any) -> int:
    return int(key[1])


def _foreign(persistence: str, extension: str | None) -> str:
    if extension:
        return f"belongs to the extension {extension}"
    return "is a temporary view: drop it first" if persistence == "t" else ""
