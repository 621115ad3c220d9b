"""`migrate resolve`: decide about an interrupted migration."""

from __future__ import annotations

from typing import Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.options import FileOption, ReasonOption
from migrate_graph.cli.text import listed
from migrate_graph.errors import UsageError
from migrate_graph.messages import typed

_DECIDED = {"--applied": "counts as applied", "--retry": "will run again", "--reverted": "counts as reverted"}


@command(
    Section.DATABASE,
    "migrate resolve add_total_20260402_001 --applied",
    "migrate resolve add_total_20260402_001 --retry",
    "migrate resolve add_total_20260402_001 --reverted",
    together=(Together("--applied", excludes=("--retry", "--reverted")), Together("--retry", excludes=("--reverted",))),
)
def resolve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The interrupted migration.")],
    *,
    applied: Annotated[bool, typer.Option("--applied", help="All of its work is there.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run it again.")] = False,
    reverted: Annotated[
        bool, typer.Option("--reverted", help="After an interrupted revert: its work is gone.")
    ] = False,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Decide about an interrupted migration. Interrupted: its process ended after commits of its own."""
    from migrate_graph.workflow.mark import resolve as decide

    way = "--applied" if applied else "--retry" if retry else "--reverted" if reverted else ""
    if not way:
        raise UsageError(
            "say how it is resolved",
            hint=f"{typed('migrate resolve', name, '--applied')}, or --retry; of a revert, --applied or --reverted",
        )
    session = session_of(context)
    project = session.project(file)
    decide(project, name, way=way, reason=session.who_and_why(reason), observer=session.remark)
    session.console.show(f"resolved: {listed([name])} {_DECIDED[way]}")
