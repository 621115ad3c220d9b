"""The pauses of a run before it tries again what another session has blocked."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.events import Observer, StepRetrying
from migrate_graph.errors import Stopped

if TYPE_CHECKING:
    from migrate_graph.signals import Interruption


class Patience(Struct, frozen=True, kw_only=True):
    """How often work is tried that another session blocks, and how long the pauses between the attempts are.

    Attributes:
        tries: number of attempts, with the first one.
        first_delay: seconds before the second attempt; each further pause is twice as long as the one before.
        longest_delay: no pause is longer than this, in seconds (but for up to 20 % that are added or taken off at random).
    """

    tries: int = 5
    first_delay: float = 1.0
    longest_delay: float = 30.0


class Pauses(Struct):
    """The pauses between attempts at the same work.

    Attributes:
        patience: how many pauses there are, and how long they are.
        interruption: ends a pause when a signal arrives.
        observer: called before each pause.
        attempt: number of the current attempt, from 1.
    """

    patience: Patience
    interruption: Interruption
    observer: Observer
    attempt: int = 1
    _delay: float = 0.0

    def __post_init__(self) -> None:
        self._delay = self.patience.first_delay

    def pause(self, name: str, reason: str) -> bool:
        """Wait before the next attempt; return False when there is none: too many tries, or a signal.

        Args:
            name: name of the migration that was blocked.
            reason: why the attempt failed.
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
