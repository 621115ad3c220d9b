"""Savepoints of ours, on whatever connection runs their statements: set, kept or undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct


class NotKept(Exception):  # noqa: N818 - names what happened
    """A block ended well, and its savepoint could not be released; the cause is the driver's exception."""


class Savepoint(Struct, frozen=True):
    """One savepoint; the statements are the same in PostgreSQL and SQLite.

    Attributes:
        name: a plain identifier of ours.
        run: sends one statement.
    """

    name: str
    run: Callable[[str], object]

    def set(self) -> None:
        """Set it."""
        self.run(f"SAVEPOINT {self.name}")

    def keep(self) -> None:
        """Forget it, and keep what was done since."""
        self.run(f"RELEASE SAVEPOINT {self.name}")

    def undo(self) -> None:
        """Undo what was done since; it stays set."""
        self.run(f"ROLLBACK TO SAVEPOINT {self.name}")

    def remove(self) -> None:
        """Undo what was done since, and forget it."""
        self.undo()
        self.keep()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Keep what the block does; on an exception undo it.

        Raises:
            NotKept: it is gone, since somebody committed or rolled back inside.
        """
        self.set()
        try:
            yield
        except BaseException:
            with suppress(Exception):  # it is gone, or the connection: the first error tells why
                self.remove()
            raise
        try:
            self.keep()
        except Exception as error:
            with suppress(Exception):  # what waited to be sent with it may have failed
                self.remove()
            raise NotKept from error


class Transaction(Savepoint, frozen=True):
    """The same on a connection in autocommit: there it is a transaction of its own."""

    def set(self) -> None:
        """Begin it."""
        self.run("BEGIN")

    def keep(self) -> None:
        """Commit it."""
        self.run("COMMIT")

    def remove(self) -> None:
        """Roll it back."""
        self.run("ROLLBACK")
