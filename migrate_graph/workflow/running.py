"""Change the database: apply, mark, resolve, restore; each under the lock."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from migrate_graph.core.events import Observer, Outcome, RunFinished
from migrate_graph.core.history import Status
from migrate_graph.database import open_backend
from migrate_graph.errors import ConfigError, DecisionNeeded, ExitCode, UsageError
from migrate_graph.executor import Executor, RunOptions
from migrate_graph.interruption import Interruption
from migrate_graph.workflow.planning import Selection, make_plan
from migrate_graph.workflow.project import Project, Reading, database_settings, refuse_errors, unknown_name

if TYPE_CHECKING:
    from migrate_graph.config import Config
    from migrate_graph.database import Backend, Lock


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How `apply` behaves.

    Attributes:
        selection: which part is meant; closed under requirements.
        keep_going: after an exception, go on with what does not depend on it.
        fail_fast: stop at the first falsy return too.
        lock_wait: seconds to wait for another runner; None for the configured ones, 0 to try once.
        fake: record the planned migrations as installed without running them.
    """

    selection: Selection = field(default_factory=Selection)
    keep_going: bool = False
    fail_fast: bool = False
    lock_wait: float | None = None
    fake: bool = False


def exit_code_of(finished: RunFinished) -> int:
    """Give what a process ends with after a run."""
    if finished.signal:
        return ExitCode.SIGNAL + finished.signal
    if finished.of(Outcome.INTERRUPTED):
        return ExitCode.DECISION_NEEDED
    return ExitCode.OK if finished.succeeded else ExitCode.FAILED


def mark(
    project: Project, names: tuple[str, ...], *, installed: bool, reason: str, observer: Observer
) -> tuple[str, ...]:
    """Write the record of migrations without running them; the journal keeps who and why.

    An orphan may be marked pending, so that its record no longer counts as applied.

    Raises:
        UsageError: a name is neither declared nor recorded.
    """
    with _locked(project.config, observer) as (backend, _, _):
        backend.prepare()
        known = set(project.graph.migrations) | (set() if installed else set(backend.read_history().records))
        for name in names:
            if name not in known:
                raise unknown_name(project, name)
        backend.preflight(names)
        backend.mark(names, installed=installed, reason=reason, run=str(uuid.uuid4()))
    return names


def resolve(project: Project, name: str, *, applied: bool, reason: str, observer: Observer) -> None:
    """Decide about an interrupted migration: it counts as applied, or it is tried again.

    Raises:
        UsageError: the migration is not waiting for a decision.
        DecisionNeeded: somebody else decided, or ran it, meanwhile.
    """
    with _locked(project.config, observer) as (backend, _, _):
        history = backend.read_history()
        attempt, status = history.last_attempts().get(name), history.statuses().get(name, Status.PENDING)
        if attempt is None and name not in project.graph.migrations:
            raise unknown_name(project, name)
        if attempt is None or status not in {Status.INTERRUPTED, Status.FAILED}:
            hint = "migrate mark writes a record whatever the state is"
            raise UsageError(f"'{name}' is {status}: there is nothing to decide", hint=hint)
        backend.prepare()
        done = backend.resolve(name, attempt=attempt.id, applied=applied, reason=reason, run=str(uuid.uuid4()))
        if not done:
            raise DecisionNeeded(
                f"'{name}' changed while it was resolved", hint=f"migrate log {name}, then decide again"
            )


def restore_database(config: Config, backup: Path | None, *, lock_wait: float | None, observer: Observer) -> Path:
    """Restore a backup into a database that is proved empty; give the file that was restored.

    Raises:
        RestoreError: there is no backup, it is refused, or the database is not empty.
    """
    raise NotImplementedError


def apply_project(project: Project, options: ApplyOptions, observer: Observer) -> int:
    """Run what is pending, under the lock; give what the process ends with.

    Raises:
        InvalidGraph: the rules found errors; nothing ran.
        LockTimeout: another runner was at work for too long; nothing ran.
    """
    refuse_errors(project, Reading(), doing="apply")  # what is wrong without a database is told without one
    with _locked(project.config, observer, wait=options.lock_wait) as (backend, lock, interruption):
        backend.prepare()
        reading = Reading(history=backend.read_history(), database=backend.label)
        refuse_errors(project, reading, doing="apply")
        plan = make_plan(project, reading, selection=options.selection)
        backend.preflight([step.migration.name for step in plan.steps])
        run = RunOptions(keep_going=options.keep_going, fail_fast=options.fail_fast)
        executor = Executor(backend, lock, observer, interruption=interruption, options=run, root=str(project.root))
        return exit_code_of(executor.run(plan, project.graph, reading.history))


@contextmanager
def _locked(
    config: Config, observer: Observer, *, wait: float | None = None
) -> Iterator[tuple[Backend, Lock, Interruption]]:
    """Connect for writing and hold the lock, stopping in order when a signal arrives."""
    if not config.has_database:
        hint = "set MIGRATE_URI, for example in .env: MIGRATE_URI=sqlite://app.db"
        raise ConfigError("no database is configured", hint=hint)
    interruption = Interruption()
    patience = config.lock_timeout_wait if wait is None else wait
    with (
        interruption.listening(),
        open_backend(database_settings(config), observer=observer, interruption=interruption, writing=True) as backend,
        backend.lock(wait=patience, observer=observer, interruption=interruption) as lock,
    ):
        yield backend, lock, interruption
