"""The worker processes of a run: one more is started when a migration can run and all others are busy; all end with the run."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from migrate_graph import forks
from migrate_graph.executor.fork_server import no_process
from migrate_graph.executor.worker_messages import (
    Assignment,
    Begin,
    Ended,
    Leave,
    Stop,
    StopConfirmed,
    Unfit,
    packed,
    unpacked,
)

if TYPE_CHECKING:
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.executor.fork_server import Forked, ForkServer

_LAST_WAIT = 5.0
"""Seconds that a worker gets to end after its work; three of them are for threads and exit functions of user code."""

_UNRESPONSIVE_AFTER = 1.0
"""Seconds without a message after which a worker that has not confirmed `Stop` is killed.

Its process is suspended, or a function in C does not release the interpreter.
"""

_END_WAIT = 1.0
"""Seconds that a process may take to end after it has closed its line."""


class Worker(Struct, eq=False):
    """One worker process, as the run sees it.

    Attributes:
        number: its number, from 1.
        seat: lets it work under the lock of the run; see `Backend.seat`.
        process: its process.
        line: the connection to it.
        name: name of the migration that it runs; empty: it runs none.
        key: key of the attempt that it has begun.
        stop_unconfirmed: it was told to stop, and has not confirmed that.
        last_message: when the last message came from it, as `time.monotonic()` has it.
    """

    number: int
    seat: Any
    process: Forked
    line: Connection
    name: str = ""
    key: AttemptKey | None = None
    stop_unconfirmed: bool = False
    last_message: float = 0.0

    def send(self, message: Any) -> None:
        """Send a message to the worker. That it has ended is not noticed here, but when the next message is read from it."""
        with suppress(OSError):
            self.line.send_bytes(packed(message))

    @property
    def why_not(self) -> Unfit | None:
        """Why the worker could not be forked; None when it was."""
        self.process.ends_within(0.0)
        return Unfit(no_process(self.process.fault)) if self.process.fault else None

    def end(self) -> str:
        """End the process, if it has not ended; return in words how it ended."""
        self.process.end(_END_WAIT)
        self.line.close()
        if self.stop_unconfirmed:
            return f"its process (pid {self.process.pid}) did not hear the signal, and was ended"
        return self.process.how


class WorkerPool(Struct):
    """All workers of a run.

    Attributes:
        assign: makes the first message to a new worker from its number.
        server: the process that workers are forked from.
        workers: the workers that have not ended.
    """

    assign: Callable[[int], Assignment]
    server: ForkServer
    workers: list[Worker] = field(default_factory=list)
    _started: int = 0
    _stopped: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a worker runs a migration."""
        return any(worker.name for worker in self.workers)

    def begin(self, name: str) -> None:
        """Assign a migration to a worker that has nothing to do, or to a new one.

        Raises:
            MigrateGraphError: no worker can be started, or given a seat.
        """
        worker = next((each for each in self.workers if not each.name), None) or self._start()
        worker.name, worker.key = name, None
        worker.send(Begin(name))

    def _start(self) -> Worker:
        self._started += 1
        assignment = self.assign(self._started)
        while self.server.receive():
            pass
        if self.server.is_gone:
            self.server = self.server.again()
        ours, theirs = socket.socketpair()
        with theirs:
            process = self.server.fork(self._started, theirs)
        worker = Worker(self._started, assignment.seat, process, Connection(ours.detach()))
        forks.hide(worker.line)
        self.workers.append(worker)
        worker.send(assignment)
        return worker

    def messages(self, seconds: float) -> Iterator[tuple[Worker, Any]]:
        """Yield the messages that arrive within some seconds, each with its worker; None as message: the worker has ended."""
        by_line = {worker.line: worker for worker in self.workers}
        for line in wait(list(by_line), seconds):
            worker = by_line[line]  # type: ignore[index] # only connections were given
            worker.last_message = time.monotonic()
            try:
                message = unpacked(worker.line.recv_bytes())
            except Exception:  # noqa: BLE001 - closed, or cut off in the middle of a message
                message = worker.why_not
            if isinstance(message, StopConfirmed):
                worker.stop_unconfirmed = False
                continue
            if message is None or isinstance(message, Unfit):
                self.workers.remove(worker)
            yield worker, message
            if isinstance(message, Ended):
                worker.name = ""

    def stop(self, number: int) -> None:
        """Send `Stop` to all workers.

        Args:
            number: of the signal that asks the run to end.
        """
        self._stopped = time.monotonic()
        for worker in self.workers:
            worker.stop_unconfirmed = True
            worker.send(Stop(number))

    def kill_unresponsive(self) -> None:
        """Kill the workers that were told to stop and have sent nothing for `_UNRESPONSIVE_AFTER` seconds; the server rolls their work back.

        A worker with unread messages on its line is not killed: one of them may be the confirmation.
        """
        now = time.monotonic()
        for worker in self.workers:
            is_silent = now - max(self._stopped, worker.last_message) > _UNRESPONSIVE_AFTER
            if worker.stop_unconfirmed and is_silent and not worker.line.poll():
                worker.process.kill()

    def leave(self, *, at_once: bool) -> None:
        """Send `Leave` to all workers, wait `_LAST_WAIT` seconds for them, and kill those that are left.

        Args:
            at_once: do not wait: a signal asks the run to end.
        """
        for worker in self.workers:
            worker.send(Leave())
        until = time.monotonic() + (0.0 if at_once else _LAST_WAIT)
        for worker in self.workers:
            worker.process.end(max(0.0, until - time.monotonic()))
            worker.line.close()
        self.workers.clear()
        self.server.close()
