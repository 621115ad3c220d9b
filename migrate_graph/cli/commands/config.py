"""`migrate config`: every setting and where it came from."""

from __future__ import annotations

from itertools import chain

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.options import JsonOption
from migrate_graph.columns import table
from migrate_graph.reports.document import document, fields_of


@command(Section.LOOK, "migrate config", "migrate config --json")
def config(context: typer.Context, *, json: JsonOption = False) -> None:
    """Show every setting and where it came from. Secrets are left out."""
    from migrate_graph.workflow.config import settings_of

    session = session_of(context)
    rows = settings_of(session.config())
    if json:
        settings = {row.name: fields_of(row, "value source") for row in rows}
        session.console.show_json(document("config", {"settings": settings}))
    else:
        laid_out = table([(row.name, row.value, row.source) for row in rows], session.console.width)
        deliver_lines(session, chain.from_iterable(laid_out))
