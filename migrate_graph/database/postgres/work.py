"""One attempt at one migration on PostgreSQL: a virgin session whose every transaction starts with the marker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg

from migrate_graph.core.model import TransactionMode
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource, define_ledger, discard, make_own_dal
from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.owner import Owner
from migrate_graph.database.postgres.catalog import PostgresCatalog
from migrate_graph.database.postgres.sessions import pydal_uri
from migrate_graph.database.savepoints import Savepoint
from migrate_graph.database.views.keeper import ViewKeeper

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey, Ledger


class WorkCursor(pg.cursor):
    """A cursor that lets its connection open the transaction with the marker."""

    connection: WorkConnection

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        self.connection.before_statement()
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        self.connection.before_statement()
        super().executemany(query, vars_list)

    def callproc(self, *arguments: Any) -> None:
        self.connection.before_statement()
        super().callproc(*arguments)

    def copy_expert(self, *arguments: Any, **options: Any) -> None:
        self.connection.before_statement()
        super().copy_expert(*arguments, **options)

    def copy_from(self, *arguments: Any, **options: Any) -> None:
        self.connection.before_statement()
        super().copy_from(*arguments, **options)

    def copy_to(self, *arguments: Any, **options: Any) -> None:
        self.connection.before_statement()
        super().copy_to(*arguments, **options)


class WorkConnection(pg.connection):
    """The driver connection of an attempt.

    The marker is sent lazily, before the first statement of a transaction, not right after a commit: between the two a migration
    may change autocommit or the isolation level, which PostgreSQL refuses inside a transaction.
    """

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.write_marker: Callable[[], None] | None = None
        self.owner: Owner | None = None
        self.got_lock = False
        self.single = False
        self.lost_work = False
        self._savepoint = Savepoint("migrate_graph", self._say)
        self._broke = False
        self._marking = False
        self._marked_durably = False

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        name, factory, *rest = (*arguments, None, None)[: max(2, len(arguments))]
        default: Any = self.cursor_factory
        chosen: Any = options.pop("cursor_factory", factory) or default or WorkCursor
        if not issubclass(chosen, WorkCursor):
            chosen = type(chosen.__name__, (WorkCursor, chosen), {})
        return super().cursor(options.pop("name", name), chosen, *rest, **options)

    def before_statement(self) -> None:
        """Send the marker if the next statement opens a transaction (or, in autocommit, if none is durable yet)."""
        if self.owner is not None:
            self.owner.check_process()
        if self.write_marker is None or self._marking or self.status != pg.STATUS_READY:
            return
        if self.autocommit and self._marked_durably:
            return
        self._marking = True
        try:
            self.write_marker()
            self._marked_durably = self._marked_durably or self.autocommit
            if self.single and not self.autocommit:
                self._savepoint.set()
        finally:
            self._marking = False

    def lobject(self, *arguments: Any, **options: Any) -> Any:
        self.before_statement()  # it opens a transaction by itself
        return super().lobject(*arguments, **options)

    def commit(self) -> None:
        if self._holds_savepoint():
            self._savepoint.keep()
            self._savepoint.set()
        else:
            super().commit()

    def rollback(self) -> None:
        if self._holds_savepoint():
            self._savepoint.undo()
        else:
            super().rollback()

    def close(self) -> None:
        self._broke = self.is_broken()
        self.lost_work = self.has_lost_work() or (not self.closed and self.status == pg.STATUS_BEGIN)
        super().close()

    def has_lost_work(self) -> bool:
        """Whether something the body did was rolled back, though the body may not have noticed."""
        return self.lost_work or self.is_broken()

    def is_broken(self) -> bool:
        """Whether the server, or the network, ended it, whatever the body did with it afterwards."""
        return self._broke or self.closed == 2  # psycopg2: 1 is closed, 2 is broken

    def really_commit(self) -> None:
        """Commit the transaction, whatever `transaction=` says."""
        super().commit()

    def really_rollback(self) -> None:
        """Roll the transaction back, whatever `transaction=` says."""
        super().rollback()

    def _holds_savepoint(self) -> bool:
        return self.single and self.write_marker is not None and self.status == pg.STATUS_BEGIN and not self.closed

    def _say(self, statement: str) -> None:
        with super().cursor() as cursor:
            cursor.execute(statement)


class PostgresWork:
    """See `database.Work`."""

    def __init__(
        self,
        settings: Settings,
        migration: Migration,
        key: AttemptKey,
        ledger: Ledger,
        *,
        connect: Callable[[], WorkConnection],
        prologue: tuple[str, list[Any]],
    ) -> None:
        self._mode = migration.transaction
        self._key = key
        self._connect = connect
        self._owner = Owner()
        self._prologue = prologue
        self._connection = connect()
        self._fresh: WorkConnection | None = self._connection
        self._started = False
        self._lost_work = False
        self._broke = False
        self._invalid_before: set[str] = set()
        self._ledger = ledger.on(self._execute)
        source = DalSource(pydal_uri(settings.uri), self._connector, while_made=True)
        self.db = make_own_dal(source, typedal=settings.typedal, folder=settings.folder)
        define_ledger(self.db, rname=ledger.names.quoted(ledger.names.ledger))
        self._connection.autocommit = False  # until now: pyDAL greets a connection with statements of its own
        catalog = PostgresCatalog(self._cursor)
        self.views = ViewKeeper(catalog, ViewLedger(ledger.names, catalog.run, locate=catalog.locate))

    def _connector(self, *_dsn: Any, **_options: Any) -> WorkConnection:
        """Return pyDAL its connection: the first time ours, after a `db.close()` a new one of the same attempt.

        pyDAL asks for one in every thread and process that uses the `DAL`.
        """
        self._owner.check()
        self._lost_work = self._lost_work or self._connection.has_lost_work()
        self._broke = self._broke or self._connection.is_broken()
        connection, self._fresh = self._fresh or self._connect(), None
        if self._started:
            connection.autocommit = self._mode is TransactionMode.NONE
            self._arm(connection)
        self._connection = connection
        return connection

    def _arm(self, connection: WorkConnection) -> None:
        connection.single = self._mode is TransactionMode.SINGLE
        connection.write_marker = self._write_marker
        connection.owner = self._owner

    def _write_marker(self) -> None:
        try:
            self._mark()
        except psycopg2.errors.InsufficientPrivilege:
            self._write_marker_as_ourselves()
        except psycopg2.errors.ReadOnlySqlTransaction:
            self._connection.really_rollback()  # nothing of a read-only transaction can become durable

    def _mark(self) -> None:
        ((is_ours, *_),) = self._execute(*self._prologue)
        if not is_ours:
            raise AttemptFailed("another run is at work on this database", hint="the lock of this run was lost")
        self._ledger.write_marker(self._key)

    def _write_marker_as_ourselves(self) -> None:
        """Write the marker in a session whose role the body has changed, and give the role back."""
        self._connection.really_rollback()
        ((role, user),) = self._execute("SELECT current_setting('role'), session_user::text", ())
        self._execute("RESET SESSION AUTHORIZATION; RESET ROLE", ())
        self._mark()
        self._execute(
            "SELECT set_config('session_authorization', %s, false), set_config('role', %s, false)", (user, role)
        )

    def _cursor(self) -> Any:
        return self._connection.cursor()

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def start(self) -> None:
        self._started = True
        self._arm(self._connection)
        if self._mode is TransactionMode.NONE:
            self._connection.autocommit = True
            self._invalid_before = self._invalid_indexes()
            self._connection.before_statement()  # durable before the body, so that a crash always asks

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        connection = self._connection
        connection.single = False
        self._execute(
            "RESET SESSION AUTHORIZATION; RESET ROLE", ()
        )  # the record is written as who we are, not as who the body became
        if not self._ledger.write_success(self._key, seconds=seconds):
            connection.really_rollback()
            raise AttemptFailed("its journal row is no longer this run's, so another run has taken over")
        guard()
        connection.really_commit()

    def check(self) -> None:
        connection = self._connection
        if self._owner.refused:
            raise AttemptFailed(
                f"db was used in {self._owner.refused}, which was refused, so that something of its work is missing"
            )
        if self._lost_work or connection.has_lost_work():
            raise AttemptFailed(
                "its connection was closed, or lost, with uncommitted work, which is rolled back",
                hint="let exceptions pass, and call db.commit() before closing the connection",
            )
        if connection.closed:
            if self._mode is TransactionMode.SINGLE:
                raise AttemptFailed(
                    "it closed its connection, so nothing of it was kept (transaction='single')",
                    hint="leave the connection open",
                )
            self._connector()
            connection = self._connection
        status = connection.info.transaction_status
        if status == pg.TRANSACTION_STATUS_INERROR:
            raise AttemptFailed(
                "it swallowed an SQL error: the transaction is aborted, so nothing of it was kept",
                hint="let the exception pass, or wrap the statement in a savepoint",
            )
        if connection.autocommit:
            connection.autocommit = False
        elif status == pg.TRANSACTION_STATUS_IDLE:
            connection.really_rollback()  # after a raw COMMIT psycopg2 still believes in a transaction, and would not open one

    def leftovers(self) -> list[str]:
        """Return what no rollback removes: the INVALID indexes that a failed CREATE INDEX CONCURRENTLY leaves."""
        if self._mode is not TransactionMode.NONE or self._connection.closed:
            return []
        return [
            f"index {name} is INVALID: DROP INDEX CONCURRENTLY {name}, then create it again"
            for name in sorted(self._invalid_indexes() - self._invalid_before)
        ]

    def _invalid_indexes(self) -> set[str]:
        return {
            name
            for (name,) in self._execute("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid", ())
        }

    def is_lost(self) -> bool:
        return self._broke or self._connection.is_broken()

    def close(self) -> None:
        self._connection.write_marker = None
        with contextlib.suppress(psycopg2.Error):
            if not self._connection.closed:
                self._connection.really_rollback()
        discard(self.db)
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    def cancel(self) -> None:
        self._connection.cancel()
