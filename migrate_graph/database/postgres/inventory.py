"""Reads everything that a PostgreSQL database is made of in one query, as bytes, while others create and drop."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from migrate_graph import __version__
from migrate_graph.core.drift import RELATIONS, Described, Inventory
from migrate_graph.core.footprint import Fact
from migrate_graph.database.postgres.facts_query import OF_ONE_DATABASE, SETTINGS, facts_query
from migrate_graph.database.postgres.outbox import has_any_bytes

_LIMITS: Final = (
    "SELECT pg_catalog.set_config('lock_timeout', '200ms', true), pg_catalog.set_config('statement_timeout', '60s', true), "
    "pg_catalog.set_config('jit', 'off', true)"
)
"""Definitions are read under the weakest lock. Whoever changes a table is waited for for less than `deadlock_timeout` (1 s): the locks that
are held meanwhile may be what he waits for, and then the server would end one of the two."""

_TRIES: Final = 8

_PASSING: Final = frozenset({"55P03", "XX000", "42P01", "42704", "42883", "42703", "3F000"})
"""What the server answers while somebody changes something, or when it was dropped while its definition was read: that is looked up outside
of the snapshot."""

_NOT_FOR_EVERYBODY: Final = frozenset({"user mapping"})
"""Kinds of which only some roles may see the definition, in which passwords stand."""


class Reading:
    """One reading, tried again where others drop what is being read.

    Attributes:
        query: gives the rows that `inventory` understands.
    """

    def __init__(self, connection: Any, *, own: Collection[str]) -> None:
        self._left = _TRIES
        self._server = f"postgres {connection.info.server_version // 10000}"
        self._in_bytes = has_any_bytes(connection)
        query = facts_query(connection.info.server_version, own, OF_ONE_DATABASE)
        if self._in_bytes:
            # It holds what is no text in the connection's encoding. Elsewhere rows as they are take half the time.
            query = (
                "SELECT pg_catalog.convert_to(CAST(coalesce(json_agg(json_build_array(f.part, f.kind, f.id, f.def, f.class, "
                "CAST(f.at AS int8), f.sub, CAST(f.rel AS int8))), '[]') AS text), 'SQL_ASCII') "
                f"FROM ({query}) AS f(part, kind, id, def, class, at, sub, rel)"
            )
        query = f"{SETTINGS}; {_LIMITS}; {query}"
        self.query = query.replace("%", "%%")  # as it is for the driver

    def may_try_again(self, error: Any) -> bool:
        """Return whether another try may find everything in its place."""
        self._left -= 1
        return self._left > 0 and error.pgcode in _PASSING

    def inventory(self, rows: list[tuple[Any, ...]]) -> Inventory:
        """Return what was read."""
        if self._in_bytes:
            rows = json.loads(bytes(rows[0][0]).decode("utf-8", "surrogateescape"))
        names = {
            at: name
            for _, kind, name, _, catalog, at, sub, _ in rows
            if catalog == "pg_class" and kind in RELATIONS and not sub
        }
        facts = {
            Fact(kind, name): Described(
                "" if kind in _NOT_FOR_EVERYBODY else definition or "", names.get(relation, "") if relation else ""
            )
            for _, kind, name, definition, _, _, _, relation in rows
        }
        return Inventory(facts, server=self._server, version=__version__)
