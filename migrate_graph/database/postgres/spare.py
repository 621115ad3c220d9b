"""Keeps the session of a migration that succeeded until the next one begins, as good as new."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2

from migrate_graph.database.postgres.renewal import ALONE, DriverMemory, is_at_rest
from migrate_graph.database.postgres.sessions import application_name, close_quietly
from migrate_graph.database.sole_holder import is_ours_alone
from migrate_graph.errors import DatabaseUnreachable, MigrateGraphError

if TYPE_CHECKING:
    from migrate_graph.database.postgres.connection import WorkConnection
    from migrate_graph.database.postgres.sessions import Sessions
    from migrate_graph.database.sole_holder import Holder

DEFAULTS = "ARRAY(SELECT CAST(s AS pg_catalog.text) FROM pg_catalog.pg_db_role_setting s)"
"""What to select to learn what roles and databases give to new sessions: one that is older than a change has the values of before.

Not aggregated, nor put in order: that would take longer to plan than everything else that is asked with it.
"""


class Spare:
    """Keeps the session of a migration that succeeded until the next one begins.

    Args:
        sessions: the run's.
        wanted: False: every migration gets a new session.
    """

    def __init__(self, sessions: Sessions, *, wanted: bool) -> None:
        self._sessions = sessions
        self._wanted = wanted
        self._connection: Any = None
        self._defaults: list[str] | None = None
        self._questions: dict[bool, str] = {}

    def remember(self, connection: WorkConnection) -> None:
        """Note what a new session is like, so that it can be told later whether it is so again."""
        if self._wanted and self._sessions.is_direct:
            self._sessions.patience.run(connection, "looking at a new session", _remember, connection)

    def keep(self, holder: Holder) -> bool:
        """Take over the session of a migration that has succeeded; False where the next one is better off with another."""
        if not is_ours_alone(holder, alone=ALONE):
            return False
        connection = holder._connection  # noqa: SLF001 - of a holder, that is what it is for
        try:
            if not _can_be_renewed(connection):
                return False
            self._sessions.patience.run(
                connection, "cleaning a session for the next migration", _discard_all, connection
            )
        except (psycopg2.Error, MigrateGraphError):
            return False
        connection.forget_attempt()
        self._connection = connection
        return True

    def foresee(self, defaults: list[str]) -> None:
        """Note what a new session would be given just now, as another one has seen: the kept one asks for it only where nobody has.

        To plan that takes the kept session longer than all else that it is asked, and a session that keeps a plan of it no time.
        """
        self._defaults = defaults

    def take(self, name: str, lock: tuple[int, int]) -> WorkConnection | None:
        """Return the kept session with our settings and its lock, as one that was just opened has; None where there is none.

        Raises:
            Stopped: a signal arrived.
        """
        connection, self._connection = self._connection, None
        foreseen, self._defaults = self._defaults, None
        if connection is None:
            return None
        try:
            fresh = self._sessions.patience.run(
                connection, f"preparing a session for {name}", self._set_up, connection, name, lock, foreseen
            )
        except (psycopg2.Error, DatabaseUnreachable):
            fresh = False
        if fresh:
            return connection  # type: ignore[no-any-return] # what was kept
        close_quietly(connection)
        return None

    def _set_up(self, connection: WorkConnection, name: str, lock: tuple[int, int], foreseen: list[str] | None) -> bool:
        asks = foreseen is None
        with connection.cursor() as cursor:
            if asks not in self._questions:
                self._questions[asks] = self._written(cursor, asks=asks)
            cursor.execute(self._questions[asks], (application_name(f"migrate_graph:{name}"), *lock))
            asked, _, connection.got_lock = cursor.fetchone()
        return connection.got_lock and bool((asked if asks else foreseen) == connection.fresh_defaults)

    def _written(self, cursor: Any, *, asks: bool) -> str:
        """Return what is sent before each migration, with our settings in it, which are the same for all of a run."""
        settings = self._sessions.settings(cursor.connection, ours=False)
        chosen = ", ".join(["pg_catalog.set_config(%s, %s, false)"] * len(settings))
        written = cursor.mogrify(chosen, list(chain.from_iterable(settings))).decode().replace("%", "%%")
        return (
            f"SELECT {DEFAULTS if asks else 'NULL'}, pg_catalog.num_nulls({written}, pg_catalog.set_config('application_name', %s, false)), "
            "pg_catalog.pg_try_advisory_lock(%s, %s)"
        )

    def close(self) -> None:
        """Close what is kept."""
        close_quietly(self._connection)
        self._connection = None


def _remember(connection: WorkConnection) -> None:
    connection.fresh_memory = DriverMemory.of(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {DEFAULTS}")
        (connection.fresh_defaults,) = cursor.fetchone()


def _can_be_renewed(connection: WorkConnection) -> bool:
    if connection.fresh_memory is None or connection.may_leave_more or connection.ended_unseen:
        return False
    if not is_at_rest(connection):
        return False
    connection.autocommit = True
    return DriverMemory.of(connection) == connection.fresh_memory


def _discard_all(connection: WorkConnection) -> None:
    """Make the server forget, and the driver what the server told."""
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
    del connection.notices[:], connection.notifies[:]
