"""Connect for writing and take the lock: every use case that changes a database starts with this."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrate_graph.core.events import Observer
from migrate_graph.database import open_backend
from migrate_graph.errors import DatabaseRefused, DatabaseUnreachable
from migrate_graph.signals import Interruption
from migrate_graph.workflow.project import database_settings, require_database

if TYPE_CHECKING:
    from migrate_graph.config import Config
    from migrate_graph.database import Backend, Lock


@contextmanager
def locked(
    config: Config, observer: Observer, *, wait: float | None = None
) -> Iterator[tuple[Backend, Lock, Interruption]]:
    """Connect for writing and hold the lock inside the block; a signal stops the block in an orderly way.

    Args:
        config: the settings.
        observer: called while the database or the lock is waited for.
        wait: seconds to wait for the lock; None: the configured ones.
    """
    require_database(config)
    interruption = Interruption()
    patience = config.lock_timeout_wait if wait is None else wait
    with (
        interruption.listening(),
        open_backend(database_settings(config), observer=observer, interruption=interruption, writing=True) as backend,
        backend.lock(wait=patience, observer=observer, interruption=interruption) as lock,
    ):
        yield backend, lock, interruption


@contextmanager
def recording(backend: Backend) -> Iterator[None]:
    """Write records in one transaction; if the connection is lost meanwhile, say what has become of them.

    Args:
        backend: the database; the lock is held.

    Raises:
        DatabaseUnreachable: the connection was lost. Only a COMMIT that was sent may have been carried out.
    """
    is_committing = False
    try:
        with backend.together():
            yield
            is_committing = True
    except DatabaseUnreachable as error:
        if is_committing:
            told, hint = (
                "it is not known whether this was recorded",
                "migrate status shows that when the database answers",
            )
        else:
            told, hint = "nothing was recorded", "run it again when the database answers"
        raise DatabaseUnreachable(f"{error.message}; {told}", hint=hint) from error


@contextmanager
def following(done: str, hint: str) -> Iterator[None]:
    """Do what follows a change that is committed; if the database fails meanwhile, say that the change stands.

    Args:
        done: the change, in words.
        hint: what to do then. To run the command again would be refused.

    Raises:
        DatabaseUnreachable: the connection was lost.
        DatabaseRefused: the database refused a statement.
    """
    try:
        yield
    except DatabaseUnreachable as error:
        raise DatabaseUnreachable(f"{done}, but what follows was not done: {error.message}", hint=hint) from error
    except DatabaseRefused as error:
        told = f"{done}, but what follows was not done: {error.message}"
        raise DatabaseRefused(told, hint=f"{error.hint}\n{hint}") from error
