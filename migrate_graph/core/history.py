"""What the database remembers: the ledger's records, the journal's attempts, and the views that are down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType

from msgspec import Struct, field


class AttemptState(StrEnum):
    """How one attempt ended, as the journal has it."""

    RUNNING = "running"
    REVERTING = "reverting"
    APPLIED = "applied"
    FAILED = "failed"
    REVERTED = "reverted"
    """It was undone by its `down`."""
    REVERT_FAILED = "revert failed"
    RESOLVED = "resolved"
    """A human decided about it (`migrate resolve`)."""
    MARKED = "marked"
    """No attempt at all: somebody wrote the record (`migrate mark`, `apply --fake`)."""


class Record(Struct, frozen=True):
    """A row of the ledger table.

    Attributes:
        name: of the migration.
        installed: whether it counts as applied.
        updated: when the row was last written, as the ledger has it (2.1.0 writes local time without a zone).
    """

    name: str
    installed: bool
    updated: datetime | None = None


class Attempt(Struct, frozen=True):
    """A row of the journal.

    Attributes:
        id: of the row; grows with time.
        name: of the migration.
        run: identifies the run (a UUID's text).
        state: how it ended; RUNNING on a row nobody is working on means: interrupted.
        commits: how many durable commits the migration made itself.
        started: UTC.
        finished: UTC; None while running or when the process died.
        duration: seconds; None as above.
        host: name of the machine that ran it.
        pid: its process there.
        version: of the tool.
        fingerprint: of the migration's source when it ran.
        error: first line of what went wrong, redacted; for MARKED and RESOLVED: who and why.
    """

    id: int
    name: str
    run: str
    state: AttemptState
    commits: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    duration: float | None = None
    host: str = ""
    pid: int = 0
    version: str = ""
    fingerprint: str = ""
    error: str = ""

    @property
    def was_run(self) -> bool:
        """Whether the migration ran: false for what somebody wrote by hand (`mark`, `resolve`, `apply --fake`)."""
        return self.state not in {AttemptState.MARKED, AttemptState.RESOLVED}

    @property
    def is_open(self) -> bool:
        """Whether it has no end: it was interrupted, or somebody is at work on it."""
        return self.state in {AttemptState.RUNNING, AttemptState.REVERTING}

    @property
    def reverts(self) -> bool:
        """Whether it undid, or tried to undo, what the migration had done."""
        return self.state in {AttemptState.REVERTING, AttemptState.REVERTED, AttemptState.REVERT_FAILED}

    @property
    def left_nothing(self) -> bool:
        """Whether it was a failed attempt to revert that changed nothing: the migration is applied as before."""
        return self.state is AttemptState.REVERT_FAILED and not self.commits


def ways_out(attempt: Attempt | None) -> tuple[str, str]:
    """Return the options of `migrate resolve` that decide about an attempt that was cut off."""
    return ("--applied", "--reverted") if attempt is not None and attempt.reverts else ("--applied", "--retry")


class StoredView(Struct, frozen=True):
    """A row of the view ledger: a view that is down now, with what is needed to bring it back; or one that is not filled yet.

    Attributes:
        relation: the relation's name as the database has it, schema included where there is one.
        manager: name of the view manager that took it down, or has brought it up.
        migration: the migration in which that happened.
        definition: everything captured before the drop, as JSON text of the database room.
    """

    relation: str
    manager: str
    migration: str
    definition: str = ""


FLUSH = "flush"
"""The pending task to flush the cache."""


class History(Struct, frozen=True, dict=True):
    """What one database remembers; the empty history is a history.

    Attributes:
        records: the ledger, by name.
        attempts: the journal, oldest first.
        views_down: the view ledger: empty in a healthy database.
        views_unfilled: materialized views that came up without their rows, and still need a refresh.
        view_texts: of each view manager that the database knows, fingerprint of its text when it last came up; empty when unknown.
        views_there: the declared views that its view ledger knows, or that were found in the database; None where nobody has looked.
        pending_tasks: what the last run still had to do after its migrations (`"flush"`), from the journal.
        facts_at: id of the journal's row that stores the schema of the database as it was after a run; to be compared with the ids of
            attempts. 0 where there is none.
    """

    records: Mapping[str, Record] = field(default_factory=lambda: MappingProxyType({}))
    attempts: tuple[Attempt, ...] = ()
    views_down: tuple[StoredView, ...] = ()
    views_unfilled: tuple[StoredView, ...] = ()
    view_texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    views_there: frozenset[str] | None = None
    pending_tasks: frozenset[str] = frozenset()
    facts_at: int = 0

    @cached_property
    def applied(self) -> frozenset[str]:
        """Names recorded as installed."""
        return frozenset(name for name, record in self.records.items() if record.installed)

    def last_attempts(self) -> dict[str, Attempt]:
        """Return the newest attempt of every migration that has one; failed attempts to revert that changed nothing are left out."""
        return {attempt.name: attempt for attempt in self.attempts if not attempt.left_nothing}

    def half_undone(self) -> frozenset[str]:
        """Return the migrations that a revert has undone only in part: they are still recorded as installed."""
        last = self.last_attempts()
        return frozenset(name for name in self.applied if name in last and last[name].state in _HALF_UNDONE)

    @property
    def is_unfinished(self) -> bool:
        """Whether the newest attempt has no end: it was interrupted, or somebody is at work on it."""
        return bool(self.attempts) and self.attempts[-1].is_open

    @property
    def facts_are_current(self) -> bool:
        """Whether the schema of the database was stored, and nothing has run or been decided since that may have changed it."""
        return bool(self.facts_at) and not any(map(self._is_after_facts, self.attempts))

    @property
    def has_lost_facts(self) -> bool:
        """Whether a run has changed something since the schema was last stored, and ended before it could store it again."""
        return any(attempt.was_run and self._is_after_facts(attempt) for attempt in self.attempts)

    def _is_after_facts(self, attempt: Attempt) -> bool:
        changed_nothing = attempt.left_nothing or (attempt.state is AttemptState.FAILED and not attempt.commits)
        return attempt.id > self.facts_at and not changed_nothing


_HALF_UNDONE = frozenset({AttemptState.REVERTING, AttemptState.REVERT_FAILED})
