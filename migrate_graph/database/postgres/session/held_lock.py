"""The advisory lock of a run: asks the server whether this run still holds it."""

from __future__ import annotations

import hashlib
import re
import select
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg2
from msgspec import Struct, field

from migrate_graph.database.postgres.session.patience import Patience
from migrate_graph.errors import DatabaseUnreachable

# The first keys of the three kinds of advisory locks ("mg" and the next numbers): the run's lock; the work's lock, held by the sessions
# of migrations, and shared by processes that work side by side; and the lock that each of those processes holds alone.
RUN_CLASS = 0x6D67
WORK_CLASS = 0x6D68
SEAT_CLASS = 0x6D69

ADVISORY = (
    "l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.database = "
    "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
)
"""SQL condition: `l`, a row of pg_locks, is an advisory lock of this database that somebody holds."""

_PLACE = re.compile("%[%s]")


@lru_cache(maxsize=16)
def lock_key(schema: str, ledger: str) -> int:
    """Return the second key of all advisory locks that runs with this ledger table use."""
    digest = hashlib.sha256(f"{schema}\0{ledger}".encode()).digest()
    return int.from_bytes(digest[:4], "big", signed=True)


class HeldLock(Struct):
    """See `database.Lock`.

    The server is asked, not the driver: the session may have been reset, or a pooler may have given this client another session.

    Attributes:
        connection: the one that took the lock; after a reconnection the keeper is another one.
        key: the second key of the lock.
        patience: runs calls that may block.
        is_twice: the session has taken the lock two times.
        is_alone: there is no pooler between this process and the session.
    """

    connection: Any
    key: int
    patience: Patience
    is_twice: bool
    is_alone: bool
    _plans: dict[str, str] = field(default_factory=dict)

    def is_held(self) -> bool:
        """See `database.Lock`."""
        try:
            return self.row("true") is not None
        except (psycopg2.Error, DatabaseUnreachable):
            return False

    def seems_held(self) -> bool:
        """See `database.Lock`. Without a pooler, a lock is lost only when the session ends, and then its socket becomes readable."""
        return (self.is_alone and not self.connection.closed and not has_news(self.connection)) or self.is_held()

    def row(self, questions: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Select expressions in the same query that checks the lock; None when this run does not hold the lock any more.

        Args:
            questions: SQL expressions, separated by commas.
            parameters: for their placeholders.

        Raises:
            psycopg2.Error: the query failed.
        """
        doing = "asking whether the lock is still ours"
        return self.patience.run(self.connection, doing, self._ask, questions, parameters)

    def _ask(self, questions: str, parameters: Sequence[Any]) -> tuple[Any, ...] | None:
        with self.connection.cursor() as cursor:
            if self.is_alone and parameters:
                cursor.execute(self._planned(cursor, questions, parameters))
            else:
                is_held, of_lock = self._held
                cursor.execute(f"SELECT {is_held}, {questions}", (*of_lock, *parameters))
            held, *answers = cursor.fetchone()
        return tuple(answers) if held else None

    def _planned(self, cursor: Any, questions: str, texts: Sequence[str]) -> bytes:
        """Return the message that runs the query as a prepared statement, and prepare it the first time.

        It is sent before each migration, and planning it would take longer than running it. Without a pooler the session keeps what was
        prepared.
        """
        name = self._plans.get(questions)
        if name is None:
            name = f"migrate_graph_{len(self._plans) + 1}"
            numbers = count(1)
            asked = f"{cursor.mogrify(*self._held).decode()}, {questions}"
            numbered = _PLACE.sub(lambda found: f"${next(numbers)}" if found[0] == "%s" else "%", asked)
            cursor.execute(f"PREPARE {name} ({', '.join(['pg_catalog.text'] * len(texts))}) AS SELECT {numbered}")
            self._plans[questions] = name
        message: bytes = cursor.mogrify(f"EXECUTE {name} ({', '.join(['%s'] * len(texts))})", texts)
        return message

    @property
    def _held(self) -> tuple[str, tuple[Any, ...]]:
        """An SQL expression that is true while this run holds the lock, with its parameters.

        A session that has taken the lock twice gives it back once and takes it again: that costs a tenth of a query on pg_locks. Behind
        a pooler a transaction holds the lock, and it cannot give it back.
        """
        if self.is_twice:
            once = "CASE WHEN pg_catalog.pg_advisory_unlock(%s, %s) THEN pg_catalog.pg_try_advisory_lock(%s, %s) ELSE false END"
            return once, (RUN_CLASS, self.key) * 2
        looked_up = (
            f"EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = pg_catalog.pg_backend_pid() AND {ADVISORY} "
            "AND l.classid = CAST(%s AS pg_catalog.oid) AND l.objid = CAST(%s AS pg_catalog.oid))"
        )
        return looked_up, (str(RUN_CLASS), str(self.key % 2**32))

    def give_back(self) -> bool:
        """Release the lock; return whether this run held it until now."""
        once = "pg_catalog.pg_advisory_unlock(%s, %s)"
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {once} AND {once}", (RUN_CLASS, self.key) * 2)
            return bool(cursor.fetchone()[0])


def has_news(connection: Any) -> bool:
    """Return whether the server has sent something that was not read yet.

    On a connection that waits for no answer that is usually the notice that the server ends it.
    """
    try:
        return bool(select.select([connection], [], [], 0)[0])
    except (OSError, ValueError, psycopg2.Error):  # the descriptor is too high for select(), or closed
        return True
