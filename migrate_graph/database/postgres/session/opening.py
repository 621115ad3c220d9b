"""Opens sessions on a PostgreSQL server: waits while it does not answer, applies the run's settings, notices a pooler in between."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg

from migrate_graph import forks
from migrate_graph.core.events import Connecting, Observer
from migrate_graph.database.dal import DalSource
from migrate_graph.database.names import search_path
from migrate_graph.database.postgres.session.at_work import FIRST_BLOCKER, blocked_by
from migrate_graph.database.postgres.session.connection import OurConnection
from migrate_graph.database.postgres.session.patience import Patience
from migrate_graph.errors import ConfigError, DatabaseRefused, DatabaseUnreachable
from migrate_graph.messages import first_line
from migrate_graph.quoting import quote_identifier
from migrate_graph.redaction import redact, redact_uri
from migrate_graph.signals import Interruption, aside, start_thread

if TYPE_CHECKING:
    from migrate_graph.database import Settings

_TELL_EVERY = 10.0
_FIRST_REPORT = 1.5
_CHECK_EVERY = 0.2
_CONNECT_TIMEOUT = 10

# URIs that pyDAL's adapter accepts. pyDAL does not connect with the URI, but a migration may read `db._uri`.
_PYDAL_URI = re.compile(r"postgres[23]?://[^:@/]+(:[^@]*)?@[^:/?]+(:\d+)?/[^?]+(\?.*)?")

# libpq gives no SQLSTATE for a failed connection, and the server's message may be in any language. After a message with one of these
# texts it is useless to try again (edwh-migrate retried a wrong password for ten minutes); after all others we try again.
_PERMANENT = re.compile(
    r"authentication failed|no password|does not exist|no pg_hba|not permitted to log in|permission denied for database|"
    r"no such (?:database|user)|invalid port number|could not parse|invalid \w+ value|does not support SSL|certificate|"
    r"authentication method|channel binding|GSSAPI|startup parameter|definition of service|service file|weak sslmode|invalid value for parameter",
    re.IGNORECASE,
)
_TRANSIENT = ("08", "53", "55006", "57P")  # SQLSTATEs: connection, resources, object in use, shutdown and startup
_TIMED_OUT = {"57014", "25P03", "25P04"}  # SQLSTATEs: timeout of a statement, idle in a transaction, of a transaction
_TAKES_NO_OPTIONS = "startup parameter"  # from pgbouncer's error message, which is always in English
_PASSING = re.compile(r"too many|remaining connection slots|connection limit", re.IGNORECASE)

# Seconds that a statement of this package, outside of migrations, waits for a lock if `lock_timeout` is 0: every wait has a limit.
_KEEPER_LOCK_TIMEOUT = 60.0

_GRANTS_SETTINGS = 150000
"""First server version with GRANT SET ON PARAMETER."""

# Seconds to find out whether a second client of a pooler gets the first one's server.
_POOLER_LOOK = 5.0
_POOLER_PAUSE = 0.05
_POOLER_LOOKS = 5
"""Number of attempts with a second client: another program may be using the first client's server connection at that moment."""

_WAITS = {"SyncRep": "the commit waits for a synchronous standby (synchronous_standby_names)"}


