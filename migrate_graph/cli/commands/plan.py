"""`migrate plan`: what would run, in which order and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from migrate_graph.cli.coalescing import segments_document, segments_text
from migrate_graph.cli.command import ATOMIC, COALESCE, Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_document, deliver_json, deliver_lines, is_stream, style_for
from migrate_graph.cli.drawing import (
    LAID_OUT,
    LINKED,
    NOTHING_ELSE,
    PICTURE,
    PICTURES,
    Drawing,
    format_told_by,
    require_format,
)
from migrate_graph.cli.json_document import condition_document, reading_document, stored_view_document
from migrate_graph.cli.one_transaction import atomic_document, atomic_text
from migrate_graph.cli.options import (
    AllOption,
    AllowOutsideOption,
    AtomicOption,
    CoalesceOption,
    DataOption,
    ExcludeOption,
    GraphOption,
    JobsOption,
    JsonOption,
    LinkOption,
    NoValuesOption,
    OfflineOption,
    OutputOption,
    PathArgument,
    PlaceOption,
    RehearseOption,
    RendererOption,
    SelectOption,
    ToOption,
)
from migrate_graph.cli.rehearsal import ASKED, OPTIONS, options_of, rehearse_on
from migrate_graph.cli.rehearsal_document import footprint_document, rehearsal_document
from migrate_graph.cli.side_by_side import lanes_document, lanes_text
from migrate_graph.cli.text import MOST, listed
from migrate_graph.cli.ways_text import how_told, ways_by_step
from migrate_graph.columns import columns, padded
from migrate_graph.messages import counted, lasting, typed
from migrate_graph.redaction import one_line
from migrate_graph.render import PictureOptions, Renderer
from migrate_graph.reports.document import document, fields_of, finding_document, place_document
from migrate_graph.workflow.place import Place

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.config import Config
    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.lanes import Forecast
    from migrate_graph.core.model import Way
    from migrate_graph.core.plan import Plan, Step
    from migrate_graph.core.rules import Finding
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project, Reading
    from migrate_graph.workflow.rehearse import Rehearsal, RehearseOptions


@command(
    Section.DAILY,
    "migrate plan",
    "migrate plan --graph plan.svg",
    "migrate plan --to add_total_20260402_001",
    "migrate plan --check",
    "migrate plan --rehearse",
    "migrate plan --sql -o plan.sql",
    "migrate plan --jobs 4",
    "migrate plan -o plan.json",
    together=(
        Together("--format", excludes=("--json",)),
        Together("--sql", excludes=("--format", "--json")),
        Together("--timings", excludes=("--sql", "--format=sql")),
        Together("--offline", excludes=(ASKED,)),
        *OPTIONS,
        Together("--renderer", needs=(LAID_OUT,)),
        Together("--link-template", needs=(LINKED,)),
        Together("--all", needs=(PICTURE,)),
        Together("--atomic", excludes=(NOTHING_ELSE, "--sql", "--format=sql")),
        Together("--jobs", excludes=(ATOMIC, COALESCE, NOTHING_ELSE, "--sql", "--format=sql")),
        Together("--coalesce", excludes=(ATOMIC, NOTHING_ELSE, "--sql", "--format=sql")),
    ),
)
def plan(
    context: typer.Context,
    path: PathArgument = None,
    *,
    graph: GraphOption = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"text, json, markdown or sql; or a picture: {', '.join(PICTURES)}. Default: by the suffix of -o, else text.",
        ),
    ] = None,
    output: OutputOption = None,
    to: ToOption = None,
    select: SelectOption = [],  # noqa: B006 - typer copies it
    exclude: ExcludeOption = [],  # noqa: B006 - typer copies it
    check: Annotated[bool, typer.Option("--check", help="Exit 4 if anything is pending.")] = False,
    offline: OfflineOption = False,
    atomic: AtomicOption = None,
    coalesce: CoalesceOption = None,
    jobs: JobsOption = None,
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
    all_nodes: AllOption = False,
    link_template: LinkOption = None,
    timings: Annotated[
        Path | None,
        typer.Option(
            "--timings",
            metavar="FILE",
            help="Show how long each step took in another database: a file that `migrate log --json` wrote there.",
        ),
    ] = None,
    rehearse: RehearseOption = False,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Rehearse, and write the SQL that is sent; the same as --rehearse --format sql."),
    ] = False,
    place: PlaceOption = Place.CLONE,
    data: DataOption = None,
    no_values: NoValuesOption = False,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Show what would run, in which order and why. Nothing is changed.

    With --rehearse the migrations run in a copy: what they send, lock, write and change is shown, and nothing of it is kept.
    A plan in a file that ends in .json is sealed: migrate apply plan.json runs exactly that, or nothing.
    """
    from migrate_graph.core.rules import Doing
    from migrate_graph.workflow.assessment import Judging, Selection, assess
    from migrate_graph.workflow.timings import timings_of

    session = session_of(context)
    chosen = "json" if json else "sql" if sql else format_name or _format_of(output, rehearses=rehearse)
    seals = chosen == "json" and output is not None and not is_stream(output)
    asked = (
        options_of(place, data, no_values=no_values or seals, allow_outside=allow_outside)
        if rehearse or chosen == "sql"
        else None
    )
    require_format(chosen, _OWN_FORMATS, graph, output)
    session.overrides["link_template"] = link_template
    project = session.project(path)
    manner = _Manner()
    if chosen in {"text", "json"}:
        manner = _manner_of(project.config, atomic=atomic, coalesce=False if seals else coalesce, jobs=jobs)
    reading = session.reading(project, offline=offline, obstacles=True)
    selection = Selection(to, tuple(select), tuple(exclude))
    planned = assess(project, reading, selection=selection, judging=Judging(doing=Doing.RUN))
    planned, rehearsal = _rehearsed(session, planned, asked)
    # A plan with errors is drawn too, before it is refused: the picture shows the errors. Otherwise an old picture would stay in the file.
    took = timings_of(planned.planned, reading.history.attempts, timings)
    drawn = Drawing(
        question="check" if planned.errors_of_graph else "plan",
        renderer=renderer,
        options=PictureOptions(everything=all_nodes),
        took=took,
    )
    if graph is not None:
        drawn.write(session, planned, graph)
    if planned.errors_of_graph and chosen not in _OWN_FORMATS - {"markdown"}:
        drawn.show(session, planned, chosen, output)
    planned.refuse_errors(doing="plan")
    shown = _shown(session, planned, took, rehearsal, manner)
    code = _code(shown, asks=check)
    if chosen == "json":
        written = plan_document(shown, exit_code=code)
        deliver_json(session, _sealed(session, planned, written, path) if seals else written, output)
    else:
        _deliver(session, shown, drawn, chosen, output)
    raise typer.Exit(code)


