"""The one room that knows pyDAL and drivers: what a backend is, and how to open one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from migrate_graph.errors import ConfigError

if TYPE_CHECKING:
    from migrate_graph.core.adopting import Adoption
    from migrate_graph.core.drift import Drifted, Inventory
    from migrate_graph.core.events import LockHolder, Observer
    from migrate_graph.core.footprint import Footprint, Size
    from migrate_graph.core.history import History, StoredView
    from migrate_graph.core.model import Migration
    from migrate_graph.database.backup.dump import VerifiedDump
    from migrate_graph.database.books.ledger import AttemptKey, Known
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
    """What a backend needs to know.

    Attributes:
        uri: `postgres://…`, `postgresql://…` or `sqlite://…`.
        table: name of the ledger table; the journal and the view ledger are named from it.
        schema: search_path of every connection (PostgreSQL); None leaves it alone.
        folder: directory of pyDAL's files, and what a relative SQLite path is relative to; None: the working directory.
        typedal: migrations get a TypeDAL instead of a pyDAL `DAL`.
        connect_wait: seconds to wait for a server that does not answer yet.
        lock_timeout: seconds a statement of a migration may wait for a lock; 0: for ever (PostgreSQL).
        statement_timeout: seconds a statement of a migration may run; 0: for ever (PostgreSQL).
        session: whether the session of a migration that succeeded is reset and used for the next one: `reused`, or `fresh`.
        secrets: what no output may contain, besides the password of the URI.
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

    __repr__ = object.__repr__  # a traceback with values shows it, and it holds secrets


class Work(Protocol):
    """One attempt at one migration: a connection and a `DAL` of its own, a fresh session, a marker in every transaction."""

    db: Any
    """The `DAL` (or `TypeDAL`) that the migration is called with."""
    views: ViewKeeper
    """Takes views down and up on this connection."""
    has_new_session: bool
    """A session was opened for it, which may have taken a while."""

    def start(self) -> None:
        """Begin the attempt: from here on every transaction starts with the marker."""

    def weave(self, company: Company) -> Weaver:
        """Begin to let views step aside for the statements of the body.

        Args:
            company: knows the managers.
        """

    def listen(self, hear: Callable[[str], None] | None) -> None:
        """Pass each statement that the migration itself sends to a listener, before it is sent.

        Args:
            hear: told the statement with `?` for each literal; what it raises keeps the statement from being sent. None: nobody listens any more.
        """

    def check(self) -> None:
        """Judge the session after the body has returned.

        Raises:
            AttemptFailed: what the body did is lost: an aborted transaction, a closed connection.
        """

    def finish(self, *, seconds: float, guard: Any) -> None:
        """Record the success in one final transaction, calling `guard()` just before its commit.

        Raises:
            AttemptFailed: its journal row is not ours any more.
        """

    def read_applied(self) -> frozenset[str]:
        """Read which names are installed, as this connection sees them."""

    def leftovers(self) -> list[str]:
        """Return what a failure left behind that no rollback removes."""

    def patiently(self, doing: str, call: Callable[[], None]) -> None:
        """Run statements of ours on its connection, outside of the body: a wait is told, hears signals, and ends.

        Args:
            doing: what they do, for the words.
            call: sends them.

        Raises:
            Stopped: a signal arrived, and there was no answer.
        """

    def is_lost(self) -> bool:
        """Whether the connection broke, also when the body caught what the driver said of it."""

    def is_unsure(self) -> bool:
        """Whether a transaction of it ended past us, so that nobody knows for sure what of it stayed; to be asked when it is closed."""

    def close(self) -> None:
        """Close the connection, rolling back what is open."""

    def cancel(self) -> None:
        """Make the running statement fail; called from another thread."""

    def hang_up(self) -> None:
        """Make it fail when that does not help: the server does not answer; called from another thread."""


class AtomicIntent(Struct, frozen=True):
    """What a run that is one transaction is going to do.

    Attributes:
        places: of its migrations, from 1, by name.
        needed_until: the place of the last migration that takes each view down, by its manager's name.
        following: which names are to be looked up when a migration has ended.
        scope: what promises the transaction, and for what.
        option: the one that asks for it.
        may_go_back: names of the migrations whose text mentions a rollback.
        careful: nothing is put off: views come up where their block ends, every check is made where it belongs, and each migration
            can go back to its beginning.
    """

    places: Mapping[str, int]
    needed_until: Mapping[str, int]
    following: Mapping[str, tuple[str, ...]]
    scope: str
    option: str
    may_go_back: Collection[str] = ()
    careful: bool = False

    def can_go_back(self, name: str) -> bool:
        """Return whether a migration gets a savepoint at its beginning: each costs as much as everything that was done before it."""
        return self.careful or name in self.may_go_back


