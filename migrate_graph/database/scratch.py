"""Databases for one use: made, copied, connected to, and dropped; no other database is written to."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from migrate_graph.database import Settings, is_postgres, open_backend
from migrate_graph.database.application import ledger_rname
from migrate_graph.database.dal import define_ledger, make_dal
from migrate_graph.database.names import POSTGRES, TableNames, quote_identifier
from migrate_graph.errors import ConfigError, DatabaseRefused
from migrate_graph.messages import first_line
from migrate_graph.redaction import redact_uri

if TYPE_CHECKING:
    from migrate_graph.database.relation import Relation

PREFIX = "migrate_graph_test_"
"""What the names of all scratch databases and schemas start with: whatever is called so may be dropped when no tests run."""

_CONNECT_WAIT = 10.0
"""Seconds: tests are to fail, not to hang, when there is no server."""


@dataclass(frozen=True, slots=True)
class ScratchDatabase:
    """A database for one use.

    Attributes:
        name: of the database, the schema or the directory.
        uri: how to reach it.
        schema: its search_path; None: as configured.
        folder: a directory of its own, for pyDAL's files.
    """

    name: str
    uri: str = field(repr=False)
    folder: Path
    schema: str | None = None


class Scratch(Protocol):
    """Where scratch databases are made."""

    can_copy: bool
    """Whether a migrated database can be copied, so that migrating once is enough."""

    def create(self) -> ScratchDatabase:
        """Make an empty database.

        Raises:
            DatabaseError: the server is not there, or does not permit it.
        """

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """Make a database that holds what another one holds; nobody may be connected to that."""

    def drop(self, database: ScratchDatabase) -> None:
        """Remove a database, and with it whoever is still connected."""


def open_scratch(uri: str, *, directory: Path, schema: str | None, table: str) -> Scratch:
    """Return where scratch databases are made: as files, or on a server.

    Args:
        uri: a database on the server, which is only connected to; empty: SQLite files.
        directory: for files.
        schema: the project's search_path; its schemas are made in each new database.
        table: the project's ledger table; its schema too.

    Raises:
        ConfigError: the URI is of another kind.
        DatabaseUnreachable: the server does not answer.
        DatabaseRefused: the role may create no database, and the one it was given is in use.
    """
    if not uri:
        return ScratchFiles(directory)
    if not is_postgres(uri):
        raise ConfigError(
            f"{redact_uri(uri)} is no PostgreSQL server to test on",
            hint="use postgres://user:password@host:port/database, or nothing at all: then SQLite files are made",
        )
    server = _Server(uri)
    if server.may_create_databases():
        names = TableNames.of(table, POSTGRES)
        wanted = [name.strip() for name in (schema or "").split(",")]
        return ScratchDatabases(server, directory, schemas=[name for name in (*wanted, names.schema) if name])
    server.require_empty()
    return ScratchSchemas(server, directory)


class ScratchFiles:
    """SQLite files, each in a directory of its own."""

    can_copy = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self) -> ScratchDatabase:
        """See `Scratch`; the file comes with the first connection."""
        folder = _new_folder(self._directory)
        return ScratchDatabase(folder.name, f"sqlite://{_file_in(folder)}", folder)

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        import sqlite3

        made = self.create()
        with (
            _closing(sqlite3.connect(_file_in(source.folder))) as old,
            _closing(sqlite3.connect(_file_in(made.folder))) as new,
        ):
            old.backup(new)
        return made

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        shutil.rmtree(database.folder, ignore_errors=True)


class ScratchDatabases:
    """Databases on a PostgreSQL server, where the role may create them."""

    can_copy = True

    def __init__(self, server: _Server, directory: Path, *, schemas: list[str]) -> None:
        self._server = server
        self._directory = directory
        self._schemas = [name for name in schemas if name not in {"public", '"$user"', "$user", "pg_catalog"}]

    def create(self) -> ScratchDatabase:
        """See `Scratch`."""
        made = self._make("")
        if self._schemas:
            _Server(made.uri).execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(name)}" for name in self._schemas)
        return made

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        return self._make(f" TEMPLATE {_quoted(source.name)}")

    def _make(self, template: str) -> ScratchDatabase:
        folder = _new_folder(self._directory)
        self._server.execute([f"CREATE DATABASE {_quoted(folder.name)}{template}"])
        return ScratchDatabase(folder.name, self._server.uri_of(folder.name), folder)

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        name = database.name.replace("'", "''")
        self._server.execute(
            [
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()",
                f"DROP DATABASE IF EXISTS {_quoted(database.name)}",
            ]
        )
        shutil.rmtree(database.folder, ignore_errors=True)


class ScratchSchemas:
    """Schemas of a PostgreSQL database that holds nothing else, where the role may create no database.

    `public` stays in the search_path, for the functions of extensions.
    """

    can_copy = False

    def __init__(self, server: _Server, directory: Path) -> None:
        self._server = server
        self._directory = directory

    def create(self) -> ScratchDatabase:
        """See `Scratch`."""
        self._server.require_empty()  # a migration that names a schema itself may have left something there
        folder = _new_folder(self._directory)
        self._server.execute([f"CREATE SCHEMA {_quoted(folder.name)}"])
        schema = f"{folder.name}, public"
        uri = self._server.uri
        options = f"options={quote(f'-csearch_path={folder.name},public', safe='')}"
        return ScratchDatabase(folder.name, f"{uri}{'&' if '?' in uri else '?'}{options}", folder, schema)

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        raise NotImplementedError(f"PostgreSQL cannot copy a schema ({source.name})")

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        self._server.execute([f"DROP SCHEMA IF EXISTS {_quoted(database.name)} CASCADE"])
        shutil.rmtree(database.folder, ignore_errors=True)


class _Server:
    """A PostgreSQL server, reached through one of its databases."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._settings = Settings(uri=uri, schema=None, connect_wait=_CONNECT_WAIT)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        from migrate_graph.database.postgres.sessions import Sessions

        with _closing(Sessions(self._settings).open("tests")) as connection, connection.cursor() as cursor:
            yield cursor

    def may_create_databases(self) -> bool:
        with self._session() as cursor:
            cursor.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            return bool(cursor.fetchone()[0])

    def execute(self, statements: Iterable[str]) -> None:
        """Run statements, each by itself."""
        import psycopg2

        with self._session() as cursor:
            for statement in statements:
                try:
                    cursor.execute(statement)
                except psycopg2.Error as error:
                    reason = first_line(error)
                    raise DatabaseRefused(
                        f"{redact_uri(self.uri)} refused a statement: {reason}", hint=f"the statement: {statement}"
                    ) from None

    def require_empty(self) -> None:
        """Refuse a database that holds anything but scratch schemas.

        Raises:
            DatabaseRefused: it does.
        """
        with open_backend(self._settings) as backend:
            foreign = [name for name in backend.user_relations() if not name.startswith(PREFIX)]
        if foreign:
            raise DatabaseRefused(
                f"{redact_uri(self.uri)} is in use ({len(foreign)} relations, e.g. {', '.join(foreign[:3])}), and its role may "
                "create no other database",
                hint="ALTER ROLE … CREATEDB, or name an empty database; tests never write into one that is in use",
            )

    def uri_of(self, database: str) -> str:
        """Return the URI of another database on the server."""
        scheme, _, rest = self.uri.partition("://")
        address, mark, parameters = rest.partition("?")
        return f"{scheme}://{address.partition('/')[0]}/{database}{mark}{parameters}"


