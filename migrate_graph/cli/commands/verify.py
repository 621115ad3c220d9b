"""`migrate verify`: the graph, proved against what the migrations really need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_json, deliver_report, safe_report
from migrate_graph.cli.drawing import LAID_OUT, Drawing, require_format
from migrate_graph.cli.options import (
    AllowOutsideOption,
    GraphOption,
    IgnoreOption,
    JsonOption,
    OutputOption,
    PathArgument,
    RendererOption,
    ReportOption,
    RulesOption,
)
from migrate_graph.errors import ExitCode, MigrateGraphError, Stopped
from migrate_graph.render import Renderer
from migrate_graph.reports import require_report

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.core.events import Event
    from migrate_graph.workflow.adding_requires import Added, Snapshot
    from migrate_graph.workflow.proof import Proof


@command(
    Section.LOOK,
    "migrate verify",
    "migrate verify --on postgres://user:password@host:5432/postgres",
    "migrate verify --closure --permute 20",
    "migrate verify --reverts",
    "migrate verify --write",
    "migrate verify --infer --graph inferred.svg",
    "migrate verify --format github",
    together=(
        Together("--format", excludes=("--json",)),
        Together("--seed", needs=("--permute", "--infer")),
        Together("--apply-to-files", needs=("--infer",)),
        Together("--renderer", needs=(LAID_OUT,)),
    ),
)
def verify(
    context: typer.Context,
    path: PathArgument = None,
    *,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="URI",
            help="A database on the server where databases are made for this. Default: rehearse_on, else the configured database.",
        ),
    ] = "",
    closure: Annotated[
        bool, typer.Option("--closure", help="Also try each migration on a database with only what it requires.")
    ] = False,
    permute: Annotated[
        int | None,
        typer.Option(
            "--permute",
            min=1,
            metavar="N",
            help="Also try N other orders that the graph permits: all must end with the same result. With --infer, 20 by default.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="S", help="The seed that chooses the orders of --permute; 0 by default."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write what was seen into the footprint file, for migrate check.")
    ] = False,
    reverts: Annotated[
        bool,
        typer.Option(
            "--reverts", help="Also undo each migration that has a way back, and apply it again: all must be as before."
        ),
    ] = False,
    infer: Annotated[
        bool, typer.Option("--infer", help="Show the requirements that are missing, and try the graph with them.")
    ] = False,
    apply_to_files: Annotated[
        bool,
        typer.Option("--apply-to-files", help="Add the missing requirements to the files. Nothing is ever removed."),
    ] = False,
    format_name: ReportOption = "text",
    output: OutputOption = None,
    graph: GraphOption = None,
    select: RulesOption = [],  # noqa: B006 - typer copies it
    ignore: IgnoreOption = [],  # noqa: B006 - likewise
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Prove the graph against what the migrations really need.

    Runs every migration on a database that is made for it and dropped; the configured database is not touched. Exit 3 when
    something is missing in the graph, 1 when a migration fails.
    """
    from migrate_graph.workflow.adding_requires import take_snapshot
    from migrate_graph.workflow.assessment import Judging
    from migrate_graph.workflow.proof import ORDERS_OF_INFERRED, ProofOptions, prove, require_configured

    session = session_of(context)
    if graph is not None:
        require_format("text", {"text"}, graph, None)
    chosen = require_report("json" if json else format_name)
    project = session.project(path)
    if write:
        require_configured(project)
    snapshot = take_snapshot(project, session.environ)
    options = ProofOptions(
        on=on,
        closure=closure,
        permute=permute or (ORDERS_OF_INFERRED if infer else 0),
        seed=seed or 0,
        infer=infer,
        allow_outside=allow_outside,
        reverts=reverts,
    )
    judging = Judging(tuple(select), tuple(ignore))
    watcher = _Watcher(session)
    proof = prove(project, options, judging=judging, observer=watcher, told=watcher.doing)
    drawn = Drawing(question="graph" if infer else "check", renderer=renderer)
    wanted = _Wanted(write, snapshot if apply_to_files else None, graph, drawn, chosen, output)
    raise typer.Exit(_write(session, proof, wanted))


class _Wanted(Struct, frozen=True):
    """What is written after a proof.

    Attributes:
        footprints: whether the footprint file is written.
        sources: the state of the files to which requirements are added; None to leave the files unchanged.
        picture: a file for a picture; None for no picture.
        drawn: the picture.
        chosen: the format of the report.
        output: the file of the report; None for stdout.
    """

    footprints: bool
    sources: Snapshot | None
    picture: Path | None
    drawn: Drawing
    chosen: str
    output: Path | None


