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
from typing import TYPE_CHECKING, Any, TextIO

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
from migrate_graph.core.model import TransactionMode
from migrate_graph.database.books.ledger import AttemptKey
from migrate_graph.database.driver_errors import AttemptFailed, TroubleKind
from migrate_graph.errors import DatabaseError, DatabaseUnreachable, LockLost, LockTimeout, MigrateGraphError, Stopped
from migrate_graph.redaction import redact
from migrate_graph.signals import Interruption, StopNow
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


_FIRST_LOOK = 0.25
"""Seconds until it is first asked what a running statement waits for."""


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
            DatabaseError: the database went away, or would not have its books kept.
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
        if walk.broken:
            raise walk.broken
        return finished

    def _one(self, step: Step, index: int, total: int, walk: _Walk) -> Result:
        migration, options = step.migration, self._surroundings.options
        if walk.stopped or walk.broken or self._surroundings.interruption.signal:
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
            if not verdict.retry or walk.broken or attempt == around.options.tries:
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
    """Return the result of a migration that waits for others, or for a human."""
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
    broken: MigrateGraphError | None = None
    """Why the world does not let the run go on; nothing more is started."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How an attempt ended, and whether the same work may succeed a moment later and nothing of it was kept."""

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
        self._watch = _Watch(migration.name, around)
        self._views = _Views(walk.graph, migration.name, walk.applied, around.observer)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def run(self) -> _Verdict:
        """Run the body, and keep all of its work with its record, or none since its last own commit."""
        try:
            work = self._backend.work(self._migration, self._key)
        except (DatabaseError, LockTimeout) as error:  # the world's fault: the migration has not begun
            return self._give_up(error)
        except BaseException as error:  # noqa: BLE001 - whatever a driver raises while it connects is explained
            return self._fail(None, error)
        try:
            reached(Checkpoint.SESSION_OPENED)
            if not self._holds_lock():
                return self._give_up(self._lock_lost())
            with self._watch.on(work):
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
        printed = _Lines(lambda line: self._observer(Printed(name, redact(line, *self._backend.secrets))), sys.stdout)
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
        except Exception:
            if not work.is_lost():
                raise
            work.close()
            try:
                applied = self._backend.outcome_of(self._key)
            except MigrateGraphError as error:
                return self._leave_open(error)
            self._holds_lock()
            if not applied:
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
        if not self._holds_lock():
            self._observer(Warned("the lock is lost; this migration is finished, then the run stops"))
        self._around.interruption.check()
        reached(Checkpoint.SUCCESS_WRITTEN)

    def _holds_lock(self) -> bool:
        """Ask whether the lock is still ours; if it is not, nothing more is started."""
        held = self._around.lock.is_held()
        if not held:
            self._walk.broken = self._walk.broken or self._lock_lost()
        return held

    def _lock_lost(self) -> LockLost:
        return LockLost(
            f"the lock on {self._backend.label} was lost (its connection ended, or its file was removed), so nothing more was run",
            hint="run migrate apply again; it continues after the last migration that is recorded",
        )

    def _give_up(self, error: MigrateGraphError) -> _Verdict:
        """End the run before this migration: what stops it is not its fault."""
        self._walk.broken = self._walk.broken or error
        return _Verdict(Result(self._migration.name, Outcome.NOT_REACHED, source=self._migration.source))

    def _leave_open(self, error: MigrateGraphError) -> _Verdict:
        """End the run with a commit of which nobody knows what became: the journal will tell the next run."""
        self._walk.broken = DatabaseUnreachable(
            f"the connection was lost while {self._migration.name} was committed, and it cannot be looked up: {error.message}",
            hint="migrate status tells whether it is applied; a next run begins by looking",
        )
        return _Verdict(self._result(Outcome.INTERRUPTED, "the connection was lost while it was committed"))

    def _refuse(self, work: Work, refusal: tuple[str, str]) -> _Verdict:
        message, hint = refusal
        self._tell_leftovers(work)
        work.close()
        reached(Checkpoint.ROLLED_BACK)
        commits = self._record(message)
        return _Verdict(self._result(Outcome.REFUSED, message, hint=hint, commits=commits or 0))

    def _fail(self, work: Work | None, error: BaseException) -> _Verdict:
        trouble = self._backend.explain(error)
        if work is not None:
            self._tell_leftovers(work)
            work.close()
        reached(Checkpoint.ROLLED_BACK)
        if self._around.interruption.signal or isinstance(error, StopNow | Stopped):
            return self._stopped()
        if isinstance(error, KeyboardInterrupt):  # no handler of ours is in place: a program that uses us as a library
            self._stopped()
            raise error
        if isinstance(error, MigrateGraphError | AttemptFailed):
            message, hint = error.message, error.hint
        else:
            message, hint = f"{type(error).__name__}: {trouble.message}", trouble.hint
        if trouble.kind is TroubleKind.RETRY and self._watch.reason:
            message = f"{message}; it was {self._watch.reason}"
        message = redact(message, *self._backend.secrets)
        commits = self._record(message)
        result = self._result(
            Outcome.RAISED, message, hint=hint, commits=commits or 0,
            source=user_location(error, root=self._around.root),
            traceback="" if isinstance(error, AttemptFailed) else redact(user_traceback(error), *self._backend.secrets),
        )  # fmt: skip
        return _Verdict(result, retry=trouble.kind is TroubleKind.RETRY and commits == 0)

    def _stopped(self) -> _Verdict:
        """End an attempt that a signal stopped: what it had committed stays, and then a human decides, as after a kill."""
        name = f"stopped by {_signal_name(self._around.interruption.signal)}"
        try:
            commits = self._backend.own_commits(self._key)
        except MigrateGraphError as error:
            return self._leave_open(error)
        if not commits:
            self._record(name)
        return _Verdict(self._result(Outcome.INTERRUPTED, name, commits=commits))

    def _record(self, message: str) -> int | None:
        """Write the failure down; give the number of own commits, None when it cannot be known: then the run ends here."""
        try:
            commits = self._backend.record_failure(self._key, error=message, seconds=self._seconds)
        except MigrateGraphError as error:
            self._walk.broken = self._walk.broken or error
            self._observer(
                Warned(f"the failure of {self._migration.name} could not be recorded: {error.message}", error.hint)
            )
            return None
        reached(Checkpoint.FAILURE_RECORDED)
        self._holds_lock()
        return commits

    def _result(self, outcome: Outcome, error: str, **more: Any) -> Result:
        result = Result(
            self._migration.name, outcome, self._seconds, error=error, warnings=tuple(self._warnings), **more
        )
        if result.commits:
            result = replace(result, error=f"{error} ({self._kept(result.commits)})")
        return result if result.source else replace(result, source=self._migration.source)

    def _kept(self, commits: int) -> str:
        if self._migration.transaction is TransactionMode.NONE:
            return "it runs outside of a transaction: what it had done stayed in the database"
        return f"{commits} commit{'s' if commits > 1 else ''} of its own stayed in the database"

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