class _Manner(Struct, frozen=True):
    """How the plan would run.

    Attributes:
        atomic: the whole plan as one transaction.
        together: steps that need the same views share a transaction.
        jobs: how many migrations run at the same time.
    """

    atomic: bool = False
    together: bool = False
    jobs: int = 1


def _manner_of(config: Config, *, atomic: bool | None, coalesce: bool | None, jobs: int | None) -> _Manner:
    from migrate_graph.workflow.coalescing import coalesces
    from migrate_graph.workflow.side_by_side import jobs_of

    return _Manner(
        atomic=config.atomic if atomic is None else atomic,
        together=coalesces(config, coalesce=coalesce, atomic=atomic, jobs=jobs),
        jobs=jobs_of(config, jobs=jobs, atomic=atomic).number,
    )


class _Shown(Struct, frozen=True):
    """Everything that is shown of a plan, in any format.

    Attributes:
        planned: the assessed project.
        took: seconds that steps took in earlier runs, by name, where that is known.
        rehearsal: the result of the rehearsal; None without one.
        atomic: whether the plan will run as one transaction.
        lanes: which migrations run at the same time; None with one job.
        segments: which steps share a transaction; None if that was not asked for.
    """

    planned: Assessment
    took: Mapping[str, float]
    rehearsal: Rehearsal | None
    atomic: bool
    lanes: Forecast | None
    segments: Sequence[Segment] | None


