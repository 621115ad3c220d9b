"""Signals, turned into an orderly stop: at once in a migration's body, at the next safe point elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from migrate_graph.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# A cancel request that reaches the server just before the statement does is lost, so it is repeated.
_CANCEL_EVERY = 0.2


class StopNow(BaseException):
    """Raised inside a migration's body when a signal arrives; no `except Exception` there may swallow it."""


class Interruption:
    """What a run knows about signals.

    Attributes:
        signal: number of the signal that asked the run to stop; 0 while none did.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._cancel: Callable[[], None] | None = None
        self._arrived = threading.Event()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM, SIGINT and SIGHUP; outside the main thread Python allows none, and nothing is done.

        The handlers of Python run only between bytecodes, so while a driver waits in C they come late (5.5 s were measured). A
        thread that reads the wakeup file descriptor cancels the running statement at once. A second signal ends the process.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS if _is_ours_to_take(number)}
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(reader,), name="migrate_graph signals", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(writer)
            watcher.join(timeout=2)

    @contextlib.contextmanager
    def interruptible(self, cancel: Callable[[], None]) -> Iterator[None]:
        """While inside, a signal raises `StopNow` here, and calls `cancel` from another thread to end a blocking statement."""
        self._cancel = cancel
        try:
            self.check()  # a signal between the check and the line above would be slept over
            yield
        finally:
            self._cancel = None

    @contextlib.contextmanager
    def stopping(self, cancel: Callable[[], None]) -> Iterator[None]:
        """The same for work of our own: whatever a signal cuts short is left as `Stopped`.

        Raises:
            Stopped: a signal arrived.
        """
        try:
            with self.interruptible(cancel):
                yield
        except BaseException:
            self.check()
            raise

    def check(self) -> None:
        """Stop here if a signal has arrived.

        Raises:
            Stopped: with the signal's number.
        """
        if self.signal:
            raise Stopped(f"stopped by {signal.Signals(self.signal).name}", signal=self.signal)

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until a signal arrives.

        Raises:
            Stopped: a signal arrived.
        """
        self._arrived.wait(seconds)
        self.check()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            _leave(number)
        self.signal = number
        self._arrived.set()
        if self._cancel is not None:
            raise StopNow(number)

    def _watch(self, reader: int) -> None:
        asked = 0
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while received := pipe.read(1):
                if received[0] not in SIGNALS or signal.getsignal(received[0]) != self._on_signal:
                    continue
                if asked:
                    _leave(received[0])
                asked = received[0]
                threading.Thread(target=self._cancel_until_quiet, name="migrate_graph cancel", daemon=True).start()

    def _cancel_until_quiet(self) -> None:
        while (cancel := self._cancel) is not None:
            with contextlib.suppress(Exception):  # the connection may be gone, which is what was wanted
                cancel()
            threading.Event().wait(_CANCEL_EVERY)


def _is_ours_to_take(number: int) -> bool:
    """Leave a signal that somebody chose to ignore (`nohup`), and one whose handler is not Python's and could not be put back."""
    return signal.getsignal(number) not in {signal.SIG_IGN, None}


def _leave(number: int) -> None:
    """End the process now: whoever signals twice does not want to wait for a rollback (the server does it for us).

    What was printed is flushed, unless the stream is what everything hangs on.
    """
    flusher = threading.Thread(target=_flush, name="migrate_graph last words", daemon=True)
    flusher.start()
    flusher.join(timeout=0.5)
    os._exit(128 + number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
