"""Rehearse: run the pending migrations where they cannot do harm, and ask the database what each of them did."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Observer, Outcome, Result, Warned, ignore_events
from migrate_graph.core.footprint import KEEPS_OTHERS_OUT
from migrate_graph.core.history import History
from migrate_graph.core.plan import Plan  # `help(Rehearsal)` reads the annotations
from migrate_graph.database import backend_class
from migrate_graph.database.outside_acts import OutsideWatch
from migrate_graph.database.watching import Cloning, Keeping, Watching
from migrate_graph.errors import ConfigError, ExitCode
from migrate_graph.messages import counted
from migrate_graph.signals import Interruption
from migrate_graph.workflow.assessment import Selection, assess
from migrate_graph.workflow.laboratory.trial_run import TrialRun, run_trial, start_on
from migrate_graph.workflow.place import Place
from migrate_graph.workflow.project import database_settings, read_history

if TYPE_CHECKING:
    from migrate_graph.core.footprint import Footprint, Size
    from migrate_graph.database import Settings
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project

_NEW_ENUM_VALUE = "55P04"
"""SQLSTATE: a new value of an enum is used before the transaction that adds it is committed."""


class RehearseOptions(Struct, frozen=True, kw_only=True):
    """How a rehearsal behaves.

    Attributes:
        on: where it happens.
        data: how many rows of each touched table are copied into a clone.
        values: statements are shown with their values; False: `?` stands for each literal.
        allow_outside: acts outside of the database (files, network, …) are not refused.
        reverts: the steps of the plan are undone.
    """

    on: Place = Place.CLONE
    data: int = 0
    values: bool = True
    allow_outside: bool = False
    reverts: bool = False


class Rehearsal(Struct, frozen=True, kw_only=True):
    """The result of a rehearsal.

    Attributes:
        on: where it happened.
        plan: what would run; each step that was rehearsed has its footprint.
        results: how each step ended, and which migrations are blocked.
        cut: why the rehearsal ended too early; empty when it did not.
        remarks: what will be different in a real run, or was not undone: sequences advanced, `now()` did not change.
    """

    on: Place
    plan: Plan
    results: tuple[Result, ...] = ()
    cut: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def footprints(self) -> Mapping[str, Footprint]:
        """What each rehearsed migration did, by its name, in the order of the run."""
        return self.plan.footprints

    @property
    def unrefreshed(self) -> tuple[str, ...]:
        """Why deferred views are still without their rows after the last migration; each was tried again after every migration."""
        ran = [result for result in self.results if result.outcome.succeeded]
        return ran[-1].unrefreshed if ran else ()

    @property
    def exit_code(self) -> int:
        """Exit code of a command that only rehearses: 1 when a migration failed, or the rehearsal ended too early.

        It is 3 when every failure is a view that blocks a statement, which a manager solves; 7 when all migrations succeeded but a
        deferred view could not be refreshed. Migrations that the plan shows as blocked do not count.
        """
        tried = [result for result in self.results if result.name in self.plan.places]
        failed = [result for result in tried if not result.outcome.succeeded]
        if not failed and not self.cut:
            return ExitCode.PENDING_TASK if self.unrefreshed else ExitCode.OK
        own = [result for result in failed if result.outcome is not Outcome.BLOCKED]
        blocked = bool(own) and not self.cut and all(self._is_stopped_by_a_view(result.name) for result in own)
        return ExitCode.INVALID_GRAPH if blocked else ExitCode.FAILED

    def _is_stopped_by_a_view(self, name: str) -> bool:
        seen = self.footprints.get(name)
        return seen is not None and bool(seen.statements) and bool(seen.statements[-1].blockers)


def rehearse(
    project: Project, found: Assessment, options: RehearseOptions, observer: Observer = ignore_events
) -> Rehearsal:
    """Run what is pending where it cannot do harm.

    Args:
        project: what is declared, with the database that the migrations are meant for.
        found: what that database remembers, and what would run.
        options: where and how it happens.
        observer: called with every event, as in a run.

    Raises:
        DatabaseError: no database can be made for it; the hint says what to do.
        ConfigError: it is to happen in the database itself, and no `lock_timeout` is set.
        LockTimeout: another run holds the lock.
        Stopped: a signal arrived; nothing of the rehearsal is kept.
    """
    rehearsals = {Place.CLONE: _on_clone, Place.SCRATCH: _on_scratch, Place.HERE: _here}
    interruption = Interruption()
    with interruption.listening(), tempfile.TemporaryDirectory(prefix="migrate_graph_rehearsal_") as folder:
        about = _Rehearsing(project, found, options, observer, Path(folder), interruption)
        return rehearsals[options.on](about)


class _Rehearsing(Struct, frozen=True):
    """What every rehearsal works with.

    Attributes:
        project: see `rehearse`.
        found: see `rehearse`.
        options: see `rehearse`.
        observer: see `rehearse`.
        folder: a directory that is removed afterwards.
        interruption: knows whether a signal has arrived.
    """

    project: Project
    found: Assessment
    options: RehearseOptions
    observer: Observer
    folder: Path
    interruption: Interruption

    def watching(self, keeping: Keeping, *, sizes: Mapping[str, Size] | None = None) -> Watching:
        """Return how the migrations are watched."""
        root, options = self.project.root, self.options
        outside = OutsideWatch(root, folders=(self.folder,), allow=options.allow_outside)
        return Watching(
            root=root, keeping=keeping, values=options.values, outside=outside, sizes=sizes, closely=options.reverts
        )

    def how(self, watching: Watching) -> TrialRun:
        """Return how a plan is run."""
        return TrialRun(
            project=self.project,
            interruption=self.interruption,
            watching=watching,
            observer=self.observer,
            reverts=self.options.reverts,
        )

    def cloning(self) -> Cloning:
        """Return how a database for the rehearsal is made."""
        return Cloning(
            server=self.project.config.rehearse_on or "",
            data=self.options.data,
            folder=self.folder,
            observer=self.observer,
            interruption=self.interruption,
        )

    def ended(
        self, *, footprints: Mapping[str, Footprint], results: tuple[Result, ...], cut: str, remarks: tuple[str, ...]
    ) -> Rehearsal:
        """Return the result, with the footprints in the steps of the plan."""
        plan = self.found.planned
        steps = tuple(replace(step, footprint=footprints.get(step.migration.name)) for step in plan.steps)
        return Rehearsal(on=self.options.on, plan=replace(plan, steps=steps), results=results, cut=cut, remarks=remarks)


def _on_clone(about: _Rehearsing) -> Rehearsal:
    """Rehearse in an empty copy of the schema."""
    settings = database_settings(about.project.config)
    with backend_class(settings.uri).clone(settings, about.cloning()) as made:
        watching = about.watching(Keeping.BY_STEP, sizes=made.sizes)
        done = _run(about, made.settings, watching, history=about.found.reading.history)
    return replace(done, remarks=(*made.remarks, *done.remarks))


def _here(about: _Rehearsing) -> Rehearsal:
    """Rehearse in the database itself."""
    config = about.project.config
    if not config.lock_timeout:
        raise ConfigError(
            "a rehearsal in the database itself needs a lock_timeout: others wait behind what it waits for",
            hint='set lock_timeout in [tool.migrate], for example lock_timeout = "5s", or rehearse --on clone',
        )
    about.observer(
        Warned(
            "this rehearses in the database itself: what the migrations lock is held to the end, and others wait for it",
            "rehearse --on clone locks nothing",
        )
    )
    original = database_settings(config)
    settings = replace(original, folder=_copied_tables(config.db_folder, about.folder))
    watching = about.watching(Keeping.NOTHING, sizes=backend_class(original.uri).sizes_of(original))
    done = _run(about, settings, watching, history=about.found.reading.history)
    footprints = [step.footprint for step in done.plan.steps if step.footprint]
    locked = sorted({
        f"{lock} on {name}" for footprint in footprints for statement in footprint.statements
        for name, lock in statement.locks.items() if lock in KEEPS_OTHERS_OUT and name not in _made_by(footprints)
    })  # fmt: skip
    remark = f"held in the database until its end: {', '.join(locked)}"
    return replace(done, remarks=(*done.remarks, remark)) if locked else done


def _made_by(footprints: Iterable[Footprint]) -> set[str]:
    """Return the names of everything that the migrations of a rehearsal have created."""
    return {fact.identity for footprint in footprints for fact in footprint.added}


def _copied_tables(db_folder: str | None, folder: Path) -> Path:
    """Copy pyDAL's table files into the directory of the rehearsal, which may change them; return the directory."""
    for file in Path(db_folder).glob("*.table") if db_folder else ():
        shutil.copy(file, folder)
    return folder


