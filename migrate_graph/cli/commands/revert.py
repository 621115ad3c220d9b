"""`migrate revert`: undo applied migrations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_json, deliver_lines
from migrate_graph.cli.options import FileOption, LockOption, Output
from migrate_graph.cli.revert_document import revert_document
from migrate_graph.cli.text import listed
from migrate_graph.messages import counted, typed
from migrate_graph.redaction import one_line, printable

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.core.plan import Step
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.revert import Foreseen, Loss, RevertOptions


@command(
    Section.DATABASE,
    "migrate revert add_total_20260402_001 --plan",
    "migrate revert add_total_20260402_001",
    "migrate revert create_orders_20260112_001 --with-dependents --yes",
    together=(
        Together("--plan", excludes=("--rehearse", "--yes", "--output", "--lock-timeout")),
        Together("--rehearse", excludes=("--yes", "--output", "--lock-timeout")),
        Together("--output", excludes=("--json",)),
    ),
)
def revert(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The migration to undo.")],
    *,
    with_dependents: Annotated[
        bool, typer.Option("--with-dependents", help="First undo the applied migrations that require it.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be undone: change nothing.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Undo it in a copy, and show what that does and which data is lost.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Permit the loss of data, and code that was edited since it was applied.")
    ] = False,
    lock_timeout: LockOption = None,
    file: FileOption = None,
    output: Annotated[Output, typer.Option("--output", help="How the run is shown.")] = Output.AUTO,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; with --plan or --rehearse one document.")
    ] = False,
) -> None:
    """Undo an applied migration by its `down`. Views come back as they were before it."""
    from migrate_graph.workflow.revert import RevertOptions, revert_project

    session = session_of(context)
    session.overrides["lock_timeout_wait"] = lock_timeout
    options = RevertOptions(with_dependents=with_dependents, yes=yes)
    if plan or rehearse:
        raise typer.Exit(_look(session, session.project(file), name, options, rehearses=rehearse, json=json))
    from migrate_graph.cli.progress import show_run

    project = session.project(file)
    shown = Output.JSON if json else output
    raise typer.Exit(show_run(session, shown, lambda progress: revert_project(project, name, options, progress)))


def _look(session: Session, project: Project, name: str, options: RevertOptions, *, rehearses: bool, json: bool) -> int:
    """Show what would be undone, and with a rehearsal how that ends; return the exit code."""
    from migrate_graph.workflow.project import would_refuse
    from migrate_graph.workflow.revert import counted_losses, foresee, plan_revert, with_derived

    reading = session.asked_history(project, "revert", obstacles=True)
    found = plan_revert(project, reading, name, with_dependents=options.with_dependents)
    tried = with_derived(found, session.remark, compares=rehearses)
    foreseen = foresee(tried, session.remark) if rehearses else None
    losses = counted_losses(project, foreseen, session.remark) if foreseen is not None else ()
    code = 1 if foreseen is not None and foreseen.unknown else 0
    if found.refusal is not None:
        session.console.tell(session.console.clean(f"({would_refuse(found.refusal, doing='revert')})"))
        code = int(found.refusal.exit_code)
    if json:
        deliver_json(session, revert_document(tried.found, foreseen, losses, exit_code=code))
        return code
    style = session.console.style
    lines = list(plan_text(tried.found, style))
    if foreseen is not None:
        lines = [*lines[:-1], *_rehearsal_lines(foreseen, losses, style)]
    deliver_lines(session, iter(lines))
    return code


def _rehearsal_lines(foreseen: Foreseen, losses: Sequence[Loss], style: TextStyle) -> Iterator[str]:
    from migrate_graph.cli.rehearsal_text import ending, step_lines

    if rehearsal := foreseen.rehearsal:
        for step in rehearsal.plan.steps:
            name = step.migration.name
            yield f"  {one_line(name)}"
            yield from step_lines(step, ending(rehearsal, name), style)
    yield ""
    if foreseen.unknown:
        yield one_line(foreseen.unknown)
    else:
        yield f"data that goes: {', '.join(map(str, losses)) or 'none'}"
    for each in foreseen.deviations:
        yield from style.lines(one_line(each), indent=2, tone="warning")
    if foreseen.unsure:
        yield one_line(f"whether it restores what was there before is not known: {foreseen.unsure}")
    elif not foreseen.deviations and not foreseen.unknown:
        yield "it restores what was there before, and can be applied again"


def plan_text(found: Assessment, style: TextStyle) -> Iterator[str]:
    """Yield what would be undone, in which order, by which statements or functions, and what happens to views."""
    plan = found.planned
    yield f"{found.project.name} · {one_line(found.reading.database)} · {counted(len(plan.steps), 'migration')} to revert"
    yield ""
    for number, step in enumerate(plan.steps, 1):
        yield f"  {number}  {style.paint(one_line(step.migration.name), 'bold')}  {one_line(str(step.migration.source))}"
        for line in way_back_lines(found.project, step):
            yield f"       {style.paint(line, 'muted')}"
        yield from _views(step)
    yield ""
    last = plan.steps[-1].migration.name
    options = "--with-dependents" if len(plan.steps) > 1 else ""
    yield f"next: {one_line(typed('migrate revert', last, ' '.join(filter(None, (options, '--rehearse')))))}"


def way_back_lines(project: Project, step: Step) -> Iterator[str]:
    """Yield what undoes a step: the derived statements, or the name and the place of its `down` function."""
    from migrate_graph.workflow.ways_back import told_of

    told = told_of(project, step.migration)
    if told.statements is None:
        yield one_line(f"by {told.function} ({told.source})" if told.source else f"by {told.function}")
    elif not told.statements:
        yield "nothing to do: it has added nothing of its own"
    else:
        yield from (f"{printable(statement)};" for statement in told.statements)


def _views(step: Step) -> Iterator[str]:
    views = step.views
    rebuilt = [name for name in views.up if name not in views.new]
    for word, names in (
        ("down and up again", rebuilt),
        ("down for good", views.retired),
        ("up, as it was before", views.new),
    ):
        if names:
            yield f"       views {word}: {listed(names)}"
