"""Looks, from a thread of its own, at what the main thread waits for: one thread for a whole run."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class _Watched:
    """One block that is watched.

    Attributes:
        look: called with the seconds since the block began.
        pause: seconds until it is called next; doubles up to `every`.
    """

    look: Callable[[float], None]
    pause: float
    every: float
    started: float = field(default_factory=time.monotonic)
    due: float = 0.0
    ended: bool = False
    looking: threading.Lock = field(default_factory=threading.Lock)


class Watch:
    """The thread that looks; without one that is running, nobody looks."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[_Watched | None] = queue.SimpleQueue()
        self._is_running = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep the thread while inside; where one is running already, that one is used.

        Raises:
            RuntimeError: no thread can be started.
        """
        if self._is_running:
            yield
            return
        thread = threading.Thread(target=self._work, name="migrate_graph watch", daemon=True)
        thread.start()
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            self._news.put(None)
            thread.join()

    @contextlib.contextmanager
    def on(self, look: Callable[[float], None], *, first: float, every: float) -> Iterator[None]:
        """Look at what happens inside, again and again; afterwards nobody looks any more.

        Args:
            look: called in the thread, with the seconds since the beginning; what it raises is dropped.
            first: seconds until the first look; each pause is twice the one before.
            every: the longest pause.
        """
        if not self._is_running:
            yield
            return
        watched = _Watched(look, min(first, every), every)
        watched.due = watched.started + watched.pause
        self._news.put(watched)
        try:
            yield
        finally:
            watched.ended = True
            with watched.looking:  # a look that is under way may use a connection of ours
                pass

    def _work(self) -> None:
        active: list[_Watched] = []
        while True:
            timeout = max(0.0, min(each.due for each in active) - time.monotonic()) if active else None
            try:
                news = self._news.get(timeout=timeout)
            except queue.Empty:
                for watched in active:
                    _look(watched)
            else:
                if news is None:
                    return
                active.append(news)
            active = [each for each in active if not each.ended]


def _look(watched: _Watched) -> None:
    now = time.monotonic()
    if now < watched.due:
        return
    with watched.looking, contextlib.suppress(Exception):  # a question that fails must not disturb the work
        if not watched.ended:
            watched.look(now - watched.started)
    watched.pause = min(2 * watched.pause, watched.every)
    watched.due = time.monotonic() + watched.pause
