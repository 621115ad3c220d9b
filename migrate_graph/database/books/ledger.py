"""What is written about migrations: the ledger table, the journal, and the statements that read and write them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from itertools import compress
from operator import itemgetter
from socket import gethostname
from typing import Any, NamedTuple, TypeAlias
from uuid import uuid4

from msgspec import Struct

from migrate_graph import __version__
from migrate_graph.core.history import Attempt, AttemptState, History, Record
from migrate_graph.database.names import TableNames
from migrate_graph.errors import DatabaseRefused
from migrate_graph.messages import first_line

Rows: TypeAlias = list[tuple[Any, ...]]
Execute: TypeAlias = Callable[[str, Sequence[Any]], Rows]
"""Runs one statement and gives its rows (none for a statement without)."""


_DECIDABLE = (AttemptState.RUNNING, AttemptState.FAILED, AttemptState.REVERTING, AttemptState.REVERT_FAILED)

# What is no attempt stands in the journal as a row of this state, so that no fourth table is needed, and older versions pass over it:
# a pending task, and what the database was made of when the last run had ended.
_PENDING_TASK = "owed"
_FACTS = "facts"


class AttemptKey(Struct, frozen=True):
    """What one attempt writes about itself.

    Attributes:
        attempt: identifies it (a UUID's text).
        run: identifies the run.
        name: of the migration.
        host: name of this machine.
        pid: of this process.
        version: of the tool.
        fingerprint: of the migration's source.
        started: UTC.
        reverts: it undoes the migration.
    """

    attempt: str
    run: str
    name: str
    host: str
    pid: int
    version: str
    fingerprint: str
    started: datetime
    reverts: bool = False

    @classmethod
    def now(cls, name: str, *, run: str, fingerprint: str = "", reverts: bool = False) -> AttemptKey:
        """Make the key of an attempt that starts now, in this process."""
        return cls(str(uuid4()), run, name, _host(), os.getpid(), __version__, fingerprint, datetime.now(UTC), reverts)

    @property
    def running(self) -> AttemptState:
        """What the journal calls it while it has no end."""
        return AttemptState.REVERTING if self.reverts else AttemptState.RUNNING

    @property
    def succeeded(self) -> AttemptState:
        """What the journal calls it when all of its work is kept."""
        return AttemptState.REVERTED if self.reverts else AttemptState.APPLIED

    @property
    def failed(self) -> AttemptState:
        """What the journal calls it when it failed."""
        return AttemptState.REVERT_FAILED if self.reverts else AttemptState.FAILED


class Known(NamedTuple):
    """What the database knows of an attempt.

    Attributes:
        succeeded: its success is recorded.
        commits: how many of its own are durable.
        error: why it failed, where that is recorded; else None.
    """

    succeeded: bool
    commits: int
    error: str | None = None


_host = cache(gethostname)


class _Statements(Struct, frozen=True):
    """What is sent for every migration, with `?` for parameters.

    Attributes:
        marker: writes the marker, or counts one commit more.
        record: writes that a migration is installed, also where somebody made the table by hand and names are not unique there.
        unique_record: the same where they are (PostgreSQL).
        finish: says in the journal how the attempt ended, if the record stands: a trigger of the ledger may have taken it.
    """

    marker: str
    record: str
    unique_record: str
    finish: str

    @classmethod
    def of(cls, names: TableNames) -> _Statements:
        """Write them for these tables."""
        ledger, journal, op = names.quoted(names.ledger), names.quoted(names.journal), names.dialect.op
        new_record = f'INSERT INTO {ledger} ("installed", "last_update_dttm", "name")'
        return cls(
            marker=f'INSERT INTO {journal} AS marker ("attempt", "run", "name", "state", "commits", "started", "host", "pid", "version", '
            '"fingerprint") VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (attempt) DO UPDATE SET commits = marker.commits '
            f"{op('+')} 1",
            record=f"UPDATE {ledger} SET installed = ?, last_update_dttm = ? WHERE name {op('=')} ?; "
            f"{new_record} SELECT ?, ?, ? WHERE NOT EXISTS (SELECT FROM {ledger} WHERE name {op('=')} ?)",
            unique_record=f"{new_record} VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET installed = excluded.installed, last_update_dttm = excluded.last_update_dttm",
            finish=f"UPDATE {journal} SET state = ?, commits = commits {op('-')} 1, finished = ?, duration = ? "
            f"WHERE attempt {op('=')} ? AND state {op('=')} ? "
            f"AND EXISTS (SELECT 1 FROM {ledger} WHERE name {op('=')} ? AND installed {op('=')} ?) RETURNING id",
        )


class Ledger:
    """Ledger table and journal of one database, through whatever connection `execute` stands for.

    Attributes:
        names: of the tables.
        has_unique_names: the server is known to refuse a second row of a name, so that a record is one statement.
    """

    def __init__(self, names: TableNames, execute: Execute) -> None:
        self.names = names
        self._dialect = names.dialect
        self._execute = execute
        self._ledger = names.quoted(names.ledger)
        self._journal = names.quoted(names.journal)
        self._is = names.dialect.op("=")
        self._is_installed = f"(installed {self._is} 'T' OR installed {self._is} '1')"
        self._statements = _Statements.of(names)
        self.has_unique_names = False

    def on(self, execute: Execute) -> Ledger:
        """Return the same tables through another connection."""
        same = Ledger.__new__(Ledger)
        vars(same).update(vars(self), _execute=execute)
        return same

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        return self._execute(self._dialect.sql(statement), parameters)

    # -- tables ---------------------------------------------------------------------------------------------------------------

    def create(self, missing: Iterable[str]) -> None:
        """Create those of ledger and journal that are missing; the ledger with exactly the columns of edwh-migrate."""
        missing = set(missing)
        if self.names.ledger in missing:
            self._run(
                f'CREATE TABLE {self._ledger} ("id" {self._dialect.ledger_serial}, "name" {self._dialect.name_type} UNIQUE, '
                '"installed" CHAR(1), "last_update_dttm" TIMESTAMP)'
            )
        if self.names.journal in missing:
            self._run(
                f'CREATE TABLE {self._journal} ("id" {self._dialect.serial}, "attempt" VARCHAR(36) NOT NULL UNIQUE, '
                '"run" VARCHAR(36) NOT NULL, "name" TEXT NOT NULL, "state" VARCHAR(16) NOT NULL, "commits" INTEGER NOT NULL, '
                f'"started" {self._dialect.moment}, "finished" {self._dialect.moment}, "duration" DOUBLE PRECISION, '
                '"host" TEXT, "pid" INTEGER, "version" TEXT, "fingerprint" TEXT, "error" TEXT)'
            )

    # -- reading --------------------------------------------------------------------------------------------------------------

    def read(self, present: Iterable[str]) -> History:
        """Read what those tables that exist hold; the view ledger is read by its own room."""
        present, text = set(present), self._dialect.text
        records: dict[str, Record] = {}
        attempts: list[Attempt] = []
        pending_tasks: set[str] = set()
        facts_at = 0
        faults: list[str] = []
        if self.names.ledger in present:
            for name, installed, updated in self._run(
                f"SELECT name, {text('installed')}, {text('last_update_dttm')} FROM {self._ledger}"
            ):
                if name is not None:
                    with _naming(faults, f"the row {name!r} of {self._ledger}"):
                        records[name] = Record(str(name), installed in {"T", "1", 1}, _moment(updated))
        if self.names.journal in present:
            for row in self._run(
                f"SELECT id, name, run, state, {text('commits')}, {text('started')}, {text('finished')}, {text('duration')}, host, "
                f"{text('pid')}, version, fingerprint, CASE WHEN state {self._is} '{_PENDING_TASK}' THEN NULL ELSE error END "
                f"FROM {self._journal} ORDER BY id"
            ):
                if row[3] == _PENDING_TASK and row[1] == _FACTS:
                    facts_at = int(row[0])
                elif row[3] == _PENDING_TASK:
                    pending_tasks.add(row[1])
                else:
                    with _naming(faults, f"the row with id {row[0]} of {self._journal}"):
                        attempts.append(_attempt(row))
        if faults:
            raise DatabaseRefused(
                "what others wrote into the tool's tables cannot be read: " + "; ".join(faults),
                hint="mend or delete these rows; nothing was changed",
            )
        return History(
            records=records, attempts=tuple(attempts), pending_tasks=frozenset(pending_tasks), facts_at=facts_at
        )

    def read_applied(self) -> frozenset[str]:
        """Read which names are recorded as installed."""
        rows = self._run(f"SELECT name FROM {self._ledger} WHERE {self._is_installed}")
        return frozenset(map(itemgetter(0), rows)) - {None}

    def read_installed(self, names: Sequence[str]) -> frozenset[str]:
        """Read which of these names are recorded as installed."""
        ((*found,),) = self._run(f"SELECT {self.are_installed(names)}", names)
        return frozenset(compress(names, found))

    def are_installed(self, names: Sequence[str]) -> str:
        """Return what to select, with the names as parameters, to learn of each whether it is installed: one look into the index for each."""
        one = f"EXISTS (SELECT 1 FROM {self._ledger} WHERE name {self._is} ? AND {self._is_installed})"
        return ", ".join([one] * len(names))

    def duplicates(self) -> list[str]:
        """Name the records that stand more than once (possible where somebody made the table by hand)."""
        return [
            name
            for (name,) in self._run(
                f"SELECT name FROM {self._ledger} WHERE name IS NOT NULL "
                f"GROUP BY name HAVING {self._dialect.function('count')}(*) {self._dialect.op('>')} 1 ORDER BY name"
            )
        ]

    def first_attempt(self) -> str:
        """Return the oldest attempt's key: it is as old as the journal, so it tells one database from its successor."""
        rows = self._run(
            f"SELECT attempt FROM {self._journal} WHERE state {self._dialect.op('<>')} ? ORDER BY id LIMIT 1",
            (_PENDING_TASK,),
        )
        return str(rows[0][0]) if rows else ""

    def known_of(self, key: AttemptKey) -> Known:
        """Return what of an attempt is durable."""
        rows = self._run(
            f"SELECT state, commits, error FROM {self._journal} WHERE attempt {self._is} ?", (key.attempt,)
        )
        if not rows:  # nothing of it
            return Known(succeeded=False, commits=0)
        state, commits, error = rows[0]
        return Known(state == key.succeeded.value, int(commits), (error or "") if state == key.failed.value else None)

    # -- writing --------------------------------------------------------------------------------------------------------------

    def write_marker(self, key: AttemptKey) -> None:
        """Write what will be true if the transaction that this opens commits: one own commit more than before.

        The row is absent until a transaction with a marker has committed, so the count needs no memory of its own.
        """
        self._run(self._statements.marker, self._marker_values(key))

    def marker_statement(self, key: AttemptKey) -> tuple[str, tuple[Any, ...]]:
        """Return the marker's statement in the driver's own spelling, to be sent among others, and its parameters."""
        return self._dialect.sql(self._statements.marker), self._marker_values(key)

    def _marker_values(self, key: AttemptKey) -> tuple[Any, ...]:
        return (
            key.attempt, key.run, key.name, key.running.value, self._store(key.started), key.host, key.pid,
            key.version, key.fingerprint,
        )  # fmt: skip

    def write_success_at_once(self, key: AttemptKey, *, seconds: float, first: str) -> bool:
        """The same as `write_success` in one message to the server (PostgreSQL).

        Args:
            key: of the attempt.
            seconds: that it took.
            first: statements that come before, without parameters.
        """
        statement, values = self._success_at_once(key, seconds)
        return len(self._execute(f"{first}; {statement}", values)) == 1

    def write_success_and_ask(
        self, key: AttemptKey, *, seconds: float, first: str, question: str, names: Sequence[str]
    ) -> Rows:
        """Write the success, and return one row: its id, an answer, which names are installed; none where the attempt's row is not there (PostgreSQL).

        Args:
            key: of the attempt.
            seconds: that it took.
            first: statements that come before, in the driver's own spelling.
            question: what is selected besides, without parameters.
            names: of migrations.
        """
        statement, values = self._success_at_once(key, seconds)
        asked = [question, *([self._dialect.sql(self.are_installed(names))] if names else [])]
        return self._execute(f"{first}; {statement}, {', '.join(asked)}", (*values, *names))

    def _success_at_once(self, key: AttemptKey, seconds: float) -> tuple[str, tuple[Any, ...]]:
        now, flag = self._local_now(), _flag(installed=not key.reverts)
        # Each by itself: a statement in a statement takes the server twice as long to plan.
        values: tuple[str, ...] = (flag, now, key.name, flag, now, key.name, key.name)
        record = self._statements.record
        if self.has_unique_names:
            record, values = self._statements.unique_record, (flag, now, key.name)
        sql = self._dialect.sql
        return f"{sql(record)}; {sql(self._statements.finish)}", (*values, *self._finish_values(key, seconds))

    def _finish_values(self, key: AttemptKey, seconds: float) -> tuple[Any, ...]:
        flag = _flag(installed=not key.reverts)
        return key.succeeded.value, self._now(), seconds, key.attempt, key.running.value, key.name, flag

    def why_unfinished(self, key: AttemptKey) -> str:
        """Return what has become of the record where a success could not be written; empty where the attempt's row is not there."""
        still = f"SELECT 1 FROM {self._journal} WHERE attempt {self._is} ? AND state {self._is} ?"
        if not self._run(still, (key.attempt, key.running.value)):
            return ""
        return f"its record does not stay in {self._ledger}: a trigger of that table changes or drops it"

    def write_success(self, key: AttemptKey, *, seconds: float) -> bool:
        """Finish the attempt in the transaction that its marker opened; False when the row is not this attempt's any more."""
        self.write_record(key.name, installed=not key.reverts)
        return len(self._run(self._statements.finish, self._finish_values(key, seconds))) == 1

    def write_failure(self, key: AttemptKey, *, error: str, seconds: float, commits: int = 0) -> None:
        """Write that an attempt failed, unless its success stands there.

        Args:
            key: of the attempt.
            error: why.
            seconds: it took.
            commits: of its own, where no marker of it is durable; else their number stays what the last one says.
        """
        self._run(
            f'INSERT INTO {self._journal} AS failed ("attempt", "run", "name", "state", "commits", "started", "finished", "duration", "host", '
            '"pid", "version", "fingerprint", "error") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (attempt) DO UPDATE '
            "SET state = excluded.state, finished = excluded.finished, duration = excluded.duration, error = excluded.error "
            f"WHERE failed.state {self._dialect.op('<>')} ?",
            (
                key.attempt, key.run, key.name, key.failed.value, commits, self._store(key.started), self._now(), seconds,
                key.host, key.pid, key.version, key.fingerprint, error, key.succeeded.value,
            ),
        )  # fmt: skip
        if key.reverts:
            return  # what was not undone is installed as before
        # Without the lock another runner may have applied it since: an installed record is never taken back by a failure.
        if not self._run(
            f"UPDATE {self._ledger} SET installed = 'F', last_update_dttm = ? WHERE name {self._is} ? "
            f"AND coalesce(installed, 'F') {self._dialect.op('<>')} 'T' "
            "RETURNING name",
            (self._local_now(), key.name),
        ):
            self._run(
                f'INSERT INTO {self._ledger} ("name", "installed", "last_update_dttm") '
                f"SELECT ?, 'F', ? WHERE NOT EXISTS (SELECT 1 FROM {self._ledger} WHERE name {self._is} ?)",
                (key.name, self._local_now(), key.name),
            )

    def write_note(self, key: AttemptKey, state: AttemptState, note: str) -> None:
        """Write a journal row for something that is no attempt: a mark, a decision."""
        self._run(
            f'INSERT INTO {self._journal} ("attempt", "run", "name", "state", "commits", "started", "finished", "host", "pid", '
            '"version", "fingerprint", "error") VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)',
            (
                key.attempt, key.run, key.name, state.value, self._store(key.started), self._now(), key.host, key.pid, key.version,
                key.fingerprint, note,
            ),
        )  # fmt: skip

    def write_record(self, name: str, *, installed: bool) -> None:
        """Write a ledger row; update first, since a table made by hand may have no unique name to conflict on."""
        values = (_flag(installed=installed), self._local_now())
        if not self._run(
            f"UPDATE {self._ledger} SET installed = ?, last_update_dttm = ? WHERE name {self._is} ? RETURNING name",
            (*values, name),
        ):
            self._run(
                f'INSERT INTO {self._ledger} ("installed", "last_update_dttm", "name") VALUES (?, ?, ?)',
                (*values, name),
            )

    def resolve(self, attempt: int, *, name: str) -> bool:
        """Close an attempt that was interrupted, or failed, if it is still the newest of its migration."""
        decidable = tuple(state.value for state in _DECIDABLE)
        of_these = f" OR state {self._is} ".join("?" * len(decidable))
        return bool(
            self._run(
                f"UPDATE {self._journal} SET state = ?, finished = ? WHERE id {self._is} ? "
                f"AND (state {self._is} {of_these}) "
                f"AND id {self._is} (SELECT {self._dialect.function('max')}(id) FROM {self._journal} WHERE name {self._is} ?) RETURNING id",
                (AttemptState.RESOLVED.value, self._now(), attempt, *decidable, name),
            )
        )

    def add_task(self, key: AttemptKey) -> None:
        """Write down a pending task, called as the key says, once."""
        self.finish_task(key.name)
        self._run(
            f'INSERT INTO {self._journal} ("attempt", "run", "name", "state", "commits", "started", "host", "pid", "version") '
            "VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (key.attempt, key.run, key.name, _PENDING_TASK, self._store(key.started), key.host, key.pid, key.version),
        )

    def finish_task(self, task: str) -> None:
        """Forget a pending task."""
        self._run(f"DELETE FROM {self._journal} WHERE state {self._is} ? AND name {self._is} ?", (_PENDING_TASK, task))

    def write_facts(self, key: AttemptKey, *, digest: str, text: str) -> None:
        """Write what the database is made of, in the place of what stood there before.

        Args:
            key: of the run.
            digest: of the facts.
            text: as `stored_facts` packs them.
        """
        self.finish_task(_FACTS)
        self._run(
            f'INSERT INTO {self._journal} ("attempt", "run", "name", "state", "commits", "started", "host", "pid", "version", '
            '"fingerprint", "error") VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)',
            (
                key.attempt,
                key.run,
                _FACTS,
                _PENDING_TASK,
                self._store(key.started),
                key.host,
                key.pid,
                key.version,
                digest,
                text,
            ),
        )

    def read_facts(self) -> str | None:
        """Return what was written so; None where nothing was."""
        rows = self._run(
            f"SELECT error FROM {self._journal} WHERE state {self._is} ? AND name {self._is} ? ORDER BY id DESC LIMIT 1",
            (_PENDING_TASK, _FACTS),
        )
        return (rows[0][0] or "") if rows else None

    # -- time -----------------------------------------------------------------------------------------------------------------

    # As texts, which the server turns into what the column is: a driver would write the name of a type.

    @staticmethod
    def _store(moment: datetime) -> str:
        return moment.isoformat(sep=" ")

    def _now(self) -> str:
        return self._store(datetime.now(UTC))

    def _local_now(self) -> str:
        # edwh-migrate writes local time without a zone here, and reads it back with pyDAL, which wants whole seconds.
        return self._store(datetime.now().replace(microsecond=0))  # noqa: DTZ005


def _flag(*, installed: bool) -> str:
    return "T" if installed else "F"


@contextmanager
def _naming(faults: list[str], what: str) -> Iterator[None]:
    """Return why a row cannot be read, and which row it is."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        faults.append(f"{what}: {first_line(error)}")


def _moment(value: object) -> datetime | None:
    """Read a timestamp.

    Raises:
        ValueError: it is none that Python knows (`infinity`, a year BC, the year 20000).
    """
    return datetime.fromisoformat(str(value)) if value is not None else None


def _utc(value: object) -> datetime | None:
    moment = _moment(value)
    return moment.astimezone(UTC) if moment else None


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    seconds = float(str(value))
    if not math.isfinite(seconds):
        raise ValueError(f"duration is {value}")
    return seconds


_STATES = {each.value: each for each in AttemptState}


def _attempt(row: tuple[Any, ...]) -> Attempt:
    identity, name, run, state, commits, started, finished, duration, host, pid, version, fingerprint, error = row
    if state not in _STATES:
        raise ValueError(f"its state is {state!r}")
    return Attempt(
        id=int(identity), name=str(name), run=str(run), state=_STATES[state], commits=int(commits), started=_utc(started),
        finished=_utc(finished), duration=_seconds(duration), host=host or "", pid=int(pid or 0), version=version or "",
        fingerprint=fingerprint or "", error=error or "",
    )  # fmt: skip
