"""One attempt at one migration: how it ended is one value, and one function records it and decides what follows."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph import errors, process_end
from migrate_graph.authoring import Running, running
from migrate_graph.core.events import Observer, Outcome, Printed, Result, StepProgress, Warned
from migrate_graph.core.model import TransactionMode, is_left_undone
from migrate_graph.database.books.ledger import AttemptKey
from migrate_graph.database.dal import typedal_hint
from migrate_graph.database.driver_errors import ANSWERS, HAS_ROOM, IS_FREE, AttemptFailed, Trouble, TroubleKind
from migrate_graph.errors import DatabaseError, DatabaseUnreachable, DecisionNeeded, LockLost, MigrateGraphError
from migrate_graph.executor import checkpoints
from migrate_graph.executor.approved import Approved
from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.executor.conditions import unmet
from migrate_graph.executor.forked import ended_in_children
from migrate_graph.executor.output import BodyOutput, KeptOpen, tell_of_thread
from migrate_graph.executor.process_state import KeptModules, kept
from migrate_graph.executor.refreshing import why_unfilled
from migrate_graph.executor.views import RunViews
from migrate_graph.foreign_text import kind_of, shown
from migrate_graph.lacking import lacking
from migrate_graph.messages import counted, first_line
from migrate_graph.redaction import redact
from migrate_graph.signals import Interruption, StopNow
from migrate_graph.tracebacks import user_location, user_traceback

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.model import Condition, Migration
    from migrate_graph.database import Backend, Lock, Work
    from migrate_graph.executor.watch import Watch


_ABORTED = "25P02"
"""SQLSTATE of a statement that is refused because an earlier error has aborted its transaction."""


class WeavingOptions(Struct, frozen=True):
    """Whether views step aside for a statement that they block: they are dropped before it and created again after the body.

    Attributes:
        wanted: views that have a manager step aside.
        keeps_unmanaged: views without a manager step aside, too.
    """

    wanted: bool = True
    keeps_unmanaged: bool = False


class Surroundings(Struct, frozen=True):
    """What every attempt of a run works with.

    Attributes:
        backend: the database.
        lock: the lock of the run.
        observer: called with every event of the run.
        interruption: knows whether a signal has arrived.
        watch: asks what a body's statement waits for.
        root: directory that paths in messages are relative to.
        open_work: opens the work of an attempt.
        is_seated: the work is a worker's (`--jobs`): another process or session holds the lock, and other workers run at the same time.
        weaving: whether views step aside for statements that they block.
        fills_at_once: the run is a rehearsal: nothing is really committed, so materialized views that a real run fills after the commit
            are filled before the end of the migration.
        approved: the statements that each migration of a sealed plan sent in its rehearsal.
        learns: called after the body of each migration that opened views, with its name and, for each view that came up in it, the
            views that it reads according to the database (by the names of their managers). None: nobody wants to know.
        modules: puts back what a body replaces in modules of the standard library.
    """

    backend: Backend
    lock: Lock
    observer: Observer
    interruption: Interruption
    watch: Watch
    root: str
    open_work: Callable[[Migration, AttemptKey], Work]
    is_seated: bool = False
    weaving: WeavingOptions = WeavingOptions()
    fills_at_once: bool = False
    approved: Approved = field(default_factory=Approved)
    learns: Callable[[str, Mapping[str, frozenset[str]]], None] | None = None
    modules: KeptModules = field(default_factory=KeptModules)


class Progress(Struct):
    """How far a run is.

    Attributes:
        run: identifies the run.
        graph: what is declared.
        applied: names of the migrations that are installed now.
        results: results of the steps so far.
        changed: the database was changed durably, or may have been.
        stopped: a migration failed, and no further migration is started.
        lock_checked: this run held the lock when it was last asked, and no attempt has begun since.
        broken: why the run cannot continue (lock lost, database lost, …); no further migration is started.
        overdue: views that never came up, although their windows are open.
        unrecorded: views that exist, and that the view ledger does not know.
        waits_for_rows: in a rehearsal, a materialized view could not be filled; this is tried again after each migration.
        may_lack_views: a migration failed after commits of its own, so views that it has taken down may be down still.
    """

    run: str
    graph: MigrationGraph
    applied: set[str]
    results: list[Result] = field(default_factory=list)
    changed: bool = False
    stopped: bool = False
    lock_checked: bool = False
    broken: MigrateGraphError | None = None
    overdue: AbstractSet[str] = frozenset()
    unrecorded: AbstractSet[str] = frozenset()
    waits_for_rows: bool = False
    may_lack_views: bool = False


# -- the ways in which an attempt ends ----------------------------------------------------------------------------------------


class Applied(Struct, frozen=True):
    """All work of the attempt is committed, together with its record."""


class Refused(Struct, frozen=True):
    """The body returned something that does not mean success, or a condition does not hold."""

    message: str
    hint: str


class Raised(Struct, frozen=True):
    """The body raised an exception, or its work cannot be kept."""

    error: BaseException
    trouble: Trouble


class Stopped(Struct, frozen=True):
    """A signal ended the attempt."""

    error: BaseException


class Lost(Struct, frozen=True):
    """The connection broke: the line of the body that ran then is not the cause."""

    message: str
    hint: str = ""
    passes: str = ANSWERS


class Died(Struct, frozen=True):
    """The worker process that ran the attempt has ended before it told how the attempt ended.

    Attributes:
        message: how the process ended.
        hint: what to do about it, where the migration is the cause.
        passes: when the migration may succeed as it is; empty where it is the cause.
    """

    message: str
    hint: str = ""
    passes: str = ""


class NotBegun(Struct, frozen=True):
    """The attempt could not begin: no connection, or the lock is lost."""

    error: MigrateGraphError


Failed: TypeAlias = Refused | Raised | Stopped | Lost | Died
End: TypeAlias = Applied | Failed | NotBegun


class Settled(Struct, frozen=True):
    """How an attempt was settled.

    Attributes:
        result: how it ended.
        retry: another session blocked it and nothing of it was kept, so the same work may succeed a moment later.
    """

    result: Result
    retry: bool = False


class Attempt:
    """One attempt at one migration.

    Args:
        around: what the run works with.
        migration: the migration.
        progress: how far the run is.
        key: identifies the attempt in the journal, when another process has begun it; None: this is a new attempt.

    Attributes:
        key: identifies the attempt in the journal.
        reverts: the attempt undoes the migration.
    """

    reverts = False

    def __init__(
        self, around: Surroundings, migration: Migration, progress: Progress, *, key: AttemptKey | None = None
    ) -> None:
        self._around = around
        self._backend = around.backend
        self._observer = around.observer
        self._migration = migration
        self._progress = progress
        self.key = key or AttemptKey.now(
            migration.name, run=progress.run, fingerprint=migration.facts.fingerprint, reverts=self.reverts
        )
        age = (datetime.now(UTC) - key.started).total_seconds() if key is not None else 0.0
        self._started = time.monotonic() - max(0.0, age)
        self._warnings: list[str] = []
        self._unrefreshed: tuple[str, ...] = ()
        self._waited_for = ""
        self._unsure = False
        self._asking: Condition | None = None
        foreseen = frozenset(migration.touches) if around.is_seated else None
        self._views = self._views_of(progress, foreseen)
        self._listener = None if self.reverts else around.approved.listener(migration.name)

    def _views_of(self, progress: Progress, foreseen: frozenset[str] | None) -> RunViews:
        """Return what opens views on the connection of this attempt."""
        return RunViews(
            progress.graph,
            self._migration.name,
            self._observer,
            foreseen=foreseen,
            keeps_unmanaged=self._around.weaving.keeps_unmanaged,
            overdue=progress.overdue,
            unrecorded=progress.unrecorded,
            defers=self._migration.defers,
        )

    def run(self) -> Settled:
        """Run the body; commit its work together with its record, or roll it back to the body's last own commit."""
        return self.settle(self.end())

    # -- from the beginning to the end --------------------------------------------------------------------------------------

    def end(self) -> End:
        """Run the body; return how it ended."""
        try:
            work = self._around.open_work(self._migration, self.key)
        except (DatabaseError, errors.LockTimeout, errors.NoRoom) as error:
            return NotBegun(error)
        except BaseException as error:  # noqa: BLE001 - a driver may raise anything while it connects; `judged` explains it
            return self.judged(error)
        try:
            end = self._carry_out(work)
        except BaseException as error:  # noqa: BLE001 - SystemExit and whatever else a body raises
            end = self.judged(error, work)
        try:
            if isinstance(end, Refused | Raised) and work.is_lost():  # the body may have caught the driver's exception
                end = Lost(end.message if isinstance(end, Refused) else end.trouble.message)
            if not isinstance(end, Applied | NotBegun):
                with contextlib.suppress(Exception):  # nothing can be asked on a broken connection
                    work.patiently(self._looking, lambda: self._tell_leftovers(work))
        finally:
            work.close()
            self._unsure = work.is_unsure()
        return end

    def _carry_out(self, work: Work) -> End:
        checkpoints.reached(Checkpoint.SESSION_OPENED)
        lock_checked, self._progress.lock_checked = self._progress.lock_checked and not work.has_new_session, False
        if not (lock_checked or self._holds_lock()):
            return NotBegun(lock_lost(self._backend, reverts=self.reverts))
        work.patiently(f"beginning {self._migration.name}", work.start)
        checkpoints.reached(Checkpoint.ATTEMPT_STARTED)
        with self._around.watch.on(self._migration.name, lambda: self._backend.waiting_for(work)) as watched:
            try:
                if self._listener is not None:
                    work.listen(self._listener.hear)
                self._views.begin(work, weave=self._around.weaving.wanted and self._migration.weave)
                value = self._call(work, self._migration.function)
                refused = _refusal(value)
                if refused is None:
                    refused = self._after_body(work)
            finally:
                self._waited_for = watched.reason
        checkpoints.reached(Checkpoint.BODY_RETURNED)
        if refused is not None:
            return refused
        if value is not True:
            self._warn(f"{self._migration.name} returned {shown(value)}; return True when it succeeded")
        work.patiently(self._looking, lambda: self._judge(work))
        if self._around.fills_at_once and (self._views.unfilled or self._progress.waits_for_rows):
            work.patiently(f"refreshing views after {self._migration.name}", lambda: self._fill(work))
        work.finish(seconds=self.seconds, guard=self.guard)
        return Applied()

    def _after_body(self, work: Work) -> Refused | None:
        """Bring up the views that have stepped aside, and check the condition of the migration.

        Returns:
            Why the attempt is refused; None when it is not.
        """
        if self._views.must_come_back:
            work.patiently(f"bringing up views in {self._migration.name}", self._views.come_back)
        self._views.body_is_over()
        if self._views.has_turn():
            self._call(work, self._views.turn)
        return self._asked(self._migration.after, work) if self._migration.after is not None else None

    def _asked(self, condition: Condition, work: Work) -> Refused | None:
        """Evaluate the condition that must hold after the migration; return why the attempt is refused, None when it holds."""
        self._asking = condition
        try:
            answer = self._call(work, condition.ask)
            why = unmet(condition, answer)
        except Exception as error:
            if getattr(_tame(error), "pgcode", "") == _ABORTED:
                self._asking = None
                work.check()  # the body has caught an error of a statement: this raises with that error
            raise
        self._asking = None
        return Refused(why, "correct the body, or the condition where it is wrong") if why else None

    def _judge(self, work: Work) -> None:
        if self._listener is not None:
            work.listen(None)
            self._listener.refuse()
            if remark := self._listener.remark():
                self._warn(remark)
        self._views.end()
        if self._around.learns is not None and self._views.were_opened:
            self._around.learns(self._migration.name, work.views.uses_seen(self._migration.name))
        self._tell_leftovers(work)

    def _fill(self, work: Work) -> None:
        """Fill the materialized views that a real run fills after the commit; note those that cannot be filled as `unrefreshed`."""
        left = work.views.refresh(self._observer, commit=lambda: None)
        self._progress.waits_for_rows = bool(left)
        self._unrefreshed = tuple(
            self._redacted(why_unfilled(each, self._backend.explain(each.error).message)) for each in left
        )

    def _call(self, work: Work, function: Callable[[Any], Any]) -> Any:
        """Call a function of the migration (its body, its condition, …): output, signals and process state are taken care of."""
        name = self._migration.name
        run = Running(
            name=name,
            read_applied=self._views.read_applied,
            views=self._views,
            report=lambda done, total, unit: self._observer(StepProgress(name, done, total, unit)),
        )
        printed = BodyOutput(lambda line: self._observer(Printed(name, self._redacted(line))), sys.stdout)
        interruption = self._around.interruption
        try:
            with (
                kept(interruption.listen_again),
                process_end.in_body(),
                ended_in_children(),
                running(run),
                interruption.interruptible(work.cancel, work.hang_up),
            ):
                sys.stdout = sys.__stdout__ = printed  # type: ignore[misc] # only its type stub calls it final
                if threading.excepthook is threading.__excepthook__:
                    threading.excepthook = tell_of_thread
                sys.stderr = sys.__stderr__ = KeptOpen(sys.stderr)  # type: ignore[misc, assignment] # as above
                with warnings.catch_warnings(), self._around.modules:
                    return function(work.db)
        finally:
            printed.close_line()

    def guard(self) -> None:
        """Check the lock and signals after the last statement, just before the commit.

        When the lock is lost, the attempt's own connection still holds the work key, so no other run has started anything: this
        migration is committed, and nothing after it is started. A worker of `--jobs` does not commit then.

        Raises:
            LockLost: the lock is lost, and this process is a worker of `--jobs`.
            Stopped: a signal arrived.
        """
        if not self._holds_lock(self._around.lock.seems_held):
            if self._around.is_seated:
                raise lock_lost(self._backend)
            self._observer(Warned("the lock is lost; this migration is finished, then the run stops"))
        self._around.interruption.check()
        checkpoints.reached(Checkpoint.SUCCESS_WRITTEN)

    def judged(self, error: BaseException, work: Work | None = None) -> Failed:
        """Return how an attempt ended that an exception has ended.

        Args:
            error: the exception.
            work: the attempt's work. When its connection is alive, an exception about a lost connection is about another one that the
                body has opened; then the attempt has raised, its connection is not lost.
        """
        error = _tame(error)
        if isinstance(error, KeyboardInterrupt) and self._around.interruption.is_listening:
            self._around.interruption.take_over(signal.SIGINT)
        if self._around.interruption.signal or isinstance(error, StopNow | errors.Stopped | KeyboardInterrupt):
            return Stopped(error)
        try:
            trouble = self._backend.explain(error)
        except Exception:  # noqa: BLE001 - reading an attribute of a user's exception may raise
            trouble = Trouble(TroubleKind.OTHER, first_line(error))
        if trouble.kind is not TroubleKind.LOST:
            hint = self._views.hint_for(error) or trouble.hint or typedal_hint(self._migration.function, error)
            return Raised(error, replace(trouble, hint=hint))
        if work is not None and not work.is_lost():
            return Raised(error, replace(trouble, kind=TroubleKind.OTHER, passes=""))
        return Lost(trouble.message, trouble.hint)

    # -- the settlement -----------------------------------------------------------------------------------------------------

    def settle(self, end: End, *, note: str = "") -> Settled:
        """Record how the attempt ended.

        Args:
            end: how it ended.
            note: text that is added to the error in the journal when the attempt has failed.
        """
        if isinstance(end, NotBegun):  # the cause stops the run, and is not this migration's fault
            self._progress.broken = self._progress.broken or end.error
            return Settled(Result(self._migration.name, Outcome.NOT_REACHED, source=self._migration.source))
        if isinstance(end, Applied):
            return self._applied()
        checkpoints.reached(Checkpoint.ROLLED_BACK)
        settled = self._settle_failure(end, note)
        if (
            isinstance(end, Stopped)
            and isinstance(end.error, KeyboardInterrupt)
            and not self._around.interruption.signal
        ):
            raise end.error  # our signal handlers are not installed: another program uses this package as a library
        return settled

    def _applied(self) -> Settled:
        checkpoints.reached(Checkpoint.COMMITTED)
        return Settled(self.result(Outcome.REVERTED if self.reverts else Outcome.APPLIED))

    def _settle_failure(self, end: Failed, note: str) -> Settled:
        """Look up what is committed; only then record how the attempt ended. The exception alone does not prove a failure.

        The connection may break, or a signal may arrive, after the server has committed.
        """
        try:
            known = self._backend.outcome_of(self.key)
        except Exception as error:  # noqa: BLE001 - also MemoryError
            return self._unknown(end, error)
        self._holds_lock()
        if known.succeeded:
            return self._applied()
        if isinstance(end, Died) and known.error is not None:  # the process has recorded the failure before it ended
            return Settled(self._failure(Died(known.error), self._outcome(end), commits=known.commits))
        if known.commits and isinstance(end, Stopped | Lost | Died):
            return self._undecided(end, known.commits)
        commits = known.commits or int(self._unsure)
        result = self._failure(end, self._outcome(end), commits=commits)
        recorded = self._record("; ".join(filter(None, (self._words(end)[0], note))), commits)
        retry = isinstance(end, Raised) and end.trouble.kind is TroubleKind.RETRY and commits == 0
        return Settled(result, retry=retry and recorded)

    def _outcome(self, end: Failed) -> Outcome:
        if isinstance(end, Refused):
            return Outcome.REFUSED
        is_stopped = isinstance(end, Stopped) or (isinstance(end, Died) and self._around.interruption.signal)
        return Outcome.INTERRUPTED if is_stopped else Outcome.RAISED

    def _unknown(self, end: Failed, error: Exception) -> Settled:
        """End the run when it cannot be looked up what of the attempt is committed; the next run reads it from the journal."""
        name = self._migration.name
        if not self._around.interruption.signal:  # with a signal, the process ends with that
            self._progress.broken = DatabaseUnreachable(
                f"{name} ended early, and what of it is in the database cannot be looked up: {self._redacted(first_line(error))}",
                hint="migrate status tells how it ended; a next run begins by looking",
            )
        return Settled(self._failure(end, Outcome.INTERRUPTED, commits=None))

    def _undecided(self, end: Failed, commits: int) -> Settled:
        """Leave an attempt open in the journal that was cut off after own commits: a human decides, unless it is resumable."""
        name, resumable = self._migration.name, self._migration.resumable
        otherwise = "--reverted" if self.reverts else "--retry"
        if isinstance(end, Lost | Died) and not resumable:
            cause = "the connection was lost" if isinstance(end, Lost) else end.message
            self._progress.broken = self._progress.broken or DecisionNeeded(
                f"'{name}' was interrupted: {cause} after {counted(commits, 'commit')} of its own",
                hint=f"look at the database, then decide:\nmigrate resolve {name} --applied\nmigrate resolve {name} {otherwise}",
            )
        result = self._failure(end, Outcome.INTERRUPTED, commits=commits)
        if resumable:
            return Settled(replace(result, hint="it is resumable: migrate apply goes on with it"))
        return Settled(replace(result, needs_decision=True))

    def _record(self, message: str, commits: int) -> bool:
        """Write the failure to the journal; return whether that succeeded. If it did not, the run ends."""
        try:
            self._backend.record_failure(self.key, error=message, seconds=self.seconds, commits=commits)
        except Exception as error:  # noqa: BLE001 - also MemoryError
            told = f"the failure of {self._migration.name} could not be recorded: {self._redacted(first_line(error))}"
            known = error if isinstance(error, MigrateGraphError) else DatabaseError(told)
            self._progress.broken = self._progress.broken or known
            self._observer(Warned(told, known.hint))
            return False
        checkpoints.reached(Checkpoint.FAILURE_RECORDED)
        return True

    # -- words --------------------------------------------------------------------------------------------------------------

    def _failure(self, end: Failed, outcome: Outcome, *, commits: int | None) -> Result:
        """Return the result of an attempt that did not succeed, with its message and hint."""
        message, hint = self._words(end)
        if commits != 0:
            message = f"{message} ({self._kept(commits)})"
        result = self.result(outcome, error=message, hint=hint, commits=commits, passes=self._passes(end))
        if not isinstance(end, Raised):
            return result
        trace = "" if isinstance(end.error, AttemptFailed) else self._redacted(user_traceback(end.error))
        source = user_location(end.error, root=self._around.root) or result.source
        return replace(result, source=source, traceback=trace)

    def _passes(self, end: Failed) -> str:
        """Return in words when the migration may succeed as it is; empty when its own text is the cause of the failure."""
        if not isinstance(end, Raised):
            return end.passes if isinstance(end, Lost | Died) else ""
        if isinstance(end.error, LockLost | AttemptFailed):  # a worker of --jobs commits nothing without the lock
            return ANSWERS if self._around.is_seated and isinstance(self._progress.broken, LockLost) else ""
        if isinstance(end.error, errors.LockTimeout):
            return IS_FREE
        if isinstance(end.error, DatabaseUnreachable):
            return ANSWERS
        if lacking(end.error) is not None:
            return HAS_ROOM
        in_its_own_way = end.trouble.kind is TroubleKind.RETRY and self._waited_for.startswith("at work outside")
        return "" if in_its_own_way else end.trouble.passes

    def _words(self, end: Failed) -> tuple[str, str]:
        """Return what happened, on one line, and what to do about it."""
        if isinstance(end, Refused):
            return end.message, end.hint
        if isinstance(end, Died):
            return end.message, end.hint
        if isinstance(end, Stopped):
            number = self._around.interruption.signal
            return f"stopped by {signal.Signals(number).name if number else 'a signal'}", ""
        if isinstance(end, Lost):
            return f"the connection to the database was lost: {self._redacted(end.message)}", end.hint
        if isinstance(end.error, MigrateGraphError | AttemptFailed):
            return self._redacted(end.error.message), end.error.hint
        message = f"{kind_of(end.error)}: {end.trouble.message}"
        if self._asking is not None:
            message = f"{message}; asked for its condition {self._asking.text} ({self._asking.source})"
        if end.trouble.kind is TroubleKind.RETRY and self._waited_for.startswith("waiting"):
            message = f"{message}; it was {self._waited_for}"
        return self._redacted(message), end.trouble.hint

    def _kept(self, commits: int | None) -> str:
        if commits is None:
            return "whether something of it stayed in the database is not known"
        if self._migration.transaction is TransactionMode.NONE:
            return "it runs outside of a transaction: what it had done stayed in the database"
        known = ", as far as can be known," if self._unsure else ""
        return f"{counted(commits, 'commit')} of its own{known} stayed in the database"

    def result(self, outcome: Outcome, **more: Any) -> Result:
        """Return how the attempt ended, with what is known of its views and warnings.

        Args:
            outcome: how it ended.
            **more: further attributes of `Result`.
        """
        return Result(
            self._migration.name, outcome, self.seconds, source=self._migration.source, warnings=tuple(self._warnings),
            stepped_aside=tuple(self._views.stepped_aside), unfilled=self._views.unfilled, unrefreshed=self._unrefreshed,
            replaced=tuple(self._views.replaced), **more,
        )  # fmt: skip

    def is_durable(self) -> bool:
        """Look up whether the success of this attempt is recorded."""
        return self._backend.outcome_of(self.key).succeeded

    @property
    def is_unsure(self) -> bool:
        """Whether a transaction ended unseen, so that it is not certain what of the attempt is committed."""
        return self._unsure

    @property
    def _looking(self) -> str:
        return f"looking at what {self._migration.name} has left"

    @property
    def seconds(self) -> float:
        """How many seconds the attempt has taken so far."""
        return time.monotonic() - self._started

    def _redacted(self, text: str) -> str:
        return redact(text, *self._backend.secrets)

    def _tell_leftovers(self, work: Work) -> None:
        found: list[str] = []
        with contextlib.suppress(Exception):  # nothing can be asked on a broken connection
            found = work.leftovers()
        for leftover in found:
            self._warn(leftover)

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        self._observer(Warned(message))

    # -- the lock -----------------------------------------------------------------------------------------------------------

    def _holds_lock(self, ask: Callable[[], bool] | None = None) -> bool:
        """Return whether this run still holds the lock; if it does not, no further migration is started."""
        try:
            held = (ask or self._around.lock.is_held)()
        except Exception:  # noqa: BLE001 - a lock that cannot be asked counts as lost
            held = False
        if not held:
            self._progress.broken = self._progress.broken or lock_lost(self._backend, reverts=self.reverts)
        return held


