"""Signals, turned into an orderly stop: at once in a migration's body, at the next safe point elsewhere."""

from __future__ import annotations

import _thread
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import getsignal
from time import monotonic, sleep
from types import FrameType
from typing import Any, TypeVar

from migrate_graph import forks, supervisor
from migrate_graph.errors import Stopped
from migrate_graph.lacking import no_thread
from migrate_graph.process_end import really_exit
from migrate_graph.supervisor import Supervisor

SIGNALS = forks.SIGNALS

# A cancel request that reaches the server just before the statement does is lost, so it is repeated.
_CANCEL_EVERY = 0.2

# Where a signal reaches the main thread just before that begins to wait in C (`time.sleep`), Python has noted it, but the wait goes on.
# Another signal ends the wait. This one is ignored by default, so nobody else acts on it. Windows has none.
_WAKES = getattr(signal, "SIGURG", None)
_pthread_kill: Any = getattr(signal, "pthread_kill", None)

# Seconds after which a server that does not even answer to a cancel request is hung up on.
_HANG_UP_AFTER = 1.2

# `timeout` and service managers signal a process and its group at once: that is one signal, not two.
_SAME = 0.0002

_STOP, _END = 0, 1  # what the threads that end waits are told


_Value = TypeVar("_Value")


def start_thread(target: Callable[..., None], *arguments: Any, name: str) -> threading.Thread:
    """Start a thread of ours, and return it.

    Raises:
        NoRoom: there is no memory for one.
    """
    thread = threading.Thread(target=target, args=arguments, name=f"migrate_graph {name}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread(error) from None
    return thread


def aside(work: Callable[[], _Value], *, name: str, every: float, meanwhile: Callable[[float], None]) -> _Value:
    """Run work in a thread of its own, and return what it gives.

    Sockets and name servers wait in C, where no handler of a signal runs, and say nothing.

    Args:
        work: what is done. Where the waiting ends before it, it goes on, and nobody hears of it.
        name: of the thread.
        every: seconds between two calls of `meanwhile`.
        meanwhile: called with the seconds waited so far; what it raises ends the waiting.

    Raises:
        NoRoom: there is no memory for one.
    """
    done = threading.Event()
    given: list[_Value] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            raised.append(error)
        done.set()

    started = monotonic()
    start_thread(run, name=name)
    while not done.wait(every):
        meanwhile(monotonic() - started)
    for error in raised:
        raise error
    return given[0]


class StopNow(BaseException):
    """Raised inside a migration's body when a signal arrives; no `except Exception` there may swallow it."""


class Interruption:
    """What a run knows about signals.

    Args:
        leads: a second signal ends this process, and it has a supervisor; False in one that another process does that for.

    Attributes:
        signal: number of the signal that asked the run to stop; 0 while none did.
    """

    def __init__(self, *, leads: bool = True) -> None:
        self.signal = 0
        self._leads = leads
        self._heard = 0.0
        self._cancel: Callable[[], None] | None = None
        self._hang_up: Callable[[], None] | None = None
        # Not an Event: its lock is held for a moment by whoever waits, and a handler that runs just then would wait for itself.
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._to_cancel: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._to_hang_up: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._handlers: dict[int, Any] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._supervisor: Supervisor | None = None
        self._is_told = False

    # -- listening ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM, SIGINT and SIGHUP; outside the main thread Python allows none, and nothing is done.

        The handlers of Python run only between bytecodes, so while a driver waits in C they come late (5.5 s were measured). A
        thread that reads the wakeup file descriptor has the running statement cancelled at once. A second signal ends the process;
        where a function in C keeps the interpreter, so that neither is heard, a supervisor does.

        Raises:
            MigrateGraphError: there is no memory for a thread.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reader, writer = self._ends = socket.socketpair()
        os.set_blocking(writer.fileno(), False)
        # Started before any signal can arrive: to start one then could need a lock that the interrupted code holds.
        start_thread(self._listen, reader, name="signals")
        start_thread(self._cancel_when_heard, name="cancel")
        start_thread(self._hang_up_when_heard, name="hang up")
        self._handlers = {number: getsignal(number) for number in SIGNALS if _is_ours_to_take(number)}
        if _WAKES is not None and getsignal(_WAKES) is signal.SIG_DFL:
            self._handlers[_WAKES] = signal.SIG_DFL
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        forget = forks.on_fork(self._put_aside)
        try:
            for number in self._handlers:
                signal.signal(number, _wake if number is _WAKES else self._on_signal)
            yield
        finally:
            forget()
            signal.set_wakeup_fd(previous)
            self._give_handlers_back()
            self._to_cancel.put(_STOP)
            self._to_hang_up.put(_STOP)
            if self._supervisor:
                self._supervisor.let_go()
            self._close()

    @contextmanager
    def overhearing(self) -> Iterator[None]:
        """Hear of Ctrl-C while a driver waits in C, where nobody listens: Python's own handler runs when that has ended.

        Nothing is done outside the main thread, nor where a program has a wakeup pipe of its own.
        """
        if threading.current_thread() is not threading.main_thread() or self._handlers:
            yield
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
        else:
            start_thread(self._overhear, reader, name="Ctrl-C")
        forget = forks.on_fork(_hear_nothing)
        try:
            yield
        finally:
            forget()
            if before == -1:
                if (now := signal.set_wakeup_fd(-1)) != writer:  # an event loop has taken it meanwhile
                    signal.set_wakeup_fd(now)
            else:
                os.close(reader)
            os.close(writer)

    def _overhear(self, reader: int) -> None:
        with suppress(OSError), os.fdopen(reader, "rb", buffering=0) as pipe:
            while received := pipe.read(4096):
                self._is_told = self._is_told or signal.SIGINT in received

    @property
    def is_listening(self) -> bool:
        """Whether Ctrl-C is ours: a `KeyboardInterrupt` is then raised by the body, or by a handler of its own."""
        return bool(self._handlers)

    @property
    def is_heard(self) -> bool:
        """Whether a signal has arrived, also one that Python's handlers do not know of yet."""
        return bool(self.signal) or self._is_told

    def listen_again(self) -> None:
        """Take the wakeup pipe back from a body that has given it to somebody else (an event loop does)."""
        if self._ends and self._handlers and threading.current_thread() is threading.main_thread():
            with suppress(OSError, ValueError):  # a body may have closed whatever is open
                signal.set_wakeup_fd(self._ends[1].fileno(), warn_on_full_buffer=False)

    def _close(self) -> None:
        """Close what signals are heard through; the thread that listens there ends."""
        for end in reversed(self._ends or ()):
            with suppress(OSError):  # a body may have closed whatever is open
                end.close()
        self._ends = None

    def _give_handlers_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _put_aside(self) -> None:
        """Restore the signals of before in a forked child, without a pipe to us: what is sent to it is not meant for us."""
        signal.set_wakeup_fd(-1)
        self._give_handlers_back()
        self.signal, self._is_told, self._cancel, self._hang_up = 0, False, None, None
        if self._supervisor:
            self._supervisor.close()
        self._close()

    # -- blocks that a signal ends ------------------------------------------------------------------------------------------

    @contextmanager
    def interruptible(self, cancel: Callable[[], None], hang_up: Callable[[], None] | None = None) -> Iterator[None]:
        """While inside, a signal raises `StopNow` here, and calls `cancel` from another thread to end a blocking statement.

        Args:
            cancel: called again and again until the block ends.
            hang_up: called when that does not help.
        """
        self.have_supervisor()
        before = (self._hang_up, self._cancel)
        self._hang_up, self._cancel = hang_up, cancel
        try:
            self.check()  # a signal that came before the line above would be slept over
            yield
        finally:
            self._hang_up, self._cancel = before

    def have_supervisor(self) -> None:
        """Start the supervisor, where none was started yet."""
        if self._ends and self._supervisor is None and self._leads:
            self._supervisor = Supervisor(self._ends[0], SIGNALS)
            if self._is_told:
                self._supervisor.heard()

    @contextmanager
    def stopping(self, cancel: Callable[[], None], hang_up: Callable[[], None] | None = None) -> Iterator[None]:
        """The same for work of our own: whatever a signal cuts short is left as `Stopped`.

        Raises:
            Stopped: a signal arrived.
        """
        try:
            with self.interruptible(cancel, hang_up):
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

    def take_over(self, number: int) -> None:
        """Stop for a signal that another process of this run has heard."""
        if not self.signal:
            self._heard, self.signal = monotonic(), number
            self._arrived.put(number)

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until a signal arrives.

        Raises:
            Stopped: a signal arrived.
        """
        self.check()
        with suppress(queue.Empty):
            self._arrived.get(timeout=seconds)
        self.check()

    # -- what happens when one arrives --------------------------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and monotonic() - self._heard > _SAME and self._leads:
            _leave(number)
        if self.signal:
            return
        self._heard, self.signal = monotonic(), number
        self._arrived.put(number)
        if self._cancel is not None:
            raise StopNow(number)

    def _listen(self, reader: socket.socket) -> None:
        asked = 0.0
        with suppress(OSError, ValueError):  # closed meanwhile
            # Not read before the interpreter can be had: what lies there unread shows the supervisor that it cannot.
            while select.select([reader], [], []) and (received := reader.recv(4096)):
                ours = [number for number in received if number in SIGNALS and getsignal(number) == self._on_signal]
                if not ours:
                    continue
                if asked and monotonic() - asked > _SAME and self._leads:
                    _leave(ours[0])
                asked = asked or monotonic()
                self._is_told = True
                if self._supervisor:
                    self._supervisor.heard()
                self._end_soon()

    def _end_soon(self) -> None:
        self._to_cancel.put(_END)
        self._to_hang_up.put(_END)

    def _cancel_when_heard(self) -> None:
        while self._to_cancel.get():
            while (cancel := self._cancel) is not None:
                with suppress(Exception):  # the connection may be gone, which is what was wanted
                    cancel()
                sleep(_CANCEL_EVERY)
                if not self.signal and _WAKES is not None and getsignal(_WAKES) is _wake:
                    _pthread_kill(threading.main_thread().ident, _WAKES)

    def _hang_up_when_heard(self) -> None:
        """Hang up, from a thread of its own: a cancel request may wait for the same server."""
        while self._to_hang_up.get():
            hang_up = self._hang_up
            sleep(_HANG_UP_AFTER)
            if hang_up is not None and hang_up is self._hang_up:
                with suppress(Exception):  # as above
                    hang_up()


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: Python calls the handlers of all signals that it knows of."""


def _hear_nothing() -> None:
    signal.set_wakeup_fd(-1)


def _is_ours_to_take(number: int) -> bool:
    """Leave a signal that somebody chose to ignore (`nohup`), and one whose handler is not Python's and could not be put back."""
    return getsignal(number) not in {signal.SIG_IGN, None}


def _leave(number: int) -> None:
    """End the process now: whoever signals twice does not want to wait for a rollback (the server does it for us).

    What was printed is flushed, unless the stream is what everything hangs on.
    """
    flushed = _thread.allocate_lock()
    flushed.acquire()
    # Not `threading.Thread`, whose start needs a lock that the interrupted code may hold.
    with suppress(RuntimeError):
        _thread.start_new_thread(_flush, (flushed,))
        flushed.acquire(timeout=0.5)
    supervisor.let_go()
    really_exit(128 + number)


def _flush(flushed: _thread.LockType) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    flushed.release()
