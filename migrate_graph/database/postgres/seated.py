"""The backend of a process that works under the lock of a run that another process holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg2
from msgspec import Struct

from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.postgres.session.connection import INTRANS, WorkConnection
from migrate_graph.database.postgres.session.held_lock import RUN_CLASS, SEAT_CLASS, WORK_CLASS
from migrate_graph.database.postgres.session.statements import Kind
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer
    from migrate_graph.database import Settings
    from migrate_graph.signals import Interruption

# Operators and functions with their schema: it is also run in a session whose search_path the body may have changed.
_HOLDS = (
    "EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid OPERATOR(pg_catalog.=) %s AND l.locktype OPERATOR(pg_catalog.=) 'advisory' "
    "AND l.granted AND l.objsubid OPERATOR(pg_catalog.=) 2 AND l.classid OPERATOR(pg_catalog.=) CAST(%s AS pg_catalog.oid) "
    "AND l.objid OPERATOR(pg_catalog.=) CAST(%s AS pg_catalog.oid) AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid "
    "FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) "
    "AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid OPERATOR(pg_catalog.=) %s "
    "AND CAST(CAST(EXTRACT(EPOCH FROM a.backend_start) AS pg_catalog.numeric) AS pg_catalog.text) OPERATOR(pg_catalog.=) %s)"
)


class Seat(Struct, frozen=True):
    """What another process needs to know to work under the lock of a run.

    Attributes:
        holder: number of the server process whose session holds the lock.
        since: when that session began; a later session may get the same number.
        key: second key of the lock.
        number: second key of the lock that only the sessions of this process hold (`SEAT_CLASS`).
    """

    holder: int
    since: str
    key: int
    number: int

    @classmethod
    def of(cls, lock: Any, name: str) -> Seat:
        """Return the seat of one process, under a lock that this run holds.

        Args:
            lock: a `HeldLock`.
            name: a name that no other process uses, also in other runs.
        """
        question = (
            "CAST(pg_catalog.pg_backend_pid() AS pg_catalog.text), (SELECT CAST(CAST(EXTRACT(EPOCH FROM a.backend_start) "
            "AS pg_catalog.numeric) AS pg_catalog.text) FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_catalog.pg_backend_pid())"
        )
        row = lock.row(question)
        if row is None:
            raise DatabaseUnreachable("the lock of the run was lost", hint="run migrate apply again")
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)
        return cls(int(row[0]), row[1], lock.key, number)

    @property
    def holds(self) -> tuple[str, tuple[Any, ...]]:
        """An SQL expression that is true while the run holds its lock, with its parameters."""
        return _HOLDS, (self.holder, str(RUN_CLASS), str(self.key % 2**32), self.holder, self.since)


class SeatedConnection(WorkConnection):
    """The connection of an attempt, which refuses to commit when the run has lost its lock."""

    seat: Seat

    def _refuse(self, kind: Kind) -> None:
        super()._refuse(kind)
        if kind is Kind.COMMITS and self.info.transaction_status == INTRANS and not self._run_holds_lock():
            raise AttemptFailed(
                "the lock of this run is lost, so nothing more of it is committed", hint="run migrate apply again"
            )

    def _run_holds_lock(self) -> bool:
        holds, parameters = self.seat.holds
        with self._unmarked() as cursor:
            cursor.execute(f"SELECT {holds}", parameters)
            return bool(cursor.fetchone()[0])


class LockOfTheRun:
    """See `database.Lock`: asks the server whether the run's own session still holds it."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self.is_held = self.seems_held = ask


class SeatedBackend(PostgresBackend):
    """See `database.Backend`. It works beside other processes under one lock: all share the work's lock, and each has one of its own.

    Attributes:
        lock_of_run: tells whether the run, in another process, still holds its lock.
    """

    _tells_of_server = False  # the run has

    def __init__(self, settings: Settings, seat: Seat) -> None:
        super().__init__(settings, writing=True)
        self._seat = seat
        self.connection_class: type[WorkConnection] = type("SeatedConnection", (SeatedConnection,), {"seat": seat})
        self.lock_of_run = LockOfTheRun(self._run_holds_lock)

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:  # noqa: D102 - of `Connectable`
        super().connect(observer=observer, interruption=interruption)
        if self._lock_key() != self._seat.key:
            raise DatabaseRefused(
                f"a second session finds another table {self._settings.table} in {self.label} than the first one",
                hint="set `schema`, so that all sessions look in one place",
            )

    def _run_holds_lock(self) -> bool:
        holds, parameters = self._seat.holds
        return bool(self._one(f"SELECT {holds}", parameters))

    def _work_keys(self) -> tuple[int, int]:
        return SEAT_CLASS, self._seat.number

    def _keys_at_rest(self) -> None:
        """Return None: between two migrations the process may wait for long, and holds no lock meanwhile."""

    def _open_work(self, name: str) -> tuple[WorkConnection, bool]:
        connection, is_new = super()._open_work(name)
        try:
            with connection.cursor() as cursor:
                once, shared = (
                    "pg_catalog.pg_try_advisory_lock(%s, %s)",
                    "pg_catalog.pg_try_advisory_lock_shared(%s, %s)",
                )
                cursor.execute(f"SELECT {once} AND {shared}", (*self._work_keys(), WORK_CLASS, self._seat.key))
                is_ours = bool(cursor.fetchone()[0])
        except psycopg2.Error:
            connection.close()
            raise
        if not is_ours:
            connection.close()
            raise DatabaseUnreachable("another run is at work on this database", hint="the lock of this run was lost")
        return connection, is_new

    def _prologue(self) -> tuple[str, list[Any]]:
        """Return the query that is sent with every marker, and its parameters.

        Besides the process' own lock it takes the work's lock, shared, and checks whether the run still holds its lock.
        """
        parts, parameters = super()._prologue()
        holds, of_lock = self._seat.holds
        shared = f"pg_catalog.pg_try_advisory_xact_lock_shared(%s, %s) AND {holds} AND "
        return f"{shared}{parts}", [WORK_CLASS, self._seat.key, *of_lock, *parameters]
