"""Sends statements of ours on a connection; those whose answers nobody needs wait for the next one, and go in its message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from migrate_graph.database.postgres.looks import Looks


@dataclass(slots=True)
class Outbox:
    """What is sent, and what waits to be.

    Attributes:
        cursor: opens a psycopg2 cursor on the migration's connection.
        looks: is told of every statement.
    """

    cursor: Callable[[], Any]
    looks: Looks
    _waiting: list[tuple[str, Sequence[Any] | None]] = field(default_factory=list)

    def run(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Send one statement, behind what waits, and return its rows; without parameters a `%` in it is a `%`."""
        sent, self._waiting = [*self._waiting, (statement, parameters)], []
        with self.cursor() as cursor, self.looks.own(cursor.connection, [text for text, _ in sent]):
            if len(sent) == 1 and statement.isascii():
                cursor.execute(statement, parameters)
            else:
                cursor.execute(b"; ".join(_encoded(cursor, *each) for each in sent))
            return list(cursor.fetchall()) if cursor.description else []

    def later(self, statement: str, parameters: Sequence[Any] | None = None) -> None:
        """Let a statement wait."""
        self._waiting.append((statement, parameters))

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting:
            self.run(*self._waiting.pop())

    def take_back(self, statement: str) -> bool:
        """Forget a statement that waits, and all behind it; return whether it waited."""
        for place in range(len(self._waiting) - 1, -1, -1):
            if self._waiting[place][0] == statement:
                del self._waiting[place:]
                return True
        return False

    def take_back_last(self, statement: str) -> bool:
        """Forget what waits last, if it is this; return whether it was."""
        if self._waiting and self._waiting[-1][0] == statement:
            self._waiting.pop()
            return True
        return False

    def clear(self) -> None:
        """Forget what waits: it would be undone anyway."""
        self._waiting.clear()


def _encoded(cursor: Any, statement: str, parameters: Sequence[Any] | None) -> bytes:
    # Some bytes of the database are no text in the connection's encoding; they stand in ours as surrogates.
    raw = statement.encode("utf-8", "surrogateescape")
    return raw if parameters is None else bytes(cursor.mogrify(raw, parameters))
