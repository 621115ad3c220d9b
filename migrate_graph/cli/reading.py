"""The commands that look: plan, check, status, graph, why, show, log, explain, config; none of them writes to a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph import __version__
from migrate_graph.cli.console import plain
from migrate_graph.cli.options import (
    AllOption,
    CodeArgument,
    ExcludeOption,
    FileOption,
    FindingFormat,
    FocusOption,
    GraphOption,
    Group,
    GroupOption,
    HistoryOption,
    HopsOption,
    JsonOption,
    LinkOption,
    NameArgument,
    OfflineOption,
    PathArgument,
    Renderer,
    RendererOption,
    SelectOption,
    ToOption,
    command,
    session_of,
)
from migrate_graph.errors import ExitCode, UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.render import FORMATS

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.render.picture import Picture
    from migrate_graph.workflow.check import Judged
    from migrate_graph.workflow.plan import Planned, Selection
    from migrate_graph.workflow.project import Project, Reading
    from migrate_graph.workflow.revision import Base


_PICTURES = [name for name in FORMATS if name not in {"text", "json", "markdown"}]


@command(
    "migrate plan", "migrate plan --graph plan.svg", "migrate plan --to add_total_20260402_001", "migrate plan --check"
)
def plan(
    context: typer.Context,
    path: PathArgument = None,
    *,
    graph: GraphOption = None,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help=f"text, json or markdown; or a picture: {', '.join(_PICTURES)}."
        ),
    ] = "text",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write there instead of stdout.", show_default=False),
    ] = None,
    to: ToOption = None,
    select: SelectOption = [],  # noqa: B006 - typer copies it
    exclude: ExcludeOption = [],  # noqa: B006 - typer copies it
    check: Annotated[bool, typer.Option("--check", help="Exit 4 if anything is pending.")] = False,
    offline: OfflineOption = False,
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
    all_nodes: AllOption = False,
    link_template: LinkOption = None,
) -> None:
    """Show what would run, in which order and why. Nothing is changed."""
    from migrate_graph.workflow.plan import Selection, plan_project

    session = session_of(context)
    chosen = "json" if json else format_name
    _require_format(chosen, {"text", "json", "markdown"}, graph, output)
    project = session.project(path)
    reading = session.reading(project, offline=offline)
    selection = Selection(to, tuple(select), tuple(exclude))
    planned = plan_project(project, reading, selection=selection)
    code = ExitCode.PENDING if check and (planned.plan.steps or planned.plan.blocked) else ExitCode.OK
    drawn = _Drawing(
        question="plan", renderer=renderer, everything=all_nodes, link_template=link_template, selection=selection
    )
    if graph is not None:
        drawn.write(session, project, reading, graph)
    _show_plan(session, project, planned, chosen, output=output, drawn=drawn, code=code)
    raise typer.Exit(code)


def _show_plan(
    session: Session,
    project: Project,
    planned: Planned,
    chosen: str,
    *,
    output: Path | None,
    drawn: _Drawing,
    code: int,
) -> None:
    from migrate_graph.cli.documents import plan_document
    from migrate_graph.cli.texts import plan_text

    if chosen == "json":
        _deliver_json(session, plan_document(project, planned, exit_code=code), output)
    elif chosen == "text":
        paint = session.console.paint_out if output is None else plain
        width = session.console.width if output is None else None
        _deliver(session, plan_text(project, planned, paint, width), output)
    else:
        drawn.show(session, project, planned.reading, chosen, output)


@command(
    "migrate check",
    "migrate check --format github",
    "migrate check --select MG1 --strict",
    "migrate check --base origin/main --graph change.svg",
)
def check(
    context: typer.Context,
    path: PathArgument = None,
    *,
    history: HistoryOption = False,
    format_name: Annotated[
        FindingFormat, typer.Option("--format", help="How the findings are told.")
    ] = FindingFormat.TEXT,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write there instead of stdout.", show_default=False),
    ] = None,
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
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
) -> None:
    """Judge the graph. Every finding at once, exit 3 on errors; needs no database: this is the CI job."""
    from migrate_graph.workflow.check import check_project
    from migrate_graph.workflow.project import Reading

    session = session_of(context)
    if graph is not None:
        _require_format("text", {"text"}, graph, None)
    project = session.project(path)
    reading = _asked_history(session, project) if history else Reading()
    change = _base(session, project, base) if base is not None else None
    before = change.graph if change else None
    history_too = reading if history else None
    found = check_project(project, history_too, base=before, strict=strict, select=select, ignore=ignore)
    drawn = _Drawing(question="check", renderer=renderer, change=change)
    chosen = FindingFormat.JSON if json else format_name
    _show_findings(session, project, reading, found, chosen, drawn=drawn, output=output)
    if graph is not None:
        drawn.write(session, project, reading, graph)
    raise typer.Exit(found.exit_code)


def _asked_history(session: Session, project: Project) -> Reading:
    """Read the history that `--history` asked for: to judge an empty one instead would pass in silence."""
    if not project.config.has_database:
        hint = "set MIGRATE_URI, for example in .env: MIGRATE_URI=sqlite://app.db"
        raise UsageError("--history asks the database, and no database is configured", hint=hint)
    reading = session.reading(project)
    if reading.note:
        session.console.tell(f"({reading.note})")
    return reading


def _base(session: Session, project: Project, revision: str) -> Base:
    from migrate_graph.workflow.revision import read_base, told

    base = read_base(project, revision, environ=session.environ)
    for line in told(base):
        session.console.tell(session.console.clean(line))
    return base


def _show_findings(
    session: Session,
    project: Project,
    reading: Reading,
    found: Judged,
    chosen: FindingFormat,
    *,
    drawn: _Drawing,
    output: Path | None,
) -> None:
    from migrate_graph.reports.formats import FINDING_FORMATS, to_text
    from migrate_graph.workflow.check import report_of

    picture = ""
    if chosen is FindingFormat.MARKDOWN and not drawn.is_empty:
        picture = drawn.draw(session, project, reading, "mermaid").decode()
    report = report_of(project, found, version=__version__, picture=picture)
    colored = chosen is FindingFormat.TEXT and output is None
    text = to_text(report, session.console.paint_out) if colored else FINDING_FORMATS[chosen](report)
    _deliver(session, text.splitlines(), output)


@command("migrate status", "migrate status --views", "migrate status --json", "migrate -l")
def status(
    context: typer.Context,
    path: PathArgument = None,
    *,
    views: Annotated[bool, typer.Option("--views", help="Only the views.")] = False,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Show every migration with its state. And the views with their windows, and who is at work."""
    from migrate_graph.cli.documents import status_document
    from migrate_graph.cli.texts import status_text
    from migrate_graph.workflow.looking import read_status

    session = session_of(context)
    project = session.project(path)
    report = read_status(project, session.reading(project, offline=offline, closely=True))
    if json:
        session.console.show_json(status_document(project, report))
    else:
        _deliver(session, status_text(project, report, session.console.paint_out, only_views=views), None)


