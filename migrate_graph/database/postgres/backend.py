"""The backend of PostgreSQL: one connection holds the lock and writes the ledger's tables, others run the migrations."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg2
import psycopg2.extensions as pg

from migrate_graph.core.events import LockAcquired, LockHolder, Observer, Warned, ignore_events
from migrate_graph.core.model import Migration, TransactionMode
from migrate_graph.database.books.bookkeeping import Bookkeeping
from migrate_graph.database.books.ledger import AttemptKey, Ledger
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.driver_errors import AttemptFailed, Trouble, TroubleKind
from migrate_graph.database.names import POSTGRES, TableNames
from migrate_graph.database.postgres.ledger_place import place_of, require_place, without_schema
from migrate_graph.database.postgres.own_tables import keep_to_ourselves, require_ordinary, require_trusted
from migrate_graph.database.postgres.requirements import (
    has_unique_names,
    obstacles_of,
    require_supported,
    require_writable,
    room_for,
    unmet,
)
from migrate_graph.database.postgres.session.at_work import AtWork, how_to_end
from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.session.held_lock import RUN_CLASS, WORK_CLASS, HeldLock, lock_key
from migrate_graph.database.postgres.session.opening import Sessions, close_quietly, dal_source
from migrate_graph.database.postgres.session.spare import DEFAULTS, Spare
from migrate_graph.database.postgres.session.trouble import explained, of_ours
from migrate_graph.database.room import Room
from migrate_graph.database.spare_dal import SpareDal
from migrate_graph.database.watching import Keeping
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable, MigrateGraphError, RestoreError, Stopped
from migrate_graph.messages import first_line
from migrate_graph.redaction import redact
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from pathlib import Path

    from migrate_graph.core.adopting import Adoption
    from migrate_graph.core.drift import Drifted, Inventory
    from migrate_graph.core.footprint import Size
    from migrate_graph.core.history import History
    from migrate_graph.database import AtomicIntent, Lock, RehearsingBackend, Settings, Work
    from migrate_graph.database.backup.dump import VerifiedDump
    from migrate_graph.database.books.obstacles import Obstacles
    from migrate_graph.database.contents import Contents
    from migrate_graph.database.postgres.atomic import PostgresAtomicRun
    from migrate_graph.database.postgres.seated import Seat, SeatedBackend
    from migrate_graph.database.postgres.views.catalog import PostgresCatalog
    from migrate_graph.database.postgres.work import PostgresWork, WorkSessions
    from migrate_graph.database.scratch_database import Scratch
    from migrate_graph.database.views.adoption import Adopted, ManagerName
    from migrate_graph.database.views.presence import ViewPresence
    from migrate_graph.database.watching import Clone, Cloning, Watching

# Seconds to wait for the last session of another run to end after its lock is free, even if `lock_timeout_wait` is shorter.
_LAST_MOMENT = 5.0

# Seconds to wait for leftover statements once a signal has asked the run to end.
_GRACE = 0.7

# Seconds to wait while the server still executes the last statement of a broken connection of this run.
_LEFTOVER_WAIT = 60.0

# Seconds in which an earlier session of the same run usually ends; a shorter wait is not reported.
_QUIET = 1.5

_Value = TypeVar("_Value")


class PostgresBackend(Bookkeeping):
    """See `database.Backend`. One connection, the keeper, holds the lock, and reads and writes the tool's tables.

    It is in autocommit, and never idle in a transaction.
    """

    kind = "postgres"
    why_in_a_row = ""
    dialect = POSTGRES
    dal_source = staticmethod(dal_source)
    connection_class = WorkConnection
    _longest_pause = 2.0
    _tells_of_server = True

    @staticmethod
    def keep_open_statement(seconds: int) -> str:
        """Return a command that only PGPOOL understands."""
        return f"PGPOOL SET client_idle_limit = {seconds};"

    @staticmethod
    def catalog_on(connection: Any) -> PostgresCatalog:
        from migrate_graph.database.postgres.views.catalog import PostgresCatalog

        return PostgresCatalog(lambda: connection)

    @staticmethod
    def drop_of(change: Drifted) -> str:
        """See `database.BackendClass`."""
        from migrate_graph.database.postgres.facts.adopting import drop_of

        return drop_of(change)

    @staticmethod
    def contents(settings: Settings, *, unstable: Mapping[str, Collection[str]]) -> Contents:
        from migrate_graph.database.postgres.facts.contents import read_contents

        return read_contents(settings, unstable=unstable)

    @staticmethod
    def scratch(settings: Settings, *, directory: Path, schemas: Sequence[str]) -> Scratch:
        from migrate_graph.database.postgres.scratch import open_scratch

        return open_scratch(settings, directory=directory, schemas=schemas)

    @staticmethod
    def clone(settings: Settings, cloning: Cloning) -> AbstractContextManager[Clone]:
        from migrate_graph.database.postgres.rehearsal.clone import clone

        return clone(settings, cloning)

    @staticmethod
    def fresh(settings: Settings, cloning: Cloning) -> AbstractContextManager[Scratch]:
        from migrate_graph.database.postgres.places import fresh

        return fresh(settings, cloning)

    @staticmethod
    def sizes_of(settings: Settings) -> dict[str, Size]:
        from migrate_graph.database.postgres.sizes import sizes

        return sizes(settings)

    @staticmethod
    def rehearsing(settings: Settings, watching: Watching) -> RehearsingBackend:
        from migrate_graph.database.postgres.rehearsal.one_transaction import GuardedBackend
        from migrate_graph.database.postgres.watched import WatchedBackend

        return (WatchedBackend if watching.keeping is Keeping.EVERYTHING else GuardedBackend)(settings, watching)

    def __init__(self, settings: Settings, *, writing: bool) -> None:
        self._settings = settings
        self._sessions = Sessions(settings)
        self._spare_dal: SpareDal | None = None
        self._own_sessions: WorkSessions | None = None
        self._spare = Spare(self._sessions, self._keys_at_rest, wanted=settings.session == "reused")
        self.label = self._sessions.label
        self.secrets = self._sessions.secrets
        self._keeper: Any = None
        self._in_transaction = False
        self._at_work = AtWork(self._execute, own=self._sessions.pids, secrets=self.secrets)
        self._ledger = Ledger(TableNames.of(settings.table, POSTGRES), self._execute)

    # -- connections ----------------------------------------------------------------------------------------------------------

    def connect(self, *, observer: Observer, interruption: Interruption) -> None:
        self._sessions.listen(observer, interruption)
        self._keeper = self._sessions.open("keeper")
        tells = observer if self._tells_of_server else ignore_events
        require_supported(self._keeper.info.server_version, self.label, tells, fires=self._sessions.fires_triggers)
        self._find_ledger()

    def _find_ledger(self) -> None:
        """Find in which schema the tool's tables are, or would be created, and use names with that schema from now on.

        So no later change of the search_path can hide them, and runs that use the same ledger use the same lock. Where the settings
        name no schema, the ledger is looked up along the search_path that an application's session of this role has.
        """
        names = TableNames.of(self._settings.table, POSTGRES)
        if not names.schema:
            with self.together():
                names = place_of(self._ask, names, self._sessions.place)
        self._ledger = Ledger(names, self._execute)

    def _lock_key(self) -> int:
        """Return the second key of the advisory locks: the same for all runs that use this ledger table."""
        return lock_key(self._ledger.names.schema, self._ledger.names.ledger)

    def _work_keys(self) -> tuple[int, int]:
        """Return the two keys of the work's lock: the advisory lock that the sessions of migrations hold."""
        return WORK_CLASS, self._lock_key()

    def _keys_at_rest(self) -> tuple[int, int] | None:
        """Return the keys of the lock that a kept session holds between two migrations; None for no lock."""
        return self._work_keys()

    def _revive(self) -> None:
        """Reconnect if the connection is lost, then wait until the server executes nothing of an earlier attempt any more.

        A server that has lost its client still finishes the statement, or the commit, that it was given. Only after that the tables
        tell the result.
        """
        self._spare.close()  # the kept session holds the work's lock, and the run must not wait for itself
        try:
            self._ask("SELECT true")
        except psycopg2.Error:
            self._reconnect()
        try:
            self._wait_for_work(_LEFTOVER_WAIT, self._sessions.observer, self._sessions.interruption)
        except Stopped:  # wait a moment also after a signal, so that the final report is true
            self._wait_for_work(_GRACE, ignore_events, Interruption())

    def _reconnect(self) -> None:
        close_quietly(self._keeper)
        self._keeper = self._sessions.open("keeper")

    def _alive_keeper(self) -> Any:
        """Return the keeper, reconnected if it was closed. That does not take the lock again."""
        if self._keeper is None or self._keeper.closed:
            self._reconnect()
        return self._keeper

    def _ask(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement on the keeper and return its rows; exceptions of the driver are not translated."""
        if self._sessions.pooled and not self._in_transaction:
            with self._transaction():
                return self._ask(statement, parameters)
        return self._patiently(send, statement, parameters)

    def _patiently(self, call: Callable[..., _Value], *arguments: Any) -> _Value:
        """Run a call on the keeper, reconnected if need be. A long wait is reported, ends at a signal, and has a limit."""
        keeper = self._alive_keeper()
        return self._sessions.patience.run(keeper, "reading or writing the tool's tables", call, keeper, *arguments)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._patiently(self._sessions.begin)
        self._in_transaction = True
        try:
            yield
            self._patiently(send, "COMMIT")
        except BaseException:
            with suppress(psycopg2.Error, MigrateGraphError):
                self._patiently(send, "ROLLBACK")
            raise
        finally:
            self._in_transaction = False

    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._ask(statement, parameters)

    def _one(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        return self._execute(statement, parameters)[0][0]

    @contextmanager
    def together(self) -> Iterator[None]:
        if self._in_transaction:
            yield
            return
        with self._explained(), self._transaction():
            yield

    def _encoding(self) -> str:
        server = self._alive_keeper().info.parameter_status("server_encoding") or ""
        return pg.encodings.get(server.replace("_", "").replace("-", ""), "ascii")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an exception of the driver, raised outside of a migration, into an error of this package."""
        try:
            yield
        except psycopg2.Error as error:
            raise of_ours(error, self.explain(error), self.label) from None

    def close(self) -> None:
        self._spare.close()
        close_quietly(self._keeper)
        self._keeper = None
        self._sessions.patience.close()

    # -- the lock -------------------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, wait: float, observer: Observer, interruption: Interruption | None = None) -> Iterator[HeldLock]:
        interruption = interruption or self._sessions.interruption
        holding: list[HeldLock] = []
        started = time.monotonic()
        try:
            waited = 0.0
            while True:
                left = max(0.0, wait - (time.monotonic() - started))
                waited += self._wait(partial(self._take, holding), left, observer, interruption, self.lock_holder)
                self._find_ledger()
                if self._lock_key() == holding[0].key:
                    break
                self._release(holding, observer)  # meanwhile it was created in another schema of the search_path
            # After a kill -9 the server may still execute the dead client's statement; it frees the lock when that ends.
            waited += self._wait_for_work(max(wait, _LAST_MOMENT), observer, interruption)
            observer(LockAcquired(waited))
            if self._sessions.pooled:
                observer(
                    Warned(
                        "a pooler stands between this run and the server, so the lock is held by an open transaction",
                        "connect to the server's own port in migrate_uri",
                    )
                )
            yield holding[0]
        finally:
            self._release(holding, observer)

    def _take(self, holding: list[HeldLock]) -> bool:
        """Try to take the lock once; append it to `holding` and return whether it was free.

        Behind a pooler the lock of a session passes to the next client that gets the server connection (two clients could both have
        it). There the lock is held by an open transaction, on a connection of its own.
        """
        pooled, key = self._sessions.pooled, self._lock_key()
        try:
            connection = self._sessions.open("lock") if pooled else self._alive_keeper()
            taken = self._sessions.patience.run(connection, "asking for the lock", self._try_lock, connection, key)
        except psycopg2.Error as error:
            if self.explain(error).kind is not TroubleKind.LOST:
                raise
            self._reconnect()  # the connection was lost while waiting: wait on with a new one
            return False
        if taken:
            lock = HeldLock(
                connection, key, self._sessions.patience, is_twice=not pooled, is_alone=self._sessions.is_direct
            )
            holding.append(lock)
        elif pooled:
            close_quietly(connection)
        return taken

    def _try_lock(self, connection: Any, key: int) -> bool:
        if self._sessions.pooled:
            self._sessions.begin(connection)
        kind = "xact_" if self._sessions.pooled else ""
        once = f"pg_catalog.pg_try_advisory_{kind}lock(%s, %s)"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {once} AND {once}", (RUN_CLASS, key) * 2)  # twice: see `HeldLock`
            return bool(cursor.fetchone()[0])

    def _release(self, holding: list[HeldLock], observer: Observer) -> None:
        if not holding:
            return
        self._spare.close()  # the kept session holds the work's lock, for which the next run waits
        lock = holding.pop()
        if self._sessions.pooled:
            close_quietly(lock.connection)
            return
        with suppress(psycopg2.Error, MigrateGraphError):  # a lost connection has lost its lock, too
            unlocked = self._sessions.patience.run(lock.connection, "giving the lock back", lock.give_back)
            if not unlocked:
                observer(
                    Warned(
                        "the lock was not ours any more when it was released",
                        "was the run's server session reset by somebody?",
                    )
                )

    def _wait_for_work(self, limit: float, observer: Observer, interruption: Interruption) -> float:
        """Wait until no session of a run, this one or an earlier one, executes anything on the server; return the seconds."""
        holder = partial(self._at_work.holder, *self._work_keys())
        return self._wait(self._work_is_over, limit, observer, interruption, holder, quiet_for=_QUIET)

    def _work_is_over(self) -> bool:
        # In autocommit the transaction ends with the statement, so the lock is free again at once.
        return bool(self._one("SELECT pg_catalog.pg_try_advisory_xact_lock(%s, %s)", self._work_keys()))

    def lock_holder(self) -> LockHolder | None:
        return self._at_work.run(self._lock_key())

    def how_to_end(self, holder: LockHolder) -> str:
        return how_to_end(holder)

    # -- state ----------------------------------------------------------------------------------------------------------------

    def read_inventory(self) -> Inventory:
        from migrate_graph.database.postgres.facts.inventory import Reading

        names = self._ledger.names
        reading = Reading(self._alive_keeper(), own=tuple(sorted(map(names.quoted, names.all))))
        with self._explained():
            while True:
                try:
                    with self._transaction():
                        return reading.inventory(self._ask(reading.query))
                except psycopg2.Error as error:
                    if not reading.may_try_again(error):
                        raise

    def adoption_of(self, changes: Sequence[Drifted], *, managers: Mapping[str, type]) -> Adoption:
        from migrate_graph.database.postgres.facts.adopting import adoption_by
        from migrate_graph.database.postgres.facts.query import SETTINGS

        managed = self.managed_relations(managers)
        before, after = self.stored_inventory(), self.read_inventory()
        with self.together():
            self._ask(SETTINGS)
            return adoption_by(self._ask, changes, before=before, after=after, managed=managed)

    def view_presences(self, managers: Mapping[str, type]) -> dict[str, ViewPresence]:
        if not managers:
            return {}
        from migrate_graph.database.views.presence import view_presences

        rows = self._view_rows()
        with self._named_as_in_the_project():
            return view_presences(self._catalog(), rows, managers)

    def record_existing_views(self, managers: Mapping[str, type], texts: Mapping[str, str]) -> tuple[str, ...]:
        if self._one("SELECT pg_catalog.current_setting('transaction_read_only')") == "on":
            return ()  # nothing can be written on a standby; it may be asked whether anything is pending
        from migrate_graph.database.views.existing import existing_views

        with self._named_as_in_the_project():
            rows = existing_views(self._catalog(), managers, texts)
        return self._record_views(rows)

    @contextmanager
    def _named_as_in_the_project(self) -> Iterator[None]:
        """For the block, look up names without a schema along the search_path that migrations have.

        Only the view catalog is used in the block, and its queries name `pg_catalog` with every operator and function.
        """
        with self.together():
            self._ask("SELECT pg_catalog.set_config('search_path', %s, true)", (self._sessions.place,))
            yield

    def _catalog(self) -> PostgresCatalog:
        from migrate_graph.database.postgres.views.catalog import PostgresCatalog

        return PostgresCatalog(self._alive_keeper)

    def adopt_views(self, names: Sequence[str], managers: Mapping[str, ManagerName]) -> Adopted:
        from migrate_graph.database.views.adoption import Adopted, describe_unmanaged, owners, write_managers

        catalog, rows = self._catalog(), self._view_rows()
        with self._named_as_in_the_project():
            owned = owners(catalog, rows, managers)
            found = describe_unmanaged(catalog, owned, names=names)
        text, classes = write_managers(found.views, owned, taken=managers)
        return Adopted(text, classes, tuple(f"{view} is left out: {why}" for view, why in found.left_out.items()))

    def _present(self) -> set[str]:
        return require_ordinary(self._execute, self._ledger.names)

    def read_history(self) -> History:
        """Read the tool's tables under ACCESS SHARE locks: no checked table can be replaced by a view before it is read."""
        with self.together():
            present = self._present()
            if present:
                tables = ", ".join(map(self._ledger.names.quoted, sorted(present)))
                self._ask(POSTGRES.sql(f"LOCK TABLE {tables} IN ACCESS SHARE MODE"))
            return super().read_history()

    def user_relations(self) -> list[str]:
        from migrate_graph.database.postgres.restore.by_driver import USER_RELATIONS

        return [name for (name,) in self._execute(USER_RELATIONS)]

    def _address(self) -> str:
        database = self._one(
            "SELECT pg_catalog.current_database() || '/' || (SELECT oid FROM pg_catalog.pg_database "
            "WHERE datname = pg_catalog.current_database())"
        )
        return f"{self._sessions.dsn.get('host', '')}\0{database}"

    def restore(self, dump: VerifiedDump, *, observer: Observer, psql: str | None = None) -> None:
        from migrate_graph.database.postgres.programs import parameters_of
        from migrate_graph.database.postgres.restore import by_driver
        from migrate_graph.database.postgres.restore.by_psql import restore_through_psql

        keys = (WORK_CLASS, self._lock_key())
        target = by_driver.RestoreTarget(
            label=self.label, schema=self._settings.schema, table=self._settings.table, lock=keys, secrets=self.secrets,
            look=self._relations_after_restore, waits_for=self._held_up,
        )  # fmt: skip
        connection = self._sessions.open("restore", ours=False)
        try:
            if dump.needs_psql:
                parameters = parameters_of(connection, self._sessions.dsn)
                close_quietly(connection)
                restore_through_psql(dump, parameters, target, observer=observer, psql=psql)
            else:
                with self._sessions.interruption.stopping(connection.cancel):
                    by_driver.restore_through_driver(dump, connection, target, observer=observer)
        except by_driver.CommitUnknown:
            self._look_whether_restored(dump)
        finally:
            close_quietly(connection)
        self._find_ledger()

    def _relations_after_restore(self) -> list[str]:
        """Name the relations in the database, once the server has finished the restore; uses a connection of its own."""
        from migrate_graph.database.postgres.restore.by_driver import USER_RELATIONS

        self._revive()
        connection = self._sessions.open("look")
        try:
            doing = "looking what a restore has left"
            return [
                name for (name,) in self._sessions.patience.run(connection, doing, send, connection, USER_RELATIONS)
            ]
        except psycopg2.Error as error:
            raise DatabaseUnreachable(redact(first_line(error), *self.secrets)) from None
        finally:
            close_quietly(connection)

    def _look_whether_restored(self, dump: VerifiedDump) -> None:
        """Find out whether a restore was committed whose COMMIT was not answered.

        Raises:
            RestoreError: it was not.
        """
        self._revive()
        self._find_ledger()
        if not self.has_ledger():
            raise RestoreError(
                f"the connection was lost when {dump.path} was to be committed; nothing of it is in the database",
                hint="look whether the server is up, then run again",
            )

    def prepare(self) -> None:
        names = self._ledger.names
        missing = set(names.all) - self._present()
        if missing:
            require_writable(self._execute, f"{self.label} cannot record migrations")
            self._require_place()
            with self.together():
                self._ledger.create(missing)
                if names.views in missing:
                    ViewLedger(names, self._execute).create()
                keep_to_ourselves(self._execute, names, missing)
        require_trusted(self._execute, names)

    def _require_place(self) -> None:
        """Raise if there is no schema in which the missing ones of the tool's tables can be created."""
        if not self._ledger.names.schema:
            raise self._without_schema()
        require_place(self._execute, self._ledger.names, self.label)

    def _without_schema(self) -> DatabaseRefused:
        role = self._alive_keeper().info.user
        return without_schema(self._execute, self._settings.schema, self._sessions.place, role, self.label)

    def preflight(self, names: Sequence[str], *, installed: bool | None = None) -> None:
        if not names:  # nothing will be recorded, so a standby, where nothing can be, is no fault
            return
        found = unmet(self._execute, self._ledger, self.label, self._ledger.names.all)
        faults = [*found.by_role, *found.obstacles.faults_of(names)]
        self._refuse_to_record(faults or (self._tried(names, installed=installed) if found.is_guarded else []))
        self._ledger.has_unique_names = has_unique_names(
            self._execute, self._ledger.names.quoted(self._ledger.names.ledger)
        )

    def obstacles(self) -> Obstacles:
        from migrate_graph.database.books.obstacles import Obstacles

        if not self._ledger.names.schema:
            return Obstacles(refused=self._without_schema())
        return obstacles_of(self._execute, self._ledger, self.label, self._present())

    def installed_if_held(self, lock: Any, names: Sequence[str]) -> frozenset[str] | None:
        if self._sessions.pooled:  # the lock's connection is in a transaction, which would keep a lock on the ledger
            return super().installed_if_held(lock, names)
        try:
            with self._explained():
                found = lock.row(f"{POSTGRES.sql(self._ledger.are_installed(names))}, {DEFAULTS}", names)
        except DatabaseUnreachable:
            return None
        if found is None:
            return None
        *installed, defaults = found
        self._spare.foresee(defaults)
        return frozenset(compress(names, installed))

    # -- work -----------------------------------------------------------------------------------------------------------------

    @property
    def work_class(self) -> type[PostgresWork]:
        """The class that runs one migration. It is imported late, so that a run with nothing to do starts faster."""
        from migrate_graph.database.postgres.work import PostgresWork

        return PostgresWork

    def work(self, migration: Migration, key: AttemptKey) -> PostgresWork:
        if self._sessions.pooled and migration.transaction is TransactionMode.NONE:
            raise AttemptFailed(
                "transaction='none' needs a session of its own, and a pooler stands between us and the server",
                hint="connect to the server's own port in migrate_uri",
            )
        if self._own_sessions is None or self._own_sessions.dals is not self._dals() or self._sessions.pooled:
            self._own_sessions = self._work_sessions(self._open_work)
        return self.work_class(self._settings, migration, key, self._ledger, sessions=self._own_sessions)

    def own_work(self, name: str) -> PostgresWork:
        work = self.work(Migration(name, lambda _db: True), AttemptKey.now(name, run=""))
        work.start_unmarked()
        return work

    def room_for(self, jobs: int) -> Room:
        if self._sessions.pooled:
            return Room(1, "a pooler in transaction mode stands between this run and the server")
        with self._explained():
            return room_for(self._execute, jobs)

    def seat(self, lock: Lock, name: str) -> Seat:
        from migrate_graph.database.postgres.seated import Seat

        with self._explained():
            return Seat.of(lock, name)

    @staticmethod
    def seated(settings: Settings, seat: Any) -> SeatedBackend:
        from migrate_graph.database.postgres.seated import SeatedBackend

        return SeatedBackend(settings, seat)

    @staticmethod
    def import_for_seats(settings: Settings) -> None:
        import migrate_graph.database.postgres.seated
        import migrate_graph.database.postgres.work  # noqa: F401 - to have them imported
        from migrate_graph.database.dal import import_dal

        import_dal(typedal=settings.typedal)

    def atomic_run(self, intent: AtomicIntent) -> PostgresAtomicRun:
        from migrate_graph.database.postgres.atomic import AtomicConnection, PostgresAtomicRun
        from migrate_graph.database.views.held import HeldViews

        self._spare.close()  # a run has at most two sessions: the keeper and one that works
        sessions = self._work_sessions(partial(self._open_new_work, kind=AtomicConnection))
        lasting = partial(self._sessions.settings, ours=False)
        return PostgresAtomicRun(
            self._settings, self._ledger, sessions, lasting=lasting, intent=intent, held=HeldViews.of(intent)
        )

    def _work_sessions(self, opens: Callable[[str], tuple[WorkConnection, bool]]) -> WorkSessions:
        from migrate_graph.database.postgres.work import WorkSessions

        return WorkSessions(
            open=opens,
            keep=self._spare.keep,
            prologue=self._prologue(),
            pooled=self._sessions.pooled,
            patiently=self._sessions.patience.run,
            dals=self._dals(),
        )

    def _dals(self) -> SpareDal:
        """Return the maker of `DAL`s; a new one when the ledger was found in another schema than before."""
        names, settings = self._ledger.names, self._settings
        ledger = names.quoted(names.ledger)
        if self._spare_dal is None or self._spare_dal.ledger != ledger:
            self._spare_dal = SpareDal(typedal=settings.typedal, folder=settings.folder, ledger=ledger)
        return self._spare_dal

    def _open_work(self, name: str) -> tuple[WorkConnection, bool]:
        kept = self._spare.take(name)
        if kept is not None:
            return kept, False
        return self._open_new_work(name, self.connection_class)

    def _open_new_work(self, name: str, kind: type[WorkConnection]) -> tuple[WorkConnection, bool]:
        keys = self._work_keys()
        connection: WorkConnection = self._sessions.open(name, kind, lock=keys, ours=False)
        if not self._sessions.pooled and not connection.got_lock:
            # The lock was not free when the session was opened: an earlier session of this run may need a moment to end.
            def is_ours() -> bool:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", keys)
                    return bool(cursor.fetchone()[0])

            observer, interruption = self._sessions.observer, self._sessions.interruption
            holder = partial(self._at_work.holder, *keys)
            self._wait(is_ours, _LEFTOVER_WAIT, observer, interruption, holder, quiet_for=_QUIET)
        self._spare.remember(connection)
        return connection, True

    def _prologue(self) -> tuple[str, list[Any]]:
        """Return the query that is sent with every marker, and its parameters.

        Behind a pooler it also sets the run's settings for the transaction, because the session goes to another client after it.
        """
        from migrate_graph.database.postgres.work import prologue

        pooled = self._sessions.pooled
        return prologue(self._work_keys(), self._sessions.settings(self._alive_keeper(), ours=False) if pooled else ())

    # -- trouble --------------------------------------------------------------------------------------------------------------

    def explain(self, error: BaseException) -> Trouble:
        return explained(error, self.secrets)

    def waiting_for(self, work: Work) -> str:
        return self._held_up()

    def _held_up(self) -> str:
        """Return what the running statement waits for; empty when it does not wait. Its session is found by the work's lock."""
        if self._keeper.closed:  # the run itself must reconnect, because it must also check whether the lock is lost
            return ""
        return self._at_work.held_up(*self._work_keys())
