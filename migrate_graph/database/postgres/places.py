"""Makes temporary databases on a server, and drops them in the end; one open session shows meanwhile that they are in use."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg2
from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Warned
from migrate_graph.database.names import POSTGRES, TableNames, schema_names
from migrate_graph.database.postgres.requirements import require_writable
from migrate_graph.database.postgres.scratch import open_scratch
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.session.opening import Sessions, close_quietly, pydal_uri
from migrate_graph.database.postgres.session.trouble import HINTS, explained, explaining, of_ours
from migrate_graph.database.scratch_database import Scratch, ScratchDatabase, kept, uri_of
from migrate_graph.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from migrate_graph.messages import first_line
from migrate_graph.quoting import quote_identifier, quote_literal
from migrate_graph.redaction import redact, redact_uri

if TYPE_CHECKING:
    from migrate_graph.database import Settings
    from migrate_graph.database.watching import Cloning

PREFIX = "migrate_graph_rehearsal_"
"""Prefix of the names of all copies. A copy without such a session is left over from a process that was killed."""

_ELSEWHERE = "set rehearse_on to a database on a server where copies may be made"
WAYS_OUT = (
    f"ALTER ROLE … CREATEDB; or {_ELSEWHERE}; or rehearse --on here, which is one transaction in the database itself, rolled back, that "
    "others may have to wait for"
)

_LEFT = (
    "SELECT d.datname FROM pg_catalog.pg_database d WHERE pg_catalog.starts_with(d.datname, %s) AND pg_catalog.pg_has_role(d.datdba, 'USAGE') "
    "AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datname OPERATOR(pg_catalog.=) d.datname "
    "OR pg_catalog.starts_with(pg_catalog.concat('migrate_graph:', d.datname), a.application_name) "
    "AND pg_catalog.starts_with(a.application_name, pg_catalog.concat('migrate_graph:', CAST(%s AS pg_catalog.text))))"
)


class Locale(Struct, frozen=True):
    """By which rules a database sorts and compares text.

    Attributes:
        encoding: its encoding.
        collate: LC_COLLATE.
        ctype: LC_CTYPE.
        provider: whose rules these are: `c` (the operating system's), `i` (ICU's), `b` (PostgreSQL's own); None before version 15.
        name: the locale of ICU or PostgreSQL; None for the operating system's.
        rules: further rules for ICU, if there are any.
    """

    encoding: str
    collate: str
    ctype: str
    provider: str | None = None
    name: str | None = None
    rules: str | None = None

    def options(self, version: int) -> str:
        """Return the options of CREATE DATABASE for a database with this locale.

        Args:
            version: major version of the server on which it is created.
        """
        encoding, collate, ctype = map(quote_literal, (self.encoding, self.collate, self.ctype))
        options = f" ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}"
        if version < _HAS_PROVIDERS:
            return options
        provider, option = _PROVIDERS[self.provider or "c"]
        named = f" {option} {quote_literal(self.name)}" if option and self.name is not None else ""
        rules = f" ICU_RULES {quote_literal(self.rules)}" if self.rules else ""
        return f"{options} LOCALE_PROVIDER {provider}{named}{rules}"


_HAS_PROVIDERS: Final = 15
"""The first version in which a database has a provider of its locale. https://www.postgresql.org/docs/current/sql-createdatabase.html"""

_PROVIDERS: Final = {"c": ("libc", ""), "i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}
"""The providers of locales, as the catalog has them, as CREATE DATABASE has them, and the option for the name of the locale."""


class Place:
    """Makes databases, and drops them in the end; its session, named after the first one, shows that they are in use.

    Attributes:
        name: name of the first database; the names of all others begin with it.
    """

    def __init__(self, settings: Settings, cloning: Cloning) -> None:
        self._settings = replace(settings, uri=cloning.server or settings.uri, schema=None)
        self._is_elsewhere = bool(cloning.server)
        self.name = f"{PREFIX}{uuid.uuid4().hex[:16]}"
        self._sessions = Sessions(self._settings)
        self._sessions.listen(cloning.observer, cloning.interruption)
        self._connection = self._sessions.open(self.name)
        self._made: dict[str, None] = {}
        self._tell = cloning.observer

    def uri_of(self, name: str) -> str:
        """Return the URI of a database on the server."""
        return uri_of(self._settings.uri, name)

    @property
    def uri(self) -> str:
        """The URI of the first database."""
        return self.uri_of(self.name)

    def refusal(self) -> str:
        """Return why the role may make no database here; empty where it may.

        Raises:
            DatabaseRefused: the server is read-only, so schemas cannot be made either.
        """
        label = redact_uri(self._settings.uri)
        require_writable(self._run, f"no copy can be made on {label}", f"{_ELSEWHERE}; or {HINTS['25006']}")
        ((may,),) = self._run(
            "SELECT rolcreatedb OR rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user"
        )
        return "" if may else f"the role may create no database on {label}, so no copy can be made there"

    def require_right(self) -> None:
        """Raise if no database can be made here.

        Raises:
            DatabaseRefused: none can; the hint names what else can be done.
        """
        if refusal := self.refusal():
            raise DatabaseRefused(refusal, hint=WAYS_OUT)

    def remove_leftovers(self) -> None:
        """Drop the copies of rehearsals that were killed."""
        for (name,) in self._run(_LEFT, (PREFIX, PREFIX)):
            with suppress(psycopg2.Error):  # another process may be dropping the same one
                self._run(f"DROP DATABASE IF EXISTS {quote_identifier(name)}")

    def create(self, locale: Locale | None = None) -> None:
        """Make the first database.

        Args:
            locale: that of the original, if the server knows it; None for the server's defaults.
        """
        if locale is None:
            self.make(self.name)
            return
        like = f" TEMPLATE template0{locale.options(self._connection.info.server_version // 10000)}"
        self.make(self.name, *([like, " TEMPLATE template0"] if self._is_elsewhere else [like]))

    def make(self, name: str, *ways: str) -> None:
        """Make a database.

        Args:
            name: name of the database.
            ways: options of CREATE DATABASE; if the server refuses one, the next is tried.
        """
        self._made[name] = None
        for way in ways or ("",):
            try:
                self._run(f"CREATE DATABASE {quote_identifier(name)}{way}")
            except psycopg2.Error as error:
                if way == (ways or ("",))[-1]:
                    raise self._refused(error) from None
            else:
                return

    def add_schemas(self, name: str, schemas: Sequence[str]) -> None:
        """Make schemas in a database."""
        opened = closing(Sessions(replace(self._settings, uri=self.uri_of(name))).open("copy"))
        with self.explaining(), opened as connection:
            for each in schemas:
                send(connection, f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(each)}")

    def explaining(self) -> AbstractContextManager[None]:
        """Turn what the driver raises meanwhile into an error of ours."""
        return explaining(redact_uri(self._settings.uri), self._sessions.secrets)

    def _refused(self, error: psycopg2.Error) -> DatabaseError:
        if self._connection.closed:
            trouble = explained(error, self._sessions.secrets)
            return of_ours(error, trouble, redact_uri(self._settings.uri))
        told = redact(first_line(error), *self._sessions.secrets)
        return DatabaseRefused(f"no copy can be made on {redact_uri(self._settings.uri)}: {told}", hint=WAYS_OUT)

    def _run(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        call = partial(send, self._connection, statement, parameters)
        return self._sessions.patience.run(self._connection, "making a copy of the schema", call)

    def close(self) -> None:
        """Drop all databases and end the session, also after a signal."""
        try:
            for name in [*self._made]:
                self.drop(name)
        finally:
            close_quietly(self._connection)
            self._sessions.patience.close()

    def drop(self, name: str) -> None:
        """Drop a database; if the session is broken, with a new one. If it cannot be dropped, it is named in a warning."""
        for is_last in (False, True):
            try:
                with suppress(psycopg2.errors.InsufficientPrivilege):  # a superuser's session, which may end soon
                    send(
                        self._connection,
                        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname OPERATOR(pg_catalog.=) "
                        f"{quote_literal(name)} AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()",
                    )
                send(self._connection, f"DROP DATABASE IF EXISTS {quote_identifier(name)}")
            except psycopg2.errors.ObjectInUse:
                self._leave(name, "somebody is connected to it whose session may not be ended", "once nobody is")
                break
            except psycopg2.Error as error:
                reason = redact(first_line(error), *self._sessions.secrets)
                if is_last or not self._is_reopened():
                    self._leave(name, reason, "when it can")
                    break
            else:
                break
        self._made.pop(name, None)

    def _is_reopened(self) -> bool:
        """Open the session anew; return whether the server lets us."""
        close_quietly(self._connection)
        try:
            self._connection = Sessions(replace(self._settings, connect_wait=1.0)).open(self.name)
        except DatabaseUnreachable:
            return False
        return True

    def _leave(self, name: str, reason: str, when: str) -> None:
        """Warn that a database could not be dropped. This is no error: it must not hide how the work on the copy ended."""
        self._made.pop(name, None)
        self._tell(
            Warned(f"the database {name} stays: {reason}", f"the next rehearsal or verification drops it, {when}")
        )


class _Scratch:
    """See `Scratch`: its databases are made by one `Place`."""

    can_copy = True

    def __init__(self, place: Place, folder: Path, schemas: Sequence[str]) -> None:
        self._place, self._folder, self._schemas = place, folder, schemas
        self._number = itertools.count(1)

    def create(self) -> ScratchDatabase:
        """See `Scratch`."""
        made = self._named()
        self._place.make(made.name)
        if self._schemas:
            self._place.add_schemas(made.name, self._schemas)
        return made

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        made = self._named()
        self._place.make(made.name, f" TEMPLATE {quote_identifier(source.name)}")
        copy_tables_of_pydal(source.uri, source.folder, made.uri, made.folder)
        return made

    def _named(self) -> ScratchDatabase:
        name = f"{self._place.name}_{next(self._number)}"
        folder = self._folder / name
        folder.mkdir()
        return ScratchDatabase(name, self._place.uri_of(name), folder)

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        self._place.drop(database.name)
        shutil.rmtree(database.folder, ignore_errors=True)


def copy_tables_of_pydal(uri: str, folder: Path, new_uri: str, new_folder: Path) -> None:
    """Copy pyDAL's files about the tables of a database for a copy of it; their names contain a hash of the URI."""
    old, new = (hashlib.md5(pydal_uri(each).encode(), usedforsecurity=False).hexdigest() for each in (uri, new_uri))
    for file in folder.glob(f"{old}_*.table"):
        shutil.copy(file, new_folder / file.name.replace(old, new))


@contextmanager
def fresh(settings: Settings, cloning: Cloning) -> Iterator[Scratch]:
    """Yield what makes temporary databases on the server of copies, or temporary schemas where the role may create no database.

    All of them are dropped in the end.

    Args:
        settings: the settings of the project; its schemas are created in each database.
        cloning: how copies are made.

    Raises:
        DatabaseRefused: the role may create no database, and the one in the settings is in use.
        Stopped: a signal arrived.
    """
    place = Place(settings, cloning)
    try:
        with place.explaining():
            refusal = place.refusal()
            if not refusal:
                place.remove_leftovers()
        if refusal:
            server = replace(settings, uri=cloning.server or settings.uri, schema=None)
            with kept(open_scratch(server, directory=cloning.folder, schemas=())) as scratch:
                yield scratch
            return
        wanted = [*schema_names(settings.schema or ""), TableNames.of(settings.table, POSTGRES).schema]
        yield _Scratch(
            place, cloning.folder, [name for name in wanted if name and name not in {"public", "$user", "pg_catalog"}]
        )
    finally:
        place.close()
