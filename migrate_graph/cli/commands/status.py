"""`migrate status`: every migration and view with its state, and who is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from msgspec import Struct

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.json_document import fact_document, reading_document, stored_view_document
from migrate_graph.cli.options import JsonOption, OfflineOption, PathArgument
from migrate_graph.cli.text import between, listed, moment
from migrate_graph.columns import table
from migrate_graph.messages import counted, lasting, typed
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import document, fields_of, place_document

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.drift import Drift
    from migrate_graph.core.events import LockHolder
    from migrate_graph.core.states import State
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.status import MigrationStatus, StatusReport, ViewStatus


@command(
    Section.DAILY,
    "migrate status",
    "migrate status --views",
    "migrate status --drift",
    "migrate status --json",
    "migrate -l",
    together=(
        Together("--views", excludes=("--json",)),
        Together("--all", excludes=("--json",)),
        Together("--offline", excludes=("--drift",)),
    ),
)
def status(
    context: typer.Context,
    path: PathArgument = None,
    *,
    views: Annotated[bool, typer.Option("--views", help="Only the views.")] = False,
    all_nodes: Annotated[bool, typer.Option("--all", help="One line for each; nothing is folded.")] = False,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Also show what somebody changed in the database by hand since the last run."),
    ] = False,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Show every migration with its state. Also shows the views with their windows, and who is at work."""
    from migrate_graph.workflow.status import read_status

    session = session_of(context)
    project = session.project(path)
    report = read_status(project, session.reading(project, offline=offline, closely=True, drift=drift, obstacles=True))
    if json:
        session.console.show_json(status_document(project, report))
    else:
        text = status_text(project, report, session.console.style, only_views=views, everything=all_nodes)
        deliver_lines(session, text)


# -- text ------------------------------------------------------------------------------------------------------------


Status = TypeVar("Status")

_DULL = frozenset({"applied", "pending", "blocked", "declared"})
_FOLDED = 4
"""The number of consecutive lines with the same content from which on they are shown as one line."""


def status_text(
    project: Project, report: StatusReport, style: TextStyle, *, only_views: bool = False, everything: bool = False
) -> Iterator[str]:
    """Yield the state of every migration and view; what needs attention comes last, where a reader looks first.

    Args:
        project: the loaded project.
        report: the states.
        style: how text is written.
        only_views: leave out the migrations.
        everything: one line for each; otherwise consecutive ones with the same content share a line.
    """
    yield from style.lines(_status_heading(project, report), indent=2, tone="bold")
    if report.note:
        yield style.paint(f"({report.note})", "warning" if report.is_refused else "muted")
    least = len(report.migrations) + len(report.views) + 1 if everything else _FOLDED
    if not only_views:
        yield from _migrations_text(report.migrations, style, least)
    yield from _views_text(report.views, style, least)
    if report.reading.drift is not None:
        yield ""
        yield from drift_text(report.reading.drift, style)
    yield from _attention(report, style)


class _Row(Struct, frozen=True):
    """A line of the list: one migration or view, or several consecutive ones with the same content."""

    state: State
    cells: tuple[str, ...]
    details: tuple[tuple[str, str], ...] = ()


def _rows_text(rows: Sequence[_Row], style: TextStyle) -> Iterator[str]:
    width = style.width and style.width - 4
    for row, (first, *more) in zip(rows, table([row.cells for row in rows], width), strict=True):
        yield f"  {style.mark(row.state)} {first}"
        yield from (f"    {line}" for line in more)
        for detail, tone in row.details:
            yield from style.lines(detail, head="      ", tone=tone)


def _migrations_text(migrations: Sequence[MigrationStatus], style: TextStyle, least: int) -> Iterator[str]:
    yield ""
    rows: list[_Row] = []
    for alike in _alike(migrations, _sameness, least):
        first, names = alike[0], between([state.name for state in alike])
        cells = (names, f"{len(alike):,} {first.known.state}", "", "", _remark(first))
        rows.append(_Row(first.known.state, cells) if len(alike) >= least else _migration_row(first))
    yield from _rows_text(rows, style)


def _alike(states: Iterable[Status], sameness: Callable[[Status], object], least: int) -> Iterator[list[Status]]:
    """Yield the groups that share a line: at least `least` consecutive ones with the same content; otherwise each alone."""
    for _, group in groupby(states, key=sameness):
        alike = list(group)
        yield from [alike] if len(alike) >= least else ([each] for each in alike)


def _sameness(state: MigrationStatus) -> object:
    """Return a value that is equal for migrations that may share a line; one that needs attention has a value of its own."""
    is_dull = state.known.state in _DULL and not state.known.changed and not state.known.commits
    return (state.known.state, state.known.late) if is_dull else state.name


def _migration_row(state: MigrationStatus) -> _Row:
    cells = (one_line(state.name), str(state.known.state), moment(state.known.when), _lasted(state), _remark(state))
    return _Row(state.known.state, cells, ((one_line(state.detail), "muted"),) if state.detail else ())


