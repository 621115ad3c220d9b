"""The run's lock while it is held: whether it still is, as the server says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg2

from migrate_graph.database.postgres.patience import Patience
from migrate_graph.errors import DatabaseUnreachable

# Two families of advisory locks ("mg" and its neighbour): the run's, and the one that lives with the work.
RUN_CLASS = 0x6D67
WORK_CLASS = 0x6D68

ADVISORY = (
    "l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.database = "
    "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
)
"""Condition: `l`, a row of pg_locks, is an advisory lock of this database that is held."""


@dataclass
class HeldLock:
    """See `database.Lock`. The connection is the one that took the lock: after a reconnection the keeper is another.

    The server is asked, not the driver: somebody may have reset the session, or a pooler given us another one.
    """

    connection: Any
    key: int
    patience: Patience

    def is_held(self) -> bool:
        """See `database.Lock`."""
        try:
            return bool(self.answer("true"))
        except (psycopg2.Error, DatabaseUnreachable):
            return False

    def answer(self, question: str) -> Any:
        """Return the answer to a question of one value, asked together with whether the lock is ours; None when it is not.

        Raises:
            psycopg2.Error: there was no answer.
        """
        return self.patience.run(self.connection, "asking whether the lock is still ours", self._ask, question)

    def _ask(self, question: str = "true") -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = pg_catalog.pg_backend_pid() AND {ADVISORY} "
                f"AND l.classid = CAST(%s AS pg_catalog.oid) AND l.objid = CAST(%s AS pg_catalog.oid)), {question}",
                (str(RUN_CLASS), str(self.key % 2**32)),
            )
            is_held, answer = cursor.fetchone()
        return answer if is_held else None
