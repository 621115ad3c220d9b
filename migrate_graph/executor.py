"""Walks a plan against a database: one attempt at a time, each kept as a whole or not at all."""

from __future__ import annotations

import contextlib
import inspect
import io
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migrate_graph.authoring import Running, ViewMigrationManager, running
from migrate_graph.core.events import (
    Event,
    Observer,
    Outcome,
    Printed,
    Result,
    RunFinished,
    RunStarted,
    StepFinished,
    StepProgress,
    StepRetrying,
    StepStarted,
    StepWaiting,
    Warned,
)
from migrate_graph.database.ledger import AttemptKey
from migrate_graph.database.trouble import AttemptFailed, TroubleKind
from migrate_graph.errors import LockLost, MigrateGraphError, Stopped
from migrate_graph.interruption import Interruption, StopNow
from migrate_graph.redaction import redact
from migrate_graph.tracebacks import user_location, user_traceback

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.history import History
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan, Step
    from migrate_graph.database import Backend, Lock, Work


class Checkpoint(StrEnum):
    """The boundaries between the steps of a run, in order; whatever dies at one of them leaves a state that is promised."""

    RUN_STARTED = "run started"
    SESSION_OPENED = "session opened"
    ATTEMPT_STARTED = "attempt started"
    VIEWS_DOWN = "views down"
    VIEWS_UP = "views up"
    BODY_RETURNED = "body returned"
    SUCCESS_WRITTEN = "success written, not committed"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    FAILURE_RECORDED = "failure recorded"
    RUN_FINISHED = "run finished"


def reached(checkpoint: Checkpoint) -> None:
    """Pass a boundary. Does nothing; tests put a kill in its place, one for every name there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run behaves when something goes wrong.

    Attributes:
        keep_going: after an exception, go on with what does not depend on it.
        fail_fast: stop at the first falsy return too.
        tries: attempts in all at a migration that somebody was in the way of.
        first_delay: seconds before the second attempt; doubles up to `longest_delay`.
        longest_delay: seconds.
        watch_every: seconds between questions what a running statement waits for.
    """

    keep_going: bool = False
    fail_fast: bool = False
    tries: int = 5
    first_delay: float = 1.0
    longest_delay: float = 30.0
    watch_every: float = 2.0


