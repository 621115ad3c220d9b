"""A run on SQLite that is one transaction: its migrations share a connection, which is made like new before each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct, field

from migrate_graph.core.model import TransactionMode
from migrate_graph.database.dal import forget
from migrate_graph.database.driver_errors import AttemptFailed, ends_itself, require_whole, unfinished
from migrate_graph.database.sqlite.spare import Spare
from migrate_graph.database.sqlite.work import (
    LOST,
    SqliteWork,
    WorkConnection,
    ends_transaction,
    pragma_set,
    stands_alone,
)
from migrate_graph.database.views.held import HeldKeeper, HeldViews
from migrate_graph.database.views.keeper import ViewKeeper
from migrate_graph.quoting import quote_identifier

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import AtomicIntent, Settings
    from migrate_graph.database.books.ledger import AttemptKey, Ledger
    from migrate_graph.database.spare_dal import SpareDal
    from migrate_graph.database.sqlite.weaving import SqliteWeaver
    from migrate_graph.database.views.weaving import Company


class AtomicConnection(WorkConnection):
    """The driver connection of a run that is one transaction: a commit of a body sets a savepoint, and only the run ends the transaction.

    Attributes:
        on_statement: called with each statement of a body before it is sent.
        on_savepoint: called after a commit of a body has set the savepoint anew.
        on_undo: called after a rollback of a body to that savepoint.
        ended: how a body tried to end the transaction, in words; empty when none did.
        is_to_be_set_up: pyDAL must register its functions again.
        scope: which option promises one transaction, and for which migrations; the end of an error message.
        option: the command line option that asks for one transaction.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.on_statement: Callable[[str], None] | None = None
        self.on_savepoint: Callable[[], None] = _nothing
        self.on_undo: Callable[[], None] = _nothing
        self.ended = self.scope = self.option = ""
        self.is_to_be_set_up = True
        self._pragmas: dict[str, object] = {}
        self._made: list[Callable[[], object]] = []
        super().__init__(*arguments, **options)
        self.mode = TransactionMode.SINGLE
        self._names = frozenset({*vars(self), "_names"})

    # -- one migration --------------------------------------------------------------------------------------------------------

    def begin_transaction(self) -> None:
        """Begin the transaction of the run."""
        self.patiently(partial(self._say, "BEGIN IMMEDIATE"))
        self._open = True

    @contextmanager
    def unmarked(self) -> Iterator[None]:
        """Mark the statements inside the block as the tool's own, which need no marker."""
        before, self.write_marker = self.write_marker, None
        try:
            yield
        finally:
            self.write_marker = before

    def set_point(self) -> None:
        """Set the savepoint that stands for the last commit of a body."""
        self._savepoint.set()

    def forget_point(self) -> None:
        """Release that savepoint, and keep what was done since."""
        self._savepoint.keep()

    def make_like_new(self) -> None:
        """Undo what a body may have changed in the connection, as far as that is possible inside a transaction."""
        temporary = self._read("SELECT type, name FROM sqlite_temp_master WHERE type IN ('table', 'view', 'trigger')")
        statements = [f"DROP {kind} IF EXISTS temp.{quote_identifier(name)}" for kind, name in temporary]
        statements += [f"PRAGMA {name} = {value}" for name, value in self._pragmas.items()]
        self.is_to_be_set_up = bool(self._made)  # a function of the body may have replaced one of pyDAL's
        self._made += [partial(self._say, statement) for statement in statements]
        for undo in self._made:
            with suppress(sqlite3.Error):  # a statement of an earlier migration may still be active
                undo()
        self._pragmas, self._made = {}, []
        for name in vars(self).keys() - self._names:
            delattr(self, name)
        self.row_factory, self.text_factory = None, str
        self.set_trace_callback(None)
        self.set_progress_handler(None, 0)
        self.set_authorizer(None)

    def _read(self, query: str) -> list[tuple[Any, ...]]:
        with self.ours():
            return list(sqlite3.Connection.cursor(self, sqlite3.Cursor).execute(query).fetchall())

    # -- what a body does, and may not do -------------------------------------------------------------------------------------

    def before_statement(self, sql: str) -> None:
        if self.write_marker is not None and not self._marking:
            if self.owner is not None:
                self.owner.check()  # a thread of an earlier migration may still run
            if ends_transaction(sql):
                self.refuse("ends its transaction by a statement of its own")
            if word := stands_alone(sql):
                self.refuse(f"sends {word}, which cannot be undone with a transaction")
            if (name := pragma_set(sql)) and name not in self._pragmas:
                values = self._read(f"PRAGMA {name}")
                self._pragmas[name] = values[0][0] if len(values) == 1 and len(values[0]) == 1 else 0
            if self.on_statement is not None:
                self.on_statement(sql)
        super().before_statement(sql)

    def refuse(self, what: str) -> NoReturn:
        """Refuse an action that is impossible in a part of a larger transaction; the attempt fails even if the body catches the exception.

        Raises:
            AttemptFailed: always.
        """
        self.ended = what
        raise AttemptFailed(f"it {what}, and {self.scope}", hint=ends_itself(self.option))

    def _refuse_ignored_pragma(self, sql: str) -> None:
        try:
            super()._refuse_ignored_pragma(sql)
        except sqlite3.OperationalError:
            self.refuse("sets PRAGMA foreign_keys, which has no effect inside a transaction")

    def close(self) -> None:
        if self.write_marker is not None:
            self.refuse("closes its connection")
        super().close()

    def _note(self, undo: Callable[[], object]) -> None:
        """Note how to undo a registration of a body; what pyDAL registers before the body stays."""
        if self.write_marker is not None:
            self._made.append(undo)

    def create_function(self, name: str, narg: int, func: Any, **options: Any) -> None:
        super().create_function(name, narg, func, **options)
        self._note(lambda: sqlite3.Connection.create_function(self, name, narg, None))

    def create_aggregate(self, name: str, n_arg: int, aggregate_class: Any) -> None:
        super().create_aggregate(name, n_arg, aggregate_class)
        self._note(lambda: sqlite3.Connection.create_aggregate(self, name, n_arg, None))  # type: ignore[arg-type] # removes it

    def create_collation(self, name: str, callback: Any, /) -> None:
        super().create_collation(name, callback)
        self._note(lambda: sqlite3.Connection.create_collation(self, name, None))

    # -- its transaction ------------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        if self.write_marker is not None:
            super().commit()
            self.on_savepoint()

    def rollback(self) -> None:
        if self.write_marker is not None:
            super().rollback()
            self.on_undo()


