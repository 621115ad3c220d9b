"""`migrate mark`: write the record of a migration without running it."""

from __future__ import annotations

from typing import Annotated

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.options import FileOption, NamesArgument, ReasonOption
from migrate_graph.cli.text import listed
from migrate_graph.errors import UsageError


@command(
    Section.DATABASE,
    "migrate mark add_total_20260402_001 --installed --reason 'done by hand'",
    "migrate mark add_total_20260402_001 --pending",
)
def mark(
    context: typer.Context,
    names: NamesArgument,
    *,
    installed: Annotated[
        bool | None, typer.Option("--installed/--pending", help="What the record will say.", show_default=False)
    ] = None,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Write the record of a migration without running it."""
    from migrate_graph.workflow.mark import mark as write_marks

    if installed is None:
        raise UsageError("say what the record will be", hint=f"migrate mark {names[0]} --installed, or --pending")
    session = session_of(context)
    project = session.project(file)
    marked = write_marks(
        project, tuple(names), installed=installed, reason=session.who_and_why(reason), observer=session.remark
    )
    word = "installed" if installed else "pending"
    session.console.show(f"marked {word}: {listed(marked)}")
