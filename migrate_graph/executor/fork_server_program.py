"""The program of the fork server: it imports what workers need, never the user's files, and forks a worker whenever the run asks for one."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, wait

FORK, KILL = "fork", "kill"
"""Messages to the server, each with the number of a worker; after `FORK` comes the descriptor of the worker's line."""

BORN, ENDED, UNBORN = "born", "ended", "unborn"
"""Messages of the server, each with the number of a worker and: its process number; its exit code, as `subprocess` has it; or why it could not
be forked."""


class ForkServer:
    """Forks workers. Its process has one thread, no connection to a database, and has run no code of the user's.

    The signals that end a run are blocked in this process all the time; a worker unblocks them when it handles them.

    Args:
        line: the connection to the run.
    """

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._numbers: dict[int, int] = {}
        self._woken, writer = os.pipe()
        for end in (self._woken, writer):
            os.set_blocking(end, False)
        self._handler = signal.signal(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._writer = writer

    def serve(self) -> int | None:
        """Serve until the run has ended, then return None. In each forked worker, return the descriptor of its line."""
        while True:
            ready = wait([self._line, self._woken])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._tell_of_ended()
            if self._line not in ready:
                continue
            try:
                message, number = self._line.recv()
                if message == KILL:
                    self._kill(number)
                elif (given := self._fork(number)) is not None:
                    return given
            except (EOFError, OSError):
                self._end_all()
                return None

    def _fork(self, number: int) -> int | None:
        """Fork a worker; return the descriptor of its line in the worker, and None in the server."""
        with socket.fromfd(self._line.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as again:
            _, (given,), _, _ = socket.recv_fds(again, 1, 1)
        try:
            process = os.fork()
        except OSError as error:
            self._line.send((UNBORN, number, error.strerror or str(error)))
            os.close(given)  # the run sees the closed line, and reads then why
            return None
        if process == 0:
            self._put_aside()
            return given
        os.close(given)  # or later workers would inherit it and keep the line open after this worker has ended
        self._numbers[process] = number
        self._line.send((BORN, number, process))
        return None

    def _put_aside(self) -> None:
        """Release in a new worker what belongs to the server: its signal handler, its pipe and its line."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, self._handler)
        for end in (self._woken, self._writer):
            os.close(end)
        self._line.close()

    def _kill(self, number: int) -> None:
        # Only the parent may kill it: until the parent has waited for it, the process number cannot be used by another process.
        for process in [each for each, known in self._numbers.items() if known == number]:
            os.kill(process, signal.SIGKILL)

    def _tell_of_ended(self) -> None:
        for process in list(self._numbers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with suppress(OSError):  # the run has ended, which is noticed next
                    self._line.send((ENDED, self._numbers.pop(process), os.waitstatus_to_exitcode(status)))

    def _end_all(self) -> None:
        for process in self._numbers:
            os.kill(process, signal.SIGKILL)
        for process in self._numbers:
            os.waitpid(process, 0)


def _wake(_number: int, _frame: object) -> None:
    """Do nothing: the wakeup pipe tells that a child has ended."""


def main() -> None:
    """Serve the run at the other end of an inherited socket, whose descriptor is the argument. In a forked worker: work."""
    line = Connection(int(sys.argv[1]))
    sys.path[:] = line.recv()
    gc.disable()
    from migrate_graph.database import backend_class
    from migrate_graph.executor.worker import end_with, work

    run, settings = line.recv()
    end_with(run)
    backend_class(settings.uri).import_for_seats(settings)
    gc.freeze()
    gc.enable()
    server = os.getpid()
    given = ForkServer(line).serve()
    if given is None:
        os._exit(0)
    work(Connection(given), server)


if __name__ == "__main__":
    main()
