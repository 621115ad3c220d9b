"""`migrate baseline`: begin the ledger of a database that already has tables."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.options import FileOption, JsonOption, ReasonOption, ToOption
from migrate_graph.cli.text import listed
from migrate_graph.columns import table
from migrate_graph.errors import UsageError
from migrate_graph.messages import counted
from migrate_graph.reports.document import document, fields_of

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.baseline import Baseline, Entry
    from migrate_graph.workflow.project import Project


@command(
    Section.DATABASE,
    "migrate baseline",
    "migrate baseline --to add_total_20260402_001 --yes",
    "migrate baseline --all --yes --reason 'installed by hand in March'",
    together=(Together("--reason", needs=("--yes",)),),
)
def baseline(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME…", help="Migrations whose work is there already, with all that they require."),
    ] = None,
    *,
    to: ToOption = None,
    everything: Annotated[bool, typer.Option("--all", help="The work of all migrations is there already.")] = False,
    nothing: Annotated[
        bool, typer.Option("--none", help="The work of no migration is there: only begin the ledger.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Record it; without --yes it is only shown.")] = False,
    reason: ReasonOption = "",
    file: FileOption = None,
    json: JsonOption = False,
) -> None:
    """Begin the ledger of a database that already has tables. Shows what it would record as applied; nothing is run."""
    from migrate_graph.workflow.baseline import record, survey

    given = [word for word, said in {"NAME": names, "--to": to, "--all": everything, "--none": nothing}.items() if said]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", hint="say once what is there already")
    if yes and not given:
        raise UsageError(
            "say what is there already", hint="migrate baseline without --yes proposes it, with the command to type"
        )
    session = session_of(context)
    project = session.project(file)
    asked = _asked(project, names, to, everything=everything) if given else None
    if yes and asked is not None:
        found = record(project, asked, session.who_and_why(reason or "baseline"), session.remark)
    else:
        found = survey(project, asked, session.remark)
    if json:
        session.console.show_json(document("baseline", _body(found, written=yes)))
        return
    again = _again(found, names, to, everything=everything, nothing=nothing)
    _show(session, found, ledger=project.config.migrate_table, written=yes, again=again)


def _asked(project: Project, names: list[str] | None, to: str | None, *, everything: bool) -> frozenset[str]:
    """Return the migrations that the user says are applied; empty for `--none`."""
    return frozenset(project.graph.migrations if everything else [to] if to is not None else names or ())


def _again(found: Baseline, names: list[str] | None, to: str | None, *, everything: bool, nothing: bool) -> str:
    """Return the command that records what was shown."""
    if everything:
        words = ["--all"]
    elif nothing or not found.recorded:
        words = ["--none"]
    elif to is not None:
        words = ["--to", to]
    else:
        words = names or [entry.name for entry in found.entries if entry.asked]
        words = ["--all"] if len(found.recorded) == len(found.entries) else words
    return shlex.join(["migrate", "baseline", *words, "--yes"])


def _show(session: Session, found: Baseline, *, ledger: str, written: bool, again: str) -> None:
    from migrate_graph.workflow.no_ledger import advice

    console = session.console
    console.show(f"{found.database} · {counted(len(found.relations), 'relation')}, no ledger")
    if told := advice(found.elsewhere, table=ledger):
        console.show(told)
    console.show("")
    rows = [(_mark(entry), entry.name, _why(entry)) for entry in found.entries]
    for lines in table(rows, console.width, indent=2):
        for line in lines:
            console.show(line)
    if rows:
        console.show("")
    recorded, pending = len(found.recorded), len(found.entries) - len(found.recorded)
    if written:
        console.show(f"recorded as applied: {recorded}; pending: {pending}")
        console.show("next: migrate plan" if pending else "next: migrate status")
    else:
        console.show(f"to be recorded as applied: {recorded}; pending then: {pending}. Nothing was written.")
        if found.proposed:
            console.show("this is a proposal by the names of tables: look at what it says of each, and choose")
        console.show(f"next: {again}")


def _mark(entry: Entry) -> str:
    return "applied" if entry.recorded else "pending"


def _why(entry: Entry) -> str:
    """Return what the database shows about a migration, and why it is recorded even if the user did not name it."""
    from migrate_graph.workflow.baseline import Evidence

    if entry.evidence is Evidence.THERE:
        told = f"{listed(entry.exists)} exists" if len(entry.exists) == 1 else f"{listed(entry.exists)} exist"
    elif entry.evidence is Evidence.MISSING:
        told = (
            f"{listed(entry.missing)} does not exist"
            if len(entry.missing) == 1
            else f"{listed(entry.missing)} do not exist"
        )
    else:
        told = "names no table that it creates: look yourself"
    return told if entry.asked or not entry.recorded else f"{told}; what is there requires it"


def _body(found: Baseline, *, written: bool) -> dict[str, Any]:
    return {
        "database": found.database,
        "written": written,
        **fields_of(found, "proposed relations"),
        "ledgers_elsewhere": [{"relation": relation, "tool": tool} for relation, tool in found.elsewhere],
        "migrations": [fields_of(entry, "name recorded asked evidence exists missing") for entry in found.entries],
    }
