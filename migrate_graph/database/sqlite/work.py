"""One attempt at one migration on SQLite: explicit transactions that begin with the marker, so that DDL rolls back."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from migrate_graph.core.model import TransactionMode
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource, define_ledger, discard, make_own_dal
from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.owner import Owner
from migrate_graph.database.savepoints import Savepoint
from migrate_graph.database.sqlite.catalog import SqliteCatalog
from migrate_graph.database.views.keeper import ViewKeeper

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey, Ledger

_KEYWORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|;)*(\w*)", re.DOTALL)
_PRAGMA = re.compile(r"\bpragma\s+(?:\w+\s*\.\s*)?(\w+)\s*(?:[=(]\s*['\"]?(\w+))?", re.IGNORECASE)

# Refused or silently ignored inside a transaction, so they are sent without opening one.
_OUTSIDE_KEYWORDS = {"VACUUM", "ATTACH", "DETACH", "COMMIT", "END", "ROLLBACK"}
_OUTSIDE_PRAGMAS = {
    "foreign_keys",
    "journal_mode",
    "synchronous",
    "wal_checkpoint",
    "locking_mode",
    "page_size",
    "auto_vacuum",
}
_TRUE = {"1", "on", "true", "yes"}

# Not SQLITE_BUSY_SNAPSHOT: a transaction that has read what another has changed since can only begin again.
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}


class WorkCursor(sqlite3.Cursor):
    """A cursor that lets its connection open the transaction with the marker."""

    connection: WorkConnection

    def execute(self, sql: str, parameters: Any = (), /) -> WorkCursor:
        self.connection.before_statement(sql)
        if self.connection.swallows(sql):
            return self
        self.connection.patiently(partial(super().execute, sql, parameters))
        self.connection.after_statement(sql)
        return self

    def executemany(self, sql: str, parameters: Any, /) -> WorkCursor:
        self.connection.before_statement(sql)
        super().executemany(sql, parameters)
        return self

    def executescript(self, script: str, /) -> WorkCursor:
        # Python commits before a script: the marker is durable then, as before anything that commits by itself.
        self.connection.before_statement("")
        super().executescript(script)
        self.connection.after_script()
        return self


class WorkConnection(sqlite3.Connection):
    """The driver connection of an attempt; Python's own transaction control is off (`isolation_level=None`).

    Left to itself Python opens transactions only for INSERT, UPDATE, DELETE and REPLACE, so that DDL would be autocommitted.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.write_marker: Callable[[], None] | None = None
        self.owner: Owner | None = None
        self.mode = TransactionMode.OWN
        self.patience = 0.0
        self.lost_work = False
        self.is_closed = False
        self._savepoint = Savepoint("migrate_graph", self._say)
        self._open = False
        self._marking = False
        self._marked = False

    def cursor(self, factory: Any = WorkCursor) -> Any:
        if not issubclass(factory, WorkCursor):
            factory = WorkCursor if factory is sqlite3.Cursor else type(factory.__name__, (WorkCursor, factory), {})
        return super().cursor(factory)

    # These make a cursor in C, past the method above.

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        return self.cursor().executescript(script)

    def blobopen(self, *arguments: Any, **options: Any) -> Any:
        self.before_statement("")
        return super().blobopen(*arguments, **options)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> Literal[False]:
        if kind is None:
            self.commit()
        else:
            self.rollback()
        return False

    def patiently(self, call: Callable[[], object]) -> None:
        """Repeat while another program holds the database, up to `patience` seconds.

        SQLite waits in C, where no signal handler runs and nothing can interrupt it, so it is let wait a moment at a time.
        """
        deadline = time.monotonic() + self.patience
        while True:
            try:
                call()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in _BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def swallows(self, sql: str) -> bool:
        """Whether a statement is a BEGIN for a transaction that the marker has opened already."""
        return self._open and self.in_transaction and not self._marking and _keyword(sql) == "BEGIN"

    def before_statement(self, sql: str) -> None:
        """Open the transaction and send the marker, unless one is open or the statement wants none."""
        self._check_process()
        if self.write_marker is None or self._marking:
            return
        if self.in_transaction:
            self._refuse_ignored_pragma(sql)
            return
        if self._open:
            self.lost_work, self._open = True, False  # SQLite itself rolled back: disk full, out of memory, I/O error
        if _runs_outside(sql):
            return
        self._marking = True
        try:
            self._mark(sql)
        finally:
            self._marking = False

    def _mark(self, sql: str) -> None:
        if self.mode is TransactionMode.NONE:
            if not self._marked:
                self.write_marker()  # type: ignore[misc] # before_statement has asked
            self._marked = True
            return
        begin = sql if _keyword(sql) == "BEGIN" else "BEGIN IMMEDIATE"
        self.patiently(partial(super().cursor(sqlite3.Cursor).execute, begin))
        self._open = True
        self.write_marker()  # type: ignore[misc] # before_statement has asked
        if self.mode is TransactionMode.SINGLE:
            self._savepoint.set()

    def after_statement(self, sql: str) -> None:
        """Notice a raw COMMIT or ROLLBACK."""
        if _keyword(sql) in {"COMMIT", "END", "ROLLBACK"}:
            self._open = self.in_transaction

    def after_script(self) -> None:
        """Notice what a script left open."""
        self._open = self.in_transaction

    def commit(self) -> None:
        if self._holds_savepoint():
            self._savepoint.keep()
            self._savepoint.set()
        else:
            self.really_commit()

    def rollback(self) -> None:
        if self._holds_savepoint():
            self._savepoint.undo()
        else:
            self.really_rollback()

    def really_commit(self) -> None:
        """Commit the transaction, whatever `transaction=` says."""
        self._check_process()
        if self._open and not self.in_transaction:
            self.lost_work = True
        self.patiently(super().commit)
        self._open = False

    def really_rollback(self) -> None:
        """Roll the transaction back, whatever `transaction=` says."""
        self._check_process()
        super().rollback()
        self._open = False

    def close(self) -> None:
        self._check_process()  # SQLite would undo in the file, from there, what its parent is in the middle of
        if self.write_marker is not None and not self.is_closed and self.in_transaction:
            self.lost_work = True
        self.is_closed = True
        super().close()

    def _check_process(self) -> None:
        if self.owner is not None:
            self.owner.check_process()

    def has_lost_work(self) -> bool:
        """Whether something the body did was rolled back without its knowing."""
        return self.lost_work or (not self.is_closed and self._open and not self.in_transaction)

    def _holds_savepoint(self) -> bool:
        return self.mode is TransactionMode.SINGLE and self.write_marker is not None and self.in_transaction

    def _say(self, statement: str) -> None:
        super().cursor(sqlite3.Cursor).execute(statement)

    def _refuse_ignored_pragma(self, sql: str) -> None:
        """Refuse what SQLite would silently ignore: dropping a table with foreign keys still on deletes the rows that refer to it."""
        pragma = _PRAGMA.search(sql) if _keyword(sql) == "PRAGMA" else None
        if pragma is None or pragma[1].lower() != "foreign_keys" or pragma[2] is None:
            return
        (current,) = super().cursor(sqlite3.Cursor).execute("PRAGMA foreign_keys").fetchone()
        if bool(current) != (pragma[2].lower() in _TRUE):
            raise sqlite3.OperationalError(
                "PRAGMA foreign_keys has no effect inside a transaction: make it the first statement, or call db.commit() before it"
            )


