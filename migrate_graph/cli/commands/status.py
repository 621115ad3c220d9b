"""`migrate status`: every migration and view with its state, and who is at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.json_document import reading_document, time_text
from migrate_graph.cli.options import JsonOption, OfflineOption, PathArgument
from migrate_graph.cli.text import aligned, lasting, listed, moment
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import document, place_document

if TYPE_CHECKING:
    from migrate_graph.cli.console import Paint
    from migrate_graph.core.events import LockHolder
    from migrate_graph.workflow.looking import MigrationState, StatusReport, ViewState
    from migrate_graph.workflow.project import Project


@command(
    Section.DAILY,
    "migrate status",
    "migrate status --views",
    "migrate status --json",
    "migrate -l",
    together=(Together("--views", excludes=("--json",)),),
)
def status(
    context: typer.Context,
    path: PathArgument = None,
    *,
    views: Annotated[bool, typer.Option("--views", help="Only the views.")] = False,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Show every migration with its state. And the views with their windows, and who is at work."""
    from migrate_graph.workflow.looking import read_status

    session = session_of(context)
    project = session.project(path)
    report = read_status(project, session.reading(project, offline=offline, closely=True))
    if json:
        session.console.show_json(status_document(project, report))
    else:
        deliver_lines(session, status_text(project, report, session.console.paint_out, only_views=views), None)


# -- text ------------------------------------------------------------------------------------------------------------


def status_text(project: Project, report: StatusReport, paint: Paint, *, only_views: bool = False) -> Iterator[str]:
    """Yield what is known of every migration and view."""
    yield paint(_status_heading(project, report), "bold")
    if report.reading.note:
        yield paint(f"({report.reading.note})", "muted")
    if report.lock_holder is not None:
        yield paint(f"at work on it now: {one_line(str(report.lock_holder))}", "warning")
    if not only_views:
        yield from _states_text(report.migrations, paint)
    yield from _views_text(report.views, paint)
    yield from _next_of(report, paint)


def _states_text(migrations: Sequence[MigrationState], paint: Paint) -> Iterator[str]:
    from migrate_graph.core.states import WORDINGS

    yield ""
    rows = [(one_line(state.name), str(state.status), moment(state.when), _lasted(state)) for state in migrations]
    for state, line in zip(migrations, aligned(rows, indent=""), strict=True):
        wording = WORDINGS[state.status]
        yield f"  {paint(wording.glyph, wording.tone)} {line}{_remark(state, paint)}"
        if state.detail:
            yield paint(f"      {one_line(state.detail)}", "muted")


def _status_heading(project: Project, report: StatusReport) -> str:
    from migrate_graph.core.states import State

    counts = [f"{report.count(status)} {status}" for status in State if report.count(status)]
    total = sum(state.status is not State.ORPHAN for state in report.migrations)
    migrations = f"{counted(total, 'migration')}{': ' if counts else ''}{', '.join(counts)}"
    return " · ".join(part for part in (one_line(project.name), one_line(report.reading.database), migrations) if part)


def _lasted(state: MigrationState) -> str:
    return lasting(state.duration) if state.duration is not None else ""


def _remark(state: MigrationState, paint: Paint) -> str:
    from migrate_graph.core.states import State

    parts = []
    if state.commits:
        parts.append(f"{counted(state.commits, 'own commit')} kept")
    if state.late:
        parts.append("late: stands before something applied")
    if state.changed:
        parts.append("changed since it was applied")
    if state.status is State.ORPHAN:
        parts.append("recorded, but not in the code")
    return f"  {paint('; '.join(parts), 'muted')}" if parts else ""


def _views_text(views: Sequence[ViewState], paint: Paint) -> Iterator[str]:
    if not views:
        return
    from migrate_graph.core.states import WORDINGS, State

    yield ""
    yield paint("views", "bold")
    rows = [(one_line(state.name), _view_sentence(state)) for state in views]
    for state, line in zip(views, aligned(rows, indent=""), strict=True):
        wording = WORDINGS[State.DOWN if state.missing else state.state]
        yield f"  {paint(wording.glyph, wording.tone)} {line}"
        if state.missing and not state.down:
            yield paint(f"      not in the database: {listed(state.missing)}", "error")
        if state.changed:
            yield paint(f"      changed by hand since it was made: {listed(state.changed)}", "warning")
        if state.unknown:
            yield paint(
                f"      not looked at, since somebody is changing what it reads: {listed(state.unknown)}", "muted"
            )


def view_word(state: ViewState) -> str:
    """Return the state of a view in a word or two."""
    if state.down:
        return "DOWN"
    if state.lives:
        return "lives"
    if state.retired:
        return "retired"
    return f"replaced by {one_line(state.replaced_by)}" if state.replaced_by else "not yet"


def _view_sentence(state: ViewState) -> str:
    """Return the state with the end of the window that explains it."""
    view, word = state.view, view_word(state)
    since = f"since {view.since}" if view.since else ""
    until = f"until {view.until}" if view.until else ""
    told = {"lives": (since, until), "DOWN": (since, until), "retired": (until,), "not yet": (since,)}.get(word, ())
    ends = ", ".join(one_line(end) for end in told if end)
    return f"{word} ({ends})" if ends else word


def _next_of(report: StatusReport, paint: Paint) -> Iterator[str]:
    from migrate_graph.core.states import State

    interrupted = [state.name for state in report.migrations if state.status is State.INTERRUPTED]
    lines = [f"migrate resolve {one_line(name)} --applied | --retry" for name in interrupted]
    if not lines and any(state.status in {State.PENDING, State.FAILED} for state in report.migrations):
        lines = ["migrate plan"]
    if lines:
        yield ""
        yield f"{paint('next:', 'info')} {lines[0]}"
        yield from (f"      {line}" for line in lines[1:])


# -- JSON ------------------------------------------------------------------------------------------------------------


def status_document(project: Project, report: StatusReport) -> dict[str, Any]:
    """Return what is known of every migration and view."""
    body = {
        "project": project.name,
        **reading_document(report.reading),
        "lock_holder": _holder(report.lock_holder),
        "migrations": [migration_document(state) for state in report.migrations],
        "views": [view_document(state) for state in report.views],
        "views_down": [
            {"relation": stored.relation, "manager": stored.manager, "migration": stored.migration}
            for stored in report.reading.history.views_down
        ],
    }
    return document("status", body)


def _holder(holder: LockHolder | None) -> dict[str, Any] | None:
    if holder is None:
        return None
    return {"pid": holder.pid, "application": holder.application, "client": holder.client, "since": holder.since}


def migration_document(state: MigrationState) -> dict[str, Any]:
    """Return the state of a migration as JSON."""
    return {
        "name": state.name,
        "status": str(state.status),
        "when": time_text(state.when),
        "duration": state.duration,
        "commits": state.commits,
        "detail": state.detail,
        "late": state.late,
        "changed": state.changed,
        **place_document(state.source),
    }


def view_document(state: ViewState) -> dict[str, Any]:
    """Return the state of a view as JSON."""
    view = state.view
    return {
        "name": state.name,
        "lives": state.lives,
        "down": state.down,
        "retired": state.retired,
        "replaced_by": state.replaced_by,
        "missing": list(state.missing),
        "changed": list(state.changed),
        "unknown": list(state.unknown),
        "since": view.since,
        "until": view.until,
        "replaces": view.replaces,
        "uses": list(view.uses),
        **place_document(view.source),
    }
