"""PostgreSQL: connections, the advisory lock, cancelling, and what is checked before anything runs."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg

from migrate_graph.core.events import Connecting, LockAcquired, LockHolder, LockWaiting, Observer, Warned, ignore_events
from migrate_graph.database.bookkeeping import Bookkeeping
from migrate_graph.database.ledger import POSTGRES, AttemptKey, Ledger, TableNames
from migrate_graph.database.postgres_work import PostgresWork, WorkConnection
from migrate_graph.database.trouble import Trouble, TroubleKind
from migrate_graph.database.view_ledger import ViewLedger
from migrate_graph.errors import ConfigError, DatabaseRefused, DatabaseUnreachable, LockTimeout
from migrate_graph.interruption import Interruption
from migrate_graph.redaction import redact, redact_uri

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.dump import VerifiedDump

# Two families of advisory locks ("mg" and its neighbour): the run's, and the one that lives with the work.
_RUN_CLASS = 0x6D67
_WORK_CLASS = 0x6D68

_TELL_EVERY = 10.0

# libpq gives no SQLSTATE for a failed connection. These are worth waiting for; a wrong password (28P01), a missing database
# (3D000) or a bad URI is not: edwh-migrate retried those for ten minutes.
_TRANSIENT = re.compile(
    r"refused|timeout|timed out|could not translate|name or service|name resolution|starting up|shutting down|recovery mode|"
    r"not yet accepting|too many|remaining connection slots|closed the connection|reset by peer|no such file|unreachable|"
    r"administrator command|no route|broken pipe",
    re.IGNORECASE,
)
_RETRIABLE = {"55P03", "40P01", "40001"}  # lock_not_available, deadlock_detected, serialization_failure


@dataclass
class _HeldLock:
    """See `database.Lock`."""

    ask: Callable[[], object]

    def is_held(self) -> bool:
        try:
            self.ask()
        except psycopg2.Error:
            return False
        return True


class PostgresBackend(Bookkeeping):
    """See `database.Backend`. One connection, the keeper, holds the lock and keeps the books; it is in autocommit, never idle in a transaction."""

    kind = "postgres"

    def __init__(self, settings: Settings, *, writing: bool) -> None:
        self._settings = settings
        self._writing = writing
        self.label = redact_uri(settings.uri)
        self._dsn = _dsn(settings.uri)
        self.secrets = tuple(filter(None, [self._dsn.get("password")]))
        self._keeper: Any = None
        self._pooled = False
        self._ledger = Ledger(TableNames.of(settings.table, POSTGRES), self._execute)
        digest = hashlib.sha256(f"{settings.schema or ''}\0{settings.table}".encode()).digest()
        self._key = int.from_bytes(digest[:4], "big", signed=True)

    # -- connections ----------------------------------------------------------------------------------------------------------

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        started = time.monotonic()
        told = started - _TELL_EVERY
        while True:
            try:
                self._keeper = self._open("keeper", pg.connection)
                break
            except psycopg2.Error as error:
                waited = time.monotonic() - started
                reason = self.explain(error).message
                if not _TRANSIENT.search(str(error)):
                    raise DatabaseUnreachable(
                        f"cannot connect to {self.label}: {reason}", hint=_connect_hint(str(error))
                    ) from None
                if waited >= self._settings.connect_wait:
                    raise DatabaseUnreachable(
                        f"{self.label} did not answer within {self._settings.connect_wait:.0f} s: {reason}",
                        hint="is the server running, and are host and port right? connect_wait sets how long to try",
                    ) from None
                if time.monotonic() - told >= _TELL_EVERY:
                    told = time.monotonic()
                    observer(Connecting(waited, reason))
            interruption.sleep(min(1.0, max(0.05, self._settings.connect_wait - waited)))
        self._pooled = self._keeper.info.backend_pid != self._one("SELECT pg_backend_pid()")
        self._resolve_schema()

    def _open(self, role: str, factory: Callable[..., Any]) -> Any:
        arguments: dict[str, Any] = {
            "connect_timeout": 10,
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            **self._dsn,
            "application_name": _application_name(f"migrate_graph:{role}"),
        }
        connection = psycopg2.connect(connection_factory=factory, **arguments)
        connection.autocommit = True
        session = self._session(connection, role)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(session)), list(chain.from_iterable(session))
            )
        return connection

    def _session(self, connection: Any, role: str) -> list[tuple[str, str]]:
        """List the settings of a session of ours."""
        version = connection.info.server_version
        settings = [("idle_in_transaction_session_timeout", "0"), ("client_encoding", "UTF8")]
        if version >= 140000:
            settings.append(("idle_session_timeout", "0"))
        if self._settings.schema:
            names = [pg.quote_ident(name.strip(), connection) for name in self._settings.schema.split(",")]
            settings.append(("search_path", ", ".join(names)))
        if role != "keeper":
            settings.append(("lock_timeout", f"{self._settings.lock_timeout * 1000:.0f}"))
            if self._settings.statement_timeout:
                settings.append(("statement_timeout", f"{self._settings.statement_timeout * 1000:.0f}"))
            if version >= 140000:
                settings.append(("client_connection_check_interval", "1000"))
        return settings

    def _resolve_schema(self) -> None:
        """Find where the tables are, or would be made, so that no later change of search_path can hide them."""
        names = TableNames.of(self._settings.table, POSTGRES)
        if not names.schema:
            found = self._one(
                "SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE c.oid = to_regclass(%s)), current_schema())",
                (names.quoted(names.ledger).replace("%%", "%"),),
            )
            self._ledger = Ledger(replace(names, schema=found or ""), self._execute)

    def _revive(self) -> None:
        try:
            self._execute("SELECT true")
        except psycopg2.Error:
            with suppress(psycopg2.Error):
                self._keeper.close()
            self.connect(observer=ignore_events, interruption=Interruption())

    def _alive_keeper(self) -> Any:
        """Give the keeper, reconnected if the server cut it; the lock is not taken again by this."""
        if self._keeper is None or self._keeper.closed:
            self._keeper = self._open("keeper", pg.connection)
        return self._keeper

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._alive_keeper().cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall()) if cursor.description else []
        except pg.TransactionRollbackError:
            raise
        except psycopg2.errors.InsufficientPrivilege as error:
            raise DatabaseRefused(
                f"not permitted on {self.label}: {self.explain(error).message}",
                hint="grant the role the rights it lacks",
            ) from None

    def _one(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        return self._execute(statement, parameters)[0][0]

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Make several statements of the keeper one transaction."""
        self._execute("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(psycopg2.Error):
                self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    def close(self) -> None:
        if self._keeper is not None:
            with suppress(psycopg2.Error):
                self._keeper.close()
            self._keeper = None

    # -- the lock -------------------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, wait: float, observer: Observer, interruption: Interruption | None = None) -> Iterator[_HeldLock]:
        interruption = interruption or Interruption()
        with self._lock_connection() as (ask, release):
            waited = self._wait(
                lambda: bool(ask(self._try_lock, (_RUN_CLASS, self._key))), wait, observer, interruption
            )
            if not self._pooled:
                # After a kill -9 the server may still execute the dead client's statement; its lock goes when that ends.
                waited += self._wait(self._work_is_over, wait, observer, interruption)
            observer(LockAcquired(waited))
            try:
                yield _HeldLock(lambda: ask("SELECT true", ()))
            finally:
                release(observer)

    @property
    def _try_lock(self) -> str:
        kind = "xact_" if self._pooled else ""
        return f"SELECT pg_try_advisory_{kind}lock(%s, %s)"

    @contextmanager
    def _lock_connection(self) -> Iterator[tuple[Callable[..., Any], Callable[[Observer], None]]]:
        """Give what asks on the connection that holds the lock, and what releases it.

        Behind a pooler in transaction mode a session's lock belongs to whoever gets the server connection next (two clients both got
        it); there one open transaction holds it, on a connection of its own.
        """
        if not self._pooled:
            keeper = self._keeper

            def ask(statement: str, parameters: Sequence[Any]) -> Any:
                with keeper.cursor() as cursor:
                    cursor.execute(statement, parameters)
                    return cursor.fetchone()[0]

            yield ask, lambda observer: _unlock(ask, (_RUN_CLASS, self._key), observer)
            return
        holder = self._open("lock", pg.connection)
        holder.autocommit = False
        try:

            def ask_inside(statement: str, parameters: Sequence[Any]) -> Any:
                with holder.cursor() as cursor:
                    cursor.execute(statement, parameters)
                    return cursor.fetchone()[0]

            yield ask_inside, lambda _observer: None
        finally:
            holder.close()

    def _wait(self, taken: Callable[[], bool], limit: float, observer: Observer, interruption: Interruption) -> float:
        """Poll; a blocking call would hold a snapshot and stall a CREATE INDEX CONCURRENTLY of the winner."""
        started = time.monotonic()
        told = started - _TELL_EVERY
        while not taken():
            waited = time.monotonic() - started
            holder = self.lock_holder()
            if waited >= limit:
                raise LockTimeout(
                    f"gave up waiting for the lock on {self.label} after {waited:.0f} s"
                    + (f"; it is held by {holder}" if holder else ""),
                    hint="wait for the other run to end, or raise --lock-timeout",
                )
            if time.monotonic() - told >= _TELL_EVERY:
                told = time.monotonic()
                observer(LockWaiting(waited, limit, holder))
            interruption.sleep(min(random.uniform(0.5, 2.0), max(0.05, limit - waited)))  # noqa: S311 - jitter, no secret
        waited = time.monotonic() - started
        return waited if told > started else 0.0

    def _work_is_over(self) -> bool:
        if not self._one("SELECT pg_try_advisory_lock(%s, %s)", (_WORK_CLASS, self._key)):
            return False
        self._execute("SELECT pg_advisory_unlock(%s, %s)", (_WORK_CLASS, self._key))
        return True

    def lock_holder(self) -> LockHolder | None:
        rows = self._execute(
            "SELECT a.pid, a.application_name, coalesce(host(a.client_addr), ''), to_char(a.backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') "
            "FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND l.classid IN (%s::bigint::oid, %s::bigint::oid) AND l.objid = %s::bigint::oid AND l.objsubid = 2 ORDER BY l.classid LIMIT 1",
            (_RUN_CLASS, _WORK_CLASS, self._key % 2**32),
        )
        if not rows or rows[0][0] is None:
            return None
        pid, application, client, since = rows[0]
        return LockHolder(pid, redact(application or "", *self.secrets), client, since or "")

    # -- state ----------------------------------------------------------------------------------------------------------------

    def _present(self) -> set[str]:
        names = self._ledger.names
        rows = self._execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind IN ('r', 'p', 'v', 'f')",
            (names.schema, list(names.all)),
        )
        return {name for (name,) in rows}

    def user_relations(self) -> list[str]:
        rows = self._execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') "
            "AND n.nspname !~ '^pg_(toast|temp)' AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass "
            "AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
        )
        return [name for (name,) in rows]

    def _address(self) -> str:
        database = self._one(
            "SELECT current_database() || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return f"{self._dsn.get('host', '')}\0{database}"

    def restore(self, dump: VerifiedDump, *, observer: Observer) -> None:
        from migrate_graph.database.restore import restore_postgres

        restore_postgres(dump, self._dsn, schema=self._settings.schema, table=self._settings.table, observer=observer)
        self._resolve_schema()

    def prepare(self) -> None:
        names = self._ledger.names
        missing = set(names.all) - self._present()
        if not missing:
            return
        if not names.schema:
            raise DatabaseRefused(
                f"schema {self._settings.schema!r} does not exist in {self.label}",
                hint=f"CREATE SCHEMA {self._settings.schema}; or set `schema`",
            )
        try:
            with self._together():
                self._ledger.create(missing)
                if names.views in missing:
                    ViewLedger(names, self._execute).create()
        except psycopg2.Error as error:
            raise DatabaseRefused(
                f"cannot create the tool's tables in {self.label}: {self.explain(error).message}",
                hint="is the server read-only (a standby)? may this role create tables in the schema?",
            ) from None

    def preflight(self, names: Sequence[str]) -> None:
        tables = self._ledger.names
        facts = self._execute(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool, "
            "(SELECT bool_and(has_table_privilege(t, 'SELECT') AND has_table_privilege(t, 'INSERT') AND has_table_privilege(t, 'UPDATE')) "
            "FROM unnest(%s::text[]) t), "
            "(SELECT CASE WHEN a.atttypmod > 4 THEN a.atttypmod - 4 END FROM pg_attribute a "
            "WHERE a.attrelid = to_regclass(%s) AND a.attname = 'name' AND NOT a.attisdropped)",
            (
                [tables.quoted(name).replace("%%", "%") for name in tables.all],
                tables.quoted(tables.ledger).replace("%%", "%"),
            ),
        )[0]
        read_only, permitted, width = facts
        faults = _preflight_faults(
            read_only=read_only,
            permitted=permitted,
            width=width,
            names=names,
            duplicates=self._ledger.duplicates(),
            table=tables.ledger,
        )
        if faults:
            raise DatabaseRefused(
                f"{self.label} cannot record migrations: " + "; ".join(faults),
                hint="nothing was run; mend this and run again",
            )

    # -- work -----------------------------------------------------------------------------------------------------------------

    def work(self, migration: Migration, key: AttemptKey) -> PostgresWork:
        def connect() -> WorkConnection:
            connection: WorkConnection = self._open(migration.name, WorkConnection)
            if not self._pooled:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (_WORK_CLASS, self._key))
            connection.autocommit = False
            return connection

        return PostgresWork(self._settings, migration, key, self._ledger, connect=connect, prologue=self._prologue())

    def _prologue(self) -> tuple[str, list[Any]]:
        """Give what stands before every marker: the work's lock once more, which no `pg_advisory_unlock_all()` can free.

        Behind a pooler the session's settings are another client's a moment later, so they are set for the transaction.
        """
        parts = ["pg_try_advisory_xact_lock(%s, %s)"]
        parameters: list[Any] = [_WORK_CLASS, self._key]
        for pair in self._session(self._alive_keeper(), "work") if self._pooled else ():
            parts.append("set_config(%s, %s, true)")
            parameters += pair
        return f"SELECT {', '.join(parts)}", parameters

    # -- trouble --------------------------------------------------------------------------------------------------------------

    def explain(self, error: BaseException) -> Trouble:
        """Say what an exception of a migration means; also for exceptions that are none of the driver's."""
        message = redact(str(error).strip().partition("\n")[0] or type(error).__name__, *self.secrets)
        if not isinstance(error, psycopg2.Error):
            return Trouble(TroubleKind.OTHER, message)
        code = error.pgcode or ""
        if code in _RETRIABLE:
            return Trouble(TroubleKind.RETRY, message)
        if code.startswith(("57P", "08")) or (
            not code and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
        ):
            return Trouble(TroubleKind.LOST, message)
        return Trouble(TroubleKind.OTHER, message)

    def waiting_for(self, work: PostgresWork) -> str:
        """Say what the running statement waits for; empty when it does not wait."""
        rows = self._execute(
            "SELECT b.pid, b.application_name, coalesce(b.state, ''), left(regexp_replace(coalesce(b.query, ''), '\\s+', ' ', 'g'), 120) "
            "FROM unnest(pg_blocking_pids(%s)) p JOIN pg_stat_activity b ON b.pid = p ORDER BY b.xact_start NULLS LAST LIMIT 1",
            (work.pid,),
        )
        if not rows:
            return ""
        pid, application, state, query = rows[0]
        return redact(
            f"waiting for a lock held by pid {pid} ({application or 'no name'}, {state}): {query}", *self.secrets
        )


