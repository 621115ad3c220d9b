"""Asks, while a migration's body runs, what its statement waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from migrate_graph.core.events import Observer, StepWaiting
from migrate_graph.waits import Watch

_FIRST_LOOK = 0.25
"""Seconds until it is first asked: early, since a short lock_timeout would end the waiting before anybody has looked."""


@dataclass(slots=True)
class StepWatch:
    """What is known of the waiting of one migration.

    Attributes:
        name: of the migration.
        ask: returns what its statement waits for; empty when it does not wait.
        observer: told what it waits for.
        every: seconds between two questions, and until the first answer is told.
        reason: the last answer that was not empty.
    """

    name: str
    ask: Callable[[], str]
    observer: Observer
    every: float
    reason: str = ""

    @contextlib.contextmanager
    def on(self, watch: Watch) -> Iterator[None]:
        """Watch what happens inside; afterwards nothing is asked any more."""
        with watch.on(self._look, first=_FIRST_LOOK, every=self.every):
            yield

    def _look(self, seconds: float) -> None:
        reason = self.ask()
        self.reason = reason or self.reason
        if reason and seconds >= self.every:
            self.observer(StepWaiting(self.name, seconds, reason))
