"""One attempt at one migration on SQLite: explicit transactions that begin with the marker, so that DDL can be rolled back."""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Literal

from migrate_graph.core.model import TransactionMode
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource, forget
from migrate_graph.database.driver_errors import require_whole, unfinished
from migrate_graph.database.owner import Owner
from migrate_graph.database.savepoints import Savepoint
from migrate_graph.database.sqlite.catalog import SqliteCatalog
from migrate_graph.database.sqlite.noted import Noted, Noting
from migrate_graph.database.sqlite.statements import sqlite_statements, without_values
from migrate_graph.database.sqlite.weaving import SqliteWeaver
from migrate_graph.database.views.keeper import ViewKeeper
from migrate_graph.database.watching import is_from_user
from migrate_graph.sql_space import SPACE

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey, Ledger
    from migrate_graph.database.spare_dal import SpareDal
    from migrate_graph.database.sqlite.spare import Spare
    from migrate_graph.database.views.weaving import Company

_KEYWORD = re.compile(rf"(?:{SPACE}|;)*+(\w*)", re.DOTALL)
_WORD = r"""(?:"[^"]*"|'[^']*'|`[^`]*`|\[[^\]]*\]|\w+)"""
_GAP = rf"(?:{SPACE})*+"
_PRAGMA = re.compile(
    rf"(?:{SPACE}|;)*+PRAGMA{_GAP}(?:{_WORD}{_GAP}\.{_GAP})?(?P<name>{_WORD}){_GAP}(?:[=(]{_GAP}\+?{_GAP}(?P<value>-?{_WORD}))?",
    re.IGNORECASE | re.DOTALL,
)

# Statements that SQLite refuses or silently ignores inside a transaction, or that change nothing: no transaction is opened for them.
_OUTSIDE_KEYWORDS = {"VACUUM", "ATTACH", "DETACH", "COMMIT", "END", "ROLLBACK", "SELECT", "VALUES", "EXPLAIN"}
_OUTSIDE_PRAGMAS = {
    "foreign_keys",
    "journal_mode",
    "synchronous",
    "wal_checkpoint",
    "locking_mode",
    "page_size",
    "auto_vacuum",
}
_ENDS = {"COMMIT", "END", "ROLLBACK"}
_ENDS_A_SAVEPOINT = re.compile(rf"(?:{SPACE}|;)*+ROLLBACK{_GAP}(?:TRANSACTION{_GAP})?TO\b", re.IGNORECASE | re.DOTALL)
_TRUE = {"1", "on", "true", "yes"}

# What a statement that was not sent through `WorkCursor` may do while no transaction with the marker is open: only read.
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_READING_PRAGMAS = {
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
}

# What changes the connection and not the file, so that the next migration on the same connection would see it: actions that SQLite's
# authorizer reports for each statement, and methods of the driver.
_LEAVING = {sqlite3.SQLITE_PRAGMA, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}
_LEAVING_METHODS = (
    "create_function", "create_aggregate", "create_window_function", "create_collation", "set_progress_handler", "set_trace_callback",
    "enable_load_extension", "load_extension", "setlimit", "setconfig", "deserialize",
)  # fmt: skip

# Those of them after which a statement may change the schema without the authorizer reporting it.
_UNTOLD = {"setconfig", "deserialize"}

LOST = "its open transaction was rolled back without its noticing (the connection was closed, or the disk was full)"

# Not SQLITE_BUSY_SNAPSHOT: waiting does not help a transaction that has read data which another one has changed since.
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY}


class WorkCursor(sqlite3.Cursor):
    """A cursor that lets its connection open the transaction with the marker before a statement is sent."""

    connection: WorkConnection

    def execute(self, sql: str, parameters: Any = (), /) -> WorkCursor:
        connection = self.connection
        connection.overhear(sql)
        connection.before_statement(sql)
        if not connection.swallows(sql):
            connection.send(sql, partial(super().execute, sql, parameters))
            connection.after_statement(sql)
        return self

    def executemany(self, sql: str, parameters: Any, /) -> WorkCursor:
        self.connection.overhear(sql)
        self.connection.before_statement(sql)
        with self.connection.ours():
            super().executemany(sql, parameters)
        return self

    def executescript(self, script: str, /) -> WorkCursor:
        """Run a script, a statement at a time; a commit comes before it, as in Python, unless the attempt is one transaction."""
        connection = self.connection
        if connection.mode is not TransactionMode.SINGLE:
            # Commit the marker first, as before every statement that commits by itself.
            connection.before_statement("")
            connection.commit()
        for _, statement in sqlite_statements([script.encode()]):
            if connection.mode is TransactionMode.SINGLE:
                self.execute(statement)
                continue
            self.run_alone(statement)
        connection.after_script()
        return self

    def run_alone(self, statement: str) -> None:
        """Run one statement of a script without opening a transaction for it."""
        self.connection.overhear(statement)
        self.connection.send(statement, partial(super().execute, statement))


