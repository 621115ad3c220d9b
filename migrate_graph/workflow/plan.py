"""Plan, and draw: what would run, and the picture of it; nothing is ever written to a database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.atomic_write import write_whole
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.plan import Plan, build_plan
from migrate_graph.core.rules import Finding, check
from migrate_graph.errors import UsageError
from migrate_graph.workflow.project import Project, Reading, refuse_errors, rule_settings, unknown_name

if TYPE_CHECKING:
    from migrate_graph.render.picture import Picture, PictureOptions


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of the project is meant; everything when all three are empty.

    Attributes:
        to: up to and including this migration.
        select: selectors, their union.
        exclude: selectors, taken away again.
    """

    to: str | None = None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.to or self.select or self.exclude)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what was known when it was made.

    Attributes:
        plan: what would run.
        findings: what the rules found that does not stop it.
        reading: what the database remembers.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    reading: Reading


def plan_project(project: Project, reading: Reading, *, selection: Selection | None = None) -> Planned:
    """Return what `apply` would do now.

    Raises:
        InvalidGraph: the rules found errors.
        UsageError: the selection names something that does not exist.
    """
    findings = refuse_errors(project, doing="plan")
    return Planned(make_plan(project, reading, selection=selection), findings, reading)


def make_plan(project: Project, reading: Reading, *, selection: Selection | None = None) -> Plan:
    """Plan without judging, also for a graph with errors (for pictures of what is wrong)."""
    return build_plan(
        project.graph,
        reading.history,
        ordering=project.ordering,
        selection=selected_migrations(project, reading, selection),
        stop_on_partial=project.config.on_partial == "stop",
    )


def selected_migrations(project: Project, reading: Reading, selection: Selection | None) -> frozenset[str] | None:
    """Return the names of the migrations that are meant; None for all of them.

    Raises:
        UsageError: a name or a selector means nothing.
    """
    if not selection:
        return None
    chosen: frozenset[str] = frozenset(project.graph.migrations)
    if selection.to is not None:
        if selection.to not in project.graph.migrations:
            raise unknown_name(project, selection.to)
        chosen = project.graph.ancestors(selection.to) | {selection.to}
    if selection.select or selection.exclude:
        nodes = select_nodes(project, reading, selection.select, selection.exclude)
        chosen &= {node.name for node in nodes if node.kind is NodeKind.MIGRATION}
    return frozenset(chosen)


def select_nodes(
    project: Project, reading: Reading, include: Sequence[str], exclude: Sequence[str] = ()
) -> frozenset[Node]:
    """Return the nodes that the selectors mean.

    Raises:
        UsageError: a selector means nothing.
    """
    from migrate_graph.core.selection import select

    plan = build_plan(project.graph, reading.history, ordering=project.ordering)
    return select(include, project.graph, plan, exclude=exclude)


def picture_of(
    project: Project,
    reading: Reading,
    *,
    question: str,
    options: PictureOptions,
    selection: Selection | None = None,
    stateless: bool = False,
) -> Picture:
    """Compose the picture of a graph, valid or not; `render.render` writes it in a format.

    Args:
        project: what is drawn.
        reading: gives the states.
        question: `plan` (what will change), `graph` (how it is built) or `check` (what is wrong).
        options: what is shown and what is hidden.
        selection: which part a plan is made of.
        stateless: no database was asked, so that nothing is said of states.
    """
    from migrate_graph.render.compose.graph import build_picture

    findings = check(project.graph, reading.history, ordering=project.ordering, settings=rule_settings(project))
    plan = make_plan(project, reading, selection=selection)
    return build_picture(
        question,
        project.graph,
        None if stateless else plan,
        None if stateless else reading.history,
        findings,
        options=replace(options, ordering=project.ordering),
    )


def picture_format(file: Path, name: str | None) -> str:
    """Say, before any work is done, which format a picture will have, and that it can be written.

    Raises:
        UsageError: the format is unknown, or the directory does not take a file.
    """
    from migrate_graph import render

    chosen = name if name is not None else render.format_of(file)
    if file.is_dir():
        raise UsageError(f"{file} is a directory", hint=f"name a file in it: {file / 'graph.svg'}")
    if not file.parent.is_dir():
        raise UsageError(f"cannot write {file}: there is no directory {file.parent}", hint=f"mkdir -p {file.parent}")
    if not os.access(file.parent, os.W_OK):
        raise UsageError(f"cannot write {file}: the directory {file.parent} is not writable", hint="name another place")
    return chosen


def write_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader never sees half of it.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_whole(file, content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}", hint="name another place") from error
