"""The ledger table and the journal table, and the statements that read and write them."""

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
"""Runs one statement and returns its rows; an empty list for a statement that returns none."""


_DECIDABLE = (AttemptState.RUNNING, AttemptState.FAILED, AttemptState.REVERTING, AttemptState.REVERT_FAILED)

# Two things that are not attempts are stored in the journal as rows with this state: pending tasks, and the inventory of the
# database after the last run. So no fourth table is needed, and older versions ignore these rows.
_PENDING_TASK = "owed"
_FACTS = "facts"


class AttemptKey(Struct, frozen=True):
    """The values that an attempt writes into its journal row when it starts.

    Attributes:
        attempt: identifies the attempt (a UUID as text).
        run: identifies the run.
        name: name of the migration.
        host: name of this machine.
        pid: id of this process.
        version: version of the tool.
        fingerprint: fingerprint of the migration's source.
        started: when the attempt started, in UTC.
        reverts: the attempt undoes the migration.
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
        """The state in the journal while the attempt runs."""
        return AttemptState.REVERTING if self.reverts else AttemptState.RUNNING

    @property
    def succeeded(self) -> AttemptState:
        """The state in the journal when the attempt succeeded."""
        return AttemptState.REVERTED if self.reverts else AttemptState.APPLIED

    @property
    def failed(self) -> AttemptState:
        """The state in the journal when the attempt failed."""
        return AttemptState.REVERT_FAILED if self.reverts else AttemptState.FAILED


class Known(NamedTuple):
    """What the journal says about an attempt.

    Attributes:
        succeeded: its success is recorded.
        commits: how many commits of its body are durable.
        error: why it failed; None where no failure is recorded.
    """

    succeeded: bool
    commits: int
    error: str | None = None


_host = cache(gethostname)

_TRUE = ("T", "t", "1")
"""How a value of the ledger begins that means installed, as pyDAL reads it: a ledger made by hand may have a boolean or a word there."""


class _Statements(Struct, frozen=True):
    """The statements that are sent for every migration, with `?` for parameters.

    Attributes:
        marker: inserts the attempt's journal row, or adds 1 to its count of commits.
        record: writes into the ledger that a migration is installed; also works where the table was made by hand without unique names.
        unique_record: does the same in one statement, where names are unique (PostgreSQL).
        finish: writes the attempt's success into the journal, if the record is in the ledger (a trigger may have removed it).
    """

    marker: str
    record: str
    unique_record: str
    finish: str

    @classmethod
    def of(cls, names: TableNames) -> _Statements:
        """Return the statements for these tables."""
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
    """Ledger table and journal of one database; `execute` runs the statements on a connection.

    Attributes:
        names: names of the tables.
        has_unique_names: the ledger is known to have a unique index on the name, so that a record is written by one statement.
    """

    def __init__(self, names: TableNames, execute: Execute) -> None:
        self.names = names
        self._dialect = names.dialect
        self._execute = execute
        self._ledger = names.quoted(names.ledger)
        self._journal = names.quoted(names.journal)
        self._is = names.dialect.op("=")
        first = f"{names.dialect.function('substr')}({names.dialect.text('installed')}, 1, 1)"
        self._is_installed = " OR ".join(f"{first} {self._is} '{letter}'" for letter in _TRUE).join("()")
        self._statements = _Statements.of(names)
        self.has_unique_names = False

    def on(self, execute: Execute) -> Ledger:
        """Return the same ledger on another connection."""
        same = Ledger.__new__(Ledger)
        vars(same).update(vars(self), _execute=execute)
        return same

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        return self._execute(self._dialect.sql(statement), parameters)

    # -- tables ---------------------------------------------------------------------------------------------------------------

    def create(self, missing: Iterable[str]) -> None:
        """Create the ledger and the journal if they are missing; the ledger gets exactly the columns of edwh-migrate."""
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
        """Read ledger and journal, as far as they exist; `ViewLedger` reads the view ledger."""
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
                    with _noting_fault(faults, f"the row {name!r} of {self._ledger}"):
                        records[name] = Record(str(name), str(installed)[:1] in _TRUE, _moment(updated))
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
                    with _noting_fault(faults, f"the row with id {row[0]} of {self._journal}"):
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
        """Read the names of all migrations that are recorded as installed."""
        rows = self._run(f"SELECT name FROM {self._ledger} WHERE {self._is_installed}")
        return frozenset(map(itemgetter(0), rows)) - {None}

    def read_installed(self, names: Sequence[str]) -> frozenset[str]:
        """Read which of these names are recorded as installed."""
        ((*found,),) = self._run(f"SELECT {self.are_installed(names)}", names)
        return frozenset(compress(names, found))

    def are_installed(self, names: Sequence[str]) -> str:
        """Return expressions for a SELECT that tell of each name whether it is installed; their parameters are the names.

        Each one costs one look into the index.
        """
        one = f"EXISTS (SELECT 1 FROM {self._ledger} WHERE name {self._is} ? AND {self._is_installed})"
        return ", ".join([one] * len(names))

    def duplicates(self) -> list[str]:
        """Return the names that have more than one record (possible where the table was made by hand)."""
        return [
            name
            for (name,) in self._run(
                f"SELECT name FROM {self._ledger} WHERE name IS NOT NULL "
                f"GROUP BY name HAVING {self._dialect.function('count')}(*) {self._dialect.op('>')} 1 ORDER BY name"
            )
        ]

    def first_attempt(self) -> str:
        """Return the key of the oldest attempt, empty where there is none; a database that is made anew gets another one."""
        rows = self._run(
            f"SELECT attempt FROM {self._journal} WHERE state {self._dialect.op('<>')} ? ORDER BY id LIMIT 1",
            (_PENDING_TASK,),
        )
        return str(rows[0][0]) if rows else ""

    def known_of(self, key: AttemptKey) -> Known:
        """Return what the journal says about an attempt."""
        rows = self._run(
            f"SELECT state, commits, error FROM {self._journal} WHERE attempt {self._is} ?", (key.attempt,)
        )
        if not rows:  # no transaction of the attempt was committed
            return Known(succeeded=False, commits=0)
        state, commits, error = rows[0]
        return Known(state == key.succeeded.value, int(commits), (error or "") if state == key.failed.value else None)

    # -- writing --------------------------------------------------------------------------------------------------------------

    def write_marker(self, key: AttemptKey) -> None:
        """Write the marker at the beginning of a transaction: one commit more than before, which is true if the transaction commits.

        The row does not exist until the first transaction with a marker has committed, so the count is always correct.
        """
        self._run(self._statements.marker, self._marker_values(key))

    def marker_statement(self, key: AttemptKey) -> tuple[str, tuple[Any, ...]]:
        """Return the marker's statement with the driver's placeholders, to be sent together with others, and its parameters."""
        return self._dialect.sql(self._statements.marker), self._marker_values(key)

    def _marker_values(self, key: AttemptKey) -> tuple[Any, ...]:
        return (
            key.attempt, key.run, key.name, key.running.value, self._store(key.started), key.host, key.pid,
            key.version, key.fingerprint,
        )  # fmt: skip

    def write_success_at_once(self, key: AttemptKey, *, seconds: float, first: str) -> bool:
        """Do the same as `write_success` in one message to the server (PostgreSQL).

        Args:
            key: identifies the attempt.
            seconds: how long the attempt took.
            first: statements that are sent before, without parameters.
        """
        statement, values = self._success_at_once(key, seconds)
        return len(self._execute(f"{first}; {statement}", values)) == 1

    def write_success_and_ask(
        self, key: AttemptKey, *, seconds: float, first: str, question: str, names: Sequence[str]
    ) -> Rows:
        """Write the success, and return one row: the journal row's id, the answer to `question`, whether each name is installed (PostgreSQL).

        No row is returned where the success could not be written.

        Args:
            key: identifies the attempt.
            seconds: how long the attempt took.
            first: statements that are sent before, with the driver's placeholders.
            question: an expression whose value is returned, without parameters.
            names: names of migrations.
        """
        statement, values = self._success_at_once(key, seconds)
        asked = [question, *([self._dialect.sql(self.are_installed(names))] if names else [])]
        return self._execute(f"{first}; {statement}, {', '.join(asked)}", (*values, *names))

    def _success_at_once(self, key: AttemptKey, seconds: float) -> tuple[str, tuple[Any, ...]]:
        now, flag = self._local_now(), _flag(installed=not key.reverts)
        # Two statements, not one with a CTE: the server takes twice as long to plan a statement inside another.
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
        """Return why a success could not be written, in words; empty where the reason is that the attempt's journal row is gone or changed."""
        still = f"SELECT 1 FROM {self._journal} WHERE attempt {self._is} ? AND state {self._is} ?"
        if not self._run(still, (key.attempt, key.running.value)):
            return ""
        return f"its record does not stay in {self._ledger}: a trigger of that table changes or drops it"

    def write_success(self, key: AttemptKey, *, seconds: float) -> bool:
        """Record the success in the transaction that the attempt's marker began.

        Return False when the journal row is gone or changed, or the record did not stay in the ledger.
        """
        self.write_record(key.name, installed=not key.reverts)
        return len(self._run(self._statements.finish, self._finish_values(key, seconds))) == 1

    def try_success(self, name: str, *, installed: bool) -> str:
        """Write an attempt and its success, which the caller rolls back; return why the record does not stay, empty where it stays.

        Raises:
            Exception: the database refuses a statement.
        """
        key = AttemptKey.now(name, run="", reverts=not installed)
        self.write_marker(key)
        if not self.write_success(key, seconds=0.0):
            return self.why_unfinished(key) or f"a trigger of {self._journal} changes or drops what is written into it"
        broken = self._execute(self._dialect.violations.format(self.names.ledger.replace("'", "''")), ())
        return f"{self._ledger} refers to a row of {broken[0][1]} that is not there" if broken else ""

    def write_failure(self, key: AttemptKey, *, error: str, seconds: float, commits: int = 0) -> None:
        """Write that an attempt failed, unless its success is recorded.

        Args:
            key: identifies the attempt.
            error: why it failed.
            seconds: how long it took.
            commits: how many commits its body made; used only where the attempt has no journal row, else the row's count stays.
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
            return  # the revert failed, so the migration is still installed
        # If this run has lost the lock, another run may have applied the migration since: a failure never changes an installed record.
        if not self._run(
            f"UPDATE {self._ledger} SET installed = 'F', last_update_dttm = ? WHERE name {self._is} ? "
            f"AND (installed IS NULL OR NOT {self._is_installed}) RETURNING name",
            (self._local_now(), key.name),
        ):
            self._run(
                f'INSERT INTO {self._ledger} ("name", "installed", "last_update_dttm") '
                f"SELECT ?, 'F', ? WHERE NOT EXISTS (SELECT 1 FROM {self._ledger} WHERE name {self._is} ?)",
                (key.name, self._local_now(), key.name),
            )

    def write_note(self, key: AttemptKey, state: AttemptState, note: str) -> None:
        """Write a journal row for something that is not an attempt: a mark, or the decision about an interrupted attempt."""
        self._run(
            f'INSERT INTO {self._journal} ("attempt", "run", "name", "state", "commits", "started", "finished", "host", "pid", '
            '"version", "fingerprint", "error") VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)',
            (
                key.attempt, key.run, key.name, state.value, self._store(key.started), self._now(), key.host, key.pid, key.version,
                key.fingerprint, note,
            ),
        )  # fmt: skip

    def write_record(self, name: str, *, installed: bool) -> None:
        """Write a ledger row: update, then insert if there was none. ON CONFLICT would need unique names, which a table made by hand may lack."""
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
        """Set an interrupted or failed attempt to resolved, if it is the newest one of its migration; return whether it was."""
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
        """Write down a pending task; its name is the name in the key, and one written before is replaced."""
        self.finish_task(key.name)
        self._run(
            f'INSERT INTO {self._journal} ("attempt", "run", "name", "state", "commits", "started", "host", "pid", "version") '
            "VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (key.attempt, key.run, key.name, _PENDING_TASK, self._store(key.started), key.host, key.pid, key.version),
        )

    def finish_task(self, task: str) -> None:
        """Delete a pending task."""
        self._run(f"DELETE FROM {self._journal} WHERE state {self._is} ? AND name {self._is} ?", (_PENDING_TASK, task))

    def write_facts(self, key: AttemptKey, *, digest: str, text: str) -> None:
        """Store the facts of the database, replacing those that were stored before.

        Args:
            key: tells the run and the time.
            digest: digest of the facts.
            text: the facts, as `stored_facts.packed` writes them.
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
        """Return the text that `write_facts` has stored; None where there is none."""
        rows = self._run(
            f"SELECT error FROM {self._journal} WHERE state {self._is} ? AND name {self._is} ? ORDER BY id DESC LIMIT 1",
            (_PENDING_TASK, _FACTS),
        )
        return (rows[0][0] or "") if rows else None

    # -- time -----------------------------------------------------------------------------------------------------------------

    # Times are sent as text, which the server converts to the column's type: psycopg2 would add `::timestamptz` to a datetime.

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
def _noting_fault(faults: list[str], what: str) -> Iterator[None]:
    """Add to `faults` which row cannot be read, and why, when the block raises."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        faults.append(f"{what}: {first_line(error)}")


def _moment(value: object) -> datetime | None:
    """Read a timestamp.

    Raises:
        ValueError: Python has no such time (`infinity`, a year BC, the year 20000).
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
