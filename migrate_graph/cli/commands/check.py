"""`migrate check`: every finding about the graph, for people, hosts and programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_document, deliver_lines, deliver_report, is_stream, safe_report
from migrate_graph.cli.drawing import LAID_OUT, Drawing, require_format
from migrate_graph.cli.options import (
    AllowOutsideOption,
    DataOption,
    GraphOption,
    HistoryOption,
    IgnoreOption,
    JsonOption,
    NoValuesOption,
    OutputOption,
    PathArgument,
    PlaceOption,
    RehearseOption,
    RendererOption,
    ReportOption,
    RulesOption,
)
from migrate_graph.cli.rehearsal import OPTIONS, options_of, rehearse_on
from migrate_graph.errors import MigrateGraphError, UsageError
from migrate_graph.render import Renderer
from migrate_graph.reports import require_report
from migrate_graph.workflow.place import Place

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.rehearse import RehearseOptions
    from migrate_graph.workflow.revision import Base


@command(
    Section.DAILY,
    "migrate check",
    "migrate check --format github",
    "migrate check --select MG1 --strict",
    "migrate check --base origin/main --graph change.svg",
    "migrate check --moving",
    "migrate check --rehearse --on scratch",
    together=(
        Together("--format", excludes=("--json",)),
        *OPTIONS,
        Together("--history", excludes=("--rehearse",)),
        Together("--renderer", needs=(LAID_OUT,)),
        Together(
            "--moving",
            excludes=(
                "--json",
                "--format",
                "--report",
                "--graph",
                "--base",
                "--history",
                "--select",
                "--ignore",
                "--strict",
                "--rehearse",
            ),
        ),
    ),
)
def check(
    context: typer.Context,
    path: PathArgument = None,
    *,
    history: HistoryOption = False,
    format_name: ReportOption = "text",
    output: OutputOption = None,
    graph: GraphOption = None,
    select: RulesOption = [],  # noqa: B006 - typer copies it
    ignore: IgnoreOption = [],  # noqa: B006 - likewise
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="REF", help="Also judge what changed since this git revision.")
    ] = None,
    moving: Annotated[
        bool, typer.Option("--moving", help="Only list what will differ from edwh-migrate 2.1.0 in this project.")
    ] = False,
    reports: Annotated[
        list[str],
        typer.Option(
            "--report",
            metavar="FORMAT=FILE",
            help="Also write this report, such as sarif=check.sarif; may be repeated.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
    rehearse: RehearseOption = False,
    place: PlaceOption = Place.CLONE,
    data: DataOption = None,
    no_values: NoValuesOption = False,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Judge the graph. Shows every finding at once; exit 3 on errors. Needs no database: this is the CI job.

    Runs the code in the project's files (with --base also in those of that revision), but no migration, unless --rehearse is given.
    So give no secrets to a job that checks changes made by strangers.
    """
    from migrate_graph.workflow.assessment import Judging, assess
    from migrate_graph.workflow.footprint_file import read_footprints

    session = session_of(context)
    if graph is not None:
        require_format("text", {"text"}, graph, None)
    chosen = require_report("json" if json else format_name)
    others = _other_reports(reports, beside=(output, graph))
    try:
        project = session.project(path)
        asked = "--history" if history else "--rehearse" if rehearse else ""
        found = assess(
            project,
            session.asked_history(project, asked, drift=history, obstacles=True)
            if asked or (moving and project.config.has_database)
            else None,
            judging=Judging(tuple(select), tuple(ignore), strict),
            base=_base(session, project, base) if base is not None else None,
            footprints=read_footprints(project),
        )
        if found.plan is not None and found.note != found.reading.note:
            session.console.tell(session.console.clean(f"({found.note})"))
        if found.reading.drift is not None and found.reading.drift.unknown:
            session.console.tell(session.console.clean(f"(drift is unknown: {found.reading.drift.unknown})"))
        code = found.exit_code
        if rehearse and not found.errors_of_graph:
            options = options_of(place, data, no_values=no_values, allow_outside=allow_outside)
            found, code = _rehearsed(session, found, options)
    except MigrateGraphError as error:
        _report_failure(session, others, error)
        raise
    if moving:
        _show_differences(session, found, output)
        raise typer.Exit
    drawn = Drawing(question="check" if base is None else "change", renderer=renderer)
    _show_findings(session, found, [(chosen, output), *others], drawn=drawn, exit_code=code)
    if graph is not None:
        drawn.write(session, found, graph)
    raise typer.Exit(code)


def _rehearsed(session: Session, found: Assessment, options: RehearseOptions) -> tuple[Assessment, int]:
    """Rehearse and show how that ended; return the assessment with the findings of the rehearsal, and the exit code."""
    from migrate_graph.cli.rehearsal_text import headline

    found, rehearsal = rehearse_on(session, found, options)
    session.console.tell(session.console.clean(headline(found, rehearsal)))
    return found, rehearsal.exit_code or found.exit_code


def _base(session: Session, project: Project, revision: str) -> Base:
    from migrate_graph.workflow.revision import read_base, told

    base = read_base(project, revision, environ=session.environ)
    for line in told(base):
        session.console.tell(session.console.clean(line))
    return base


def _other_reports(typed_in: Iterable[str], *, beside: Iterable[Path | None]) -> list[tuple[str, Path]]:
    """Return the formats and files of the reports that were asked for by `--report`.

    Args:
        typed_in: each `FORMAT=FILE`.
        beside: other files that will be written.

    Raises:
        UsageError: a report has no known format or no file, or two outputs have the same file.
    """
    found = []
    taken = [file.absolute() for file in beside if file is not None]
    for each in typed_in:
        name, _, text = each.partition("=")
        if not text:
            raise UsageError(f"--report {each} names no file", hint=f"write --report {name or 'sarif'}=FILE")
        file = Path(text)
        if file.absolute() in taken and not is_stream(file):
            raise UsageError(f"two outputs go into {file}", hint="give each a file of its own")
        taken.append(file.absolute())
        found.append((require_report(name), file))
    return found


def _report_failure(session: Session, reports: Iterable[tuple[str, Path]], error: MigrateGraphError) -> None:
    """Write the error into the reports whose format can hold one (SARIF): otherwise CI would upload no report, or an old one."""
    from migrate_graph.reports.sarif import to_failed_sarif

    for name, file in reports:
        if name == "sarif":
            text = to_failed_sarif(session.console.redact(str(error)), int(error.exit_code))
            with suppress(UsageError):  # the first error is more important than one about the report's file
                deliver_document(session, text.encode(), file)


def _show_findings(
    session: Session, found: Assessment, wanted: Sequence[tuple[str, Path | None]], *, drawn: Drawing, exit_code: int
) -> None:
    from migrate_graph.workflow.check import report_of

    picture = ""
    changes_nothing = found.base is not None and not found.base.comparison
    if any(name == "markdown" for name, _ in wanted) and not changes_nothing:
        picture = drawn.draw(session, found, "mermaid").decode()
    report = safe_report(session, found, report_of(found), picture=picture, exit_code=int(exit_code))
    for name, output in wanted:
        deliver_report(session, report, name, output, folds=not found.judging.codes)


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