def _status_heading(project: Project, report: StatusReport) -> str:
    from migrate_graph.core.states import State

    counts = [f"{report.count(status)} {status}" for status in State if report.count(status)]
    total = sum(state.known.state is not State.ORPHAN for state in report.migrations)
    migrations = f"{counted(total, 'migration')}{': ' if counts else ''}{', '.join(counts)}"
    return " · ".join(part for part in (one_line(project.name), one_line(report.reading.database), migrations) if part)


def _lasted(state: MigrationStatus) -> str:
    return lasting(state.known.duration) if state.known.duration is not None else ""


def _remark(state: MigrationStatus) -> str:
    parts = []
    if state.known.commits:
        parts.append(f"{counted(state.known.commits, 'own commit')} kept")
    if state.known.late:
        parts.append("late: stands before something applied")
    if state.known.changed:
        parts.append("changed since it was applied")
    if state.known.state == "orphan":
        parts.append("recorded, but not in the code")
    return "; ".join(parts)


def _views_text(views: Sequence[ViewStatus], style: TextStyle, least: int) -> Iterator[str]:
    if not views:
        return
    yield ""
    yield style.paint("views", "bold")
    rows: list[_Row] = []
    for alike in _alike(views, _view_sameness, least):
        cells = (between([state.view.name for state in alike]), f"{len(alike):,} {view_word(alike[0])}")
        rows.append(_Row(alike[0].known.now, cells) if len(alike) >= least else _view_row(alike[0]))
    yield from _rows_text(rows, style)


def _view_sameness(state: ViewStatus) -> object:
    is_dull = (
        not (state.down or state.unfilled or state.missing or state.altered or state.unknown or state.left_over)
        and not state.known.changed
    )
    return (state.known.now, view_word(state)) if is_dull else state.view.name


def _view_row(state: ViewStatus) -> _Row:
    from migrate_graph.core.states import State

    return _Row(
        State.DOWN if state.missing else state.known.now,
        (one_line(state.view.name), _view_sentence(state)),
        tuple(view_notes(state)),
    )


def view_notes(state: ViewStatus) -> list[tuple[str, str]]:
    """Return what else there is to say of a view in the database: sentences, each with its tone."""
    details = []
    if state.missing and not state.down:
        details.append((f"not in the database: {listed(state.missing)}{_comes_up(state)}", "error"))
    if state.left_over:
        left = f"still in the database: {listed(state.left_over)}; no manager drops it now, so write `DROP VIEW` in a migration"
        details.append((left, "warning"))
    if state.unfilled:
        details.append(
            (f"without its rows: {listed(state.unfilled)}; the next `migrate apply` refreshes it", "warning")
        )
    if state.altered:
        details.append((f"changed by hand since it was made: {listed(state.altered)}", "warning"))
    if state.known.changed:
        details.append((_edited_sentence(state), "warning"))
    if state.unknown:
        details.append((f"not looked at, since somebody is changing what it reads: {listed(state.unknown)}", "muted"))
    return details


def _comes_up(state: ViewStatus) -> str:
    """Return which migration will create a view that was never created; empty for a view that somebody has dropped."""
    if not state.overdue:
        return ""
    return f"; it comes up with {one_line(state.renewed_by) or 'the next migration'}"


def _edited_sentence(state: ViewStatus) -> str:
    """Return a sentence that says that the text of a view has changed, and which migration brings the new text in."""
    brings = f"{one_line(state.renewed_by)} brings the new text in"
    none = f"no migration brings the new text in; let one do so: `{state.view.name}.renew(db)`"
    return f"text changed since it was created; {brings if state.renewed_by else none}"


def view_word(state: ViewStatus) -> str:
    """Return the state of a view in a word or two."""
    if state.down:
        return "DOWN"
    if state.known.applied:
        return "lives"
    if state.retired:
        return "retired"
    return f"replaced by {one_line(state.known.replaced_by)}" if state.known.replaced_by else "not yet"


def _view_sentence(state: ViewStatus) -> str:
    """Return the state with the end of the window that explains it."""
    view, word = state.view, view_word(state)
    since = f"since {view.since}" if view.since else ""
    until = f"until {view.until}" if view.until else ""
    told = {"lives": (since, until), "DOWN": (since, until), "retired": (until,), "not yet": (since,)}.get(word, ())
    ends = ", ".join(one_line(end) for end in told if end)
    return f"{word} ({ends})" if ends else word


def drift_text(drift: Drift, style: TextStyle) -> Iterator[str]:
    """Yield what somebody changed by hand since the last run, or why that is not known."""
    if drift.unknown:
        yield from style.lines(f"drift: unknown: {one_line(drift.unknown)}", indent=2, tone="warning")
        return
    left_out = f" ({drift.ignored} left out by drift_ignore)" if drift.ignored else ""
    if not drift.changes:
        yield f"drift: none{left_out}"
        return
    yield style.paint(f"changed by hand since the last run{left_out}", "bold")
    for change in drift.changes:
        name = f"  {change.what:<7}  {change.fact.kind} {one_line(change.fact.identity)}"
        yield from style.lines(name, indent=2, tone="warning")
        for word, definition in (("was", change.before), ("is", change.after)):
            if definition:
                told = f"           {word}: {one_line(' '.join(definition.split()))}"
                yield from style.lines(told, indent=15)
        if change.parts:
            yield style.paint(f"           with {counted(len(change.parts), 'part')} of it", "muted")
    yield from style.lines("next: migrate drift --adopt NAME writes a migration for it", indent=2)