class Executor:
    """Runs plans against one backend, under a lock that is held already.

    Args:
        backend: the database.
        lock: the lock of this run.
        observer: told everything that happens.
        interruption: what is known of signals.
        options: how to behave when something goes wrong.
        root: directory that paths in messages are relative to.
    """

    def __init__(
        self,
        backend: Backend,
        lock: Lock,
        observer: Observer,
        *,
        interruption: Interruption | None = None,
        options: RunOptions | None = None,
        root: str = "",
    ) -> None:
        self._surroundings = _Surroundings(
            backend, lock, _outside(observer), interruption or Interruption(), options or RunOptions(), root
        )

    def run(self, plan: Plan, graph: MigrationGraph, history: History) -> RunFinished:
        """Run every step of a plan that can run, in order.

        Args:
            plan: what to run.
            graph: what it was made from; it says which views a `with V(db)` takes along.
            history: what it was made from.

        Returns:
            How each step ended. A migration that fails is a result, not an exception.

        Raises:
            LockLost: the lock's connection died; what was finished before is recorded, nothing more is run.
        """
        around = self._surroundings
        started = time.monotonic()
        walk = _Walk(run=str(uuid.uuid4()), graph=graph, applied=set(history.applied))
        around.observer(RunStarted(walk.run, plan))
        reached(Checkpoint.RUN_STARTED)
        for index, step in enumerate(plan.steps, 1):
            result = self._one(step, index, len(plan.steps), walk)
            walk.results.append(result)
            around.observer(StepFinished(index, len(plan.steps), result))
        waiting = [_blocked(one.migration, one.by) for one in plan.blocked]
        reached(Checkpoint.RUN_FINISHED)
        finished = RunFinished(
            walk.run,
            (*walk.results, *waiting),
            time.monotonic() - started,
            around.interruption.signal,
            changed=walk.changed,
        )
        around.observer(finished)
        if walk.lock_lost:
            raise LockLost(
                f"the connection that held the lock on {around.backend.label} is gone, so nothing more was run",
                hint="run migrate apply again; it continues after the last migration that is recorded",
            )
        return finished

    def _one(self, step: Step, index: int, total: int, walk: _Walk) -> Result:
        migration, options = step.migration, self._surroundings.options
        if walk.stopped or walk.lock_lost or self._surroundings.interruption.signal:
            return Result(migration.name, Outcome.NOT_REACHED, source=migration.source)
        unmet = tuple(name for name in migration.requires if name not in walk.applied)
        if unmet:
            return _blocked(migration, unmet)
        self._surroundings.observer(StepStarted(migration.name, index, total, migration.source))
        result = self._with_retries(migration, walk)
        if result.outcome is Outcome.APPLIED:
            walk.applied.add(migration.name)
        walk.changed = walk.changed or result.outcome is Outcome.APPLIED or result.commits > 0
        walk.stopped = (result.outcome is Outcome.RAISED and not options.keep_going) or (
            result.outcome is Outcome.REFUSED and options.fail_fast
        )
        return result

    def _with_retries(self, migration: Migration, walk: _Walk) -> Result:
        """Try again from the beginning when somebody was in the way and nothing was kept."""
        around, delay = self._surroundings, self._surroundings.options.first_delay
        for attempt in range(1, around.options.tries + 1):
            verdict = _Attempt(around, migration, walk).run()
            if not verdict.retry or verdict.result.commits or walk.lock_lost or attempt == around.options.tries:
                break
            pause = min(delay, around.options.longest_delay) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
            around.observer(
                StepRetrying(migration.name, attempt + 1, around.options.tries, pause, verdict.result.error)
            )
            try:
                around.interruption.sleep(pause)
            except Stopped:
                break
            delay *= 2
        return verdict.result


def _blocked(migration: Migration, by: Sequence[str]) -> Result:
    """Give the result of a migration that waits for others, or for a human."""
    waits = "needs a decision: migrate resolve" if tuple(by) == (migration.name,) else f"waits for {', '.join(by)}"
    return Result(migration.name, Outcome.BLOCKED, error=waits, source=migration.source)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What every attempt of an executor works with."""

    backend: Backend
    lock: Lock
    observer: Observer
    interruption: Interruption
    options: RunOptions
    root: str


@dataclass(slots=True)
class _Walk:
    """How far a run is."""

    run: str
    graph: MigrationGraph
    applied: set[str]
    results: list[Result] = field(default_factory=list)
    changed: bool = False
    stopped: bool = False
    lock_lost: bool = False


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How an attempt ended, and whether the same work may succeed a moment later."""

    result: Result
    retry: bool = False