class AtomicRun(Protocol):
    """One transaction for all migrations of a run, on one connection."""

    @property
    def was_careful(self) -> bool:
        """Whether nothing was put off that might have gone otherwise in its place: views, checks of foreign keys, ways back."""

    def work(self, migration: Migration, key: AttemptKey) -> Work:
        """Return the work of the next migration; the session is like a new one, and `finish` commits nothing."""

    def installed(self, names: Sequence[str]) -> frozenset[str]:
        """Read which of these names are recorded as installed now; to be asked when a migration has ended."""

    def commit(self, guard: Callable[[], None]) -> None:
        """Make everything durable, calling `guard()` just before."""

    def close(self) -> None:
        """Close the connection, rolling back what is not durable."""


class Lock(Protocol):
    """The lock of a run, while it is held."""

    def is_held(self) -> bool:
        """Whether it is certainly still ours."""

    def seems_held(self) -> bool:
        """Whether it was ours a moment ago, and nothing has told of a loss since: the server is asked only where a loss would not show."""


class Backend(Protocol):
    """One database, connected."""

    kind: str
    """`postgres` or `sqlite`."""
    label: str
    """What to call the database in output: the URI without secrets."""
    secrets: tuple[str, ...]
    """What no output may contain."""

    def has_ledger(self) -> bool:
        """Whether the ledger table exists."""

    def user_relations(self) -> list[str]:
        """Name every relation that does not belong to the server or an extension: empty proves the database empty."""

    def read_history(self) -> History:
        """Read ledger, journal and view ledger; writes nothing, works with a read-only role."""

    def read_installed_at_end(self) -> frozenset[str]:
        """Read which names are installed when a run is over, whatever has become of the connection meanwhile."""

    def installed_if_held(self, lock: Lock, names: Sequence[str]) -> frozenset[str] | None:
        """Read which of these names are installed, while the lock is certainly ours; None when it is not."""

    def fingerprint(self) -> str:
        """Return 16 hex digits that no other database of the same address has."""

    def lock(
        self, wait: float, observer: Observer, interruption: Interruption | None = None
    ) -> AbstractContextManager[Lock]:
        """Hold the run's lock; `wait` seconds at most, 0 tries once.

        Raises:
            LockTimeout: another holds it still.
        """

    def lock_holder(self) -> LockHolder | None:
        """Return who holds the lock, None when it is free."""

    def restore(self, dump: VerifiedDump, *, observer: Observer, psql: str | None = None) -> None:
        """Restore a verified dump into this database, which `user_relations` has proved empty.

        Raises:
            RestoreError: the database is as it was.
        """

    def prepare(self) -> None:
        """Create the tool's tables where they are missing; only under the lock."""

    def together(self) -> AbstractContextManager[None]:
        """Make the tool's tables and what is written into them meanwhile one transaction: all of it is kept, or nothing."""

    def preflight(self, names: Sequence[str]) -> None:
        """Refuse before anything runs what could not be recorded.

        Raises:
            DatabaseRefused: missing rights, read-only server, a name longer than its column, duplicate rows.
        """

    def work(self, migration: Migration, key: AttemptKey) -> Work:
        """Open a fresh session for one attempt."""

    def own_work(self, name: str) -> Work:
        """Open a session for work of the tool's own, of which no attempt is written down.

        Every transaction in it has the session's settings, and begins only while the lock of the work is held.

        Args:
            name: what is done, for whoever looks at the sessions of the database.
        """

    def room_for(self, jobs: int) -> Room:
        """Return how many of so many processes can work under the run's lock."""

    def seat(self, lock: Lock, name: str) -> Any:
        """Return what another process needs to work under the lock (see `BackendClass.seated`); `name` tells it from all others.

        Raises:
            DatabaseUnreachable: the lock is lost.
        """

    def atomic_run(self, intent: AtomicIntent) -> AtomicRun:
        """Return one transaction for a run."""

    def record_failure(self, key: AttemptKey, *, error: str, seconds: float, commits: int = 0) -> None:
        """Write into ledger and journal that an attempt failed; a success that is recorded stays.

        Args:
            key: of the attempt.
            error: why.
            seconds: it took.
            commits: of its own, where nothing that is durable tells their number.
        """

    def outcome_of(self, key: AttemptKey) -> Known:
        """Look up, on a new connection if need be, what of an attempt is durable, once nothing of it is at work."""

    def explain(self, error: BaseException) -> Trouble:
        """Return what an exception of a migration means."""

    def mark(
        self,
        names: Sequence[str],
        *,
        installed: bool,
        reason: str,
        run: str,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Write records without running anything; who, why and of which code go into the journal."""

    def resolve(self, name: str, *, attempt: int, applied: bool, reason: str, run: str, fingerprint: str = "") -> bool:
        """Decide about an interrupted attempt, if it is still the one with this id; False when it is not."""

    def add_task(self, task: str, *, run: str) -> None:
        """Write down what a run must still do when its migrations are done (`flush`)."""

    def finish_task(self, task: str) -> None:
        """Forget a task that is done."""

    def identity(self) -> tuple[str, str]:
        """Return what tells the database by its journal, empty where it has none, and by its address; without secrets."""

    def read_inventory(self) -> Inventory:
        """Read what the database is made of: everything but what all databases of a server share; writes nothing.

        Raises:
            DatabaseRefused: it cannot be read, since somebody has locked what it is about, or the rights are missing.
        """

    def store_inventory(self, *, run: str) -> None:
        """Read that, and keep it beside the journal in the place of what was kept before; only under the lock."""

    def stored_inventory(self) -> Inventory | None:
        """Return what was kept so; None where nothing was.

        Raises:
            ValueError: what is kept cannot be read.
        """

    def adoption_of(self, changes: Sequence[Drifted], *, managers: Mapping[str, type]) -> Adoption:
        """Return the statements that do elsewhere what somebody changed here; writes nothing.

        Args:
            changes: what somebody changed.
            managers: view managers by name: what they make is changed there.
        """

    def managed_relations(self, managers: Mapping[str, type]) -> frozenset[str]:
        """Return the relations that these managers are known to have made, as they are called in facts; writes nothing."""

    def view_presences(self, managers: Mapping[str, type]) -> dict[str, ViewPresence]:
        """Return what has become of the relations of these managers, by name, where that is known; writes nothing."""

    def record_existing_views(self, managers: Mapping[str, type], texts: Mapping[str, str]) -> tuple[str, ...]:
        """Remember the views that exist just as their managers write them, as if a migration had made them; return whose they are.

        Args:
            managers: those that the database does not know, by name.
            texts: fingerprints of their texts, by name.
        """

    def adopt_views(self, names: Sequence[str], managers: Mapping[str, ManagerName]) -> Adopted:
        """Write Python text with a manager for each view that has none, and name what cannot be adopted.

        Args:
            names: of these views only; all when empty.
            managers: where the declared ones can be imported from, by name.

        Raises:
            UsageError: a name is no unmanaged view, or the database cannot tell what a view reads.
        """

    def unfilled_views(self) -> tuple[StoredView, ...]:
        """Return the materialized views that came up without their rows, and wait for a refresh; the ledger is there."""

    def remembered_views(self) -> tuple[str, ...]:
        """Return the managers that the view ledger knows, whether their views are up or down."""

    def forget_views(self, managers: Sequence[str], *, reason: str, run: str) -> dict[str, tuple[str, ...]]:
        """Delete what the view ledger remembers of managers; return the stored definitions of those that it knew, by name."""

    def waiting_for(self, work: Work) -> str:
        """Return what the running statement waits for; empty when it does not wait."""

    def close(self) -> None:
        """Close every connection."""


class RehearsingBackend(Backend, Protocol):
    """A backend that watches what its migrations do; not connected yet.

    Attributes:
        footprints: of the migrations that have run, by name.
        ended: why nothing more can be rehearsed; empty as long as something can.
    """

    footprints: dict[str, Footprint]
    ended: str

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        """See `Connectable`."""

    def begin(self) -> None:
        """Look what the database is made of, once the lock is held and before anything runs.

        Raises:
            DatabaseRefused: nothing can be rehearsed here: a server that only reads, missing rights.
        """

    def remarks(self) -> tuple[str, ...]:
        """Return what is not as it will be, and what stays, in words."""


class Connectable(Backend, Protocol):
    """A backend that is not connected yet."""

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        """Connect.

        Raises:
            DatabaseUnreachable: no connection, at once for what waiting cannot mend.
        """


class SeatedBackend(Connectable, Protocol):
    """A backend that works under the lock of a run that another process holds; not connected yet."""

    @property
    def lock_of_run(self) -> Lock:
        """The lock of the run, which that process holds."""


class BackendClass(Protocol):
    """What is known of a kind of database before one is connected: the class of its backend.

    Attributes:
        kind: its name.
        dialect: how its SQL is written.
        why_in_a_row: why no two processes can work in one at the same time; empty where they can.
    """

    kind: str
    dialect: Dialect
    why_in_a_row: str

    def __call__(self, settings: Settings, *, writing: bool) -> Connectable:
        """Make a backend that is not connected yet."""

    def dal_source(self, settings: Settings, application: str) -> DalSource:
        """Return how an application's `DAL` connects, under the name that the server shows."""

    def keep_open_statement(self, seconds: int) -> str:
        """Return what asks a pooler not to close an idle connection for so long; empty where there is none."""

    def catalog_on(self, connection: Any) -> ViewCatalog:
        """Return what the database can tell of its views through a connection of the driver."""

    def clone(self, settings: Settings, cloning: Cloning) -> AbstractContextManager[Clone]:
        """Make a copy of a database, and drop it in the end.

        Raises:
            DatabaseRefused: none can be made; with what else can be done.
        """

    def fresh(self, settings: Settings, cloning: Cloning) -> AbstractContextManager[Scratch]:
        """Return where empty databases are made for one use; they are dropped in the end.

        Raises:
            DatabaseRefused: the role may create no database, and the one that it was given is in use.
        """

    def sizes_of(self, settings: Settings) -> dict[str, Size] | None:
        """Return how large the relations of a database are, by name; None where a rehearsal finds out itself."""

    def rehearsing(self, settings: Settings, watching: Watching) -> RehearsingBackend:
        """Return a backend that watches what its migrations do, and keeps of it what is said."""

    def contents(self, settings: Settings, *, unstable: Mapping[str, Collection[str]]) -> Contents:
        """Return what a database holds; these columns of tables are left out of the digests of rows."""

    def drop_of(self, change: Drifted) -> str:
        """Return the statement that drops what was added, and nothing else; empty where it has none of its own."""

    def seated(self, settings: Settings, seat: Any) -> SeatedBackend:
        """Return a backend that works on a seat which the run's own backend has given; see `Backend.seat`."""

    def import_for_seats(self, settings: Settings) -> None:
        """Import what an attempt on a seat needs: processes that are forked afterwards begin at once."""

    def scratch(self, settings: Settings, *, directory: Path, schemas: Sequence[str]) -> Scratch | None:
        """Return where scratch databases with these schemas are made; None when the URI is no place for them."""


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
        settings: which, and how.
        observer: told while the server does not answer yet.
        interruption: ends the waiting when a signal arrives.
        writing: False never creates anything, not even a SQLite file.

    Raises:
        ConfigError: the URI is of no known kind.
        DatabaseUnreachable: no connection, at once for what waiting cannot mend.
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
    "postgres2": _postgres,  # pyDAL maps types by them
    "postgres3": _postgres,
    "sqlite": _sqlite,
}
"""What gives the class of a backend, by the scheme of its URIs."""


_FILES: Final = frozenset({"sqlite"})
"""Schemes of databases that are one file."""


def is_one_file(uri: str) -> bool:
    """Return whether a database is one file: a copy has all of its rows, and one connection writes at a time."""
    return uri.partition(":")[0].lower() in _FILES


def has_ways(uri: str) -> bool:
    """Return whether views of a database may come back in several ways; else they all go down and come up."""
    return not is_one_file(uri)


def backend_class(uri: str) -> BackendClass:
    """Return the class of the backend that a URI belongs to.

    Raises:
        ConfigError: the URI is of no known kind.
    """
    scheme = uri.partition(":")[0].lower()
    if scheme not in BACKENDS:
        raise ConfigError(
            f"migrate_uri is of an unknown kind: {scheme!r}",
            hint="use postgres://user:password@host:port/database or sqlite://path/to/database",
        )
    return BACKENDS[scheme]()
