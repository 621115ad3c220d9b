"""How many processes can work under the lock of a run."""

from __future__ import annotations

from msgspec import Struct


class Room(Struct, frozen=True):
    """How many processes can work under the lock of a run.

    Attributes:
        number: how many.
        why: why fewer processes can work than were asked for; empty where all can.
        hint: what to do about that.
    """

    number: int
    why: str = ""
    hint: str = ""