class _Attempt:
    """One attempt at one migration."""

    def __init__(self, around: _Surroundings, migration: Migration, walk: _Walk) -> None:
        self._around = around
        self._backend = around.backend
        self._observer = around.observer
        self._migration = migration
        self._walk = walk
        self._key = AttemptKey.now(migration.name, run=walk.run, fingerprint=migration.facts.fingerprint)
        self._started = time.monotonic()
        self._warnings: list[str] = []
        self._views = _Views(walk.graph, migration.name, walk.applied, around.observer)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def run(self) -> _Verdict:
        """Run the body, and keep all of its work with its record, or none since its last own commit."""
        try:
            work = self._backend.work(self._migration, self._key)
        except BaseException as error:  # noqa: BLE001 - whatever a driver raises while it connects is explained
            return self._fail(None, error)
        try:
            reached(Checkpoint.SESSION_OPENED)
            with _watching(work, self._migration.name, self._around):
                value = self._body(work)
            reached(Checkpoint.BODY_RETURNED)
            refusal = _refusal(value)
            if refusal is not None:
                return self._refuse(work, refusal)
            if value is not True:
                self._warn(f"{self._migration.name} returned {_short(value)}; return True when it succeeded")
            work.check()
            if self._views.were_opened:
                work.views.check_complete()
            self._tell_leftovers(work)
            return self._succeed(work)
        except BaseException as error:  # noqa: BLE001 - SystemExit and whatever else a body raises: rolled back and recorded
            return self._fail(work, error)
        finally:
            work.close()

    def _body(self, work: Work) -> Any:
        work.start()
        reached(Checkpoint.ATTEMPT_STARTED)
        name = self._migration.name
        self._views.work = work
        run = Running(
            name=name,
            applied=self._walk.applied,
            views=self._views,
            report=lambda done, total, unit: self._observer(StepProgress(name, done, total, unit)),
        )
        printed = _Lines(lambda line: self._observer(Printed(name, redact(line, *self._backend.secrets))))
        try:
            with (
                self._around.interruption.interruptible(work.cancel),
                running(run),
                contextlib.redirect_stdout(printed),
            ):
                return self._migration.function(work.db)
        finally:
            printed.close_line()

    def _succeed(self, work: Work) -> _Verdict:
        try:
            work.finish(seconds=self._seconds, guard=self._guard)
        except Exception as error:
            if self._backend.explain(error).kind is not TroubleKind.LOST or not self._recorded_after_all():
                raise
        reached(Checkpoint.COMMITTED)
        return _Verdict(
            Result(
                self._migration.name, Outcome.APPLIED, self._seconds, source=self._migration.source,
                warnings=tuple(self._warnings),
            )
        )  # fmt: skip

    def _guard(self) -> None:
        """Stand between the last statement and its commit.

        The work key is still ours, so no other runner has started anything: this migration may be finished; nothing after it.
        """
        if not self._around.lock.is_held():
            self._walk.lock_lost = True
            self._observer(Warned("the lock's connection is gone; this migration is finished, then the run stops"))
        self._around.interruption.check()
        reached(Checkpoint.SUCCESS_WRITTEN)

    def _recorded_after_all(self) -> bool:
        """Look up what became of a commit during which the connection was lost."""
        if not self._around.lock.is_held():
            self._walk.lock_lost = True
        return self._backend.outcome_of(self._key)

    def _refuse(self, work: Work, refusal: tuple[str, str]) -> _Verdict:
        message, hint = refusal
        work.close()
        reached(Checkpoint.ROLLED_BACK)
        commits = self._record(message)
        return _Verdict(self._result(Outcome.REFUSED, message, hint=hint, commits=commits))

    def _fail(self, work: Work | None, error: BaseException) -> _Verdict:
        trouble = self._backend.explain(error)
        if work is not None:
            self._tell_leftovers(work)
            work.close()
        reached(Checkpoint.ROLLED_BACK)
        if self._around.interruption.signal or isinstance(error, StopNow | Stopped):
            return self._stopped()
        if isinstance(error, KeyboardInterrupt):  # no handler of ours is in place: a program that uses us as a library
            self._record("stopped by the keyboard")
            raise error
        if isinstance(error, MigrateGraphError | AttemptFailed):
            message, hint = error.message, error.hint
        else:
            message, hint = f"{type(error).__name__}: {trouble.message}", trouble.hint
        message = redact(message, *self._backend.secrets)
        result = self._result(
            Outcome.RAISED, message, hint=hint, commits=self._record(message),
            source=user_location(error, root=self._around.root),
            traceback="" if isinstance(error, AttemptFailed) else redact(user_traceback(error), *self._backend.secrets),
        )  # fmt: skip
        return _Verdict(result, retry=trouble.kind is TroubleKind.RETRY)

    def _stopped(self) -> _Verdict:
        """End an attempt that a signal stopped: what it had committed stays, and then a human decides, as after a kill."""
        name = f"stopped by {_signal_name(self._around.interruption.signal)}"
        commits = self._backend.own_commits(self._key)
        if not commits:
            self._record(name)
        return _Verdict(self._result(Outcome.INTERRUPTED, name, commits=commits))

    def _record(self, message: str) -> int:
        """Write the failure down; when even that fails, the rollback still stands and the reader is told."""
        try:
            commits = self._backend.record_failure(self._key, error=message, seconds=self._seconds)
        except Exception as error:  # noqa: BLE001 - the migration's own failure is the news, this is added to it
            self._walk.lock_lost = not self._around.lock.is_held()
            self._observer(
                Warned(
                    f"the failure of {self._migration.name} could not be recorded: {self._backend.explain(error).message}"
                )
            )
            return 0
        reached(Checkpoint.FAILURE_RECORDED)
        return commits

    def _result(self, outcome: Outcome, error: str, **more: Any) -> Result:
        result = Result(
            self._migration.name, outcome, self._seconds, error=error, warnings=tuple(self._warnings), **more
        )
        return result if result.source else replace(result, source=self._migration.source)

    def _tell_leftovers(self, work: Work) -> None:
        with contextlib.suppress(Exception):  # of a broken connection nothing can be asked
            for leftover in work.leftovers():
                self._warn(leftover)

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        self._observer(Warned(message))


