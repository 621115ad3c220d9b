"""`migrate check`: every finding about the graph, for people, hosts and programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.console import IN_A_FILE
from migrate_graph.cli.delivery import deliver_document, deliver_lines
from migrate_graph.cli.drawing import LAID_OUT, Drawing, require_format
from migrate_graph.cli.options import (
    GraphOption,
    HistoryOption,
    JsonOption,
    OutputOption,
    PathArgument,
    Renderer,
    RendererOption,
)
from migrate_graph.reports import REPORTS, require_report, write_report

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.reports.report import Report
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.revision import Base


@command(
    Section.DAILY,
    "migrate check",
    "migrate check --format github",
    "migrate check --select MG1 --strict",
    "migrate check --base origin/main --graph change.svg",
    "migrate check --moving",
    together=(
        Together("--format", excludes=("--json",)),
        Together("--renderer", needs=(LAID_OUT,)),
        Together(
            "--moving",
            excludes=("--json", "--format", "--graph", "--base", "--history", "--select", "--ignore", "--strict"),
        ),
    ),
)
def check(
    context: typer.Context,
    path: PathArgument = None,
    *,
    history: HistoryOption = False,
    format_name: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(REPORTS)}.")] = "text",
    output: OutputOption = None,
    graph: GraphOption = None,
    select: Annotated[
        list[str],
        typer.Option(
            "--select",
            metavar="CODES|SEL",
            help="Only these rules (MG101, or MG1 for a hundred), or only what is found about these: 'billing_*', +NAME.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    ignore: Annotated[list[str], typer.Option("--ignore", metavar="CODES", help="Not these.", show_default=False)] = [],  # noqa: B006 - typer copies it
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="REF", help="Also judge what changed since this git revision.", show_default=False
        ),
    ] = None,
    moving: Annotated[
        bool, typer.Option("--moving", help="Only list what will be different here than with edwh-migrate 2.1.0.")
    ] = False,
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
) -> None:
    """Judge the graph. Every finding at once, exit 3 on errors; needs no database: this is the CI job.

    Runs the project's files (with --base also those of that revision), though no migration: give a job that checks
    strangers' changes no secrets.
    """
    from migrate_graph.workflow.assessment import Judging, assess

    session = session_of(context)
    if graph is not None:
        require_format("text", {"text"}, graph, None)
    project = session.project(path)
    found = assess(
        project,
        session.asked_history(project) if history or (moving and project.config.has_database) else None,
        judging=Judging(tuple(select), tuple(ignore), strict),
        base=_base(session, project, base) if base is not None else None,
    )
    if moving:
        _show_differences(session, found, output)
        raise typer.Exit
    drawn = Drawing(question="check" if base is None else "change", renderer=renderer)
    chosen = require_report("json" if json else format_name)
    _show_findings(session, found, chosen, drawn=drawn, output=output)
    if graph is not None:
        drawn.write(session, found, graph)
    raise typer.Exit(found.exit_code)


def _base(session: Session, project: Project, revision: str) -> Base:
    from migrate_graph.workflow.revision import read_base, told

    base = read_base(project, revision, environ=session.environ)
    for line in told(base):
        session.console.tell(session.console.clean(line))
    return base


def _show_findings(session: Session, found: Assessment, chosen: str, *, drawn: Drawing, output: Path | None) -> None:
    from migrate_graph.reports.text import to_text
    from migrate_graph.workflow.check import report_of

    picture = ""
    changes_nothing = found.base is not None and not found.base.comparison
    if chosen == "markdown" and not changes_nothing:
        picture = drawn.draw(session, found, "mermaid").decode()
    console = session.console
    report: Report = console.redacted(report_of(found))
    report = replace(report, picture=picture, line_of=lambda place: console.redact(found.project.line_of(place)))
    if chosen == "text":
        style = console.style if output is None else IN_A_FILE
        deliver_lines(
            session, to_text(report, style.paint, style.width, folds=not found.judging.codes).splitlines(), output
        )
    else:
        deliver_document(session, write_report(report, chosen).encode("utf-8", "replace"), output)


def _show_differences(session: Session, found: Assessment, output: Path | None) -> None:
    from migrate_graph.messages import counted
    from migrate_graph.workflow.moving import differences

    told = differences(found)
    lines = [
        line
        for each in told
        for line in (f"{each.where}: {each.what}", f"  here: {each.here}", f"  do: {each.way}", "")
    ]
    asked = "" if found.plan else "; the database was not asked"
    lines.append(f"{counted(len(told), 'difference')} to edwh-migrate 2.1.0 in this project{asked}")
    deliver_lines(session, [session.console.clean(line) for line in lines], output)
