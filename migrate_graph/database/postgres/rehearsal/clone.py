"""Makes a copy of a database's schema for a rehearsal, and drops it however the rehearsal ends."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.footprint import Size
from migrate_graph.database.names import POSTGRES, TableNames, schema_names
from migrate_graph.database.postgres.places import Locale, Place, copy_tables_of_pydal
from migrate_graph.database.postgres.programs import parameters_of, service_file, version_of
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.session.opening import Sessions, close_quietly
from migrate_graph.database.postgres.session.statements import first_words, split
from migrate_graph.database.postgres.session.trouble import explaining
from migrate_graph.database.postgres.sizes import SIZES, as_sizes
from migrate_graph.database.watching import Clone
from migrate_graph.errors import DatabaseRefused, RestoreError
from migrate_graph.messages import counted, first_line
from migrate_graph.quoting import bare, parted, quote_identifier, quote_literal
from migrate_graph.redaction import redact

if TYPE_CHECKING:
    from migrate_graph.database import Settings
    from migrate_graph.database.watching import Cloning

_VERSIONS = Path("/usr/lib/postgresql")
"""Where Debian installs the programs of each version side by side."""

# First words of statements that may fail without making the copy unusable for a rehearsal: owners, privileges, comments; and objects that a
# copy should not have, for example subscriptions.
_ONLY_ABOUT = frozenset({"ALTER", "COMMENT", "GRANT", "REVOKE", "SECURITY", "SET", "SELECT"})
_ONLY_ABOUT_TWO = {("CREATE", "PUBLICATION"), ("CREATE", "SUBSCRIPTION"), ("CREATE", "USER"), ("CREATE", "EVENT")}

_RESTRICT = re.compile(rb"^\\(?:un)?restrict [^\n]*\n", re.MULTILINE)
"""Commands for psql that newer versions of pg_dump write."""

_LOCALE = (
    "SELECT pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, r.entry OPERATOR(pg_catalog.->>) 'datlocprovider', "
    "coalesce(r.entry OPERATOR(pg_catalog.->>) 'datlocale', r.entry OPERATOR(pg_catalog.->>) 'daticulocale'), "
    "r.entry OPERATOR(pg_catalog.->>) 'daticurules' FROM pg_catalog.pg_database d, LATERAL pg_catalog.to_jsonb(d) AS r(entry) "
    "WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()"
)
"""Reads the locale of a database; as JSON, because the columns have other names, or are missing, in other versions."""

# Settings of the original for all its sessions, then those for this session's role, which override them; {everywhere}: SQL condition for
# also reading the settings that its server has for all databases.
_SETTINGS = (
    "SELECT s.setrole OPERATOR(pg_catalog.<>) 0, pg_catalog.unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s "
    "WHERE (s.setrole OPERATOR(pg_catalog.=) 0 OR s.setrole OPERATOR(pg_catalog.=) (SELECT r.oid FROM pg_catalog.pg_roles r "
    "WHERE r.rolname OPERATOR(pg_catalog.=) session_user)) AND (s.setdatabase OPERATOR(pg_catalog.=) (SELECT d.oid FROM "
    "pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) "
    "OR {everywhere} AND s.setdatabase OPERATOR(pg_catalog.=) 0) ORDER BY s.setrole, s.setdatabase"
)

_OF_QUOTED_NAMES = frozenset(
    {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}
)
"""Settings that are lists of names, of which each is quoted."""

_TABLES = (
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' "
    "ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 "
    "AND NOT a.attisdropped AND a.attgenerated OPERATOR(pg_catalog.=) '') FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
    "ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND c.oid OPERATOR(pg_catalog.>=) 16384 "
    "AND c.relpersistence OPERATOR(pg_catalog.<>) 't' AND NOT pg_catalog.starts_with(CAST(n.nspname AS pg_catalog.text), 'pg_') "
    "AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e "
    "WHERE e.objid OPERATOR(pg_catalog.=) c.oid AND e.deptype OPERATOR(pg_catalog.=) 'e') ORDER BY 1"
)

_REFERENCES = """
SELECT pg_catalog.format('DELETE FROM ONLY %s c WHERE (%s) AND NOT EXISTS (SELECT FROM ONLY %s p WHERE %s)',
  CAST(CAST(k.conrelid AS pg_catalog.regclass) AS pg_catalog.text), pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', c.attname), ' AND '),
  CAST(CAST(k.confrelid AS pg_catalog.regclass) AS pg_catalog.text),
  pg_catalog.string_agg(pg_catalog.format('p.%I = c.%I', p.attname, c.attname), ' AND '))
