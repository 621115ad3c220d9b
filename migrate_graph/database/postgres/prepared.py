"""Plans a query once for a connection, when it is asked again and again with other OIDs: planning costs more than answering."""

from __future__ import annotations

import re
from typing import Any
from weakref import ref

from msgspec import Struct, field

from migrate_graph.database.postgres.connection import WorkConnection

_NUMBERS = re.compile(r"'\{[-\d,]*\}'(?=::(?:pg_catalog\.)?(?:oid|int4|int8)\[\])")

_NAME = "migrate_graph_query_{}"


class Prepared(Struct):
    """The queries of one connection; a body may have deallocated them, which the server tells.

    Attributes:
        stopped: nothing is prepared any more.
    """

    stopped: bool = False
    _connection: ref[WorkConnection] | None = None  # weak: who is the only one to hold a session hands it on
    _names: dict[str, str] = field(default_factory=dict)

    def message(self, connection: Any, query: str, *, steady: bool = False) -> str:
        """Return how to send a query: as it is the first time, prepared from then on; one that is always the same at once.

        Args:
            connection: of an attempt; on others, and behind a pooler, where the next transaction is another session's, nothing is prepared.
            query: its arrays of numbers stand in it as texts with their type.
            steady: it is always the same text.
        """
        if self.stopped or not isinstance(connection, WorkConnection) or connection.reset_session:
            return query
        if self._connection is None or self._connection() is not connection:
            self._connection, self._names = ref(connection), {}
        template = query if steady else self._template(query)
        name = self._names.get(template, "" if steady else None)
        numbers = [] if steady else _NUMBERS.findall(query)
        if name is None or not (numbers or steady):  # what has other texts each time is never asked again
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