def _write(session: Session, proof: Proof, wanted: _Wanted) -> int:
    """Write everything that was asked for; return the exit code."""
    from migrate_graph.workflow.proof import keep, with_additions

    written = added = None
    with _told_at_the_end(session) as refused:
        if wanted.footprints:
            with _collecting(refused):
                written = keep(proof)
        if wanted.sources is not None:
            with _collecting(refused):
                added = _add(session, proof, wanted.sources)
        proof = with_additions(proof, added.names) if added else proof
        if wanted.picture is not None:
            with _collecting(refused):
                replace(wanted.drawn, seen=proof.seen).write(session, proof.found, wanted.picture)
        with _collecting(refused):
            code = _code(proof, refused)
            _show(session, proof, wanted.chosen, wanted.output, code=code, written=written, added=added)
    return _code(proof, refused)


def _code(proof: Proof, refused: Sequence[MigrateGraphError]) -> int:
    """Return the exit code: that of the findings, or else that of the first file that cannot be written."""
    return proof.exit_code or (refused[0].exit_code if refused else ExitCode.OK)


@contextmanager
def _told_at_the_end(session: Session) -> Iterator[list[MigrateGraphError]]:
    """Yield a list for errors, and show them at the end, after the findings; also if another exception ends the command."""
    refused: list[MigrateGraphError] = []
    try:
        yield refused
    finally:
        for error in refused:
            session.console.tell_error(error)


@contextmanager
def _collecting(refused: list[MigrateGraphError]) -> Iterator[None]:
    """Collect the error of a file that cannot be written, so that the findings are still shown."""
    try:
        yield
    except Stopped:
        raise
    except MigrateGraphError as error:
        refused.append(error)


class _Watcher:
    """Writes the progress of the proof to stderr, at most one line every few seconds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told = time.monotonic()

    def __call__(self, event: Event) -> None:
        from migrate_graph.core.events import Connecting, LockWaiting, Printed, StepStarted, Warned

        if isinstance(event, Connecting | LockWaiting | Printed | Warned):
            self._session.remark(event)
        elif isinstance(event, StepStarted):
            name = self._session.console.clean(event.name)
            self._tell(f"watching {event.index} of {event.total}: {name}", now=event.index == 1)

    def doing(self, what: str) -> Callable[[int, int], None]:
        """Return a function that shows the progress of a later part of the proof; it takes the number done and the total."""
        return lambda done, of: self._tell(f"{what}: {done} of {of}", now=done == of)

    def _tell(self, text: str, *, now: bool) -> None:
        if now or time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            self._session.console.tell(text)


_TELL_EVERY = 5.0
"""Seconds between two lines about the progress."""


def _add(session: Session, proof: Proof, snapshot: Snapshot) -> Added:
    """Write the missing requirements into the files, if the proof of the graph with them succeeded."""
    from migrate_graph.workflow.adding_requires import Added, add_requires

    if not proof.holds_with_additions:
        session.console.tell("the files are not changed: the graph does not hold with these requirements")
        return Added()
    return add_requires(proof.found.project, proof.additions or {}, snapshot, session.environ)


def _show(
    session: Session,
    proof: Proof,
    chosen: str,
    output: Path | None,
    *,
    code: int,
    written: bool | None,
    added: Added | None,
) -> None:
    from migrate_graph.cli.verify_document import proof_document
    from migrate_graph.workflow.check import report_of

    if chosen == "json":
        document = proof_document(proof, exit_code=code, written=written, added=added)
        deliver_json(session, document, output)
        return
    report = safe_report(session, proof.found, report_of(proof.found, proof.findings), exit_code=code)
    more = partial(_more, proof, written=written, added=added)
    deliver_report(session, report, chosen, output, more=more)


def _more(proof: Proof, style: TextStyle, *, written: bool | None, added: Added | None) -> Iterator[str]:
    from migrate_graph.cli.verify_text import added_lines, addition_lines, proof_lines

    yield from proof_lines(proof, style)
    if proof.additions is not None:
        yield from addition_lines(proof, style)
    if added is not None:
        yield from added_lines(added, style)
    if written is not None:
        file = proof.found.project.config.footprints
        yield f"written: {file}" if written else f"{file} is as it was"
