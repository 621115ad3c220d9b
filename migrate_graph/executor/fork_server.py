"""The fork server as the run sees it: the process that workers are forked from, so that imports happen once for all of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from migrate_graph import forks
from migrate_graph.errors import NoRoom
from migrate_graph.executor import worker_options
from migrate_graph.executor.fork_server_program import BORN, ENDED, FORK, KILL

if TYPE_CHECKING:
    from migrate_graph.database import Settings

_KILLING = 1.0
"""Seconds that the server gets to end a worker; when it takes longer, the server itself is killed."""


def no_process(why: str | None) -> NoRoom:
    """Return the error that no worker process can be started.

    Args:
        why: what the system says.
    """
    return NoRoom(
        f"no process can be started to run migrations side by side: {why}",
        hint="raise the limits on memory and processes, or leave out --jobs",
    )


class Forked:
    """The process of a worker, as far as the fork server has told of it.

    Args:
        server: the fork server.
        number: number of the worker.

    Attributes:
        pid: number of the process; 0 while it is not known.
        code: its exit code; None while the process runs, or when the code is not known.
        fault: why it could not be forked; empty: it was forked, or that is not known yet.
    """

    def __init__(self, server: ForkServer, number: int) -> None:
        self._server = server
        self._number = number
        self._killed = 0.0
        self.pid = 0
        self.code: int | None = None
        self.fault = ""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, as far as the server has told."""
        return self.code is not None or bool(self.fault) or self._server.is_gone

    def ends_within(self, seconds: float) -> bool:
        """Wait at most so many seconds for the end of the process; return whether it has ended."""
        until = time.monotonic() + seconds
        while not self.has_ended and self._server.receive(max(0.0, until - time.monotonic())):
            pass
        return self.has_ended

    def kill(self) -> None:
        """Request that the server kills the process; when that was requested and `_KILLING` seconds have passed, kill the server and all workers."""
        now = time.monotonic()
        self._killed = self._killed or now
        if now - self._killed > _KILLING:
            self._server.close()
        else:
            self._server.send(KILL, self._number)

    def end(self, seconds: float) -> None:
        """Wait at most so many seconds for the end of the process, then kill it."""
        while not self.ends_within(seconds):
            seconds = _KILLING
            self.kill()

    @property
    def how(self) -> str:
        """How the process has ended, in words."""
        if self.code is not None:
            return f"its process (pid {self.pid}) {_how(self.code)}"
        if self.fault:
            return f"no process could be forked for it: {self.fault}"
        return f"the process that it was forked from (pid {self._server.pid}) {_how(self._server.code)}"

    @property
    def advice(self) -> tuple[str, str]:
        """A hint, for a process that ended itself or crashed; or when the migration may succeed as it is, for one that others ended."""
        code = self.code if self.code is not None or self.fault else self._server.code
        if code is None:
            return "", ""
        if code >= 0:
            return "the body, or code that it calls, ended its process (os._exit): let it raise an exception", ""
        if -code in _CRASHES:
            return (
                "native code crashed: an extension module that the body uses, or ctypes; PYTHONFAULTHANDLER=1 shows where",
                "",
            )
        return "", "when it is known who ended its process: the system's log tells whether memory ran out"


_CRASHES: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL})
"""Signals that end a process because of what it did itself."""


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


class ForkServer:
    """The fork server. Its process starts at once, while the run does other things.

    The fork server of `multiprocessing` is not used: there is one for the whole process, it imports the user's main program in each
    child, does not run the children's exit functions, dies of a Ctrl-C before its workers do, and starts a third interpreter to
    track resources.

    Args:
        settings: how to connect to the database; the server imports what attempts on it need.

    Attributes:
        line: the connection to the server.
        is_gone: the server has ended, and its workers with it.

    Raises:
        NoRoom: the process cannot be started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: dict[int, Forked] = {}
        self.is_gone = False
        ours, theirs = socket.socketpair()
        # Blocked until a worker handles them: a signal to the whole process group would end the server with a traceback while it starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, forks.SIGNALS)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, str(worker_options.PROGRAM), str(theirs.fileno())], stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise no_process(error.strerror) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.line = Connection(ours.detach())
        forks.hide(self.line)
        with suppress(OSError):  # the server has ended already: `receive` notices that
            # Python's import ignores entries of sys.path that are not text.
            self.line.send([str(each) for each in sys.path if isinstance(each, str)])
            self.line.send((os.getpid(), settings))

    @property
    def pid(self) -> int:
        """Number of the server's process."""
        return self._process.pid

    @property
    def code(self) -> int:
        """Exit code of the server; waits for its end."""
        return self._process.wait()

    def again(self) -> ForkServer:
        """Start another server with the same settings, and return it."""
        return ForkServer(self._settings)

    def fork(self, number: int, line: socket.socket) -> Forked:
        """Request that the server forks a worker; `receive` receives whether that succeeded.

        Args:
            number: number of the worker.
            line: the worker's end of its connection to the run.
        """
        worker = self._workers[number] = Forked(self, number)
        with suppress(OSError):  # the server has ended: `receive` notices that
            self.line.send((FORK, number))
            with socket.fromfd(self.line.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as again:
                socket.send_fds(again, [b"."], [line.fileno()])
        return worker

    def send(self, message: str, number: int) -> None:
        """Send the server a message about a worker; that the server has ended is noticed by `receive`."""
        with suppress(OSError):
            self.line.send((message, number))

    def receive(self, seconds: float = 0.0) -> bool:
        """Receive one message of the server, or notice that it has ended, within some seconds; return whether there was anything."""
        try:
            if self.is_gone or not self.line.poll(seconds):
                return False
            message, number, what = self.line.recv()
        except (EOFError, OSError):
            self.close()
            return True
        worker = self._workers[number]
        if message == BORN:
            worker.pid = what
        elif message == ENDED:
            worker.code = what
        else:
            worker.fault = what
        return True

    def close(self) -> None:
        """Kill the server; its workers end with it."""
        self._process.kill()
        self._process.wait()
        self.line.close()
        self.is_gone = True
