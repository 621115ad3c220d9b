"""What a backend is, and how to open one: this package is the only one that knows pyDAL and database drivers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from migrate_graph.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    from migrate_graph.core.adopting import Adoption
    from migrate_graph.core.drift import Drifted, Inventory
    from migrate_graph.core.events import LockHolder, Observer
    from migrate_graph.core.footprint import Footprint, Size
    from migrate_graph.core.history import History, StoredView
    from migrate_graph.core.model import Migration
    from migrate_graph.database.backup.dump import VerifiedDump
    from migrate_graph.database.books.ledger import AttemptKey, Known
    from migrate_graph.database.books.obstacles import Obstacles
    from migrate_graph.database.contents import Contents
    from migrate_graph.database.dal import DalSource
    from migrate_graph.database.driver_errors import Trouble
    from migrate_graph.database.names import Dialect
    from migrate_graph.database.room import Room
    from migrate_graph.database.scratch_database import Scratch
    from migrate_graph.database.views.adoption import Adopted, ManagerName
    from migrate_graph.database.views.catalog import ViewCatalog
    from migrate_graph.database.views.keeper import ViewKeeper
    from migrate_graph.database.views.presence import ViewPresence
    from migrate_graph.database.views.weaving import Company, Weaver
    from migrate_graph.database.watching import Clone, Cloning, Watching
    from migrate_graph.signals import Interruption


class Settings(Struct, frozen=True):
    """The settings of a backend.

    Attributes:
        uri: `postgres://…`, `postgresql://…` or `sqlite://…`.
        table: name of the ledger table; the journal and the view ledger are named from it.
        schema: search_path of every connection (PostgreSQL); None leaves it alone.
        folder: directory of pyDAL's files; a relative SQLite path starts there, too. None: the working directory.
        typedal: migrations get a TypeDAL instead of a pyDAL `DAL`.
        connect_wait: seconds to wait for a server that does not answer yet.
        lock_timeout: seconds a statement of a migration may wait for a lock; 0: for ever (PostgreSQL).
        statement_timeout: seconds a statement of a migration may run; 0: for ever (PostgreSQL).
        session: whether the session of a migration that succeeded is reset and used for the next one: `reused`, or `fresh`.
        secrets: texts that no output may contain, besides the password of the URI.
    """

    uri: str
    table: str = "ewh_implemented_features"
    schema: str | None = "public"
    folder: Path | None = None
    typedal: bool = False
    connect_wait: float = 600.0
    lock_timeout: float = 10.0
    statement_timeout: float = 0.0
    session: str = "reused"
    secrets: tuple[str, ...] = ()

    __repr__ = object.__repr__  # a traceback with values would show the fields, which hold secrets


class Work(Protocol):
    """One attempt at one migration, with its own connection and `DAL` and a fresh session.

    Every transaction of the attempt begins with the marker: the write of the attempt's journal row, which counts the commits.
    """

    db: Any
    """The `DAL` (or `TypeDAL`) that the migration is called with."""
    views: ViewKeeper
    """Takes views down and brings them up on this connection."""
    has_new_session: bool
    """Whether a session was opened for this attempt, which may have taken a while."""

    def start(self) -> None:
        """Begin the attempt: from here on every transaction starts with the marker."""

    def weave(self, company: Company) -> Weaver:
        """From now on drop a view when a statement of the body needs it gone, and create it again afterwards.

        Args:
            company: knows the managers of the views.
        """

    def listen(self, hear: Callable[[str], None] | None) -> None:
        """Pass each statement that the migration itself sends to a listener, before it is sent.

        Args:
            hear: called with the statement, which has `?` for each literal; when `hear` raises, the statement is not sent.
                None: nothing is called any more.
        """

    def check(self) -> None:
        """Check the session after the body has returned.

        Raises:
            AttemptFailed: the work of the body is lost: its transaction was aborted, or it closed the connection.
        """

    def finish(self, *, seconds: float, guard: Any) -> None:
        """Record the success in one final transaction, calling `guard()` just before its commit.

        Raises:
            AttemptFailed: the journal row of this attempt is gone, or another run has changed it.
        """

    def read_applied(self) -> frozenset[str]:
        """Read which migrations are recorded as installed, as this connection sees them."""

    def leftovers(self) -> list[str]:
        """Return what a failed attempt left in the database that no rollback removes."""

    def patiently(self, doing: str, call: Callable[[], None]) -> None:
        """Run statements of the tool (not of the body) on this connection; a long wait is reported, and a signal can end it.

        Args:
            doing: what the statements do, in words for messages.
            call: sends the statements.

        Raises:
            Stopped: a signal arrived, and the server did not answer.
        """

    def is_lost(self) -> bool:
        """Whether the connection broke, also when the body caught the driver's exception."""

    def is_unsure(self) -> bool:
        """Whether the body ended a transaction unnoticed, so that nobody knows which part of its work is committed; ask after `close`."""

    def close(self) -> None:
        """Close the connection, rolling back what is open."""

    def cancel(self) -> None:
        """Make the running statement fail; called from another thread."""

    def hang_up(self) -> None:
        """Cut the connection, when the server does not answer to `cancel`; called from another thread."""


