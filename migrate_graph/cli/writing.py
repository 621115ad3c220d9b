"""The commands that change something: apply, mark, resolve, restore in a database; new, init, views adopt in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate_graph.cli.options import (
    ExcludeOption,
    FileOption,
    LockOption,
    NamesArgument,
    Output,
    PathArgument,
    ReasonOption,
    SelectOption,
    ToOption,
    command,
    session_of,
    views,
)
from migrate_graph.errors import MigrateGraphError, UsageError

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.workflow.apply import ApplyOptions
    from migrate_graph.workflow.scaffolding import Written


@command(
    "migrate apply",
    "migrate apply --to add_total_20260402_001",
    "migrate apply --dry-run",
    "migrate apply --json > run.jsonl",
)
def apply(
    context: typer.Context,
    path: PathArgument = None,
    *,
    to: ToOption = None,
    select: SelectOption = [],  # noqa: B006 - typer copies it
    exclude: ExcludeOption = [],  # noqa: B006 - typer copies it
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="After an exception, go on with what does not depend on it.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop when a migration returns False too.")] = False,
    lock_timeout: LockOption = None,
    fake: Annotated[bool, typer.Option("--fake", help="Record as applied without running.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as migrate plan: change nothing.")] = False,
    output: Annotated[Output, typer.Option("--output", help="How the run is shown.")] = Output.AUTO,
    json: Annotated[bool, typer.Option("--json", help="The same as --output json: one JSON object a line.")] = False,
) -> None:
    """Run what is pending, under the lock. Bare `migrate [PATH]` does the same."""
    if keep_going and fail_fast:
        raise UsageError("--keep-going and --fail-fast contradict each other", hint="give one of them, or none")
    if dry_run:
        from migrate_graph.cli.reading import plan

        plan(context, path, to=to, select=select, exclude=exclude, json=json)
    from migrate_graph.workflow.apply import ApplyOptions
    from migrate_graph.workflow.plan import Selection

    options = ApplyOptions(
        selection=Selection(to, tuple(select), tuple(exclude)),
        keep_going=keep_going,
        fail_fast=fail_fast,
        lock_wait=lock_timeout,
        fake=fake,
    )
    raise typer.Exit(_run(session_of(context), path, options, Output.JSON if json else output))


def _run(session: Session, path: Path | None, options: ApplyOptions, output: Output) -> int:
    from migrate_graph.cli.progress import JsonProgress, progress_for
    from migrate_graph.workflow.apply import apply_project

    project = session.project(path)
    session.console.json = False
    with progress_for(output, session.console) as progress:
        try:
            code = apply_project(project, options, progress)
        except MigrateGraphError as error:
            if isinstance(progress, JsonProgress):
                progress.emit("error", error.message, hint=error.hint, exit_code=int(error.exit_code))
            raise
        if isinstance(progress, JsonProgress):
            progress.emit("exit", "done" if code == 0 else "not done", exit_code=int(code))
    return int(code)


@command(
    "migrate mark add_total_20260402_001 --installed --reason 'done by hand'",
    "migrate mark add_total_20260402_001 --pending",
)
def mark(
    context: typer.Context,
    names: NamesArgument,
    *,
    installed: Annotated[
        bool | None, typer.Option("--installed/--pending", help="What the record will say.", show_default=False)
    ] = None,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Write the record of a migration without running it."""
    from migrate_graph.cli.texts import listed
    from migrate_graph.workflow.mark import mark as write_marks

    if installed is None:
        raise UsageError("say what the record will be", hint=f"migrate mark {names[0]} --installed, or --pending")
    session = session_of(context)
    project = session.project(file)
    marked = write_marks(
        project, tuple(names), installed=installed, reason=_reason(session, reason), observer=session.remark
    )
    word = "installed" if installed else "pending"
    session.console.show(f"marked {word}: {listed(marked)}")


