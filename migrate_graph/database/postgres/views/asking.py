"""Runs the queries of the view catalog on a migration's connection: in a transaction, with a safe search_path, in few messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import psycopg2
import psycopg2.extensions as pg
from msgspec.structs import replace
from psycopg2.errorcodes import (
    INVALID_CURSOR_NAME,
    INVALID_SAVEPOINT_SPECIFICATION,
    INVALID_TEXT_REPRESENTATION,
    NO_ACTIVE_SQL_TRANSACTION,
)
from psycopg2.sql import Composable

from migrate_graph.database.names import TableNames
from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.session.prepared import Prepared
from migrate_graph.database.postgres.views.looks import Looks
from migrate_graph.database.postgres.views.outbox import Outbox, has_any_bytes
from migrate_graph.database.postgres.views.plain_views import LOOKS_AGAIN
from migrate_graph.database.postgres.views.unchanged import CHANGED, SEEN
from migrate_graph.database.savepoints import NotKept, Savepoint, Transaction
from migrate_graph.database.views.catalog import (
    ChangedMeanwhile,
    CommittedInside,
    NoText,
    Unprepared,
    Unseen,
)
from migrate_graph.errors import ViewError

_SAVEPOINT = "migrate_graph_views"

STYLES = {"DateStyle": "ISO", "IntervalStyle": "postgres", "extra_float_digits": "1"}
"""Settings with which every session reads a constant as the server wrote it; other styles lose digits, time zones and signs."""

# With this search_path, no object in `public` or `pg_temp` is used instead of one of the server's.
_SAFE_PATH = "pg_catalog, pg_temp"

# The session's own values are kept in settings `migrate_graph.…` until they are restored, so no extra message is needed to read them. JIT
# costs more than it saves with such queries. Function bodies are not checked: a function that is recreated from its stored definition may
# name things without their schemas, which are looked up when it runs.
_SETTINGS = {
    "search_path": _SAFE_PATH,
    "standard_conforming_strings": "on",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "check_function_bodies": "off",
    "quote_all_identifiers": "off",
    **STYLES,
}
_ENTER = "SELECT " + ", ".join(
    f"pg_catalog.set_config('migrate_graph.{name}', pg_catalog.current_setting('{name}'), true), "
    f"pg_catalog.set_config('{name}', '{value}', true)"
    for name, value in _SETTINGS.items()
)


def _back(names: Iterable[str]) -> str:
    return "SELECT " + ", ".join(
        f"pg_catalog.set_config('{name}', pg_catalog.current_setting('migrate_graph.{name}'), true)" for name in names
    )


_GO_BACK = _back(_SETTINGS)

OWN_STYLES, OUR_STYLES = (
    _back(STYLES),
    "SELECT " + ", ".join(f"pg_catalog.set_config('{name}', '{value}', true)" for name, value in STYLES.items()),
)
"""SQL that sets the `STYLES` to the session's own values (for a query whose rows may depend on them), and to ours again."""

# The bytes in an error about an encoding; hexadecimal numbers are the same in every language of the server.
_SEQUENCE = re.compile(r"\b0x([0-9a-f]{2})\b")
_SAID_WITH = """
SELECT 'the comment on ' || pg_describe_object(said.class, said.id, said.part) AS what FROM (
    SELECT d.classoid AS class, d.objoid AS id, d.objsubid AS part, d.description AS text FROM pg_description d WHERE d.objoid >= 16384) said
WHERE strpos(encode(convert_to(said.text, getdatabaseencoding()), 'hex'), %s) > 0
UNION ALL
SELECT pg_describe_object(said.class, said.id, said.part) FROM (
    SELECT r.tableoid AS class, r.oid AS id, 0 AS part, pg_get_ruledef(r.oid) AS text FROM pg_rewrite r WHERE r.oid >= 16384
    UNION ALL SELECT d.tableoid, d.oid, 0, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.oid >= 16384
    UNION ALL SELECT c.tableoid, c.oid, 0, pg_get_indexdef(c.oid) FROM pg_class c WHERE c.relkind = 'i' AND c.oid >= 16384) said
WHERE strpos(encode(convert_to(said.text, getdatabaseencoding()), 'hex'), %s) > 0
LIMIT 10"""