class AtomicIntent(Struct, frozen=True):
    """The plan of a run that is one transaction.

    Attributes:
        places: position of each migration in the run, counted from 1, by its name.
        needed_until: position of the last migration that takes each view down, by the name of the view's manager.
        following: names whose records are read when a migration has ended, by the name of that migration.
        scope: which option promises one transaction, and for which migrations; the end of an error message.
        option: the command line option that asks for one transaction.
        may_go_back: names of the migrations whose text mentions a rollback.
        careful: nothing is postponed: views come up where their block ends, every check is made in its place, and each migration
            can be rolled back to its beginning.
    """

    places: Mapping[str, int]
    needed_until: Mapping[str, int]
    following: Mapping[str, tuple[str, ...]]
    scope: str
    option: str
    may_go_back: Collection[str] = ()
    careful: bool = False

    def can_go_back(self, name: str) -> bool:
        """Return whether a migration gets a savepoint at its beginning; a savepoint costs as much as all work before it."""
        return self.careful or name in self.may_go_back


class AtomicRun(Protocol):
    """One transaction for all migrations of a run, on one connection."""

    @property
    def was_careful(self) -> bool:
        """Whether nothing was postponed (views, checks of foreign keys, savepoints) that might have ended differently in its place."""

    def work(self, migration: Migration, key: AttemptKey) -> Work:
        """Return the work of the next migration; its session is like a new one, and its `finish` commits nothing."""

    def installed(self, names: Sequence[str]) -> frozenset[str]:
        """Read which of these names are recorded as installed now; called when a migration has ended."""

    def commit(self, guard: Callable[[], None]) -> None:
        """Commit the whole run, calling `guard()` just before."""

    def close(self) -> None:
        """Close the connection, rolling back what is not committed."""


class Lock(Protocol):
    """The lock of a run, while it is held."""

    def is_held(self) -> bool:
        """Whether this run certainly still holds the lock."""

    def seems_held(self) -> bool:
        """Whether this run held the lock when it was last asked, and nothing shows a loss since.

        The server is asked only where a lost lock would not show on the connection.
        """


