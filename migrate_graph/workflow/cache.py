"""The application's cache: that it must be flushed is written down before the database changes, so that a killed run leaves it to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.history import FLUSH
from migrate_graph.errors import PendingTaskFailed

if TYPE_CHECKING:
    from migrate_graph.config import Config
    from migrate_graph.database import Backend
    from migrate_graph.signals import Interruption


def require_address(config: Config) -> None:
    """Check the setting `redis_host` before anything runs.

    Raises:
        ConfigError: it is not an address, or the redis package is missing.
    """
    if config.redis_host:
        from migrate_graph.redis_cache import check_address

        check_address(config.redis_host)


def remember_flush(config: Config, backend: Backend, *, run: str | None = None) -> None:
    """Write down that the cache must be flushed: if this process dies, the next run does it."""
    if config.redis_host:
        backend.add_task(FLUSH, run=run or str(uuid4()))


def flush_before_restore(config: Config, observer: Observer, interruption: Interruption) -> None:
    """Flush the cache while the database is still empty; a failure is only a warning, as it is flushed again after the restore.

    An empty database has no place where a pending flush can be written down. If this process is killed before the restored one has it,
    the cache holds nothing of an earlier database all the same: it is flushed, and nothing could be read from an empty database since.
    """
    _flush_or_warn(
        config, observer, interruption, when="before the restore", hint="it is tried again after the restore"
    )


def flush_after_restore(config: Config, observer: Observer, interruption: Interruption) -> None:
    """Flush the cache where it could not be written down that this is pending; a failure is only a warning."""
    _flush_or_warn(config, observer, interruption, when="after the restore", hint="empty it by hand: no run will do it")


def _flush_or_warn(config: Config, observer: Observer, interruption: Interruption, *, when: str, hint: str) -> None:
    if config.redis_host:
        try:
            _flush(config, observer, interruption)
        except PendingTaskFailed as error:
            observer(Warned(f"{when}, {error.message}", hint))


def flush(config: Config, backend: Backend, observer: Observer, interruption: Interruption) -> PendingTaskFailed | None:
    """Flush the cache, and forget that this was pending; return the failure, or None."""
    if not config.redis_host:
        return None
    try:
        _flush(config, observer, interruption)
    except PendingTaskFailed as error:
        return error
    backend.finish_task(FLUSH)
    return None


def leave_alone(config: Config, backend: Backend, observer: Observer) -> None:
    """Report that nothing changed, so that the cache is not flushed."""
    if config.redis_host:
        observer(Warned("nothing changed, so the cache was left alone"))
        backend.finish_task(FLUSH)


def _flush(config: Config, observer: Observer, interruption: Interruption) -> None:
    from migrate_graph.redis_cache import flush as flush_redis

    observer(Warned(flush_redis(config.redis_host or "", observer=observer, interruption=interruption)))
