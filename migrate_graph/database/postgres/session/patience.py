"""Runs calls that may block, outside of a migration's body: reports what the server waits for, ends the wait at a signal or a time limit."""

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

# Seconds: of a wait before the first report; between reports; for an answer after a signal; between two checks.
_FIRST_REPORT = 1.5
_NEXT_REPORT = 10.0
_GRACE = 0.7
_CHECK_EVERY = 0.2


class Patience:
    """Watches, in one thread for a whole run, calls that may block in the driver, where Python runs no signal handler.

    Attributes:
        observer: receives the reports of what is waited for.
        interruption: tells that a signal wants the waiting to end.
        checking: lock, held while a thread checks or ends a wait.
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
        self.checking = threading.Lock()

    def run(self, connection: Any, doing: str, function: Callable[..., _Value], *arguments: Any) -> _Value:
        """Run a call on a connection and return its value; its exceptions pass.

        To end a wait, the running statement is cancelled first; if that does not help, the connection is cut.

        Args:
            connection: the one that the call uses.
            doing: what the call does, for the reports (`recording the success of invoices_2`).
            function: called with `arguments`.
            arguments: for `function`.

        Raises:
            Stopped: a signal arrived, and there was no answer.
            DatabaseUnreachable: there was no answer within the limit.
        """
        if threading.get_ident() != self._owner:  # the executor's watcher, for which nobody waits long
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
        while not self._closed.wait(_CHECK_EVERY):
            with suppress(Exception):  # the watching thread must go on after an error
                self._check_all()

    def _check_all(self) -> None:
        if (waiting := self._now) is not None:
            waiting.check()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def say(self, waited: float, reason: str) -> None:
        """Send a report of what is waited for to the observer."""
        self.observer(Connecting(waited, reason))

    def look(self, connection: Any) -> str:
        """Return what a connection's server process waits for; empty when that cannot be found out."""
        with suppress(Exception):  # the server may allow no second connection
            return self._look(getattr(connection, "server_pid", 0))
        return ""

    @property
    def limit(self) -> float:
        """Seconds that a call may take."""
        return self._limit


class _Seen(Struct):
    """The state of a wait that has lasted until the first check.

    Attributes:
        next_report: seconds of waiting after which the next report is sent.
        reason: what the server waits for, in words.
        looked: a thread was started that asks the server for the reason.
        canceller: the thread that cancels the running statement; None before.
        cancelled_at: when that thread was started, on the monotonic clock.
        cut: the connection was cut.
    """

    next_report: float = _FIRST_REPORT
    reason: str = ""
    looked: bool = False
    canceller: threading.Thread | None = None
    cancelled_at: float = 0.0
    cut: bool = False


class _Waiting:
    """One call that may block, and what was done about its wait."""

    __slots__ = ("_connection", "_doing", "_is_over", "_patience", "_seen", "_started", "_was_stopped")

    def __init__(self, patience: Patience, connection: Any, doing: str) -> None:
        self._patience = patience
        self._connection = connection
        self._doing = doing
        self._started = time.monotonic()
        self._was_stopped = patience.interruption.is_heard
        self._is_over = False
        self._seen: _Seen | None = None  # most waits are over before the first check

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._started

    def check(self) -> None:
        """Check the wait: report what is waited for, and end the wait at a signal or at the limit."""
        with self._patience.checking:
            if not self._is_over:
                self._seen = self._seen or _Seen()
                self._check(self._seen)

    def over(self) -> None:
        """Note that the call is over: it is not checked any more, so the next call on the connection cannot be cancelled by mistake."""
        with self._patience.checking:
            self._is_over, self._connection = True, None  # no thread may keep a reference to the connection
        if self._seen is not None and self._seen.canceller is not None:
            self._seen.canceller.join(_GRACE)

    def _check(self, seen: _Seen) -> None:
        if not seen.looked and self._waited >= _FIRST_REPORT / 2:
            seen.looked = True
            start_thread(self._find_out, seen, name="look")
        if self._waited >= seen.next_report and not self._patience.interruption.is_heard:
            seen.next_report = self._waited + _NEXT_REPORT
            seen.looked = False
            self._patience.say(self._waited, f"{self._doing}: {seen.reason or 'no answer so far'}")
        if self._has_ended():
            self._end(seen)

    def _find_out(self, seen: _Seen) -> None:
        seen.reason = self._patience.look(self._connection) or seen.reason

    def _has_ended(self) -> bool:
        if self._patience.interruption.is_heard:  # a call that began after the signal has a short time limit of its own
            return not self._was_stopped or self._waited >= _GRACE
        return self._waited >= self._patience.limit

    def _end(self, seen: _Seen) -> None:
        if seen.canceller is None:
            seen.cancelled_at = time.monotonic()
            seen.canceller = start_thread(self._cancel, name="cancel")
        elif time.monotonic() - seen.cancelled_at >= _GRACE and not seen.cut:
            seen.cut = True
            with suppress(Exception):  # its socket may be gone already
                cut(self._connection)

    def _cancel(self) -> None:
        with suppress(Exception):
            self._connection.cancel()

    def judge(self, error: BaseException) -> None:
        """Raise why there was no answer, if the wait was ended here; `error` is what the call raised."""
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
