"""Which runs work on a database: the sessions that hold their locks, what they wait for, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import LockHolder
from migrate_graph.database.postgres.session.held_lock import ADVISORY, RUN_CLASS, WORK_CLASS
from migrate_graph.quoting import quote_text
from migrate_graph.redaction import redact

_PREPARED = (
    "SELECT x.gid, x.owner, x.prepared FROM pg_catalog.pg_locks t JOIN pg_catalog.pg_prepared_xacts x ON x.transaction = t.transactionid "
    "WHERE t.locktype = 'transactionid' AND t.pid IS NULL AND t.virtualtransaction = {lock}.virtualtransaction"
)
"""SQL: the prepared transaction that holds a lock; each of them also holds the lock on its own number, and has no session."""

_SAME_LOCK = " AND ".join(
    f"h.{column} IS NOT DISTINCT FROM l.{column}"
    for column in (
        "locktype",
        "database",
        "relation",
        "page",
        "tuple",
        "virtualxid",
        "transactionid",
        "classid",
        "objid",
        "objsubid",
    )
)

BLOCKERS = f"""SELECT b.pid, b.role, b.application, coalesce(b.state, ''), pg_catalog.to_char(b.since, 'YYYY-MM-DD HH24:MI:SS TZ')
    FROM pg_catalog.pg_stat_activity w CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) p
    CROSS JOIN LATERAL (
        SELECT s.pid, s.usename AS role, s.application_name AS application, s.state, coalesce(s.xact_start, s.backend_start) AS since, s.xact_start
        FROM pg_catalog.pg_stat_activity s WHERE s.pid = p
        UNION ALL
        SELECT 0, x.owner, x.gid, '', x.prepared, x.prepared
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_locks h ON h.pid IS NULL AND h.granted AND {_SAME_LOCK}
        CROSS JOIN LATERAL ({_PREPARED.format(lock="h")}) x
        WHERE p = 0 AND l.pid = w.pid AND NOT l.granted
    ) b"""
"""SQL: the sessions (0: prepared transactions, which have none) that block sessions `w`; a condition on `w` must be appended. Their
statements are not read: those are private."""

FIRST_BLOCKER = f"{BLOCKERS} WHERE w.pid = %s ORDER BY b.xact_start NULLS LAST LIMIT 1"
"""SQL: of the sessions that block one session, the one with the oldest transaction."""

_WAITING = (
    "SELECT w.pid, w.usename, w.application_name, coalesce(w.state, ''), pg_catalog.to_char(w.query_start, 'YYYY-MM-DD HH24:MI:SS TZ') "
    "FROM pg_catalog.pg_stat_activity w CROSS JOIN LATERAL pg_catalog.unnest(CASE w.wait_event_type WHEN 'Lock' "
    "THEN pg_catalog.pg_blocking_pids(w.pid) END) p JOIN pg_catalog.pg_stat_activity u ON u.pid = p"
)
"""SQL: the sessions that wait for a lock of sessions `u`; a condition on `u` must be appended."""

_HOLDS = f"{ADVISORY} AND l.classid = CAST(%s AS pg_catalog.oid) AND l.objid = CAST(%s AS pg_catalog.oid)"
"""SQL condition: `l`, a row of pg_locks, is the advisory lock with these two keys; see `_as_numbers`."""

_HOLDERS = (
    "SELECT coalesce(a.pid, 0), coalesce(a.usename, x.owner), coalesce(a.application_name, x.gid), coalesce(pg_catalog.host(a.client_addr), ''), "
    "pg_catalog.to_char(coalesce(a.backend_start, x.prepared), 'YYYY-MM-DD HH24:MI:SS TZ') "
    "FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid "
    f"LEFT JOIN LATERAL ({_PREPARED.format(lock='l')} AND l.pid IS NULL) x ON true WHERE {_HOLDS} "
    "AND coalesce(a.pid, 0) <> ALL (CAST(%s AS pg_catalog.int4[])) AND (a.pid IS NOT NULL OR x.gid IS NOT NULL) "
    "GROUP BY a.pid, a.usename, a.application_name, a.client_addr, a.backend_start, x.owner, x.gid, x.prepared ORDER BY a.backend_start"
)


class AtWork(Struct, frozen=True):
    """Finds out, through the keeper, which runs work on the database.

    Attributes:
        execute: runs a statement on the keeper.
        own: numbers of this run's own server processes, which are left out.
        secrets: texts that are redacted in what is returned.
    """

    execute: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
    own: Collection[int]
    secrets: tuple[str, ...]

    __repr__ = object.__repr__  # a traceback with values shows it, and it holds secrets

    def run(self, key: int) -> LockHolder | None:
        """Return the session that holds the lock of a run, with the migrations that the run works on; None when there is none.

        Args:
            key: second key of the lock.
        """
        workers = self._holders(WORK_CLASS, key)
        holder = self.holder(RUN_CLASS, key) or next(iter(workers), None)
        if holder is None or not workers:
            return holder
        migration, *beside = (each.application.partition("migrate_graph:")[2] for each in workers)
        held_up = next(filter(None, map(self._held_up, workers)), "")
        return replace(holder, migration=migration, beside=tuple(beside), held_up=held_up)

    def holder(self, kind: int, key: int) -> LockHolder | None:
        """Return the session that holds a lock; of several that share it, the oldest. Sessions of this run are left out.

        A prepared transaction has no session: its pid is 0.
        """
        return next(iter(self._holders(kind, key)), None)

    def _holders(self, kind: int, key: int) -> list[LockHolder]:
        rows = self.execute(_HOLDERS, (*_as_numbers(kind, key), list(self.own)))
        return [
            LockHolder(pid, redact(application or "", *self.secrets), client, since or "", role or "")
            for pid, role, application, client, since in rows
        ]

    def _held_up(self, worker: LockHolder) -> str:
        """Return what a migration's session waits for; empty when no session blocks it."""
        rows = self.execute(FIRST_BLOCKER, (worker.pid,))
        return blocked_by(rows[0], self.secrets) if rows else ""

    def held_up(self, kind: int, key: int) -> str:
        """Return what the holder of a lock waits for, or which session waits for the holder; empty when none does.

        In the second case the holder is idle in its transaction. The waiting session may be a connection that the migration has opened
        itself, and for whose answer it waits.
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


def how_to_end(holder: LockHolder) -> str:
    """Return the statement that ends the holder of a lock."""
    if holder.pid:
        return f"SELECT pg_terminate_backend({holder.pid})"
    return f"ROLLBACK PREPARED {quote_text(holder.application)}"


def blocked_by(row: tuple[Any, ...], secrets: tuple[str, ...]) -> str:
    """Return in words which session blocks another one.

    Args:
        row: of `BLOCKERS`.
        secrets: texts to redact.
    """
    return redact(f"waiting for a lock held by {_session(row)}", *secrets)


def _waited_for_by(row: tuple[Any, ...], secrets: tuple[str, ...]) -> str:
    told = f"at work outside of the database, while {_session(row)} waits for a lock that it holds"
    return redact(f"{told}; if that is a connection of its own, let db do its work", *secrets)


def _session(row: tuple[Any, ...]) -> str:
    pid, role, application, state, since = row
    if not pid:
        return f"the prepared transaction {application!r} (role {role}, since {since}), which COMMIT PREPARED or ROLLBACK PREPARED ends"
    # Of another role's session the server may show only the process and the role.
    said = (f"role {role}" if role else "", application, state, f"since {since}" if since else "")
    known = ", ".join(filter(None, said))
    return f"pid {pid} ({known})" if known else f"pid {pid}"


def _as_numbers(kind: int, key: int) -> tuple[str, str]:
    """Return the keys of a lock as `pg_locks` shows them."""
    return str(kind), str(key % 2**32)