def _attention(report: StatusReport, style: TextStyle) -> Iterator[str]:
    """Yield what needs a decision or runs now, and the command to type."""
    from migrate_graph.core.history import ways_out
    from migrate_graph.core.states import State

    by_state = {status: [each for each in report.migrations if each.known.state is status] for status in State}
    lines = []
    for status in (State.FAILED, State.INTERRUPTED, State.RUNNING):
        lines += [line for state in by_state[status] for line in _attention_line(state, style)]
    if report.lock_holder is not None:
        lines += style.lines(f"at work on it now: {one_line(str(report.lock_holder))}", indent=2, tone="warning")
        if report.lock_holder.held_up:
            lines += style.lines(f"it is {one_line(report.lock_holder.held_up)}", indent=2, tone="warning")
    commands = [
        one_line(typed("migrate resolve", state.name, " | ".join(ways_out(state.known.attempt))))
        for state in by_state[State.INTERRUPTED]
    ]
    if (
        not commands
        and report.lock_holder is None
        and (by_state[State.PENDING] or by_state[State.FAILED] or by_state[State.REVERTED])
    ):
        commands = ["migrate plan"]
    down = [state.view.name for state in report.views if state.down]
    if down and report.lock_holder is None:  # a run that is at work brings them back itself
        told = f"DOWN, with their definitions stored: {listed(down)}; the next `migrate apply` brings them back before it runs anything"
        lines += style.lines(told, indent=2, tone="warning")
        commands = commands or ["migrate apply"]
    if commands:
        lines.append(f"{style.paint('next:', 'info')} {commands[0]}")
        lines += [f"      {command}" for command in commands[1:]]
    yield from ("", *lines) if lines else ()


def _attention_line(state: MigrationStatus, style: TextStyle) -> list[str]:
    """Return the lines about a migration that failed, was interrupted or runs: its name, its place and its error."""
    from migrate_graph.core.states import WORDINGS

    where = f" ({state.source})" if state.source else ""
    detail = f": {state.detail}" if state.detail else ""
    commits = f", {counted(state.known.commits, 'own commit')} kept" if state.known.commits else ""
    text = one_line(f"{state.known.state} {state.name}{where}{commits}{detail}")
    return style.lines(text, indent=2, tone=WORDINGS[state.known.state].tone)


# -- JSON ------------------------------------------------------------------------------------------------------------


def status_document(project: Project, report: StatusReport) -> dict[str, Any]:
    """Return what is known of every migration and view."""
    body = {
        "project": project.name,
        **reading_document(report.reading, report.note),
        "drift": None if report.reading.drift is None else drift_document(report.reading.drift),
        "lock_holder": _holder(report.lock_holder),
        "migrations": [migration_document(state) for state in report.migrations],
        "views": [view_document(state) for state in report.views],
        "views_down": [*map(stored_view_document, report.reading.history.views_down)],
        "views_unfilled": [*map(stored_view_document, report.reading.history.views_unfilled)],
    }
    return document("status", body)


def drift_document(drift: Drift) -> dict[str, Any]:
    """Return what somebody changed by hand."""
    return {
        **fields_of(drift, "unknown ignored"),
        "changes": [
            {
                "what": change.what,
                **fact_document(change.fact),
                **fields_of(change, "relation before after"),
                "parts": [*map(fact_document, change.parts)],
            }
            for change in drift.changes
        ],
    }


def _holder(holder: LockHolder | None) -> dict[str, Any] | None:
    if holder is None:
        return None
    return {**fields_of(holder, "pid application client since"), "held_up": holder.held_up or None}


def migration_document(state: MigrationStatus) -> dict[str, Any]:
    """Return the state of a migration as JSON."""
    return {
        "name": state.name,
        "status": str(state.known.state),
        **fields_of(state.known, "when duration commits"),
        "detail": state.detail,
        **fields_of(state.known, "late changed"),
        **place_document(state.source),
    }


def view_document(state: ViewStatus) -> dict[str, Any]:
    """Return the state of a view as JSON."""
    view = state.view
    return {
        "name": state.view.name,
        "lives": state.known.applied,
        **fields_of(state, "down unfilled retired"),
        "replaced_by": state.known.replaced_by,
        "left_over": list(state.left_over),
        "missing": list(state.missing),
        "changed": list(state.altered),
        "unknown": list(state.unknown),
        "edited": state.known.changed,
        "renewed_by": state.renewed_by or None,
        **fields_of(view, "since until replaces uses uses_from"),
        **place_document(view.source),
    }
