"""A run on PostgreSQL that is one transaction: its migrations share a session, which is cleaned before each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg
from msgspec import Struct

from migrate_graph.database.driver_errors import AttemptFailed, ends_itself, unfinished
from migrate_graph.database.owner import Owner
from migrate_graph.database.postgres.session.as_ourselves import AsOurselves
from migrate_graph.database.postgres.session.connection import ANCHOR, IDLE, NOW, WorkConnection
from migrate_graph.database.postgres.session.cursor import rows_of
from migrate_graph.database.postgres.session.opening import application_name
from migrate_graph.database.postgres.session.statements import ENDS, Kind
from migrate_graph.database.postgres.shared_work import SharedWork
from migrate_graph.database.savepoints import Savepoint
from migrate_graph.database.views.held import HeldKeeper, HeldViews
from migrate_graph.errors import MigrateGraphError

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import AtomicIntent, Settings
    from migrate_graph.database.books.ledger import AttemptKey, Ledger
    from migrate_graph.database.postgres.views.weaving import PostgresWeaver
    from migrate_graph.database.postgres.work import WorkSessions
    from migrate_graph.database.views.weaving import Company

_AS_OURSELVES = "RESET SESSION AUTHORIZATION; RESET ROLE"

# The steps of DISCARD ALL that a transaction allows. The work's lock is also held by the transaction, so it stays.
_LIKE_NEW = (
    f"{_AS_OURSELVES}; RESET ALL; UNLISTEN *; CLOSE ALL; DISCARD TEMP; DISCARD SEQUENCES; DEALLOCATE ALL; "
    "SELECT pg_catalog.pg_advisory_unlock_all()"
)

# What a commit does, too: deferred constraints are checked, and afterwards each constraint is as it was declared. No command resets them
# to their declaration, so the constraints that are declared INITIALLY IMMEDIATE are named one by one.
_CHECKED = "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"
_IMMEDIATE_ONES = (
    "SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.conname) FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n "
    "ON n.oid OPERATOR(pg_catalog.=) c.connamespace WHERE c.condeferrable AND NOT c.condeferred "
    "AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') ORDER BY 1"
)


class AtomicConnection(WorkConnection):
    """The driver connection of such a run: a commit of a body only sets a savepoint, and only the run itself ends the transaction.

    Attributes:
        on_statement: called with the text of each statement of a body, before it is sent.
        on_savepoint: called after a body has committed, which sets the savepoint anew.
        on_undo: called after a body has rolled back to the savepoint.
        ended: how a body tried to end the transaction; empty when none did.
        has_point: the savepoint that a rollback of the body goes back to is set.
        missed_point: a body tried to roll back while that savepoint was not set.
    """

    def __init__(self, dsn: str) -> None:
        self.on_statement: Callable[[str], None] | None = None
        self.on_savepoint: Callable[[], None] = _nothing
        self.on_undo: Callable[[], None] = _nothing
        self.ended = ""
        self.has_point = self.missed_point = False
        self._lets_close = False
        super().__init__(dsn)

    # -- one migration --------------------------------------------------------------------------------------------------------

    def begin_migration(self, owner: Owner, write_marker: Callable[[], str], began: str) -> None:
        """Start to be used by a migration whose marker is written already.

        Args:
            owner: the thread and process that may use the connection.
            write_marker: writes the marker again, if the transaction was ended and another one began.
            began: when the transaction began.
        """
        self.owner, self.write_marker, self.single = owner, write_marker, True
        self.ended, self._began = "", began

    def end_migration(self) -> None:
        """Stop being used by a migration: commits and rollbacks of the driver do nothing from now on."""
        self.owner, self.write_marker, self.on_statement, self.weaver, self.hears = None, None, None, None, None

    def ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Send statements of this package, without the checks for those of bodies; return the rows of the last one."""
        self.asked += 1
        with self._unmarked() as cursor:
            return rows_of(cursor, statement, parameters or None)

    def really_close(self) -> None:
        """Close the connection, also while a migration uses it."""
        self._lets_close = True
        super().close()

    # -- what a body may not do -----------------------------------------------------------------------------------------------

    def read(self, cursor: pg.cursor, query: Any, values: Any) -> Any:
        if self.on_statement is not None and self.write_marker is not None:
            if self.owner is not None:
                self.owner.check()  # a thread of an earlier migration may still use the connection
            self.on_statement(self.text_of(query))
        return super().read(cursor, query, values)

    def _refuse(self, kind: Kind) -> None:
        if kind in {*ENDS, Kind.TWO_PHASE}:
            self.refuse("ends its transaction by a statement of its own")
        if self.autocommit:
            self.refuse("has set autocommit")

    def refuse(self, what: str) -> None:
        """Refuse a call that would end the transaction or change its mode; the migration fails even if it catches the error.

        Args:
            what: what the body did, as the predicate of a sentence.

        Raises:
            AttemptFailed: always, while a migration runs.
        """
        if self.write_marker is not None:
            self.ended = what
            raise AttemptFailed(f"it {what}, and {self.scope}", hint=ends_itself(self.option))

    scope = option = ""  # for messages: why the transaction must not end; see `AtomicIntent`

    def close(self) -> None:
        if not self._lets_close:
            self.refuse("closes its connection")
        super().close()

    def reset(self) -> None:
        self.refuse("resets its connection")

    def set_session(self, *arguments: Any, **options: Any) -> None:
        self.refuse("calls set_session(), which needs a new transaction")

    def set_isolation_level(self, level: int | None) -> None:
        self.refuse(f"calls set_isolation_level({level}), which ends the transaction")

    def set_client_encoding(self, encoding: str) -> None:
        if encoding.upper().replace("-", "") != self.encoding:
            self.refuse("sets another client encoding, which ends the transaction")

    # -- its transaction ------------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        if self.write_marker is None and not self.closed:
            return  # pyDAL commits when a `DAL` is made or closed
        super().commit()
        self.on_savepoint()

    def rollback(self) -> None:
        if self.write_marker is None and not self.closed:
            return
        super().rollback()
        self.on_undo()

    def _savepoint(self) -> Savepoint:
        """Return the savepoint at the last commit of the body, or at its beginning. It is set only where a rollback is expected."""
        return _Point("migrate_graph", self._say, self)


