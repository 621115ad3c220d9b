"""Judge what a rehearsal saw, together with everything else that is known of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.config.settings import DATABASE_HINT
from migrate_graph.core.events import Outcome
from migrate_graph.core.footprint import Footprint
from migrate_graph.database import is_one_file
from migrate_graph.errors import ConfigError, ExitCode, UsageError
from migrate_graph.workflow.place import Place
from migrate_graph.workflow.rehearse import Rehearsal, RehearseOptions, rehearse

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer, Result
    from migrate_graph.core.plan import Plan
    from migrate_graph.workflow.assessment import Assessment


def rehearse_plan(found: Assessment, options: RehearseOptions, observer: Observer) -> tuple[Assessment, Rehearsal]:
    """Rehearse what would run, and judge what was seen.

    Args:
        found: a plan that was made with the database's history.
        options: where and how it happens.
        observer: called with every event.

    Raises:
        ConfigError: no database is configured.
        UsageError: an option does not fit an SQLite file, which is always rehearsed on a whole copy.
        MigrateGraphError: see `rehearse`.
    """
    project = found.project
    if not project.config.has_database:
        raise ConfigError("a rehearsal needs a database, and none is configured", hint=DATABASE_HINT)
    if options.on is Place.HERE and is_file(found):
        raise UsageError(
            "an SQLite database is always rehearsed on a copy of the file",
            hint="leave out --on here: a copy shows the same",
        )
    if options.data and is_file(found):
        raise UsageError(
            "an SQLite database is copied with all of its rows", hint="leave out --data: the rows are there already"
        )
    plan = found.planned
    rehearsal = rehearse(project, found, options, observer) if plan.steps else Rehearsal(on=options.on, plan=plan)
    rehearsal = replace(rehearsal, plan=_with_endings(rehearsal, without_rows=_has_no_rows(found, options)))
    return found.with_rehearsed(rehearsal.plan), rehearsal


def is_file(found: Assessment) -> bool:
    """Return whether the database is a file."""
    config = found.project.config
    return config.has_database and is_one_file(config.migrate_uri)


def _has_no_rows(found: Assessment, options: RehearseOptions) -> bool:
    return options.on is Place.CLONE and not options.data and not is_file(found)


def _with_endings(rehearsal: Rehearsal, *, without_rows: bool) -> Plan:
    """Return the plan with the end of each step in its footprint, so that rules can judge it."""
    results = {result.name: result for result in rehearsal.results}
    steps = []
    for step in rehearsal.plan.steps:
        seen, result = step.footprint, results.get(step.migration.name)
        if result is not None and result.outcome in _FAILED:
            seen = replace(seen or Footprint(), failure=result.error or str(result.outcome), failed_at=result.source)
        if result is not None and result.outcome is Outcome.NOT_REACHED and result.error:
            seen = _unseen(seen or Footprint(), result)
        if seen is not None:
            seen = replace(seen, without_rows=without_rows)
        steps.append(replace(step, footprint=seen))
    return replace(rehearsal.plan, steps=tuple(steps))


_FAILED = frozenset({Outcome.REFUSED, Outcome.RAISED, Outcome.INTERRUPTED})


def _unseen(seen: Footprint, result: Result) -> Footprint:
    return (
        seen if result.error in seen.not_rehearsed else replace(seen, not_rehearsed=(*seen.not_rehearsed, result.error))
    )


def exit_code_of(found: Assessment, rehearsal: Rehearsal, *, otherwise: int) -> int:
    """Return the exit code of a command that has rehearsed.

    Args:
        found: the assessment, with what the rehearsal saw.
        rehearsal: the rehearsal.
        otherwise: the exit code when the rehearsal has found nothing wrong.
    """
    if rehearsal.exit_code:
        return rehearsal.exit_code
    return ExitCode.INVALID_GRAPH if found.errors_of_rehearsal else otherwise
