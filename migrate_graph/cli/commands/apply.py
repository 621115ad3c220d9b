"""`migrate apply`: run what is pending, under the lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.command import ATOMIC, COALESCE, Section, Together, command, session_of
from migrate_graph.cli.options import (
    AtomicOption,
    CoalesceOption,
    ExcludeOption,
    JobsOption,
    LockOption,
    Output,
    PathArgument,
    SelectOption,
    ToOption,
    is_plan_file,
)
from migrate_graph.errors import UsageError
from migrate_graph.messages import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrate_graph.cli.progress import Progress
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.apply import ApplyOptions
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.sealing import SealedPlan


@command(
    Section.DAILY,
    "migrate apply",
    "migrate apply --to add_total_20260402_001",
    "migrate apply --atomic",
    "migrate apply --dry-run",
    "migrate apply --json > run.jsonl",
    "migrate apply --rehearse-first",
    "migrate apply --jobs 4",
    "migrate apply --coalesce --rehearse-first",
    "migrate apply plan.json",
    together=(
        Together(
            "--dry-run",
            excludes=("--keep-going", "--fail-fast", "--fake", "--lock-timeout", "--output", "--rehearse-first"),
        ),
        Together("--rehearse-first", excludes=("--fake",)),
        Together("--fake", excludes=("--keep-going", "--fail-fast", ATOMIC)),
        Together("--jobs", excludes=(ATOMIC, COALESCE, "--fake")),
        Together("--coalesce", excludes=(ATOMIC, "--fake")),
        Together("--keep-going", excludes=(ATOMIC,)),
        Together("--fail-fast", excludes=(ATOMIC,)),
        Together("--keep-going", excludes=("--fail-fast",)),
        Together("--output", excludes=("--json",)),
    ),
)
def apply(
    context: typer.Context,
    path: PathArgument = None,
    *,
    to: ToOption = None,
    select: SelectOption = [],  # noqa: B006 - typer copies it
    exclude: ExcludeOption = [],  # noqa: B006 - typer copies it
    atomic: AtomicOption = None,
    coalesce: CoalesceOption = None,
    jobs: JobsOption = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", help="After an exception, go on with migrations that do not depend on the failed one."
        ),
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Also stop when a migration returns False.")] = False,
    lock_timeout: LockOption = None,
    fake: Annotated[bool, typer.Option("--fake", help="Record as applied without running.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as migrate plan: change nothing.")] = False,
    rehearse_first: Annotated[
        bool,
        typer.Option(
            "--rehearse-first", help="Rehearse on a clone; run only if nothing fails there and no MG6xx error is found."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="With a rehearsed sealed plan: a statement that the rehearsal did not see fails its migration.",
        ),
    ] = False,
    output: Annotated[Output, typer.Option("--output", help="How the run is shown.")] = Output.AUTO,
    json: Annotated[bool, typer.Option("--json", help="The same as --output json: one JSON object a line.")] = False,
) -> None:
    """Run what is pending, under the lock. Bare `migrate [PATH]` does the same.

    A PATH that ends in .json is a sealed plan, made by `migrate plan -o plan.json`: exactly that plan runs, or nothing (exit 9).
    """
    if path is not None and is_plan_file(path):
        chosen = {
            "--to": to, "--select": select, "--exclude": exclude, "--fake": fake, "--dry-run": dry_run, "--keep-going": keep_going,
            "--jobs": jobs, "--coalesce": coalesce,
        }  # fmt: skip
        _refuse_beside_a_plan(path, [option for option, is_given in chosen.items() if is_given])
    elif strict:
        raise UsageError(
            "--strict goes with a sealed plan",
            hint="migrate plan --rehearse -o plan.json, then migrate apply plan.json --strict",
        )
    if dry_run:
        from migrate_graph.cli.commands.plan import plan

        plan(
            context, path, to=to, select=select, exclude=exclude, atomic=atomic, coalesce=coalesce, jobs=jobs, json=json
        )
    from migrate_graph.core.rules import Doing
    from migrate_graph.workflow.apply import ApplyOptions
    from migrate_graph.workflow.assessment import Selection

    session_of(context).overrides["lock_timeout_wait"] = lock_timeout
    options = ApplyOptions(
        doing=Doing.COMPATIBLE if session_of(context).is_bare else Doing.RUN,
        selection=Selection(to, tuple(select), tuple(exclude)),
        keep_going=keep_going,
        fail_fast=fail_fast,
        fake=fake,
        atomic=atomic,
        coalesce=coalesce,
        jobs=jobs,
    )
    if path is not None and is_plan_file(path):
        path, options = _as_sealed(path, options, strict=strict)
    shown = Output.JSON if json else output
    raise typer.Exit(_run(session_of(context), path, options, shown, rehearses=rehearse_first))


def _as_sealed(file: Path, options: ApplyOptions, *, strict: bool) -> tuple[Path | None, ApplyOptions]:
    """Return the path that a sealed plan was made for, and the options with which exactly this plan runs."""
    from msgspec.structs import replace

    from migrate_graph.workflow.apply import require_rehearsed
    from migrate_graph.workflow.sealing import read_sealed

    sealed = read_sealed(file)
    if strict:
        require_rehearsed(sealed)
    exactly = replace(options, sealed=sealed, strict=strict, selection=sealed.selection, jobs=1, coalesce=False)
    return sealed.path, exactly


def _refuse_beside_a_plan(file: Path, options: list[str]) -> None:
    if options:
        raise UsageError(
            f"{options[0]} does nothing beside {file}, which says what runs",
            hint=f"leave out {options[0]}; {typed('migrate show', str(file))} tells whether it can run",
        )


def _run(session: Session, path: Path | None, options: ApplyOptions, output: Output, *, rehearses: bool) -> int:
    from msgspec.structs import replace

    from migrate_graph.cli.progress import show_run
    from migrate_graph.workflow.apply import apply_project

    def run(progress: Progress) -> int:
        project = session.project(path)
        if rehearses and options.sealed is not None:
            _refuse_stale(session, project, options.sealed)
        code, woven = _rehearse(session, project, options, progress) if rehearses else (0, {})
        return code or apply_project(project, replace(options, woven=woven), progress)

    return show_run(session, output, run)


def _refuse_stale(session: Session, project: Project, sealed: SealedPlan) -> None:
    """Raise if a sealed plan is stale, before a rehearsal whose plan could not run anyway."""
    from migrate_graph.workflow.sealing import judge_now, refuse_stale

    if project.config.has_database:
        refuse_stale(sealed, judge_now(project, sealed, session.remark))


def _rehearse(
    session: Session, project: Project, options: ApplyOptions, progress: Progress
) -> tuple[int, Mapping[str, tuple[str, ...]]]:
    """Rehearse the plan and show the result.

    Returns:
        The exit code (0 if the plan may run), and the views that were in the way of each migration.
    """
    from migrate_graph.cli.progress import JsonProgress
    from migrate_graph.cli.rehearsal import rehearse_on
    from migrate_graph.cli.rehearsal_document import rehearsal_document
    from migrate_graph.cli.rehearsal_text import ending, headline, step_lines, verdict
    from migrate_graph.workflow.assessment import Judging, assess
    from migrate_graph.workflow.coalescing import seen_in_the_way
    from migrate_graph.workflow.rehearse import RehearseOptions
    from migrate_graph.workflow.rehearsed import exit_code_of

    found = assess(project, session.reading(project), selection=options.selection, judging=Judging(doing=options.doing))
    found.refuse_errors(doing="apply")
    if found.reading.refused:
        return 0, {}  # there is no schema to clone yet, or `apply` refuses this database itself
    found, rehearsal = rehearse_on(session, found, RehearseOptions())
    code = exit_code_of(found, rehearsal, otherwise=0)
    if isinstance(progress, JsonProgress):
        told = session.console.redacted(rehearsal_document(rehearsal))
        progress.emit("rehearsal", session.console.clean(headline(found, rehearsal)), **told)
        return code, seen_in_the_way(rehearsal)
    style = session.console.style_err
    for step in rehearsal.plan.steps if code else ():
        result = ending(rehearsal, step.migration.name)
        if result is not None and (result.outcome.failed or result.unrefreshed):
            session.console.tell(session.console.clean(step.migration.name))
            for line in step_lines(step, result, style):
                session.console.tell(line)
    for line in verdict(found, rehearsal, style):
        session.console.tell(line)
    if code:
        session.console.tell("nothing was run: the rehearsal found what must be mended first")
    return code, seen_in_the_way(rehearsal)
