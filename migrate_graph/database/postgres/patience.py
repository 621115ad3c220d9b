"""Waits for a server outside of a migration's body: says what for, hears signals, and has a limit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from msgspec import Struct

from migrate_graph.core.events import Connecting, Observer
from migrate_graph.errors import DatabaseUnreachable
from migrate_graph.signals import Interruption, start_thread

_Value = TypeVar("_Value")

# Seconds: until it is said what is waited for, from then on how often, what a signal leaves for an answer, and a look at signals.
_FIRST_WORD = 1.5
_NEXT_WORD = 10.0
_LAST_WORDS = 0.7
_GLANCE = 0.2


class Patience:
    """Looks after calls that may block in the driver, where no signal handler of Python runs: one thread for a whole run.

    Attributes:
        observer: told what is waited for.
        interruption: ends the waiting.
        glancing: held while somebody looks at a wait.
    """

    def __init__(self, *, limit: float, look: Callable[[int], str]) -> None:
        """Make one for a run.

        Args:
            limit: seconds that a call may take.
            look: finds out, through a new connection, what a server process waits for.
        """
        self.observer: Observer = lambda _event: None
        self.interruption = Interruption()
        self._limit = limit
        self._look = look
        self._owner = threading.get_ident()
        self._now: _Waiting | None = None
        self._looking = False
        self._closed = threading.Event()
        self.glancing = threading.Lock()

    def run(self, connection: Any, doing: str, function: Callable[..., _Value], *arguments: Any) -> _Value:
        """Run a call on a connection and give its value; what it raises passes.

        A wait that is ended first cancels what the server does, and if that does not help cuts the connection.

        Args:
            connection: what the call works on.
            doing: what it does, for the words (`recording the success of invoices_2`).
            function: called with `arguments`.
            arguments: of it.

        Raises:
            Stopped: a signal arrived, and there was no answer.
            DatabaseUnreachable: there was no answer within the limit.
        """
        if threading.get_ident() != self._owner:  # the watcher: whoever waits for it does not wait long
            return function(*arguments)
        if not self._looking:
            start_thread(self._look_after, name="statements")
            self._looking = True
        waiting, before = _Waiting(self, connection, doing), self._now
        self._now = waiting
        try:
            value = function(*arguments)
        except BaseException as error:
            waiting.over()
            waiting.judge(error)
            raise
        finally:
            self._now = before
            waiting.over()
        return value

    def _look_after(self) -> None:
        while not self._closed.wait(_GLANCE):
            with suppress(Exception):  # who only looks must not end
                self._glance()

    def _glance(self) -> None:
        if (waiting := self._now) is not None:
            waiting.glance()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def say(self, waited: float, reason: str) -> None:
        """Report what is waited for."""
        self.observer(Connecting(waited, reason))

    def look(self, connection: Any) -> str:
        """Return what a connection's server process waits for; empty when that cannot be found out."""
        with suppress(Exception):  # there may be no second connection to be had
            return self._look(getattr(connection, "server_pid", 0))
        return ""

    @property
    def limit(self) -> float:
        """Seconds that a call may take."""
        return self._limit


class _Seen(Struct):
    """What was done about a wait.

    Attributes:
        next_word: seconds of waiting after which it is said what for.
        reason: for it, as the server knows.
        looked: somebody is asking the server.
        canceller: cancels what the server does.
        cancelled_at: when that was begun.
        cut: the connection was cut.
    """

    next_word: float = _FIRST_WORD
    reason: str = ""
    looked: bool = False
    canceller: threading.Thread | None = None
    cancelled_at: float = 0.0
    cut: bool = False


class _Waiting:
    """One wait, from the first glance at the clock."""

    __slots__ = ("_connection", "_doing", "_is_over", "_patience", "_seen", "_started", "_was_stopped")

    def __init__(self, patience: Patience, connection: Any, doing: str) -> None:
        self._patience = patience
        self._connection = connection
        self._doing = doing
        self._started = time.monotonic()
        self._was_stopped = patience.interruption.is_heard
        self._is_over = False
        self._seen: _Seen | None = None  # most waits are over before anybody looks

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._started

    def glance(self) -> None:
        """Report what is waited for, and end the waiting when it is time to."""
        with self._patience.glancing:
            if not self._is_over:
                self._seen = self._seen or _Seen()
                self._glance(self._seen)

    def over(self) -> None:
        """End the looks at the wait: the next call on the connection is another one, and must not be cancelled."""
        with self._patience.glancing:
            self._is_over, self._connection = True, None  # held by nobody who only looks
        if self._seen is not None and self._seen.canceller is not None:
            self._seen.canceller.join(_LAST_WORDS)

    def _glance(self, seen: _Seen) -> None:
        if not seen.looked and self._waited >= _FIRST_WORD / 2:
            seen.looked = True
            start_thread(self._find_out, seen, name="look")
        if self._waited >= seen.next_word and not self._patience.interruption.is_heard:
            seen.next_word = self._waited + _NEXT_WORD
            seen.looked = False
            self._patience.say(self._waited, f"{self._doing}: {seen.reason or 'no answer so far'}")
        if self._has_ended():
            self._end(seen)

    def _find_out(self, seen: _Seen) -> None:
        seen.reason = self._patience.look(self._connection) or seen.reason

    def _has_ended(self) -> bool:
        if self._patience.interruption.is_heard:  # what is asked after a signal has a moment of its own
            return not self._was_stopped or self._waited >= _LAST_WORDS
        return self._waited >= self._patience.limit

    def _end(self, seen: _Seen) -> None:
        if seen.canceller is None:
            seen.cancelled_at = time.monotonic()
            seen.canceller = start_thread(self._cancel, name="cancel")
        elif time.monotonic() - seen.cancelled_at >= _LAST_WORDS and not seen.cut:
            seen.cut = True
            with suppress(Exception):  # its socket may be gone already
                cut(self._connection)

    def _cancel(self) -> None:
        with suppress(Exception):
            self._connection.cancel()

    def judge(self, error: BaseException) -> None:
        """Raise why there was no answer, if it was we who ended the waiting."""
        seen = self._seen
        if seen is None or seen.canceller is None or isinstance(error, KeyboardInterrupt):
            return
        self._patience.interruption.check()
        raise DatabaseUnreachable(
            f"the server gave no answer within {self._waited:.0f} s ({self._doing}: {seen.reason or 'it gives no reason'})",
            hint="end what it waits for, then run again; connect_wait sets how long to wait",
        ) from error


def cut(connection: Any) -> None:
    """Cut a connection on which a call hangs in another thread; closing it would wait for that call."""
    with socket.socket(fileno=connection.fileno()) as link:
        try:
            link.shutdown(socket.SHUT_RDWR)
        finally:
            link.detach()
