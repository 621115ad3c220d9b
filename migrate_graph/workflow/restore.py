"""Restore a backup into a database that the catalog proves empty."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.config import SourceKind
from migrate_graph.core.events import Observer
from migrate_graph.errors import DatabaseError, PendingTaskFailed, RestoreError
from migrate_graph.workflow.locked import following, locked

if TYPE_CHECKING:
    from migrate_graph.config import Config
    from migrate_graph.database import Backend
    from migrate_graph.signals import Interruption


def restore_database(
    config: Config, backup: Path | None, *, lock_wait: float | None, observer: Observer, psql: str | None = None
) -> Path:
    """Restore a backup into a database that is proved empty; return the file that was restored.

    Args:
        config: the settings.
        backup: the file; None: the configured one.
        lock_wait: seconds to wait while another run holds the lock; None: the configured ones.
        observer: called with the progress.
        psql: path of the program, for PostgreSQL; None: it is looked for on PATH.

    Raises:
        RestoreError: there is no backup, it is refused, or the database is not empty.
        PendingTaskFailed: the backup is restored, and the cache could not be flushed; the next run of `apply` does it.
    """
    from migrate_graph.workflow.cache import flush, flush_after_restore, remember_flush, require_address

    require_address(config)
    with locked(config, observer, wait=lock_wait) as (backend, _, interruption):
        if backend.has_ledger():
            raise RestoreError(
                f"{backend.label} already has the table {config.migrate_table}",
                hint="a backup goes into an empty database only",
            )
        restored = restore(backend, config, observer, interruption, backup=backup, psql=psql)
        if restored is None:
            raise RestoreError(
                "there is no backup to restore", hint="name the file, or set database_to_restore in [tool.migrate]"
            )
        try:
            with _following():
                backend.prepare()
                remember_flush(config, backend)
        except DatabaseError:
            flush_after_restore(config, observer, interruption)
            raise
        _renew_views(backend)
        with _following():
            failed = flush(config, backend, observer, interruption)
        if failed:
            raise PendingTaskFailed(f"the backup is restored, but {failed.message}", hint=failed.hint)
        return restored


def _following() -> AbstractContextManager[None]:
    """See `locked.following`."""
    return following(
        "the backup is restored", "go on with migrate status, then migrate apply: they make what is missing"
    )


def _renew_views(backend: Backend) -> None:
    """Store the definitions of the views again: since the restore the server may write them differently."""
    from migrate_graph.executor.own_work import working

    failed = "the backup is restored, but the definitions of its views could not be stored as this server writes them"
    hint = (
        "go on with migrate status: a view of which it says that it was changed by hand may only be written differently"
    )
    with working(backend, "renewal of views", failed=failed, hint=hint) as work:
        work.views.renew()
        work.db.commit()


def restore(
    backend: Backend,
    config: Config,
    observer: Observer,
    interruption: Interruption,
    *,
    backup: Path | None = None,
    psql: str | None = None,
) -> Path | None:
    """Restore the backup, if there is one, into a database that the catalog proves empty; return the file.

    Raises:
        RestoreError: the database is not empty, or the backup is refused.
        Stopped: a signal arrived; the database is as it was.
    """
    from migrate_graph.database.backup.dump import verify

    found = backup_for(backend, config, named=backup)
    if found is None:
        return None
    from migrate_graph.workflow.cache import flush_before_restore

    with interruption.stopping(lambda: None):  # the signal itself ends the wait for psql, and psql is ended then
        dump = verify(
            found,
            kind=backend.kind,
            cat_command=config.migrate_cat_command,
            size_limit=config.restore_size_limit,
            trusted=config.restore_trusted,
            observer=observer,
        )
        flush_before_restore(config, observer, interruption)
        backend.restore(dump, observer=observer, psql=psql)
    return found


def backup_for(backend: Backend, config: Config, *, named: Path | None = None) -> Path | None:
    """Return the backup that goes into a database without a ledger; None when there is none.

    Args:
        backend: the database.
        config: the settings.
        named: the file; None: the configured one.

    Raises:
        RestoreError: the configured backup does not exist, or the database is not empty.
    """
    found = named or configured_backup(config)
    if relations := backend.user_relations():
        from migrate_graph.workflow.no_ledger import refusal

        raise refusal(backend.label, relations, config.migrate_table)
    return found


def configured_backup(config: Config) -> Path | None:
    """Return the configured backup file; None when none is configured, or when the default file does not exist."""
    from migrate_graph.database.backup.dump import find_dump

    if not config.database_to_restore:
        return None
    is_default = config.sources["database_to_restore"].kind is SourceKind.DEFAULT
    return find_dump(Path(config.database_to_restore).absolute(), is_default=is_default)
