"""Read the attempts that a database remembers."""

from __future__ import annotations

from migrate_graph.core.history import Attempt
from migrate_graph.workflow.project import Project, Reading, unknown_name


def log(reading: Reading, name: str | None = None) -> tuple[Attempt, ...]:
    """Return the attempts, oldest first: all of them, or those of one migration."""
    return tuple(attempt for attempt in reading.history.attempts if name is None or attempt.name == name)


def log_of(project: Project, reading: Reading, name: str | None) -> tuple[Attempt, ...]:
    """Return the attempts of a migration that is declared, or that the database remembers.

    Raises:
        UsageError: neither knows the name.
    """
    attempts = log(reading, name)
    if (
        name is not None
        and not attempts
        and name not in reading.history.records
        and name not in project.graph.migrations
    ):
        raise unknown_name(project, name)
    return attempts
