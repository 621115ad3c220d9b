"""The exceptions of edwh-migrate, which its programs catch."""

from __future__ import annotations

from migrate_graph.errors import ConfigError, RestoreError


class BaseEDWHMigrateException(BaseException):
    """The root of edwh-migrate's exceptions; not caught by `except Exception`."""


class EDWHMigrateException(BaseEDWHMigrateException, Exception):
    """Those that `except Exception` catches."""


class UnknownConfigException(BaseEDWHMigrateException):
    """Never raised, there as here."""


class InvalidConfigException(BaseEDWHMigrateException, ConfigError):
    """No database is configured; a `ConfigError` too."""


class DatabaseNotYetInitialized(BaseEDWHMigrateException):
    """The ledger table is missing; `args` are the message and the connected `DAL`."""


class RequimentsNotMet(BaseEDWHMigrateException):
    """No longer raised: a migration with an unmet requirement is blocked, and the independent ones go on."""


class MigrateLockExists(EDWHMigrateException):
    """The flag of this schema version is there; its path is the message."""


class MigrationFailed(EDWHMigrateException):
    """Raised inside `schema_versioned_lock_file` to leave no flag."""


class BackupNotFound(RestoreError, FileNotFoundError):
    """There is no backup; edwh-migrate's programs catch it as a `FileNotFoundError`."""


class FlagLocationMissing(ConfigError, NotADirectoryError):
    """There is no directory for the flags; edwh-migrate's programs catch it as a `NotADirectoryError`."""
