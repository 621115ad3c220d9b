"""What a driver's exception means for a run, as values that need no driver installed."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class TroubleKind(StrEnum):
    """What can be done about an exception of the database."""

    RETRY = "retry"
    """Another session was in the way: the same work may succeed a moment later."""
    LOST = "lost"
    """The connection is gone: whether the last commit succeeded must be looked up."""
    OTHER = "other"


AGAIN = "as it is"
ANSWERS = "when the database answers"
IS_FREE = "when nobody holds what it waited for"
IS_WRITABLE = "when the database can be written to"
HAS_ROOM = "when there is room for it"
"""When a migration may run again whose text is not at fault."""


class Trouble(Struct, frozen=True):
    """An exception, explained.

    Attributes:
        kind: what can be done about it.
        message: first line of its message, without the driver's prefix.
        hint: what to do about it; empty when there is nothing to add.
        passes: when the same migration may succeed unchanged ("when the database answers"); empty where the migration must be corrected.
    """

    kind: TroubleKind
    message: str
    hint: str = ""
    passes: str = ""


class AttemptFailed(Exception):  # noqa: N818 - the attempt failed; the exception only says so
    """The body returned, but its work cannot count as a success; everything since the body's last own commit is rolled back.

    Attributes:
        message: why.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def ends_itself(option: str) -> str:
    """Return the hint for a migration that ends its transaction although it is part of a larger one.

    Args:
        option: the command line option that asks for the larger transaction.
    """
    return (
        "db.commit() and db.rollback() are savepoints there; if it must end its transaction, apply it by itself: "
        f"run without {option}, with --to up to it"
    )


def postgres_errors() -> tuple[type[Exception], type[Exception]]:
    """Return psycopg2's base exception and its exception for a missing table; where psycopg2 is not installed, two that nothing raises."""
    try:
        import psycopg2.errors
    except ImportError:
        return type("PostgresError", (Exception,), {}), type("PostgresUndefinedTable", (Exception,), {})
    return psycopg2.Error, psycopg2.errors.UndefinedTable


def require_whole(*, refused: str, lost: str, is_closed: bool, single: bool) -> None:
    """Raise when a part of an attempt's work is missing; called after its body has returned.

    Args:
        refused: which other thread tried to use the attempt's `db`, in words; empty when none did.
        lost: which work was rolled back without the body noticing, in words; empty when none was.
        is_closed: whether the body has closed the connection.
        single: whether the attempt is one transaction.

    Raises:
        AttemptFailed: a part is missing; with what to do.
    """
    if refused:
        raise AttemptFailed(f"db was used in {refused}, which was refused, so that something of its work is missing")
    if lost:
        raise AttemptFailed(lost, hint="let exceptions pass, and call db.commit() before closing the connection")
    if is_closed and single:
        raise AttemptFailed(
            "it closed its connection, so nothing of it was kept (transaction='single')",
            hint="leave the connection open",
        )


def unfinished(taken: str) -> AttemptFailed:
    """Return the error of an attempt whose success could not be written.

    Args:
        taken: why the record did not stay, in words; empty where the reason is that the journal row is gone or was changed.
    """
    if taken:
        return AttemptFailed(taken, hint="drop the trigger, and run again")
    return AttemptFailed(
        "its journal row is no longer this run's: another run has taken over, or somebody has deleted it"
    )
