"""`migrate mark`: write the record of a migration without running it."""

from __future__ import annotations

from typing import Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.options import FileOption, NamesArgument, ReasonOption
from migrate_graph.cli.text import listed
from migrate_graph.errors import UsageError
from migrate_graph.messages import typed


@command(
    Section.DATABASE,
    "migrate mark add_total_20260402_001 --installed --reason 'done by hand'",
    "migrate mark add_total_20260402_001 --pending",
    together=(Together("--installed", excludes=("--pending",)),),
)
def mark(
    context: typer.Context,
    names: NamesArgument,
    *,
    installed: Annotated[bool, typer.Option("--installed", help="The record will say: installed.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="The record will say: not installed.")] = False,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Write the record of a migration without running it."""
    from migrate_graph.workflow.mark import mark as write_marks

    if not installed and not pending:
        raise UsageError(
            "say what the record will be", hint=f"{typed('migrate mark', names[0], '--installed')}, or --pending"
        )
    session = session_of(context)
    project = session.project(file)
    marked = write_marks(
        project, tuple(names), installed=installed, reason=session.who_and_why(reason), observer=session.remark
    )
    word = "installed" if installed else "pending"
    session.console.show(f"marked {word}: {listed(marked)}")
