"""`migrate log`: what was tried, when, where, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrate_graph.cli.command import Section, Together, command, session_of
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.drawing import LAID_OUT, Drawing, require_format
from migrate_graph.cli.json_document import reading_document
from migrate_graph.cli.options import FileOption, GraphOption, JsonOption, RendererOption
from migrate_graph.cli.text import moment
from migrate_graph.columns import table
from migrate_graph.messages import counted, lasting
from migrate_graph.redaction import one_line
from migrate_graph.render import Renderer
from migrate_graph.reports.document import document, fields_of

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.history import Attempt
    from migrate_graph.workflow.project import Reading


@command(
    Section.LOOK,
    "migrate log",
    "migrate log add_total_20260402_001",
    "migrate log --graph run.svg",
    together=(Together("--run", needs=("--graph",)), Together("--renderer", needs=(LAID_OUT,))),
)
def log(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this migration.")] = None,
    *,
    file: FileOption = None,
    graph: GraphOption = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="ID", help="Draw this run, not the newest; the first letters of its ID are enough."
        ),
    ] = None,
    json: JsonOption = False,
    renderer: RendererOption = Renderer.AUTO,
) -> None:
    """Show what was tried, when, where, and how it ended. With --graph, draw the newest run: how long each migration took and each view was away."""
    from migrate_graph.workflow.assessment import assess
    from migrate_graph.workflow.log import log_of, run_of

    session = session_of(context)
    if graph is not None:
        require_format("text", {"text"}, graph, None)
    project = session.project(file)
    reading = session.reading(project)
    attempts = log_of(project, reading, name)
    if graph is not None:
        chosen = run_of(attempts, run)
        whole = run_of(log_of(project, reading, None), chosen[0].run)
        Drawing(question="run", renderer=renderer, run=whole).write(session, assess(project, reading), graph)
    if json:
        session.console.show_json(log_document(attempts, reading))
    elif attempts:
        deliver_lines(session, log_text(attempts, session.console.style))
    else:
        of = f" of {session.console.clean(name)}" if name is not None else ""
        session.console.tell(reading.note or f"the journal has no attempt{of}")


def log_text(attempts: Sequence[Attempt], style: TextStyle) -> Iterator[str]:
    """Yield what was tried, when, where and how it ended."""
    from migrate_graph.core.history import AttemptState  # help needs none of it

    rows = [
        (
            moment(attempt.started),
            one_line(attempt.name),
            _attempt_word(attempt),
            lasting(attempt.duration) if attempt.duration is not None else "",
            one_line(f"{attempt.host}:{attempt.pid}" if attempt.host else ""),
        )
        for attempt in attempts
    ]
    tones = {
        AttemptState.APPLIED: "good", AttemptState.FAILED: "error", AttemptState.RUNNING: "warning",
        AttemptState.REVERT_FAILED: "error", AttemptState.REVERTING: "warning",
    }  # fmt: skip
    for attempt, lines in zip(attempts, table(rows, style.width, indent=2), strict=True):
        for line in lines:
            yield style.paint(line, tones.get(attempt.state, "info"))
        if attempt.error:
            yield from style.lines(one_line(attempt.error), head="      ")


def _attempt_word(attempt: Attempt) -> str:
    from migrate_graph.core.history import AttemptState

    unfinished = {AttemptState.RUNNING: "not finished", AttemptState.REVERTING: "revert not finished"}
    word = unfinished.get(attempt.state, str(attempt.state))
    return f"{word}, {counted(attempt.commits, 'own commit')} kept" if attempt.commits and word != "applied" else word


def log_document(attempts: tuple[Attempt, ...], reading: Reading) -> dict[str, Any]:
    """Return the attempts."""
    return document("log", {**reading_document(reading), "attempts": [*map(attempt_document, attempts)]})


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    """Return one attempt."""
    return fields_of(attempt, "name run state commits started finished duration host pid version error")
