"""Restores a dump through the driver, in one transaction that nothing in the dump can end."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions as pg
from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Event, Observer, RestoreProgress
from migrate_graph.database.backup.dump_text import Part, PartKind
from migrate_graph.database.backup.statements import is_client_only
from migrate_graph.database.backup.stream import DumpStream, no_ledger, not_empty
from migrate_graph.database.names import POSTGRES, TableNames, search_path
from migrate_graph.database.postgres.session.cursor import send
from migrate_graph.database.postgres.session.opening import close_quietly
from migrate_graph.errors import DatabaseRefused, MigrateGraphError, RestoreError
from migrate_graph.messages import counted, first_line
from migrate_graph.quoting import quote_identifier
from migrate_graph.redaction import redact

if TYPE_CHECKING:
    from migrate_graph.database.backup.dump import VerifiedDump

USER_RELATIONS = (
    "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') "
    "AND n.nspname !~ '^pg_(toast|temp)' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d "
    "WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
)
"""SQL: all relations that belong neither to the server nor to an extension; to be run with an empty search_path."""

SETTINGS = {
    "search_path": "",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
}
"""Settings of the restore's transaction: reading the dump may be slow and its statements long, so no timeout may hold."""

_TRANSACTION_TIMEOUT_SINCE = 170000
_SETS_TRANSACTION_TIMEOUT = re.compile(rb"SET\s+transaction_timeout\s*=\s*0\s*;")

_ENDED = (
    "a statement of it would have ended the one transaction of the restore (COMMIT, or SET CONSTRAINTS ALL IMMEDIATE)"
)


def guarded(name: str) -> list[str]:
    """Return statements that make every COMMIT fail until the temporary table that they create is emptied.

    Args:
        name: name of the table; the dump must not be able to guess it.
    """
    table, constraint = f"pg_temp.{quote_identifier(name)}", quote_identifier(f"{name}_key")
    columns = f"x pg_catalog.int4, CONSTRAINT {constraint} UNIQUE (x) DEFERRABLE INITIALLY DEFERRED"
    return [
        f"CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP",
        f"INSERT INTO {table} VALUES (1), (1)",
    ]


class CommitUnknown(Exception):  # noqa: N818 - the state of our knowledge
    """The connection was lost during the COMMIT of the restore: the caller must find out whether it succeeded."""


class RestoreTarget(Struct, frozen=True, kw_only=True):
    """What a dump is restored into.

    Attributes:
        label: name of the database in output.
        schema: search_path (schemas separated by commas) for names without schema in the dump; None for the session's own.
        table: the ledger table that must exist afterwards, as configured.
        lock: keys of an advisory lock that the transaction holds. When this process is killed, the server may still execute a statement
            of the restore; the next run waits for this lock until that ends.
        look: returns the names of all relations in the database, through a new connection, after the server has ended the restore.
        waits_for: returns what the holder of that lock waits for; empty when it does not wait.
        secrets: texts that no output may contain.
    """

    label: str
    schema: str | None
    table: str
    lock: tuple[int, int]
    look: Callable[[], list[str]]
    waits_for: Callable[[], str] = str
    secrets: tuple[str, ...] = ()

    __repr__ = object.__repr__  # a traceback with values shows it, and it holds secrets

    def state_after_failure(self) -> str:
        """Return in words what is in the database, which was empty before the restore; it is looked up, and may come from others."""
        try:
            relations = self.look()
        except MigrateGraphError as error:
            return f"whether something of it stayed could not be looked up ({error.message})"
        if not relations:
            return "everything was rolled back"
        some = ", ".join(relations[:3])
        return (
            f"but {counted(len(relations), 'relation')} stayed in the database (e.g. {some}), or came from another session meanwhile: "
            "look at it, and drop it and create it anew if nobody needs it"
        )


def restore_through_driver(dump: VerifiedDump, connection: Any, target: RestoreTarget, *, observer: Observer) -> None:
    """Restore a dump in one transaction, into a database that is proved empty inside it.

    Args:
        dump: the result of `verify(kind="postgres")`.
        connection: a connection of psycopg2, in autocommit.
        target: where it is restored.
        observer: receives the progress.

    Raises:
        RestoreError: nothing was committed; the database is as it was.
        CommitUnknown: the connection was lost during the COMMIT.
    """
    _Restore(dump, connection, target).run(observer)


