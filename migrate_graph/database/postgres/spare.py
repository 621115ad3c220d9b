"""Keeps the session of a migration that succeeded until the next one begins, as good as new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg2

from migrate_graph.database.postgres.held_lock import has_news
from migrate_graph.database.postgres.renewal import ALONE, DriverMemory, is_at_rest
from migrate_graph.database.postgres.sessions import close_quietly
from migrate_graph.database.sole_holder import is_ours_alone
from migrate_graph.errors import DatabaseUnreachable, MigrateGraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        lock: gives the keys of the work's lock, which a kept session has: who is next is at work already; None where it is to have none.
        wanted: False: every migration gets a new session.
    """

    def __init__(self, sessions: Sessions, lock: Callable[[], tuple[int, int] | None], *, wanted: bool) -> None:
        self._sessions = sessions
        self._lock = lock
        self._wanted = wanted
        self._connection: Any = None
        self._defaults: list[str] | None = None
        self._as_new = ""

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
            if not self._sessions.patience.run(
                connection, "cleaning a session for the next migration", self._make_as_new, connection
            ):
                return False
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

    def take(self, name: str) -> WorkConnection | None:
        """Return the kept session, as one is that was just opened, but for its name, which comes with the marker; None where there is none.

        Raises:
            Stopped: a signal arrived.
        """
        connection, self._connection = self._connection, None
        foreseen, self._defaults = self._defaults, None
        if connection is None:
            return None
        try:
            if foreseen is None:
                foreseen = self._sessions.patience.run(
                    connection, f"preparing a session for {name}", _defaults_now, connection
                )
            fresh = foreseen == connection.fresh_defaults and not has_news(connection)
        except (psycopg2.Error, DatabaseUnreachable):
            fresh = False
        if fresh:
            return connection  # type: ignore[no-any-return] # what was kept
        close_quietly(connection)
        return None

    def _make_as_new(self, connection: WorkConnection) -> bool:
        """Make server and driver forget, and give the session our settings and the lock again, in one message; return whether it has the lock."""
        with connection.cursor() as cursor:
            self._as_new = self._as_new or _written(cursor, self._sessions.settings(connection, ours=False))
            keys = self._lock()
            cursor.execute(self._as_new + (_LOCKED if keys else "true"), keys or ())
            (is_ready,) = cursor.fetchone()
        del connection.notices[:], connection.notifies[:]
        return bool(is_ready)

    def close(self) -> None:
        """Close what is kept."""
        close_quietly(self._connection)
        self._connection = None


def _remember(connection: WorkConnection) -> None:
    connection.fresh_memory = DriverMemory.of(connection)
    connection.fresh_defaults = _defaults_now(connection)


def _defaults_now(connection: WorkConnection) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {DEFAULTS}")
        found: list[str] = cursor.fetchone()[0]
        return found


def _can_be_renewed(connection: WorkConnection) -> bool:
    if connection.fresh_memory is None or connection.may_leave_more or connection.ended_unseen:
        return False
    if not is_at_rest(connection):
        return False
    connection.autocommit = True
    return DriverMemory.of(connection) == connection.fresh_memory


_DISCARD = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)
"""What `DISCARD ALL` does, in its order: itself it takes no other statement beside it."""


_LOCKED = "pg_catalog.pg_try_advisory_lock(%s, %s)"


def _written(cursor: Any, settings: Sequence[tuple[str, str]]) -> str:
    """Return how what is sent after each migration begins; the settings are the same for all of a run.

    `SET` takes the server less time than a function does, but would take a search_path for one name.
    """
    paths = [each for each in settings if each[0] == "search_path"]
    others = [each for each in settings if each not in paths]
    set_again = [cursor.mogrify(f"SET {name} TO %s", (value,)).decode() for name, value in others]
    set_again += [cursor.mogrify("SELECT pg_catalog.set_config(%s, %s, false)", each).decode() for each in paths]
    written = "; ".join((_DISCARD, *set_again)).replace("%", "%%")
    return f"{written}; SELECT "
