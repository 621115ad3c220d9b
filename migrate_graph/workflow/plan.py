"""Plan and draw: the exit code of `plan`, and the pictures; nothing is ever written to a database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from migrate_graph.atomic_write import write_whole
from migrate_graph.core.states import states_of
from migrate_graph.errors import ExitCode, UsageError
from migrate_graph.messages import typed
from migrate_graph.workflow.assessment import Assessment
from migrate_graph.workflow.log import changes_of
from migrate_graph.workflow.one_transaction import obstacles

if TYPE_CHECKING:
    from migrate_graph.core.graph import Edge
    from migrate_graph.core.history import Attempt
    from migrate_graph.render import PictureOptions
    from migrate_graph.render.picture import Picture


_UNKNOWN: Mapping[str, float] = MappingProxyType({})


def exit_code_of(found: Assessment, *, asks: bool = False, atomic: bool = False) -> int:
    """Return the exit code of `plan`.

    Args:
        found: what would run.
        asks: `--check` was given: the exit code says whether anything is pending.
        atomic: the plan is to be one transaction.
    """
    plan = found.planned
    if atomic and obstacles(plan):
        return ExitCode.USAGE
    if found.refusal is not None:
        return found.refusal.exit_code  # `apply` would end with this, too
    if plan.undecided:
        return ExitCode.DECISION_NEEDED
    return ExitCode.PENDING if asks and (plan.steps or plan.blocked) else ExitCode.OK


def picture_of(
    found: Assessment,
    *,
    question: str,
    options: PictureOptions,
    run: tuple[Attempt, ...] = (),
    took: Mapping[str, float] = _UNKNOWN,
    seen: tuple[Edge, ...] = (),
) -> Picture:
    """Compose the picture of what was assessed; `render.render` writes it in a format.

    Args:
        found: the assessment that is drawn; its graph may be invalid.
        question: `plan` (what will change), `graph` (how it is built), `check` (what is wrong), `change` (what is different) or
            `run` (what a run did).
        options: what is shown and what is hidden.
        run: the attempts of the run that is drawn.
        took: seconds that steps took earlier, by the migration's name.
        seen: edges that are not declared, but that the database has shown to be needed.

    Raises:
        UsageError: the focus names nothing that exists, or the link template is not a URL that is allowed.
    """
    from migrate_graph.render.compose.change import picture_of_change
    from migrate_graph.render.compose.graph import build_picture
    from migrate_graph.render.compose.run import picture_of_run
    from migrate_graph.render.picture import PictureInput

    given = PictureInput(
        found.graph,
        found.states,
        plan=found.plan,
        findings=found.findings,
        ordering=found.project.ordering,
        took=took,
        seen=seen,
    )
    if found.base is not None and question == "change":
        base, graph = found.base, found.base.graph
        before = PictureInput(graph, states_of(graph), ordering=found.project.ordering)
        return picture_of_change(base.comparison, given, before=before, revision=base.revision, options=options)
    if question == "run":
        return picture_of_run(given, run, changes=changes_of(found, run), options=options)
    return build_picture(question, given, options)


def picture_format(file: Path, name: str | None) -> str:
    """Return the format of a picture after checking that its file can be written; called before any work is done.

    Raises:
        UsageError: the format is unknown, or the file cannot be written in its directory.
    """
    from migrate_graph import render

    chosen = name if name is not None else render.format_of(file)
    if file.is_dir():
        raise UsageError(f"{file} is a directory", hint=f"name a file in it: {file / 'graph.svg'}")
    if not file.parent.is_dir():
        raise UsageError(
            f"cannot write {file}: there is no directory {file.parent}", hint=typed("mkdir -p", str(file.parent))
        )
    if not os.access(file.parent, os.W_OK):
        raise UsageError(f"cannot write {file}: the directory {file.parent} is not writable", hint="name another place")
    return chosen


def write_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader never sees half of it.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_whole(file, content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", hint="name another place") from error