_telling = threading.local()
"""Whether this thread is telling an event: what an observer prints is no output of the migration."""


class _Lines(io.TextIOBase):
    """What a migration prints, as lines."""

    encoding = "utf-8"

    def __init__(self, tell: Callable[[str], None], outside: TextIO) -> None:
        self._tell = tell
        self._outside = outside
        self._rest = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return a child process that inherits it the stream of progress, not that of results."""
        return sys.stderr.fileno()

    def write(self, text: str) -> int:
        if getattr(_telling, "now", False):
            return self._outside.write(text)
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
    """Keep an observer out of the run: what it prints is not the migration's, and a terminal that is gone stops nothing."""

    def tell(event: Event) -> None:
        _telling.now = True
        try:
            with contextlib.suppress(OSError, ValueError):  # ValueError: its stream is closed
                observer(event)
        finally:
            _telling.now = False

    return tell


class _Watch:
    """Asks, while a body runs, what its statement waits for.

    Attributes:
        reason: the last answer that was not empty.
    """

    def __init__(self, name: str, around: _Surroundings) -> None:
        self.reason = ""
        self._name = name
        self._around = around
        self._ended = threading.Event()
        self._started = time.monotonic()

    @contextlib.contextmanager
    def on(self, work: Work) -> Iterator[None]:
        """Watch what `work` does in this block."""
        watcher = threading.Thread(target=self._watch, args=(work,), name="migrate_graph watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()

    def _watch(self, work: Work) -> None:
        longest = self._around.options.watch_every
        pause = min(
            _FIRST_LOOK, longest
        )  # early, since a short lock_timeout would end the waiting before anybody has looked
        while not self._ended.wait(pause):
            with contextlib.suppress(MigrateGraphError):  # a question that fails must not disturb the work
                self._ask(work)
            pause = min(2 * pause, longest)

    def _ask(self, work: Work) -> None:
        reason = self._around.backend.waiting_for(work)
        self.reason = reason or self.reason
        seconds = time.monotonic() - self._started
        if reason and seconds >= self._around.options.watch_every and not self._ended.is_set():
            self._around.observer(StepWaiting(self._name, seconds, reason))


def _refusal(value: object) -> tuple[str, str] | None:
    """Return why a return value is no success; None when it is one."""
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
