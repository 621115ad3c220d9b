"""What the executor tells while it works: typed events, given to one observer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, TypeAlias, get_args

from msgspec import Struct

from migrate_graph.core.model import Way
from migrate_graph.core.plan import Plan
from migrate_graph.user_files import SourceLocation


class Outcome(StrEnum):
    """How one migration of a run ended."""

    APPLIED = "applied"
    REVERTED = "reverted"
    """It was undone."""
    REFUSED = "refused"
    """It returned something falsy: rolled back."""
    RAISED = "raised"
    """It raised: rolled back."""
    BLOCKED = "blocked"
    """Something it requires did not succeed."""
    INTERRUPTED = "interrupted"
    """A signal stopped it, or an earlier process died in it."""
    NOT_REACHED = "not reached"
    """The run stopped before it."""
    DONE = "done"
    """Its body has ended well; its work is kept if the whole run succeeds (`apply --atomic`)."""
    ROLLED_BACK = "rolled back"
    """Its body had ended well, but nothing of the run was kept (`apply --atomic`)."""

    @property
    def succeeded(self) -> bool:
        """Whether all of its work is kept."""
        return self in {Outcome.APPLIED, Outcome.REVERTED}

    @property
    def failed(self) -> bool:
        """Whether the migration itself went wrong."""
        return self in {Outcome.REFUSED, Outcome.RAISED, Outcome.INTERRUPTED}


class Result(Struct, frozen=True):
    """How one migration ended.

    Attributes:
        name: of the migration.
        outcome: how it ended.
        seconds: wall time of the last attempt; 0 when it never started.
        commits: own commits that are durable in spite of a failure; None when that cannot be known.
        error: one line: what went wrong, redacted; for BLOCKED, what it waits for.
        source: file and line of the failure, or of the declaration.
        traceback: the user's frames of the exception, redacted; empty without one.
        hint: what to do about it.
        warnings: what is no failure but should be known (INVALID indexes, odd return values).
        needs_decision: after commits of its own it was cut off, or failed with `on_partial = "stop"`. It does not run again before a human
            has decided.
        kept_before: own commits that earlier attempts left in the database, and that nobody has decided about.
        stepped_aside: names of managers whose views blocked a statement and stepped aside, and names of such views that have no
            manager; in the order in which they went down.
        unfilled: names of managers whose materialized views came up without their rows, to be refreshed after the commit.
        unrefreshed: why some of these views, or of those of earlier migrations, could not be filled; redacted. Only in a rehearsal,
            which fills them at once.
        replaced: names of managers whose views got their new text while the views that read them stayed up.
        passes: when the same text may succeed ("when the database answers"), where its text is not the cause; empty for other failures.
    """

    name: str
    outcome: Outcome
    seconds: float = 0.0
    commits: int | None = 0
    error: str = ""
    source: SourceLocation | None = None
    traceback: str = ""
    hint: str = ""
    warnings: tuple[str, ...] = ()
    needs_decision: bool = False
    kept_before: int = 0
    stepped_aside: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()
    unrefreshed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    passes: str = ""


class Connecting(Struct, tag="connecting", frozen=True):
    """The database does not answer yet; sent every 10 s until it does.

    Attributes:
        waited: seconds so far.
        reason: what the server or the network said, redacted.
    """

    waited: float
    reason: str


class LockHolder(Struct, frozen=True):
    """Who holds the lock.

    Attributes:
        pid: of the server's backend (PostgreSQL) or of the process (SQLite); 0 for a prepared transaction, which has neither.
        application: its application_name or host; the name of a prepared transaction.
        client: address of the client; empty when unknown.
        since: when it connected or took the lock, as text; empty when unknown.
        role: who is logged in (PostgreSQL); empty when unknown.
        migration: the migration that it runs now, as far as the database tells: a long name is cut; empty when unknown.
        held_up: what that migration waits for, in words; empty when it does not wait, or that is unknown.
        beside: the migrations that it runs beside that one, as far as the database tells.
    """

    pid: int
    application: str = ""
    client: str = ""
    since: str = ""
    role: str = ""
    migration: str = ""
    held_up: str = ""
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        role, since = f"role {self.role}" if self.role else "", f"since {self.since}" if self.since else ""
        known = (
            f"pid {self.pid}" if self.pid else "a prepared transaction",
            role,
            self.application,
            self.client,
            since,
        )
        return ", ".join(filter(None, known))


class LockWaiting(Struct, tag="lock_waiting", frozen=True):
    """Another process holds the lock; sent at once and then every 10 s.

    Attributes:
        waited: seconds so far.
        limit: seconds until giving up.
        holder: who holds it, when the database knows.
    """

    waited: float
    limit: float
    holder: LockHolder | None = None


class LockAcquired(Struct, tag="lock_acquired", frozen=True):
    """This run holds the lock now.

    Attributes:
        waited: seconds until then; 0.0 when it was free.
    """

    waited: float


class RestoreStarted(Struct, tag="restore_start", frozen=True):
    """A backup is being restored into the empty database.

    Attributes:
        path: of the file.
        size: bytes of the file as it is on disk.
    """

    path: str
    size: int


class RestoreProgress(Struct, tag="restore_progress", frozen=True):
    """How far the restore is, or the check of the whole backup that comes before it; sent every few seconds, also without progress.

    Attributes:
        read: bytes of the file read; bytes of SQL where the size is 0.
        size: bytes of the file as it is on disk; 0 where a command unpacks it.
        checking: the backup is still being checked, and nothing is written yet.
        doing: line and first words of the statement that is being executed; empty while checking.
    """

    read: int
    size: int
    checking: bool = False
    doing: str = ""


class RestoreFinished(Struct, tag="restore_end", frozen=True):
    """The backup is in the database.

    Attributes:
        seconds: wall time.
    """

    seconds: float


class RunStarted(Struct, tag="run_start", frozen=True):
    """The plan is made inside the lock and the first migration is about to run.

    Attributes:
        run: identifies the run.
        plan: what will run.
        atomic: it is one transaction: all of it is kept, or nothing.
        jobs: how many of its steps may run at once.
        reverts: the migrations are undone.
    """

    run: str
    plan: Plan
    atomic: bool = False
    jobs: int = 1
    reverts: bool = False


class StepStarted(Struct, tag="migration_start", frozen=True):
    """A migration starts.

    Attributes:
        name: of the migration.
        index: counted from 1.
        total: steps of the plan.
        source: where it is declared.
    """

    name: str
    index: int
    total: int
    source: SourceLocation


class StepFinished(Struct, tag="migration_end", frozen=True):
    """A migration ended, or turned out to be blocked.

    Attributes:
        index: counted from 1.
        total: steps of the plan.
        result: how.
    """

    index: int
    total: int
    result: Result


class StepWaiting(Struct, tag="waiting", frozen=True):
    """A running migration waits for something in the database.

    Attributes:
        name: of the migration.
        seconds: since the migration started.
        reason: `waiting for a lock held by pid 4242: UPDATE invoice …`, redacted.
    """

    name: str
    seconds: float
    reason: str


class StepRetrying(Struct, tag="retrying", frozen=True):
    """A migration, or with `apply --atomic` the whole run, is tried again from its beginning; nothing of it was kept.

    Attributes:
        name: of the migration.
        attempt: the one that will start, counted from 1.
        limit: attempts in all.
        delay: seconds until then.
        reason: what went wrong, redacted, with who blocked it.
    """

    name: str
    attempt: int
    limit: int
    delay: float
    reason: str


class StepProgress(Struct, tag="progress", frozen=True):
    """What a migration reports of its own batched work.

    Attributes:
        name: of the migration.
        done: units done.
        total: units in all; None when unknown.
        unit: what is counted.
    """

    name: str
    done: int
    total: int | None
    unit: str = ""


class ViewDropped(Struct, tag="view_drop", frozen=True):
    """A view went down.

    Attributes:
        migration: in which migration.
        view: name of the manager.
    """

    migration: str
    view: str


class ViewCreated(Struct, tag="view_create", frozen=True):
    """A view came up.

    Attributes:
        migration: in which migration; empty in a repair pass.
        view: name of the manager.
        unfilled: it is a materialized view without its rows; it is refreshed after the commit.
    """

    migration: str
    view: str
    unfilled: bool = False


class ViewBuilt(Struct, tag="view_build", frozen=True):
    """The new version of a materialized view was built beside the old one, which could be read meanwhile; next it takes the old one's place.

    Attributes:
        migration: in which migration.
        view: name of the manager.
        seconds: how long that took.
    """

    migration: str
    view: str
    seconds: float


class ViewReplaced(Struct, tag="view_replace", frozen=True):
    """A view got its new text while the views that read it stayed up.

    Attributes:
        migration: in which migration.
        view: name of the manager.
    """

    migration: str
    view: str


class ViewFellBack(Struct, tag="view_fall_back", frozen=True):
    """A view goes down and comes up although it was to stay up: what was begun for that is undone.

    Attributes:
        migration: in which migration.
        view: name of the manager; several are separated by commas.
        way: how it would have stayed.
        reason: why it does not.
    """

    migration: str
    view: str
    way: Way
    reason: str


class ViewRefreshing(Struct, tag="view_refresh_start", frozen=True):
    """A materialized view that came up without its rows is being filled.

    Attributes:
        view: name of the manager.
        relation: the materialized view.
    """

    view: str
    relation: str


class ViewRefreshed(Struct, tag="view_refresh_end", frozen=True):
    """A materialized view that came up without its rows is filled.

    Attributes:
        view: name of the manager.
        relation: the materialized view.
        seconds: how long that took.
    """

    view: str
    relation: str
    seconds: float


class Printed(Struct, tag="log", frozen=True):
    """A line that a migration printed.

    Attributes:
        name: of the migration.
        text: one line, redacted.
    """

    name: str
    text: str


class Warned(Struct, tag="diagnostic", frozen=True):
    """Something that should be known and does not stop the run.

    Attributes:
        message: what, redacted.
        hint: what to do about it.
    """

    message: str
    hint: str = ""


class RunFinished(Struct, tag="run_end", frozen=True):
    """The run is over, however it ended.

    Attributes:
        run: identifies the run.
        results: of every step of the plan and of everything blocked, in order.
        seconds: wall time.
        signal: number of the signal that stopped it; 0 when none did.
        changed: something durable was done.
        atomic: it was one transaction.
        reverts: the migrations were to be undone.
    """

    run: str
    results: tuple[Result, ...]
    seconds: float
    signal: int = 0
    changed: bool = False
    atomic: bool = False
    reverts: bool = False

    def of(self, *outcomes: Outcome) -> tuple[Result, ...]:
        """Return the results with one of these outcomes."""
        return tuple(result for result in self.results if result.outcome in outcomes)

    @property
    def succeeded(self) -> bool:
        """Whether everything that was asked for is done."""
        return not self.signal and all(result.outcome.succeeded for result in self.results)


Event: TypeAlias = (
    Connecting
    | LockWaiting
    | LockAcquired
    | RestoreStarted
    | RestoreProgress
    | RestoreFinished
    | RunStarted
    | StepStarted
    | StepFinished
    | StepWaiting
    | StepRetrying
    | StepProgress
    | ViewDropped
    | ViewCreated
    | ViewBuilt
    | ViewReplaced
    | ViewFellBack
    | ViewRefreshing
    | ViewRefreshed
    | Printed
    | Warned
    | RunFinished
)

EVENT_TYPES: Final[Mapping[type[Event], str]] = {each: str(each.__struct_config__.tag) for each in get_args(Event)}
"""The name of each event in the JSON lines of a run."""

Observer: TypeAlias = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """Ignore an event; the observer for callers that need none."""