class WorkConnection(Noting):
    """The driver connection of an attempt; Python's own transaction control is off (`isolation_level=None`).

    With it, Python would open transactions only for INSERT, UPDATE, DELETE and REPLACE, so that DDL would be autocommitted.

    Statements that write are sent through `WorkCursor`. A cursor that the body makes by hand (`sqlite3.Cursor(connection)`) bypasses it:
    SQLite's authorizer (`judge`) lets it write inside a transaction that has the marker, and only read elsewhere. So the driver
    caches no statements: SQLite calls the authorizer only when it prepares one.
    """

    cursor_class: type[WorkCursor] = WorkCursor
    """Every cursor of the connection is an instance of this class."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.patience = 0.0
        self.is_closed = False
        self.noted = Noted()
        self._savepoint = Savepoint("migrate_graph", self._say)
        self.forget_attempt()
        super().set_authorizer(self.judge)
        self._names: frozenset[str] = frozenset(vars(self)) | {"_names"}

    def overhear(self, sql: str) -> None:
        """Pass a statement of the migration itself to the listener `hears`; called by the methods of a cursor."""
        if self.hears is None or self._marking or not keyword(sql):
            return
        if is_from_user(sys._getframe(2)):  # noqa: SLF001 - the caller of the cursor
            self.hears(without_values(sql.strip().removesuffix(";").rstrip()))

    def forget_attempt(self) -> None:
        """Reset the attributes to those of a connection that no attempt has used."""
        self.write_marker: Callable[[], None] | None = None
        self.owner: Owner | None = None
        self.mode = TransactionMode.OWN
        self.lost_work = False
        self.waits = False
        self.held_up: Callable[[float], None] | None = None
        self.busy_error: BaseException | None = None
        self.may_leave_more = False
        self.weaver: SqliteWeaver | None = None
        self.hears: Callable[[str], None] | None = None
        self._open = False
        self._marking = False
        self._marked = False
        self._ours = 0
        self._asked_level: Any = None
        self._asked_authorizer: Callable[..., int] | None = None

    def is_as_new(self) -> bool:
        """Return whether the next attempt would see nothing of what this attempt has changed in the connection; all its work is committed."""
        return (
            not (self.may_leave_more or self.is_closed or self.in_transaction)
            and vars(self).keys() == self._names
            and (self.row_factory, self.text_factory) == (None, str)
            and (self._asked_level, self._asked_authorizer) == (None, None)
        )

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        least = self.cursor_class
        if not issubclass(factory, least):
            factory = least if issubclass(least, factory) else type(factory.__name__, (least, factory), {})
        return super().cursor(factory)

    # The driver's versions of these make a cursor in C, without calling `cursor`.

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        return self.cursor().executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        return self.cursor().executescript(script)

    def blobopen(self, *arguments: Any, **options: Any) -> Any:
        self.before_statement("")
        with self.ours():
            return super().blobopen(*arguments, **options)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> Literal[False]:
        if kind is None:
            self.commit()
        else:
            self.rollback()
        return False

    # -- attributes that would change who controls transactions ---------------------------------------------------------------

    @property
    def isolation_level(self) -> Any:
        """The value that the body has set. It has no effect: this class opens transactions, also for DDL; None means no autocommit."""
        return self._asked_level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        if level is None and self.write_marker is not None:
            self.commit()  # as Python's own connection does
        self._asked_level = level

    @property
    def autocommit(self) -> int:
        """Like `isolation_level`, it has no effect. -1 is Python's value for the traditional transaction control (Python 3.12)."""
        return -1

    @autocommit.setter
    def autocommit(self, value: int) -> None:
        if value is True and self.write_marker is not None:
            self.commit()

    def set_authorizer(self, authorizer_callback: Callable[..., int] | None) -> None:
        """Keep the body's own authorizer, which is asked after `judge`."""
        self._asked_authorizer = authorizer_callback

    @contextmanager
    def ours(self) -> Iterator[None]:
        """Mark the statements inside the block as sent by this class, after the marker; `judge` permits them."""
        self._ours += 1
        try:
            yield
        finally:
            self._ours -= 1

    def judge(self, action: int, *names: str | None) -> int:
        """Return SQLite's code that permits or denies an action of a statement; this is SQLite's authorizer callback."""
        self.noted.note(action, *names[:2], inside=self.in_transaction)
        if self.write_marker is not None and _may_stay(action, *names):
            self.may_leave_more = True
        if not self._ours and self.write_marker is not None and not self._may_go_past(action, *names):
            return sqlite3.SQLITE_DENY
        return self._asked_authorizer(action, *names) if self._asked_authorizer else sqlite3.SQLITE_OK

    def _may_go_past(self, action: int, first: str | None, second: str | None, *_: str | None) -> bool:
        """Return whether a statement that was not sent through `WorkCursor` may do this."""
        if action in {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}:
            return False
        if action == sqlite3.SQLITE_SAVEPOINT and second == self._savepoint.name:
            return False
        if self._has_marker():
            return True
        if action == sqlite3.SQLITE_PRAGMA:
            return _only_reads(action, first, second)
        return action in _READING

    @property
    def is_ours(self) -> bool:
        """Whether a statement of the tool is being sent, or one through `WorkCursor`."""
        return bool(self._ours)

    def _has_marker(self) -> bool:
        return (self._open and self.in_transaction) or (self.mode is TransactionMode.NONE and self._marked)

    # -- statements -----------------------------------------------------------------------------------------------------------

    def patiently(self, call: Callable[[], object]) -> None:
        """Repeat a call while another program holds the database, up to `patience` seconds.

        SQLite waits in C, where no signal handler runs and nothing can interrupt it, so each of its waits is short. `held_up`
        is called with the seconds waited; it may raise.
        """
        started = time.monotonic()
        try:
            while True:
                try:
                    call()
                except sqlite3.OperationalError as error:
                    self.busy_error = error
                    waited = time.monotonic() - started
                    if error.sqlite_errorcode not in _BUSY or waited >= self.patience:
                        raise
                    self.waits = True
                    if self.held_up is not None:
                        self.held_up(waited)
                    time.sleep(0.05)
                else:
                    return
        finally:
            self.waits = False

    def send(self, sql: str, call: Callable[[], object]) -> None:
        """Send a statement; for a statement of the body, views may step aside."""
        if self.weaver is not None and self.write_marker is not None and not self._marking:
            self.weaver.send(self, sql, partial(self._send, call))
        else:
            self._send(call)

    def _send(self, call: Callable[[], object]) -> None:
        with self.ours():
            self.patiently(call)

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Do not pass the statements inside the block to the listener: the tool sends them, not the body."""
        hears, self.hears = self.hears, None
        try:
            yield
        finally:
            self.hears = hears

    def swallows(self, sql: str) -> bool:
        """Return whether a statement is a BEGIN of the body for the transaction that this class has just opened; it is not sent."""
        return self._open and self.in_transaction and not self._marking and keyword(sql) == "BEGIN"

    def before_statement(self, sql: str) -> None:
        """Open a transaction and send the marker, unless one is open or the statement must run outside of one."""
        self._check_process()
        if self.write_marker is None or self._marking:
            return
        if self.mode is TransactionMode.SINGLE and keyword(sql) in _ENDS and not _ENDS_A_SAVEPOINT.match(sql):
            raise sqlite3.OperationalError(
                "transaction='single' is one transaction: instead of this statement call db.commit() or db.rollback()"
            )
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
        begin = sql if keyword(sql) == "BEGIN" else "BEGIN IMMEDIATE"
        self.patiently(partial(self._say, begin))
        self._open = True
        self.write_marker()  # type: ignore[misc] # before_statement has asked
        if self.mode is TransactionMode.SINGLE:
            self._savepoint.set()

    def after_statement(self, sql: str) -> None:
        """Notice a COMMIT or ROLLBACK that was sent as a statement."""
        if keyword(sql) in _ENDS:
            self._open = self.in_transaction

    def after_script(self) -> None:
        """Notice a transaction that a script left open."""
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
        with self.ours():
            self.patiently(super().commit)
        self._open = False

    def really_rollback(self) -> None:
        """Roll the transaction back, whatever `transaction=` says."""
        self._check_process()
        with self.ours():
            super().rollback()
        self._open = False

    def close(self) -> None:
        self._check_process()  # in a forked child, SQLite would roll back the parent's transaction in the file
        if self.write_marker is not None and not self.is_closed and self.in_transaction:
            self.lost_work = True
        self.is_closed = True
        super().close()

    def _check_process(self) -> None:
        if self.owner is not None:
            self.owner.check_process()

    def has_lost_work(self) -> bool:
        """Return whether work of the body was rolled back without the body noticing."""
        return self.lost_work or (not self.is_closed and self._open and not self.in_transaction)

    def holds_file(self) -> bool:
        """Return whether other connections cannot write, because this one has uncommitted work."""
        return not self.is_closed and self.in_transaction

    def _holds_savepoint(self) -> bool:
        return self.mode is TransactionMode.SINGLE and self.write_marker is not None and self.in_transaction

    def _say(self, statement: str) -> None:
        with self.ours():
            super().cursor(sqlite3.Cursor).execute(statement)

    def _refuse_ignored_pragma(self, sql: str) -> None:
        """Refuse a PRAGMA foreign_keys that SQLite would silently ignore.

        With foreign keys still on, dropping a table deletes the rows that refer to it.
        """
        name, value = _pragma(sql)
        if name != "foreign_keys" or value is None:
            return
        with self.ours():
            (current,) = super().cursor(sqlite3.Cursor).execute("PRAGMA foreign_keys").fetchone()
        if bool(current) != (value in _TRUE or _number(value) % 256 != 0):
            back = ", or leave it out: the next migration has a session of its own" if not current else ""
            raise sqlite3.OperationalError(
                f"PRAGMA foreign_keys has no effect inside a transaction: make it the first statement, call db.commit() before it{back}"
            )


def _noting(name: str) -> Callable[..., Any]:
    """Return a method of the driver's connection that also notes that a migration has called it."""
    method = getattr(sqlite3.Connection, name)

    @wraps(method)
    def call(self: WorkConnection, *arguments: Any, **options: Any) -> Any:
        if name in _UNTOLD:
            self.noted.distrust()
        if self.write_marker is not None:
            self.may_leave_more = True
        return method(self, *arguments, **options)

    return call


