"""The program of the supervisor: it runs in its own process, and imports nothing of the package.

Its arguments: the descriptor of an inherited socket, the process id of the run, and the numbers of the signals to watch for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time

_LOOK_EVERY = 0.1
"""Seconds between two looks at the signals that the run has not read yet."""

_AT_ONCE = 0.02
"""Signals that arrive within these seconds count as one: `timeout` signals a process and its group at the same moment."""

_GRACE = 1.2
"""Seconds that the run gets to end by itself after the second signal."""

_DYING = 0.05
"""Seconds to wait for the end of a process after the system has closed its files."""

_HEARD, _LET_GO = b"1", b"0"
"""The messages of the run, as in `supervisor`."""

_SO_PEEK_OFF = 42
_PEEK = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)


class _RunEndedError(Exception):
    """The run has ended or needs no supervisor any longer."""


class _Watch:
    """Watches the run.

    Args:
        unheard: the socket that contains the signals which the run has not read.
        process: process id of the run.
        signals: the numbers of the signals to watch for.
    """

    def __init__(self, unheard: socket.socket, process: int, signals: frozenset[int]) -> None:
        self._unheard = unheard
        self._process = process
        self._signals = signals
        # A pidfd always means this process. After its end, the process id may be given to another process.
        self._descriptor: int | None = None
        self._is_gone = False
        try:
            self._descriptor = os.pidfd_open(process) if hasattr(os, "pidfd_open") else None
        except ProcessLookupError:  # it was killed while this process was started
            self._is_gone = True
        self._said = sys.stdin.fileno()
        self._has_heard = False

    def run(self) -> None:
        """Watch until the run ends or lets go; kill it after a second signal that it cannot react to."""
        while True:
            select.select([self._unheard, self._said], [], [])
            if self._waiting():
                self._wait_for_reaction()
            time.sleep(_LOOK_EVERY)  # other signals, of the body, may stay unread; then `select` returns immediately

    def _waiting(self) -> list[int]:
        """Return the signals that the run has not read."""
        while select.select([self._said], [], [], 0)[0]:
            word = os.read(self._said, 1)
            if word != _HEARD:
                self._stop_watching(word)
            self._has_heard = True
        return [number for number in self._unread() if number in self._signals]

    def _stop_watching(self, word: bytes) -> None:
        """Stop watching; report the end of the run if the run has not sent a last message, and show the cursor if it ends at once.

        The pipe may also have been closed by a body. Then the run goes on, but it can send no more messages.
        """
        if word != _LET_GO:
            _show_cursor()
        if not word and self._has_ended():
            _say(
                "error: the run has ended without a last word: killed, or ended by a native library; "
                "what was not committed is rolled back, and migrate status tells the rest"
            )
        raise _RunEndedError

    def _has_ended(self) -> bool:
        return self._is_gone or bool(self._descriptor and select.select([self._descriptor], [], [], _DYING)[0])

    def _unread(self) -> bytes:
        """Return the bytes in the socket without removing them."""
        unread = b""
        with contextlib.suppress(BlockingIOError):
            if not sys.platform.startswith("linux"):
                return self._unheard.recv(4096, _PEEK)
            # On Linux a peek returns one write, that is one signal; SO_PEEK_OFF moves on to the next one (unix(7)).
            self._unheard.setsockopt(socket.SOL_SOCKET, _SO_PEEK_OFF, 0)
            while more := self._unheard.recv(4096, _PEEK):
                unread += more
        return unread

    def _wait_for_reaction(self) -> None:
        """Wait until the run reads its signals; after a second signal, kill it if it does not end by itself."""
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
        _say(
            f"error: killed: a second {name} came while a function in C kept the interpreter, so that no signal could be heard; "
            "what was not committed is rolled back, and migrate status tells the rest"
        )
        if self._descriptor is not None:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        else:
            os.kill(self._process, signal.SIGKILL)
        _show_cursor()
        raise _RunEndedError


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())


def _show_cursor() -> None:
    """Show the cursor of the terminal again: a run that is killed, or ends itself at once, cannot undo what its display has done."""
    with contextlib.suppress(OSError):
        if os.isatty(sys.stderr.fileno()) and os.environ.get("TERM", "dumb") != "dumb":  # noqa: TID251 - nobody can hand it over
            os.write(sys.stderr.fileno(), b"\x1b[?25h")


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
