"""The points of a run at which tests kill it: a process that ends at one of them leaves the database in a state that is promised."""

from __future__ import annotations

from enum import StrEnum


class Checkpoint(StrEnum):
    """The points, in the order of a run."""

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
    """Do nothing. Tests replace this function by one that kills the process, once for each checkpoint."""
