"""Watches a run from a process of its own: a second signal that the run does not hear, because a C function keeps the interpreter, ends it.

Run as a program it is that process; it knows nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_LOOK_EVERY = 0.1
"""Seconds between two looks at what was not heard yet."""

_AT_ONCE = 0.02
"""Seconds in which what was sent at once has arrived: `timeout` signals a process and its group."""

_GRACE = 1.2
"""Seconds that a run gets to end by itself after the second signal."""

_SO_PEEK_OFF = 42
_PEEK = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)


class Supervisor:
    """The other end of the process that watches this one; without it nothing is lost but its help.

    Args:
        unheard: the socket from which this process reads the numbers of signals; what it has not read yet, the other one sees.
        signals: the numbers that count.
    """

    def __init__(self, unheard: socket.socket, signals: tuple[int, ...]) -> None:
        self._said: int | None = None
        program = Path(__file__)
        if os.name != "posix" or not sys.executable or getattr(sys, "frozen", False) or not program.is_file():
            return
        arguments = [str(number) for number in (unheard.fileno(), os.getpid(), *signals)]
        reader, writer = os.pipe()
        try:
            # The child forks and ends: a body that waits for any child of its process must not meet this one.
            subprocess.run(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", str(program), *arguments],
                check=True, stdin=reader, stdout=subprocess.DEVNULL, pass_fds=(unheard.fileno(),), start_new_session=True, cwd="/",
            )  # fmt: skip
            self._said = writer
        except (OSError, subprocess.SubprocessError):  # no memory, too many processes
            os.close(writer)
        finally:
            os.close(reader)

    def heard(self) -> None:
        """Tell it that a signal has been heard here: the next one is the second."""
        if self._said is not None:
            with contextlib.suppress(OSError):  # a body may have closed whatever is open
                os.write(self._said, b"1")

    def close(self) -> None:
        """Let it go."""
        if self._said is not None:
            with contextlib.suppress(OSError):  # as above
                os.close(self._said)
        self._said = None


class _RunEndedError(Exception):
    """The run has ended, or has let go."""


class _Watch:
    """What the watching process does.

    Args:
        unheard: signals that the run has not read.
        process: the run.
        signals: the numbers that count.
    """

    def __init__(self, unheard: socket.socket, process: int, signals: frozenset[int]) -> None:
        self._unheard = unheard
        self._process = process
        self._signals = signals
        # A descriptor stands for this very process; its number may mean another one when it has ended.
        self._descriptor = os.pidfd_open(process) if hasattr(os, "pidfd_open") else None
        self._said = sys.stdin.fileno()
        self._ends = [self._said] if self._descriptor is None else [self._said, self._descriptor]
        self._has_heard = False

    def run(self) -> None:
        """Wait for a second signal that is not heard."""
        while True:
            select.select([self._unheard, *self._ends], [], [])
            if self._waiting():
                self._see_to_it()
            time.sleep(_LOOK_EVERY)  # what is left there may be signals of the body's own

    def _waiting(self) -> list[int]:
        """Return the signals that the run has not read."""
        said, _, _ = select.select(self._ends, [], [], 0)
        if self._descriptor in said or (said and not os.read(self._said, 1)):
            raise _RunEndedError
        self._has_heard = self._has_heard or bool(said)
        return [number for number in self._unread() if number in self._signals]

    def _unread(self) -> bytes:
        """Return what lies in the socket, and leave it there."""
        unread = b""
        with contextlib.suppress(BlockingIOError):
            if not sys.platform.startswith("linux"):
                return self._unheard.recv(4096, _PEEK)
            # Linux shows one write at a time (unix(7), SO_PEEK_OFF): every signal is one.
            self._unheard.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
            while more := self._unheard.recv(4096, _PEEK):
                unread += more
        return unread

    def _see_to_it(self) -> None:
        """Look on until the run hears, or a second signal shows that nobody wants to wait for that."""
        time.sleep(_AT_ONCE)
        first = len(self._waiting())
        while waiting := self._waiting():
            if self._has_heard or len(waiting) > first:
                time.sleep(_GRACE)
                if len(self._waiting()) >= len(waiting):
                    self._end(waiting[-1])
            time.sleep(_LOOK_EVERY)

    def _end(self, number: int) -> None:
        name = signal.Signals(number).name
        text = (
            f"error: killed: a second {name} came while a function in C kept the interpreter, so that no signal could be heard; "
            "what was not committed is rolled back, and migrate status tells the rest\n"
        )
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), text.encode())
        if self._descriptor is not None:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        else:
            os.kill(self._process, signal.SIGKILL)
        raise _RunEndedError


def _main(descriptor: str, process: str, *signals: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch = _Watch(socket.socket(fileno=int(descriptor)), int(process), frozenset(map(int, signals)))
    if os.fork():
        os._exit(0)
    with contextlib.suppress(_RunEndedError, ProcessLookupError):
        watch.run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
