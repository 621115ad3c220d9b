"""Prepares queries that are sent again and again with other OIDs: planning them takes longer than running them."""

from __future__ import annotations

import re
from typing import Any
from weakref import ref

from msgspec import Struct, field

from migrate_graph.database.postgres.session.connection import WorkConnection

_NUMBERS = re.compile(r"'\{[-\d,]*\}'(?=::(?:pg_catalog\.)?(?:oid|int4|int8)\[\])")

_NAME = "migrate_graph_query_{}"


class Prepared(Struct):
    """The prepared queries of one connection. A body may deallocate them; then the server refuses the EXECUTE.

    Attributes:
        stopped: nothing is prepared any more; every query is sent as it is.
    """

    stopped: bool = False
    # Weak: a session is kept for the next migration only if nobody else holds a reference to it.
    _connection: ref[WorkConnection] | None = None
    _names: dict[str, str] = field(default_factory=dict)

    def message(self, connection: Any, query: str, *, steady: bool = False) -> str:
        """Return the message to send for a query: the query itself the first time, a prepared statement from the second time on.

        Args:
            connection: on which it is sent. Nothing is prepared on a connection that is no attempt's, nor behind a pooler, where the
                next transaction may be in another session.
            query: may contain arrays of numbers, written as text with a type: `'{1,2}'::oid[]`. They become parameters.
            steady: the query is always the same text, so it is prepared the first time.
        """
        if self.stopped or not isinstance(connection, WorkConnection) or connection.reset_session:
            return query
        if self._connection is None or self._connection() is not connection:
            self._connection, self._names = ref(connection), {}
        template = query if steady else self._template(query)
        name = self._names.get(template, "" if steady else None)
        numbers = [] if steady else _NUMBERS.findall(query)
        if name is None or not (numbers or steady):  # without parameters it would not come again
            self._names[template] = ""
            return query
        arguments = f" ({', '.join(numbers)})" if numbers else ""
        if name:
            return f"EXECUTE {name}{arguments}"
        name = self._names[template] = _NAME.format(sum(map(bool, self._names.values())) + 1)
        return f"PREPARE {name} AS {template}; EXECUTE {name}{arguments}"

    @staticmethod
    def _template(query: str) -> str:
        parts = _NUMBERS.split(query)
        return "".join(f"{part}${place}" for place, part in enumerate(parts[:-1], 1)) + parts[-1]
