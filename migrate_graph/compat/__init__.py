"""The functions and exceptions of edwh-migrate, as thin wrappers of the command line and the use cases."""

from migrate_graph.compat.connections import (
    define_ewh_implemented_features,
    mark_migration,
    setup_db,
    should_run,
    truncate_appname,
)
from migrate_graph.compat.declared import import_migrations, list_migrations
from migrate_graph.compat.exceptions import (
    BackupNotFound,
    BaseEDWHMigrateException,
    DatabaseNotYetInitialized,
    EDWHMigrateException,
    FlagLocationMissing,
    InvalidConfigException,
    MigrateLockExists,
    MigrationFailed,
    RequimentsNotMet,
    UnknownConfigException,
)
from migrate_graph.compat.flags import schema_versioned_lock_file
from migrate_graph.compat.kinds import (
    MIGRATION_SUFFIX_RE,
    VALID_MIGRATION_ORDERING_MODES,
    MigrationFn,
    MigrationOrderingMode,
)
from migrate_graph.compat.restoring import recover_database_from_backup, try_setup_db
from migrate_graph.compat.runs import (
    TEN_MINUTES,
    activate_migrations,
    console_hook,
    console_script,
    print_migrations_status_table,
)
from migrate_graph.compat.settings import Config, get_config

__all__ = [
    "MIGRATION_SUFFIX_RE",
    "TEN_MINUTES",
    "VALID_MIGRATION_ORDERING_MODES",
    "BackupNotFound",
    "BaseEDWHMigrateException",
    "Config",
    "DatabaseNotYetInitialized",
    "EDWHMigrateException",
    "FlagLocationMissing",
    "InvalidConfigException",
    "MigrateLockExists",
    "MigrationFailed",
    "MigrationFn",
    "MigrationOrderingMode",
    "RequimentsNotMet",
    "UnknownConfigException",
    "activate_migrations",
    "console_hook",
    "console_script",
    "define_ewh_implemented_features",
    "get_config",
    "import_migrations",
    "list_migrations",
    "mark_migration",
    "print_migrations_status_table",
    "recover_database_from_backup",
    "schema_versioned_lock_file",
    "setup_db",
    "should_run",
    "truncate_appname",
    "try_setup_db",
]
