"""Set up a new database: `recover_database_from_backup` and `try_setup_db`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from migrate_graph.compat.connections import setup_db
from migrate_graph.compat.exceptions import BackupNotFound, DatabaseNotYetInitialized, caught_as_before
from migrate_graph.compat.runs import session_of
from migrate_graph.compat.settings import get_config
from migrate_graph.config import Config


@caught_as_before()
def recover_database_from_backup(
    set_schema: str | bool | None = None, config: Config | None = None, postgres_client: Any = None
) -> None:
    """Restore the backup into a database that is proved empty: all of it or nothing.

    Args:
        set_schema: search_path during the restore; None: the configured one.
        config: the settings; None: `get_config()`.
        postgres_client: `psql`, as a path or a plumbum command; None: the one on PATH. It is used only for a trusted backup that
            contains commands of psql; everything else is sent to the server by the driver, also when this is a command with arguments.

    Raises:
        BackupNotFound: there is no backup.
        RestoreError: the backup was refused, or the restore failed; the database is as it was.
        PendingTaskFailed: the backup is restored, and the cache could not be flushed.
    """
    from migrate_graph.cli.progress import PlainProgress
    from migrate_graph.database.backup.dump import find_dump
    from migrate_graph.workflow.restore import restore_database

    config = copy.copy(config or get_config())
    if set_schema is not None:
        config.update(_skip_none=False, schema=None if set_schema is True else set_schema)
    wanted = config.database_to_restore
    backup = find_dump(Path(wanted).absolute(), is_default=True) if wanted else None
    if backup is None:
        raise BackupNotFound(f"the backup {wanted!r} does not exist", hint="set database_to_restore to the file")
    psql = str(getattr(postgres_client, "executable", postgres_client)) if postgres_client is not None else None
    with PlainProgress(session_of(config).console) as progress:
        restore_database(config, backup, lock_wait=None, observer=progress, psql=psql)


@caught_as_before()
def try_setup_db(config: Config | None = None, max_time: int = 600) -> Any:
    """Connect to the database. One without a ledger table is first restored from the backup; without a backup, the table is created.

    Args:
        config: the settings; None: `get_config()`.
        max_time: seconds to wait for a database that does not answer.

    Raises:
        DatabaseUnreachable: the database did not answer.
        RestoreError: the backup was refused; the database is as it was.
        PendingTaskFailed: the backup is restored, and the cache could not be flushed.
    """
    from migrate_graph.database import open_backend
    from migrate_graph.workflow.project import database_settings

    config = config or get_config()
    with open_backend(database_settings(config, connect_wait=max_time)):
        pass  # the database answers
    try:
        return setup_db(config=config)
    except DatabaseNotYetInitialized as error:
        error.args[1].close()
    try:
        recover_database_from_backup(config=config)
    except BackupNotFound:
        return setup_db(migrate=True, migrate_enabled=True, config=config, remove_migrate_tablefile=True)
    return setup_db(config=config)
