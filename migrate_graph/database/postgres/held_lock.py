"""The run's lock while it is held: whether it still is, as the server says."""

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

from migrate_graph.database.postgres.patience import Patience
from migrate_graph.errors import DatabaseUnreachable

# Three families of advisory locks ("mg" and its neighbours): the run's, the one that lives with the work, which those who work
# side by side share, and the one that each of these has for itself.
RUN_CLASS = 0x6D67
WORK_CLASS = 0x6D68
SEAT_CLASS = 0x6D69

ADVISORY = (
    "l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.database = "
    "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
)
"""Condition: `l`, a row of pg_locks, is an advisory lock of this database that is held."""

_PLACE = re.compile("%[%s]")


@lru_cache(maxsize=16)
def lock_key(schema: str, ledger: str) -> int:
    """Return the second half of the keys of all locks of those whose ledger is this table."""
    digest = hashlib.sha256(f"{schema}\0{ledger}".encode()).digest()
    return int.from_bytes(digest[:4], "big", signed=True)


class HeldLock(Struct):
    """See `database.Lock`. The connection is the one that took the lock: after a reconnection the keeper is another.

    The server is asked, not the driver: somebody may have reset the session, or a pooler given us another one.

    Attributes:
        connection: that holds it.
        key: second half of its keys.
        patience: waits where a call may block.
        is_twice: its session holds it two times.
        is_alone: nothing stands between us and its session.
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
        """See `database.Lock`. A session that nobody else can have loses a lock only when it ends, and then its socket says something."""
        return (self.is_alone and not self.connection.closed and not has_news(self.connection)) or self.is_held()

    def row(self, questions: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Return the answers to questions that are asked together with whether the lock is ours; None when it is not.

        Args:
            questions: to be selected.
            parameters: of theirs.

        Raises:
            psycopg2.Error: there was no answer.
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
        """Return how to ask what is asked before each migration, with texts as parameters: planning it takes longer than answering.

        A session that nobody else can have forgets no plan.
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
        """What to select to learn whether it is held, with its parameters.

        A session that holds it twice gives one back and takes it again: that costs a tenth of a look at all the server's locks.
        A transaction, behind a pooler, cannot give back what it holds.
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
        """Release it; return whether it was ours until now."""
        once = "pg_catalog.pg_advisory_unlock(%s, %s)"
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {once} AND {once}", (RUN_CLASS, self.key) * 2)
            return bool(cursor.fetchone()[0])


def has_news(connection: Any) -> bool:
    """Return whether the server has said something that nobody has read: on a connection that waits for no answer, that it ends, mostly."""
    try:
        return bool(select.select([connection], [], [], 0)[0])
    except (OSError, ValueError, psycopg2.Error):  # a descriptor too high for this call, or closed
        return True
