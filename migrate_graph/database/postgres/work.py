"""One attempt at one migration on PostgreSQL: a clean session in which every transaction starts with the marker."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2
from msgspec import Struct

from migrate_graph.core.model import TransactionMode
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource, forget
from migrate_graph.database.driver_errors import AttemptFailed, require_whole, unfinished
from migrate_graph.database.owner import Owner
from migrate_graph.database.postgres.session.as_ourselves import AsOurselves, becoming
from migrate_graph.database.postgres.session.connection import IDLE, INERROR, NOW, WHO, WorkConnection
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.session.opening import application_name, pydal_uri
from migrate_graph.database.postgres.session.patience import cut
from migrate_graph.database.postgres.session.renewal import is_at_rest
from migrate_graph.database.postgres.views.beside import PostgresBuilder
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.postgres.views.weaving import PostgresWeaver
from migrate_graph.database.views.keeper import ViewKeeper
from migrate_graph.errors import MigrateGraphError
from migrate_graph.quoting import quote_identifier

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey, Ledger
    from migrate_graph.database.sole_holder import Holder
    from migrate_graph.database.spare_dal import SpareDal
    from migrate_graph.database.views.weaving import Company


_AS_OURSELVES = "RESET SESSION AUTHORIZATION; RESET ROLE"

_PREPARED = "SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql"

# A session that builds or drops an index concurrently holds this lock on the table until it is done, and the index is INVALID until then.
_INVALID_INDEXES = (
    "SELECT CAST(CAST(i.indexrelid AS pg_catalog.regclass) AS pg_catalog.text) FROM pg_catalog.pg_index i WHERE NOT i.indisvalid "
    "AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.granted "
    "AND l.relation OPERATOR(pg_catalog.=) i.indrelid AND l.mode OPERATOR(pg_catalog.=) 'ShareUpdateExclusiveLock' "
    "AND l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid "
    "FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))"
)


class WorkSessions(Struct, frozen=True):
    """How an attempt gets a session, and what it needs to know of the run's sessions.

    Attributes:
        open: takes the name of a migration; returns a session for it, new or kept from the migration before, and whether it is new.
        keep: keeps the session of an attempt that succeeded for the next one, if it can be cleaned; returns whether it does.
        prologue: SQL expressions that are selected with every marker, and their parameters: whether the session holds the work's lock,
            whether the transaction is read-only, the number of the server process, and when the transaction began.
        pooled: a pooler gives the session to another client after each commit.
        patiently: runs a call that may block on a connection, and reports what it waits for.
        dals: makes the `DAL`.
    """

    open: Callable[[str], tuple[WorkConnection, bool]]
    keep: Callable[[Holder], bool]
    prologue: tuple[str, list[Any]]
    pooled: bool
    patiently: Callable[..., Any]
    dals: SpareDal


def prologue(keys: Sequence[int], settings: Sequence[tuple[str, str]]) -> tuple[str, list[Any]]:
    """Return the SQL expressions that are selected with every marker, and their parameters; see `WorkSessions.prologue`.

    The work's lock is taken once more, for the transaction: unlike the session's, a `pg_advisory_unlock_all()` of the body cannot free
    it. No name depends on the search_path, because the body may have changed it.

    Args:
        keys: the two keys of the work's lock.
        settings: to set for the transaction alone, as (name, value).
    """
    parts = (
        "pg_catalog.pg_try_advisory_xact_lock(%s, %s) AS is_ours, pg_catalog.current_setting('transaction_read_only') AS read_only, "
        f"pg_catalog.pg_backend_pid() AS pid, {NOW.format('pg_catalog.now()')} AS began"
    )
    return parts + ", pg_catalog.set_config(%s, %s, true)" * len(settings), [*keys, *chain.from_iterable(settings)]


class PostgresWork:
    """See `database.Work`."""

    def __init__(
        self,
        settings: Settings,
        migration: Migration,
        key: AttemptKey,
        ledger: Ledger,
        *,
        sessions: WorkSessions,
    ) -> None:
        self._mode = migration.transaction
        self._key = key
        self._sessions = sessions
        self._owner = Owner()
        self._connection, self.has_new_session = sessions.open(key.name)
        self._fresh: WorkConnection | None = self._connection
        self._started = False
        self._is_marked = True
        self._succeeded = self._ended = False
        self._lost_work = ""
        self._broke = False
        self._unsure = False
        self._invalid_before: set[str] = set()
        self._ledger = ledger.on(self._execute)
        source = DalSource(
            pydal_uri(settings.uri),
            self._connector,
            while_made=True,
            finds_table="SELECT to_regclass(%s) IS NOT NULL",
            sets_up=sessions.pooled,
        )
        self._connection.being_greeted = not sessions.pooled
        self.db = sessions.patiently(
            self._connection,
            f"opening a session for {key.name}",
            partial(sessions.dals.take, source),
        )
        self._connection.being_greeted = False
        sessions.dals.note(self)
        self._connection.autocommit = False  # only now: until here pyDAL may send its first statements
        self._catalog = PostgresCatalog(lambda: self._connection)
        self._ourselves = AsOurselves(lambda: self._connection, self._execute)
        run_as_ourselves = AsOurselves(lambda: self._connection, self._catalog.run)
        self._view_ledger = ViewLedger(ledger.names, run_as_ourselves, locate=self._catalog.locate)
        self.views = ViewKeeper(self._catalog, self._view_ledger, PostgresBuilder(self._catalog))
        self._weaver: PostgresWeaver | None = None
        self._hears: Callable[[str], None] | None = None

    def _connector(self, *_dsn: Any, **_options: Any) -> WorkConnection:
        """Return the connection for pyDAL: the first time the attempt's own, after a `db.close()` a new one for the same attempt.

        pyDAL calls this in every thread and process that uses the `DAL`.
        """
        self._owner.check()
        self._lost_work = self._lost_work or self._connection.why_work_was_lost()
        self._broke = self._broke or self._connection.is_broken()
        self._unsure = self._unsure or self._connection.ended_unseen
        connection, self._fresh = self._fresh or self._sessions.open(self._key.name)[0], None
        if self._started:
            connection.autocommit = self._mode is TransactionMode.NONE
            self._arm(connection)
        self._connection = connection
        return connection

    def _arm(self, connection: WorkConnection) -> None:
        connection.single = self._mode is TransactionMode.SINGLE
        connection.write_marker = self._write_marker
        connection.owner = self._owner
        connection.weaver = self._weaver
        connection.hears = self._hears
        connection.make_room = self.views.before_statement
        connection.reset_session = self._reset_session if self._sessions.pooled else None

    def _write_marker(self) -> str:
        begun_by_hand = self._connection.info.transaction_status != IDLE
        try:
            return self._mark_as_ourselves()
        except psycopg2.errors.InsufficientPrivilege:
            if begun_by_hand or self._connection.who_before is not None:  # the body's transaction needs its marker
                raise
            self._connection.really_rollback()
            self._find_out_who_we_are()
            return self._mark_as_ourselves()

    def _mark_as_ourselves(self) -> str:
        with self._ourselves.acting():
            return self._mark()

    def _find_out_who_we_are(self) -> None:
        """Note user and role of the session from before the body changed them where it was not noticed, for example in a function."""
        (now,) = self._execute(WHO, ())
        self._execute(_AS_OURSELVES, ())
        (was,) = self._execute(WHO, ())
        self._execute(*becoming(was, now, local=False))
        self._connection.who_before = was

    def _mark(self) -> str:
        """Write the marker; return when its transaction began."""
        if self._sessions.pooled or not (self._is_marked and self._connection.opens_transaction):
            return self._mark_in_steps()
        try:
            ((is_ours, _, pid, began, *_),) = self._mark_asking()
        except psycopg2.errors.ReadOnlySqlTransaction:
            self._connection.really_rollback()  # the transaction has only just begun, so nothing is lost
            return self._mark_in_steps()
        return self._began(is_ours, pid, began)

    def _mark_in_steps(self) -> str:
        questions, parameters = self._questions
        ((is_ours, read_only, pid, began, *_),) = self._execute(f"SELECT {questions}", parameters)
        began = self._began(is_ours, pid, began)
        marker, marked = self._ledger.marker_statement(self._key)
        if read_only != "off" or not self._is_marked:  # a read-only transaction needs no marker: it can commit nothing
            marker, marked = "", ()
        if last := f"{marker}{self._connection.anchor}":
            self._execute(last, marked)
        return began

    def _mark_asking(self) -> list[tuple[Any, ...]]:
        """Write the marker, set the anchor after it, and select the prologue, in one message; return the row of the prologue."""
        marker, marked = self._ledger.marker_statement(self._key)
        questions, parameters = self._questions
        return self._execute(f"{marker}{self._connection.anchor}; SELECT {questions}", (*marked, *parameters))

    @property
    def _questions(self) -> tuple[str, list[Any]]:
        """The prologue with its parameters; in a kept session it also sets the `application_name` for this migration."""
        questions, parameters = self._sessions.prologue
        if self.has_new_session or self._sessions.pooled:
            return questions, parameters
        name = application_name(f"migrate_graph:{self._key.name}")
        return f"{questions}, pg_catalog.set_config('application_name', %s, false)", [*parameters, name]

    def _began(self, is_ours: bool, pid: int, began: str) -> str:  # noqa: FBT001 - the columns of a row
        if not is_ours:
            raise AttemptFailed("another run is at work on this database", hint="the lock of this run was lost")
        self._connection.server_pid = pid
        return str(began)

    def _reset_session(self) -> None:
        """Undo what the body set in the session, which a pooler gives to another client after the commit."""
        self._execute(_AS_OURSELVES, ())
        encoding = self._connection.info.parameter_status("client_encoding")  # the driver and the pooler rely on it
        self._execute("RESET ALL", ())
        self._execute("SELECT pg_catalog.set_config('client_encoding', %s, false)", (encoding,))
        self._execute("UNLISTEN *; CLOSE ALL; DISCARD TEMP", ())
        for (name,) in self._execute(_PREPARED, ()):
            self._execute(f"DEALLOCATE {quote_identifier(name)}", ())

    def _execute(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return send(self._connection, statement, parameters)

    def start(self) -> None:
        self._started = True
        self._arm(self._connection)
        if self._mode is TransactionMode.NONE:
            self._connection.autocommit = True  # commits the marker: after a crash the user is asked
            self._invalid_before = self._invalid_indexes()

    def start_unmarked(self) -> None:
        """Begin work that is not an attempt: its transactions begin like those of an attempt, but write no marker."""
        self._is_marked = False
        self.start()

    def weave(self, company: Company) -> PostgresWeaver:
        self._weaver = self._connection.weaver = PostgresWeaver(
            self.views, self._view_ledger, self._catalog, company, lambda: self._connection
        )
        return self._weaver

    def listen(self, hear: Callable[[str], None] | None) -> None:
        self._hears = self._connection.hears = hear

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        connection = self._connection
        self._sessions.patiently(
            self._connection, f"recording the success of {self._key.name}", self._write_success, seconds
        )
        guard()
        self._sessions.patiently(connection, f"committing {self._key.name}", self._commit)
        self._succeeded = True

    def _write_success(self, seconds: float) -> None:
        connection = self._connection
        connection.single = False
        books = self._ledger.on(connection.tell)
        # The record is written with the run's own user and role, not with those that the body has set.
        if books.write_success_at_once(self._key, seconds=seconds, first=_AS_OURSELVES):
            return
        taken = books.why_unfinished(self._key)
        unseen = connection.settle() or connection.ended_unseen
        connection.really_rollback()
        if unseen:
            raise AttemptFailed(
                "a cursor that it made by hand has ended its transaction, so what of its work stayed is not known",
                hint="use db.executesql(), or a cursor of db._adapter.connection.cursor()",
            )
        raise unfinished(taken)

    def _commit(self) -> None:
        if self._sessions.pooled:
            self._reset_session()
        self._connection.really_commit()

    def check(self) -> None:
        connection = self._connection
        lost = self._lost_work or connection.why_work_was_lost()
        require_whole(
            refused=self._owner.refused,
            lost=f"{lost}, which is rolled back" if lost else "",
            is_closed=bool(connection.closed),
            single=self._mode is TransactionMode.SINGLE,
        )
        if connection.single and connection.ended_unseen:
            raise AttemptFailed(
                "a cursor that it made by hand has ended its transaction, and transaction='single' promises one",
                hint="use db.commit() and db.rollback()",
            )
        if connection.closed:
            self._connector()
            connection = self._connection
        status = connection.info.transaction_status
        if status == INERROR:
            raise AttemptFailed(
                "it swallowed an SQL error: the transaction is aborted, so nothing of it was kept",
                hint="let the exception pass, or wrap the statement in a savepoint",
            )
        if status == IDLE:
            self._sessions.patiently(connection, f"looking what {self._key.name} has left open", self._tidy)

    def _tidy(self) -> None:
        """Commit a marker for what ended unnoticed, and make the driver begin transactions again after a raw COMMIT."""
        self._connection.settle()
        self._connection.really_rollback()
        self._connection.autocommit = False

    def read_applied(self) -> frozenset[str]:
        return self._ledger.on(self._ourselves).read_applied()

    def leftovers(self) -> list[str]:
        """Return advice for each INVALID index that a failed CREATE INDEX CONCURRENTLY has left, which no rollback removes."""
        if self._mode is not TransactionMode.NONE or self._connection.closed:
            return []
        return [
            f"index {name} is INVALID: DROP INDEX CONCURRENTLY {name}, then create it again"
            for name in sorted(self._invalid_indexes() - self._invalid_before)
        ]

    def _invalid_indexes(self) -> set[str]:
        return {name for (name,) in self._execute(_INVALID_INDEXES, ())}

    def patiently(self, doing: str, call: Callable[[], None]) -> None:
        self._sessions.patiently(self._connection, doing, call)

    def is_lost(self) -> bool:
        return self._broke or self._connection.is_broken()

    def is_unsure(self) -> bool:
        return self._unsure

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._connection.closed and not (self._succeeded and is_at_rest(self._connection)):
            with contextlib.suppress(psycopg2.Error, AttemptFailed, MigrateGraphError):
                self._sessions.patiently(self._connection, f"rolling back {self._key.name}", self._roll_back)
        self._unsure = self._unsure or self._connection.ended_unseen
        self._connection.write_marker = self._connection.weaver = self._connection.hears = (
            self._connection.make_room
        ) = None
        if self._succeeded:
            self._sessions.dals.keep(self)
        forget(self.db)
        del self.db
        if self._succeeded and self._mode is TransactionMode.OWN and self._sessions.keep(self):
            del self._connection  # the next attempt gets it
            return
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    def _roll_back(self) -> None:
        self._connection.settle()
        self._connection.really_rollback()

    def hang_up(self) -> None:
        cut(self._connection)

    def cancel(self) -> None:
        self._connection.cancel()
