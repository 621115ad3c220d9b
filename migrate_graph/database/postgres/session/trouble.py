"""Explains an exception of a migration on PostgreSQL by its SQLSTATE, never by its message, which may be in any language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg2

from migrate_graph.database.driver_errors import AGAIN, ANSWERS, HAS_ROOM, IS_FREE, IS_WRITABLE, Trouble, TroubleKind
from migrate_graph.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from migrate_graph.messages import first_line
from migrate_graph.quoting import quote_identifier, quote_literal
from migrate_graph.redaction import redact

_RETRIABLE = {"55P03", "40P01", "40001"}  # lock_not_available, deadlock_detected, serialization_failure
_CUT = {"25P03", "25P04"}  # idle_in_transaction_session_timeout, transaction_timeout: the server closes the session
_PASSES = {
    "25006": IS_WRITABLE,
    "40001": AGAIN,
    "40P01": AGAIN,
    "55P03": IS_FREE,
    "57014": AGAIN,
    "58030": "when the server's disk can be read and written",
}
"""When the same migration may succeed later, by SQLSTATE. Class 53 (the server has run out of a resource) is handled apart."""
_OUTSIDE = 'a statement that refuses a transaction needs @migration(transaction="none")'
HINTS = {
    "25001": _OUTSIDE,
    "2D000": _OUTSIDE,
    "25006": "connect to the primary if this is a standby; else ALTER ROLE … SET default_transaction_read_only = off, or for this command "
    "PGOPTIONS='-c default_transaction_read_only=off'",
    "42501": "grant the role the rights it lacks",
    "53100": "the server's disk is full: make room, then run again",
    "53200": "the server is out of memory, or of places for locks (many tables in one transaction: raise max_locks_per_transaction): look at its log",
    "55P03": "lock_timeout sets how long a statement waits for a lock",
    "55P04": "a value that was added to an enum can be used after a commit: with --atomic, apply the migration that adds it before: "
    "migrate apply --no-atomic --to NAME",
    "57014": "statement_timeout sets how long a statement may run; somebody may also have cancelled it",
}
"""Hints by SQLSTATE."""

# SQLSTATEs of statements on the tool's tables that fail because another session has dropped, renamed or created one of them, or has written
# the same record: a missing relation or schema; a relation that exists already; a duplicate key.
_DUPLICATE = "23505"
_CHANGED_MEANWHILE = {"42P01", "3F000", "42P07", _DUPLICATE}
_NO_SUCH_COLUMN = "42703"


def hint_of_ours(error: psycopg2.Error) -> str:
    """Return the hint for an error of a statement on the tool's tables that has no hint in `HINTS`."""
    if error.pgcode == _DUPLICATE and "(id)=" in (error.diag.message_detail or ""):
        place, name = error.diag.schema_name or "", error.diag.table_name or ""
        table = f"{quote_identifier(place)}.{quote_identifier(name)}"
        return (
            f"the sequence of {table} is behind its rows, as a restore or logical replication leaves it: "
            f"SELECT setval(pg_get_serial_sequence({quote_literal(table)}, 'id'), max(id)) FROM {table}; then run it again"
        )
    if error.pgcode in _CHANGED_MEANWHILE:
        return "another session has changed the tool's tables meanwhile: migrate status shows what is there now; then run it again"
    if error.pgcode == _NO_SUCH_COLUMN:
        return "somebody has made or changed the tool's tables by hand: the ledger has the columns id, name, installed and last_update_dttm"
    return "see the server's log"


def of_ours(error: psycopg2.Error, trouble: Trouble, label: str) -> DatabaseError:
    """Return what to raise for what the driver raises outside of a migration.

    Args:
        error: the driver's.
        trouble: what it means.
        label: of the database.
    """
    if trouble.kind is TroubleKind.LOST:
        return DatabaseUnreachable(
            f"the connection to {label} was lost: {trouble.message}", hint="run it again when it answers"
        )
    return DatabaseRefused(f"{label} refused a statement: {trouble.message}", hint=trouble.hint or hint_of_ours(error))


@contextmanager
def explaining(label: str, secrets: Sequence[str]) -> Iterator[None]:
    """Turn what the driver raises in the block, where no backend is at work, into an error of ours.

    Args:
        label: of the database.
        secrets: what no message may contain.
    """
    try:
        yield
    except psycopg2.Error as error:
        raise of_ours(error, explained(error, secrets), label) from None


def explained(error: BaseException, secrets: Sequence[str]) -> Trouble:
    """Return what an exception means; it need not be one of the driver's.

    Args:
        error: the exception.
        secrets: texts that no message may contain.
    """
    message = redact(first_line(error), *secrets)
    if not isinstance(error, psycopg2.Error):
        return Trouble(TroubleKind.OTHER, message)
    code = error.pgcode or ""
    if code == "40P01" and error.diag.message_detail:  # of a deadlock, the detail names which process waits for which
        message = f"{message}: {redact(error.diag.message_detail.partition(chr(10))[0], *secrets)}"
    hint = HINTS.get(code, "")
    if code in _RETRIABLE:
        return Trouble(TroubleKind.RETRY, message, hint, _PASSES[code])
    if (
        code.startswith(("57P", "08"))
        or code in _CUT
        or (not code and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError))
    ):
        return Trouble(TroubleKind.LOST, message, hint, ANSWERS)
    passes = HAS_ROOM if code.startswith("53") else _PASSES.get(code, "")
    return Trouble(TroubleKind.OTHER, message, hint, passes)
