"""How work of a run is waited for before it is tried again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.events import Observer, StepRetrying
from migrate_graph.errors import Stopped

if TYPE_CHECKING:
    from migrate_graph.signals import Interruption


class Patience(Struct, frozen=True, kw_only=True):
    """How often something is tried that somebody is in the way of, and how long it is waited for in between.

    Attributes:
        tries: attempts in all.
        first_delay: seconds before the second one.
        longest_delay: seconds at most, as each delay is twice the one before.
    """

    tries: int = 5
    first_delay: float = 1.0
    longest_delay: float = 30.0


class Pauses(Struct):
    """The pauses between attempts at the same work.

    Attributes:
        patience: how many, and how long.
        interruption: ends one when a signal arrives.
        observer: told of each.
        attempt: the one that runs, from 1.
    """

    patience: Patience
    interruption: Interruption
    observer: Observer
    attempt: int = 1
    _delay: float = 0.0

    def __post_init__(self) -> None:
        self._delay = self.patience.first_delay

    def pause(self, name: str, reason: str) -> bool:
        """Wait before the next attempt; return False when there is none.

        Args:
            name: of the migration that somebody was in the way of.
            reason: who.
        """
        if self.attempt == self.patience.tries:
            return False
        self.attempt += 1
        pause = min(self._delay, self.patience.longest_delay) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
        self._delay *= 2
        self.observer(StepRetrying(name, self.attempt, self.patience.tries, pause, reason))
        try:
            self.interruption.sleep(pause)
        except Stopped:
            return False
        return True