def _rehearsed(
    session: Session, planned: Assessment, asked: RehearseOptions | None
) -> tuple[Assessment, Rehearsal | None]:
    """Rehearse a plan, if that was asked for and is possible."""
    if asked is None or planned.errors_of_graph or planned.reading.refused:
        return planned, None
    return rehearse_on(session, planned, asked)


def _shown(
    session: Session, planned: Assessment, took: Mapping[str, float], rehearsal: Rehearsal | None, manner: _Manner
) -> _Shown:
    from migrate_graph.workflow.coalescing import segments_in
    from migrate_graph.workflow.side_by_side import forecast_of

    return _Shown(
        planned,
        took,
        rehearsal,
        atomic=manner.atomic,
        lanes=forecast_of(planned, manner.jobs, took, session.remark) if manner.jobs > 1 else None,
        segments=segments_in(planned.planned, rehearsal) if manner.together else None,
    )


def _code(shown: _Shown, *, asks: bool) -> int:
    """Return the exit code.

    Args:
        shown: the plan.
        asks: whether pending migrations give exit code 4 (`--check`).
    """
    from migrate_graph.workflow.plan import exit_code_of
    from migrate_graph.workflow.rehearsed import exit_code_of as code_of_rehearsal

    code = exit_code_of(shown.planned, asks=asks, atomic=shown.atomic)
    return code if shown.rehearsal is None else code_of_rehearsal(shown.planned, shown.rehearsal, otherwise=code)


def _deliver(session: Session, shown: _Shown, drawn: Drawing, chosen: str, output: Path | None) -> None:
    """Show a plan in a format for people, or draw it."""
    planned, rehearsal = shown.planned, shown.rehearsal
    if chosen == "text":
        deliver_lines(session, plan_text(shown, style_for(session, output)), output)
    elif chosen == "sql":
        deliver_lines(session, _script(planned, rehearsal), output)
    elif chosen == "markdown" and rehearsal is not None:
        from migrate_graph.cli.rehearsal_text import markdown_lines

        told = "".join(f"{session.console.redact(line)}\n" for line in markdown_lines(planned, rehearsal))
        deliver_document(session, drawn.draw(session, planned, chosen) + told.encode("utf-8", "replace"), output)
    else:
        drawn.show(session, planned, chosen, output)


def _script(planned: Assessment, rehearsal: Rehearsal | None) -> Iterable[str]:
    if rehearsal is None:
        return [f"-- {one_line(planned.reading.note)}"]
    from migrate_graph.cli.rehearsal_text import script

    return script(planned, rehearsal)