class Sessions:
    """Opens sessions, all with the same address and settings.

    Attributes:
        label: name of the database in output.
        dsn: the parsed URI.
        secrets: texts that no output may contain.
        pooled: there is a pooler in transaction mode in between, so settings of a session would stay behind for other clients.
        pids: numbers of the server processes of all sessions that were opened.
        place: the search_path that the settings give, or else the role has, as the server writes it.
        fires_triggers: what is written fires triggers and is checked by foreign keys, as is usual.
        is_watched: what migrations do is observed in their own sessions, too; names read there are compared with names read in ours.
        patience: runs calls that may block.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.label = redact_uri(settings.uri)
        self.dsn = parse_uri(settings.uri)
        self.secrets = tuple(filter(None, [*settings.secrets, self.dsn.get("password")]))
        self.pooled = False
        self.pids: set[int] = set()
        self.place = ""
        self.is_watched = False
        self.fires_triggers = True
        self.patience = Patience(limit=max(settings.connect_wait, 5.0), look=self._what_for)
        self._is_direct: bool | None = None
        self._checks_clients: bool | None = None
        self._counts = False  # `track_counts` is off on the server, and our sessions switch it on

    @property
    def is_direct(self) -> bool:
        """Whether there is no pooler between this process and the server."""
        return bool(self._is_direct)

    @property
    def observer(self) -> Observer:
        """Receives an event while the server does not answer."""
        return self.patience.observer

    @property
    def interruption(self) -> Interruption:
        """Knows whether a signal has arrived, which ends the waiting."""
        return self.patience.interruption

    def listen(self, observer: Observer, interruption: Interruption) -> None:
        """Report all waiting to an observer, and end it when a signal arrives."""
        self.patience.observer, self.patience.interruption = observer, interruption

    def open(
        self,
        role: str,
        factory: Callable[..., Any] = OurConnection,
        *,
        lock: tuple[int, int] | None = None,
        ours: bool = True,
    ) -> Any:
        """Open a session in autocommit, waiting up to `connect_wait` for a server that does not answer.

        Args:
            role: purpose of the session, shown in `pg_stat_activity`: `keeper`, or the name of a migration.
            factory: class of the connection.
            lock: keys of an advisory lock to try to take; `got_lock` of the connection tells whether it was free.
            ours: no code of the project runs in the session.

        Raises:
            DatabaseUnreachable: there is no connection; raised at once if waiting cannot help.
            Stopped: a signal arrived.
        """
        started = time.monotonic()
        told = started - _TELL_EVERY
        while True:
            try:
                connection = self._within(
                    lambda: self._try(role, factory, lock, ours=ours), started, f"opening a session for {role}"
                )
            except psycopg2.Error as error:
                waited = time.monotonic() - started
                reason = redact(first_line(error), *self.secrets)
                self._give_up(error, reason, waited)
                if time.monotonic() - told >= _TELL_EVERY:
                    told = time.monotonic()
                    self.observer(Connecting(waited, reason))
            else:
                self.pids.add(connection.server_pid)
                return connection
            self.interruption.sleep(min(1.0, max(0.05, self._settings.connect_wait - waited)))

    def _give_up(self, error: psycopg2.Error, reason: str, waited: float) -> None:
        text = str(error)
        code = error.pgcode or ""
        answers = getattr(error, "was_asked_for_password", False)
        permanent = _PERMANENT.search(text) and not _PASSING.search(text)
        if (code and not code.startswith(_TRANSIENT)) or (not code and permanent):
            raise self._unreachable(f"cannot connect to {self.label}: {reason}", _connect_hint(text, code)) from None
        if waited >= self._settings.connect_wait:
            raise self._unreachable(
                f"{self.label} did not {'let us in' if answers else 'answer'} within {self._settings.connect_wait:.0f} s: {reason}",
                _waited_hint(text, answers=answers),
            ) from None

    def _unreachable(self, message: str, hint: str) -> DatabaseUnreachable:
        from migrate_graph.database.postgres.session.variables import with_variables

        return DatabaseUnreachable(message, hint=with_variables(hint, self.dsn))

    def _within(self, call: Callable[[], Any], started: float, doing: str) -> Any:
        """Run a call that connects and sends the first statement, in a thread, with a limit.

        The statement must be part of it: a pooler without a free connection accepts the client, and answers no statement.
        """
        next_report = _FIRST_REPORT

        def look(waited: float) -> None:
            nonlocal next_report
            self.interruption.check()
            in_all = time.monotonic() - started
            if waited >= next_report:
                next_report += _TELL_EVERY
                self.observer(Connecting(in_all, f"{doing}: no answer so far"))
            if in_all >= max(self._settings.connect_wait, _CONNECT_TIMEOUT):
                raise self._unreachable(
                    f"{self.label} did not answer within {in_all:.0f} s ({doing})",
                    "is the server stopped, or has a pooler in between no free connection (a run needs two at once)?",
                )

        return aside(call, name="connect", every=_CHECK_EVERY, meanwhile=look)

    def _dial(self, role: str, factory: Callable[..., Any]) -> Any:
        arguments: dict[str, Any] = {
            "connect_timeout": _CONNECT_TIMEOUT,
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            **self.dsn,
            "client_encoding": "UTF8",
            "application_name": application_name(f"migrate_graph:{role}"),
        }
        connection = _connected(connection_factory=factory, **arguments)
        forks.hide(connection)
        connection.autocommit = True
        return connection

    def _try(self, role: str, factory: Callable[..., Any], lock: tuple[int, int] | None, *, ours: bool) -> Any:
        connection = self._dial(role, factory)
        try:
            self._set_up(connection, lock, ours=ours)
        except BaseException:
            close_quietly(connection)
            raise
        return connection

    def _set_up(self, connection: Any, lock: tuple[int, int] | None, *, ours: bool) -> None:
        """Apply the settings of a session and try to take its lock, in one statement if there is no pooler.

        Behind a pooler `pg_backend_pid()` is another number than libpq was told. Session settings could stay behind there for other
        programs. So the first statement does nothing if the numbers differ, and then the kind of the pooler is found out.
        """
        if self.pooled:
            connection.server_pid = _server_pid(connection)
            return
        if self._checks_clients is None and self._is_direct is not None:
            self._checks_clients = _takes_client_checks(connection)
        settings = self.settings(connection, ours=ours)
        chosen = ["pg_catalog.pg_backend_pid()", "pg_catalog.current_setting('search_path')"]
        chosen += ["pg_catalog.set_config(%s, %s, false)"] * len(settings)
        chosen.append(_needs_counts(connection.info.server_version))
        chosen.append("pg_catalog.current_setting('session_replication_role')")
        if lock:
            chosen.append("pg_catalog.pg_try_advisory_lock(%s, %s)")
        condition = (
            "" if self._is_direct is not None else " WHERE pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %s"
        )
        row = _row(
            connection,
            f"SELECT {', '.join(chosen)}{condition}",
            [*chain.from_iterable(settings), *(lock or ()), *([connection.info.backend_pid] if condition else [])],
        )
        if row is None:
            self.pooled = self._is_transaction_pooler(connection)
            self._is_direct = False
            self.place = self.place or self._place(_row(connection, _SEARCH_PATH)[0])
            self._set_up(connection, lock, ours=ours)
            return
        self._is_direct = True if condition else self._is_direct
        self.place = self.place or self._place(row[1])
        if row[len(settings) + 2]:
            self._counts = True
            _row(connection, "SELECT pg_catalog.set_config('track_counts', 'on', false)")
        self.fires_triggers = row[len(settings) + 3] != "replica"
        connection.server_pid = row[0]
        connection.got_lock = bool(lock and row[-1])

    def _place(self, of_the_role: str) -> str:
        return search_path(self._settings.schema) if self._settings.schema else of_the_role

    def _is_transaction_pooler(self, connection: Any) -> bool:
        """Return whether a pooler assigns a server connection to each transaction, not to each client.

        A client may get the same server connection again by chance, so several attempts are made.
        """
        first = _server_pid(connection)
        if any(_server_pid(connection) != first for _ in range(2)):
            return True
        for _ in range(_POOLER_LOOKS):
            changed_hands = self._changes_hands(connection, first)
            if changed_hands or changed_hands is None:
                return bool(changed_hands)
        return False

    def _changes_hands(self, connection: Any, first: int) -> bool | None:
        """Return whether a second client gets the first one's server connection, or the first one gets another one meanwhile.

        None where the second client got no server connection in time.
        """
        held: list[int] = []
        asked, done = threading.Event(), threading.Event()

        def hold() -> None:
            with suppress(psycopg2.Error):
                other = self._dial("look", OurConnection)
                try:
                    other.autocommit = False
                    held.append(_server_pid(other))
                    asked.set()
                    done.wait(_POOLER_LOOK)
                finally:
                    close_quietly(other)
            asked.set()

        start_thread(hold, name="look")
        until = time.monotonic() + _POOLER_LOOK
        try:
            while not asked.wait(_POOLER_PAUSE):  # the second client may get what this query gives back
                if _server_pid(connection) != first:
                    return True
                if time.monotonic() > until:
                    return None
            return held[0] == first or _server_pid(connection) != first if held else None
        finally:
            done.set()

    def settings(self, connection: Any, *, ours: bool) -> list[tuple[str, str]]:
        """List the settings of a session, as (name, value). A value of 0 is sent too: otherwise the role's own value would hold.

        Args:
            connection: tells the version of the server.
            ours: no code of the project runs in the session. Its search_path is empty then: a name without a schema can only be one of
                the server's own objects.
        """
        version = connection.info.server_version
        settings = [("idle_in_transaction_session_timeout", "0")]
        if self._counts:
            settings.append(("track_counts", "on"))
        if version >= 140000:
            settings.append(("idle_session_timeout", "0"))
        if version >= 170000:
            settings.append(("transaction_timeout", "0"))
        patience = self._settings.lock_timeout
        if ours or self.is_watched:
            settings.append(("quote_all_identifiers", "off"))
        if ours:
            settings.append(("search_path", ""))
            settings.append(("lock_timeout", _milliseconds(patience or _KEEPER_LOCK_TIMEOUT)))
            settings.append(("statement_timeout", "0"))
            return settings
        if self._settings.schema:
            settings.append(("search_path", search_path(self._settings.schema)))
        if not self.pooled:  # behind a pooler pyDAL sets this itself
            settings.append(("standard_conforming_strings", "on"))
        settings.append(("lock_timeout", _milliseconds(patience)))
        settings.append(("statement_timeout", _milliseconds(self._settings.statement_timeout)))
        if self._checks_clients:
            settings.append(("client_connection_check_interval", "1000"))
        return settings

    def begin(self, connection: Any) -> None:
        """Open a transaction on a connection in autocommit; behind a pooler, set the run's settings for this transaction."""
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            if self.pooled:
                settings = self.settings(connection, ours=True)
                chosen = ", ".join(["pg_catalog.set_config(%s, %s, true)"] * len(settings))
                cursor.execute(f"SELECT {chosen}, pg_catalog.pg_backend_pid()", list(chain.from_iterable(settings)))
                connection.server_pid = cursor.fetchone()[-1]
                self.pids.add(connection.server_pid)

    def _what_for(self, pid: int) -> str:
        """Return, in words, what a server process waits for; asked through a new connection."""
        connection = self._dial("look", OurConnection)
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(
                    "SELECT pg_catalog.set_config('search_path', '', true), pg_catalog.set_config('statement_timeout', '2000', true)"
                )
                cursor.execute(
                    "SELECT wait_event_type, wait_event FROM pg_catalog.pg_stat_activity WHERE pid = %s", (pid,)
                )
                row = cursor.fetchone()
                cursor.execute(FIRST_BLOCKER, (pid,))
                blocker = cursor.fetchone()
        finally:
            close_quietly(connection)
        if blocker:
            return blocked_by(blocker, self.secrets)
        if row is None:
            return "its session on the server has ended"
        kind, event = row
        # A process that is stopped shows what it waited for before, and so does one that is only slow.
        if not kind or kind == "Client":
            return "its process on the server waits for nothing: it is busy, or stopped, or the message to it was lost"
        return _WAITS.get(event, f"its process on the server waits for {event}")