@command(
    "migrate graph",
    "migrate graph -o graph.svg",
    "migrate graph --focus add_total_20260402_001 --hops 1",
    "migrate graph --group module -o overview.png",
)
def graph(
    context: typer.Context,
    path: PathArgument = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write there; the suffix tells the format.", show_default=False
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help=f"{', '.join(FORMATS)}.", show_default=False),
    ] = None,
    focus: FocusOption = [],  # noqa: B006 - typer copies it
    hops: HopsOption = 2,
    select: SelectOption = [],  # noqa: B006 - typer copies it
    exclude: ExcludeOption = [],  # noqa: B006 - typer copies it
    group: GroupOption = Group.AUTO,
    all_nodes: AllOption = False,
    history: HistoryOption = False,
    renderer: RendererOption = Renderer.AUTO,
    link_template: LinkOption = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Lanes of plain characters only.")] = False,
) -> None:
    """Draw how the graph is built. Valid or not; to the terminal when no file is named."""
    from migrate_graph.workflow.project import Reading

    session = session_of(context)
    chosen = format_name or (None if output else "text")
    _require_format(chosen or "text", {"text"}, output if chosen is None else None, output)
    if not history and any("state:" in each for each in (*select, *exclude)):
        raise UsageError("without a database nothing has a state", hint="add --history")
    project = session.project(path)
    reading = _asked_history(session, project) if history else Reading()
    drawn = _Drawing(
        question="graph",
        renderer=renderer,
        everything=all_nodes,
        focus=tuple(focus),
        hops=hops,
        group=group,
        select=tuple(select),
        exclude=tuple(exclude),
        link_template=link_template,
        history=history,
    )
    if output is not None:
        drawn.write(session, project, reading, output, chosen)
    elif chosen == "text":
        drawn.show_lanes(session, project, reading, ascii_only=ascii_only)
    else:
        drawn.show(session, project, reading, chosen or "text", None)


