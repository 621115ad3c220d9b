"""The exceptions of edwh-migrate, for programs that catch them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from migrate_graph.errors import (
    ConfigError,
    DatabaseUnreachable,
    InvalidGraph,
    LoadError,
    MigrateGraphError,
    RestoreError,
)


class BaseEDWHMigrateException(BaseException):
    """The root of edwh-migrate's exceptions; not caught by `except Exception`."""


class EDWHMigrateException(BaseEDWHMigrateException, Exception):
    """The root of those exceptions that `except Exception` catches."""


class UnknownConfigException(BaseEDWHMigrateException):
    """Never raised, neither by edwh-migrate nor here."""


class InvalidConfigException(BaseEDWHMigrateException, ConfigError):
    """No database is configured; a `ConfigError` too."""


class DatabaseNotYetInitialized(BaseEDWHMigrateException):
    """The ledger table is missing; `args` are the message and the connected `DAL`."""


class RequimentsNotMet(BaseEDWHMigrateException):
    """No longer raised: a migration with an unmet requirement is blocked, and independent migrations run."""


class MigrateLockExists(EDWHMigrateException):
    """The flag of this schema version exists; the message is its path."""


class MigrationFailed(EDWHMigrateException):
    """Raised by programs inside `schema_versioned_lock_file`, so that no flag is set."""


class BackupNotFound(RestoreError, FileNotFoundError):
    """There is no backup; edwh-migrate's programs catch it as a `FileNotFoundError`."""


class FlagLocationMissing(ConfigError, NotADirectoryError):
    """There is no directory for the flags; edwh-migrate's programs catch it as a `NotADirectoryError`."""


# The exceptions of edwh-migrate that these correspond to, for programs that catch them by that type. For a file that does not
# load (`LoadError`), edwh-migrate raised the exception of the file's own code.
_OF_OLD: dict[type[MigrateGraphError], tuple[type[Exception], ...]] = {
    InvalidGraph: (ValueError,),
    DatabaseUnreachable: (ValueError, RuntimeError),
    RestoreError: (NotImplementedError,),
}


@contextmanager
def caught_as_before() -> Iterator[None]:
    """Add to the errors of the block the types that edwh-migrate raised in their place, so that programs catch them by either type."""
    try:
        yield
    except MigrateGraphError as error:
        cause = error.__cause__ or error.__context__
        wanted: tuple[type[Exception], ...] = (
            (type(cause),) if isinstance(error, LoadError) and isinstance(cause, Exception) else ()
        )
        for kind, bases in _OF_OLD.items():
            if isinstance(error, kind):
                wanted = bases
        if not wanted or isinstance(error, wanted):
            raise
        raise _also(error, wanted).with_traceback(error.__traceback__) from error.__cause__


def _message(error: MigrateGraphError) -> str:
    return error.message


def _also(error: MigrateGraphError, wanted: tuple[type[Exception], ...]) -> MigrateGraphError:
    """Return an error that is also an instance of other types."""
    kind = type(error)
    try:
        both: type[MigrateGraphError] = type(
            kind.__name__, (kind, *wanted), {"__module__": kind.__module__, "__str__": _message}
        )
        other = both.__new__(both, *error.args)
    except TypeError:  # the user's exception type cannot be combined with another one
        return error
    other.__dict__.update(error.__dict__)
    other.args = error.args
    return other
