"""Apply a project to a scratch database, and rebuild its views there, without cache, flag and configured backup."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Event, Outcome, Result, RunFinished, ignore_events
from migrate_graph.core.model import Migration, View
from migrate_graph.core.plan import Plan, Reason, ReasonKind, Step
from migrate_graph.core.timeline import Timeline
from migrate_graph.database.scratch import same_definition, views_of
from migrate_graph.executor import Executor, RunOptions
from migrate_graph.loader import user_imports
from migrate_graph.workflow.apply import ApplyOptions, apply_project
from migrate_graph.workflow.assessment import Selection
from migrate_graph.workflow.locked import locked
from migrate_graph.workflow.project import Project, weaving_options

if TYPE_CHECKING:
    from migrate_graph.database.relation import Relation
    from migrate_graph.database.scratch_database import ScratchDatabase

_CONNECT_WAIT = 10.0
"""Seconds to wait for the server; short, so that a missing server is an error soon."""


def on_scratch(project: Project, database: ScratchDatabase, *, backup: Path | None = None) -> Project:
    """Return the project with another database, and without cache, flag and configured backup.

    Args:
        project: the project; it is not changed.
        database: the other database.
        backup: the backup that is restored into it; None: none.
    """
    config = copy.copy(project.config)
    config.update(
        _skip_none=False,
        migrate_uri=database.uri,
        db_folder=str(database.folder),
        connect_wait=min(config.connect_wait, _CONNECT_WAIT),
        database_to_restore=str(backup) if backup else None,
        redis_host=None,
        schema_version=None,
    )
    if database.schema is not None:
        config.update(schema=database.schema)
    return replace(project, config=config)


def start_from_nothing(project: Project) -> None:
    """Create the ledger tables, so that `apply` does not look for a backup at its default place."""
    with locked(project.config, ignore_events) as (backend, _, _):
        backend.prepare()


class AppliedToScratch(Struct, frozen=True):
    """How a run on a scratch database ended.

    Attributes:
        exit_code: the exit code of `migrate apply`.
        finished: the results of the run; None when it ended before it began.
    """

    exit_code: int
    finished: RunFinished | None

    @property
    def results(self) -> tuple[Result, ...]:
        """How each migration ended."""
        return self.finished.results if self.finished else ()


def apply_to_scratch(project: Project, *, selection: Selection | None = None) -> AppliedToScratch:
    """Apply what is pending in a scratch database.

    Raises:
        MigrateGraphError: see `apply_project`.
    """
    heard: list[RunFinished] = []

    def listen(event: Event) -> None:
        if isinstance(event, RunFinished):
            heard.append(event)

    code = apply_project(project, ApplyOptions(selection=selection or Selection()), listen)
    return AppliedToScratch(int(code), heard[-1] if heard else None)


class Rebuilt(Struct, frozen=True):
    """A view that was taken down and brought up again.

    Attributes:
        view: the declared view.
        result: how the rebuild ended.
        differences: what is different from before, in words.
    """

    view: View
    result: Result
    differences: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether everything is as it was before."""
        return self.result.outcome is Outcome.APPLIED and not self.differences


def rebuild_views(project: Project) -> tuple[Rebuilt, ...]:
    """Drop and create each existing view of a scratch database, as a migration that opens it would, and compare.

    Each rebuild is a migration of its own: when it fails, it is rolled back before the next one.
    """
    with locked(project.config, ignore_events) as (backend, lock, interruption):
        history = backend.read_history()
        living = Timeline(project.graph).living(history.applied)
        views = [view for name, view in project.graph.views.items() if name in living]
        rebuilds = [_Rebuild(view) for view in views]
        executor = Executor(
            backend, lock, ignore_events,
            interruption=interruption, options=RunOptions(keep_going=True, weaving=weaving_options(project.config)), root=str(project.root),
        )  # fmt: skip
        plan = Plan(steps=tuple(Step(rebuild.as_migration(), Reason(ReasonKind.ROOT)) for rebuild in rebuilds))
        with user_imports(project.imports, project.registry):
            finished = executor.run(plan, project.graph, history)
    return tuple(
        Rebuilt(rebuild.view, result, tuple(rebuild.differences))
        for rebuild, result in zip(rebuilds, finished.results, strict=True)
    )


class _Rebuild:
    """The rebuilding of one view, as a migration."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.differences: list[str] = []

    def as_migration(self) -> Migration:
        return Migration(f"rebuild of {self.view.name}", self._run, source=self.view.source)

    def _run(self, db: Any) -> bool:
        before = views_of(db)
        with self.view.manager(db):
            pass
        self.differences = list(_differences(before, views_of(db)))
        return not self.differences  # False rolls the rebuild back, so the next view finds the database as it was


def _differences(before: dict[str, Relation], after: dict[str, Relation]) -> Iterator[str]:
    for identity in sorted(before.keys() | after.keys()):
        if identity not in before:
            yield f"{identity} was not there before"
        elif identity not in after:
            yield f"{identity} is gone"
        else:
            yield from _changes(before[identity], after[identity])


def _changes(before: Relation, after: Relation) -> Iterator[str]:
    name = before.identity
    if not same_definition(before, after):
        yield f"{name} was\n{_indented(before.definition)}\nand is now\n{_indented(after.definition)}"
    if before.columns != after.columns:
        yield f"{name} had the columns {', '.join(before.columns)} and has {', '.join(after.columns)}"
    if before.owner != after.owner:
        yield f"{name} was owned by {before.owner} and is by {after.owner}"
    if set(before.grants) != set(after.grants):
        changed = sorted(set(before.grants) ^ set(after.grants))
        yield f"{name} has other privileges for {', '.join(sorted({grant.grantee or 'PUBLIC' for grant in changed}))}"
    for item in sorted(set(before.items) ^ set(after.items), key=lambda item: (item.aspect, item.name)):
        there = "lost" if item in before.items else "got"
        yield f"{name} has {there} a {item.aspect}: {item.sql}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
