"""The backend for SQLite: where the file is, the file lock, and the checks before anything runs."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from msgspec import Struct

from migrate_graph.core.events import Connecting, LockAcquired, LockHolder, Observer, ignore_events
from migrate_graph.core.model import Migration
from migrate_graph.database.books.bookkeeping import Bookkeeping
from migrate_graph.database.books.ledger import AttemptKey, Ledger
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource
from migrate_graph.database.driver_errors import AGAIN, HAS_ROOM, IS_FREE, IS_WRITABLE, Trouble, TroubleKind
from migrate_graph.database.names import SQLITE, TableNames
from migrate_graph.database.room import Room
from migrate_graph.database.spare_dal import SpareDal
from migrate_graph.database.sqlite.lock import FileLock, holder_of, identity
from migrate_graph.errors import (
    ConfigError,
    DatabaseError,
    UsageError,
)
from migrate_graph.messages import first_line
from migrate_graph.quoting import unquoted
from migrate_graph.redaction import redact_uri
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.core.adopting import Adoption
    from migrate_graph.core.drift import Drifted, Inventory
    from migrate_graph.core.footprint import Size
    from migrate_graph.database import AtomicIntent, Lock, RehearsingBackend, Settings, Work
    from migrate_graph.database.backup.dump import VerifiedDump
    from migrate_graph.database.books.obstacles import Obstacles
    from migrate_graph.database.contents import Contents
    from migrate_graph.database.scratch_database import Scratch
    from migrate_graph.database.sqlite.atomic import SqliteAtomicRun
    from migrate_graph.database.sqlite.catalog import SqliteCatalog
    from migrate_graph.database.sqlite.spare import Spare
    from migrate_graph.database.sqlite.trial import Trial
    from migrate_graph.database.sqlite.work import SqliteWork, WorkConnection
    from migrate_graph.database.views.adoption import Adopted, ManagerName
    from migrate_graph.database.views.presence import ViewPresence
    from migrate_graph.database.watching import Clone, Cloning, Watching

# Seconds for which `migrate status` may hold the lock file, to see whether a run holds it.
_LOOK = 0.05

# Seconds to wait for the transaction of another program. _FOR_EVER: statements of a migration where `lock_timeout` is off.
# _KEEPER_PATIENCE: statements of the tool itself, at most. _MOMENT: one wait inside SQLite's C code. _PAUSE: between two tries.
_FOR_EVER = 3600.0
_KEEPER_PATIENCE = 60.0
_MOMENT = 0.5
_PAUSE = 0.05

# Seconds until a wait for another program is reported, between two such reports, and for which a statement may still wait after a signal.
_TELL_FIRST = 1.0
_TELL_EVERY = 10.0
_GRACE = 1.5

_Result = TypeVar("_Result")

# Columns of a ledger table made by hand that need a value, and that this tool does not fill in.
_WANTING = (
    'SELECT name FROM pragma_table_info(?) WHERE "notnull" AND dflt_value IS NULL AND NOT pk '
    "AND lower(name) NOT IN ('name', 'installed', 'last_update_dttm')"
)
# Finds triggers, indexes and constraints of ledger and journal that may refuse a record; tables that this tool, or edwh-migrate, has made
# have none.
_GUARDED = (
    "SELECT 1 FROM sqlite_master WHERE lower(tbl_name) IN (lower(?), lower(?)) AND (type = 'trigger' OR type = 'index' AND sql IS NOT NULL "
    "OR sql LIKE '%CHECK%' OR sql LIKE '%REFERENCES%' OR sql LIKE '%GENERATED%' OR sql LIKE '% AS %') LIMIT 1"
)


_LEFT_BY_KILLED = {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY}

_OWN_WAY = "it is held by this migration itself, which has uncommitted work on db"
_OWN_WAY_HINT = "call db.commit() before another connection writes, or let db do its work"

# SQLite has only one error code for all of these; its messages are always in English.
_TEXTS = {
    re.compile(
        r"(from )?within a transaction|database \S+ is locked"
    ): 'a statement that refuses a transaction needs @migration(transaction="none")',
    re.compile(
        r"error in view (?P<view>.+?)(?: after (?:drop|add|rename)[a-z ]*)?:"
    ): "{view} reads what this statement changes: open it with its manager (`with V(db)`), "
    "or drop it before and create it after",
}

_HINTS = {
    sqlite3.SQLITE_AUTH: "a cursor made by hand goes past the migration's transaction: use db.executesql() or db._adapter.connection.cursor()",
    sqlite3.SQLITE_BUSY: "another program is writing, or holds a reading transaction open: lock_timeout sets how long to wait",
    sqlite3.SQLITE_FULL: "the disk is full: make room, then run again",
    sqlite3.SQLITE_READONLY: "check the rights on the file and its directory",
}

_PASSES = {
    sqlite3.SQLITE_BUSY: IS_FREE,
    sqlite3.SQLITE_LOCKED: IS_FREE,
    sqlite3.SQLITE_INTERRUPT: AGAIN,
    sqlite3.SQLITE_FULL: HAS_ROOM,
    sqlite3.SQLITE_NOMEM: HAS_ROOM,
    sqlite3.SQLITE_IOERR: "when the file can be read and written",
    sqlite3.SQLITE_READONLY: IS_WRITABLE,
}
"""When the same migration may succeed unchanged, by SQLite's error code."""