def lock_lost(backend: Backend, *, reverts: bool = False) -> LockLost:
    """Return the error of a run that has lost its lock."""
    return LockLost(
        f"the lock on {backend.label} was lost (its connection ended, or its file was removed), so nothing more was run",
        hint="migrate status shows what is reverted; run the same migrate revert again for the rest"
        if reverts
        else "run migrate apply again; it continues after the last migration that is recorded",
    )


def _tame(error: BaseException) -> BaseException:
    """Return an exception whose attributes can be read; reading one of a user's exception class may raise."""
    if type(error).__getattribute__ is BaseException.__getattribute__:
        return error
    trace = BaseException.__dict__["__traceback__"].__get__(error)
    return RuntimeError(f"a {kind_of(error)} that cannot be asked").with_traceback(trace)


def _refusal(value: object) -> Refused | None:
    """Return why a return value does not mean success; None when it does."""
    if value is True:
        return None
    if is_left_undone(value):
        return Refused(
            f"returned {shown(value)}, which nobody runs",
            "write it as a plain function that does its work and returns True",
        )
    if isinstance(value, str):
        return Refused(
            f"returned {shown(value)}, which could mean anything",
            "return True when it succeeded, False when it did not",
        )
    if value is None:
        return Refused("returned None", "return True when it succeeded")
    if not value:
        return Refused(f"returned {shown(value)}", "it says that it did not succeed; return True when it did")
    return None