class _Point(Savepoint, frozen=True):
    """The savepoint at the last commit of a body, or at its beginning; it may not be set.

    Attributes:
        connection: its `has_point` tells whether the savepoint is set.
    """

    connection: AtomicConnection

    def set(self) -> None:
        """Set it."""
        Savepoint.set(self)
        self.connection.has_point = True

    def keep(self) -> None:
        """Release it, if it is set, and keep what was done since."""
        if self.connection.has_point:
            Savepoint.keep(self)
            self.connection.has_point = False

    def undo(self) -> None:
        """Undo what was done since.

        Raises:
            AttemptFailed: it is not set; the run is repeated with the savepoint.
        """
        if not self.connection.has_point:
            self.connection.missed_point = True
            self.connection.refuse("goes back to its beginning")
        Savepoint.undo(self)


def _nothing() -> None:
    """Do nothing."""


class _Driver(Struct, frozen=True):
    """The driver's state of a connection before any migration has used it, to restore it after each."""

    names: frozenset[str]
    factory: Any
    types: tuple[dict[Any, Any], dict[Any, Any]]

    @classmethod
    def of(cls, connection: AtomicConnection) -> _Driver:
        types = (dict(connection.string_types), dict(connection.binary_types))
        return cls(frozenset(vars(connection)), connection.cursor_factory, types)

    def put_back(self, connection: AtomicConnection) -> None:
        for name in vars(connection).keys() - self.names:
            delattr(connection, name)
        connection.cursor_factory = self.factory
        for now, before in zip((connection.string_types, connection.binary_types), self.types, strict=True):
            if now != before:
                now.clear()
                now.update(before)
        connection.notices, connection.notifies = [], []


