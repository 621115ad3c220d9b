"""`migrate drift`: what somebody changed in the database by hand, and a migration for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.commands.status import drift_document, drift_text
from migrate_graph.cli.delivery import deliver_lines, tell_written
from migrate_graph.cli.options import FileOption, JsonOption
from migrate_graph.messages import counted, typed
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import document

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.drift import Adopted


@command(
    Section.LOOK,
    "migrate drift",
    "migrate drift --adopt index_due_dates",
    "migrate drift --json",
    together=(Together("--adopt", excludes=("--json",)),),
)
def drift(
    context: typer.Context,
    *,
    adopt: Annotated[
        str | None,
        typer.Option(
            "--adopt",
            metavar="NAME",
            help="Write a migration of this name that makes the same change in other databases; a free number is added.",
        ),
    ] = None,
    file: FileOption = None,
    json: JsonOption = False,
) -> None:
    """Show what somebody changed in the database by hand since the last run. With --adopt, write a migration for it.

    After each run the schema of the database is stored. A difference from it was not made by a migration.
    """
    from datetime import UTC, datetime

    from migrate_graph.core.drift import Drift
    from migrate_graph.workflow.drift import adopt as write

    session = session_of(context)
    project = session.project(file)
    reading = session.asked_history(project, "migrate drift", drift=True)
    found = reading.drift or Drift(unknown=reading.note)
    if json:
        session.console.show_json(document("drift", drift_document(found)))
    elif adopt is None:
        deliver_lines(session, drift_text(found, session.console.style))
    else:
        today = datetime.now(UTC).astimezone().date()
        _tell(session, write(project, reading, adopt, today=today, observer=session.remark))


def _tell(session: Session, adopted: Adopted) -> None:
    show = session.console.show
    for fact, why in adopted.adoption.left:
        show(session.console.clean(f"not written: {fact.kind} {one_line(fact.identity)}: {why}"))
    if adopted.written is None:
        show("no migration was written")
        return
    tell_written(session, adopted.written)
    show(
        f"{counted(len(adopted.adoption.statements), 'statement')}; its work is done in this database, so record it here:"
    )
    show(
        f"next: {typed('migrate mark', adopted.written.names[0], '--installed')}, then migrate plan --rehearse elsewhere"
    )
