"""Empty the application's Redis cache after the database changed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from migrate_graph.core.events import Observer, Warned, ignore_events
from migrate_graph.errors import ConfigError, PendingTaskFailed
from migrate_graph.redaction import redact, redact_uri, secrets_of
from migrate_graph.signals import Interruption, aside

if TYPE_CHECKING:
    from redis import Redis

_ADDRESS = re.compile(
    r"""rediss?://([^@/\s]*@)?(\[[0-9a-f:.]+\]|[^\s:/@\[\]?]+)(:\d{1,5})?(/\d*)?(\?\S*)? | unix://([^@/\s]*@)?/.+""",
    re.VERBOSE | re.IGNORECASE,
)
_BATCH = 1000

_CHECK_EVERY = 0.2
"""Seconds between two checks whether a signal has arrived."""
_FIRST_REPORT = 1.5
_EVERY = 10.0


def check_address(host: str) -> str:
    """Return the URL for a setting `redis_host`, which may be `redis://…`, `rediss://…`, `unix://…`, `host` or `host:port`.

    Raises:
        ConfigError: it is not an address, or the redis package is missing; no connection was made.
    """
    scheme, mark, rest = host.partition("://")
    url = f"{scheme.lower()}://{rest}" if mark else f"redis://{host}"
    if not _ADDRESS.fullmatch(url):
        raise _no_address(host)
    try:
        import redis
    except ImportError:
        raise ConfigError(
            "redis_host is set, but the redis package is not installed", hint="pip install 'migrate-graph[redis]'"
        ) from None
    try:
        pool = redis.ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)  # checks the options; it connects only when it is used
    except (redis.RedisError, TypeError, ValueError) as error:
        raise _no_address(host, f": {redact(str(error), *secrets_of(url))}") from None
    return url


def _no_address(host: str, why: str = "") -> ConfigError:
    return ConfigError(
        f"redis_host = {redact_uri(host)!r} is no address{why}",
        hint="write host, host:port, redis://:password@host:port/0, rediss://… or unix:///path/to/socket",
    )


def flush(
    host: str,
    *,
    observer: Observer = ignore_events,
    interruption: Interruption | None = None,
    timeout: float = 5.0,
    tries: int = 3,
    limit: float = 120.0,
) -> str:
    """Remove every key of the Redis database that the address names (database 0 when it names none).

    Args:
        host: the setting `redis_host`.
        observer: gets a warning from time to time while the server does not answer.
        interruption: ends the waiting when a signal arrives.
        timeout: seconds for connecting and for each answer.
        tries: how often to try when the server does not answer.
        limit: seconds for everything together; it also ends the work with a server that keeps answering, but too slowly.

    Returns:
        What was done, in one line without secrets.

    Raises:
        PendingTaskFailed: the cache was not flushed.
        Stopped: a signal arrived.
    """
    try:
        url = check_address(host)
    except ConfigError as error:
        raise PendingTaskFailed(error.message, hint=error.hint) from None
    import redis

    label, secrets = redact_uri(url), secrets_of(url)
    try:
        waiting = _Waiting(f"the cache {label}", observer, interruption or Interruption(), limit)
        done = aside(
            lambda: _flush_with_retries(url, timeout=timeout, tries=tries),
            name="cache",
            every=_CHECK_EVERY,
            meanwhile=waiting.look,
        )
    except (redis.RedisError, OSError, ValueError) as error:
        told = redact(" ".join(str(error).split()), *secrets) or type(error).__name__
        raise PendingTaskFailed(
            f"the cache {label} could not be flushed: {told}", hint=f"{_hint(error)}; the next `migrate` tries again"
        ) from None
    return f"flushed the cache {label} ({done})"


class _Waiting:
    """Checks, while this process waits, whether to warn or to stop waiting.

    Args:
        what: the thing that is waited for, for the messages.
        observer: gets the warnings.
        interruption: ends the waiting when a signal arrives.
        limit: seconds after which the waiting ends.
    """

    def __init__(self, what: str, observer: Observer, interruption: Interruption, limit: float) -> None:
        self._what, self._observer, self._interruption, self._limit = what, observer, interruption, limit
        self._next_word = _FIRST_REPORT

    def look(self, waited: float) -> None:
        """Warn when the next warning is due; called again and again with the seconds waited so far.

        Raises:
            Stopped: a signal arrived.
            TimeoutError: the limit is reached.
        """
        self._interruption.check()
        if waited >= self._limit:
            raise TimeoutError(f"it was not done within {self._limit:.0f} s")
        if waited >= self._next_word:
            self._observer(
                Warned(f"waiting for {self._what}: no answer for {waited:.0f} s, at most {self._limit:.0f} s")
            )
            self._next_word = waited + _EVERY


def _flush_with_retries(url: str, *, timeout: float, tries: int) -> str:
    """Connect and empty the database, with retries; those of redis-py are switched off, as they differ between its versions."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    for tried in range(1, tries + 1):
        try:
            with redis.Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
            ) as client:
                return _empty(client)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if tried == tries or isinstance(error, redis.AuthenticationError):
                raise
        time.sleep(0.1 * tried)
    raise AssertionError("tries is less than 1")


def _empty(client: Redis) -> str:
    """Empty the database, and return the name of the command that did it."""
    import redis

    try:
        client.flushdb(asynchronous=True)
    except (redis.exceptions.NoPermissionError, redis.exceptions.ResponseError) as error:
        if isinstance(error, redis.exceptions.ReadOnlyError | redis.exceptions.AuthenticationError):
            raise
        # FLUSHDB is forbidden to this user, or renamed by a hosting provider. KEYS is not used: it blocks the server for seconds.
        return f"{_unlink_all(client)} keys by SCAN and UNLINK, because FLUSHDB is denied"
    return "FLUSHDB ASYNC"


def _unlink_all(client: Redis) -> int:
    removed = 0
    batch: list[Any] = []
    for key in client.scan_iter(count=_BATCH):
        batch.append(key)
        if len(batch) >= _BATCH:
            removed += int(client.unlink(*batch))
            batch.clear()
    return removed + (int(client.unlink(*batch)) if batch else 0)


def _hint(error: Exception) -> str:
    import redis

    if isinstance(error, redis.exceptions.AuthenticationError):
        return "check user and password in redis_host"
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return "redis_host is a read-only replica: name the primary"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "allow the Redis user FLUSHDB, or SCAN and UNLINK"
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError | OSError):
        return "is Redis running, and is redis_host right?"
    return "look at redis_host and at the Redis server"
