"""SQLite: where the file is, the file lock, and what is checked before anything runs."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from migrate_graph import forks
from migrate_graph.core.events import LockAcquired, LockHolder, Observer
from migrate_graph.database.books.bookkeeping import Bookkeeping
from migrate_graph.database.books.ledger import AttemptKey, Ledger
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource
from migrate_graph.database.driver_errors import Trouble, TroubleKind
from migrate_graph.database.names import SQLITE, TableNames
from migrate_graph.database.sqlite.catalog import SqliteCatalog
from migrate_graph.database.sqlite.work import SqliteWork, WorkConnection
from migrate_graph.database.views.presence import view_presences
from migrate_graph.errors import (
    ConfigError,
    DatabaseError,
    DatabaseRefused,
    DatabaseUnreachable,
    UsageError,
)
from migrate_graph.messages import first_line
from migrate_graph.redaction import redact_uri
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings, Work
    from migrate_graph.database.backup.dump import VerifiedDump
    from migrate_graph.database.scratch_database import Scratch
    from migrate_graph.database.views.adoption import ManagerName
    from migrate_graph.database.views.presence import ViewPresence

# Seconds that `migrate status` may hold the lock's file, to look whether anybody else does.
_LOOK = 0.05

# Seconds to wait for another program's transaction: of a migration where `lock_timeout` is off, of our own statements at most, and
# as long as SQLite may wait in C at a time.
_FOR_EVER = 3600.0
_KEEPER_PATIENCE = 60.0
_MOMENT = 0.5


_LEFT_BY_THE_DEAD = {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY}

_HINTS = {
    sqlite3.SQLITE_BUSY: "another program is writing, or holds a reading transaction open: lock_timeout sets how long to wait",
    sqlite3.SQLITE_FULL: "the disk is full: make room, then run again",
    sqlite3.SQLITE_READONLY: "check the rights on the file and its directory",
}


def resolve_path(uri: str, folder: Path | None) -> Path:
    """Return which file a URI means, for everything that needs to know: pyDAL, the lock, the restore.

    `sqlite:///abs/x.db` is absolute, `sqlite://x.db` relative to `folder` or the working directory, as in pyDAL.

    Raises:
        ConfigError: no file is meant.
    """
    scheme, _, name = uri.partition("://")
    if scheme.lower() != "sqlite" or not name or name == ":memory:":
        raise ConfigError(
            "migrate_uri names no SQLite file",
            hint="use sqlite://path/to/database; a database in memory is gone when the process ends",
        )
    return ((folder or Path()) / name).resolve()


@dataclass
class _HeldLock:
    """See `database.Lock`. A file lock goes only with its process, or with its file: then another can lock a new one."""

    path: Path
    handle: IO[str]

    def is_held(self) -> bool:
        return _is_same(self.path, self.handle)


class SqliteBackend(Bookkeeping):
    """See `database.Backend`. The keeper is in autocommit and holds no statement open, so it never stands in a migration's way."""

    kind = "sqlite"
    dialect = SQLITE
    _longest_pause = 0.1

    @staticmethod
    def dal_source(settings: Settings, application: str) -> DalSource:  # noqa: ARG004 - of BackendClass
        """Return how pyDAL itself connects to a file; nobody is shown a name."""
        path = resolve_path(settings.uri, settings.folder)

        def connect(*_arguments: Any) -> sqlite3.Connection:
            return sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES, check_same_thread=False)

        return DalSource(settings.uri, connect, while_made=False)

    @staticmethod
    def keep_open_statement(seconds: int) -> str:  # noqa: ARG004 - of BackendClass
        """Return nothing: a file closes no connection."""
        return ""

    @staticmethod
    def catalog_on(connection: Any) -> SqliteCatalog:
        return SqliteCatalog(lambda: connection)

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
        self._ledger = Ledger(TableNames.of(settings.table, SQLITE), self._execute)
        self._interruption = Interruption()
        self._lock_path = self.path.with_name(self.path.name + ".migrate.lock")

    # -- connections ----------------------------------------------------------------------------------------------------------

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        """Open the file; a reader never creates it, and finds an empty history where it is missing."""
        self._interruption = interruption
        if not self.path.parent.is_dir():
            raise DatabaseUnreachable(
                f"the directory of {self.label} does not exist: {self.path.parent}", hint=f"mkdir -p {self.path.parent}"
            )
        if not self._writing and not self.path.exists():
            return
        try:
            self._keeper = self._look_in(writing=self._writing)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) not in _LEFT_BY_THE_DEAD:
                raise self._unusable(error) from None
            try:  # whoever opens the file next rolls back what a killed process left; a reader may not, and so could not read
                self._look_in(writing=True).close()
                self._keeper = self._look_in(writing=False)
            except sqlite3.Error as still:
                raise self._unusable(still) from None

    def _look_in(self, *, writing: bool) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._open(sqlite3.Connection, writing=writing)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, factory: type[sqlite3.Connection], *, writing: bool) -> Any:
        patience = self._settings.lock_timeout or _FOR_EVER
        connection: Any = sqlite3.connect(
            f"{self.path.as_uri()}?mode={'rwc' if writing else 'ro'}", uri=True, factory=factory, isolation_level=None,
            check_same_thread=False, timeout=min(patience, _KEEPER_PATIENCE if factory is sqlite3.Connection else _MOMENT),
            detect_types=0 if factory is sqlite3.Connection else sqlite3.PARSE_DECLTYPES,
        )  # fmt: skip
        if isinstance(connection, WorkConnection):
            connection.patience = patience
        return connection

    def _unusable(self, error: sqlite3.Error) -> DatabaseUnreachable | DatabaseRefused:
        message = str(error)
        if "locked" in message or "busy" in message:
            return DatabaseUnreachable(
                f"{self.label} is locked by another program", hint="close it, or wait until its transaction ends"
            )
        if "readonly" in message or "read-only" in message:
            return DatabaseRefused(
                f"{self.label} is read-only", hint=f"check the rights on {self.path} and its directory"
            )
        if "not a database" in message or "malformed" in message:
            return DatabaseUnreachable(
                f"{self.path} is not an SQLite database, or is damaged", hint="check migrate_uri"
            )
        return DatabaseUnreachable(f"cannot use {self.label}: {message}", hint=f"check {self.path}")

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self._keeper is None:
            return []
        try:
            return self._keeper.execute(statement, tuple(parameters)).fetchall()
        except sqlite3.DatabaseError as error:  # a file that is damaged is no OperationalError
            raise self._unusable(error) from None

    def _revive(self) -> None:
        """Nothing to do: a file does not hang up."""

    @contextmanager
    def _together(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with suppress(
                DatabaseError
            ):  # SQLite may have rolled back by itself (disk full): the first error tells why
                self._execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    # -- the lock -------------------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, wait: float, observer: Observer, interruption: Interruption | None = None) -> Iterator[_HeldLock]:
        interruption = interruption or Interruption()
        started = time.monotonic()
        with ExitStack() as files:
            while True:
                handle = self._open_lock_file()
                files.callback(_close_quietly, handle)
                waited = self._wait(partial(_take_from_lookers, handle), wait, observer, interruption, self.lock_holder)
                if _is_same(self._lock_path, handle):
                    break  # else somebody removed the file while we waited: another would lock its successor
            observer(LockAcquired(time.monotonic() - started if waited else 0.0))
            self._remove_leftovers()
            handle.seek(0)
            handle.truncate()
            json.dump(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now(UTC).isoformat(" ", "seconds"),
                },
                handle,
            )
            handle.flush()
            try:
                yield _HeldLock(self._lock_path, handle)
            finally:
                with suppress(
                    OSError
                ):  # a body has closed whatever was open: the lock is gone, and the run has said so
                    handle.seek(0)
                    handle.truncate()

    def _remove_leftovers(self) -> None:
        from migrate_graph.database.sqlite.restore import remove_leftovers

        remove_leftovers(self.path)

    def _open_lock_file(self) -> IO[str]:
        try:
            handle = os.fdopen(os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")
        except OSError as error:
            raise DatabaseRefused(
                f"cannot create the lock file {self._lock_path}: {error.strerror}",
                hint="check the rights on its directory",
            ) from None
        forks.hide(handle)  # a child that outlives the run would hold the lock on
        return handle

    def lock_holder(self) -> LockHolder | None:
        try:
            with self._lock_path.open(encoding="utf-8") as handle:
                if _take(handle, shared=True):
                    return None
                said = json.loads(handle.read() or "{}")
        except (OSError, ValueError):
            return None
        return LockHolder(int(said.get("pid", 0)), str(said.get("host", "")), "", str(said.get("since", "")))

    def how_to_end(self, holder: LockHolder) -> str:
        return f"kill {holder.pid}"

    # -- state ----------------------------------------------------------------------------------------------------------------

    def view_presences(self, managers: Mapping[str, type]) -> dict[str, ViewPresence]:
        catalog = SqliteCatalog(lambda: self._keeper)
        return view_presences(catalog, self._view_rows(), managers) if managers else {}

    def adopt_views(self, names: Sequence[str], managers: Mapping[str, ManagerName]) -> tuple[str, tuple[str, ...]]:
        raise UsageError(
            "views of an SQLite database cannot be adopted: SQLite does not tell what a view reads",
            hint="write the manager by hand: migrate new NAME --view",
        )

    def _present(self) -> set[str]:
        names = self._ledger.names.all
        rows = self._execute(
            f"SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({', '.join('?' * len(names))})", names
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
        if missing:
            with self._together():
                self._ledger.create(missing)
                if self._ledger.names.views in missing:
                    ViewLedger(self._ledger.names, self._execute).create()

    def preflight(self, names: Sequence[str]) -> None:
        faults = [
            f"{self._ledger.names.ledger} has more than one row for {name!r}" for name in self._ledger.duplicates()
        ]
        if not os.access(self.path, os.W_OK) or not os.access(self.path.parent, os.W_OK):
            faults.append(f"{self.path} or its directory is not writable")
        if faults:
            raise DatabaseRefused(
                f"{self.label} cannot record migrations: " + "; ".join(faults),
                hint="nothing was run; mend this and run again",
            )

    # -- work -----------------------------------------------------------------------------------------------------------------

    def work(self, migration: Migration, key: AttemptKey) -> SqliteWork:
        return SqliteWork(
            self._settings, migration, key, self._ledger, lambda: self._open(WorkConnection, writing=True)
        )

    def explain(self, error: BaseException) -> Trouble:
        """Return what an exception of a migration means; also for exceptions that are none of the driver's."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind = TroubleKind.RETRY if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} else TroubleKind.OTHER
        return Trouble(kind, first_line(error), _HINTS.get(code, ""))

    def waiting_for(self, work: Work) -> str:
        """Return what the running statement waits for: SQLite does not know."""
        return ""


def _close_quietly(handle: IO[str]) -> None:
    with suppress(OSError):  # a body has closed whatever was open
        handle.close()


def _is_same(path: Path, handle: IO[str]) -> bool:
    """Return whether a path still means the file that is open."""
    with suppress(OSError):  # it is gone, or a body has closed whatever was open
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    return False


def _take_from_lookers(handle: IO[str]) -> bool:
    if _take(handle):
        return True
    time.sleep(_LOOK)
    return _take(handle)


def _take(handle: IO[str], *, shared: bool = False) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return True
    return False
