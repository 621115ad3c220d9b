"""The process that workers are forked from, as the run sees it: one Python that imports everything once, however many workers there are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from migrate_graph import forks
from migrate_graph.errors import NoRoom
from migrate_graph.executor import team
from migrate_graph.executor.fork_server_program import BORN, ENDED, FORK, KILL

if TYPE_CHECKING:
    from migrate_graph.database import Settings

_KILLING = 1.0
"""Seconds that the server gets to end a worker: if it takes longer it is stopped, or worse."""


def no_process(why: str | None) -> NoRoom:
    """Return the error that no process can be started."""
    return NoRoom(
        f"no process can be started to run migrations side by side: {why}",
        hint="raise the limits on memory and processes, or leave out --jobs",
    )


class Forked:
    """The process of a worker, as the one that has forked it tells of it.

    Args:
        server: that one.
        number: of the worker.

    Attributes:
        pid: its number; 0 while that is not known.
        code: what it has ended with; None while it has not, or that is not known.
        fault: why it could not be forked; empty where it was.
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
        """Whether it is there no more, as far as was heard."""
        return self.code is not None or bool(self.fault) or self._server.is_gone

    def ends_within(self, seconds: float) -> bool:
        """Wait so long for its end at most; return whether it has come."""
        until = time.monotonic() + seconds
        while not self.has_ended and self._server.hear(max(0.0, until - time.monotonic())):
            pass
        return self.has_ended

    def kill(self) -> None:
        """Have it killed; where that was said before and has not come about, all of them end with their server."""
        now = time.monotonic()
        self._killed = self._killed or now
        if now - self._killed > _KILLING:
            self._server.close()
        else:
            self._server.say(KILL, self._number)

    def end(self, seconds: float) -> None:
        """Wait so long for its end, and kill it then."""
        while not self.ends_within(seconds):
            seconds = _KILLING
            self.kill()

    @property
    def how(self) -> str:
        """How it has ended, in words."""
        if self.code is not None:
            return f"its process (pid {self.pid}) {_how(self.code)}"
        if self.fault:
            return f"no process could be forked for it: {self.fault}"
        return f"the process that it was forked from (pid {self._server.pid}) {_how(self._server.code)}"


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


class ForkServer:
    """The server: started at once, while the run has other things to do.

    multiprocessing has one as well. It belongs to the whole process, imports the user's main program in each child, passes over their
    exit functions, dies of a Ctrl-C that is meant for all but its workers, and starts a third interpreter to look after resources.

    Args:
        settings: which database; what its attempts need is imported.

    Attributes:
        line: to it.
        is_gone: it has ended, and its workers with it.

    Raises:
        NoRoom: it cannot be started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: dict[int, Forked] = {}
        self.is_gone = False
        ours, theirs = socket.socketpair()
        # Blocked until a worker listens: a signal for the whole group would end it with a traceback while it starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, forks.SIGNALS)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, str(team.PROGRAM), str(theirs.fileno())], stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),)
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise no_process(error.strerror) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.line = Connection(ours.detach())
        forks.hide(self.line)
        with suppress(OSError):  # it is gone already, which is heard from it
            # Import passes over whatever else is there.
            self.line.send([str(each) for each in sys.path if isinstance(each, str)])
            self.line.send((os.getpid(), settings))

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def code(self) -> int:
        """What it has ended with."""
        return self._process.wait()

    def again(self) -> ForkServer:
        """Return another one like it."""
        return ForkServer(self._settings)

    def fork(self, number: int, line: socket.socket) -> Forked:
        """Have a worker forked: what becomes of that is heard.

        Args:
            number: of the worker.
            line: its end of the line to it.
        """
        worker = self._workers[number] = Forked(self, number)
        with suppress(OSError):  # as above
            self.line.send((FORK, number))
            with socket.fromfd(self.line.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as again:
                socket.send_fds(again, [b"."], [line.fileno()])
        return worker

    def say(self, word: str, number: int) -> None:
        """Send it something; if it is gone, that is heard."""
        with suppress(OSError):
            self.line.send((word, number))

    def hear(self, seconds: float = 0.0) -> bool:
        """Take in one thing that it says within some seconds, or that it is gone; return whether there was one."""
        try:
            if self.is_gone or not self.line.poll(seconds):
                return False
            word, number, what = self.line.recv()
        except (EOFError, OSError):
            self.close()
            return True
        worker = self._workers[number]
        if word == BORN:
            worker.pid = what
        elif word == ENDED:
            worker.code = what
        else:
            worker.fault = what
        return True

    def close(self) -> None:
        """End it, and its workers with it."""
        self._process.kill()
        self._process.wait()
        self.line.close()
        self.is_gone = True