# Statements on the view ledger, which return no rows: they may be sent later, together with the next one.
_ANSWERLESS = ("INSERT INTO ", "DELETE FROM ")


class Asking:
    """Sends what the catalog of views needs on the connection of a migration.

    Args:
        connect: returns the connection; after a `db.close()` it is another one.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._depth = 0
        self._waits = False
        self._looks = Looks()
        self._outbox = Outbox(connect, self._looks)
        self._prepared = Prepared()
        self._is_safe = False
        self._unreadable: psycopg2.Error | None = None

    def run(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; without parameters, `%` needs no escape."""
        if not statement.startswith(_ANSWERLESS):
            return self._outbox.run(statement, parameters)
        self._later(statement, parameters)
        return []

    def locate(self, names: TableNames) -> TableNames:
        """Return the names with the schema in which the view ledger is found now: later the migration may change the search_path."""
        if names.schema:
            return names
        rows = self.run(
            "SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_class c "
            "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
            "WHERE c.relname OPERATOR(pg_catalog.=) %s AND c.relkind OPERATOR(pg_catalog.=) 'r' "
            "ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, c.oid LIMIT 1",
            (names.views,),
        )
        return replace(names, schema=rows[0][0]) if rows else names

    @property
    def _connection(self) -> Any:
        return self._connect()

    # -- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self, *, ours: bool = False) -> Iterator[None]:
        """See `views.ViewCatalog`."""
        connection = self._connection
        idle = connection.info.transaction_status == pg.TRANSACTION_STATUS_IDLE
        if idle and not connection.autocommit:
            # After a raw COMMIT psycopg2 thinks that a transaction is still open, and would not begin one.
            type(connection).rollback(connection)
        name = f"{_SAVEPOINT}_{self._depth}" if self._depth else _SAVEPOINT
        mark = (
            Transaction(name, self._outbox.run)
            if idle and connection.autocommit
            else self._savepoint(name, idle=idle, ours=ours)
        )
        if not ours:
            self._outbox.flush()
        waited, self._waits = self._waits, ours
        self._depth += 1
        try:
            with mark.block():
                yield
        except psycopg2.Error as error:
            _look_again(error)
            self._refuse_closing(error)
            self._refuse_no_text(error)
            raise
        except NotKept as error:
            self._outbox.clear()
            cause = error.__cause__
            _look_again(cause)
            self._refuse_closing(cause)
            if getattr(cause, "pgcode", None) not in {INVALID_SAVEPOINT_SPECIFICATION, NO_ACTIVE_SQL_TRANSACTION}:
                raise cause or error from None
            type(connection).rollback(connection)
            raise CommittedInside from cause
        finally:
            self._depth -= 1
            self._waits = waited

    def _refuse_closing(self, error: BaseException | None) -> None:
        """Raise what has happened when a cursor of this package is gone: its transaction was ended, or a view manager closed it."""
        if getattr(error, "pgcode", None) != INVALID_CURSOR_NAME or SEEN not in str(error):
            return
        connection = self._connection
        if connection.info.transaction_status != pg.TRANSACTION_STATUS_INTRANS:  # the savepoint is gone, too
            type(connection).rollback(connection)
            raise CommittedInside from error
        raise ViewError(
            "a view manager closes cursors that are not its own", hint="no CLOSE ALL in down(): close cursors by name"
        ) from error

    def _refuse_no_text(self, error: psycopg2.Error) -> None:
        """Raise an error that names the object, when the answer to a query of this package has a character that UTF-8 does not have."""
        if error is not self._unreadable or self.is_aborted():
            return
        found = _SEQUENCE.findall(str(error))
        rows = []
        with suppress(psycopg2.Error), self.atomic(ours=True), self.safely():
            rows = self._outbox.run(_SAID_WITH, ("".join(found),) * 2) if found else []
        what = rows[0][0] if len(rows) == 1 else "one of the views"
        encoding = self._connection.info.parameter_status("server_encoding")
        raise NoText(
            f"{what} has a character that {encoding}, the encoding of the database, does not share with UTF-8"
            + f" (bytes {' '.join(found)})" * bool(found)
            + f": {'; '.join(row[0] for row in rows)}" * (len(rows) > 1),
            hint="write it anew without that character",
        ) from error

    def _savepoint(self, name: str, *, idle: bool, ours: bool) -> Savepoint:
        """Return a savepoint that is sent together with the next statement, where a transaction is open.

        The release of an inner savepoint waits for the next statement, too; that of the outermost one is sent at once, with all that
        waits.
        """
        setting, waits, inner = f"SAVEPOINT {name}", ours and not idle, self._waits
        unset = False

        def send(statement: str) -> None:
            nonlocal unset
            if statement == setting and waits:
                self._outbox.later(statement)
            elif statement.startswith("ROLLBACK"):
                unset = self._outbox.take_back(setting)
                if not unset:
                    self._outbox.clear()
                    self._outbox.run(statement)
            elif statement.startswith("RELEASE") and not unset and inner:
                self._outbox.later(statement)
            elif not unset:
                self._outbox.run(statement)

        return Savepoint(name, send)

    @contextmanager
    def commits_held(self) -> Iterator[list[str] | None]:
        """See `views.ViewCatalog`."""
        self._outbox.flush()
        connection = self._connection
        heard: list[str] = []
        hears = isinstance(connection, WorkConnection)
        connection.commit = lambda: None
        if hears:
            understand = connection.read

            def read(cursor: Any, query: Any, values: Any) -> Any:
                heard.append(query.as_string(connection) if isinstance(query, Composable) else _text(query))
                return understand(cursor, query, values)

            connection.read = read
        try:
            yield heard if hears else None
        finally:
            del connection.commit
            if hears:
                del connection.read

    def commit(self) -> None:
        """See `views.ViewCatalog`."""
        type(self._connection).commit(self._connection)

    def roll_back(self) -> None:
        """Roll back the open transaction."""
        type(self._connection).rollback(self._connection)

    def is_aborted(self) -> bool:
        """See `views.ViewCatalog`."""
        return bool(self._connection.info.transaction_status == pg.TRANSACTION_STATUS_INERROR)

    @contextmanager
    def safely(self) -> Iterator[None]:
        """For the block, set a search_path with only the server's own objects: the server writes all other names with their schema."""
        with self._in_transaction():
            if not self._outbox.take_back_last(_GO_BACK):
                self.run(_ENTER)
            self._is_safe = True
            try:
                yield
            finally:
                self._is_safe = False
            self._go_back()

    def _go_back(self) -> None:
        """Restore the session's own settings, together with the next statement where possible."""
        self._later(_GO_BACK)

    def _later(self, statement: str, parameters: Sequence[Any] | None = None) -> None:
        """Send a statement whose answer is not needed: together with the next one, while only this package uses the connection."""
        if self._waits:
            self._outbox.later(statement, parameters)
        else:
            self._outbox.run(statement, parameters)

    def _in_transaction(self) -> AbstractContextManager[None]:
        """Open a transaction for the block, if none is open."""
        idle = self._connection.info.transaction_status == pg.TRANSACTION_STATUS_IDLE
        return self.atomic(ours=True) if idle else nullcontext()

    def place(self) -> str:
        """See `views.ViewCatalog`: the search_path."""
        return str(self.run("SELECT pg_catalog.current_setting('search_path')")[0][0])

    @contextmanager
    def standing_at(self, place: str) -> Iterator[None]:
        """See `views.ViewCatalog`; a search_path that the block itself sets is kept."""
        if not place:
            yield
            return
        kept = f"migrate_graph.place_{self._depth}"
        self._later(
            f"SELECT pg_catalog.set_config('{kept}', pg_catalog.current_setting('search_path'), true), "
            "pg_catalog.set_config('search_path', %s, true)",
            (place,),
        )
        yield  # after an exception, the rollback to the savepoint restores it
        self._later(
            f"SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('{kept}'), true) "
            "WHERE pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) %s",
            (place,),
        )

    # -- reading ----------------------------------------------------------------------------------------------------

    def read(self, query: str) -> list[list[Any]]:
        """Run a query with the settings of `safely`, and return its rows.

        Bytes that are no text in the connection's encoding come as surrogates.

        Args:
            query: each of its columns has a name of its own.
        """
        return self.read_all(query)[0]

    def read_all(self, *queries: str) -> list[list[list[Any]]]:
        """Run several queries as `read` does, in one statement; return the rows of each."""
        query = f"SELECT {_as_json(self._connection, queries)}"
        if self._is_safe:
            return self._rows(query)
        enters = "" if self._outbox.take_back_last(_GO_BACK) else f"{_ENTER}; "
        found = _without_names(self._planned(enters, query))
        if self._connection.info.transaction_status != pg.TRANSACTION_STATUS_IDLE:
            # Not in the same message: at its end the server validates the prepared statement once more, and with another search_path it
            # would plan it anew.
            self._go_back()
        return found

    def _planned(self, before: str, query: str, *, steady: bool = False) -> list[Any]:
        """Run a query that is prepared once for the connection, in one message with other statements before it.

        Raises:
            Unprepared: the migration has deallocated the prepared statement.
        """
        try:
            return self._answer(f"{before}{self._prepared.message(self._connection, query, steady=steady)}")
        except (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.DuplicatePreparedStatement) as error:
            self._prepared.stopped = True
            raise Unprepared("the migration has deallocated what was prepared in its session") from error

    def _read_here(self, *queries: str) -> list[list[list[Any]]]:
        """Run queries with the session's own search_path."""
        return self._rows(f"SELECT {_as_json(self._connection, queries)}")

    def _confirmed(self, *queries: str) -> list[list[list[Any]]]:
        return _without_names(self._planned("", f"SELECT {_as_json(self._connection, queries)}"))

    def _rows(self, statement: str) -> list[list[list[Any]]]:
        return _without_names(self._answer(statement))

    def _answer(self, statement: str) -> list[Any]:
        try:
            [(found, *_)] = self.run(statement)
        except (psycopg2.errors.UntranslatableCharacter, psycopg2.errors.CharacterNotInRepertoire) as error:
            self._unreadable = error
            raise
        answer: list[Any] = json.loads(bytes(found).decode("utf-8", "surrogateescape"), strict=False)
        return answer

    def say(self, statement: str) -> None:
        """Run a statement through an ordinary cursor, as a view manager does, so that it is observed like the manager's."""
        self._outbox.flush()
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def send(self, statement: str) -> None:
        """Run a statement; surrogates in it are sent as the bytes that they stand for."""
        self._outbox.run(statement)


