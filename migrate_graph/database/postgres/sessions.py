"""Opens sessions on a PostgreSQL server: waits while it does not answer, gives them our settings, notices a pooler in between."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg

from migrate_graph import forks
from migrate_graph.core.events import Connecting, Observer, ignore_events
from migrate_graph.database.dal import DalSource
from migrate_graph.database.names import search_path
from migrate_graph.errors import ConfigError, DatabaseUnreachable
from migrate_graph.messages import first_line
from migrate_graph.redaction import redact, redact_uri
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.database import Settings

_TELL_EVERY = 10.0

# What pyDAL's adapter accepts; it is never used to connect, but a migration may look at `db._uri`.
_PYDAL_URI = re.compile(r"postgres[23]?://[^:@/]+(:[^@]*)?@[^:/?]+(:\d+)?/[^?]+(\?.*)?")

# libpq gives no SQLSTATE for a failed connection. The first are never worth waiting for (edwh-migrate retried a wrong password
# for ten minutes) and are looked for first, since a name in the message may hold any word; the second are; the rest is not.
_PERMANENT = re.compile(
    r"authentication failed|no password|does not exist|no pg_hba|not permitted to log in|permission denied for database",
    re.IGNORECASE,
)
_TRANSIENT = re.compile(
    r"refused|timeout|timed out|could not translate|name or service|name resolution|starting up|shutting down|recovery mode|"
    r"not yet accepting|too many|remaining connection slots|closed the connection|closed unexpectedly|EOF detected|"
    r"reset by peer|no such file|unreachable|administrator command|no route|broken pipe",
    re.IGNORECASE,
)

# What a statement of ours, outside any migration, may wait for a lock when `lock_timeout` is off: every wait has a limit.
_KEEPER_LOCK_TIMEOUT = 60.0


class Sessions:
    """Opens sessions, all with the same address and settings.

    Attributes:
        label: what to call the database in output.
        dsn: the parsed URI.
        secrets: what no output may contain.
        pooled: a pooler in transaction mode stands in between, so that a session's settings belong to whoever comes next.
        observer: told while the server does not answer.
        interruption: ends the waiting.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.label = redact_uri(settings.uri)
        self.dsn = parse_uri(settings.uri)
        self.secrets = tuple(filter(None, [*settings.secrets, self.dsn.get("password")]))
        self.pooled = False
        self.observer: Observer = ignore_events
        self.interruption = Interruption()

    def open(
        self, role: str, factory: Callable[..., Any] = pg.connection, *, lock: tuple[int, int] | None = None
    ) -> Any:
        """Open a session in autocommit, waiting up to `connect_wait` for a server that does not answer.

        Args:
            role: what it is for, shown in `pg_stat_activity`: `keeper`, or the name of a migration.
            factory: class of the connection.
            lock: keys of an advisory lock to try for; `got_lock` of the connection says whether it was had.

        Raises:
            DatabaseUnreachable: no connection, at once for what waiting cannot mend.
            Stopped: a signal arrived.
        """
        started = time.monotonic()
        told = started - _TELL_EVERY
        while True:
            try:
                return self._try(role, factory, lock)
            except psycopg2.Error as error:
                waited = time.monotonic() - started
                reason = redact(first_line(error), *self.secrets)
                self._give_up(error, reason, waited)
                if time.monotonic() - told >= _TELL_EVERY:
                    told = time.monotonic()
                    self.observer(Connecting(waited, reason))
            self.interruption.sleep(min(1.0, max(0.05, self._settings.connect_wait - waited)))

    def _give_up(self, error: psycopg2.Error, reason: str, waited: float) -> None:
        text = str(error)
        if _PERMANENT.search(text) or not _TRANSIENT.search(text):
            raise DatabaseUnreachable(f"cannot connect to {self.label}: {reason}", hint=_connect_hint(text)) from None
        if waited >= self._settings.connect_wait:
            raise DatabaseUnreachable(
                f"{self.label} did not answer within {self._settings.connect_wait:.0f} s: {reason}",
                hint=_waited_hint(text),
            ) from None

    def _try(self, role: str, factory: Callable[..., Any], lock: tuple[int, int] | None) -> Any:
        connection = self._dial(
            connection_factory=factory,
            **{
                "connect_timeout": 10,
                "keepalives": 1,
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
                **self.dsn,
                "client_encoding": "UTF8",
                "application_name": application_name(f"migrate_graph:{role}"),
            },
        )
        connection.autocommit = True
        settings = self.settings(connection, role)
        # Behind a pooler `pg_backend_pid()` is not the number that was given when we connected. What is set for a session there
        # would stay behind for other programs, so the server is asked to do nothing then.
        chosen = ["set_config(%s, %s, false)"] * len(settings)
        if lock:
            chosen.append("pg_try_advisory_lock(%s, %s)")
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join(chosen)} WHERE pg_backend_pid() = %s",
                [*chain.from_iterable(settings), *(lock or ()), connection.info.backend_pid],
            )
            row = cursor.fetchone()
        self.pooled = row is None
        if lock:
            connection.got_lock = row is not None and row[-1]
        return connection

    def _dial(self, **arguments: Any) -> Any:
        """Connect in a thread: the driver waits in C, where no signal handler of Python runs."""
        done = threading.Event()
        opened: list[Any] = []

        def dial() -> None:
            try:
                opened.append(psycopg2.connect(**arguments))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
                opened.append(error)
            done.set()

        threading.Thread(target=dial, name="migrate_graph connect", daemon=True).start()
        while not done.wait(0.5):
            self.interruption.check()
        if isinstance(opened[0], BaseException):
            raise opened[0]
        forks.hide(opened[0])
        return opened[0]

    def settings(self, connection: Any, role: str) -> list[tuple[str, str]]:
        """List the settings of a session of ours, as (name, value)."""
        version = connection.info.server_version
        settings = [("idle_in_transaction_session_timeout", "0")]
        if version >= 140000:
            settings.append(("idle_session_timeout", "0"))
        if self._settings.schema:
            settings.append(("search_path", search_path(self._settings.schema)))
        patience = self._settings.lock_timeout
        if role == "keeper":
            settings.append(("lock_timeout", _milliseconds(patience or _KEEPER_LOCK_TIMEOUT)))
            return settings
        settings.append(("lock_timeout", _milliseconds(patience)))
        if self._settings.statement_timeout:
            settings.append(("statement_timeout", _milliseconds(self._settings.statement_timeout)))
        if version >= 140000:
            settings.append(("client_connection_check_interval", "1000"))
        return settings

    def begin(self, connection: Any, role: str) -> None:
        """Open a transaction with our settings on a connection in autocommit; behind a pooler they hold only so long."""
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            if self.pooled:
                settings = self.settings(connection, role)
                chosen = ", ".join(["set_config(%s, %s, true)"] * len(settings))
                cursor.execute(f"SELECT {chosen}", list(chain.from_iterable(settings)))