for _name in _LEAVING_METHODS:
    if hasattr(sqlite3.Connection, _name):
        setattr(WorkConnection, _name, _noting(_name))


class SqliteWork:
    """See `database.Work`."""

    def __init__(
        self,
        settings: Settings,
        migration: Migration,
        key: AttemptKey,
        ledger: Ledger,
        spare: Spare,
        *,
        held_up: Callable[[str], Callable[[float], None]],
        dals: SpareDal,
    ) -> None:
        self._held_up = held_up
        self._mode = migration.transaction
        self._key = key
        self._spare = spare
        self._owner = Owner()
        self._started = False
        self._lost_work = False
        self._connection: WorkConnection
        self._ledger = ledger.on(self._execute)
        finds = "SELECT count(*) FROM pragma_table_info(trim(?, '\"'))"
        self._fresh: WorkConnection | None
        self._fresh, self.has_new_session = spare.take()
        sets_up = self.has_new_session  # functions that pyDAL has registered stay in a used connection
        source = DalSource(settings.uri, self._connector, while_made=False, finds_table=finds, sets_up=sets_up)
        self._dals = dals
        self._succeeded = self._ended = False
        self.db = dals.take(source)
        dals.note(self)
        self.db.commit()
        self._weaver: SqliteWeaver | None = None
        self._hears: Callable[[str], None] | None = None
        self._catalog = SqliteCatalog(lambda: self._connection)
        self._view_ledger = ViewLedger(ledger.names, self._catalog.run)
        self.views = ViewKeeper(self._catalog, self._view_ledger)

    def _connector(self) -> WorkConnection:
        self._owner.check()  # pyDAL asks for a connection in each thread and process that uses the `DAL`
        if self._started:
            self._lost_work = self._lost_work or self._connection.has_lost_work()
        connection, self._fresh = self._fresh or self._spare.take()[0], None
        self._connection = connection
        if self._started:
            self._arm()
        return self._connection

    def _arm(self) -> None:
        self._connection.mode = self._mode
        self._connection.write_marker = lambda: self._ledger.write_marker(self._key)
        self._connection.owner = self._owner
        self._connection.weaver = self._weaver
        self._connection.hears = self._hears

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.cursor().execute(statement, tuple(parameters)).fetchall()
        return rows

    def start(self) -> None:
        self._started = True
        self._arm()
        if self._mode is TransactionMode.NONE:
            self._connection.before_statement("")

    def weave(self, company: Company) -> SqliteWeaver:
        self._weaver = self._connection.weaver = SqliteWeaver(
            self.views, self._view_ledger, self._catalog, company, lambda: self._connection
        )
        return self._weaver

    def listen(self, hear: Callable[[str], None] | None) -> None:
        self._hears = self._connection.hears = hear

    def check(self) -> None:
        connection = self._connection
        require_whole(
            refused=self._owner.refused,
            lost=LOST if self._lost_work or connection.has_lost_work() else "",
            is_closed=connection.is_closed,
            single=self._mode is TransactionMode.SINGLE,
        )
        if connection.is_closed:
            connection = self._connector()
        if self._mode is TransactionMode.NONE:
            connection.mode = TransactionMode.OWN

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        self.patiently(f"recording the success of {self._key.name}", partial(self._write_success, seconds))
        guard()
        self.patiently(f"committing {self._key.name}", self._connection.really_commit)
        self._succeeded = True

    def _write_success(self, seconds: float) -> None:
        if not self._ledger.write_success(self._key, seconds=seconds):
            taken = self._ledger.why_unfinished(self._key)
            self._connection.really_rollback()
            raise unfinished(taken)

    def patiently(self, doing: str, call: Callable[[], None]) -> None:
        connection = self._connection
        connection.held_up = self._held_up(doing)
        try:
            call()
        finally:
            connection.held_up = None

    def read_applied(self) -> frozenset[str]:
        return self._ledger.read_applied()

    def leftovers(self) -> list[str]:
        """Return an empty list: in SQLite a failed attempt leaves nothing that a rollback does not remove."""
        return []

    def is_lost(self) -> bool:
        return False  # a connection to a file is not lost

    def is_unsure(self) -> bool:
        return False  # the authorizer lets no body end a transaction unnoticed

    def waits(self) -> bool:
        """Return whether a statement waits for another program that holds the file."""
        return self._connection.waits

    def is_in_its_own_way(self, error: BaseException) -> bool:
        """Return whether an error is that of another connection of this process, which failed because this one has uncommitted work."""
        return not self._ended and self._connection.holds_file() and error is not self._connection.busy_error

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._connection.write_marker = self._connection.weaver = self._connection.hears = None
        with suppress(sqlite3.Error):
            self._connection.really_rollback()
        if self._succeeded:
            self._dals.keep(self)
        forget(self.db)
        del self.db
        if self._succeeded and self._mode is TransactionMode.OWN and self._spare.keep(self):
            del self._connection  # it belongs to the next attempt now
            return
        with suppress(sqlite3.Error):
            self._connection.close()

    def hang_up(self) -> None:
        """Do nothing: there is no server that could fail to answer."""

    def cancel(self) -> None:
        self._connection.interrupt()


