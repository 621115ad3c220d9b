"""What the reading commands say to programs: JSON documents, each with a `schema_version`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migrate_graph import __version__
from migrate_graph.errors import InvalidGraph, MigrateGraphError

if TYPE_CHECKING:
    from migrate_graph.core.events import LockHolder
    from migrate_graph.core.history import Attempt
    from migrate_graph.core.plan import Step
    from migrate_graph.core.rules import Rule
    from migrate_graph.user_files import SourceLocation
    from migrate_graph.workflow.looking import MigrationState, Shown, StatusReport, ViewState, Why
    from migrate_graph.workflow.plan import Planned
    from migrate_graph.workflow.project import Project, Reading

SCHEMA_VERSION = 1
"""Raised when a key changes its meaning or goes; new keys do not raise it."""


def document(kind: str, body: Mapping[str, Any], *, exit_code: int = 0) -> dict[str, Any]:
    """Return a JSON document of one kind."""
    tool = {"name": "migrate_graph", "version": __version__}
    return {"schema_version": SCHEMA_VERSION, "kind": kind, "tool": tool, "exit_code": int(exit_code), **body}


def error_document(error: MigrateGraphError, exit_code: int) -> dict[str, Any]:
    """Return what went wrong; with the findings when the graph is invalid."""
    body: dict[str, Any] = {"error": {"message": error.message, "hint": error.hint, **_place(error.source)}}
    if isinstance(error, InvalidGraph):
        from migrate_graph.reports.formats import finding_document

        body["findings"] = [finding_document(finding) for finding in error.findings]
    return document("error", body, exit_code=exit_code)


def plan_document(project: Project, planned: Planned, *, exit_code: int) -> dict[str, Any]:
    """Return a plan."""
    from migrate_graph.reports.formats import finding_document

    plan = planned.plan
    body = {
        "project": project.name,
        **_reading(planned.reading),
        "ordering": str(project.ordering),
        "steps": [_step(step, number) for number, step in enumerate(plan.steps, start=1)],
        "blocked": [
            {"name": each.migration.name, "by": list(each.by), **_place(each.migration.source)} for each in plan.blocked
        ],
        "applied": list(plan.applied),
        "interrupted": list(plan.interrupted),
        "orphans": list(plan.orphans),
        "unselected": list(plan.unselected),
        "added": list(plan.added),
        "findings": [finding_document(finding) for finding in planned.findings],
    }
    return document("plan", body, exit_code=exit_code)


def _step(step: Step, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "name": step.migration.name,
        **_place(step.migration.source),
        "module": step.migration.module,
        "requires": list(step.migration.requires),
        "after": list(step.reason.after),
        "status": str(step.reason.status),
        "late": step.reason.late,
        "transaction": str(step.migration.transaction),
        "views_down": list(step.views_down),
        "views_up": list(step.views_up),
        "creates": list(step.creates),
        "retires": list(step.retires),
    }


def status_document(project: Project, report: StatusReport) -> dict[str, Any]:
    """Return what is known of every migration and view."""
    body = {
        "project": project.name,
        **_reading(report.reading),
        "lock_holder": _holder(report.lock_holder),
        "migrations": [_migration(state) for state in report.migrations],
        "views": [_view(state) for state in report.views],
        "views_down": [
            {"relation": stored.relation, "manager": stored.manager, "migration": stored.migration}
            for stored in report.reading.history.views_down
        ],
    }
    return document("status", body)


def _reading(reading: Reading) -> dict[str, Any]:
    return {"database": reading.database or None, "note": reading.note}


def _holder(holder: LockHolder | None) -> dict[str, Any] | None:
    if holder is None:
        return None
    return {"pid": holder.pid, "application": holder.application, "client": holder.client, "since": holder.since}


def _migration(state: MigrationState) -> dict[str, Any]:
    return {
        "name": state.name,
        "status": str(state.status),
        "when": _time(state.when),
        "duration": state.duration,
        "commits": state.commits,
        "detail": state.detail,
        "late": state.late,
        "changed": state.changed,
        **_place(state.source),
    }


def _view(state: ViewState) -> dict[str, Any]:
    view = state.view
    return {
        "name": state.name,
        "lives": state.lives,
        "down": state.down,
        "retired": state.retired,
        "replaced_by": state.replaced_by,
        "missing": list(state.missing),
        "changed": list(state.changed),
        "since": view.since,
        "until": view.until,
        "replaces": view.replaces,
        "uses": list(view.uses),
        **_place(view.source),
    }


def shown_document(shown: tuple[Shown, ...]) -> dict[str, Any]:
    """Return everything known of a name."""
    return document("show", {"nodes": [_shown(each) for each in shown]})


def _shown(shown: Shown) -> dict[str, Any]:
    state = _migration(shown.state) if shown.state else _view(shown.view_state) if shown.view_state else {}
    return {
        "kind": str(shown.node.kind),
        **state,
        "description": shown.declared.description,
        "requires": list(shown.requires),
        "dependents": list(shown.dependents),
        "touches": list(shown.touches),
        "attempts": [attempt_document(attempt) for attempt in shown.attempts],
    }


def log_document(attempts: tuple[Attempt, ...], reading: Reading) -> dict[str, Any]:
    """Return the attempts."""
    return document("log", {**_reading(reading), "attempts": [attempt_document(attempt) for attempt in attempts]})


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    """Return one attempt."""
    return {
        "name": attempt.name,
        "run": attempt.run,
        "state": str(attempt.state),
        "commits": attempt.commits,
        "started": _time(attempt.started),
        "finished": _time(attempt.finished),
        "duration": attempt.duration,
        "host": attempt.host,
        "pid": attempt.pid,
        "version": attempt.version,
        "error": attempt.error,
    }


def why_document(answer: Why) -> dict[str, Any]:
    """Return why something stands where it stands."""
    path = [
        {
            "before": before.name,
            "before_kind": str(before.kind),
            "kind": str(kind),
            "after": after.name,
            "after_kind": str(after.kind),
        }
        for before, kind, after in answer.path
    ]
    body = {
        "name": answer.name,
        "position": answer.position,
        "waits_for": list(answer.waits_for),
        "waited_for_by": list(answer.waited_for_by),
        "ancestors": answer.ancestors,
        "descendants": answer.descendants,
        "touches": list(answer.touches),
        "earlier": answer.earlier or None,
        "later": answer.later or None,
        "path": path,
        "tie_break": list(answer.tie_break),
    }
    return document("why", body)


def rule_document(*rules: Rule) -> dict[str, Any]:
    """Return the pages of rules."""
    pages = [
        {"code": rule.code, "name": rule.name, "severity": str(rule.severity), "page": rule.page} for rule in rules
    ]
    return document("rules", {"rules": pages})


def _place(source: SourceLocation | None) -> dict[str, Any]:
    return {"path": source.path if source else None, "line": source.line if source else None}


def _time(when: datetime | None) -> str | None:
    return when.isoformat() if when else None
