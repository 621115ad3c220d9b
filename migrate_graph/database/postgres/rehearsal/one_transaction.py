"""A rehearsal in one transaction that nothing can commit: migrations are run, watched, and rolled back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg

from migrate_graph.core.model import TransactionMode
from migrate_graph.database.books.ledger import Known
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.driver_errors import Trouble, TroubleKind
from migrate_graph.database.names import TableNames
from migrate_graph.database.postgres.facts.query import SETTINGS, with_numbers
from migrate_graph.database.postgres.rehearsal.guarded import ESCAPED, HOW_ELSE, GuardedConnection, ended_past_us
from migrate_graph.database.postgres.session.as_ourselves import AsOurselves
from migrate_graph.database.postgres.session.connection import IDLE
from migrate_graph.database.postgres.session.cursor import rows_of
from migrate_graph.database.postgres.session.patience import Patience
from migrate_graph.database.postgres.shared_work import SharedWork
from migrate_graph.database.postgres.views.beside import PostgresBuilder
from migrate_graph.database.postgres.watched import Observation, WatchedBackend
from migrate_graph.database.spare_dal import SpareDal
from migrate_graph.database.views.keeper import ViewKeeper
from migrate_graph.database.watching import Keeping
from migrate_graph.errors import DatabaseRefused

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings, Work
    from migrate_graph.database.books.ledger import AttemptKey, Ledger
    from migrate_graph.database.watching import Watching

_LOOK = "migrate_graph_look"

_SEQUENCES = "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value FROM pg_catalog.pg_sequences"


class GuardedWork(SharedWork):
    """See `database.Work`; its work is rolled back in the end, or committed where the database was made for that."""

    has_new_session = False
    _connection: GuardedConnection

    def __init__(
        self, backend: GuardedBackend, migration: Migration, key: AttemptKey, observation: Observation
    ) -> None:
        self._backend = backend
        self._mode = migration.transaction
        self._key = key
        self._observation = observation
        connection, patiently = backend.guarded, backend.patience.run
        patiently(connection, "opening a session", partial(connection.renew, backend.session_settings()))
        super().__init__(
            connection, backend.settings, backend.names, dals=backend.dals(), patiently=patiently, name=key.name
        )
        self.views = ViewKeeper(self._catalog, self._view_ledger, PostgresBuilder(self._catalog))

    def start(self) -> None:
        self._connection.owner = self._owner
        self._connection.make_room = self.views.before_statement
        self._connection.begin_step(self._mode)
        fresh = self._backend.keeps and not self._connection.bound
        self._observation.recorder.begin(self._connection, self._connection.ask, fresh=fresh)
        self._connection.recorder = self._observation.recorder
        self._observation.body_begins()

    def check(self) -> None:
        self._observation.body_ends()
        connection = self._connection
        if connection.has_ended or connection.info.transaction_status == IDLE:
            connection.has_ended = True
            raise ended_past_us()
        single = self._mode is TransactionMode.SINGLE
        self._require_whole(connection.lost_work, is_closed=False, single=single, of_what="it")

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        recorded = partial(self._backend.write_success, self._key)
        self.patiently(f"recording the success of {self._key.name}", recorded)
        guard()
        self.patiently(f"ending {self._key.name}", self._connection.end_step)
        self._succeeded = True

    def read_applied(self) -> frozenset[str]:
        return self._backend.inner.read_applied()

    def is_lost(self) -> bool:
        self._observation.body_ends()
        return super().is_lost()

    def close(self) -> None:
        self._observation.body_ends()
        super().close()
        self._observation.end()

    def _leave(self) -> None:
        connection = self._connection
        connection.recorder = connection.owner = connection.weaver = connection.make_room = None
        with contextlib.suppress(psycopg2.Error):
            self.patiently(f"rolling back {self._key.name}", connection.abandon_step)
        if connection.has_ended:
            self._backend.ended = f"{self._key.name} ended the transaction of the rehearsal"


if TYPE_CHECKING:

    def _is_a_work(work: GuardedWork) -> Work:
        return work


class GuardedBackend(WatchedBackend):
    """See `database.Backend` and `watching.Rehearsing`; its migrations share one session, in which they cannot commit themselves."""

    def __init__(self, settings: Settings, watching: Watching) -> None:
        super().__init__(settings, watching)
        self._guarded: GuardedConnection | None = None
        self._sequences: dict[str, Any] = {}
        self._bound_by = ""
        self._is_numbered = True

    @property
    def guarded(self) -> GuardedConnection:
        """The one connection of the rehearsal; it exists from `begin` on."""
        assert self._guarded is not None  # noqa: S101 - only used after `begin`
        return self._guarded

    @property
    def keeps(self) -> bool:
        """Whether the work of each migration is committed, unless it writes what all databases of the server share."""
        return self._watching.keeping is Keeping.BY_STEP

    def begin(self) -> None:
        """Open the guarded transaction, create the tool's tables in it, and read the facts of the database."""
        with self._explained():
            self._begin()

    def _begin(self) -> None:
        self._sequences = self._values_of_sequences()
        self._guarded = self._sessions.open("rehearsal", GuardedConnection, ours=True)
        self.guarded.guard(keeps=self.keeps, pooled=self._sessions.pooled)
        names = self._ledger.names
        missing = set(names.all) - self._present()
        if missing:
            self._require_place()
            self.inner.create(missing)
            if names.views in missing:
                ViewLedger(names, self._tell).create()
        self._is_numbered = bool(
            self._tell(
                "SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) CAST(%s AS pg_catalog.regclass) "
                "AND a.attname OPERATOR(pg_catalog.=) 'id'",
                (names.quoted(names.ledger),),
            )
        )
        self._look_at_all(self.guarded.info.server_version, self.guarded.ask)

    # -- what works need ------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> TableNames:
        """The names of the tool's tables."""
        return self._ledger.names

    @property
    def settings(self) -> Settings:
        """The settings of the database."""
        return self._settings

    @property
    def patience(self) -> Patience:
        """What runs calls that may block."""
        return self._sessions.patience

    def dals(self) -> SpareDal:
        """Return what makes the `DAL` of each migration."""
        return self._dals()

    def session_settings(self) -> list[tuple[str, str]]:
        """Return the settings of a migration's session."""
        place = [] if self._settings.schema else [("search_path", self._sessions.place)]
        return [*place, *self._sessions.settings(self.guarded, ours=False)]

    def write_success(self, key: AttemptKey) -> None:
        """Record, inside of the rehearsal, that a migration is installed; without its sequence, which a rollback would not set back."""
        flag = "F" if key.reverts else "T"
        ledger, numbered = self.names.quoted(self.names.ledger), self._is_numbered
        own = '"id", ' if numbered else ""
        number = (
            f"(SELECT coalesce(pg_catalog.max(id), 0) OPERATOR(pg_catalog.+) 1 FROM {ledger}), " if numbered else ""
        )
        self._tell(
            "RESET SESSION AUTHORIZATION; RESET ROLE; "
            f"WITH known AS (UPDATE {ledger} SET installed = %s, last_update_dttm = LOCALTIMESTAMP(0) "
            f"WHERE name OPERATOR(pg_catalog.=) %s RETURNING name) INSERT INTO {ledger} ({own}name, installed, last_update_dttm) "
            f"SELECT {number}%s, %s, LOCALTIMESTAMP(0) WHERE NOT EXISTS (SELECT FROM known)",
            (flag, key.name, key.name, flag),
        )

    @property
    def inner(self) -> Ledger:
        """The tool's tables, as the rehearsal sees them."""
        return self._ledger.on(AsOurselves(lambda: self.guarded, self._tell))

    def _tell(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with pg.connection.cursor(self.guarded, cursor_factory=pg.cursor) as cursor:
            return rows_of(cursor, statement, parameters)

    def _read_facts(self, query: str, relations: frozenset[int]) -> Sequence[tuple[Any, ...]]:
        connection = self.guarded
        if self.keeps and not connection.bound:  # the work is committed, so the keeper can see it
            return super()._read_facts(query, relations)
        with self._explained():
            rows = connection.ask(f"SAVEPOINT {_LOOK}; {SETTINGS}; {with_numbers(query, relations)}")
            connection.ask(f"ROLLBACK TO SAVEPOINT {_LOOK}; RELEASE SAVEPOINT {_LOOK}")
        return rows

    # -- see `database.Backend` ---------------------------------------------------------------------------------------------------

    def work(self, migration: Migration, key: AttemptKey) -> Any:
        """Begin a migration in the transaction of the rehearsal."""
        if self.ended or self._recorder is None:
            raise DatabaseRefused(self.ended or "the rehearsal has not begun", hint=HOW_ELSE)
        was_bound = self.guarded.bound
        if was_bound and not self._bound_by:
            self._bound_by = self._last_name
        self._last_name = migration.name
        return GuardedWork(
            self, migration, key, Observation(migration.name, self._recorder, self._watching.outside, self)
        )

    _last_name = ""

    def installed_if_held(self, lock: Any, names: Sequence[str]) -> frozenset[str] | None:
        if self.ended:
            raise DatabaseRefused(self.ended, hint=HOW_ELSE)
        if not lock.is_held():
            return None
        with self._explained():
            return self.inner.read_installed(names)

    def record_failure(self, key: AttemptKey, *, error: str, seconds: float, commits: int = 0) -> None:
        """Record nothing: a rehearsal writes no journal."""

    def outcome_of(self, key: AttemptKey) -> Known:
        """Return that the attempt failed, and how many commits of its own it made before."""
        return Known(succeeded=False, commits=self._recorder.own_commits if self._recorder else 0)

    def explain(self, error: BaseException) -> Trouble:
        trouble = super().explain(error)
        if isinstance(error, psycopg2.Error) and error.pgcode == ESCAPED:
            told = ended_past_us()
            return Trouble(TroubleKind.OTHER, told.message, told.hint)
        return trouble

    def remarks(self) -> tuple[str, ...]:
        """Return, in words, how the rehearsal differed from a real run, and what of it stays in the database."""
        told = list(super().remarks())
        if not self.keeps:
            told.append(
                "all of it was one transaction: now() stood still, and locks of earlier migrations were held on"
            )
            before, after = self._sequences, self._values_of_sequences()
            advanced = sorted(name for name, value in after.items() if name in before and value != before[name])
            if advanced:
                told.append(f"sequences advance in a rehearsal, too, and are not set back: {', '.join(advanced)}")
        elif self.guarded.bound:
            told.append(
                f"{self._bound_by or self._last_name} writes what all databases of the server share (roles, for example): "
                "from there on all of it was one transaction, so that none of that stays"
            )
        return tuple(told)

    def _values_of_sequences(self) -> dict[str, Any]:
        return {} if self.keeps else dict(self._look(_SEQUENCES))

    def close(self) -> None:
        if self._guarded is not None:
            self._guarded.really_close()
        super().close()

    def prepare(self) -> None:
        """Create nothing: `begin` creates the tool's tables inside of the rehearsal."""
