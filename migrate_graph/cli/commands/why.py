"""`migrate why`: why something has its place in the order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.options import FileOption, JsonOption, NameArgument, OfflineOption
from migrate_graph.cli.text import listed
from migrate_graph.errors import MigrateGraphError, Stopped
from migrate_graph.messages import first_line
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import document, fields_of

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.why import Why


@command(
    Section.LOOK,
    "migrate why add_total_20260402_001",
    "migrate why add_total_20260402_001 --before drop_legacy_20260403_001",
)
def why(
    context: typer.Context,
    name: NameArgument,
    *,
    before: Annotated[str | None, typer.Option("--before", metavar="OTHER", help="Compare with this one.")] = None,
    file: FileOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Explain why something has its place in the order. Shows the path of edges, or the rule that decided.

    The database is asked only for the state of a migration. If it does not answer, the output says so and shows everything else.
    """
    from migrate_graph.workflow.why import why as ask_why

    session = session_of(context)
    project = session.project(file)
    answer = ask_why(project, name, before=before)
    state = "" if offline or answer.position is None else _state_of(session, project, name)
    if json:
        session.console.show_json(why_document(answer, state))
        return
    places = {view: str(each.source) for view, each in project.graph.views.items()}
    places |= {migration: str(each.source) for migration, each in project.graph.migrations.items()}
    deliver_lines(session, why_text(answer, state, session.console.style, lambda known: places.get(known, "")))


def _state_of(session: Session, project: Project, name: str) -> str:
    """Return the state of a migration; empty if no database answers, since the order is known without one."""
    from migrate_graph.workflow.status import read_status

    if not project.config.has_database:
        return ""
    try:
        known = read_status(project, session.reading(project)).migrations
    except Stopped:
        raise
    except MigrateGraphError as error:
        session.console.tell(
            f"{session.console.paint_err('note:', 'info')} the state of {session.console.clean(name)} is not known, "
            f"since the database did not answer: {session.console.clean(first_line(error))}"
        )
        return ""
    return next((str(each.known.state) for each in known if each.name == name), "")


def why_text(answer: Why, state: str, style: TextStyle, place: Callable[[str], str]) -> Iterator[str]:
    """Yield why something has its place in the order.

    Args:
        answer: the place in the order, and its reasons.
        state: of the migration; empty when it is not known.
        style: how text is written.
        place: returns the file and line of a name.
    """
    position = f"number {answer.position} in the order" if answer.position else "a view"
    name = one_line(answer.name)
    what = f"{position}  {one_line(place(answer.name))}"
    heading = style.lines(what, head=f"{style.paint(name, 'bold')}  ", indent=2, tone="muted")
    yield from map(str.rstrip, heading)
    yield ""
    rows = [
        ("waits for", f"{listed(answer.waits_for)}{_in_all(answer.ancestors, len(answer.waits_for))}"),
        ("waited for by", f"{listed(answer.waited_for_by)}{_in_all(answer.descendants, len(answer.waited_for_by))}"),
    ]
    if answer.touches:
        rows.append(("opens" if answer.position else "opened by", listed(answer.touches)))
    if answer.comes_up_with:
        rows.append(("brings up" if answer.position else "comes up in", listed(answer.comes_up_with)))
    if state:
        rows.append(("state", state))
    for key, value in rows:
        yield from style.lines(value, head=f"  {style.paint(key.ljust(13), 'muted')}  ")
    if answer.path or answer.tie_break:
        yield ""
        yield from style.lines(_why_heading(answer), indent=4)
    for before, kind, after in answer.path:
        edge = f"'{one_line(after.name)}' {_EDGE_WORDS[kind]} '{one_line(before.name)}'"
        *above, last = style.lines(edge, head="  ", indent=6)
        where = style.lines(one_line(place(after.name)), head=f"{last}  ", indent=6, tone="muted")
        yield from map(str.rstrip, (*above, *where))
    for sentence in answer.tie_break:
        yield from style.lines(one_line(sentence), head="  ")


_EDGE_WORDS = {
    "requires": "requires",
    "since": "lives since",
    "until": "ends",
    "uses": "uses",
    "reads": "reads",
    "replaces": "replaces",
    "touches": "is rebuilt by",
}


def _why_heading(answer: Why) -> str:
    if not answer.earlier:
        return "it runs first:"
    if answer.position is None and not answer.path:
        return f"'{one_line(answer.earlier)}' and '{one_line(answer.later)}':"
    return f"'{one_line(answer.earlier)}' comes before '{one_line(answer.later)}':"


def _in_all(total: int, shown: int) -> str:
    return f"  ({total} in all)" if total > shown else ""


def why_document(answer: Why, state: str) -> dict[str, Any]:
    """Return why something has its place in the order."""
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
        **fields_of(answer, "name position"),
        "state": state or None,
        **fields_of(answer, "waits_for waited_for_by ancestors descendants touches comes_up_with"),
        "earlier": answer.earlier or None,
        "later": answer.later or None,
        "path": path,
        "tie_break": list(answer.tie_break),
    }
    return document("why", body)