@command("migrate resolve add_total_20260402_001 --applied", "migrate resolve add_total_20260402_001 --retry")
def resolve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The interrupted migration.", show_default=False)],
    *,
    applied: Annotated[
        bool | None, typer.Option("--applied/--retry", help="Its work is there / run it again.", show_default=False)
    ] = None,
    reason: ReasonOption = "",
    file: FileOption = None,
) -> None:
    """Decide about an interrupted migration. One that died after commits of its own."""
    from migrate_graph.cli.texts import listed
    from migrate_graph.workflow.mark import resolve as decide

    if applied is None:
        raise UsageError("say how it is resolved", hint=f"migrate resolve {name} --applied, or --retry")
    session = session_of(context)
    project = session.project(file)
    decide(project, name, applied=applied, reason=_reason(session, reason), observer=session.remark)
    session.console.show(f"resolved: {listed([name])} {'counts as applied' if applied else 'will run again'}")


@command("migrate restore", "migrate restore backup.sql.gz")
def restore(
    context: typer.Context,
    backup: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Default: the configured database_to_restore.", show_default=False),
    ] = None,
    *,
    lock_timeout: LockOption = None,
) -> None:
    """Restore the backup into a database that is proved empty."""
    from migrate_graph.cli.progress import progress_for
    from migrate_graph.workflow.apply import restore_database

    session = session_of(context)
    config = session.config()
    with progress_for(Output.AUTO, session.console) as progress:
        restored = restore_database(config, backup, lock_wait=lock_timeout, observer=progress)
    session.console.show(f"restored: {session.console.clean(str(restored))}")


@command(
    "migrate new add_total",
    "migrate new add_total --requires leaves",
    "migrate new InvoiceTotals --view --requires Invoices",
)
def new(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it does; a free number is added.", show_default=False)
    ],
    *,
    requires: Annotated[
        list[str],
        typer.Option(
            "--requires",
            metavar="A,B",
            help="What comes first; `leaves`: what nothing requires yet.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    view: Annotated[bool, typer.Option("--view", help="A view manager, and the migration that creates it.")] = False,
    file: FileOption = None,
) -> None:
    """Append a well-named migration to the migrations file."""
    from datetime import UTC, datetime

    from migrate_graph.workflow.scaffolding import new as write_new

    session = session_of(context)
    project = session.project(file)
    wanted = [each.strip() for given in requires for each in given.split(",") if each.strip()]
    today = datetime.now(UTC).astimezone().date()
    _tell_written(session, write_new(project, name, requires=wanted, view=view, today=today))


@command("migrate init")
def init(context: typer.Context) -> None:
    """Write settings and a first migrations.py. Nothing is overwritten."""
    from migrate_graph.workflow.scaffolding import init as begin

    session = session_of(context)
    for written in begin(session.root):
        _tell_written(session, written)
    session.console.show("next: migrate new create_customers")


@command("migrate views adopt", "migrate views adopt v_dashboard -o views.py", of=views)
def adopt(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Default: all unmanaged views.", show_default=False)
    ] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file for the managers.")] = Path(
        "views.py"
    ),
    file: FileOption = None,
) -> None:
    """Write view managers for existing views of a PostgreSQL database."""
    from migrate_graph.messages import counted
    from migrate_graph.workflow.views_adopt import adopt as write_managers

    session = session_of(context)
    project = session.project(file)
    written = write_managers(project, tuple(names or ()), output, observer=session.remark)
    if written is None:
        session.console.show("nothing to adopt: every view has a manager")
        return
    _tell_written(session, written)
    session.console.show(f"{counted(len(written.names), 'view')} adopted")
    session.console.show(f"next: import {written.path.stem} in {project.path.name}, then migrate check")


def _tell_written(session: Session, written: Written) -> None:
    from migrate_graph.cli.texts import listed

    root = session.root
    shown = written.path.relative_to(root) if written.path.is_relative_to(root) else written.path
    declared = f"  {listed(written.names)}" if written.names else ""
    session.console.show(f"written: {session.console.clean(str(shown))}:{written.line}{declared}")


def _reason(session: Session, reason: str) -> str:
    return f"{session.who()}: {reason}" if reason else session.who()


__all__ = ["adopt", "apply", "init", "mark", "new", "resolve", "restore"]