FROM pg_catalog.pg_constraint k CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) AS key(child, parent)
JOIN pg_catalog.pg_attribute c ON c.attrelid OPERATOR(pg_catalog.=) k.conrelid AND c.attnum OPERATOR(pg_catalog.=) key.child
JOIN pg_catalog.pg_attribute p ON p.attrelid OPERATOR(pg_catalog.=) k.confrelid AND p.attnum OPERATOR(pg_catalog.=) key.parent
WHERE k.contype OPERATOR(pg_catalog.=) 'f' AND k.convalidated GROUP BY k.oid, k.conrelid, k.confrelid
"""

_SEQUENCES = "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value FROM pg_catalog.pg_sequences WHERE last_value IS NOT NULL"


# Ordered by OID: a materialized view is older than the views that read it.
_FILLED = (
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
    "ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.relkind OPERATOR(pg_catalog.=) 'm' AND c.relispopulated ORDER BY c.oid"
)


# What helps, by words of the error of `pg_dump`, which limits its waits for locks by a statement_timeout. It tells no SQLSTATE, and its
# words may be in another language: then no hint is guessed.
_HELPS = (
    (
        re.compile(r"too many|connection slots|connection limit", re.IGNORECASE),
        "pg_dump needs a connection of its own: raise the limit, or close what uses them",
    ),
    (
        re.compile(r"(?:lock|statement) timeout|could not obtain lock", re.IGNORECASE),
        "another session holds a lock on it: wait for that session, or let lock_timeout be longer",
    ),
    (
        re.compile(r"permission denied|row-level security", re.IGNORECASE),
        "grant the role what it needs to read all of it (SELECT on tables and sequences, USAGE on schemas)",
    ),
    (
        re.compile(r"connection to (?:server|database)|server closed the connection|could not connect", re.IGNORECASE),
        "pg_dump connects anew, as this session did: the server, or a pooler in between, must let it",
    ),
)


def _what_to_do(told: str) -> str:
    """Return what helps against an error of `pg_dump`."""
    return next((text for words, text in _HELPS if words.search(told)), "see the server's log")


@contextmanager
def clone(settings: Settings, cloning: Cloning) -> Iterator[Clone]:
    """Make a copy of a database's schema with the tool's records, and drop it in the end.

    Args:
        settings: how to reach the original, in which nothing is changed.
        cloning: how the copy is made.

    Raises:
        DatabaseRefused: no copy can be made; the hint names what else can be done.
        Stopped: a signal arrived.
    """
    place = Place(settings, cloning)
    try:
        with place.explaining():
            place.require_right()
            place.remove_leftovers()
            with closing(_Original(settings, cloning)) as original:
                program = _pg_dump(original.version)
                place.create(original.locale())
                made = replace(settings, uri=place.uri, folder=cloning.folder)
                remarks = _Filling(original, made, program, cloning).fill()
                sizes = original.sizes()
        if settings.folder is not None:
            copy_tables_of_pydal(settings.uri, settings.folder, made.uri, cloning.folder)
        yield Clone(made, sizes, remarks)
    finally:
        place.close()


def _pg_dump(server: int) -> str:
    """Return the path of the first `pg_dump` of this machine that can read a server.

    Args:
        server: the server's major version.

    Raises:
        DatabaseRefused: there is none; the hint names what else can be done.
    """
    places = [*os.get_exec_path(), *map(str, sorted(_VERSIONS.glob("*/bin"), reverse=True))]
    found = dict.fromkeys(filter(None, (shutil.which("pg_dump", path=place) for place in places)))
    versions = {program: version_of(program) for program in found}
    for program, version in versions.items():
        if version and int(version.partition(".")[0]) >= server:
            return program
    known = ", ".join(f"{program} is of version {version or 'unknown'}" for program, version in versions.items())
    raise DatabaseRefused(
        "a copy of the schema is made by the program 'pg_dump', "
        + (f"and {known}: too old for PostgreSQL {server}" if known else "which was not found"),
        hint=f"install it (apt install postgresql-client-{server}), or rehearse --on scratch, or --on here",
    )


class _Original:
    """The database that is copied, read in one read-only transaction, so that schema and records are of the same moment."""

    def __init__(self, settings: Settings, cloning: Cloning) -> None:
        self.settings = settings
        self.sessions = Sessions(settings)
        self.sessions.listen(cloning.observer, cloning.interruption)
        self.connection = self.sessions.open("copy")
        self.snapshot = ""
        self.connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
        if not self.sessions.pooled:
            with suppress(DatabaseRefused):
                ((self.snapshot,),) = self.ask("SELECT pg_catalog.pg_export_snapshot()")
        if self.connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_INTRANS:
            self.connection.rollback()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with explaining(self.sessions.label, self.sessions.secrets):
            return self.sessions.patience.run(self.connection, "reading the schema", send, self.connection, statement)

    def locale(self) -> Locale:
        """Return by which rules the database sorts and compares text."""
        (values,) = self.ask(_LOCALE)
        return Locale(*values)

    def sizes(self) -> dict[str, Size]:
        """Return the sizes of its relations, by name."""
        return as_sizes(self.ask(SIZES))

    @property
    def version(self) -> int:
        """The major version of its server."""
        return int(self.connection.info.server_version // 10000)

    def close(self) -> None:
        """End the transaction and the session."""
        close_quietly(self.connection)
        self.sessions.patience.close()


class _Filling(Struct):
    """Copies schema, records and rows into a new database.

    Attributes:
        original: the database that is copied.
        made: how to reach the new database.
        program: path of `pg_dump`.
        cloning: how the copy is made.
        failed: statements that failed in the new database, each with the reason.
    """

    original: _Original
    made: Settings
    program: str
    cloning: Cloning
    failed: list[str] = field(default_factory=list)

    def fill(self) -> tuple[str, ...]:
        """Fill the new database; return, in words, what is missing there."""
        sessions = Sessions(self.made)
        sessions.listen(self.cloning.observer, self.cloning.interruption)
        with closing(sessions.open("copy")) as connection:
            run = partial(sessions.patience.run, connection, "making a copy of the schema")
            if self.cloning.data:
                self._execute(run, connection, self._dump("--section=pre-data"))
                run(self._copy_rows, connection)
                self._execute(run, connection, self._dump("--section=post-data"))
            else:
                self._execute(run, connection, self._dump())
            run(self._copy_records, connection)
            run(self._fill_views, connection)
            run(self._copy_settings, connection)
        sessions.patience.close()
        if not self.failed:
            return ()
        more = f" (and {counted(len(self.failed) - 1, 'other statement')})" if len(self.failed) > 1 else ""
        return (f"the copy is not exact: {self.failed[0]}{more}",)

    # -- the schema -----------------------------------------------------------------------------------------------------------

    def _dump(self, *sections: str) -> bytes:
        """Return the schema as `pg_dump` writes it.

        Args:
            sections: options that choose a part of it.

        Raises:
            DatabaseRefused: `pg_dump` failed.
        """
        original, settings = self.original, self.original.settings
        options = [
            "--schema-only",
            "--no-password",
            "--encoding=UTF8",
            "--no-tablespaces",
            "--no-subscriptions",
            *sections,
        ]
        options += [f"--lock-wait-timeout={settings.lock_timeout * 1000:.0f}"] if settings.lock_timeout else []
        options += [f"--snapshot={original.snapshot}"] if original.snapshot else []
        try:
            with service_file(parameters_of(original.connection, original.sessions.dsn), "migrate_graph:copy") as (
                service,
                environment,
            ):
                return self._output([self.program, *options], service, environment)
        except RestoreError as error:
            raise DatabaseRefused(error.message, hint=error.hint) from None

    def _output(self, command: Sequence[str], service: int, environment: dict[str, str]) -> bytes:
        with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as complaints:
            try:
                process = subprocess.Popen(  # noqa: S603 - a fixed command line
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=complaints,
                    env=environment,
                    pass_fds=(service,),
                )
            except OSError as error:
                raise DatabaseRefused(
                    f"{command[0]} does not start: {error.strerror or error}",
                    hint="install the client programs of PostgreSQL anew, or rehearse --on scratch, or --on here",
                ) from None
            try:
                with self.cloning.interruption.stopping(process.kill):
                    code = process.wait()
            finally:
                process.kill()
                process.wait()
            complaints.seek(0)
            if code:
                self.original.ask("SELECT 1")  # it may have failed for the reason that nothing works any more
                told = complaints.read().decode(errors="replace").strip().partition("\n")[0]
                raise DatabaseRefused(
                    f"the schema could not be copied: {redact(told, *self.original.sessions.secrets)}",
                    hint=f"{_what_to_do(told)}, or rehearse --on scratch, or --on here",
                )
            written.seek(0)
            return _RESTRICT.sub(b"", written.read())

    def _execute(self, run: Any, connection: Any, text: bytes) -> None:
        """Run a dump in one message; if that fails, statement by statement."""
        try:
            run(send, connection, text)
        except psycopg2.Error:
            for each in split(text.decode(errors="surrogateescape")):
                self._execute_one(run, connection, each.text)

    def _execute_one(self, run: Any, connection: Any, statement: str) -> None:
        try:
            run(send, connection, statement.encode(errors="surrogateescape"))
        except psycopg2.Error as error:
            if connection.closed:
                raise
            words = first_words(statement, most=4)
            told = f"{' '.join(words)}: {redact(first_line(error), *self.original.sessions.secrets)}"
            if words[:1] and words[0] not in _ONLY_ABOUT and tuple(words[:2]) not in _ONLY_ABOUT_TWO:
                raise DatabaseRefused(
                    f"the copy would be another database than the original: {told}",
                    hint="let the role make it (an extension may need a superuser), or rehearse --on scratch, or --on here",
                ) from None
            self.failed.append(told)

    # -- records and rows -------------------------------------------------------------------------------------------------------

    def _copy_records(self, connection: Any) -> None:
        """Copy the rows of the tool's tables, unless `_copy_rows` has, and set their sequences behind the last row."""
        names = TableNames.of(self.made.table, POSTGRES)
        place = names.schema or self._place_of(names)
        for table in names.all:
            quoted = f"{quote_identifier(place)}.{quote_identifier(table)}" if place else quote_identifier(table)
            ((there,),) = self.original.ask(f"SELECT pg_catalog.to_regclass({quote_literal(quoted)}) IS NOT NULL")
            if there and not self.cloning.data:
                self._copy(connection, quoted, f"SELECT * FROM {quoted}", "")
            if there and table != names.views:  # the view ledger has no `id`
                send(
                    connection,
                    f"SELECT pg_catalog.setval(s.name, (SELECT coalesce(max(id), 0) OPERATOR(pg_catalog.+) 1 FROM {quoted}), false) "
                    f"FROM (SELECT pg_catalog.pg_get_serial_sequence({quote_literal(quoted)}, 'id') AS name) s WHERE s.name IS NOT NULL",
                )

    def _place_of(self, names: TableNames) -> str:
        """Return the schema of the ledger, looked up along the search_path that a migration's session has."""
        path = ", ".join(map(quote_literal, schema_names(self.original.sessions.place)))
        found = self.original.ask(
            f"SELECT n.nspname FROM pg_catalog.unnest(CAST(ARRAY[{path}] AS pg_catalog.text[])) WITH ORDINALITY AS path(name, at) "
            "JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) CASE path.name WHEN '$user' "
            "THEN CAST(current_user AS pg_catalog.text) ELSE path.name END "
            "JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid "
            f"AND c.relname OPERATOR(pg_catalog.=) {quote_literal(names.ledger)} ORDER BY path.at LIMIT 1"
        )
        return str(found[0][0]) if found else ""

    def _copy(self, connection: Any, table: str, query: str, columns: str) -> None:
        with tempfile.SpooledTemporaryFile(max_size=1 << 24) as rows:
            with self.original.connection.cursor() as cursor:
                cursor.copy_expert(f"COPY ({query}) TO STDOUT", rows)
            rows.seek(0)
            with connection.cursor() as cursor:
                cursor.copy_expert(f"COPY {table} {columns} FROM STDIN", rows)

    def _copy_rows(self, connection: Any) -> None:
        """Copy some rows of each table, delete those that refer to rows that were not copied, and copy the values of sequences."""
        names = {*TableNames.of(self.made.table, POSTGRES).all}
        for table, columns in self.original.ask(_TABLES):
            if columns:
                limit = "" if bare(parted(table)[1]) in names else f" LIMIT {self.cloning.data:d}"
                self._copy(connection, table, f"SELECT {columns} FROM ONLY {table}{limit}", f"({columns})")
        orphans = [statement for (statement,) in self.original.ask(_REFERENCES)]
        went = True
        while went:
            went = any(_count(connection, statement) for statement in orphans)  # others may refer to the deleted rows
        for name, value in self.original.ask(_SEQUENCES):
            with suppress(psycopg2.Error):
                send(connection, f"SELECT pg_catalog.setval({quote_literal(name)}, {value:d})")

    def _fill_views(self, connection: Any) -> None:
        """Refresh the materialized views that have rows in the original: one that was never filled cannot be read."""
        for (name,) in self.original.ask(_FILLED):
            try:
                send(connection, f"REFRESH MATERIALIZED VIEW {name}")
            except psycopg2.Error as error:
                if connection.closed:
                    raise
                self.failed.append(f"REFRESH MATERIALIZED VIEW {name}: {first_line(error)}")

    def _copy_settings(self, connection: Any) -> None:
        """Copy the settings that sessions of the original begin with; those of a role are set after `role` is reset to the user."""
        database = quote_identifier(connection.info.dbname)
        everywhere = "true" if self.cloning.server else "false"
        for is_of_role, setting in self.original.ask(_SETTINGS.format(everywhere=everywhere)):
            name, _, value = setting.partition("=")
            whose = f"ROLE SESSION_USER IN DATABASE {database}" if is_of_role else f"DATABASE {database}"
            prepared = [("role", "none")] if is_of_role else []
            spelled = f"= {quote_literal(value)}"
            if name in _OF_QUOTED_NAMES:
                prepared.append((name, value))
                spelled = "FROM CURRENT"
            sets = "".join(f"SELECT pg_catalog.set_config('{of}', {quote_literal(to)}, true); " for of, to in prepared)
            try:
                send(connection, f"{sets}ALTER {whose} SET {name} {spelled}")
            except psycopg2.Error as error:
                if connection.closed:
                    raise
                self.failed.append(f"ALTER {whose.partition(' ')[0]} SET {name}: {first_line(error)}")


def _count(connection: Any, statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.rowcount)
