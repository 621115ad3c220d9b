"""Asks, while a migration works, what its statement waits for: one thread for a whole run."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from migrate_graph.core.events import Observer, StepWaiting
from migrate_graph.errors import MigrateGraphError

_FIRST_LOOK = 0.25
"""Seconds until it is first asked: early, since a short lock_timeout would end the waiting before anybody has looked."""


@dataclass(slots=True)
class Watched:
    """One block that is watched.

    Attributes:
        name: of the migration.
        ask: returns what the block waits for; empty when it does not wait.
        reason: the last answer that was not empty.
    """

    name: str
    ask: Callable[[], str]
    reason: str = ""
    started: float = field(default_factory=time.monotonic)
    ended: threading.Event = field(default_factory=threading.Event)
    asking: threading.Lock = field(default_factory=threading.Lock)


class Watch:
    """The thread that asks.

    Args:
        observer: told what is waited for.
        every: seconds between two questions, and until the first answer is told.
    """

    def __init__(self, observer: Observer, *, every: float) -> None:
        self._observer = observer
        self._every = every
        self._next: queue.SimpleQueue[Watched | None] = queue.SimpleQueue()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep the thread while inside."""
        thread = threading.Thread(target=self._work, name="migrate_graph watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._next.put(None)
            thread.join()

    @contextlib.contextmanager
    def on(self, name: str, ask: Callable[[], str]) -> Iterator[Watched]:
        """Watch what happens inside; afterwards nothing is asked any more."""
        watched = Watched(name, ask)
        self._next.put(watched)
        try:
            yield watched
        finally:
            watched.ended.set()
            with watched.asking:  # a question that is under way uses a connection of ours
                pass

    def _work(self) -> None:
        while (watched := self._next.get()) is not None:
            pause = min(_FIRST_LOOK, self._every)
            while not watched.ended.wait(pause):
                with contextlib.suppress(MigrateGraphError):  # a question that fails must not disturb the work
                    self._ask(watched)
                pause = min(2 * pause, self._every)

    def _ask(self, watched: Watched) -> None:
        with watched.asking:
            if watched.ended.is_set():
                return
            reason = watched.ask()
        watched.reason = reason or watched.reason
        seconds = time.monotonic() - watched.started
        if reason and seconds >= self._every and not watched.ended.is_set():
            self._observer(StepWaiting(watched.name, seconds, reason))