@command("migrate why add_total_20260402_001", "migrate why add_total_20260402_001 --before drop_legacy_20260403_001")
def why(
    context: typer.Context,
    name: NameArgument,
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="OTHER", help="Compare with this one.", show_default=False)
    ] = None,
    file: FileOption = None,
    json: JsonOption = False,
) -> None:
    """Say why something stands where it stands. By the path of edges, or the rule that broke the tie."""
    from migrate_graph.cli.documents import why_document
    from migrate_graph.cli.texts import why_text
    from migrate_graph.workflow.looking import why as ask_why

    session = session_of(context)
    project = session.project(file)
    answer = ask_why(project, name, before=before)
    if json:
        session.console.show_json(why_document(answer))
        return
    places = {view: str(each.source) for view, each in project.graph.views.items()}
    places |= {migration: str(each.source) for migration, each in project.graph.migrations.items()}
    _deliver(
        session,
        why_text(answer, session.console.paint_out, lambda known: places.get(known, ""), session.console.width),
        None,
    )


@command("migrate show add_total_20260402_001", "migrate show InvoiceTotals --json")
def show(
    context: typer.Context,
    name: NameArgument,
    *,
    file: FileOption = None,
    offline: OfflineOption = False,
    json: JsonOption = False,
) -> None:
    """Show all about one migration or view. Where it is, what it needs, what needs it, what was tried."""
    from migrate_graph.cli.documents import shown_document
    from migrate_graph.cli.texts import shown_text
    from migrate_graph.workflow.looking import show as look_at
    from migrate_graph.workflow.project import require_name

    session = session_of(context)
    project = session.project(file)
    require_name(project, name)
    shown = look_at(project, session.reading(project, offline=offline), name)
    if json:
        session.console.show_json(shown_document(shown))
        return
    for each in shown:
        _deliver(session, shown_text(each, session.console.paint_out), None)


