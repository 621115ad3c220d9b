"""`migrate resolve`: decide about an interrupted migration."""

from __future__ import annotations

from typing import Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.options import FileOption, ReasonOption
from migrate_graph.cli.text import listed
from migrate_graph.errors import UsageError
from migrate_graph.messages import typed


@command(
    Section.DATABASE,
    "migrate resolve add_total_20260402_001 --applied",
    "migrate resolve add_total_20260402_001 --retry",
    together=(Together("--applied", excludes=("--retry",)),),
)
def resolve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The interrupted migration.", show_default=False)],
    *,
    applied: Annotated[bool, typer.Option("--applied", help="Its work is there.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run it again.")] = False,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Decide about an interrupted migration. One that died after commits of its own."""
    from migrate_graph.workflow.mark import resolve as decide

    if not applied and not retry:
        raise UsageError("say how it is resolved", hint=f"{typed('migrate resolve', name, '--applied')}, or --retry")
    session = session_of(context)
    project = session.project(file)
    decide(project, name, applied=applied, reason=session.who_and_why(reason), observer=session.remark)
    session.console.show(f"resolved: {listed([name])} {'counts as applied' if applied else 'will run again'}")
