"""Temporary PostgreSQL databases for tests and proofs; or temporary schemas, where the role may create no database."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg2
from msgspec.structs import replace

from migrate_graph.core.events import ignore_events
from migrate_graph.database.postgres.backend import PostgresBackend
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.database.postgres.session.trouble import explained
from migrate_graph.database.scratch_database import PREFIX, Scratch, ScratchDatabase, new_folder, uri_of
from migrate_graph.errors import DatabaseRefused
from migrate_graph.quoting import quote_identifier, quote_literal
from migrate_graph.redaction import redact_uri
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.database import Settings


def open_scratch(settings: Settings, *, directory: Path, schemas: Sequence[str]) -> Scratch:
    """Return what makes scratch databases on a server; see `database.scratch.open_scratch`."""
    server = _Server(settings)
    if server.may_create_databases():
        return ScratchDatabases(server, directory, schemas=schemas)
    server.require_empty()
    return ScratchSchemas(server, directory)


class ScratchDatabases:
    """Databases on a PostgreSQL server, where the role may create them."""

    can_copy = True

    def __init__(self, server: _Server, directory: Path, *, schemas: Sequence[str]) -> None:
        self._server = server
        self._directory = directory
        self._schemas = [name for name in schemas if name not in {"public", "$user", "pg_catalog"}]

    def create(self) -> ScratchDatabase:
        """See `Scratch`."""
        made = self._make("")
        if self._schemas:
            self._server.on(made.uri).execute(
                f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(name)}" for name in self._schemas
            )
        return made

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        return self._make(f" TEMPLATE {quote_identifier(source.name)}")

    def _make(self, template: str) -> ScratchDatabase:
        folder = new_folder(self._directory)
        self._server.execute([f"CREATE DATABASE {quote_identifier(folder.name)}{template}"])
        return ScratchDatabase(folder.name, uri_of(self._server.uri, folder.name), folder)

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        self._server.execute(
            [
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {quote_literal(database.name)} AND pid <> pg_backend_pid()",
                f"DROP DATABASE IF EXISTS {quote_identifier(database.name)}",
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
        self._server.require_empty()  # a migration that names a schema itself may have left objects there
        folder = new_folder(self._directory)
        self._server.execute([f"CREATE SCHEMA {quote_identifier(folder.name)}"])
        schema = f"{folder.name}, public"
        uri = self._server.uri
        options = f"options={quote(f'-csearch_path={folder.name},public', safe='')}"
        return ScratchDatabase(folder.name, f"{uri}{'&' if '?' in uri else '?'}{options}", folder, schema)

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        raise NotImplementedError(f"PostgreSQL cannot copy a schema ({source.name})")

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        self._server.execute([f"DROP SCHEMA IF EXISTS {quote_identifier(database.name)} CASCADE"])
        shutil.rmtree(database.folder, ignore_errors=True)


class _Server:
    """A PostgreSQL server, reached through one of its databases."""

    def __init__(self, settings: Settings) -> None:
        self.uri = settings.uri
        self._settings = settings

    def on(self, uri: str) -> _Server:
        """Return the server, reached through another of its databases."""
        return _Server(replace(self._settings, uri=uri))

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with closing(Sessions(self._settings).open("tests")) as connection, connection.cursor() as cursor:
            yield cursor

    def may_create_databases(self) -> bool:
        with self._session() as cursor:
            cursor.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            return bool(cursor.fetchone()[0])

    def execute(self, statements: Iterable[str]) -> None:
        """Run statements, each by itself."""
        with self._session() as cursor:
            for statement in statements:
                try:
                    cursor.execute(statement)
                except psycopg2.Error as error:
                    trouble = explained(error, ())
                    raise DatabaseRefused(
                        f"{redact_uri(self.uri)} refused a statement: {trouble.message}",
                        hint=trouble.hint or f"the statement: {statement}",
                    ) from None

    def require_empty(self) -> None:
        """Refuse a database that holds anything but scratch schemas.

        Raises:
            DatabaseRefused: it does.
        """
        backend = PostgresBackend(self._settings, writing=False)
        with closing(backend):
            backend.connect(observer=ignore_events, interruption=Interruption())
            foreign = [name for name in backend.user_relations() if not name.startswith(PREFIX)]
        if foreign:
            raise DatabaseRefused(
                f"{redact_uri(self.uri)} is in use ({len(foreign)} relations, e.g. {', '.join(foreign[:3])}), and its role may "
                "create no other database",
                hint="ALTER ROLE … CREATEDB, or name an empty database; tests never write into one that is in use",
            )
