"""The driver connection of an attempt: writes the marker into every transaction, whether the driver or the body began that transaction."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg
from psycopg2.sql import Composable

from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.owner import Owner
from migrate_graph.database.postgres.session.cursor import WorkCursor, rows_of
from migrate_graph.database.postgres.session.renewal import DriverMemory, may_stay
from migrate_graph.database.postgres.session.statements import (
    ENDS,
    Kind,
    Statement,
    may_become,
    may_write,
    split,
    statements,
    without_values,
)
from migrate_graph.database.savepoints import Savepoint
from migrate_graph.database.watching import is_from_user

if TYPE_CHECKING:
    from migrate_graph.database.postgres.views.weaving import PostgresWeaver

IDLE, ACTIVE, INTRANS, INERROR = (
    pg.TRANSACTION_STATUS_IDLE,
    pg.TRANSACTION_STATUS_ACTIVE,
    pg.TRANSACTION_STATUS_INTRANS,
    pg.TRANSACTION_STATUS_INERROR,
)

ANCHOR = "migrate_graph_anchor"
"""Name of a savepoint that is set directly after the marker, in every transaction that has a marker.

A transaction that an error has aborted answers no query. But `ROLLBACK TO` this savepoint succeeds only in the transaction that set it,
which tells whether the open transaction is still that one. And what is written after it gets a transaction number of its own.
"""

# A setting: on while a transaction is open that a statement of the body has begun, when this connection saw that statement and the
# transaction has no marker yet.
_IN_SIGHT = "migrate_graph.in_sight"

_NUMBER = (
    "SELECT virtualtransaction FROM pg_catalog.pg_locks WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() "
    "AND locktype OPERATOR(pg_catalog.=) 'virtualxid'"
)

# Counts transaction numbers: one for the transaction, and one for each savepoint, as soon as something is written there (also by a
# function or a trigger).
_WRITING = (
    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() "
    "AND locktype OPERATOR(pg_catalog.=) 'transactionid' AND mode OPERATOR(pg_catalog.=) 'ExclusiveLock'"
)

_PLAIN = [Statement("", Kind.PLAIN)]
_COMMITTED_NOTHING = "an SQL error had aborted the transaction that it committed"
_COMMIT_FAILED = "it caught the error of a commit, and went on without the work before it"

NOW = "pg_catalog.to_char(pg_catalog.timezone('UTC', {}), 'YYYY-MM-DD HH24:MI:SS.US')"
"""SQL template for the time at which a transaction began, as a text that no setting changes. Two transactions of a session differ in it."""

WHO = "SELECT CAST(session_user AS pg_catalog.text), pg_catalog.current_setting('role')"
"""Selects user and role of a session."""


class OurConnection(pg.connection):
    """A connection that this package opened.

    Attributes:
        server_pid: number of the server process; behind a pooler libpq knows only the pooler's number.
        got_lock: whether the advisory lock that was requested while the session was opened was granted.
    """

    def __init__(self, dsn: str) -> None:
        try:
            super().__init__(dsn)
        except psycopg2.OperationalError as error:
            refused: Any = error
            # A server that asks for a password exists and answers. Its error message may be in any language, so that is not parsed.
            refused.was_asked_for_password = self.info.used_password
            # The error keeps this connection alive, and while it is open a server of version 15 or 16 cannot drop a database.
            super().close()
            raise
        self.server_pid = 0
        self.got_lock = False


class WorkConnection(OurConnection):
    """The driver connection of an attempt.

    libpq knows from the server whether a transaction is open (`info.transaction_status`, no round trip). The driver's own state
    (`status`) is wrong after a raw COMMIT or ROLLBACK. The marker is sent before the first statement of a transaction, not after the
    last commit: between them a migration may change autocommit or the isolation level, which a transaction does not allow.

    Attributes:
        write_marker: writes the marker and returns when its transaction began; None while no attempt uses the connection.
        owner: the thread and process that may use the connection; None where everybody may.
        reset_session: undoes the body's settings before the transaction ends; None unless a pooler passes the session on then.
        being_greeted: pyDAL is making a `DAL` on this connection. The statements that it sends to each new connection are not sent.
        may_leave_more: a statement of the body may have left something in the session that no DISCARD undoes.
        who_before: user and role of the session before the first statement that may change one of them; None until there is one.
        fresh_memory: the driver's state when the session was opened; None where it was not recorded.
        fresh_defaults: the settings that roles and databases gave to new sessions when this one was opened.
        single: a commit of the body only sets a savepoint (`transaction='single'`).
        lost_work: why work of the body was rolled back, perhaps without the body noticing; empty when none was.
        ended_unseen: the end of a transaction was noticed too late, so it is not known which of its work was committed.
        asked: number of requests (statements, commits, rollbacks); it tells whether the connection was used since.
        hears: called with each statement that the migration itself sends, before it is sent.
        make_room: takes down the views that were kept up until the body's next statement; called before each statement of the body.
        weaver: takes dependent views down and brings them back around statements of the body; None where that is not done.
        cursor_class: base class of all cursors.
    """

    cursor_class: type[WorkCursor] = WorkCursor

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.fresh_memory: DriverMemory | None = None
        self.fresh_defaults: list[str] | None = None
        self.forget_attempt()

    def forget_attempt(self) -> None:
        """Set all attributes as on a connection that no attempt has used."""
        self.write_marker: Callable[[], str] | None = None
        self.owner: Owner | None = None
        self.weaver: PostgresWeaver | None = None
        self.hears: Callable[[str], None] | None = None
        self.make_room: Callable[[], None] | None = None
        self.reset_session: Callable[[], None] | None = None
        self.being_greeted = False
        self.may_leave_more = False
        self.who_before: tuple[Any, ...] | None = None
        self._may_become = False
        self.single = False
        self.lost_work = ""
        self.ended_unseen = False
        self.asked = 0
        self._broke = False
        self._marking = False
        # Number of the session's last transaction, noted when a statement of the body ended the transaction without the driver knowing.
        self._alone_since: int | None = None
        # A cursor made by hand began the open transaction, so earlier ones may have been committed without a marker.
        self._may_have_unmarked_commits = False
        self._failed_in_sight = False  # the open transaction is aborted, and the statement that failed had opened it
        self._durable = False  # a marker of this attempt is committed: after a crash the user is asked what to do
        self._began = ""  # when the transaction with the marker began; empty when no such transaction is open
        self._wrote_in = ""  # beginning (as in `_began`) of the last transaction with a statement that may have written
        self._sent_in = ""  # beginning of the last transaction in which a statement of the body has succeeded

    # -- cursors --------------------------------------------------------------------------------------------------------------

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        name, factory, *rest = (*arguments, None, None)[: max(2, len(arguments))]
        default: Any = self.cursor_factory
        chosen: Any = options.pop("cursor_factory", factory) or default or self.cursor_class
        if not isinstance(chosen, type):  # a function that makes one
            return super().cursor(options.pop("name", name), chosen, *rest, **options)
        if not issubclass(chosen, self.cursor_class):
            chosen = type(chosen.__name__, (self.cursor_class, chosen), {})
        return super().cursor(options.pop("name", name), chosen, *rest, **options)

    def read(self, cursor: pg.cursor, query: Any, values: Any) -> list[Statement]:
        """Return the statements of a query; where there is more than one, with the parameters put into the texts.

        Raises:
            ProgrammingError: on a named cursor the query has several statements, or one that begins or ends a transaction.
        """
        if self.write_marker is None or self._marking:
            return _PLAIN
        text = self.text_of(query)
        self.may_leave_more = self.may_leave_more or may_stay(text)
        self.note_text(text)
        found = statements(text, backslashes=self.backslashes)
        if cursor.name is not None and found != _PLAIN and (len(found) > 1 or found[0].kind is not Kind.PLAIN):
            raise psycopg2.ProgrammingError("a named cursor takes one query, and nothing that ends a transaction")
        if len(found) > 1 and not any(each.kind is not Kind.PLAIN for each in found):
            return _PLAIN
        if len(found) > 1 and values is not None:
            found = statements(self.text_of(cursor.mogrify(query, values)), backslashes=self.backslashes)
        return found

    def note_text(self, text: str) -> None:
        """Note that a statement of the body may change the user or the role of the session."""
        self._may_become = self._may_become or may_become(text)

    def text_of(self, query: Any) -> str:
        """Return a query, given as text, bytes or a `Composable`, as text."""
        if isinstance(query, Composable):
            return query.as_string(self)
        if isinstance(query, bytes):
            return query.decode(pg.encodings[self.encoding], "replace")
        return str(query)

    @property
    def backslashes(self) -> bool:
        """Whether backslashes are escapes in every string literal."""
        return self.info.parameter_status("standard_conforming_strings") == "off"

    # -- statements -----------------------------------------------------------------------------------------------------------

    def send_one(self, cursor: pg.cursor, query: Any, call: Callable[[], object]) -> None:
        """Send a query that must be one statement.

        Raises:
            ProgrammingError: it has several statements.
        """
        found = self.read(cursor, query, None)
        if len(found) > 1:
            raise psycopg2.ProgrammingError("this takes one statement: send the others by themselves")
        self.send(found[0].kind, call)

    def send(self, kind: Kind, call: Callable[[], object], query: Any = None) -> None:
        """Send a statement, with the marker before it where it opens a transaction; then note whether it ended one.

        Args:
            kind: what the statement does to the transaction.
            call: sends it.
            query: the statement itself; None where views never step aside for it.
        """
        self.asked += 1
        self.before_statement(kind)
        self.note_who()
        if self.weaver is not None and query is not None and kind is Kind.PLAIN and not self._marking:
            call = partial(self.weaver.send, self, query, call)
        if self.write_marker is None or self._marking:
            call()
            return
        before = self.info.transaction_status
        try:
            call()
        except BaseException:
            self._after_failure(kind, before)
            raise
        self._sent_in = self._began
        if self._wrote_in != self._began and (query is None or may_write(self.text_of(query))):
            self._wrote_in = self._began
        if kind in ENDS:
            self._after_end(durable=kind is Kind.COMMITS)
        elif self._open and self.info.transaction_status == IDLE:
            self._account()
        elif kind is Kind.BEGINS and before == IDLE:
            self._note_beginning()

    def note_who(self) -> None:
        """Note user and role of the session before the first statement that may change them."""
        if not self._may_become or self.who_before is not None or self._marking or self.closed:
            return
        if self.info.transaction_status == INTRANS or self._sends_alone:
            with self._unmarked() as cursor:
                cursor.execute(WHO)
                self.who_before = cursor.fetchone()

    def _after_failure(self, kind: Kind, before: int) -> None:
        if self.closed:
            return
        status = self.info.transaction_status
        if self._open and status == IDLE:  # a COMMIT that failed, or a hidden end
            self._after_end() if kind in ENDS else self._account()
            if kind is Kind.COMMITS:
                self.lost_work = self.lost_work or _COMMIT_FAILED
        elif not self._open and before == IDLE and status == INERROR:
            self._failed_in_sight = True

    def _after_end(self, *, durable: bool = False) -> None:
        """Note that a statement of the body has ended the transaction; the driver still thinks that it is open, and opens no new one."""
        self._forget_transaction(durable=durable)
        if self.reset_session:
            self._believe_the_server()
        elif self.info.transaction_status == IDLE and self.status == pg.STATUS_BEGIN and not self._durable:
            self._alone_since = self._number()
        self._note_beginning()  # after COMMIT AND CHAIN the next transaction is open already

    def _note_beginning(self) -> None:
        if self.info.transaction_status == INTRANS:
            self._say(f"SET LOCAL {_IN_SIGHT} TO 'yes'")

    def before_statement(self, kind: Kind = Kind.PLAIN) -> None:
        """Send the marker if the next statement's transaction has none (in autocommit: if no marker is committed yet)."""
        if self.owner is not None:
            self.owner.check_process()
        self._make_room(kind)
        if self.write_marker is None or self._marking or self.closed:
            return
        self._refuse(kind)
        self._look(kind)
        if self.reset_session:
            self._believe_the_server()
        status = self.info.transaction_status
        if status in {ACTIVE, INERROR}:
            return
        if status == IDLE:
            self._failed_in_sight = False
        if not self._open:
            if kind is Kind.BEGINS or (kind in ENDS and status == IDLE):
                return  # BEGIN must come before the marker, which is a query; and without a transaction, COMMIT ends nothing
            if status == IDLE and self._durable and self._sends_alone:
                return
            self._mark()
        if kind in ENDS and self.reset_session:
            self.reset_session()

    def _make_room(self, kind: Kind) -> None:
        if self.make_room is not None and kind is Kind.PLAIN and not self._marking:
            self.make_room()

    def _look(self, kind: Kind) -> None:
        """Before a statement ends a transaction: check whether a cursor made by hand has already ended the one with the marker."""
        status = self.info.transaction_status
        if kind is Kind.ROLLS_BACK:
            self._know_of_rollback()
        if kind is Kind.COMMITS and status == INERROR:
            self.lost_work = _COMMITTED_NOTHING
            self.settle()
            self.really_rollback()
        elif status == IDLE or kind is Kind.ROLLS_BACK:
            self.settle()
        elif kind is Kind.COMMITS and self._open and self._is_another_transaction():
            self._began, self.ended_unseen = "", True  # the transaction that is committed now gets a marker of its own

    def _refuse(self, kind: Kind) -> None:
        if kind is Kind.TWO_PHASE:
            raise AttemptFailed(
                "a migration cannot be committed in two phases: whether it is applied must be known when it ends",
                hint="use db.commit()",
            )
        if self.single and kind in ENDS:
            raise AttemptFailed(
                "it ends its transaction by a statement of its own, and transaction='single' promises one transaction",
                hint="use db.commit() and db.rollback(), which are savepoints there, or transaction='own'",
            )
        if self.autocommit and (self.single or self.reset_session):
            raise AttemptFailed(
                "it has set autocommit, and "
                + ("transaction='single' promises one transaction" if self.single else "a pooler stands in between"),
                hint="leave autocommit off, or use transaction='own' on a connection to the server's own port",
            )

    # -- what the migration itself sends --------------------------------------------------------------------------------------

    def overhear(self, query: Callable[[], Any]) -> None:
        """Pass a statement that the migration itself sends to `hears`; called by a cursor's method.

        Args:
            query: returns the statement.
        """
        if self.hears is None or self._marking or not is_from_user(sys._getframe(2)):  # noqa: SLF001 - who asks the cursor
            return
        text = self.text_of(query())
        for each in split(text, backslashes=self.backslashes) or [Statement(text, Kind.PLAIN)]:
            self.hears(without_values(each.text, backslashes=self.backslashes))

    # -- views that step aside ------------------------------------------------------------------------------------------------

    def may_weave(self, query: Any) -> bool:
        """Return whether views may step aside for a statement."""
        return self.weaver is not None and self.weaver.may_weave(self.text_of(query))

    @property
    def weaves(self) -> bool:
        """Whether a transaction is open in which views may step aside."""
        return not self.autocommit and self.info.transaction_status == INTRANS

    def say(self, statement: str) -> None:
        """Send a statement of this package, without the checks that statements of the body go through."""
        self.asked += 1
        self._say(statement)

    def abort(self, nowhere: str) -> None:
        """Abort the open transaction, as an error of a statement does.

        Args:
            nowhere: the name of a savepoint that does not exist.
        """
        with contextlib.suppress(psycopg2.errors.InvalidSavepointSpecification):
            self.say(f"ROLLBACK TO SAVEPOINT {nowhere}")

    def _savepoint(self) -> Savepoint:
        return Savepoint("migrate_graph", self._say)

    @property
    def _open(self) -> bool:
        return bool(self._began)

    @property
    def _sends_alone(self) -> bool:
        """Whether each statement is a transaction of its own: in autocommit, and after a raw COMMIT or ROLLBACK.

        After a raw COMMIT or ROLLBACK the driver thinks that the transaction is still open, so it begins no new one. People use that
        for statements that cannot run inside a transaction.
        """
        return bool(self.autocommit or self.status == pg.STATUS_BEGIN)

    def _mark(self) -> None:
        """Write the marker into the open transaction, or into a new one; where each statement is its own transaction it is durable at once."""
        self._marking = True
        try:
            if self.info.transaction_status == INTRANS and not self._was_begun_in_sight():
                self._may_have_unmarked_commits = self.ended_unseen = True
            began = self.write_marker() if self.write_marker else ""
            self._alone_since = None
            if self.info.transaction_status == IDLE:
                self._durable = True
            else:
                self._began = began
            if self.single:
                self._savepoint().set()
        finally:
            self._marking = False
            if not self.closed and not self._open and self.info.transaction_status == INERROR:
                self._failed_in_sight = True

    @property
    def anchor(self) -> str:
        """The SQL that sets the savepoint after the marker; empty where each statement is a transaction of its own."""
        alone = self.info.transaction_status == IDLE and self._sends_alone
        return "" if alone else f"; SAVEPOINT {ANCHOR}"

    def _believe_the_server(self) -> None:
        """Make the driver begin a transaction again, when it thinks that one is open which the server has ended."""
        if self.info.transaction_status == IDLE and self.status == pg.STATUS_BEGIN:
            super().rollback()

    def _account(self) -> None:
        """Commit a marker, because the end of a transaction was noticed too late: something without a marker may be committed."""
        self._began, self.ended_unseen, self._may_have_unmarked_commits = "", True, False
        if self._durable and self._sends_alone:
            return
        self._mark()
        if self._open:
            self._began = ""
            super().commit()
        self._durable = True

    def _forget_transaction(self, *, durable: bool = False) -> None:
        if durable and self._open:
            self._durable, self._may_have_unmarked_commits = True, False
        self._began, self._alone_since = "", None

    def _went_on_by_hand(self) -> bool:
        """Whether a cursor made by hand has begun and ended transactions of its own, while no marker is committed."""
        if self._open or self._durable or self.status != pg.STATUS_BEGIN:
            return False
        return self._alone_since is None or self._number() != self._alone_since + 1

    def _number(self) -> int:
        """Return the number of the transaction in which this is asked; each transaction of a session has the next number."""
        return int(self._answer(_NUMBER).partition("/")[2])

    def _is_another_transaction(self) -> bool:
        """Whether the open transaction is another one than that with the marker.

        An aborted transaction is rolled back to the anchor to find that out, so only a rollback may follow.
        """
        status = self.info.transaction_status
        if status == INERROR:
            return not self._goes_back()
        return bool(status == INTRANS and self._answer(f"SELECT {NOW.format('pg_catalog.now()')}") != self._began)

    def _goes_back(self) -> bool:
        try:
            self._say(f"ROLLBACK TO SAVEPOINT {ANCHOR}")
        except psycopg2.errors.InvalidSavepointSpecification:
            return False
        return True

    def _was_begun_in_sight(self) -> bool:
        """Whether the open transaction, which has no marker, was begun by a statement that this connection saw."""
        return bool(self._answer(f"SELECT pg_catalog.current_setting('{_IN_SIGHT}', true)") == "yes")

    def _answer(self, question: str) -> Any:
        with self._unmarked() as cursor:
            cursor.execute(question)
            return cursor.fetchone()[0]

    def _unmarked(self) -> Any:
        return super().cursor(cursor_factory=pg.cursor)

    def tell(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Send a statement of this package, in a transaction with the marker, without parsing it; return its rows."""
        self.before_statement()
        with self._unmarked() as cursor:
            return rows_of(cursor, statement, parameters)

    def own_cursor(self) -> Any:
        """Return a cursor for one message of this package that neither begins nor ends a transaction.

        Inside a transaction it is a plain cursor, which does not parse what it sends.
        """
        if self.cursor_class is not WorkCursor or self.info.transaction_status != INTRANS:
            return self.cursor()
        self.asked += 1
        self.before_statement()
        return self._unmarked()

    @property
    def opens_transaction(self) -> bool:
        """Whether the driver will open a transaction for the next statement."""
        return self.info.transaction_status == IDLE and not self._sends_alone

    # -- the ends of a transaction --------------------------------------------------------------------------------------------

    def commit(self) -> None:
        self.asked += 1
        if self.write_marker is None or self.closed:
            super().commit()
            return
        status = self.info.transaction_status
        if status == INERROR:
            self.rollback()
            self.lost_work = _COMMITTED_NOTHING
            raise psycopg2.errors.InFailedSqlTransaction(
                "current transaction is aborted: everything since the last commit is rolled back, and there is nothing to commit"
            )
        if self.single and status == INTRANS:
            self._look(Kind.COMMITS)
            self.before_statement()
            self._savepoint().keep()
            self._savepoint().set()
        else:
            if not self.single:
                self.before_statement(Kind.COMMITS)
            self.really_commit()

    def rollback(self) -> None:
        self.asked += 1
        self._know_of_rollback()
        if self.write_marker is None or self.closed:
            super().rollback()
        elif self.single and self._open and self.info.transaction_status != IDLE:
            self._savepoint().undo()
        else:
            self.settle()
            self.really_rollback()

    def settle(self) -> bool:
        """Before a rollback: commit a marker if work may be committed without one; return whether that was needed."""
        if self.write_marker is None or self.closed:
            return False
        status = self.info.transaction_status
        if status == IDLE and not (self._open or self._went_on_by_hand()):
            return False
        if status != IDLE:
            if not self._comes_after_something(status):
                return False
            self.really_rollback()
        self._account()
        return True

    def _comes_after_something(self, status: int) -> bool:
        """Whether another transaction may have ended unnoticed before the open one: since the marker, or since the attempt began."""
        if self._may_have_unmarked_commits or status not in {INTRANS, INERROR}:
            return self._may_have_unmarked_commits
        if self._open:
            return self._is_another_transaction()
        return not (self._failed_in_sight if status == INERROR else self._was_begun_in_sight())

    def really_commit(self) -> None:
        """Commit the transaction, whatever `transaction=` says."""
        # In autocommit the body may have sent its own BEGIN, which the driver does not know of.
        by_hand = self.autocommit and self.info.transaction_status == INTRANS
        try:
            self._say("COMMIT") if by_hand else super().commit()
        except psycopg2.Error:
            # The server has rolled back instead: for example, a deferred constraint was violated.
            if not self.closed and self.info.transaction_status == IDLE:
                self._forget_transaction()
                self.lost_work = self.lost_work or _COMMIT_FAILED
            raise
        self._forget_transaction(durable=True)

    def _know_of_rollback(self) -> None:
        """Forget that a commit failed: the body rolls back itself, so it has noticed the failure."""
        if self.lost_work == _COMMIT_FAILED:
            self.lost_work = ""

    def really_rollback(self) -> None:
        """Roll the transaction back, whatever `transaction=` says."""
        if self.autocommit and self.info.transaction_status in {INTRANS, INERROR}:
            self._say("ROLLBACK")
        else:
            super().rollback()
        self._began, self._alone_since = "", None

    def _refuse_to_lose(self, call: str) -> None:
        """Refuse a driver call that silently rolls back, while there is uncommitted work.

        Args:
            call: name of the method.

        Raises:
            AttemptFailed: there is uncommitted work.
        """
        if self.write_marker is not None and not self.closed and self._may_lose():
            raise AttemptFailed(
                f"it calls {call}(), which rolls back what it has not committed",
                hint=f"call {call}() before anything else"
                + ("" if self.single else ", or db.commit() or db.rollback() before it"),
            )

    def _may_lose(self) -> bool:
        """Whether a rollback of the open transaction may lose work.

        What takes no transaction number, for example NOTIFY, is recognized by the text of the statements. What a function writes is
        recognized by the transaction numbers that the server has given.
        """
        if self._open and (self.single or self._wrote_in == self._began):
            return True
        status = self.info.transaction_status
        if status == INERROR:  # the work is lost already, and the server can no longer be asked whether there was any
            return self._sent_in == self._began if self._open else not self._failed_in_sight
        if status != INTRANS:
            return False
        has_marker = self._open and not self._is_another_transaction()
        return int(self._answer(_WRITING)) > int(has_marker)

    def reset(self) -> None:
        self._refuse_to_lose("reset")
        self.rollback()
        super().reset()

    def close(self) -> None:
        self._broke = self.is_broken()
        if not self.closed and self.info.transaction_status in {INTRANS, INERROR} and self.write_marker is not None:
            self.lost_work = self.lost_work or "its connection was closed, or lost, with uncommitted work"
        if not self.closed and not self._broke:
            self.settle()
        super().close()

    # -- calls of the driver that end a transaction, or switch to autocommit, without the methods above -------------------------

    @property
    def autocommit(self) -> Any:
        """See psycopg2. When it is switched on, the marker is written at once: it is durable before any other statement is."""
        return super().autocommit

    @autocommit.setter
    def autocommit(self, value: Any) -> None:
        pg.connection.autocommit.__set__(self, value)  # type: ignore[attr-defined] # a property of C
        self._mark_where_alone()

    def set_session(self, *arguments: Any, **options: Any) -> None:
        super().set_session(*arguments, **options)
        self._mark_where_alone()

    def set_isolation_level(self, level: int | None) -> None:
        self._refuse_to_lose("set_isolation_level")
        self.rollback()  # the driver would roll back itself, without calling the method above
        super().set_isolation_level(level)
        self._mark_where_alone()

    def set_client_encoding(self, encoding: str) -> None:
        if re.sub("[^A-Z0-9]", "", encoding.upper()) != self.encoding:
            self._refuse_to_lose("set_client_encoding")
            self.rollback()  # as above
        super().set_client_encoding(encoding)

    def _mark_where_alone(self) -> None:
        if self.autocommit:
            self.before_statement()

    def lobject(self, *arguments: Any, **options: Any) -> Any:
        self.before_statement()  # it opens a transaction by itself
        self._wrote_in = self._began
        return super().lobject(*arguments, **options)

    def tpc_begin(self, *_arguments: Any) -> None:
        self._refuse(Kind.TWO_PHASE)

    def tpc_commit(self, *_arguments: Any) -> None:
        self._refuse(Kind.TWO_PHASE)

    def tpc_rollback(self, *_arguments: Any) -> None:
        self._refuse(Kind.TWO_PHASE)

    # -- its state ------------------------------------------------------------------------------------------------------------

    def why_work_was_lost(self) -> str:
        """Return why work of the body was rolled back, perhaps without the body noticing; empty when none was."""
        return self.lost_work or (
            "its connection was closed, or lost, with uncommitted work" if self.is_broken() else ""
        )

    def is_broken(self) -> bool:
        """Whether the server or the network ended the connection, even if the body has closed it afterwards."""
        return self._broke or self.closed == 2  # psycopg2: 1 is closed, 2 is broken

    def _say(self, statement: str) -> None:
        with self._unmarked() as cursor:
            cursor.execute(statement)
