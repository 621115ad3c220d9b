"""What a driver's exception means for a run, in words that need no driver."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class TroubleKind(StrEnum):
    """What can be done about an exception of the database."""

    RETRY = "retry"
    """Somebody was in the way: the same work may succeed a moment later."""
    LOST = "lost"
    """The connection is gone: what became of an open commit must be looked up."""
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
        kind: what can be done.
        message: its first line, without the driver's prefix.
        hint: what to do about it; empty when there is nothing to add.
        passes: when the same text may succeed ("when the database answers"); empty where it is the text that is to be corrected.
    """

    kind: TroubleKind
    message: str
    hint: str = ""
    passes: str = ""


class AttemptFailed(Exception):  # noqa: N818 - the attempt failed; the exception only says so
    """The body returned, but what it did cannot count as success; everything since its last own commit is rolled back.

    Attributes:
        message: why.
        hint: what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def ends_itself(option: str) -> str:
    """Return what helps a migration that cannot be part of a larger transaction.

    Args:
        option: the one that asks for that.
    """
    return (
        "db.commit() and db.rollback() are savepoints there; if it must end its transaction, apply it by itself: "
        f"run without {option}, with --to up to it"
    )


def postgres_errors() -> tuple[type[Exception], type[Exception]]:
    """Return the driver's base exception and the one for a missing table; two that nothing raises where it is not installed."""
    try:
        import psycopg2.errors
    except ImportError:
        return type("PostgresError", (Exception,), {}), type("PostgresUndefinedTable", (Exception,), {})
    return psycopg2.Error, psycopg2.errors.UndefinedTable


def require_whole(*, refused: str, lost: str, is_closed: bool, single: bool) -> None:
    """Refuse to call an attempt's work whole, after its body has returned, when some of it is missing.

    Args:
        refused: who else wanted to use its `db`, in words; empty when nobody did.
        lost: what of it was rolled back without its noticing, in words; empty when nothing was.
        is_closed: the body has closed the connection.
        single: it is one transaction.

    Raises:
        AttemptFailed: with what to do.
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
        taken: what has become of its record; empty where its journal row is not there, or another's.
    """
    if taken:
        return AttemptFailed(taken, hint="drop the trigger, and run again")
    return AttemptFailed(
        "its journal row is no longer this run's: another run has taken over, or somebody has deleted it"
    )
