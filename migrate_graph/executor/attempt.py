"""One attempt at one migration: it ends in one value, and that value is settled in one place."""

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
"""SQLSTATE of a statement in a transaction that an earlier error has ended."""


class WeavingOptions(Struct, frozen=True):
    """Whether views step aside for statements that they are in the way of.

    Attributes:
        wanted: they do.
        keeps_unmanaged: also those that have no manager.
    """

    wanted: bool = True
    keeps_unmanaged: bool = False


class Surroundings(Struct, frozen=True):
    """What every attempt of a run works with.

    Attributes:
        backend: the database.
        lock: of the run.
        observer: told everything that happens.
        interruption: what is known of signals.
        watch: asks what a body's statement waits for.
        root: directory that paths in messages are relative to.
        open_work: opens the work of an attempt.
        is_seated: another process holds the lock, and others work beside this one.
        weaving: whether views step aside for statements that they are in the way of.
        fills_at_once: nothing is really committed, so that what is to be filled after a commit is filled before its place.
        approved: what the migrations of a sealed plan were seen to send.
        learns: told which managers those use that came up in a migration, by its name, as the database sees it; None: nobody asks.
        modules: puts back what a body replaces in them.
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


class Walk(Struct):
    """How far a run is.

    Attributes:
        run: identifies it.
        graph: what is declared.
        applied: names that are installed.
        results: of the steps so far.
        changed: something durable was done, or may have been.
        stopped: a migration failed, and nothing more is started.
        is_sure: the lock was ours a moment ago.
        broken: why the world does not let the run go on; nothing more is started.
        overdue: views that never came up, although their windows are open.
        unrecorded: views that exist, and that the view ledger does not know.
        waits_for_rows: where what is to be filled is filled at once, something could not be; it is tried again after each migration.
    """

    run: str
    graph: MigrationGraph
    applied: set[str]
    results: list[Result] = field(default_factory=list)
    changed: bool = False
    stopped: bool = False
    is_sure: bool = False
    broken: MigrateGraphError | None = None
    overdue: AbstractSet[str] = frozenset()
    unrecorded: AbstractSet[str] = frozenset()
    waits_for_rows: bool = False


# -- the ways in which an attempt ends ----------------------------------------------------------------------------------------


class Applied(Struct, frozen=True):
    """All of its work is durable, with its record."""


class Refused(Struct, frozen=True):
    """It returned something that is no success."""

    message: str
    hint: str


class Raised(Struct, frozen=True):
    """It raised, or what it did cannot be kept."""

    error: BaseException
    trouble: Trouble


class Stopped(Struct, frozen=True):
    """A signal ended it."""

    error: BaseException


class Lost(Struct, frozen=True):
    """Its connection broke: whatever line it stood on, that is not the line's fault."""

    message: str
    hint: str = ""


class Died(Struct, frozen=True):
    """The process that ran it is gone."""

    message: str


class NotBegun(Struct, frozen=True):
    """The world did not let it begin."""

    error: MigrateGraphError


Failed: TypeAlias = Refused | Raised | Stopped | Lost | Died
End: TypeAlias = Applied | Failed | NotBegun


class Settled(Struct, frozen=True):
    """How an attempt was settled, and whether the same work may succeed a moment later and nothing of it was kept."""

    result: Result
    retry: bool = False


