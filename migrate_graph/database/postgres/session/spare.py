"""Keeps the session of a migration that succeeded, cleaned, for the next migration: that is faster than to open a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg2

from migrate_graph.database.postgres.session.held_lock import has_news
from migrate_graph.database.postgres.session.opening import close_quietly
from migrate_graph.database.postgres.session.renewal import ALONE, DriverMemory, is_at_rest
from migrate_graph.database.sole_holder import is_ours_alone
from migrate_graph.errors import DatabaseUnreachable, MigrateGraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrate_graph.database.postgres.session.connection import WorkConnection
    from migrate_graph.database.postgres.session.opening import Sessions
    from migrate_graph.database.sole_holder import Holder

DEFAULTS = "ARRAY(SELECT CAST(s AS pg_catalog.text) FROM pg_catalog.pg_db_role_setting s)"
"""SQL expression: the settings that roles and databases give to new sessions. After a change of them, older sessions have the old values.

Neither aggregated nor ordered: planning that would take longer than everything else in the same query.
"""


class Spare:
    """Keeps the session of a migration that succeeded until the next one begins.

    Args:
        sessions: the sessions of the run.
        lock: returns the keys of the work's lock, which a kept session holds; None where it holds no lock between two migrations.
        wanted: keep sessions; False where every migration gets a new one.
    """

    def __init__(self, sessions: Sessions, lock: Callable[[], tuple[int, int] | None], *, wanted: bool) -> None:
        self._sessions = sessions
        self._lock = lock
        self._wanted = wanted
        self._connection: Any = None
        self._defaults: list[str] | None = None
        self._as_new = ""

    def remember(self, connection: WorkConnection) -> None:
        """Record the state of a new session, to compare with it after a migration."""
        if self._wanted and self._sessions.is_direct:
            self._sessions.patience.run(connection, "looking at a new session", _remember, connection)

    def keep(self, holder: Holder) -> bool:
        """Keep the session of a migration that succeeded, cleaned; return False where that is not possible or not safe."""
        if not is_ours_alone(holder, alone=ALONE):
            return False
        connection = holder._connection  # noqa: SLF001 - `Holder` declares it
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
        """Note which settings a new session would get now; `take` compares them with those that the kept session got.

        Args:
            defaults: as another session has just read them. It has a prepared plan for that query; planning it in the kept session
                takes longer than all other queries there.
        """
        self._defaults = defaults

    def take(self, name: str) -> WorkConnection | None:
        """Return the kept session; None where there is none, or where a new session would get other settings.

        It is like a new session, except for its `application_name`, which is set together with the marker.

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
            return connection  # type: ignore[no-any-return] # `keep` has stored a WorkConnection
        close_quietly(connection)
        return None

    def _make_as_new(self, connection: WorkConnection) -> bool:
        """Reset the session, and apply the run's settings and take the lock again, in one message; return whether it has the lock."""
        with connection.cursor() as cursor:
            self._as_new = self._as_new or _written(cursor, self._sessions.settings(connection, ours=False))
            keys = self._lock()
            cursor.execute(self._as_new + (_LOCKED if keys else "true"), keys or ())
            (is_ready,) = cursor.fetchone()
        del connection.notices[:], connection.notifies[:]
        return bool(is_ready)

    def close(self) -> None:
        """Close the kept session."""
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
"""The steps of `DISCARD ALL`, in its order. `DISCARD ALL` itself cannot be sent together with other statements."""


_LOCKED = "pg_catalog.pg_try_advisory_lock(%s, %s)"


def _written(cursor: Any, settings: Sequence[tuple[str, str]]) -> str:
    """Return the first part of the message that cleans a session; it is the same for all sessions of a run.

    `SET` is faster than `set_config()`, but would take the whole search_path as one name.
    """
    paths = [each for each in settings if each[0] == "search_path"]
    others = [each for each in settings if each not in paths]
    set_again = [cursor.mogrify(f"SET {name} TO %s", (value,)).decode() for name, value in others]
    set_again += [cursor.mogrify("SELECT pg_catalog.set_config(%s, %s, false)", each).decode() for each in paths]
    written = "; ".join((_DISCARD, *set_again)).replace("%", "%%")
    return f"{written}; SELECT "
