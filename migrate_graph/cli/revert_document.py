"""The JSON of `migrate revert --plan` and `--rehearse`: what would be undone, by which statements or functions, and which data is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migrate_graph.cli.rehearsal_document import footprint_document, rehearsal_document
from migrate_graph.reports.document import document, place_document

if TYPE_CHECKING:
    from migrate_graph.core.footprint import Footprint
    from migrate_graph.core.plan import Step
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.revert import Foreseen, Loss


def revert_document(
    found: Assessment, foreseen: Foreseen | None, losses: Sequence[Loss], *, exit_code: int
) -> dict[str, Any]:
    """Return what would be undone.

    Args:
        found: the plan; a migration without its own `down` has a derived one, where that is possible.
        foreseen: the result of a rehearsal; None without one.
        losses: the data that would be lost, counted.
        exit_code: of the process.
    """
    seen = foreseen.rehearsal.footprints if foreseen is not None and foreseen.rehearsal is not None else {}
    body = {
        "project": found.project.name,
        "database": found.reading.database,
        "steps": [_step(found.project, step, seen.get(step.migration.name)) for step in found.planned.steps],
        "rehearsal": None if foreseen is None else _rehearsal(foreseen, losses),
    }
    return document("revert", body, exit_code=exit_code)


def _step(project: Project, step: Step, seen: Footprint | None) -> dict[str, Any]:
    from migrate_graph.workflow.ways_back import told_of

    migration, told = step.migration, told_of(project, step.migration)
    views = step.views
    return {
        "name": migration.name,
        **place_document(migration.source),
        "after": list(step.reason.after),
        "down": {
            "statements": None if told.statements is None else list(told.statements),
            "function": told.function or None,
            **place_document(told.source),
        },
        "views_down": list(views.down),
        "views_up": list(views.up),
        "views_new": list(views.new),
        "views_retired": list(views.retired),
        "footprint": None if seen is None else footprint_document(seen),
    }


def _rehearsal(foreseen: Foreseen, losses: Sequence[Loss]) -> dict[str, Any]:
    return {
        "unknown": foreseen.unknown,
        "losses": [{"what": loss.what, "unit": loss.unit, "count": loss.rows} for loss in losses],
        "deviations": list(foreseen.deviations),
        "unsure": foreseen.unsure,
        **({} if foreseen.rehearsal is None else rehearsal_document(foreseen.rehearsal)),
    }