class PostgresAtomicRun(Struct, eq=False):
    """See `database.AtomicRun`.

    Attributes:
        settings: the settings of the database.
        ledger: the tool's tables.
        sessions: of the run; their `open` returns an `AtomicConnection`.
        lasting: lists the settings of a session, as (name, value).
        intent: what the run is going to do.
        held: the views that stay down between two migrations.
        connection: the connection of the run; None before its first migration.
    """

    settings: Settings
    ledger: Ledger
    sessions: WorkSessions
    lasting: Callable[[AtomicConnection], list[tuple[str, str]]]
    intent: AtomicIntent
    held: HeldViews
    connection: Any = None
    _driver: _Driver | None = None
    _began: str = ""
    _names: tuple[str, ...] = ()
    _installed: frozenset[str] = frozenset()
    _immediate: list[str] | None = None

    @property
    def was_careful(self) -> bool:
        """Whether the run used no shortcut that may change its result: no view stayed down, and no savepoint was missing."""
        return not (self.held.was_used or (self.connection is not None and self.connection.missed_point))

    # -- a migration ----------------------------------------------------------------------------------------------------------

    def work(self, migration: Migration, key: AttemptKey) -> PostgresAtomicWork:
        is_new = self.connection is None
        if is_new:
            self.connection, _ = self.sessions.open("atomic run")
            self.connection.autocommit = False
            self.connection.scope, self.connection.option = self.intent.scope, self.intent.option
            self._driver = _Driver.of(self.connection)
        self.held.place = self.held.places.get(migration.name, 0)
        return PostgresAtomicWork(self, key, is_new=is_new)

    def begin(self, key: AttemptKey) -> str:
        """Clean the session and write the marker of a migration, in one message; return when the transaction began."""
        question, parameters = self.sessions.prologue
        settings = [
            *self.lasting(self.connection),
            ("application_name", application_name(f"migrate_graph:{key.name}")),
        ]
        # Behind a pooler another client gets the session after the commit, so the settings are made for the transaction only.
        chosen = ", ".join(["pg_catalog.set_config(%s, %s, %s)"] * len(settings))
        values = list(chain.from_iterable((*each, self.sessions.pooled) for each in settings))
        before = "" if self._began else f"SAVEPOINT {ANCHOR}; "
        if self._began or self.sessions.pooled:
            before += f"{_LIKE_NEW}; "
        marker, marked = self.ledger.marker_statement(key)
        has_point = self.intent.can_go_back(key.name)
        point = "SAVEPOINT migrate_graph; " if has_point else ""
        ((is_ours, _, pid, began, *_),) = self.connection.ask(
            f"{before}SELECT pg_catalog.num_nulls({chosen}); {marker}; {point}SELECT {question}",
            [*values, *marked, *parameters],
        )
        self.connection.has_point = has_point
        if not is_ours:
            raise AttemptFailed("another run is at work on this database", hint="the lock of this run was lost")
        if self._began and began != self._began:
            raise AttemptFailed("the transaction of the run has ended between two migrations")
        self.connection.server_pid, self._began = pid, began
        if self._immediate is None:
            self.look_at_constraints()
        return str(began)

    def look_at_constraints(self) -> None:
        """Note the constraints that are declared DEFERRABLE INITIALLY IMMEDIATE."""
        self._immediate = [name for (name,) in self.connection.ask(_IMMEDIATE_ONES)]

    def end(self, key: AttemptKey, seconds: float) -> None:
        """Check deferred constraints, release the savepoint, and record the success of a migration.

        Raises:
            AttemptFailed: the transaction is not the one that the run began.
        """
        named = ", ".join(self._immediate or ()).replace("%", "%%")
        constraints = f"; SET CONSTRAINTS {named} IMMEDIATE" if named else ""
        release = "; RELEASE SAVEPOINT migrate_graph" if self.connection.has_point else ""
        first = f"{_AS_OURSELVES}; {_CHECKED}{constraints}{release}"
        began = NOW.format("pg_catalog.now()")
        names = tuple(self.intent.following.get(key.name, ()))
        asked = [name for name in names if name != key.name]  # this migration is recorded here, so it is known
        try:
            rows = self.ledger.on(self.connection.ask).write_success_and_ask(
                key, seconds=seconds, first=first, question=began, names=asked
            )
        except (psycopg2.errors.InvalidSavepointSpecification, psycopg2.errors.NoActiveSqlTransaction):
            raise self.ended_error() from None
        except psycopg2.errors.ReadOnlySqlTransaction:  # releasing a savepoint ends the body's READ ONLY
            self.connection.missed_point = not self.connection.has_point
            raise
        if not rows and (taken := self.ledger.on(self.connection.ask).why_unfinished(key)):
            raise unfinished(taken)
        if not rows or rows[0][1] != self._began:
            raise self.ended_error()
        self._names, self._installed = names, frozenset((key.name, *compress(asked, rows[0][2:])))

    def ended_error(self) -> AttemptFailed:
        """Return the error of a migration that has ended the transaction unnoticed."""
        self.connection.ended_unseen = True
        return AttemptFailed(
            f"a cursor that it made by hand has ended its transaction, and {self.intent.scope}",
            hint="use db.executesql(), or a cursor of db._adapter.connection.cursor()",
        )

    def installed(self, names: Sequence[str]) -> frozenset[str]:
        if tuple(names) == self._names:  # `end` of the previous migration has asked for them already
            return self._installed & {*names}
        return self.ledger.on(self.connection.ask).read_installed(names)

    def put_driver_back(self) -> None:
        """Restore the driver's state, which a body may have changed."""
        if self._driver is not None:
            self._driver.put_back(self.connection)

    # -- the end --------------------------------------------------------------------------------------------------------------

    def commit(self, guard: Callable[[], None]) -> None:
        if self.connection is None:
            return
        self.held.require_none()
        guard()
        self.sessions.patiently(self.connection, "committing the run", self._commit)

    def _commit(self) -> None:
        if self.sessions.pooled:
            self.connection.ask(_LIKE_NEW)
        self.connection.really_commit()

    def roll_back(self) -> None:
        """Roll back, and commit a marker if a transaction ended unnoticed."""
        connection = self.connection
        if connection is not None and not connection.closed:
            with contextlib.suppress(psycopg2.Error, AttemptFailed, MigrateGraphError):
                self.sessions.patiently(connection, "rolling back the run", self._roll_back)

    def _roll_back(self) -> None:
        self.connection.settle()
        self.connection.really_rollback()

    def close(self) -> None:
        self.roll_back()
        if self.connection is not None:
            self.connection.end_migration()
            with contextlib.suppress(psycopg2.Error):
                self.connection.really_close()


