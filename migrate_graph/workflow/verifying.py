"""Prove the graph on databases made for it: watch every migration, and run them in other orders and on their ancestors alone."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.core.events import Observer, Outcome, Result, ignore_events
from migrate_graph.core.plan import Plan, build_plan, plan_in_order
from migrate_graph.database import backend_class
from migrate_graph.database.outside_acts import OutsideWatch
from migrate_graph.database.watching import Cloning, Keeping, Watching
from migrate_graph.errors import ConfigError
from migrate_graph.signals import Interruption
from migrate_graph.workflow.project import database_settings, read_history
from migrate_graph.workflow.scratch_runs import on_scratch
from migrate_graph.workflow.walking import Walk, Walked, start_on, walk

if TYPE_CHECKING:
    from migrate_graph.core.footprint import Footprint
    from migrate_graph.core.history import History
    from migrate_graph.database import Settings
    from migrate_graph.database.scratch_database import Scratch, ScratchDatabase
    from migrate_graph.workflow.project import Project


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What was seen of every migration that is not in the configured backup.

    Attributes:
        plan: what ran, in the order of the project; each step that ran carries its footprint.
        results: how each step ended, and what was blocked by it.
        cut: why it ended before its end; empty when it did not.
        remarks: what was not as it will be.
        start: what was applied before: by the backup that the database was made from; empty without one.
    """

    plan: Plan
    results: tuple[Result, ...] = ()
    cut: str = ""
    remarks: tuple[str, ...] = ()
    start: frozenset[str] = frozenset()

    @property
    def footprints(self) -> Mapping[str, Footprint]:
        """What each migration did, by its name, in the order of the run."""
        return self.plan.footprints

    @property
    def order(self) -> tuple[str, ...]:
        """The names of what is judged: what ran, in that order."""
        return tuple(self.plan.places)

    @property
    def failed(self) -> tuple[Result, ...]:
        """What ran and did not succeed: with the project's own order, on a new database."""
        return tuple(each for each in self.results if each.outcome not in {Outcome.APPLIED, Outcome.BLOCKED})


@dataclass(slots=True)
class Laboratory:
    """Where migrations are tried, on databases that are made for it and dropped.

    Attributes:
        project: what is tried.
        scratch: where the databases are made.
        interruption: what is known of signals.
        observer: told what happens while migrations are watched.
        outside: stands around bodies: what they do beside their database is refused.
    """

    project: Project
    scratch: Scratch
    interruption: Interruption
    observer: Observer
    outside: OutsideWatch
    _start: ScratchDatabase | None = field(default=None, init=False)
    _history: History | None = field(default=None, init=False)

    def watch(self) -> Watched:
        """Watch every migration once, with real commits, in the order of the project.

        Raises:
            Stopped: a signal arrived.
            MigrateGraphError: there is no database to be had, or the backup cannot be restored.
        """
        with self.database() as there:
            history = self.history
            plan = build_plan(self.project.graph, history, ordering=self.project.ordering)
            walked = self.run(there, plan, is_watched=True, keep_going=True, observer=self.observer)
        steps = tuple(replace(step, footprint=walked.footprints.get(step.migration.name)) for step in plan.steps)
        return Watched(
            plan=replace(plan, steps=steps),
            results=walked.results,
            cut=walked.cut,
            remarks=walked.remarks,
            start=frozenset(history.applied),
        )

    def run(
        self,
        there: Settings,
        plan: Plan,
        *,
        is_watched: bool = False,
        keep_going: bool = False,
        observer: Observer = ignore_events,
    ) -> Walked:
        """Run a plan on a database.

        Args:
            there: how that is reached.
            plan: what runs.
            is_watched: footprints are taken.
            keep_going: what does not require a failed migration runs all the same.
            observer: told what happens.
        """
        watching = Watching(
            root=self.project.root, keeping=Keeping.EVERYTHING, values=False, outside=self.outside, closely=is_watched
        )
        how = Walk(
            project=self.project, interruption=self.interruption, watching=watching,
            is_watched=is_watched, keep_going=keep_going, observer=observer,
        )  # fmt: skip
        return walk(how, there, plan, self.history)

    def in_order(self, names: Sequence[str]) -> Plan:
        """Return a plan for an order that the graph permits."""
        return plan_in_order(self.project.graph, self.history, names)

    @property
    def history(self) -> History:
        """What a new database remembers: nothing, or what the configured backup does; known when the first one is there."""
        assert self._history is not None  # noqa: S101 - whoever asks has a database
        return self._history

    @contextmanager
    def database(self) -> Iterator[Settings]:
        """Yield a database as it is before the first migration, and drop it in the end."""
        made = self._new()
        try:
            yield self.settings_of(made)
        finally:
            self.scratch.drop(made)

    def _new(self) -> ScratchDatabase:
        if not self.scratch.can_copy:
            return self._begun()
        if self._start is None:
            self._start = self._begun()
        return self.scratch.copy(self._start)

    def _begun(self) -> ScratchDatabase:
        """Make a database that has been given its start."""
        made = self.scratch.create()
        there = start_on(self.project, made, self.observer)
        if self._history is None:
            self._history = read_history(there.config).history
        return made

    def settings_of(self, made: ScratchDatabase) -> Settings:
        """Return how a database is reached."""
        return database_settings(on_scratch(self.project, made).config)


@contextmanager
def laboratory(
    project: Project, *, on: str = "", allow_outside: bool = False, observer: Observer = ignore_events
) -> Iterator[Laboratory]:
    """Yield a place where a project's migrations can be tried; nothing of it stays.

    Args:
        project: what is tried; whether its graph is valid is for the caller to look at before.
        on: a database on the server of scratch databases; empty: as rehearsals do, `rehearse_on` or the configured one.
        allow_outside: what bodies do beside their database is not refused.
        observer: told what happens while migrations are watched.

    Raises:
        ConfigError: neither a database nor a server is named.
        DatabaseRefused: no database may be made; with what else can be done.
        Stopped: a signal arrived.
    """
    project = _with_database(project, on)
    config, interruption = project.config, Interruption()
    with interruption.listening(), tempfile.TemporaryDirectory(prefix="migrate_graph_verify_") as name:
        folder = Path(name)
        cloning = Cloning(
            server=config.rehearse_on or "", data=0, folder=folder, observer=observer, interruption=interruption
        )
        outside = OutsideWatch(project.root, folders=(folder,), allow=allow_outside)
        with backend_class(config.migrate_uri).fresh(database_settings(config), cloning) as scratch:
            yield Laboratory(project, scratch, interruption, observer, outside)


def _with_database(project: Project, on: str) -> Project:
    """Return the project with a database to be made for it: on a server, or as a file."""
    config = copy.copy(project.config)
    if on:
        config.update(rehearse_on=on)
        if not config.has_database or backend_class(on) is not backend_class(config.migrate_uri):
            config.update(migrate_uri=on)
    if not config.has_database:
        raise ConfigError(
            "verify runs the migrations on databases that it makes and drops, and none is configured",
            hint="name a server, for example --on postgres://user:password@host:5432/postgres, or set MIGRATE_URI",
        )
    return replace(project, config=config)
