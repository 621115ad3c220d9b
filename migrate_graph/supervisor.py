"""The supervisor of a run: a second process that kills the run if it cannot react to a second signal, and reports a run that was killed."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

HEARD, LET_GO, ENDS = b"1", b"0", b"2"
"""The messages of the run to its supervisor: a signal has been received here; stop watching; stop watching, because this process ends at once."""

_watching: set[Supervisor] = set()


def end_watch() -> None:
    """End the watch of this process by its supervisor: this process reports by itself how it ends, but leaves the terminal as it is."""
    for supervisor in list(_watching):
        supervisor.let_go(ENDS)


class Supervisor:
    """Starts the supervisor process and talks to it; if it cannot be started, the run works without it.

    Args:
        unheard: the socket from which this process reads the numbers of its signals; the supervisor sees those not read yet.
        signals: the numbers of the signals to watch for.
    """

    def __init__(self, unheard: socket.socket, signals: tuple[int, ...]) -> None:
        self._said: int | None = None
        program = Path(__file__).with_name("supervisor_program.py")
        if os.name != "posix" or not sys.executable or getattr(sys, "frozen", False) or not program.is_file():
            return
        import subprocess  # imported here: most commands run no body, and start faster without it

        arguments = [str(number) for number in (unheard.fileno(), os.getpid(), *signals)]
        reader, writer = os.pipe()
        try:
            # The child forks and ends, so the supervisor is no child of this process: a body that waits for any child must not find it.
            subprocess.run(  # noqa: S603 - a program of this package
                [sys.executable, "-I", "-S", str(program), *arguments],
                check=True, stdin=reader, stdout=subprocess.DEVNULL, pass_fds=(unheard.fileno(),), start_new_session=True, cwd="/",
            )  # fmt: skip
            self._said = writer
            _watching.add(self)
        except (OSError, subprocess.SubprocessError):  # no memory, too many processes
            os.close(writer)
        finally:
            os.close(reader)

    def heard(self) -> None:
        """Report to the supervisor that this process has received a signal, so the next one is the second."""
        self._say(HEARD)

    def let_go(self, word: bytes = LET_GO) -> None:
        """End the watch by the supervisor: this process reports by itself how it ends."""
        self._say(word)
        self.close()

    def close(self) -> None:
        """Close the pipe to the supervisor without a message; also called in a forked child, whose end is not the end of the run."""
        _watching.discard(self)
        if self._said is not None:
            with contextlib.suppress(OSError):  # a body may have closed the pipe
                os.close(self._said)
        self._said = None

    def _say(self, word: bytes) -> None:
        if self._said is not None:
            with contextlib.suppress(OSError):  # a body may have closed the pipe
                os.write(self._said, word)
