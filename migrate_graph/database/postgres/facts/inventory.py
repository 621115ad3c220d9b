"""Reads all facts of a PostgreSQL database in one query, while other sessions may create and drop objects."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from migrate_graph import __version__
from migrate_graph.core.drift import RELATIONS, Described, Inventory
from migrate_graph.core.footprint import Fact
from migrate_graph.database.postgres.facts.query import OF_ONE_DATABASE, SETTINGS, facts_query
from migrate_graph.database.postgres.views.outbox import has_any_bytes

_LIMITS: Final = (
    "SELECT pg_catalog.set_config('lock_timeout', '200ms', true), pg_catalog.set_config('statement_timeout', '60s', true), "
    "pg_catalog.set_config('jit', 'off', true)"
)
"""Settings of the transaction. To read a definition needs a lock on its table. The wait for a session that changes the table is shorter than
`deadlock_timeout` (1 s): that session may wait for locks of this transaction, and then the server would end one of the two."""

_TRIES: Final = 8

_PASSING: Final = frozenset({"55P03", "XX000", "42P01", "42704", "42883", "42703", "3F000"})
"""SQLSTATEs of errors while another session changes an object, or drops it before its definition is read: the server looks definitions up
outside of the query's snapshot."""

_NOT_FOR_EVERYBODY: Final = frozenset({"user mapping"})
"""Kinds whose definitions are left out: they may contain passwords, and only some roles may see them."""


class Reading:
    """One reading of all facts, which may be tried several times.

    Attributes:
        query: the query whose rows `inventory` reads.
    """

    def __init__(self, connection: Any, *, own: Collection[str]) -> None:
        self._left = _TRIES
        self._server = f"postgres {connection.info.server_version // 10000}"
        self._in_bytes = has_any_bytes(connection)
        query = facts_query(connection.info.server_version, own, OF_ONE_DATABASE)
        if self._in_bytes:
            # The database may hold bytes that are no text in the connection's encoding. For other databases plain rows take half the time.
            query = (
                "SELECT pg_catalog.convert_to(CAST(coalesce(json_agg(json_build_array(f.part, f.kind, f.id, f.def, f.class, "
                "CAST(f.at AS int8), f.sub, CAST(f.rel AS int8))), '[]') AS text), 'SQL_ASCII') "
                f"FROM ({query}) AS f(part, kind, id, def, class, at, sub, rel)"
            )
        query = f"{SETTINGS}; {_LIMITS}; {query}"
        self.query = query.replace("%", "%%")  # the query is run with parameters, so `%` must be escaped

    def may_try_again(self, error: Any) -> bool:
        """Return whether another try may succeed after this error."""
        self._left -= 1
        return self._left > 0 and error.pgcode in _PASSING

    def inventory(self, rows: list[tuple[Any, ...]]) -> Inventory:
        """Return the facts in the rows of `query`."""
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