class Backend(Protocol):
    """One database, connected."""

    kind: str
    """`postgres` or `sqlite`."""
    label: str
    """What to call the database in output: the URI without secrets."""
    secrets: tuple[str, ...]
    """Texts that no output may contain."""

    def has_ledger(self) -> bool:
        """Whether the ledger table exists."""

    def user_relations(self) -> list[str]:
        """Return the names of all relations that belong neither to the server nor to an extension; none: the database is empty."""

    def read_history(self) -> History:
        """Read ledger, journal and view ledger; write nothing, so that a read-only role is enough."""

    def read_installed_at_end(self) -> frozenset[str]:
        """Read which migrations are recorded as installed when a run has ended; connect again if the connection was lost."""

    def installed_if_held(self, lock: Lock, names: Sequence[str]) -> frozenset[str] | None:
        """Read which of these names are recorded as installed; None when this run does not certainly hold the lock any more."""

    def fingerprint(self) -> str:
        """Return 16 hex digits that identify the database; one made anew at the same address gets others."""

    def lock(
        self, wait: float, observer: Observer, interruption: Interruption | None = None
    ) -> AbstractContextManager[Lock]:
        """Hold the lock of the run inside a `with` block; wait at most `wait` seconds for it, 0 tries once.

        Raises:
            LockTimeout: another run still holds the lock.
        """

    def lock_holder(self) -> LockHolder | None:
        """Return who holds the lock, None when it is free."""

    def restore(self, dump: VerifiedDump, *, observer: Observer, psql: str | None = None) -> None:
        """Restore a verified dump into this database, which `user_relations` has proved empty.

        Raises:
            RestoreError: the restore failed; the database is as it was before.
        """

    def prepare(self) -> None:
        """Create the tool's tables where they are missing; only under the lock."""

    def together(self) -> AbstractContextManager[None]:
        """Run what is done to the tool's tables inside a `with` block as one transaction: all of it is kept, or nothing."""

    def preflight(self, names: Sequence[str], *, installed: bool | None = None) -> None:
        """Refuse a run whose migrations could not be recorded, before anything runs.

        Args:
            names: names of the migrations.
            installed: whether they will be recorded as installed, or (a revert) as not installed. If the tables have constraints or
                triggers, writing the records is tried and rolled back. None: not tried, since the records are written at once anyway.

        Raises:
            DatabaseRefused: missing rights, read-only server, a name longer than its column, duplicate rows, a constraint or trigger.
        """

    def obstacles(self) -> Obstacles:
        """Return why migrations could not be recorded, as far as reading tells: what `prepare` and `preflight` would refuse."""

    def work(self, migration: Migration, key: AttemptKey) -> Work:
        """Open a fresh session for one attempt."""

    def own_work(self, name: str) -> Work:
        """Open a session for the tool's own work; no attempt is written into the journal for it.

        Every transaction in it has the session's settings, and begins only while the lock of the work is held.

        Args:
            name: what is done; the server shows it in its list of sessions.
        """

    def room_for(self, jobs: int) -> Room:
        """Return how many of `jobs` processes can work under the run's lock."""

    def seat(self, lock: Lock, name: str) -> Any:
        """Return a seat: what another process needs to work under the lock (see `BackendClass.seated`); `name` is unique to it.

        Raises:
            DatabaseUnreachable: the lock is lost.
        """

    def atomic_run(self, intent: AtomicIntent) -> AtomicRun:
        """Return one transaction for a run."""

    def record_failure(self, key: AttemptKey, *, error: str, seconds: float, commits: int = 0) -> None:
        """Write into ledger and journal that an attempt failed; a success that is recorded stays.

        Args:
            key: identifies the attempt.
            error: why it failed.
            seconds: how long it took.
            commits: how many commits the body made, used where no marker of the attempt is committed.
        """

    def outcome_of(self, key: AttemptKey) -> Known:
        """Return what of an attempt is committed, once none of its sessions works any more; connect again if needed."""

    def explain(self, error: BaseException) -> Trouble:
        """Return what an exception of a migration means for the run."""

    def mark(
        self,
        names: Sequence[str],
        *,
        installed: bool,
        reason: str,
        run: str,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Write records without running anything; the journal gets who did it, the reason, and the fingerprint of the code."""

    def resolve(self, name: str, *, attempt: int, applied: bool, reason: str, run: str, fingerprint: str = "") -> bool:
        """Record a decision about an interrupted attempt; False when `attempt` is not the newest attempt of the migration."""

    def add_task(self, task: str, *, run: str) -> None:
        """Write down a task that a run must still do when its migrations are done (`flush`)."""

    def finish_task(self, task: str) -> None:
        """Delete a task that is done."""

    def identity(self) -> tuple[str, str]:
        """Return a hash that identifies the database by its journal (empty without one), and a hash of its address; no secrets."""

    def read_inventory(self) -> Inventory:
        """Read all objects of the database with their definitions, without what all databases of a server share; write nothing.

        Raises:
            DatabaseRefused: it cannot be read: another session has locked an object, or the rights are missing.
        """

    def store_inventory(self, *, run: str) -> None:
        """Read the inventory and store it in the journal's table, replacing the one stored before; only under the lock."""

    def stored_inventory(self) -> Inventory | None:
        """Return the inventory that `store_inventory` has stored; None where there is none.

        Raises:
            ValueError: the stored text cannot be read.
        """

    def adoption_of(self, changes: Sequence[Drifted], *, managers: Mapping[str, type]) -> Adoption:
        """Return the statements that repeat in another database what somebody changed in this one; write nothing.

        Args:
            changes: what somebody changed by hand.
            managers: view managers by name: a change to a relation that they make belongs into the manager, not into a statement.
        """

    def managed_relations(self, managers: Mapping[str, type]) -> frozenset[str]:
        """Return the relations that these managers are known to have made, with the identities that facts use; write nothing."""

    def view_presences(self, managers: Mapping[str, type]) -> dict[str, ViewPresence]:
        """Return the present state of the relations of these managers, by manager name, where it is known; write nothing."""

    def record_existing_views(self, managers: Mapping[str, type], texts: Mapping[str, str]) -> tuple[str, ...]:
        """Record in the view ledger the views that exist exactly as their managers define them; return the names of these managers.

        Args:
            managers: managers that the view ledger does not know, by name.
            texts: fingerprints of the texts of these managers, by name.
        """

    def adopt_views(self, names: Sequence[str], managers: Mapping[str, ManagerName]) -> Adopted:
        """Write Python text with a manager for each view that has none, and name the views that cannot be adopted.

        Args:
            names: only these views; all when empty.
            managers: where the declared managers can be imported from, by name.

        Raises:
            UsageError: a name is no unmanaged view, or the database cannot tell what a view reads.
        """

    def unfilled_views(self) -> tuple[StoredView, ...]:
        """Return the materialized views that were created without rows and not refreshed since; the view ledger must exist."""

    def remembered_views(self) -> tuple[str, ...]:
        """Return the managers that the view ledger knows, whether their views are up or down."""

    def forget_views(self, managers: Sequence[str], *, reason: str, run: str) -> dict[str, tuple[str, ...]]:
        """Delete the rows of managers from the view ledger; return the stored definitions of the deleted ones, by manager name."""

    def waiting_for(self, work: Work) -> str:
        """Return what the running statement of `work` waits for; empty when it does not wait."""

    def close(self) -> None:
        """Close every connection."""


class RehearsingBackend(Backend, Protocol):
    """A backend that watches what its migrations do; not connected yet.

    Attributes:
        footprints: footprints of the migrations that have run, by name.
        ended: why no further migration can be rehearsed; empty while one can.
        unseen: why it could not be read what a migration left; None when that was read for all of them.
    """

    footprints: dict[str, Footprint]
    ended: str
    unseen: DatabaseError | None

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        """See `Connectable`."""

    def begin(self) -> None:
        """Read all objects of the database; called after the lock is taken and before any migration runs.

        Raises:
            DatabaseRefused: nothing can be rehearsed here: the server is read-only, or rights are missing.
        """

    def remarks(self) -> tuple[str, ...]:
        """Return sentences about the rehearsal: where it differs from the real run, and which of its effects stay."""


class Connectable(Backend, Protocol):
    """A backend that is not connected yet."""

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        """Connect.

        Raises:
            DatabaseUnreachable: no connection; raised at once where waiting cannot help.
        """


class SeatedBackend(Connectable, Protocol):
    """A backend that works under the lock of a run while another process holds that lock; not connected yet."""

    @property
    def lock_of_run(self) -> Lock:
        """The lock of the run, which the other process holds."""


class BackendClass(Protocol):
    """The class of a backend: what can be asked of a kind of database before one is connected.

    Attributes:
        kind: name of the kind.
        dialect: how its SQL is written.
        why_in_a_row: why two processes cannot work in one database at the same time; empty where they can.
    """

    kind: str
    dialect: Dialect
    why_in_a_row: str

    def __call__(self, settings: Settings, *, writing: bool) -> Connectable:
        """Make a backend that is not connected yet."""

    def dal_source(self, settings: Settings, application: str) -> DalSource:
        """Return how an application's `DAL` connects; the server shows the connection under the name `application`."""

    def keep_open_statement(self, seconds: int) -> str:
        """Return the statement that asks a pooler to keep an idle connection open for `seconds`; empty where there is none."""

    def catalog_on(self, connection: Any) -> ViewCatalog:
        """Return the catalog of views that is read through a connection of the driver."""

    def clone(self, settings: Settings, cloning: Cloning) -> AbstractContextManager[Clone]:
        """Make a copy of a database, and drop it at the end of the `with` block.

        Raises:
            DatabaseRefused: no copy can be made; the hint says what else can be done.
        """

    def fresh(self, settings: Settings, cloning: Cloning) -> AbstractContextManager[Scratch]:
        """Return a place that makes empty databases for one use; they are dropped at the end of the `with` block.

        Raises:
            DatabaseRefused: the role may not create databases, and the database that it was given is in use.
        """

    def sizes_of(self, settings: Settings) -> dict[str, Size] | None:
        """Return the sizes of the relations of a database, by name; None where the copy that a rehearsal runs on has the same sizes."""

    def rehearsing(self, settings: Settings, watching: Watching) -> RehearsingBackend:
        """Return a backend that watches what its migrations do, and keeps as much of their work as `watching.keeping` says."""

    def contents(self, settings: Settings, *, unstable: Mapping[str, Collection[str]]) -> Contents:
        """Return the contents of a database; the columns in `unstable`, by table, are left out of the digests of rows."""

    def drop_of(self, change: Drifted) -> str:
        """Return the statement that drops an added object and nothing else; empty where no statement drops it alone."""

    def seated(self, settings: Settings, seat: Any) -> SeatedBackend:
        """Return a backend that works on a seat, which the run's own backend has made with `Backend.seat`."""

    def import_for_seats(self, settings: Settings) -> None:
        """Import every module that an attempt on a seat needs, so that processes forked afterwards begin without importing."""

    def scratch(self, settings: Settings, *, directory: Path, schemas: Sequence[str]) -> Scratch | None:
        """Return a place that makes scratch databases with these schemas; None when the URI cannot be used for that."""


@contextmanager
def open_backend(
    settings: Settings,
    observer: Observer | None = None,
    *,
    interruption: Interruption | None = None,
    writing: bool = False,
) -> Iterator[Backend]:
    """Connect to the configured database.

    Args:
        settings: which database, and how to connect.
        observer: gets events while the server does not answer yet.
        interruption: ends the waiting when a signal arrives.
        writing: when False, nothing is created, not even a SQLite file.

    Raises:
        ConfigError: the scheme of the URI is unknown.
        DatabaseUnreachable: no connection; raised at once where waiting cannot help.
    """
    from migrate_graph.core.events import ignore_events
    from migrate_graph.signals import Interruption

    backend = backend_class(settings.uri)(settings, writing=writing)
    interruption = interruption or Interruption()
    with interruption.overhearing():
        try:
            backend.connect(observer=observer or ignore_events, interruption=interruption)
            yield backend
        finally:
            backend.close()


# Drivers are imported only when used.
def _postgres() -> BackendClass:
    from migrate_graph.database.postgres.backend import PostgresBackend

    return PostgresBackend


def _sqlite() -> BackendClass:
    from migrate_graph.database.sqlite.backend import SqliteBackend

    return SqliteBackend


BACKENDS: Final[dict[str, Callable[[], BackendClass]]] = {
    "postgres": _postgres,
    "postgresql": _postgres,
    "postgres2": _postgres,  # pyDAL maps types differently for `postgres2` and `postgres3`
    "postgres3": _postgres,
    "sqlite": _sqlite,
}
"""Functions that import and return the class of a backend, by the scheme of its URIs."""


_FILES: Final = frozenset({"sqlite"})
"""Schemes of databases that are one file."""


def is_one_file(uri: str) -> bool:
    """Return whether a database is one file: its copy has all rows, and only one connection can write at a time."""
    return uri.partition(":")[0].lower() in _FILES


def has_ways(uri: str) -> bool:
    """Return whether this kind of database can bring views back in several ways; else every view is dropped and created again."""
    return not is_one_file(uri)


def backend_class(uri: str) -> BackendClass:
    """Return the class of the backend that a URI belongs to.

    Raises:
        ConfigError: the scheme of the URI is unknown.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme not in BACKENDS:
        raise ConfigError(
            f"migrate_uri is of an unknown kind: {scheme!r}",
            hint="use postgres://user:password@host:port/database or sqlite://path/to/database",
        )
    return BACKENDS[scheme]()