class SqliteWork:
    """See `database.Work`."""

    def __init__(
        self,
        settings: Settings,
        migration: Migration,
        key: AttemptKey,
        ledger: Ledger,
        connect: Callable[[], WorkConnection],
    ) -> None:
        self._mode = migration.transaction
        self._key = key
        self._connect = connect
        self._owner = Owner()
        self._started = False
        self._lost_work = False
        self._connection: WorkConnection
        self._ledger = ledger.on(self._execute)
        source = DalSource(settings.uri, self._connector, while_made=False)
        self.db = make_own_dal(source, typedal=settings.typedal, folder=settings.folder)
        define_ledger(self.db, rname=ledger.names.quoted(ledger.names.ledger))
        self.db.commit()
        catalog = SqliteCatalog(lambda: self._connection)
        self.views = ViewKeeper(catalog, ViewLedger(ledger.names, catalog.run))

    def _connector(self) -> WorkConnection:
        self._owner.check()  # pyDAL asks for a connection in every thread and process that uses the `DAL`
        if self._started:
            self._lost_work = self._lost_work or self._connection.has_lost_work()
        self._connection = self._connect()
        if self._started:
            self._arm()
        return self._connection

    def _arm(self) -> None:
        self._connection.mode = self._mode
        self._connection.write_marker = lambda: self._ledger.write_marker(self._key)
        self._connection.owner = self._owner

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.cursor().execute(statement, tuple(parameters)).fetchall()
        return rows

    def start(self) -> None:
        self._started = True
        self._arm()
        if self._mode is TransactionMode.NONE:
            self._connection.before_statement("")

    def check(self) -> None:
        connection = self._connection
        if self._owner.refused:
            raise AttemptFailed(
                f"db was used in {self._owner.refused}, which was refused, so that something of its work is missing"
            )
        if self._lost_work or connection.has_lost_work():
            raise AttemptFailed(
                "its open transaction was rolled back without its noticing (the connection was closed, or the disk was full)",
                hint="let the exception pass, and call db.commit() before closing the connection",
            )
        if connection.is_closed:
            if self._mode is TransactionMode.SINGLE:
                raise AttemptFailed(
                    "it closed its connection, so nothing of it was kept (transaction='single')",
                    hint="leave the connection open",
                )
            connection = self._connector()
        if self._mode is TransactionMode.NONE:
            connection.mode = TransactionMode.OWN

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        connection = self._connection
        if not self._ledger.write_success(self._key, seconds=seconds):
            connection.really_rollback()
            raise AttemptFailed("its journal row is no longer this run's, so another run has taken over")
        guard()
        connection.really_commit()

    def leftovers(self) -> list[str]:
        """Return what a failure left behind that no rollback removes: nothing, in SQLite."""
        return []

    def is_lost(self) -> bool:
        return False  # a file does not hang up

    def close(self) -> None:
        self._connection.write_marker = None
        with suppress(sqlite3.Error):
            self._connection.really_rollback()
        discard(self.db)
        with suppress(sqlite3.Error):
            self._connection.close()

    def cancel(self) -> None:
        self._connection.interrupt()


def _keyword(sql: str) -> str:
    """Return a statement's first word in capitals, comments skipped."""
    match = _KEYWORD.match(sql)
    return match[1].upper() if match else ""


def _runs_outside(sql: str) -> bool:
    keyword = _keyword(sql)
    if keyword == "PRAGMA":
        pragma = _PRAGMA.search(sql)
        return pragma is not None and pragma[1].lower() in _OUTSIDE_PRAGMAS
    return keyword in _OUTSIDE_KEYWORDS