@command("migrate log", "migrate log add_total_20260402_001")
def log(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this migration.", show_default=False)] = None,
    *,
    file: FileOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was tried, when, where, and how it ended."""
    from migrate_graph.cli.documents import log_document
    from migrate_graph.cli.texts import log_text
    from migrate_graph.workflow.looking import log_of

    session = session_of(context)
    project = session.project(file)
    reading = session.reading(project)
    attempts = log_of(project, reading, name)
    if json:
        session.console.show_json(log_document(attempts, reading))
    elif attempts:
        _deliver(session, log_text(attempts, session.console.paint_out), None)
    else:
        of = f" of {session.console.clean(name)}" if name is not None else ""
        session.console.tell(reading.note or f"the journal has no attempt{of}")


@command("migrate explain MG101", "migrate explain dependency-cycle", "migrate explain")
def explain(context: typer.Context, code: CodeArgument = None, *, json: JsonOption = False) -> None:
    """Show the page of a rule; without a code, list them all."""
    from migrate_graph.cli.documents import rule_document
    from migrate_graph.cli.texts import aligned, rule_text
    from migrate_graph.core.rules import RULES
    from migrate_graph.workflow.check import explain as look_up

    session = session_of(context)
    rules = [look_up(code)] if code is not None else list(RULES.values())
    if json:
        session.console.show_json(rule_document(*rules))
    elif code is not None:
        _deliver(session, rule_text(rules[0], session.console.paint_out), None)
    else:
        _deliver(
            session,
            aligned([(rule.code, rule.name, str(rule.severity), rule.summary) for rule in rules], indent=""),
            None,
        )


@command("migrate config", "migrate config --json")
def config(context: typer.Context, *, json: JsonOption = False) -> None:
    """Show every setting and where it came from. Secrets are left out."""
    from migrate_graph.cli.documents import document
    from migrate_graph.cli.texts import aligned
    from migrate_graph.workflow.looking import settings_of

    session = session_of(context)
    rows = settings_of(session.config())
    if json:
        settings = {row.name: {"value": row.value, "source": row.source} for row in rows}
        session.console.show_json(document("config", {"settings": settings}))
    else:
        _deliver(session, aligned([(row.name, row.value, row.source) for row in rows], indent=""), None)


# -- drawing and delivering ------------------------------------------------------------------------------------------


_PIPE_WIDTH = 140
"""Columns of a drawing that goes into a pipe or a file."""

_LANE_STYLES = {
    "applied": "muted",
    "retired": "muted",
    "pending": "info",
    "failed": "error",
    "interrupted": "error",
    "cycle": "error",
    "blocked": "warning",
    "orphan": "warning",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """A picture that was asked for."""

    question: str
    renderer: Renderer = Renderer.AUTO
    everything: bool = False
    focus: tuple[str, ...] = ()
    hops: int = 2
    group: Group = Group.AUTO
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    link_template: str | None = None
    selection: Selection | None = None
    history: bool = True
    change: Base | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it is about a change that changes nothing."""
        return self.change is not None and not self.change.comparison

    def draw(self, session: Session, project: Project, reading: Reading, format_name: str) -> bytes:
        """Draw it in a format."""
        from migrate_graph.render import render

        return render(self.compose(session, project, reading), format_name, renderer=self.renderer)

    def compose(self, session: Session, project: Project, reading: Reading) -> Picture:
        """Choose what is shown, in whatever format."""
        title = session.console.clean(" · ".join(part for part in (project.name, reading.database) if part))
        if self.change is not None:
            from migrate_graph.render.compose.change import picture_of_change

            found, before = self.change.comparison, self.change.graph
            revision = self.change.revision
            return picture_of_change(found, before=before, after=project.graph, title=title, revision=revision)
        from migrate_graph.render.picture import Grouping, PictureOptions
        from migrate_graph.workflow.plan import Selection, picture_of, select_nodes

        selected = select_nodes(project, reading, self.select, self.exclude) if self.select or self.exclude else None
        template = self.link_template if self.link_template is not None else project.config.link_template
        options = PictureOptions(
            title=title,
            everything=self.everything,
            focus=self.focus,
            hops=self.hops,
            selected=selected,
            grouping=Grouping(self.group),
            link_template=template,
        )
        return picture_of(
            project,
            reading,
            question=self.question,
            options=options,
            selection=self.selection or Selection(),
            stateless=not self.history,
        )

    def write(
        self, session: Session, project: Project, reading: Reading, file: Path, format_name: str | None = None
    ) -> None:
        """Draw it into a file."""
        from migrate_graph.workflow.plan import picture_format, write_file

        write_file(file, self.draw(session, project, reading, picture_format(file, format_name)))
        session.console.tell(f"drawn: {session.console.clean(str(file))}")

    def show_lanes(self, session: Session, project: Project, reading: Reading, *, ascii_only: bool) -> None:
        """Draw it as lanes, as wide as the terminal and in its colours."""
        from migrate_graph.render.formats.lanes import to_lines

        console = session.console
        lines = to_lines(
            self.compose(session, project, reading),
            width=console.width or _PIPE_WIDTH,
            ascii_only=ascii_only or not console.draws,
        )
        paint = console.paint_out
        _deliver(
            session,
            (paint(line.text, _LANE_STYLES[line.state]) if line.state in _LANE_STYLES else line.text for line in lines),
            None,
        )

    def show(self, session: Session, project: Project, reading: Reading, format_name: str, output: Path | None) -> None:
        """Draw it to stdout, or into a file that need not have the format's suffix."""
        from migrate_graph.workflow.plan import write_file

        content = self.draw(session, project, reading, format_name)
        if output is not None:
            write_file(output, content)
        elif FORMATS[format_name].text:
            _deliver(session, content.decode().splitlines(), None)
        elif session.console.out.isatty():
            raise UsageError(f"a terminal cannot show {format_name}", hint=f"add -o graph.{format_name}")
        else:
            session.console.show_bytes(content)


def _require_format(chosen: str, own: set[str], graph: Path | None, output: Path | None) -> None:
    """Refuse, before any work, a format or a file that cannot be written."""
    from migrate_graph.workflow.plan import picture_format

    if chosen not in own and chosen not in FORMATS:
        known = list(dict.fromkeys([*sorted(own), *FORMATS]))
        hint = did_you_mean(similar(chosen, known, most=1), f"known: {', '.join(known)}")
        raise UsageError(f"no format is called '{chosen}'", hint=hint)
    if graph is not None:
        picture_format(graph, None)
    if output is not None:
        picture_format(output, chosen)


def _deliver(session: Session, lines: Iterable[str], output: Path | None) -> None:
    from migrate_graph.workflow.plan import write_file

    if output is None:
        for line in lines:
            session.console.show(line)
    else:
        write_file(output, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))


def _deliver_json(session: Session, document: dict[str, object], output: Path | None) -> None:
    if output is None:
        session.console.show_json(document)
    else:
        _deliver(session, session.console.json_text(document).splitlines(), output)
