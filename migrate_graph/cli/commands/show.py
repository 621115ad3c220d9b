"""`migrate show`: all about one migration or view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.commands.log import attempt_document, log_text
from migrate_graph.cli.commands.status import migration_document, view_document, view_notes, view_word
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.json_document import condition_document
from migrate_graph.cli.options import FileOption, JsonOption, NameArgument, OfflineOption, is_plan_file
from migrate_graph.cli.text import listed, moment
from migrate_graph.errors import MigrateGraphError
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import document, fields_of

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.core.model import Migration, View
    from migrate_graph.workflow.show import Shown


@command(
    Section.LOOK, "migrate show add_total_20260402_001", "migrate show InvoiceTotals --json", "migrate show plan.json"
)
def show(
    context: typer.Context,
    name: NameArgument,
    *,
    file: FileOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Show all about one migration or view. Shows where it is, what it needs, what needs it, what was tried.

    If NAME ends in .json and no migration or view has that name, it is a sealed plan: shows the plan, and whether it can still run.
    """
    from migrate_graph.workflow.project import require_name
    from migrate_graph.workflow.show import show as look_at

    session = session_of(context)
    if is_plan_file(Path(name)) and not _is_declared(session, file, name):
        from migrate_graph.cli.sealed_plan import show_plan

        show_plan(session, Path(name), file=file, offline=offline, json=json)
        return
    project = session.project(file)
    require_name(project, name)
    reading = session.reading(project, offline=offline, closely=name in project.graph.views)
    shown = look_at(project, reading, name)
    if json:
        session.console.show_json(shown_document(shown))
        return
    for each in shown:
        deliver_lines(session, shown_text(each, session.console.style))


def _is_declared(session: Session, file: Path | None, name: str) -> bool:
    """Return whether a migration or a view has this name; False if the project cannot be loaded."""
    try:
        graph = session.project(file).graph
    except MigrateGraphError:
        return False
    return name in graph.migrations or name in graph.views


def shown_text(shown: Shown, style: TextStyle) -> Iterator[str]:
    """Yield everything known of one migration or view."""
    from migrate_graph.core.model import Migration  # help needs none of it

    declared, paint = shown.declared, style.paint
    name = one_line(declared.name)
    what = f"{shown.node.kind}  {one_line(str(declared.source))}"
    heading = style.lines(what, head=f"{paint(name, 'bold')}  ", indent=2, tone="muted")
    yield from map(str.rstrip, heading)
    for line in declared.description.splitlines():
        yield from map(str.rstrip, style.lines(one_line(line.strip()), head="  "))
    yield ""
    rows = _migration_rows(shown, declared) if isinstance(declared, Migration) else _view_rows(shown, declared)
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        yield from style.lines(value, head=f"  {paint(key.ljust(width), 'muted')}  ")
    if shown.attempts:
        yield ""
        yield from log_text(shown.attempts, style)


def _migration_rows(shown: Shown, declared: Migration) -> list[tuple[str, str]]:
    status = shown.status
    assert status is not None  # noqa: S101 - a migration always has one
    when = moment(status.known.when)
    rows = [("state", f"{status.known.state}{f', {when}' if when else ''}")]
    rows += [("detail", one_line(status.detail))] if status.detail else []
    rows += [("requires", listed(shown.requires)), ("required by", listed(shown.dependents))]
    rows += [("views", listed(shown.touches))] if shown.touches else []
    rows += [("transaction", str(declared.transaction))]
    rows += [("after", f"{one_line(after.text)} ({one_line(str(after.source))})")] if (after := declared.after) else []
    rows += [("tags", listed(sorted(declared.tags)))] if declared.tags else []
    if declared.commutes_with:
        why = f": {one_line(declared.why)}" if declared.why else ""
        rows += [("commutes with", f"{listed(declared.commutes_with)}{why}")]
    return rows


def _view_rows(shown: Shown, declared: View) -> list[tuple[str, str]]:
    status = shown.view_status
    assert status is not None  # noqa: S101 - a view always has one
    return [
        ("state", view_word(status)),
        *[("", sentence) for sentence, _ in view_notes(status)],
        ("window", one_line(window_of(declared))),
        ("uses", f"{listed(shown.requires)}{_how_known(declared)}"),
        ("used by", listed(shown.dependents)),
        ("touched by", listed(shown.touches)),
    ]


def _how_known(view: View) -> str:
    from migrate_graph.core.model import UsesFrom

    words = {UsesFrom.LEARNT: "seen", UsesFrom.GUESSED: "by its query"}
    return f" ({words[view.uses_from]}, not declared)" if view.uses and view.uses_from in words else ""


def window_of(view: View) -> str:
    """Return the window of a view (since and until which migration it exists) in words."""
    parts = [f"since {view.since}" if view.since else "", f"until {view.until}" if view.until else ""]
    parts.append(f"replaces {view.replaces}" if view.replaces else "")
    return ", ".join(part for part in parts if part) or "always"


def shown_document(shown: tuple[Shown, ...]) -> dict[str, Any]:
    """Return everything known of a name."""
    return document("show", {"nodes": [_shown(each) for each in shown], "plan": None})


def _shown(shown: Shown) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if shown.status:
        status = migration_document(shown.status)
    elif shown.view_status:
        status = view_document(shown.view_status)
    from migrate_graph.core.model import Migration

    return {
        "kind": str(shown.node.kind),
        **status,
        "description": shown.declared.description,
        **({"condition": condition_document(shown.declared)} if isinstance(shown.declared, Migration) else {}),
        **fields_of(shown, "requires dependents touches"),
        "commutes_with": list(shown.declared.commutes_with) if isinstance(shown.declared, Migration) else [],
        "why": shown.declared.why if isinstance(shown.declared, Migration) else "",
        "attempts": [attempt_document(attempt) for attempt in shown.attempts],
    }
