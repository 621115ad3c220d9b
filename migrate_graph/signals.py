"""Turn signals into an orderly stop: immediately in a migration's body, at the next safe point elsewhere."""

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

# Seconds between two cancel requests. A request that reaches the server just before the statement is lost, so it is repeated.
_CANCEL_EVERY = 0.2

# A signal may reach the main thread just before it begins to wait in C (`time.sleep`): Python has noted the signal, but the wait goes on.
# Another signal ends the wait. SIGURG is ignored by default, so it does nothing else. Windows does not have it.
_WAKES = getattr(signal, "SIGURG", None)
_pthread_kill: Any = getattr(signal, "pthread_kill", None)

# Seconds after which the connection is closed if the server does not react to a cancel request.
_HANG_UP_AFTER = 1.2

# Seconds to wait for the end of the thread that reads the signals. It ends at once, unless a body has closed its socket by the number.
_LISTENER_ENDS_WITHIN = 2.0

# `timeout` and service managers signal a process and its group at the same moment. Two signals within these seconds count as one.
_SAME = 0.0002

_STOP, _END = 0, 1  # messages to the threads `cancel` and `hang up`: end yourself; end the wait of the main thread


_Value = TypeVar("_Value")


def start_thread(target: Callable[..., None], *arguments: Any, name: str) -> threading.Thread:
    """Start a daemon thread whose name begins with `migrate_graph`, and return it.

    Raises:
        NoRoom: no thread can be started.
    """
    thread = threading.Thread(target=target, args=arguments, name=f"migrate_graph {name}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread(error) from None
    return thread


def aside(work: Callable[[], _Value], *, name: str, every: float, meanwhile: Callable[[float], None]) -> _Value:
    """Run `work` in its own thread, wait for it, and return its result.

    Network calls and name look-ups wait in C, where Python runs no signal handlers. In another thread they do not block the main thread.

    Args:
        work: the function to run. If `meanwhile` ends the waiting, it goes on running, and its result is lost.
        name: of the thread.
        every: seconds between two calls of `meanwhile`.
        meanwhile: called in this thread with the seconds waited so far; an exception that it raises ends the waiting.

    Raises:
        NoRoom: no thread can be started.
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
    """Raised inside a migration's body when a signal arrives; a BaseException, so that no `except Exception` there catches it."""


class Interruption:
    """The signals of a run: it listens for them, remembers the first one, and stops the work.

    Args:
        leads: whether a second signal ends this process, and a supervisor is started; False in a worker process of a run, since the main
            process of the run does both.

    Attributes:
        signal: number of the signal that asked the run to stop; 0 before one has arrived.
    """

    def __init__(self, *, leads: bool = True) -> None:
        self.signal = 0
        self._leads = leads
        self._heard = 0.0
        self._cancel: Callable[[], None] | None = None
        self._hang_up: Callable[[], None] | None = None
        # Not an Event: the waiting thread holds its lock for a moment, and a signal handler that runs just then would wait for itself.
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
        """Handle SIGTERM, SIGINT and SIGHUP inside the block; do nothing outside the main thread, where Python allows no handlers.

        Python runs its handlers only between bytecodes, so they are late while a driver waits in C (5.5 s were measured). Therefore a
        thread reads the wakeup file descriptor and has the running statement cancelled immediately. A second signal ends the process.
        If a C function holds the interpreter lock, neither the handlers nor that thread can run; then the supervisor ends the process.

        Raises:
            MigrateGraphError: no thread can be started.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        reader, writer = self._ends = socket.socketpair()
        os.set_blocking(writer.fileno(), False)
        # All threads are started before a signal can arrive: a start inside a handler could need a lock that the interrupted code holds.
        listener = self._start_threads(reader)
        self._handlers = {number: getsignal(number) for number in SIGNALS if _is_ours_to_take(number)}
        if _WAKES is not None and getsignal(_WAKES) is signal.SIG_DFL:
            self._handlers[_WAKES] = signal.SIG_DFL
        previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        forget = forks.on_fork(self._detach_child)
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
            self._end(listener)
            self._close()

    @contextmanager
    def overhearing(self) -> Iterator[None]:
        """Notice Ctrl-C in a block that runs without `listening`, even while a driver waits in C; Python's own handler still runs later.

        Do nothing outside the main thread, inside `listening`, or if the program has its own wakeup pipe.
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
        forget = forks.on_fork(_clear_wakeup_fd)
        try:
            yield
        finally:
            forget()
            if before == -1:
                # An event loop may have set its own meanwhile; that one is restored.
                if (now := signal.set_wakeup_fd(-1)) != writer:
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
        """Whether Ctrl-C is handled here; a `KeyboardInterrupt` then comes from the migration's body or from a handler of its own."""
        return bool(self._handlers)

    @property
    def is_heard(self) -> bool:
        """Whether a signal has arrived, also if Python has not run its handler yet."""
        return bool(self.signal) or self._is_told

    def listen_again(self) -> None:
        """Set the wakeup pipe again after a migration's body: code in the body may have set another one (an event loop does)."""
        if self._ends and self._handlers and threading.current_thread() is threading.main_thread():
            with suppress(OSError, ValueError):  # a body may have closed the pipe
                signal.set_wakeup_fd(self._ends[1].fileno(), warn_on_full_buffer=False)

    def _start_threads(self, reader: socket.socket) -> threading.Thread:
        """Start the threads of `listening`; return the one that reads signals. If one cannot be started, end the others and close the sockets.

        Raises:
            NoRoom: no thread can be started.
        """
        started: list[threading.Thread] = []
        try:
            started.append(start_thread(self._listen, reader, name="signals"))
            started.append(start_thread(self._cancel_when_heard, name="cancel"))
            started.append(start_thread(self._hang_up_when_heard, name="hang up"))
        except BaseException:
            if len(started) > 1:  # without its thread, the queue would end the thread of the next `listening`
                self._to_cancel.put(_STOP)
            if started:
                self._end(started[0])
            self._close()
            raise
        return started[0]

    def _end(self, listener: threading.Thread) -> None:
        """End the thread that reads from the wakeup socket, before the socket is closed.

        The number of a closed socket soon means another file. A thread that still waits in `select` for the number holds that file open: if
        it is the pipe by which `subprocess` learns that a program has started, `subprocess` waits for ever.
        """
        if not self._ends:
            return  # a forked child has neither the sockets nor the thread
        reader, writer = self._ends
        with suppress(OSError):  # a body may have closed it
            writer.shutdown(socket.SHUT_WR)
        listener.join(_LISTENER_ENDS_WITHIN)
        if listener.is_alive():
            reader.detach()  # it stays open

    def _close(self) -> None:
        """Close the wakeup sockets."""
        for end in reversed(self._ends or ()):
            with suppress(OSError):  # a body may have closed them
                end.close()
        self._ends = None

    def _give_handlers_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _detach_child(self) -> None:
        """Restore the earlier signal handlers in a forked child, and close its wakeup pipe: signals to the child must not stop the run."""
        signal.set_wakeup_fd(-1)
        self._give_handlers_back()
        self.signal, self._is_told, self._cancel, self._hang_up = 0, False, None, None
        if self._supervisor:
            self._supervisor.close()
        self._close()

    # -- blocks that a signal ends ------------------------------------------------------------------------------------------

    @contextmanager
    def interruptible(self, cancel: Callable[[], None], hang_up: Callable[[], None] | None = None) -> Iterator[None]:
        """Make a signal raise `StopNow` in this block, and call `cancel` from another thread to end a blocking statement.

        Args:
            cancel: called repeatedly until the block ends.
            hang_up: called once if the block has not ended after `_HANG_UP_AFTER` seconds; closes the connection.
        """
        self.have_supervisor()
        before = (self._hang_up, self._cancel)
        self._hang_up, self._cancel = hang_up, cancel
        try:
            self.check()  # a signal that came before `_cancel` was set has raised nothing
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
        """Do the same as `interruptible` for the tool's own work: any exception after a signal is raised as `Stopped`.

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
        """Raise `Stopped` if a signal has arrived.

        Raises:
            Stopped: with the signal's number.
        """
        if self.signal:
            raise Stopped(f"stopped by {signal.Signals(self.signal).name}", signal=self.signal)

    def take_over(self, number: int) -> None:
        """Stop as if this process had received a signal that another process of the run has received."""
        if not self.signal:
            self._heard, self.signal = monotonic(), number
            self._arrived.put(number)

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds, or until a signal arrives.

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
            _end_process(number)
        if self.signal:
            return
        self._heard, self.signal = monotonic(), number
        self._arrived.put(number)
        if self._cancel is not None:
            raise StopNow(number)

    def _listen(self, reader: socket.socket) -> None:
        asked = 0.0
        with suppress(OSError, ValueError):  # closed meanwhile
            # `select` needs no interpreter lock, but the code after it does. So bytes that stay unread in the socket show the supervisor that
            # this thread cannot run.
            while select.select([reader], [], []) and (received := reader.recv(4096)):
                ours = [number for number in received if number in SIGNALS and getsignal(number) == self._on_signal]
                if not ours:
                    continue
                if asked and monotonic() - asked > _SAME and self._leads:
                    _end_process(ours[0])
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
                with suppress(Exception):  # the connection may be closed; then there is nothing to cancel
                    cancel()
                sleep(_CANCEL_EVERY)
                if not self.signal and _WAKES is not None and getsignal(_WAKES) is _wake:
                    _pthread_kill(threading.main_thread().ident, _WAKES)

    def _hang_up_when_heard(self) -> None:
        """Close the connection, in its own thread: the thread that sends cancel requests may be waiting for the same server."""
        while self._to_hang_up.get():
            hang_up = self._hang_up
            sleep(_HANG_UP_AFTER)
            if hang_up is not None and hang_up is self._hang_up:
                with suppress(Exception):  # the connection may be closed already
                    hang_up()


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: when this handler is called, Python also calls the handlers of the other signals that have arrived."""


def _clear_wakeup_fd() -> None:
    signal.set_wakeup_fd(-1)


def _is_ours_to_take(number: int) -> bool:
    """Return False for an ignored signal (`nohup`), and for one whose handler was not set by Python and could not be restored."""
    return getsignal(number) not in {signal.SIG_IGN, None}


def _end_process(number: int) -> None:
    """End the process now: somebody who sends two signals does not want to wait for a rollback (the server rolls back anyway).

    The output streams are flushed, but for half a second at most: a stream may be what the process is waiting for.
    """
    flushed = _thread.allocate_lock()
    flushed.acquire()
    # Not `threading.Thread`: its start needs a lock that the interrupted code may hold.
    with suppress(RuntimeError):
        _thread.start_new_thread(_flush, (flushed,))
        flushed.acquire(timeout=0.5)
    supervisor.end_watch()
    really_exit(128 + number)


def _flush(flushed: _thread.LockType) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    flushed.release()