def close_quietly(connection: Any) -> None:
    """Close a connection that may be broken."""
    if connection is not None:
        with suppress(psycopg2.Error):
            connection.close()


def parse_uri(uri: str) -> dict[str, str]:
    """Parse the URI with libpq's own parser (it percent-decodes); `postgres:psycopg2://` and `?unix_socket=` are pyDAL's.

    Raises:
        ConfigError: it cannot be read.
    """
    scheme, _, rest = uri.partition("://")
    rest = re.sub(r"([?&])unix_socket=", r"\1host=", rest)
    try:
        parsed: dict[str, str] = pg.parse_dsn(f"postgresql://{rest}")
    except psycopg2.ProgrammingError as error:
        raise ConfigError(
            f"migrate_uri cannot be read: {redact(str(error).strip(), *re.findall(r':([^:@/]+)@', rest))}",
            hint=f"use {scheme}://user:password@host:port/database; percent-encode @ : / in the password",
        ) from None
    return parsed


def pydal_uri(uri: str) -> str:
    """Return a URI that pyDAL can parse: its regular expression knows only one spelling, and needs a user and a host."""
    scheme, _, rest = uri.partition("://")
    kind = scheme.lower().partition(":")[0]
    kind = kind if kind in {"postgres2", "postgres3"} else "postgres"  # pyDAL maps types by them
    spelled = f"{kind}://{rest}"
    if _PYDAL_URI.fullmatch(spelled):
        return spelled
    parsed = pg.parse_dsn(f"postgresql://{rest}")
    return f"{kind}://{parsed.get('user') or 'user'}@{'localhost'}/{parsed.get('dbname') or 'database'}"


def dal_source(settings: Settings, application: str) -> DalSource:
    """Return how an application's `DAL` connects: to the configured search_path, with nothing else of ours."""
    dsn: dict[str, Any] = {
        "keepalives": 1,
        **parse_uri(settings.uri),
        "application_name": application_name(application),
    }

    def connect(*_dsn: Any, **_options: Any) -> Any:
        connection = psycopg2.connect(**dsn)
        if settings.schema:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('search_path', %s, false)", (search_path(settings.schema),))
            connection.commit()
        return connection

    return DalSource(pydal_uri(settings.uri), connect, while_made=True)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def application_name(name: str) -> str:
    """Cut to what PostgreSQL keeps: 63 bytes, not characters."""
    return name.encode()[:63].decode(errors="ignore")


def _connect_hint(message: str) -> str:
    if "password" in message:
        return "check user and password in migrate_uri (percent-encode @ : / in the password)"
    if "does not exist" in message:
        return "check the name in migrate_uri; the database and the role must exist"
    return "check migrate_uri"


def _waited_hint(message: str) -> str:
    if "too many" in message or "slots" in message:
        return "a run needs two connections at once: raise the connection limit, or close what uses them"
    return "is the server running, and are host and port right? connect_wait sets how long to try"
