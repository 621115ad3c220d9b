"""The boundaries between the steps of a run: whatever dies at one of them leaves a state that is promised."""

from __future__ import annotations

from enum import StrEnum


class Checkpoint(StrEnum):
    """The boundaries, in order."""

    RUN_STARTED = "run started"
    SESSION_OPENED = "session opened"
    ATTEMPT_STARTED = "attempt started"
    VIEW_BUILT = "view built beside the old one"
    VIEWS_DOWN = "views down"
    VIEWS_UP = "views up"
    BODY_RETURNED = "body returned"
    SUCCESS_WRITTEN = "success written, not committed"
    COMMITTED = "committed"
    VIEW_FILLED = "view filled, not committed"
    VIEW_REFRESHED = "view refreshed"
    ROLLED_BACK = "rolled back"
    FAILURE_RECORDED = "failure recorded"
    RUN_FINISHED = "run finished"


def reached(checkpoint: Checkpoint) -> None:
    """Pass a boundary. Does nothing; tests put a kill in its place, one for every name there is."""