class _Restore:
    """One restore. `_send_all` sends the dump's statements, `_ask` those of this package."""

    def __init__(self, dump: VerifiedDump, connection: Any, target: RestoreTarget) -> None:
        self._dump = dump
        self._connection = connection
        self._target = target
        self._guard = f"migrate_graph_{secrets.token_hex(12)}"
        self._transaction = 0
        self._part = Part(PartKind.STATEMENT, 0)
        self._committing = False

    def run(self, observer: Observer) -> None:
        try:
            with DumpStream(self._dump, self._with_waits(observer)) as stream:
                self._begin()
                self._send_all(stream.parts())
                self._end()
        except psycopg2.Error as error:
            raise self._explained(error) from None
        finally:
            with suppress(psycopg2.Error):
                if not self._connection.closed:
                    self._ask("ROLLBACK")

    def _with_waits(self, observer: Observer) -> Observer:
        """Return an observer that adds what the server waits for to the progress that another thread reports during a long statement."""
        ours = threading.get_ident()

        def tell(event: Event) -> None:
            if threading.get_ident() != ours and isinstance(event, RestoreProgress):
                event = replace(event, doing="; ".join(filter(None, (event.doing, self._target.waits_for()))))
            observer(event)

        return tell

    def _ask(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return send(self._connection, statement, parameters)

    # -- before and after the dump's statements -------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._ask("BEGIN")
        self._set(SETTINGS)
        ((ours, self._transaction),) = self._ask(
            "SELECT pg_catalog.pg_try_advisory_xact_lock(%s, %s), pg_catalog.txid_current()", self._target.lock
        )
        if not ours:
            raise DatabaseRefused(f"another run is at work on {self._target.label}", hint="run again when it has ended")
        relations = [name for (name,) in self._ask(USER_RELATIONS)]
        if relations:
            raise not_empty(self._target.label, self._target.table, relations)
        for statement in guarded(self._guard):
            self._ask(statement)
        self._choose_schema()

    def _set(self, settings: Mapping[str, str]) -> None:
        known = self._connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE
        for name, value in settings.items():
            if known or name != "transaction_timeout":
                self._ask("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))

    def _choose_schema(self) -> None:
        if self._target.schema is None:
            self._ask("SET LOCAL search_path TO DEFAULT")
        else:
            self._set({"search_path": search_path(self._target.schema)})

    def _end(self) -> None:
        """Reset what the dump has set for the session (a pooler may give it to another client), check the result, and commit."""
        self._part = Part(PartKind.STATEMENT, 0)
        self._ask("RESET SESSION AUTHORIZATION")  # the role as well
        self._ask("RESET ALL")
        self._set(SETTINGS)
        self._choose_schema()
        names = TableNames.of(self._target.table, POSTGRES)
        ((there, transaction),) = self._ask(
            "SELECT pg_catalog.to_regclass(%s) IS NOT NULL, pg_catalog.txid_current()",
            (names.quoted(names.ledger),),
        )
        if not there:
            raise no_ledger(self._dump.path, self._target.table)
        if transaction != self._transaction:
            raise self._ended()
        self._ask(f"DELETE FROM pg_temp.{quote_identifier(self._guard)}")
        self._committing = True
        self._ask("COMMIT")

    # -- the dump's statements ------------------------------------------------------------------------------------------------

    def _send_all(self, parts: Iterator[Part]) -> None:
        for part in parts:
            self._part = part
            if part.kind is PartKind.COPY:
                self._copy(part, parts)
            elif part.kind is PartKind.QUERY:
                with self._connection.cursor() as cursor:  # COPY streams the rows; execute() would hold all in memory
                    cursor.copy_expert(_QUERY_BEGINS + part.text.removesuffix(b";") + b"\n) TO STDOUT", _Nowhere())
            elif part.kind is PartKind.STATEMENT and not self._is_of_newer_servers(part):
                with self._connection.cursor() as cursor:
                    cursor.execute(part.text)
            self._look()

    def _is_of_newer_servers(self, part: Part) -> bool:
        """Return whether a statement is the `SET transaction_timeout` of pg_dump 17 or newer, and this server is too old for it."""
        return (
            self._connection.info.server_version < _TRANSACTION_TIMEOUT_SINCE
            and _SETS_TRANSACTION_TIMEOUT.fullmatch(part.text) is not None
        )

    def _copy(self, part: Part, parts: Iterator[Part]) -> None:
        data = _CopyData(parts)
        try:
            with self._connection.cursor() as cursor:
                cursor.copy_expert(part.text, data)
        except psycopg2.Error:
            if data.error is not None:
                raise data.error from None
            raise
        if not data.ended:
            raise RestoreError(
                f"the backup {self._dump.path} could not be restored: line {part.line}: the server took no data here",
                hint="make the dump again",
            )

    def _look(self) -> None:
        """Check, without a query, that the transaction is still open and that texts are read as when the dump was parsed.

        Raises:
            RestoreError: one of these is not so.
        """
        info = self._connection.info
        if info.transaction_status != pg.TRANSACTION_STATUS_INTRANS:
            raise self._ended()
        encoding = info.parameter_status("client_encoding") or ""
        if info.parameter_status("standard_conforming_strings") != "on" or is_client_only(encoding):
            raise RestoreError(
                f"the backup {self._dump.path} cannot be restored: line {self._part.line} changes how text is read "
                f"(standard_conforming_strings, or client_encoding to {encoding}); {self._state()}",
                hint="dump again with --encoding=UTF8, and standard_conforming_strings switched on",
            )

    # -- what went wrong ------------------------------------------------------------------------------------------------------

    def _ended(self) -> RestoreError:
        """Return the error for a dump that did end the transaction."""
        where = f" (near line {self._part.line})" if self._part.line else ""
        return RestoreError(
            f"the backup {self._dump.path} ended the transaction of the restore{where}; {self._state()}",
            hint="dump again with plain pg_dump",
        )

    def _state(self) -> str:
        """Roll back, and return in words what is left in the database."""
        with suppress(psycopg2.Error):
            if not self._connection.closed:
                self._ask("ROLLBACK")
        close_quietly(self._connection)
        return self._target.state_after_failure()

    def _explained(self, error: psycopg2.Error) -> Exception:
        if self._connection.closed or (error.pgcode or "").startswith(("57P", "08")):
            if self._committing:
                return CommitUnknown()
            return RestoreError(
                f"the connection was lost while {self._dump.path} was restored; {self._state()}: "
                f"{redact(first_line(error), *self._target.secrets)}",
                hint="look whether the server is up, then run again",
            )
        if error.diag.constraint_name == f"{self._guard}_key":
            return RestoreError(
                f"the backup {self._dump.path} cannot be restored: line {self._part.line}: {_ENDED}; {self._state()}",
                hint="remove the statement, or dump again with plain pg_dump",
            )
        message = redact(self._message(error), *self._target.secrets)
        return RestoreError(
            f"the backup {self._dump.path} could not be restored; {self._state()}: {message}",
            hint=hint_for(error.pgcode or "", self._part),
        )

    def _message(self, error: psycopg2.Error) -> str:
        diag, part = error.diag, self._part
        line = part.line
        if diag.statement_position and part.text:
            skipped = len(_QUERY_BEGINS) if part.kind is PartKind.QUERY else 0
            before = part.text.decode("utf-8", "replace")[: int(diag.statement_position) - 1 - skipped]
            line += before.count("\n")
        said = [diag.message_primary or first_line(error)]
        said += [diag.message_detail] if diag.message_detail else []
        said += [diag.context.partition("\n")[0]] if diag.context and part.kind is PartKind.COPY else []
        where = f"line {line}: " if line else "" if self._committing else "before its first line: "
        return f"{where}{'; '.join(said)}" + (f" [{error.pgcode}]" if error.pgcode else "")


class _CopyData:
    """The data of one COPY, as the file that the driver reads.

    Attributes:
        ended: the data was read to its end.
        error: the exception while it was read; the driver would only report the name of its class.
    """

    def __init__(self, parts: Iterator[Part]) -> None:
        self.ended = False
        self.error: BaseException | None = None
        self._parts = parts

    def read(self, _size: int = -1) -> bytes:
        """Return the next piece of data; empty at the end."""
        try:
            part = Part(PartKind.END_OF_DATA, 0) if self.ended else next(self._parts)
        except BaseException as error:
            self.error = error
            raise
        self.ended = part.kind is PartKind.END_OF_DATA
        return part.text


_QUERY_BEGINS = b"COPY ("


class _Nowhere:
    """A file that discards the rows of a query."""

    def write(self, data: bytes) -> int:
        """Discard data; return its length."""
        return len(data)


# (SQLSTATEs, regular expression for the beginning of the failed statement, hint). The server's message may be in any language.
_HINTS: tuple[tuple[str, str, str], ...] = (
    ("42501", r"COMMENT ON EXTENSION", "dump again with --no-comments"),
    ("42501 58P01 0A000 22023", r"CREATE EXTENSION", "install the extension on the server, and create it as a superuser, first"),
    ("42501 42704", r"(ALTER .*OWNER TO|GRANT|REVOKE|ALTER DEFAULT PRIVILEGES|SET SESSION AUTHORIZATION|SET ROLE)",
     "dump again with --no-owner --no-privileges"),
    ("42704 42602", r"SET\b", "the dump was made for a newer server: dump with the server's own pg_dump"),
    ("42P01 42704 42883 3F000 42703", r"(DROP|ALTER TABLE .*DROP)\b",
     "the dump drops first what an empty database does not have: dump again with --clean --if-exists, or without --clean"),
    ("42501", "", "restore with a role that may create everything in the dump"),
    ("42704", "", "the dump needs something that this server lacks: a role (dump again with --no-owner --no-privileges), or an extension"),
    ("42P06 42P07 42710 42723", "", "the dump creates something that is there already: remove that statement"),
    ("25001 2D000 0A000", "", "remove that statement from the dump: it cannot run inside a transaction"),
    ("22021 22P05", "", "the database has another encoding: create it with that of the dump"),
    ("53100", "", "the server's disk is full: make room, then run again"),
    ("57014", "", "somebody cancelled it: run again"),
)  # fmt: skip


def hint_for(code: str, part: Part) -> str:
    """Return what to do about an error.

    Args:
        code: SQLSTATE of the error.
        part: the part of the dump that failed.
    """
    words = " ".join(part.text[:2000].decode("utf-8", "replace").split())
    for codes, statement, hint in _HINTS:
        if code in codes.split() and re.match(statement, words, re.IGNORECASE):
            return hint
    return "mend the dump, or make it again"
