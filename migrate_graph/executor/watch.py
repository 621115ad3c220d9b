"""Asks the database, while a body runs, what its statement waits for: one thread for the whole run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from msgspec import Struct, field

from migrate_graph.core.events import Observer, StepWaiting
from migrate_graph.errors import NoRoom
from migrate_graph.signals import start_thread

_FIRST_LOOK = 0.25
"""Seconds until the first question. It is short because a short lock_timeout could end the statement before anything was asked."""


class Watched(Struct, eq=False):
    """One body that is watched.

    Attributes:
        name: name of the migration.
        ask: returns what its statement waits for; empty when it does not wait.
        reason: the last answer that was not empty.
        started: when the watching began, as `monotonic()` has it.
        pause: seconds until the next question.
        due: when the next question is asked, as `monotonic()` has it.
        ended: the body has ended; nothing is asked any more.
        asking: held while a question is asked.
    """

    name: str
    ask: Callable[[], str]
    reason: str = ""
    started: float = field(default_factory=monotonic)
    pause: float = _FIRST_LOOK
    due: float = 0.0
    ended: bool = False
    asking: threading.Lock = field(default_factory=threading.Lock)


class Watch:
    """The thread that asks.

    Args:
        observer: called with what a statement waits for.
        every: longest time in seconds between two questions; while the body has run for a shorter time, nothing is reported.
    """

    def __init__(self, observer: Observer, *, every: float) -> None:
        self._observer = observer
        self._every = every
        self._now: Watched | None = None
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread while inside; where it cannot be started for lack of memory, nothing is asked."""
        thread: threading.Thread | None = None
        with suppress(NoRoom):
            thread = start_thread(self._work, name="watch")
        try:
            yield
        finally:
            self._stop.set()
            if thread is not None:
                thread.join()

    @contextmanager
    def on(self, name: str, ask: Callable[[], str]) -> Iterator[Watched]:
        """Watch what happens inside; afterwards nothing is asked any more."""
        watched = Watched(name, ask, pause=min(_FIRST_LOOK, self._every))
        watched.due = watched.started + watched.pause
        self._now = watched
        try:
            yield watched
        finally:
            watched.ended, self._now = True, None
            with watched.asking:  # wait for a question that is being asked: it uses a connection of the run
                pass

    def _work(self) -> None:
        while not self._stop.wait(min(_FIRST_LOOK, self._every)):
            watched = self._now
            if watched is not None and monotonic() >= watched.due:
                with suppress(Exception):  # a question that fails must not disturb the work
                    self._ask(watched)
                watched.pause = min(2 * watched.pause, self._every)
                watched.due = monotonic() + watched.pause

    def _ask(self, watched: Watched) -> None:
        with watched.asking:
            if watched.ended:
                return
            reason = watched.ask()
        watched.reason = reason or watched.reason
        seconds = monotonic() - watched.started
        if reason and seconds >= self._every and not watched.ended:
            self._observer(StepWaiting(watched.name, seconds, reason))
