"""Who is at work on a database: the sessions that hold the locks of a run, what they wait for, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import LockHolder
from migrate_graph.database.postgres.held_lock import ADVISORY, RUN_CLASS, WORK_CLASS
from migrate_graph.redaction import redact

BLOCKERS = (
    "SELECT b.pid, b.usename, b.application_name, coalesce(b.state, ''), pg_catalog.to_char(coalesce(b.xact_start, b.backend_start), "
    "'YYYY-MM-DD HH24:MI:SS TZ') FROM pg_catalog.pg_stat_activity w CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) p "
    "JOIN pg_catalog.pg_stat_activity b ON b.pid = p"
)
"""Who stands in the way of sessions `w`, whom a condition must follow; never what they run: that is theirs alone."""

FIRST_BLOCKER = f"{BLOCKERS} WHERE w.pid = %s ORDER BY b.xact_start NULLS LAST LIMIT 1"
"""Who has stood in the way of one session for the longest time."""

_WAITING = (
    "SELECT w.pid, w.usename, w.application_name, coalesce(w.state, ''), pg_catalog.to_char(w.query_start, 'YYYY-MM-DD HH24:MI:SS TZ') "
    "FROM pg_catalog.pg_stat_activity w CROSS JOIN LATERAL pg_catalog.unnest(CASE w.wait_event_type WHEN 'Lock' "
    "THEN pg_catalog.pg_blocking_pids(w.pid) END) p JOIN pg_catalog.pg_stat_activity u ON u.pid = p"
)
"""Who waits for a lock of sessions `u`, whom a condition must follow."""

_HOLDS = f"{ADVISORY} AND l.classid = CAST(%s AS pg_catalog.oid) AND l.objid = CAST(%s AS pg_catalog.oid)"
"""Condition: `l`, a row of pg_locks, is the advisory lock of two keys; see `_as_numbers`."""

_HOLDERS = (
    "SELECT a.pid, a.usename, a.application_name, coalesce(pg_catalog.host(a.client_addr), ''), "
    "pg_catalog.to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') "
    f"FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE {_HOLDS} "
    "AND l.pid <> ALL (CAST(%s AS pg_catalog.int4[])) GROUP BY a.pid, a.usename, a.application_name, a.client_addr, a.backend_start "
    "ORDER BY a.backend_start"
)


class AtWork(Struct, frozen=True):
    """Looks through the keeper who is at work.

    Attributes:
        execute: runs a statement on the keeper.
        own: server processes of this run, which are nobody to be waited for.
        secrets: are shown to nobody.
    """

    execute: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
    own: Collection[int]
    secrets: tuple[str, ...]

    __repr__ = object.__repr__  # a traceback with values shows it, and it holds secrets

    def run(self, key: int) -> LockHolder | None:
        """Return who holds the lock of a run, with what it is doing; None when nobody does.

        Args:
            key: second half of the keys of the lock.
        """
        workers = self._holders(WORK_CLASS, key)
        holder = self.holder(RUN_CLASS, key) or next(iter(workers), None)
        if holder is None or not workers:
            return holder
        migration, *beside = (each.application.partition("migrate_graph:")[2] for each in workers)
        held_up = next(filter(None, map(self._held_up, workers)), "")
        return replace(holder, migration=migration, beside=tuple(beside), held_up=held_up)

    def holder(self, kind: int, key: int) -> LockHolder | None:
        """Return who holds a lock, the first of those who share it; never a session of our own."""
        return next(iter(self._holders(kind, key)), None)

    def _holders(self, kind: int, key: int) -> list[LockHolder]:
        rows = self.execute(_HOLDERS, (*_as_numbers(kind, key), list(self.own)))
        return [
            LockHolder(pid, redact(application or "", *self.secrets), client, since or "", role or "")
            for pid, role, application, client, since in rows
            if pid is not None
        ]

    def _held_up(self, worker: LockHolder) -> str:
        """Return what a migration's session waits for; empty when nobody stands in its way."""
        rows = self.execute(FIRST_BLOCKER, (worker.pid,))
        return blocked_by(rows[0], self.secrets) if rows else ""

    def held_up(self, kind: int, key: int) -> str:
        """Return what the holder of a lock waits for, or who waits for it; empty when nobody does.

        Who waits may be whom the holder waits for: a connection that its migration has opened itself.
        """
        held = _as_numbers(kind, key)
        rows = self.execute(
            f"{BLOCKERS} JOIN pg_catalog.pg_locks l ON l.pid = w.pid WHERE {_HOLDS} ORDER BY b.xact_start NULLS LAST LIMIT 1",
            held,
        )
        if rows:
            return blocked_by(rows[0], self.secrets)
        rows = self.execute(
            f"{_WAITING} JOIN pg_catalog.pg_locks l ON l.pid = u.pid WHERE {_HOLDS} AND u.state = 'idle in transaction' "
            "ORDER BY w.query_start LIMIT 1",
            held,
        )
        return _waited_for_by(rows[0], self.secrets) if rows else ""


def blocked_by(row: tuple[Any, ...], secrets: tuple[str, ...]) -> str:
    """Return in words who stands in the way, by a row of `BLOCKERS`."""
    return redact(f"waiting for a lock held by {_session(row)}", *secrets)


def _waited_for_by(row: tuple[Any, ...], secrets: tuple[str, ...]) -> str:
    told = f"at work outside of the database, while {_session(row)} waits for a lock that it holds"
    return redact(f"{told}; if that is a connection of its own, let db do its work", *secrets)


def _session(row: tuple[Any, ...]) -> str:
    pid, role, application, state, since = row
    # Of another role's session the server tells its process and its role, and no more.
    said = (f"role {role}" if role else "", application, state, f"since {since}" if since else "")
    known = ", ".join(filter(None, said))
    return f"pid {pid} ({known})" if known else f"pid {pid}"


def _as_numbers(kind: int, key: int) -> tuple[str, str]:
    """Return the keys of a lock as `pg_locks` shows them."""
    return str(kind), str(key % 2**32)