def _unlock(ask: Callable[..., Any], key: tuple[int, int], observer: Observer) -> None:
    try:
        if not ask("SELECT pg_advisory_unlock(%s, %s)", key):
            observer(
                Warned(
                    "the lock was not ours any more when it was released",
                    "was the run's server session reset by somebody?",
                )
            )
    except psycopg2.Error:
        ignore_events(Warned("the lock's connection is gone, and the lock with it"))


def _dsn(uri: str) -> dict[str, str]:
    """Parse the URI with libpq's own parser (it percent-decodes); `postgres:psycopg2://` and `?unix_socket=` are pyDAL's."""
    scheme, _, rest = uri.partition("://")
    rest = re.sub(r"([?&])unix_socket=", r"\1host=", rest)
    try:
        parsed: dict[str, str] = pg.parse_dsn(f"postgresql://{rest}")
    except psycopg2.ProgrammingError as error:
        raise ConfigError(
            f"migrate_uri cannot be read: {redact(str(error).strip(), *re.findall(r':([^:@/]+)@', rest))}",
            hint=f"use {scheme}://user:password@host:port/database; percent-encode @ : / in the password",
        ) from None
    return parsed


def _application_name(name: str) -> str:
    """Cut to what PostgreSQL keeps: 63 bytes, not characters."""
    return name.encode()[:63].decode(errors="ignore")


def _connect_hint(message: str) -> str:
    if "password" in message:
        return "check user and password in migrate_uri (percent-encode @ : / in the password)"
    if "does not exist" in message:
        return "check the name in migrate_uri; the database and the role must exist"
    return "check migrate_uri"


def _preflight_faults(
    *,
    read_only: bool | None,
    permitted: bool | None,
    width: int | None,
    names: Sequence[str],
    duplicates: Sequence[str],
    table: str,
) -> list[str]:
    """Put what preflight found into words."""
    faults = []
    if read_only:
        faults.append("the server is read-only (a standby, or default_transaction_read_only)")
    if permitted is False:
        faults.append(f"this role lacks SELECT, INSERT or UPDATE on {table} and its companions")
    faults += [
        f"the name of {name!r} is longer than the {width} characters of {table}.name"
        for name in names
        if width and len(name) > width
    ]
    faults += [f"{table} has more than one row for {name!r}" for name in duplicates]
    return faults
