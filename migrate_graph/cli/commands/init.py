"""`migrate init`: write settings and a first migrations.py."""

from __future__ import annotations

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.delivery import tell_written


@command(Section.FILES, "migrate init")
def init(context: typer.Context) -> None:
    """Write settings and a first migrations.py. Nothing is overwritten."""
    from migrate_graph.workflow.scaffolding import init as begin

    session = session_of(context)
    for written in begin(session.root):
        tell_written(session, written)
    session.console.show("next: migrate new create_customers")
