"""Sends statements of this package on a connection; statements without an answer wait, and are sent in one message with the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field
from psycopg2.extensions import encodings

from migrate_graph.database.postgres.session.connection import WorkConnection
from migrate_graph.database.postgres.session.cursor import rows_of
from migrate_graph.database.postgres.views.looks import Looks

_SET_ENCODING = "SELECT pg_catalog.set_config('client_encoding', %s, true)"


class Outbox(Struct):
    """The statements that wait to be sent.

    Attributes:
        connect: returns the migration's connection.
        looks: is told of every message.
    """

    connect: Callable[[], Any]
    looks: Looks
    _waiting: list[tuple[str, Sequence[Any] | None]] = field(default_factory=list)

    def run(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Send what waits and one more statement, and return its rows; without parameters, `%` needs no escape."""
        sent, self._waiting = [*self._waiting, (statement, parameters)], []
        connection = self.connect()
        with self.looks.own(connection, [text for text, _ in sent]), _cursor(connection) as cursor:
            if len(sent) == 1 and statement.isascii():
                return rows_of(cursor, statement, parameters)
            return _answer(cursor, b"; ".join(_encoded(cursor, *each) for each in sent))

    def later(self, statement: str, parameters: Sequence[Any] | None = None) -> None:
        """Add a statement to the next message."""
        self._waiting.append((statement, parameters))

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting:
            self.run(*self._waiting.pop())

    def take_back(self, statement: str) -> bool:
        """Remove a waiting statement and all after it; return whether it was waiting."""
        for place in range(len(self._waiting) - 1, -1, -1):
            if self._waiting[place][0] == statement:
                del self._waiting[place:]
                return True
        return False

    def take_back_last(self, statement: str) -> bool:
        """Remove the last waiting statement, if it is this one; return whether it was."""
        if self._waiting and self._waiting[-1][0] == statement:
            self._waiting.pop()
            return True
        return False

    def clear(self) -> None:
        """Remove all waiting statements: a rollback would undo them anyway."""
        self._waiting.clear()


def has_any_bytes(connection: Any) -> bool:
    """Return whether the database's encoding is SQL_ASCII: it may hold bytes that are no text in the connection's encoding."""
    return bool(connection.info.parameter_status("server_encoding") == "SQL_ASCII")


def _cursor(connection: Any) -> Any:
    """Open a cursor on a connection; inside a transaction of a `WorkConnection`, one that does not parse what it sends."""
    return connection.own_cursor() if isinstance(connection, WorkConnection) else connection.cursor()


def _answer(cursor: Any, message: bytes) -> list[tuple[Any, ...]]:
    """Send a message that is UTF-8, or bytes that are no text; if need be, with another `client_encoding` meanwhile."""
    before = cursor.connection.info.parameter_status("client_encoding")
    needed = "UTF8"
    if has_any_bytes(cursor.connection):
        needed = before if _is_text(message) else "SQL_ASCII"
    if message.isascii() or needed == before:
        return rows_of(cursor, message)
    cursor.execute(_SET_ENCODING, (needed,))
    rows = rows_of(cursor, message)  # after an exception, the rollback to the savepoint restores the setting
    cursor.execute(_SET_ENCODING, (before,))
    return rows


def _is_text(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encoded(cursor: Any, statement: str, parameters: Sequence[Any] | None) -> bytes:
    # Bytes of the database that are no text in the connection's encoding are surrogates in a Python string.
    raw = statement.encode("utf-8", "surrogateescape")
    if parameters is None:
        return raw
    filled = bytes(cursor.mogrify(raw, parameters))
    return filled if filled.isascii() else filled.decode(encodings[cursor.connection.encoding]).encode()