def _nothing() -> None:
    """Do nothing."""


class _Shared(Spare):
    """Hands the connection of the run to one of its migrations."""

    def __init__(self, connection: AtomicConnection, *, is_new: bool) -> None:
        super().__init__(lambda: connection, wanted=False)
        self._is_new = is_new

    def take(self) -> tuple[WorkConnection, bool]:
        return self._open(), self._is_new


class SqliteAtomicRun(Struct, eq=False):
    """See `database.AtomicRun`.

    Attributes:
        settings: settings of the database.
        ledger: the ledger.
        connect: opens the connection of the run.
        held_up: returns a function that reports that another program holds the file.
        dals: makes the `DAL` of each migration.
        held: views that are down between two migrations.
        intent: the plan of the run; if it is careful, foreign keys are checked after each migration.
        on_work: called with each new work and the name of its migration.
        connection: connection of the run; None before its first migration.
    """

    settings: Settings
    ledger: Ledger
    connect: Callable[[], AtomicConnection]
    held_up: Callable[[str], Callable[[float], None]]
    dals: SpareDal
    held: HeldViews
    intent: AtomicIntent
    on_work: Callable[[SqliteWork, str], None]
    connection: Any = None
    _broke_a_reference: bool = False
    _known: set[tuple[Any, ...]] = field(default_factory=set)

    @property
    def was_careful(self) -> bool:
        return not (self.held.was_used or self._broke_a_reference)

    def work(self, migration: Migration, key: AttemptKey) -> SqliteAtomicWork:
        is_new = self.connection is None
        if is_new:
            self.connection = self.connect()
            self.connection.scope, self.connection.option = self.intent.scope, self.intent.option
        else:
            self.connection.make_like_new()
        self.held.place = self.held.places.get(migration.name, 0)
        work = SqliteAtomicWork(self, migration, key, is_new=is_new)
        self.on_work(work, migration.name)
        return work

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement of the tool."""
        with self.connection.unmarked():
            return list(self.connection.cursor().execute(statement, tuple(parameters)).fetchall())

    def begin(self, key: AttemptKey) -> None:
        """Write the marker of a migration, in the transaction of the run, and set its savepoint."""
        if not self.connection.in_transaction:
            self.connection.begin_transaction()
            if self.intent.careful:
                self._known = self._broken_references()
        self.ledger.on(self.execute).write_marker(key)
        with self.connection.unmarked():
            self.connection.set_point()

    def end(self, key: AttemptKey, seconds: float) -> None:
        """Release the savepoint, and record the success of a migration.

        Raises:
            AttemptFailed: the migration leaves rows that refer to missing rows, or its success could not be written.
        """
        self.connection.forget_point()
        if self.intent.careful and (broken := self._broken_references() - self._known):
            table, _, parent, _ = min(broken, key=str)
            rows = (
                "1 row behind that refers to one which is"
                if len(broken) == 1
                else f"{len(broken)} rows behind that refer to rows which are"
            )
            raise AttemptFailed(
                f"it leaves {rows} not there, in {table}, to {parent}",
                hint="a deferred foreign key is checked when the migration ends: insert what it refers to before that",
            )
        books = self.ledger.on(self.execute)
        if not books.write_success(key, seconds=seconds):
            raise unfinished(books.why_unfinished(key))

    def _broken_references(self) -> set[tuple[Any, ...]]:
        ((enforced,),) = self.execute("PRAGMA foreign_keys")
        return set(self.execute("PRAGMA foreign_key_check")) if enforced else set()

    def installed(self, names: Sequence[str]) -> frozenset[str]:
        return self.ledger.on(self.execute).read_installed(names)

    def commit(self, guard: Callable[[], None]) -> None:
        if self.connection is None:
            return
        self.held.require_none()
        guard()
        self.connection.held_up = self.held_up("committing the run")
        try:
            self.connection.really_commit()
        except sqlite3.IntegrityError as error:
            self._broke_a_reference = error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
            raise
        finally:
            self.connection.held_up = None

    def roll_back(self) -> None:
        """Roll the transaction of the run back."""
        if self.connection is not None and not self.connection.is_closed:
            with suppress(sqlite3.Error):
                self.connection.really_rollback()

    def close(self) -> None:
        self.roll_back()
        if self.connection is not None:
            self.connection.write_marker = None
            with suppress(sqlite3.Error):
                self.connection.close()


class SqliteAtomicWork(SqliteWork):
    """See `database.Work`; one migration of a run that is one transaction."""

    def __init__(self, run: SqliteAtomicRun, migration: Migration, key: AttemptKey, *, is_new: bool) -> None:
        self._run = run
        self._has_ended = False
        super().__init__(
            run.settings,
            migration,
            key,
            run.ledger,
            _Shared(run.connection, is_new=run.connection.is_to_be_set_up),
            held_up=run.held_up,
            dals=run.dals,
        )
        self.has_new_session = is_new
        self._keeper = HeldKeeper(self._catalog, self._view_ledger, run.held, lambda: self.db)
        self.views: ViewKeeper = self._keeper

    def _arm(self) -> None:
        self._connection.write_marker = lambda: self._ledger.write_marker(self._key)
        self._connection.owner = self._owner

    def start(self) -> None:
        self._run.begin(self._key)
        connection: Any = self._connection
        held = self._run.held
        held.save()
        connection.ended = ""
        connection.on_savepoint, connection.on_undo = held.save, held.go_back
        connection.on_statement = self._keeper.before_statement
        self._started = True
        self._arm()

    def check(self) -> None:
        connection: Any = self._connection
        if connection.ended:
            connection.refuse(connection.ended)
        lost = connection.has_lost_work() or not connection.in_transaction
        require_whole(
            refused=self._owner.refused, lost=LOST if lost else "", is_closed=connection.is_closed, single=True
        )
        self._keeper.end_migration()

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        self._disarm()
        self.patiently(f"recording the success of {self._key.name}", partial(self._run.end, self._key, seconds))
        self._succeeded = True

    def read_applied(self) -> frozenset[str]:
        return self._run.ledger.on(self._run.execute).read_applied()

    def weave(self, company: Company) -> SqliteWeaver:
        self._keeper.weaves = True
        return super().weave(company)

    def _disarm(self) -> None:
        connection: Any = self._connection
        connection.write_marker = connection.owner = connection.on_statement = connection.weaver = connection.hears = (
            None
        )

    def close(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._disarm()
        if self._succeeded:
            self._run.dals.keep(self)
        else:
            self._run.roll_back()
        forget(self.db)
        del self.db