# -- what is in a database ---------------------------------------------------------------------------------------------


def connect(settings: Settings) -> Any:
    """Open a `DAL` (or `TypeDAL`) on a database, in transactions of its own; close it with `dal.discard`."""
    db = _postgres_dal(settings) if is_postgres(settings.uri) else _sqlite_dal(settings)
    define_ledger(db, rname=ledger_rname(settings, settings.table))
    db.commit()
    return db


def _postgres_dal(settings: Settings) -> Any:
    from migrate_graph.database.postgres.sessions import Sessions
    from migrate_graph.database.postgres.work import pydal_uri

    sessions = Sessions(settings)

    def connector(*_dsn: Any, **_options: Any) -> Any:
        connection = sessions.open("tests")
        connection.autocommit = False
        return connection

    return make_dal(
        pydal_uri(settings.uri), connector, typedal=settings.typedal, folder=settings.folder,
        driver_args={"connection_factory": connector}, prime=True,
    )  # fmt: skip


def _sqlite_dal(settings: Settings) -> Any:
    import sqlite3

    from migrate_graph.database.sqlite.backend import resolve_path

    path = resolve_path(settings.uri, settings.folder)
    return make_dal(
        settings.uri,
        lambda: sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES, check_same_thread=False),
        typedal=settings.typedal, folder=settings.folder, driver_args={}, prime=True,
    )  # fmt: skip


def views_of(db: Any) -> dict[str, Relation]:
    """Read everything about every view of a database, by its name with its schema; other scratch schemas are passed over."""
    adapter = db._adapter  # noqa: SLF001 - pyDAL has no public way to its connection
    if adapter.dbengine != "postgres":
        from migrate_graph.database.sqlite.catalog import SqliteCatalog

        observed, own = SqliteCatalog(lambda: adapter.connection).observe(), ""
    else:
        from migrate_graph.database.postgres.catalog import PostgresCatalog

        observed = PostgresCatalog(adapter.connection.cursor).observe()
        own = f"{db.executesql('SELECT current_schema()')[0][0]}."
    return {
        each.identity: each
        for each in observed.relations.values()
        if each.kind != "TABLE" and (each.identity.startswith(own) or not each.identity.startswith(PREFIX))
    }


def same_definition(one: Relation, other: Relation) -> bool:
    """Whether two relations are defined alike.

    SQLite keeps the text it was given, and rewrites names in it when a table changes: there quotes, blanks and case do not count.
    """
    return one.kind == other.kind and (
        one.definition == other.definition or bool(not one.owner and _plain(one.definition) == _plain(other.definition))
    )


def _plain(definition: str) -> str:
    return re.sub(r"[\s\"`\[\];]+", "", definition).lower()


def _new_folder(directory: Path) -> Path:
    folder = directory / f"{PREFIX}{uuid.uuid4().hex[:16]}"
    folder.mkdir(parents=True)
    return folder


def _file_in(folder: Path) -> Path:
    return folder / "database.sqlite"


def _quoted(identifier: str) -> str:
    plain = (
        identifier[1:-1].replace('""', '"') if identifier.startswith('"') and identifier.endswith('"') else identifier
    )
    return quote_identifier(plain)


@contextmanager
def _closing(connection: Any) -> Iterator[Any]:
    try:
        yield connection
    finally:
        connection.close()
