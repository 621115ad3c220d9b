"""Show a sealed plan: what it runs, what it depends on, and what has changed since it was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.messages import counted, typed
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import document, fields_of

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.core.sealed import Verdict
    from migrate_graph.workflow.sealing import SealedPlan


def show_plan(session: Session, name: Path, *, file: Path | None, offline: bool, json: bool) -> None:
    """Show a sealed plan, also if it is stale.

    Args:
        session: has the console.
        name: path of the plan's file.
        file: the migrations file; None for the one that the plan names.
        offline: whether to leave the database alone.
        json: whether to print JSON.

    Raises:
        UsageError: the file is not a sealed plan.
    """
    from migrate_graph.workflow.sealing import read_sealed

    plan = read_sealed(name)
    found, why = (None, "offline: the database was not asked") if offline else _judged(session, plan, file)
    if json:
        session.console.show_json(document("show", {"nodes": [], "plan": _document(plan, found, why)}))
    else:
        deliver_lines(session, _text(plan, found, why, session.console.style))


def _judged(session: Session, plan: SealedPlan, file: Path | None) -> tuple[Verdict | None, str]:
    """Return what has changed since the plan was made, or why that is not known; a plan can be shown without a project or a database."""
    from migrate_graph.errors import MigrateGraphError
    from migrate_graph.workflow.project import NO_DATABASE
    from migrate_graph.workflow.sealing import judge_now

    try:
        project = session.project(file or plan.path)
        if not project.config.has_database:
            return None, NO_DATABASE
        return judge_now(project, plan, session.remark), ""
    except MigrateGraphError as error:
        return None, error.message


def _text(plan: SealedPlan, found: Verdict | None, why: str, style: TextStyle) -> Iterator[str]:
    sealed, paint = plan.snapshot, style.paint
    yield paint(
        f"{one_line(str(plan.file))}  {counted(len(sealed.steps), 'step')} for {one_line(plan.database)}", "bold"
    )
    yield ""
    done = found.done if found else ()
    for number, step in enumerate(sealed.steps, 1):
        state = paint("  applied", "good") if step.name in done else ""
        yield f"{number:>3}  {paint(one_line(step.name), 'bold')}  {paint(step.fingerprint or 'no fingerprint', 'muted')}{state}"
        if step.views:
            yield from style.lines(f"       views  {one_line(', '.join(step.views))}", indent=14)
        for shape in step.shapes or ():
            yield from style.lines(f"       sends  {one_line(' '.join(shape.split()))}", indent=14)
    yield ""
    about = "everything in the database" if sealed.is_whole else counted(len(sealed.facts), "relation")
    yield (
        f"depends on {counted(len(sealed.migrations), 'migration')}, {counted(len(sealed.views), 'view')}, "
        f"{counted(len(sealed.installed), 'record')} of the ledger and {about}"
    )
    yield from _verdict_text(plan, found, why, style)


def _verdict_text(plan: SealedPlan, found: Verdict | None, why: str, style: TextStyle) -> Iterator[str]:
    if found is None:
        yield style.paint(f"whether it can run is not known: {one_line(why)}", "warning")
    elif found.is_over:
        yield style.paint("applied: there is nothing left to run", "good")
    elif found.moved:
        yield style.paint(f"stale: {counted(len(found.moved), 'thing')} moved since it was made", "error")
        for each in found.moved:
            yield from style.lines(f"  {one_line(each.told)}", indent=4)
        yield "next: migrate plan -o plan.json, to be approved again"
    else:
        if found.unseen:
            yield from style.lines(one_line(found.unseen), indent=4)
        yield style.paint(f"can run: {counted(len(found.left), 'step')} left", "good")
        yield f"next: {one_line(typed('migrate apply', str(plan.file)))}"


def _document(plan: SealedPlan, found: Verdict | None, why: str) -> dict[str, Any]:
    return {
        "file": str(plan.file),
        "database": plan.database,
        "steps": [step.name for step in plan.snapshot.steps],
        "applied": None if found is None else list(found.done),
        "moved": None if found is None else [fields_of(each, "what name told") for each in found.moved],
        "can_run": None if found is None else not found.moved and not found.is_over,
        "note": why,
    }
