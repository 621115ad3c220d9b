"""The supervisor of a run: a process beside it that ends it when a second signal is not heard, and says so when it ends without a word."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

HEARD, LET_GO = b"1", b"0"
"""What the run says to it."""

_watching: set[Supervisor] = set()


def let_go() -> None:
    """Release the supervisor of this process: it has said how it ends."""
    for supervisor in list(_watching):
        supervisor.let_go()


class Supervisor:
    """The other end of the process that watches this one; without it nothing is lost but its help.

    Args:
        unheard: the socket from which this process reads the numbers of signals; what it has not read yet, the other one sees.
        signals: the numbers that count.
    """

    def __init__(self, unheard: socket.socket, signals: tuple[int, ...]) -> None:
        self._said: int | None = None
        program = Path(__file__).with_name("supervisor_program.py")
        if os.name != "posix" or not sys.executable or getattr(sys, "frozen", False) or not program.is_file():
            return
        import subprocess  # most commands run no body, and are quicker without

        arguments = [str(number) for number in (unheard.fileno(), os.getpid(), *signals)]
        reader, writer = os.pipe()
        try:
            # The child forks and ends: a body that waits for any child of its process must not meet this one.
            subprocess.run(  # noqa: S603 - our own program
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
        """Report to it that a signal has been heard here: the next one is the second."""
        self._say(HEARD)

    def let_go(self) -> None:
        """Release it: this process has said how it ends, and need not be watched any longer."""
        self._say(LET_GO)
        self.close()

    def close(self) -> None:
        """Close the line to it without a word: in a forked child, whose end is not that of the run."""
        _watching.discard(self)
        if self._said is not None:
            with contextlib.suppress(OSError):  # a body may have closed whatever is open
                os.close(self._said)
        self._said = None

    def _say(self, word: bytes) -> None:
        if self._said is not None:
            with contextlib.suppress(OSError):  # as above
                os.write(self._said, word)
