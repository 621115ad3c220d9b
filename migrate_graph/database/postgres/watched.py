"""A backend that records what its migrations do while it applies them; their commits are real."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

from migrate_graph.core.footprint import Footprint, OutsideAct
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.postgres.facts.dependencies import Dependencies
from migrate_graph.database.postgres.facts.query import SETTINGS, numbers_of, with_numbers
from migrate_graph.database.postgres.facts.reading import Facts
from migrate_graph.database.postgres.rehearsal.reach import Reach
from migrate_graph.database.postgres.rehearsal.recorder import Recorder
from migrate_graph.database.postgres.rehearsal.recording import RecordedConnection
from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.work import PostgresWork
from migrate_graph.errors import DatabaseError
from migrate_graph.quoting import as_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.database.watching import Outside, Watching


class Observation:
    """Watches one migration, from the beginning of its body to the end of its work.

    Args:
        name: name of the migration.
        recorder: records its statements.
        outside: makes the context manager that watches what its body does outside of the database.
        backend: receives the result, under the name.
    """

    def __init__(self, name: str, recorder: Recorder, outside: Outside, backend: WatchedBackend) -> None:
        self.recorder = recorder
        self._name = name
        self._outside = outside
        self._backend = backend
        self._around = ExitStack()
        self._acts: list[OutsideAct] = []
        self._is_over = False

    def body_begins(self) -> None:
        """Start to watch what the body does outside of its database."""
        self._acts = self._around.enter_context(self._outside(self._name))

    def body_ends(self) -> None:
        """Stop to watch what the body does outside of its database."""
        self._around.close()

    def end(self) -> None:
        """Find out how the database has changed, and store the footprint; does nothing the second time."""
        self.body_ends()
        if self._is_over:
            return
        self._is_over = True
        self.recorder.note_outside(self._acts)
        try:
            self._backend.survey(self.recorder)
        except DatabaseError as error:
            self.recorder.not_rehearsed(f"what it left could not be looked at: {error.message}")
            self._backend.unseen = self._backend.unseen or error
        self._backend.footprints[self._name] = self.recorder.footprint()


class WatchedWork(PostgresWork):
    """See `database.Work`; its statements are recorded."""

    observation: Observation | None = None

    def _arm(self, connection: WorkConnection) -> None:
        super()._arm(connection)
        if self.observation is not None and isinstance(connection, RecordedConnection):
            connection.recorder = self.observation.recorder

    def observe(self, observation: Observation, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> None:
        """Begin to record what the migration sends.

        Args:
            observation: watches the migration.
            ask: runs a statement on another connection.
        """
        assert isinstance(self._connection, RecordedConnection)  # noqa: S101 - the backend's `connection_class`
        observation.recorder.begin(self._connection, ask)
        self.observation = observation

    def start(self) -> None:
        """Begin the attempt."""
        super().start()
        if self.observation is not None:
            self.observation.body_begins()

    def check(self) -> None:
        """Check the session after the body has returned; see `database.Work`."""
        self._body_ends()
        super().check()

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        """Record the success."""
        connection = self._connection
        if self.observation is not None and isinstance(connection, RecordedConnection) and not connection.closed:
            self.observation.recorder.before_end(connection, own=False)
        super().finish(seconds=seconds, guard=guard)

    def is_lost(self) -> bool:
        """Whether the connection broke."""
        self._body_ends()
        return super().is_lost()

    def _body_ends(self) -> None:
        if self.observation is not None:
            self.observation.body_ends()

    def close(self) -> None:
        """Close the connection, and store the footprint."""
        self._body_ends()
        if not self._ended and isinstance(self._connection, RecordedConnection):
            self._connection.recorder = None
        super().close()
        if self.observation is not None:
            self.observation.end()


class WatchedBackend(PostgresBackend):
    """See `database.Backend` and `watching.Rehearsing`."""

    work_class = WatchedWork
    connection_class = RecordedConnection
    _tells_of_server = False  # whoever has read the history, or made the database, has

    def __init__(self, settings: Settings, watching: Watching) -> None:
        super().__init__(settings, writing=True)
        self._sessions.is_watched = True
        self.footprints: dict[str, Footprint] = {}
        self.ended = ""
        self.unseen: DatabaseError | None = None
        self._watching = watching
        self._facts: Facts | None = None
        self._recorder: Recorder | None = None
        self._planned: dict[str, str] = {}
        self._planned_on: Any = None

    def begin(self) -> None:
        """Read the facts of the database before anything runs."""
        self._look_at_all(self._alive_keeper().info.server_version, self._look)

    def _look_at_all(self, version: int, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> None:
        self._facts = Facts(self._read_facts, version=version, own=self._own_tables())
        self._facts.read_whole()
        self._recorder = self._recorder_of(self._facts, ask)

    def _own_tables(self) -> tuple[str, ...]:
        names = self._ledger.names
        return tuple(sorted(map(names.quoted, names.all)))

    def _recorder_of(self, facts: Facts, ask: Callable[[str], Sequence[tuple[Any, ...]]]) -> Recorder:
        watching = self._watching
        return Recorder(
            facts,
            sizes=watching.sizes,
            root=Path(watching.root),
            values=watching.values,
            secrets=self.secrets,
            own=frozenset(number for (number,) in ask(numbers_of(self._own_tables()))),
            reach=Reach(facts, Dependencies(self._read_facts)) if watching.closely else None,
        )

    def work(self, migration: Migration, key: AttemptKey) -> PostgresWork:
        work = super().work(migration, key)
        if self._recorder is not None and isinstance(work, WatchedWork):
            work.observe(Observation(migration.name, self._recorder, self._watching.outside, self), self._look)
        return work

    def survey(self, recorder: Recorder) -> None:
        """Find out how a migration has changed the database.

        Raises:
            DatabaseError: that could not be read.
        """
        with self._explained():
            recorder.survey()

    def remarks(self) -> tuple[str, ...]:
        """Return, in words, what has changed in the database although no migration was seen to change it."""
        if self.ended or self._facts is None:
            return ()
        left = self._facts.read_whole()
        found = sorted(
            str(fact)
            for fact in left.added | left.changed | left.removed
            if fact.kind not in {"role", "membership", "setting"}  # all databases of the server share these
        )
        return (f"changed, too, by one of them unseen or by somebody else: {', '.join(found)}",) if found else ()

    def _look(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement without parameters on the keeper."""
        with self._explained():
            return self._patiently(send, statement)

    def _read_facts(self, query: str, relations: frozenset[int]) -> Sequence[tuple[Any, ...]]:
        """Read facts on the keeper, with settings under which names and values are written the same each time."""
        with self._explained():
            if self._sessions.pooled:
                return self._patiently(_in_a_moment, with_numbers(query, relations))
            return self._patiently(self._facts_of, query, relations)

    def _facts_of(self, keeper: Any, query: str, relations: frozenset[int]) -> list[tuple[Any, ...]]:
        """Run a query as a prepared statement: planning it takes longer than running it."""
        with keeper.cursor() as cursor:
            if keeper is not self._planned_on:
                self._planned, self._planned_on = {}, keeper
                cursor.execute(f"{SETTINGS.replace('true', 'false')}; SET plan_cache_mode TO force_generic_plan")
            if query not in self._planned:
                self._planned[query] = f"migrate_graph_facts_{len(self._planned)}"
                cursor.execute(f"PREPARE {self._planned[query]}{'(oid[])' if '$1' in query else ''} AS {query}")
            given = f"({as_array(relations)})" if "$1" in query else ""
            cursor.execute(f"EXECUTE {self._planned[query]}{given}")
            return list(cursor.fetchall())


def _in_a_moment(connection: Any, query: str) -> list[tuple[Any, ...]]:
    """Run a query in a transaction of its own, which is rolled back, so that its settings do not stay."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(f"{SETTINGS}; {query}")
            return list(cursor.fetchall())
        finally:
            with suppress(psycopg2.Error):
                cursor.execute("ROLLBACK")
