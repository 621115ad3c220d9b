"""Every exception raised on purpose: one tree, each with a message, a hint, a place and an exit code.

::

    MigrateGraphError
    ├── UsageError                 2   a command or argument that makes no sense
    ├── ConfigError                2   a setting that is missing, unknown or of the wrong type
    ├── LoadError                  2   a migrations file that is absent or does not run
    │   └── DeclarationError       2   an argument of `@migration`, or a setting of a view, that cannot be meant
    ├── InvalidGraph               3   `check` found errors
    ├── NoRoom                     1   the machine has no memory, threads or processes left
    ├── ViewError                  1   a view cannot go down or come up without losing something
    ├── DecisionNeeded             5   an interrupted migration, or views that could not be repaired
    ├── DatabaseError              6
    │   ├── DatabaseUnreachable    6   no connection, within the time allowed
    │   ├── DatabaseRefused        6   connected, but the work is not permitted
    │   └── LockLost               6   another process may hold the lock now
    ├── PendingTaskFailed          7   all migrations succeeded, but the cache flush, a refresh or the flag failed
    ├── RestoreError               8   the backup was refused or failed; the database is as it was
    ├── StalePlan                  9   a sealed plan is not what would run now; nothing was run
    ├── LockTimeout               75   gave up waiting for the lock
    └── Stopped                128+n   stopped by signal n; what was not committed is rolled back
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from migrate_graph.core.rules import Finding
    from migrate_graph.user_files import SourceLocation


class ExitCode(IntEnum):
    """The exit codes of the command line; they are stable, and documented in `docs/reliability.md`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INVALID_GRAPH = 3
    PENDING = 4
    DECISION_NEEDED = 5
    DATABASE = 6
    PENDING_TASK = 7
    RESTORE = 8
    STALE_PLAN = 9
    FAULT = 70
    """A bug in migrate_graph; no command should ever end with this code."""
    LOCK_TIMEOUT = 75
    SIGNAL = 128


class MigrateGraphError(Exception):
    """The base class of every exception that migrate_graph raises on purpose.

    Attributes:
        message: what happened, to what (lower case, no full stop).
        hint: something the reader can do or type; empty when there is nothing to add.
        source: the place in the user's files, when there is one.
        exit_code: of the process when nobody catches the exception.
    """

    exit_code: ClassVar[int] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "", source: SourceLocation | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.source = source

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to unpickle it in another process: with all attributes, since `args` holds only some of the arguments."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[MigrateGraphError], arguments: tuple[Any, ...]) -> MigrateGraphError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments  # `__new__` does not set them in a class that also inherits from OSError
    return error


class UsageError(MigrateGraphError):
    """A command or an argument that makes no sense; nothing was touched."""

    exit_code = ExitCode.USAGE


class ResultLost(MigrateGraphError):  # noqa: N818 - names the state
    """The result cannot be written to stdout, because the disk is full, for example; the work of the command is done."""


class ConfigError(MigrateGraphError):
    """A setting that is missing, unknown or of the wrong type; no connection was made."""

    exit_code = ExitCode.USAGE


class LoadError(MigrateGraphError):
    """A migrations file that does not exist or does not run; no connection was made.

    Attributes:
        details: the user's own traceback, trimmed to the user's frames; empty when there is none.
    """

    exit_code = ExitCode.USAGE

    def __init__(
        self, message: str, *, hint: str = "", source: SourceLocation | None = None, details: str = ""
    ) -> None:
        super().__init__(message, hint=hint, source=source)
        self.details = details


class DeclarationError(LoadError, TypeError, ValueError):
    """An argument of `@migration`, or a setting of a view manager, that cannot be meant."""


class InvalidGraph(MigrateGraphError):  # noqa: N818 - the state of the graph, not an accident
    """The rules found errors, so nothing runs.

    Attributes:
        findings: all findings, not only the errors.
    """

    exit_code = ExitCode.INVALID_GRAPH

    def __init__(self, message: str, *, findings: tuple[Finding, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.findings = findings


class StillRequired(MigrateGraphError):  # noqa: N818 - the state of the graph, not an accident
    """A migration that should be undone is still required by an applied one."""

    exit_code = ExitCode.INVALID_GRAPH


class NoRoom(MigrateGraphError):  # noqa: N818 - the state of the machine, not an accident
    """The machine has no memory, threads or processes left."""


class ViewError(MigrateGraphError):
    """A view cannot go down or come up without losing something; the migration fails and is rolled back."""


class DecisionNeeded(MigrateGraphError):  # noqa: N818 - the state of the database, not an accident
    """The database is in a state only a human can judge."""

    exit_code = ExitCode.DECISION_NEEDED


class DatabaseError(MigrateGraphError):
    """The database cannot be reached or used."""

    exit_code = ExitCode.DATABASE


class DatabaseUnreachable(DatabaseError):  # noqa: N818 - a database error by its base
    """No connection, within the time allowed."""


class DatabaseRefused(DatabaseError):  # noqa: N818 - a database error by its base
    """Connected, but the work is not permitted: rights, read-only server, too narrow a column."""


class LockLost(DatabaseError):  # noqa: N818 - a database error by its base
    """The connection that held the lock is gone: another runner may hold it now."""


class PendingTaskFailed(MigrateGraphError):  # noqa: N818 - names the state
    """All migrations succeeded, but the cache flush, the refresh of a deferred view or the completion flag failed."""

    exit_code = ExitCode.PENDING_TASK


class RestoreError(MigrateGraphError):
    """A backup was refused or could not be restored; the database is as it was."""

    exit_code = ExitCode.RESTORE


class StalePlan(MigrateGraphError):  # noqa: N818 - names the state
    """Something has changed since a plan was sealed; nothing was run, and nothing was written."""

    exit_code = ExitCode.STALE_PLAN


class LockTimeout(MigrateGraphError):  # noqa: N818 - names the state
    """Gave up waiting for the lock."""

    exit_code = ExitCode.LOCK_TIMEOUT


class Stopped(MigrateGraphError):  # noqa: N818 - names the state
    """Stopped by a signal; what was not committed is rolled back.

    Attributes:
        signal: the number of the signal.
    """

    def __init__(self, message: str, *, signal: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.signal = signal
        self.exit_code = ExitCode.SIGNAL + signal  # type: ignore[misc] # each instance has its own: it contains the signal's number