def _sealed(session: Session, planned: Assessment, told: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """Return the JSON of a plan with its seal; without a database it has no seal."""
    from migrate_graph.workflow.sealing import seal, sealed_document

    made = seal(planned, path, session.remark)
    return told if made is None else sealed_document(session.console.redacted({**told, "seal": made}))


_OWN_FORMATS = {"text", "json", "markdown", "sql"}


def _format_of(output: Path | None, *, rehearses: bool) -> str:
    """Return the format for a file's suffix; `.sql` counts only with a rehearsal."""
    if rehearses and output is not None and output.suffix.lower() == ".sql":
        return "sql"
    return format_told_by(output)


# -- text ------------------------------------------------------------------------------------------------------------


_INDENT = 7
"""The column where the lines below a step begin."""


def plan_text(shown: _Shown, style: TextStyle) -> Iterator[str]:
    """Yield the text of a plan: what would run, in which order and why.

    Args:
        shown: the plan, and what is known about it.
        style: how text is written.
    """
    planned, took, rehearsal = shown.planned, shown.took, shown.rehearsal
    plan, reading = planned.planned, planned.reading
    yield from style.lines(_plan_heading(planned.project, plan, reading), indent=4, tone="bold")
    if planned.note:
        yield style.paint(f"({planned.note})", "muted" if planned.refusal is None else "warning")
    for told, views in (
        ("left down by an earlier run, so brought back first", planned.views_brought_back),
        ("without their rows, so refreshed first", reading.history.views_unfilled),
    ):
        if views:
            names = ", ".join(f"{one_line(each.relation)} ({one_line(each.manager)})" for each in views)
            yield from style.lines(f"{told}: {names}", indent=4, tone="warning")
    yield ""
    edited = planned.edited_views
    yield from _steps_text(shown, style)
    if plan.steps:
        yield ""
        yield plan.summary + _in_all(took, len(plan.steps))
    yield from _plan_remarks(plan, style)
    yield from _edited_remark([name for name, place in edited.items() if not place], style)
    if rehearsal is not None:
        from migrate_graph.cli.rehearsal_text import verdict

        yield from verdict(planned, rehearsal, style)
    if shown.atomic and plan.steps:
        yield from atomic_text(plan, style)
    if shown.lanes is not None and plan.steps:
        yield from lanes_text(shown.lanes, style)
    if shown.segments is not None and plan.steps:
        yield from segments_text(shown.segments, plan, style, is_rehearsed=rehearsal is not None)
    yield from _plan_verdict(plan, planned.findings, style)


def _in_all(took: Mapping[str, float], steps: int) -> str:
    if not took:
        return ""
    known = "" if len(took) == steps else f" for {len(took)} of them"
    return f" · about {lasting(sum(took.values()))}{known}"


def _steps_text(shown: _Shown, style: TextStyle) -> Iterator[str]:
    plan, edited, took, rehearsal = shown.planned.planned, shown.planned.edited_views, shown.took, shown.rehearsal
    ways = _ways(shown)
    numbers = {step.migration.name: number for number, step in enumerate(plan.steps, start=1)}
    rows = [
        (str(numbers[step.migration.name]), one_line(step.migration.name), one_line(str(step.migration.source)))
        for step in plan.steps
    ]
    digits, names, places = (max((columns(row[at]) for row in rows), default=0) for at in range(3))
    digits = max(digits, 3)
    ahead = digits + names + places + 6
    is_wide = style.width is None or ahead + _INDENT <= style.width
    for step, (number, name, place) in zip(plan.steps, rows, strict=True):
        head = f"{number:>{digits}}  {style.paint(name, 'bold')}"
        before = took.get(step.migration.name)
        reason = "; ".join(filter(None, (_reason(step, numbers), "" if before is None else f"took {lasting(before)}")))
        if is_wide:
            head += " " * (names - columns(name)) + f"  {style.paint(padded(place, places), 'muted')}"
        else:
            yield head
            head = f"{' ' * _INDENT}{style.paint(place, 'muted')}"
        yield from map(str.rstrip, style.lines(reason, head=f"{head}  ", indent=_INDENT))
        renewed = tuple(view for view, at in edited.items() if at == numbers[step.migration.name])
        windows = shown.planned.graph.registry.windows
        yield from _view_lines(step, renewed, style, ways.get(step.migration.name, {}), windows=windows)
        if rehearsal is not None:
            from migrate_graph.cli.rehearsal_text import ending, step_lines

            yield from step_lines(step, ending(rehearsal, step.migration.name), style)


def _plan_heading(project: Project, plan: Plan, reading: Reading) -> str:
    counts = [counted(len(plan.order), "migration")]
    counts.append(f"{len(plan.applied)} applied")
    counts.append(f"{len(plan.steps)} to run")
    return " · ".join(part for part in (one_line(project.name), one_line(reading.database), ", ".join(counts)) if part)


def _reason(step: Step, numbers: dict[str, int]) -> str:
    from migrate_graph.core.plan import ReasonKind
    from migrate_graph.core.states import State

    parts = []
    if step.reason.kind is ReasonKind.AFTER and step.reason.after:
        parts.append(f"after {listed((str(numbers.get(name, name)) for name in step.reason.after), most=MOST)}")
    if step.reason.status is State.FAILED:
        parts.append("tried again")
    if step.reason.status is State.REVERTED:
        parts.append("reverted before")
    if step.reason.late:
        parts.append("late")
    return "; ".join(parts)


def _ways(shown: _Shown) -> dict[str, dict[str, Way]]:
    """Return how the views of each step come back, by migration and view."""
    steps = shown.planned.planned.steps
    together = {step.migration.name for step in steps} if shown.atomic else set[str]()
    for segment in shown.segments or ():
        together.update(segment.names)
    return ways_by_step(shown.planned, together=together)


def _view_lines(
    step: Step, renewed: tuple[str, ...], style: TextStyle, ways: Mapping[str, Way], *, windows: bool
) -> Iterator[str]:
    views = step.views
    # As in 2.1.0, a view whose window closes is not dropped by that, and comes up once more where the body opens it. Only windows drop it.
    left = [] if windows else [name for name in views.retired if name in views.up or name not in views.down]
    rebuilt = views.up if set(views.up) - set(views.new) else ()
    for word, tone, names in (
        ("down", "warning", views.down),
        ("up", "good", rebuilt),
        ("new", "good", views.new),
        ("gone", "muted", [name for name in views.retired if name not in left]),
        ("ends", "warning", left),
        ("text", "good", renewed),
    ):
        if names:
            more = {"text": f", which {_edited(names)}", "ends": f", which {_stays(names)}"}.get(word, "")
            told = f"{listed(names, most=MOST)}{more}"
            yield from _view_line(word, tone, told, style)
    if how := how_told(ways):
        yield from _view_line("how", "muted", how, style)


def _view_line(word: str, tone: str, told: str, style: TextStyle) -> list[str]:
    return style.lines(told, head=f"{' ' * _INDENT}{style.paint(word, tone)}{' ' * (6 - len(word))}")


def _edited(names: Sequence[str]) -> str:
    return f"changed since {'it was' if len(names) == 1 else 'they were'} created"


def _stays(names: Sequence[str]) -> str:
    return "stays unless the body drops it" if len(names) == 1 else "stay unless the body drops them"


def _plan_remarks(plan: Plan, style: TextStyle) -> Iterator[str]:
    if plan.added:
        told = f"added, because what was asked for requires it: {listed(plan.added, most=MOST)}"
        yield from style.lines(told, indent=4)
    if plan.unselected:
        yield from style.lines(f"pending, but not asked for: {listed(plan.unselected, most=MOST)}", indent=4)
    for name in plan.interrupted:
        command = one_line(typed("migrate resolve", name, "--applied | --retry"))
        yield style.paint(f"interrupted: {one_line(name)}: {command}", "error")
    if plan.orphans:
        told = f"recorded, but not in the code: {listed(plan.orphans, most=MOST)}"
        yield from style.lines(told, indent=4, tone="warning")


def _edited_remark(names: Sequence[str], style: TextStyle) -> Iterator[str]:
    """Yield which views keep an old text, since no step brings in the new one, and what to write."""
    if names:
        name = one_line(names[0])
        what, it = ("text", "it") if len(names) == 1 else ("texts", "them")
        text = (
            f"{what} {_edited(names)}, and no step brings {it} in: {listed(names, most=MOST)}; bring {it} in with a new "
            f"migration, `{name}.renew(db)`, or declare a successor with `replaces = {name}`"
        )
        yield from style.lines(text, indent=4, tone="warning")


def _plan_verdict(plan: Plan, findings: Sequence[Finding], style: TextStyle) -> Iterator[str]:
    told = f"findings: {_counts_of(findings)}"
    if not plan.steps and not plan.blocked:
        yield f"nothing to do   ·   {told}"
        return
    waiting = [
        f"{one_line(each.migration.name)} (waits for {listed(each.by, most=3)})"
        for each in plan.blocked
        if each.by != (each.migration.name,)
    ]
    blocked = style.lines(f"blocked: {listed(waiting, most=MOST)}", indent=4)
    if len(blocked) == 1 and (style.width is None or columns(f"{blocked[0]}   ·   {told}") <= style.width):
        yield f"{blocked[0]}   ·   {told}"
    else:
        yield from blocked
        yield from style.lines(told, indent=4)


def _counts_of(findings: Sequence[Finding]) -> str:
    if not findings:
        return "none"
    from migrate_graph.core.rules import RULES, Needs

    by_severity = groupby(sorted(finding.severity for finding in findings))
    nouns = {"info": "remark"}
    counts = ", ".join(counted(len(list(group)), nouns.get(severity, severity)) for severity, group in by_severity)
    of_history = any(Needs.HISTORY in RULES[finding.code].needs for finding in findings)
    return f"{counts} (migrate check{' --history' if of_history else ''})"


# -- JSON ------------------------------------------------------------------------------------------------------------


def plan_document(shown: _Shown, *, exit_code: int) -> dict[str, Any]:
    """Return the JSON of a plan.

    Args:
        shown: the plan, and what is known about it.
        exit_code: of the process.
    """
    planned, took, rehearsal = shown.planned, shown.took, shown.rehearsal
    plan, project = planned.planned, planned.project
    ways = _ways(shown)
    body = {
        "project": project.name,
        **reading_document(planned.reading, planned.note),
        "ordering": str(project.ordering),
        "steps": [
            {**_step(step, number, planned.edited_views, ways), "took": took.get(step.migration.name)}
            for number, step in enumerate(plan.steps, start=1)
        ],
        "blocked": [
            {"name": each.migration.name, "by": list(each.by), **place_document(each.migration.source)}
            for each in plan.blocked
        ],
        **fields_of(plan, "applied interrupted orphans unselected added"),
        "views_down": [*map(stored_view_document, planned.views_brought_back)],
        "views_unfilled": [*map(stored_view_document, planned.reading.history.views_unfilled)],
        "edited_views": [name for name, place in planned.edited_views.items() if not place],
        "atomic": atomic_document(plan) if shown.atomic else None,
        "together": None if shown.segments is None else segments_document(shown.segments),
        "side_by_side": None if shown.lanes is None else lanes_document(shown.lanes),
        "findings": [finding_document(finding) for finding in planned.findings],
        "rehearsal": None if rehearsal is None else rehearsal_document(rehearsal),
        "seal": None,
    }
    return document("plan", body, exit_code=exit_code)


def _step(step: Step, number: int, edited: Mapping[str, int], ways: Mapping[str, Mapping[str, Way]]) -> dict[str, Any]:
    return {
        "number": number,
        "name": step.migration.name,
        **place_document(step.migration.source),
        **fields_of(step.migration, "module requires"),
        **fields_of(step.reason, "after status late"),
        "transaction": str(step.migration.transaction),
        "condition": condition_document(step.migration),
        "views_down": list(step.views.down),
        "views_up": list(step.views.up),
        "creates": list(step.views.new),
        "retires": list(step.views.retired),
        "renews": [view for view, place in edited.items() if place == number],
        "views_how": {name: str(way) for name, way in ways.get(step.migration.name, {}).items()},
        "footprint": None if step.footprint is None else footprint_document(step.footprint),
    }
