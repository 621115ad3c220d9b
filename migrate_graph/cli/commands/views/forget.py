"""`migrate views forget`: forget a view that is down and not wanted any more."""

from __future__ import annotations

from typing import Annotated

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.options import FileOption, ReasonOption


@command(Section.DATABASE, "migrate views forget OldReport --reason 'replaced by hand'")
def forget(
    context: typer.Context,
    managers: Annotated[list[str], typer.Argument(metavar="CLASS…", help="Names of view managers.")],
    *,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Forget a view that cannot be brought back. Its stored definition is shown; nothing is created or dropped."""
    from migrate_graph.workflow.views_forget import forget as forget_views

    session = session_of(context)
    project = session.project(file)
    stored = forget_views(project, managers, reason=session.who_and_why(reason), observer=session.remark)
    for name, definitions in stored.items():
        session.console.show(f"forgotten: {name}")
        for definition in definitions:
            session.console.show("\n".join(f"  {line}" for line in definition.splitlines()))