class PostgresAtomicWork(SharedWork):
    """See `database.Work`: one migration of such a run."""

    _connection: AtomicConnection

    def __init__(self, run: PostgresAtomicRun, key: AttemptKey, *, is_new: bool) -> None:
        self._run = run
        self._key = key
        self.has_new_session = is_new
        sessions = run.sessions
        super().__init__(
            run.connection,
            run.settings,
            run.ledger.names,
            dals=sessions.dals,
            patiently=sessions.patiently,
            name=key.name,
        )
        self._keeper = HeldKeeper(self._catalog, self._view_ledger, run.held, lambda: self.db)
        self.views = self._keeper

    def start(self) -> None:
        began = self._run.begin(self._key)
        connection, held = self._connection, self._run.held
        held.save()
        connection.on_savepoint, connection.on_undo = held.save, held.go_back
        connection.on_statement = self._before_statement
        connection.begin_migration(self._owner, self._write_marker, began)

    def weave(self, company: Company) -> PostgresWeaver:
        self._keeper.weaves = True
        return super().weave(company)

    def _write_marker(self) -> str:
        """Write the marker again; needed only if the body has ended the run's transaction and another one began."""
        question, parameters = self._run.sessions.prologue
        marker, values = self._run.ledger.marker_statement(self._key)
        rows = self._connection.ask(f"{marker}{self._connection.anchor}; SELECT {question}", [*values, *parameters])
        return str(rows[0][3])

    def _before_statement(self, text: str) -> None:
        if "deferrable" in text.lower():
            self._new_constraints = True
        self._keeper.before_statement(text)

    _new_constraints = False

    def check(self) -> None:
        connection = self._connection
        if connection.ended:
            connection.refuse(connection.ended)
        is_closed = bool(connection.closed)
        self._require_whole(connection.why_work_was_lost(), is_closed=is_closed, single=True, of_what="the run")
        if connection.info.transaction_status == IDLE or connection.ended_unseen:
            raise self._run.ended_error()
        self._keeper.end_migration()
        if self._new_constraints:
            connection.on_statement = None
            self._run.look_at_constraints()

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        self.patiently(f"recording the success of {self._key.name}", partial(self._run.end, self._key, seconds))
        self._succeeded = True

    def read_applied(self) -> frozenset[str]:
        run = AsOurselves(lambda: self._connection, self._connection.ask)
        return self._run.ledger.on(run).read_applied()

    def is_unsure(self) -> bool:
        return self._connection.ended_unseen

    def _leave(self) -> None:
        if not self._succeeded:
            self._run.roll_back()
        self._connection.end_migration()
        if self._succeeded:
            self._run.put_driver_back()
