"""The tool's own savepoints: set, kept or undone, on any connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct


class NotKept(Exception):  # noqa: N818 - names what happened
    """A block ended without an exception, but its savepoint could not be released; the cause is the driver's exception."""


class Savepoint(Struct, frozen=True):
    """One savepoint; the statements are the same in PostgreSQL and SQLite.

    Attributes:
        name: a plain identifier, which the tool chooses.
        run: sends one statement.
    """

    name: str
    run: Callable[[str], object]

    def set(self) -> None:
        """Set the savepoint."""
        self.run(f"SAVEPOINT {self.name}")

    def keep(self) -> None:
        """Release the savepoint, and keep what was done since it was set."""
        self.run(f"RELEASE SAVEPOINT {self.name}")

    def undo(self) -> None:
        """Undo what was done since the savepoint was set; it stays set."""
        self.run(f"ROLLBACK TO SAVEPOINT {self.name}")

    def remove(self) -> None:
        """Undo what was done since the savepoint was set, and release it."""
        self.undo()
        self.keep()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Keep what the block does; undo it on an exception.

        Raises:
            NotKept: the savepoint could not be released, for example because the block committed or rolled back.
        """
        self.set()
        try:
            yield
        except BaseException:
            with suppress(Exception):  # the savepoint or the connection may be gone; the block's own error says why
                self.remove()
            raise
        try:
            self.keep()
        except Exception as error:
            with suppress(Exception):  # it is still set where a delayed statement, sent with RELEASE, failed
                self.remove()
            raise NotKept from error


class Transaction(Savepoint, frozen=True):
    """A transaction with the methods of a savepoint, for a connection in autocommit."""

    def set(self) -> None:
        """Begin the transaction."""
        self.run("BEGIN")

    def keep(self) -> None:
        """Commit the transaction."""
        self.run("COMMIT")

    def remove(self) -> None:
        """Roll the transaction back."""
        self.run("ROLLBACK")
