"""`migrate new`: append a well-named migration or view manager to the migrations file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.delivery import tell_written
from migrate_graph.cli.options import FileOption

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.project import Project


@command(
    Section.FILES,
    "migrate new add_total",
    "migrate new add_total --requires leaves",
    "migrate new InvoiceTotals --view --requires Invoices",
)
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it does; a free number is added.")],
    *,
    requires: Annotated[
        list[str],
        typer.Option(
            "--requires",
            metavar="A,B",
            help="The migrations that it requires; `leaves`: all that nothing requires yet.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    view: Annotated[bool, typer.Option("--view", help="A view manager, and the migration that creates it.")] = False,
    file: FileOption = None,
) -> None:
    """Append a well-named migration to the migrations file."""
    from datetime import UTC, datetime

    from migrate_graph.workflow.scaffolding import new as write_new

    session = session_of(context)
    project = _project_with(session, file)
    wanted = [each.strip() for given in requires for each in given.split(",") if each.strip()]
    today = datetime.now(UTC).astimezone().date()
    tell_written(session, write_new(project, name, requires=wanted, view=view, today=today))


def _project_with(session: Session, file: Path | None) -> Project:
    """Load the whole project if the file belongs to it, so that the new name and number are unused in the whole project."""
    from msgspec.structs import replace

    from migrate_graph.errors import LoadError
    from migrate_graph.workflow.project import loads_file

    if file is not None and not file.is_dir():
        try:
            whole = session.project(None)
        except LoadError:
            return session.project(file)
        if loads_file(whole, session.root / file):
            return replace(whole, path=session.root / file)
    return session.project(file)
