"""Read the attempts that a database remembers."""

from __future__ import annotations

from collections.abc import Sequence

from migrate_graph.core.history import Attempt, AttemptState
from migrate_graph.core.timeline import Course, Timeline, ViewChanges
from migrate_graph.errors import UsageError
from migrate_graph.workflow.assessment import Assessment
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


def run_of(attempts: Sequence[Attempt], wanted: str | None) -> tuple[Attempt, ...]:
    """Return the attempts of one run, oldest first.

    Args:
        attempts: the attempts to choose from, oldest first; records that were written by hand belong to no run.
        wanted: the run's id, or its beginning; None: the newest run.

    Raises:
        UsageError: there is no such run, or several ids begin with this.
    """
    ran = [attempt for attempt in attempts if attempt.was_run]
    runs = list(dict.fromkeys(attempt.run for attempt in ran))
    found = runs[-1:] if wanted is None else [run for run in runs if run.startswith(wanted)]
    if len(found) != 1:
        what = "the journal has no run" if not found else f"{len(found)} runs begin with '{wanted}'"
        raise UsageError(what, hint="migrate log --json has the id of each attempt's run")
    return tuple(attempt for attempt in ran if attempt.run == found[0])


def changes_of(found: Assessment, run: Sequence[Attempt]) -> dict[str, ViewChanges]:
    """Return what each migration of a run did to views, computed from the graph as it is now: the journal does not store views."""
    graph, order = found.graph, found.graph.order(found.project.ordering)
    tried = dict.fromkeys(attempt.name for attempt in run if attempt.state is AttemptState.APPLIED)
    earlier = [name for name in order if name in found.reading.history.applied and name not in tried]
    course = Course(Timeline(graph), frozenset())
    changes = {name: course.run(graph.migrations[name]) for name in (*earlier, *tried) if name in graph.migrations}
    return {name: changes[name] for name in tried if name in changes}