class _Views:
    """What `with V(db)` does inside a run."""

    def __init__(self, graph: MigrationGraph, name: str, applied: AbstractSet[str], observer: Observer) -> None:
        self.work: Work
        self.were_opened = False
        self._graph = graph
        self._name = name
        self._applied = applied
        self._observer = observer

    def enter(self, manager: ViewMigrationManager) -> None:
        """Take down the manager's view and what depends on it, in one pass."""
        block = self._graph.view_block(type(manager).__name__, applied=self._applied, running=self._name)
        instances: Mapping[str, ViewMigrationManager] = {
            name: manager if name == type(manager).__name__ else self._graph.views[name].manager(manager.db)
            for name in (*block.down, *block.up)
        }
        self.were_opened = True
        self.work.views.take_down(
            [instances[name] for name in block.down],
            [instances[name] for name in block.up],
            migration=self._name,
            observer=self._observer,
        )
        reached(Checkpoint.VIEWS_DOWN)

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:  # noqa: ARG002 - of ViewOpener
        """Bring up what this block took down, unless it failed."""
        if error is not None:
            self.work.views.abandon()
            return
        self.work.views.bring_up()
        reached(Checkpoint.VIEWS_UP)


class _Lines(io.TextIOBase):
    """What a migration prints, as lines."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)

    def close_line(self) -> None:
        """Tell what was printed without a newline at its end."""
        if self._rest:
            self._tell(self._rest)
            self._rest = ""


def _outside(observer: Observer) -> Observer:
    """Give an observer that prints where it would without us: while a body runs, stdout is the migration's."""
    stdout = sys.stdout

    def tell(event: Event) -> None:
        with contextlib.redirect_stdout(stdout):
            observer(event)

    return tell


@contextlib.contextmanager
def _watching(work: Work, name: str, around: _Surroundings) -> Iterator[None]:
    """Ask, while the body runs, what its statement waits for, and tell."""
    ended = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        while not ended.wait(around.options.watch_every):
            with contextlib.suppress(Exception):  # a question that fails must not disturb the work
                reason = around.backend.waiting_for(work)
                if reason and not ended.is_set():
                    around.observer(StepWaiting(name, time.monotonic() - started, reason))

    watcher = threading.Thread(target=watch, name="migrate_graph watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _refusal(value: object) -> tuple[str, str] | None:
    """Say why a return value is no success; None when it is one."""
    if inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        if inspect.iscoroutine(value):
            value.close()
        return (
            f"returned {_short(value)}, which nobody runs",
            "write it as a plain function that does its work and returns True",
        )
    if isinstance(value, str):
        return (
            f"returned {_short(value)}, which could mean anything",
            "return True when it succeeded, False when it did not",
        )
    if value is None:
        return "returned None", "return True when it succeeded"
    if not value:
        return f"returned {_short(value)}", "it says that it did not succeed; return True when it did"
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number else "a signal"