_SEARCH_PATH = "SELECT pg_catalog.current_setting('search_path')"


def _row(connection: Any, statement: str, parameters: Sequence[Any] | None = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()


def _server_pid(connection: Any) -> int:
    return int(_row(connection, "SELECT pg_catalog.pg_backend_pid()")[0])


def _takes_client_checks(connection: Any) -> bool:
    """Return whether the server can check during a statement whether the client is gone: from version 14, not on every system."""
    if connection.info.server_version < 140000:
        return False
    try:
        _row(connection, "SELECT pg_catalog.set_config('client_connection_check_interval', '1000', false)")
    except psycopg2.Error:
        return False
    return True


def close_quietly(connection: Any) -> None:
    """Close a connection that may be broken."""
    if connection is not None:
        with suppress(psycopg2.Error):
            connection.close()


def parse_uri(uri: str) -> dict[str, str]:
    """Parse a URI with libpq's own parser, which percent-decodes; accept pyDAL's `postgres:psycopg2://` and `?unix_socket=`, too.

    Raises:
        ConfigError: it cannot be parsed.
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


@lru_cache(maxsize=8)
def pydal_uri(uri: str) -> str:
    """Return the URI in a form that pyDAL's regular expression accepts: it requires, for example, a user and a host."""
    scheme, _, rest = uri.partition("://")
    kind = scheme.lower().partition(":")[0]
    kind = kind if kind in {"postgres2", "postgres3"} else "postgres"  # these map pyDAL's types in other ways
    spelled = f"{kind}://{rest}"
    if _PYDAL_URI.fullmatch(spelled):
        return spelled
    parsed = pg.parse_dsn(f"postgresql://{rest}")
    return f"{kind}://{parsed.get('user') or 'user'}@{'localhost'}/{parsed.get('dbname') or 'database'}"


def _needs_counts(version: int) -> str:
    """Return an SQL condition: `track_counts` is off, and the role may switch it on.

    The counters tell which rows a transaction has written.
    """
    may = "pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'"
    if version >= _GRANTS_SETTINGS:
        may = "pg_catalog.has_parameter_privilege('track_counts', 'SET')"
    return f"pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.=) 'off' AND {may}"


def _connected(**arguments: Any) -> Any:
    """Connect with `standard_conforming_strings` on, whatever the role or the database has set.

    The driver decides only once per connection whether it writes texts as E'…'. If the setting were switched on later, as pyDAL does, it
    would still write E'…', but no longer double the backslashes. They would be read as escapes: values would change, or end too early.

    Raises:
        DatabaseRefused: a pooler in between accepts no `options`, or ignores them.
    """
    connection = psycopg2.connect(**arguments)
    if not _escapes(connection):
        return connection
    info, needed = connection.info, "standard_conforming_strings"
    refusal = DatabaseRefused(
        f"{needed} is off for role {info.user} in database {info.dbname}, and a pooler in between passes no `options` on that would "
        "switch it on: backslashes in values would be read as escapes",
        hint=f"ALTER ROLE {quote_identifier(info.user)} SET {needed} = on; or connect to the server's own port in migrate_uri",
    )
    options = f"{info.options or ''} -c {needed}=on".strip()
    close_quietly(connection)
    try:
        connection = psycopg2.connect(**{**arguments, "options": options})
    except psycopg2.OperationalError as error:
        if _TAKES_NO_OPTIONS not in str(error):
            raise
        raise refusal from None
    if _escapes(connection):
        close_quietly(connection)
        raise refusal
    return connection


def _escapes(connection: Any) -> bool:
    return bool(connection.info.parameter_status("standard_conforming_strings") == "off")


def dal_source(settings: Settings, application: str) -> DalSource:
    """Return how an application's `DAL` connects: with the configured search_path, and none of the other settings of a run."""
    dsn: dict[str, Any] = {
        "keepalives": 1,
        **parse_uri(settings.uri),
        "application_name": application_name(application),
    }

    def connect(*_dsn: Any, **_options: Any) -> Any:
        connection = _connected(**dsn)
        if settings.schema:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_catalog.set_config('search_path', %s, false)", (search_path(settings.schema),)
                )
            connection.commit()
        return connection

    return DalSource(pydal_uri(settings.uri), connect, while_made=True)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def application_name(name: str) -> str:
    """Cut a name to the length that PostgreSQL keeps: 63 bytes, not characters."""
    return name.encode()[:63].decode(errors="ignore")


def _connect_hint(message: str, code: str) -> str:
    if code in _TIMED_OUT:
        return (
            "a timeout of the role or the database ends sessions before they get the run's own settings: "
            "PGOPTIONS='-c statement_timeout=0' takes it off for this command, ALTER ROLE or ALTER DATABASE for all"
        )
    if "password" in message:
        return "check user and password in migrate_uri (percent-encode @ : / in the password)"
    if _TAKES_NO_OPTIONS in message:
        return (
            "take what it names out of migrate_uri and PGOPTIONS, connect to the server's own port, or have the pooler ignore it "
            "(ignore_startup_parameters)"
        )
    if "does not exist" in message:
        return "check the name in migrate_uri; the database and the role must exist"
    return "check migrate_uri"


def _waited_hint(message: str, *, answers: bool) -> str:
    if "too many" in message or "slots" in message:
        return "a run needs two connections at once, and two for each of --jobs: raise the connection limit, or close what uses them"
    if answers:
        return (
            "the server answers, and says why not: check user, password and database in migrate_uri (percent-encode @ : / in the "
            "password), and the connection limits of role and database"
        )
    return "is the server running, and are host and port right? connect_wait sets how long to try"