def resolve_path(uri: str, folder: Path | None) -> Path:
    """Return the file that a URI names.

    `sqlite:///abs/x.db` is absolute, `sqlite://x.db` relative to `folder` or the working directory, as in pyDAL.

    Raises:
        ConfigError: the URI names no file.
    """
    scheme, _, name = uri.partition("://")
    if scheme.lower() != "sqlite" or not name or name == ":memory:":
        raise ConfigError(
            "migrate_uri names no SQLite file",
            hint="use sqlite://path/to/database; a database in memory is gone when the process ends",
        )
    path = (folder or Path()) / name
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # Python 3.13 and later raise only when the file is opened
        raise ConfigError(
            f"migrate_uri names a link that leads to itself: {path}", hint=f"ls -l {quote(str(path))} shows where to"
        ) from None


class _HeldLock(Struct):
    """See `database.Lock`. A file lock is lost only when its process ends, or when its file is replaced: another run can lock the new one.

    The database file itself may be replaced as well; then this run works on a file that no longer has a name.
    """

    files: FileLock
    is_opened_file: Callable[[], bool]

    def is_held(self) -> bool:
        return self.files.is_current() and self.is_opened_file()

    def seems_held(self) -> bool:
        return self.is_held()


class SqliteBackend(Bookkeeping):
    """See `database.Backend`. The connection `_keeper` reads and writes the tool's tables; in autocommit, so that it never blocks a migration."""

    kind = "sqlite"
    why_in_a_row = "SQLite lets one connection write at a time"
    dialect = SQLITE
    _longest_pause = 0.1

    @staticmethod
    def dal_source(settings: Settings, application: str) -> DalSource:  # noqa: ARG004 - of BackendClass
        """Return how pyDAL itself connects to a file; `application` is not shown anywhere."""
        path = resolve_path(settings.uri, settings.folder)

        def connect(*_arguments: Any) -> sqlite3.Connection:
            return sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES, check_same_thread=False)

        return DalSource(settings.uri, connect, while_made=False)

    @staticmethod
    @contextmanager
    def clone(settings: Settings, cloning: Cloning) -> Iterator[Clone]:
        from migrate_graph.database.sqlite.rehearsal import copy_database
        from migrate_graph.database.watching import Clone

        yield Clone(
            copy_database(settings, cloning.folder, observer=cloning.observer, interruption=cloning.interruption)
        )

    @staticmethod
    def fresh(settings: Settings, cloning: Cloning) -> AbstractContextManager[Scratch]:  # noqa: ARG004 - of BackendClass
        """Return a place that makes files for one use; they are deleted with their folder."""
        from migrate_graph.database.sqlite.scratch import ScratchFiles

        return nullcontext(ScratchFiles(cloning.folder))

    @staticmethod
    def sizes_of(settings: Settings) -> dict[str, Size] | None:  # noqa: ARG004 - of BackendClass
        """Return None: the copy has all rows, so a rehearsal reads the sizes there."""
        return None

    @staticmethod
    def rehearsing(settings: Settings, watching: Watching) -> RehearsingBackend:
        from migrate_graph.database.sqlite.rehearsal import SqliteRehearsal

        return SqliteRehearsal(settings, watching)

    @staticmethod
    def keep_open_statement(seconds: int) -> str:  # noqa: ARG004 - of BackendClass
        """Return an empty text: a file does not close idle connections."""
        return ""

    @staticmethod
    def catalog_on(connection: Any) -> SqliteCatalog:
        from migrate_graph.database.sqlite.catalog import SqliteCatalog

        return SqliteCatalog(lambda: connection)

    @staticmethod
    def drop_of(change: Drifted) -> str:
        """See `database.BackendClass`."""
        from migrate_graph.database.sqlite.adopting import drop_of

        return drop_of(change)

    @staticmethod
    def contents(settings: Settings, *, unstable: Mapping[str, Collection[str]]) -> Contents:
        from migrate_graph.database.sqlite.contents import read_contents

        return read_contents(settings, unstable=unstable)

    @staticmethod
    def scratch(settings: Settings, *, directory: Path, schemas: Sequence[str]) -> Scratch | None:  # noqa: ARG004 - of BackendClass
        from migrate_graph.database.sqlite.scratch import ScratchFiles

        return None if settings.uri else ScratchFiles(directory)

    def __init__(self, settings: Settings, *, writing: bool) -> None:
        self._settings = settings
        self._writing = writing
        self.path = resolve_path(settings.uri, settings.folder)
        self.label = redact_uri(settings.uri)
        self.secrets = settings.secrets
        self._keeper: sqlite3.Connection | None = None
        names = TableNames.of(settings.table, SQLITE)
        self._ledger = Ledger(names, self._execute)
        self._spare_dal = SpareDal(typedal=settings.typedal, folder=settings.folder, ledger=names.quoted(names.ledger))
        self._interruption = Interruption()
        self._observer: Observer = ignore_events
        self._opened: tuple[int, int] | None = None
        self._work: SqliteWork | None = None
        self._lock: FileLock | None = None
        self._spare: Spare | None = None
        self._lock_path = self.path.with_name(self.path.name + ".migrate.lock")

    # -- connections ----------------------------------------------------------------------------------------------------------

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        """Open the file; without `writing` it is not created, and a missing file has an empty history."""
        self._observer, self._interruption = observer, interruption
        if not self._is_to_be_opened():
            return
        limit = self._settings.connect_wait if self._writing else self._patience()
        try:
            self._keeper = self._patiently(self._open_keeper, limit=limit)
        except sqlite3.Error as error:
            raise self._unusable(error) from None
        self._opened = identity(self.path)

    def _is_to_be_opened(self) -> bool:
        """Return whether the file exists, or is to be created.

        Raises:
            DatabaseError: it does not exist and cannot be created.
        """
        try:
            if self.path.is_file():
                return True
            there, in_directory = self.path.exists(), self.path.parent.is_dir()
        except PermissionError:
            from migrate_graph.database.sqlite.unusable import hidden

            raise hidden(self.path, self.label) from None
        if in_directory and not there:
            return self._writing
        from migrate_graph.database.sqlite.unusable import no_directory, no_file

        # SQLite would wait for ever when it opens a pipe, and treats a device as an empty file.
        raise no_file(self.path, self.label) or no_directory(self.path, self.label)

    def _patience(self) -> float:
        """Return how many seconds a statement of the tool itself may wait for another program."""
        return min(self._settings.lock_timeout or _FOR_EVER, _KEEPER_PATIENCE)

    def _open_keeper(self) -> sqlite3.Connection:
        writing = self._writing and self._is_writable()
        try:
            return self._open_and_read("rwc" if writing else "ro")
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY} and self._is_at_rest():
                return self._open_and_read("ro&immutable=1")
            if code not in _LEFT_BY_KILLED:
                raise
        # A killed process has left an open transaction. Opening the file for writing rolls it back; a read-only connection cannot.
        self._open_and_read("rw").close()
        return self._open_and_read("ro")

    def _is_at_rest(self) -> bool:
        """Return whether a file that this process cannot write has no log or journal beside it, so that it can be read alone."""
        beside = [self.path.with_name(f"{self.path.name}{ending}") for ending in ("-wal", "-journal")]
        return (
            not self._is_writable()
            and self.path.exists()
            and not any(one.exists() and one.stat().st_size for one in beside)
        )

    def _is_writable(self) -> bool:
        """Return whether this process may write the database file, and create its journal beside it."""
        there = self.path.parent
        return os.access(there, os.W_OK | os.X_OK) and (not self.path.exists() or os.access(self.path, os.W_OK))

    def _open_and_read(self, mode: str) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._open(sqlite3.Connection, mode=mode)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _patiently(self, call: Callable[[], _Result], *, limit: float) -> _Result:
        """Repeat a call while another program holds the file, and report that; a signal ends the waiting.

        SQLite waits in C, where no signal handler runs, so each of its waits is short.
        """
        started = time.monotonic()
        told = 0.0
        last_words = bool(self._interruption.signal)  # after a signal the outcome is still recorded, with a short wait
        while True:
            try:
                return call()
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - started
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if last_words and waited >= _GRACE:
                    self._interruption.check()
                if waited >= limit:
                    raise
                if waited - told >= (_TELL_EVERY if told else _TELL_FIRST):
                    told = waited
                    self._observer(Connecting(waited, f"{self.path} is held by another program"))
            if last_words:
                time.sleep(_PAUSE)
            else:
                self._interruption.sleep(_PAUSE)

    def _open(self, factory: type[sqlite3.Connection], *, mode: str) -> Any:
        works = factory is not sqlite3.Connection  # a migration's connection; else the keeper
        connection: Any = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, factory=factory, isolation_level=None,
            check_same_thread=False, timeout=_MOMENT, cached_statements=0 if works else 128,
            detect_types=sqlite3.PARSE_DECLTYPES if works else 0,
        )  # fmt: skip
        if works:
            connection.patience = self._settings.lock_timeout or _FOR_EVER
        return connection

    def _unusable(self, error: sqlite3.Error) -> DatabaseError:
        from migrate_graph.database.sqlite.unusable import unusable

        return unusable(error, self.path, self.label)

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._ask(self._keeper, statement, parameters)

    def _ask(
        self, connection: sqlite3.Connection | None, statement: str, parameters: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        if connection is None:
            return []
        try:
            return self._patiently(
                lambda: connection.execute(statement, tuple(parameters)).fetchall(), limit=self._patience()
            )
        except sqlite3.DatabaseError as error:  # not only OperationalError: a damaged file raises DatabaseError
            raise self._unusable(error) from None

    def _revive(self) -> None:
        """Do nothing: a connection to a file is not lost."""

    @contextmanager
    def together(self) -> Iterator[None]:
        if self._keeper is not None and self._keeper.in_transaction:
            yield
            return
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself (disk full); the block's own error says why.
            with suppress(DatabaseError):
                self._execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self._spare is not None:
            self._spare.close()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    # -- the lock -------------------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, wait: float, observer: Observer, interruption: Interruption | None = None) -> Iterator[_HeldLock]:
        interruption = interruption or Interruption()
        started = time.monotonic()
        waited = 0.0
        while True:
            files = FileLock(self.path, self._lock_path, writable=self._is_writable())
            try:
                remaining = max(0.0, wait - (time.monotonic() - started))
                waited += self._wait(
                    partial(_take_with_retry, files), remaining, observer, interruption, self.lock_holder
                )
                if files.is_current() and self._is_opened_file():
                    break
            except BaseException:
                files.release()
                raise
            # The lock file was removed or the database replaced meanwhile, so that another run could lock the new file: try again.
            files.release()
            self._open_again()
        try:
            observer(LockAcquired(waited))
            files.sign()
            self._remove_leftovers()
            self._lock = files
            yield _HeldLock(files, self._is_opened_file)
        finally:
            self._lock = None
            files.release()

    def _is_opened_file(self) -> bool:
        return self._keeper is None or self._opened == identity(self.path)

    def _open_again(self) -> None:
        if not self._is_opened_file():
            self.close()
            self.connect(observer=self._observer, interruption=self._interruption)

    def _remove_leftovers(self) -> None:
        from migrate_graph.database.sqlite.leftovers import remove_leftovers

        remove_leftovers(self.path)

    def lock_holder(self) -> LockHolder | None:
        return holder_of(self._lock_path)

    def how_to_end(self, holder: LockHolder) -> str:
        return f"kill {holder.pid}"

    # -- state ----------------------------------------------------------------------------------------------------------------

    def read_inventory(self) -> Inventory:
        from migrate_graph.database.sqlite.facts import read_inventory

        return read_inventory(self._execute, own=self._ledger.names.all)

    def adoption_of(self, changes: Sequence[Drifted], *, managers: Mapping[str, type]) -> Adoption:
        from migrate_graph.core.adopting import adoption_of
        from migrate_graph.database.sqlite.adopting import INCLUDED, Definitions

        known = Definitions(self.read_inventory().facts)
        managed = self.managed_relations(managers)
        return adoption_of(changes, made=known.made, dropped=known.dropped, included=INCLUDED, managed=managed)

    def managed_relations(self, managers: Mapping[str, type]) -> frozenset[str]:
        from migrate_graph.database.sqlite.facts import spelled

        names = super().managed_relations(managers)
        return frozenset(spelled(unquoted(name)) for name in names)

    def view_presences(self, managers: Mapping[str, type]) -> dict[str, ViewPresence]:
        if not managers:
            return {}
        from migrate_graph.database.views.presence import view_presences

        return view_presences(self._catalog(), self._view_rows(), managers)

    def record_existing_views(self, managers: Mapping[str, type], texts: Mapping[str, str]) -> tuple[str, ...]:
        from migrate_graph.database.views.existing import existing_views

        return self._record_views(existing_views(self._catalog(), managers, texts))

    def _catalog(self) -> SqliteCatalog:
        from migrate_graph.database.sqlite.catalog import SqliteCatalog

        return SqliteCatalog(lambda: self._keeper)

    def adopt_views(self, names: Sequence[str], managers: Mapping[str, ManagerName]) -> Adopted:
        raise UsageError(
            "views of an SQLite database cannot be adopted: SQLite does not tell what a view reads",
            hint="write the manager by hand: migrate new NAME --view",
        )

    def _present(self) -> set[str]:
        names = self._ledger.names.all
        rows = self._execute(  # SQLite ignores upper and lower case in names of tables
            f"WITH ours (name) AS (VALUES {', '.join(['(?)'] * len(names))}) SELECT ours.name FROM ours"
            " JOIN sqlite_master AS found ON found.type = 'table' AND found.name = ours.name COLLATE NOCASE",
            names,
        )
        return {name for (name,) in rows}

    def _address(self) -> str:
        return str(self.path)

    def user_relations(self) -> list[str]:
        from migrate_graph.database.sqlite.restore import USER_RELATIONS

        return [name for (name,) in self._execute(USER_RELATIONS)]

    def restore(self, dump: VerifiedDump, *, observer: Observer, psql: str | None = None) -> None:
        from migrate_graph.database.sqlite.restore import restore_sqlite

        restore_sqlite(dump, self.path, table=self._settings.table, observer=observer, interruption=self._interruption)

    def prepare(self) -> None:
        missing = set(self._ledger.names.all) - self._present()
        if missing and self._is_writable():  # else `preflight` refuses, if there is anything to record
            with self.together():
                self._ledger.create(missing)
                if self._ledger.names.views in missing:
                    ViewLedger(self._ledger.names, self._execute).create()

    def preflight(self, names: Sequence[str], *, installed: bool | None = None) -> None:
        from migrate_graph.database.books.obstacles import Fault

        faults = self.obstacles().faults_of(names)
        if names and not self._is_writable():
            places = quote(str(self.path)), quote(str(self.path.parent))
            told = f"{self.path} or its directory is not writable"
            faults.append(Fault(told, f"by its owner, for the user who runs this: chmod u+w {' '.join(places)}"))
        is_guarded = not faults and names and self._execute(_GUARDED, self._ledger.names.all[:2])
        self._refuse_to_record(faults or (self._tried(names, installed=installed) if is_guarded else []))

    def obstacles(self) -> Obstacles:
        from migrate_graph.database.books.obstacles import Obstacles, twice, unfilled

        names = self._ledger.names
        if not self.has_ledger():
            return Obstacles()
        wanting = [column for (column,) in self._execute(_WANTING, (names.ledger,))]
        faults = (*twice(names, self._ledger.duplicates()), *unfilled(names, wanting))
        is_to_be_tried = not faults and not self._writing and self._execute(_GUARDED, names.all[:2])
        return Obstacles(label=self.label, names=names, faults=faults, tries=self._trial() if is_to_be_tried else None)

    def _trial(self) -> Trial | None:
        """Return what tries beside the file whether records can be written; None where that is impossible."""
        from migrate_graph.database.sqlite.trial import Trial, in_memory

        copy = in_memory(self._keeper) if self._keeper is not None else None
        return Trial(self._ledger.names, partial(self._ask, copy)) if copy is not None else None

    # -- work -----------------------------------------------------------------------------------------------------------------

    def work(self, migration: Migration, key: AttemptKey) -> SqliteWork:
        if self._lock is not None:
            self._lock.sign(migration.name)
        self._work = self.work_class(
            self._settings,
            migration,
            key,
            self._ledger,
            self._spare_one(),
            held_up=self._held_up,
            dals=self._spare_dal,
        )
        return self._work

    def own_work(self, name: str) -> SqliteWork:
        return self.work(Migration(name, lambda _db: True), AttemptKey.now(name, run=""))

    # These modules are imported only when a migration runs: the import takes a third of the time of a run that finds nothing to do.
    @property
    def work_class(self) -> type[SqliteWork]:
        """The class for one attempt at a migration."""
        from migrate_graph.database.sqlite.work import SqliteWork

        return SqliteWork

    @property
    def connection_class(self) -> type[WorkConnection]:
        """The class of the connection of an attempt."""
        from migrate_graph.database.sqlite.work import WorkConnection

        return WorkConnection

    def _spare_one(self) -> Spare:
        """Return the object that keeps the connection of one migration for the next."""
        from migrate_graph.database.sqlite.spare import Spare

        if self._spare is None:
            self._spare = Spare(self._open_work, wanted=self._settings.session == "reused")
        return self._spare

    def _open_work(self) -> WorkConnection:
        connection: WorkConnection = self._open(self.connection_class, mode="rwc")
        return connection

    def installed_if_held(self, lock: Any, names: Sequence[str]) -> frozenset[str] | None:
        """See `database.Backend`. The connection of the last migration is asked, if it is kept.

        The keeper would first read the whole schema again, since the migration has changed it.
        """
        if not lock.is_held():
            return None
        return self._ledger.on(partial(self._ask, self._spare_one().connection or self._keeper)).read_installed(names)

    def room_for(self, jobs: int) -> Room:
        return Room(1, self.why_in_a_row)

    def seat(self, lock: Lock, name: str) -> NoReturn:
        raise UsageError(self.why_in_a_row, hint="leave out --jobs")

    @classmethod
    def seated(cls, settings: Settings, seat: object) -> NoReturn:  # noqa: ARG003 - of the protocol
        raise UsageError(cls.why_in_a_row, hint="leave out --jobs")

    @classmethod
    def import_for_seats(cls, settings: Settings) -> NoReturn:  # noqa: ARG003 - of the protocol
        raise UsageError(cls.why_in_a_row, hint="leave out --jobs")

    def atomic_run(self, intent: AtomicIntent) -> SqliteAtomicRun:
        from migrate_graph.database.sqlite.atomic import AtomicConnection, SqliteAtomicRun
        from migrate_graph.database.views.held import HeldViews

        return SqliteAtomicRun(
            self._settings,
            self._ledger,
            lambda: self._open(AtomicConnection, mode="rwc"),
            held_up=self._held_up,
            dals=self._spare_dal,
            held=HeldViews.of(intent),
            intent=intent,
            on_work=self._note_work,
        )

    def _note_work(self, work: SqliteWork, name: str) -> None:
        """Note the running attempt: its name is written into the lock file, and `explain` asks it about errors."""
        self._work = work
        if self._lock is not None:
            self._lock.sign(name)

    def _held_up(self, doing: str) -> Callable[[float], None]:
        """Return a function to call during a wait for another program: it reports `doing`, and raises when a signal has arrived."""
        told = 0.0

        def tell(waited: float) -> None:
            nonlocal told
            self._interruption.check()
            if waited - told >= (_TELL_EVERY if told else _TELL_FIRST):
                told = waited
                self._observer(Connecting(waited, f"{doing}: {self.path} is held by another program"))

        return tell

    def explain(self, error: BaseException) -> Trouble:
        """Return what an exception of a migration means; also for exceptions that are not the driver's."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY and self._work is not None and self._work.is_in_its_own_way(error):
            return Trouble(TroubleKind.OTHER, f"{first_line(error)}: {_OWN_WAY}", _OWN_WAY_HINT)
        kind = TroubleKind.RETRY if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} else TroubleKind.OTHER
        return Trouble(kind, first_line(error), _HINTS.get(code) or _hint_by_text(error), _PASSES.get(code, ""))

    def waiting_for(self, work: Work) -> str:
        """Return what the running statement waits for; empty when it does not wait."""
        from migrate_graph.database.sqlite.work import SqliteWork

        waits = isinstance(work, SqliteWork) and work.waits()
        return f"waiting for another program that holds {self.path}" if waits else ""


def _hint_by_text(error: BaseException) -> str:
    if isinstance(error, sqlite3.Error):
        for pattern, hint in _TEXTS.items():
            if match := pattern.search(str(error)):
                return hint.format(**match.groupdict())
    return ""


def _take_with_retry(files: FileLock) -> bool:
    """Take the lock; try twice, since `migrate status` may hold the lock file for a moment."""
    if files.take():
        return True
    time.sleep(_LOOK)
    return files.take()