def _may_stay(action: int, first: str | None, second: str | None, database: str | None, *_: str | None) -> bool:
    """Return whether a statement with this action may leave something in its connection: temporary objects, settings, attached files."""
    return database == "temp" or (action in _LEAVING and not _only_reads(action, first, second))


def _only_reads(action: int, first: str | None, second: str | None, *_: str | None) -> bool:
    """Return whether the action is a PRAGMA that only reads."""
    return action == sqlite3.SQLITE_PRAGMA and (second is None or (first or "").lower() in _READING_PRAGMAS)


def keyword(sql: str) -> str:
    """Return a statement's first word in capitals, comments skipped."""
    match = _KEYWORD.match(sql)
    return match[1].upper() if match else ""


def ends_transaction(sql: str) -> bool:
    """Return whether a statement ends the transaction that it is sent in."""
    return keyword(sql) in _ENDS and not _ENDS_A_SAVEPOINT.match(sql)


def stands_alone(sql: str) -> str:
    """Return the keyword of a statement that cannot be rolled back with a transaction; empty for all others."""
    word = keyword(sql)
    return word if word in {"ATTACH", "DETACH", "VACUUM"} else ""


def pragma_set(sql: str) -> str:
    """Return the name of the pragma that a statement sets; empty where it sets none."""
    name, value = _pragma(sql)
    return "" if value is None or name in _READING_PRAGMAS else name


def _runs_outside(sql: str) -> bool:
    word = keyword(sql)
    if word != "PRAGMA":
        return word in _OUTSIDE_KEYWORDS
    name, value = _pragma(sql)
    return name in _OUTSIDE_PRAGMAS | _READING_PRAGMAS or (bool(name) and value is None)


def _pragma(sql: str) -> tuple[str, str | None]:
    """Return the name of a PRAGMA and the value that it sets, in lower case and without quotes; an empty name for other statements."""
    found = _PRAGMA.match(sql) if keyword(sql) == "PRAGMA" else None
    if found is None:
        return "", None
    name, value = (each and each.strip("\"'`[]").lower() for each in found.group("name", "value"))
    return name, value


def _number(value: str) -> int:
    """Return the number that SQLite reads in a value; 0 where it is no number, or a negative one."""
    try:
        return max(0, int(value, 16 if value.startswith("0x") else 10))
    except ValueError:
        return 0