def _on_scratch(about: _Rehearsing) -> Rehearsal:
    """Rehearse in a new database that is dropped afterwards."""
    project, config = about.project, about.project.config
    with backend_class(config.migrate_uri).fresh(database_settings(config), about.cloning()) as scratch:
        there = start_on(project, scratch.create(), about.observer)
        settings = database_settings(there.config)
        cut = _replay(about, there)
        if cut:
            return about.ended(footprints={}, results=(), cut=cut, remarks=())
        history = read_history(there.config).history
        sizes = backend_class(config.migrate_uri).sizes_of(database_settings(config))
        done = _run(about, settings, about.watching(Keeping.EVERYTHING, sizes=sizes), history=history)
    orphans = sorted(about.found.reading.history.applied - set(project.graph.migrations) - history.applied)
    lost = f"recorded as applied, and declared by nothing, so not replayed: {', '.join(orphans)}"
    return replace(done, remarks=(*done.remarks, lost)) if orphans else done


def _replay(about: _Rehearsing, there: Project) -> str:
    """Run the applied migrations in a scratch database; return why that failed, empty when it did not.

    Acts of their bodies outside of the database are refused, too: they were done when the migrations were applied.
    """
    applied = [name for name in about.found.planned.applied if name in there.graph.migrations]
    if not applied:
        return ""
    reading = read_history(there.config, graph=there.graph)
    plan = assess(there, reading, selection=Selection(select=tuple(applied))).planned
    how = replace(about.how(about.watching(Keeping.EVERYTHING)), observer=ignore_events)
    trial = run_trial(how, database_settings(there.config), plan, reading.history)
    failed = trial.failed
    if failed is None and not trial.cut:
        return ""
    why = f"{failed.name} {failed.outcome}: {failed.error}" if failed else trial.cut
    return f"{counted(len(applied), 'applied migration')} could not be replayed in a new database: {why}"


def _run(about: _Rehearsing, settings: Settings, watching: Watching, *, history: History) -> Rehearsal:
    """Run the plan, watched."""
    trial = run_trial(about.how(watching), settings, about.found.planned, history)
    return about.ended(
        footprints=trial.footprints,
        results=tuple(_judged(each, trial.footprints.get(each.name), watching) for each in trial.results),
        cut=trial.cut,
        remarks=trial.remarks,
    )


def _judged(result: Result, footprint: Footprint | None, watching: Watching) -> Result:
    """Return the result of a step; a failure that only a rehearsal in one transaction causes is not counted as the migration's."""
    last = footprint.statements[-1] if footprint and footprint.statements else None
    if watching.keeping is not Keeping.NOTHING or result.outcome is not Outcome.RAISED:
        return result
    if last is None or last.error_code != _NEW_ENUM_VALUE:
        return result
    return replace(
        result,
        outcome=Outcome.NOT_REACHED,
        error="it uses a new value of an enum, which is only possible when the transaction that adds it is committed",
        hint="migrate plan --rehearse --on scratch runs it with real commits",
    )
