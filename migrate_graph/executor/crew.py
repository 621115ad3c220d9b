"""The processes that work for a run: started when there is something to do for one more, and ended with the run."""

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
from migrate_graph.executor.line import Assignment, Begin, Ended, Heard, Leave, Stop, Unfit, packed, unpacked

if TYPE_CHECKING:
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.executor.fork_server import Forked, ForkServer

_LAST_WAIT = 5.0
"""Seconds until a worker whose work is done has ended: threads and exit functions of user code get three."""

_DEAF_AFTER = 1.0
"""Seconds of silence after which a process that has not heard that it is to stop never will: it is stopped, or a C function keeps the interpreter."""

_DYING = 1.0
"""Seconds between the moment when a process closes its line and its end."""


class Worker(Struct, eq=False):
    """One process.

    Attributes:
        number: from 1.
        seat: under which lock it works.
        process: it.
        line: to it.
        name: of the migration that it runs; empty where it runs none.
        key: of the attempt that it has begun.
        is_deaf: it was told to stop, and has not said that it heard.
        last_word: when something was heard from it.
    """

    number: int
    seat: Any
    process: Forked
    line: Connection
    name: str = ""
    key: AttemptKey | None = None
    is_deaf: bool = False
    last_word: float = 0.0

    def say(self, word: Any) -> None:
        """Send something to it; if it is gone, that is heard from it."""
        with suppress(OSError):
            self.line.send_bytes(packed(word))

    @property
    def why_not(self) -> Unfit | None:
        """Why there is none, where it could not be forked."""
        self.process.ends_within(0.0)
        return Unfit(no_process(self.process.fault)) if self.process.fault else None

    def end(self) -> str:
        """End it, if it has not ended, and return how it has, in words."""
        self.process.end(_DYING)
        self.line.close()
        if self.is_deaf:
            return f"its process (pid {self.process.pid}) did not hear the signal, and was ended"
        return self.process.how


class Crew(Struct):
    """All of them.

    Attributes:
        assign: makes what a new one is told first, by its number.
        server: what they are forked from.
        workers: those that live.
    """

    assign: Callable[[int], Assignment]
    server: ForkServer
    workers: list[Worker] = field(default_factory=list)
    _started: int = 0
    _stopped: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether one of them runs a migration."""
        return any(worker.name for worker in self.workers)

    def begin(self, name: str) -> None:
        """Have a migration run, by one that has nothing to do, or by a new one.

        Raises:
            MigrateGraphError: none can be started, or given a seat.
        """
        worker = next((each for each in self.workers if not each.name), None) or self._start()
        worker.name, worker.key = name, None
        worker.say(Begin(name))

    def _start(self) -> Worker:
        self._started += 1
        assignment = self.assign(self._started)
        while self.server.hear():
            pass
        if self.server.is_gone:
            self.server = self.server.again()
        ours, theirs = socket.socketpair()
        with theirs:
            process = self.server.fork(self._started, theirs)
        worker = Worker(self._started, assignment.seat, process, Connection(ours.detach()))
        forks.hide(worker.line)
        self.workers.append(worker)
        worker.say(assignment)
        return worker

    def heard(self, seconds: float) -> Iterator[tuple[Worker, Any]]:
        """Yield what they say within some seconds: each word with who said it, and None for one that is gone."""
        by_line = {worker.line: worker for worker in self.workers}
        for line in wait(list(by_line), seconds):
            worker = by_line[line]  # type: ignore[index] # only connections were given
            worker.last_word = time.monotonic()
            try:
                word = unpacked(worker.line.recv_bytes())
            except Exception:  # noqa: BLE001 - closed, or cut off in the middle of a word
                word = worker.why_not
            if isinstance(word, Heard):
                worker.is_deaf = False
                continue
            if word is None or isinstance(word, Unfit):
                self.workers.remove(worker)
            yield worker, word
            if isinstance(word, Ended):
                worker.name = ""

    def stop(self, number: int) -> None:
        """Stop all of them: a signal wants the run to end."""
        self._stopped = time.monotonic()
        for worker in self.workers:
            worker.is_deaf = True
            worker.say(Stop(number))

    def end_deaf(self) -> None:
        """End those that have said nothing since a while after they were told to stop: nobody there can roll anything back, and the server does.

        That one has heard may stand on its line behind other words, or come after them: where any are left it is not known yet.
        """
        now = time.monotonic()
        for worker in self.workers:
            is_silent = now - max(self._stopped, worker.last_word) > _DEAF_AFTER
            if worker.is_deaf and is_silent and not worker.line.poll():
                worker.process.kill()

    def leave(self, *, at_once: bool) -> None:
        """Release all of them, and wait until they are gone, but not for ever.

        Args:
            at_once: somebody wants the run to end.
        """
        for worker in self.workers:
            worker.say(Leave())
        until = time.monotonic() + (0.0 if at_once else _LAST_WAIT)
        for worker in self.workers:
            worker.process.end(max(0.0, until - time.monotonic()))
            worker.line.close()
        self.workers.clear()
        self.server.close()