def _look_again(error: BaseException | None) -> None:
    """Raise the exception for an error by which a query of this package reports an unexpected change."""
    if getattr(error, "pgcode", None) != INVALID_TEXT_REPRESENTATION:
        return
    if LOOKS_AGAIN in str(error):
        raise Unseen("something was done that no plain statement does") from error
    if CHANGED in str(error):
        raise ChangedMeanwhile("somebody else has changed what goes down") from error


def _text(query: Any) -> str:
    return query.decode("utf-8", "replace") if isinstance(query, bytes) else str(query)


def _as_json(connection: Any, queries: Sequence[str]) -> str:
    """Return an SQL expression for the rows of some queries, as JSON in bytes: a database in SQL_ASCII may hold bytes that are no text."""
    parts = ", ".join(f"(SELECT pg_catalog.json_agg(q) FROM ({query}) q)" for query in queries)
    return f"pg_catalog.convert_to(pg_catalog.json_build_array({parts})::pg_catalog.text, '{encoding_of(connection)}')"


def encoding_of(connection: Any) -> str:
    """Return the encoding in which an answer is to be sent."""
    return "SQL_ASCII" if has_any_bytes(connection) else "UTF8"


def _without_names(answer: list[Any]) -> list[list[list[Any]]]:
    """Return the rows of several queries without the names of their columns."""
    return [[list(row.values()) for row in rows or ()] for rows in answer]