class Attempt:
    """One attempt at one migration.

    Args:
        around: what the run works with.
        migration: which.
        walk: how far the run is.
        key: what it writes about itself, where another process has begun it.

    Attributes:
        key: what it writes about itself.
        reverts: it undoes the migration.
    """

    reverts = False

    def __init__(
        self, around: Surroundings, migration: Migration, walk: Walk, *, key: AttemptKey | None = None
    ) -> None:
        self._around = around
        self._backend = around.backend
        self._observer = around.observer
        self._migration = migration
        self._walk = walk
        self.key = key or AttemptKey.now(
            migration.name, run=walk.run, fingerprint=migration.facts.fingerprint, reverts=self.reverts
        )
        age = (datetime.now(UTC) - key.started).total_seconds() if key is not None else 0.0
        self._started = time.monotonic() - max(0.0, age)
        self._warnings: list[str] = []
        self._unrefreshed: tuple[str, ...] = ()
        self._waited_for = ""
        self._unsure = False
        self._asking: Condition | None = None
        foreseen = frozenset(migration.touches) if around.is_seated else None
        self._views = self._views_of(walk, foreseen)
        self._ear = None if self.reverts else around.approved.ear(migration.name)

    def _views_of(self, walk: Walk, foreseen: frozenset[str] | None) -> RunViews:
        """Return what opens views on its connection."""
        return RunViews(
            walk.graph,
            self._migration.name,
            self._observer,
            foreseen=foreseen,
            keeps_unmanaged=self._around.weaving.keeps_unmanaged,
            overdue=walk.overdue,
            unrecorded=walk.unrecorded,
            defers=self._migration.defers,
        )

    def run(self) -> Settled:
        """Run the body, and keep all of its work with its record, or none since its last own commit."""
        return self.settle(self.end())

    # -- from the beginning to the end --------------------------------------------------------------------------------------

    def end(self) -> End:
        """Run the body; return how that ended."""
        try:
            work = self._around.open_work(self._migration, self.key)
        except (DatabaseError, errors.LockTimeout, errors.NoRoom) as error:
            return NotBegun(error)
        except BaseException as error:  # noqa: BLE001 - whatever a driver raises while it connects is explained
            return self.judged(error)
        try:
            end = self._carry_out(work)
        except BaseException as error:  # noqa: BLE001 - SystemExit and whatever else a body raises
            end = self.judged(error, work)
        try:
            if isinstance(end, Refused | Raised) and work.is_lost():  # the body may have caught what the driver said
                end = Lost(end.message if isinstance(end, Refused) else end.trouble.message)
            if not isinstance(end, Applied | NotBegun):
                with contextlib.suppress(Exception):  # as there
                    work.patiently(self._looking, lambda: self._tell_leftovers(work))
        finally:
            work.close()
            self._unsure = work.is_unsure()
        return end

    def _carry_out(self, work: Work) -> End:
        checkpoints.reached(Checkpoint.SESSION_OPENED)
        is_sure, self._walk.is_sure = self._walk.is_sure and not work.has_new_session, False
        if not (is_sure or self._holds_lock()):
            return NotBegun(lock_lost(self._backend, reverts=self.reverts))
        work.patiently(f"beginning {self._migration.name}", work.start)
        checkpoints.reached(Checkpoint.ATTEMPT_STARTED)
        with self._around.watch.on(self._migration.name, lambda: self._backend.waiting_for(work)) as watched:
            try:
                if self._ear is not None:
                    work.listen(self._ear.hear)
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
        if self._around.fills_at_once and (self._views.unfilled or self._walk.waits_for_rows):
            work.patiently(f"refreshing views after {self._migration.name}", lambda: self._fill(work))
        work.finish(seconds=self.seconds, guard=self.guard)
        return Applied()

    def _after_body(self, work: Work) -> Refused | None:
        """Bring up what has stepped aside, and ask what must hold then; return why the attempt is refused."""
        if self._views.must_come_back:
            work.patiently(f"bringing up views in {self._migration.name}", self._views.come_back)
        self._views.body_is_over()
        if self._views.has_turn():
            self._call(work, self._views.turn)
        return self._asked(self._migration.after, work) if self._migration.after is not None else None

    def _asked(self, condition: Condition, work: Work) -> Refused | None:
        """Return why the attempt is refused by what must hold after it; None when it holds."""
        self._asking = condition
        try:
            answer = self._call(work, condition.ask)
            why = unmet(condition, answer)
        except Exception as error:
            if getattr(_tame(error), "pgcode", "") == _ABORTED:
                self._asking = None
                work.check()  # the body has swallowed an error, which it tells
            raise
        self._asking = None
        return Refused(why, "correct the body, or the condition where it is wrong") if why else None

    def _judge(self, work: Work) -> None:
        if self._ear is not None:
            work.listen(None)
            self._ear.refuse()
            if remark := self._ear.remark():
                self._warn(remark)
        self._views.end()
        if self._around.learns is not None and self._views.were_opened:
            self._around.learns(self._migration.name, work.views.uses_seen(self._migration.name))
        self._tell_leftovers(work)

    def _fill(self, work: Work) -> None:
        """Fill what a real run fills after the commit, and note what cannot be filled: there the run would end with it."""
        left = work.views.refresh(self._observer, commit=lambda: None)
        self._walk.waits_for_rows = bool(left)
        self._unrefreshed = tuple(
            self._redacted(why_unfilled(each, self._backend.explain(each.error).message)) for each in left
        )

    def _call(self, work: Work, function: Callable[[Any], Any]) -> Any:
        """Call the body, or its condition, in the surroundings that are promised to it."""
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
        """Stand between the last statement and its commit.

        The work key is still ours, so no other runner has started anything: this migration may be finished; nothing after it. Where
        several are at work, none of them is.

        Raises:
            LockLost: the lock is gone, and others are at work beside this one.
        """
        if not self._holds_lock(self._around.lock.seems_held):
            if self._around.is_seated:
                raise lock_lost(self._backend)
            self._observer(Warned("the lock is lost; this migration is finished, then the run stops"))
        self._around.interruption.check()
        checkpoints.reached(Checkpoint.SUCCESS_WRITTEN)

    def judged(self, error: BaseException, work: Work | None = None) -> Failed:
        """Return what an exception means, wherever it came from.

        Args:
            error: the exception.
            work: on whose connection it may have been raised; a body may have others of its own, whose loss is no loss of ours.
        """
        error = _tame(error)
        if isinstance(error, KeyboardInterrupt) and self._around.interruption.is_listening:
            self._around.interruption.take_over(signal.SIGINT)
        if self._around.interruption.signal or isinstance(error, StopNow | errors.Stopped | KeyboardInterrupt):
            return Stopped(error)
        try:
            trouble = self._backend.explain(error)
        except Exception:  # noqa: BLE001 - an exception of the user's may answer every question with another one
            trouble = Trouble(TroubleKind.OTHER, first_line(error))
        if trouble.kind is not TroubleKind.LOST:
            return Raised(error, replace(trouble, hint=self._views.hint_for(error) or trouble.hint))
        if work is not None and not work.is_lost():
            return Raised(error, replace(trouble, kind=TroubleKind.OTHER, passes=""))
        return Lost(trouble.message, trouble.hint)

    # -- the settlement -----------------------------------------------------------------------------------------------------

    def settle(self, end: End, *, note: str = "") -> Settled:
        """Write down how the attempt ended.

        Args:
            end: how.
            note: what the journal is told besides, of a failure.
        """
        if isinstance(end, NotBegun):  # what stops the run is not this migration's fault
            self._walk.broken = self._walk.broken or end.error
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
            raise end.error  # no handler of ours is in place: a program that uses us as a library
        return settled

    def _applied(self) -> Settled:
        checkpoints.reached(Checkpoint.COMMITTED)
        return Settled(self.result(Outcome.REVERTED if self.reverts else Outcome.APPLIED))

    def _settle_failure(self, end: Failed, note: str) -> Settled:
        """Look at what is durable, and only then say, and write, how it ended: an exception alone proves nothing.

        The connection may break after the server has committed, and a signal may come then, too.
        """
        try:
            known = self._backend.outcome_of(self.key)
        except Exception as error:  # noqa: BLE001 - also when there is no memory left to look
            return self._unknown(end, error)
        self._holds_lock()
        if known.succeeded:
            return self._applied()
        if isinstance(end, Died) and known.error is not None:  # its process has come to say so before it ended
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
        """End the run with an attempt of which nobody knows what is durable: the journal will tell the next run."""
        name = self._migration.name
        if not self._around.interruption.signal:  # then the signal is what the process ends with
            self._walk.broken = DatabaseUnreachable(
                f"{name} ended early, and what of it is in the database cannot be looked up: {self._redacted(first_line(error))}",
                hint="migrate status tells how it ended; a next run begins by looking",
            )
        return Settled(self._failure(end, Outcome.INTERRUPTED, commits=None))

    def _undecided(self, end: Failed, commits: int) -> Settled:
        """Leave an attempt open that was cut off after own commits, as a kill does: a human decides, unless it is resumable."""
        name, resumable = self._migration.name, self._migration.resumable
        otherwise = "--reverted" if self.reverts else "--retry"
        if isinstance(end, Lost | Died) and not resumable:
            cause = "the connection was lost" if isinstance(end, Lost) else end.message
            self._walk.broken = self._walk.broken or DecisionNeeded(
                f"'{name}' was interrupted: {cause} after {counted(commits, 'commit')} of its own",
                hint=f"look at the database, then decide:\nmigrate resolve {name} --applied\nmigrate resolve {name} {otherwise}",
            )
        result = self._failure(end, Outcome.INTERRUPTED, commits=commits)
        if resumable:
            return Settled(replace(result, hint="it is resumable: migrate apply goes on with it"))
        return Settled(replace(result, needs_decision=True))

    def _record(self, message: str, commits: int) -> bool:
        """Write the failure down; return whether that was possible: if not, the run ends here."""
        try:
            self._backend.record_failure(self.key, error=message, seconds=self.seconds, commits=commits)
        except Exception as error:  # noqa: BLE001 - as above
            told = f"the failure of {self._migration.name} could not be recorded: {self._redacted(first_line(error))}"
            known = error if isinstance(error, MigrateGraphError) else DatabaseError(told)
            self._walk.broken = self._walk.broken or known
            self._observer(Warned(told, known.hint))
            return False
        checkpoints.reached(Checkpoint.FAILURE_RECORDED)
        return True

    # -- words --------------------------------------------------------------------------------------------------------------

    def _failure(self, end: Failed, outcome: Outcome, *, commits: int | None) -> Result:
        """Return the result of an attempt that did not succeed, in words."""
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
        """Return when the same text may succeed, where the world has ended it; empty where it is the text that is at fault."""
        if not isinstance(end, Raised):
            return ANSWERS if isinstance(end, Lost) else ""
        if isinstance(end.error, LockLost | AttemptFailed):  # without the lock, nothing beside others is committed
            return ANSWERS if self._around.is_seated and isinstance(self._walk.broken, LockLost) else ""
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
            return end.message, ""
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
        """Return how it ended, as a value."""
        return Result(
            self._migration.name, outcome, self.seconds, source=self._migration.source, warnings=tuple(self._warnings),
            stepped_aside=tuple(self._views.stepped_aside), unfilled=self._views.unfilled, unrefreshed=self._unrefreshed,
            replaced=tuple(self._views.replaced), **more,
        )  # fmt: skip

    def is_durable(self) -> bool:
        """Look up whether its success is recorded."""
        return self._backend.outcome_of(self.key).succeeded

    @property
    def is_unsure(self) -> bool:
        """Whether nobody knows for sure what of it stayed."""
        return self._unsure

    @property
    def _looking(self) -> str:
        return f"looking at what {self._migration.name} has left"

    @property
    def seconds(self) -> float:
        """What it has taken so far."""
        return time.monotonic() - self._started

    def _redacted(self, text: str) -> str:
        return redact(text, *self._backend.secrets)

    def _tell_leftovers(self, work: Work) -> None:
        found: list[str] = []
        with contextlib.suppress(Exception):  # of a broken connection nothing can be asked
            found = work.leftovers()
        for leftover in found:
            self._warn(leftover)

    def _warn(self, message: str) -> None:
        self._warnings.append(message)
        self._observer(Warned(message))

    # -- the lock -----------------------------------------------------------------------------------------------------------

    def _holds_lock(self, ask: Callable[[], bool] | None = None) -> bool:
        """Return whether the lock is still ours; if it is not, nothing more is started."""
        try:
            held = (ask or self._around.lock.is_held)()
        except Exception:  # noqa: BLE001 - what cannot be asked is not held
            held = False
        if not held:
            self._walk.broken = self._walk.broken or lock_lost(self._backend, reverts=self.reverts)
        return held


def lock_lost(backend: Backend, *, reverts: bool = False) -> LockLost:
    """Return the error of a run whose lock is not its own any more."""
    return LockLost(
        f"the lock on {backend.label} was lost (its connection ended, or its file was removed), so nothing more was run",
        hint="migrate status shows what is reverted; run the same migrate revert again for the rest"
        if reverts
        else "run migrate apply again; it continues after the last migration that is recorded",
    )


def _tame(error: BaseException) -> BaseException:
    """Return an exception that can be asked; one of the user's may answer every question with another one."""
    if type(error).__getattribute__ is BaseException.__getattribute__:
        return error
    trace = BaseException.__dict__["__traceback__"].__get__(error)
    return RuntimeError(f"a {kind_of(error)} that cannot be asked").with_traceback(trace)


def _refusal(value: object) -> Refused | None:
    """Return why a return value is no success; None when it is one."""
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
