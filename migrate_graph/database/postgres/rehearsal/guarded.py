"""The driver connection of a rehearsal in one transaction: a commit only sets a savepoint, and the server refuses every other commit."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import psycopg2
import psycopg2.extensions as pg
from psycopg2 import errors as pg_errors

from migrate_graph.core.footprint import Held
from migrate_graph.core.model import TransactionMode
from migrate_graph.database.driver_errors import AttemptFailed
from migrate_graph.database.postgres.rehearsal.recorder import Recorder
from migrate_graph.database.postgres.rehearsal.recording import RecordedConnection
from migrate_graph.database.postgres.session.connection import IDLE, INERROR, INTRANS
from migrate_graph.database.postgres.session.statements import (
    Kind,
    Statement,
    acts_outside,
    first_words,
    split,
    without_concurrently,
)
from migrate_graph.database.watching import Speaker
from migrate_graph.errors import DatabaseRefused
from migrate_graph.quoting import quote_literal

_STEP, _PART = "migrate_graph_step", "migrate_graph_part"

ESCAPED: Final = "MG001"
"""SQLSTATE of the error that the guard's trigger raises when a commit is tried."""

_NEVER_IN_TRANSACTION = (
    ("VACUUM",), ("ALTER", "SYSTEM"), ("CREATE", "DATABASE"), ("DROP", "DATABASE"), ("CREATE", "TABLESPACE"), ("DROP", "TABLESPACE"),
    ("CREATE", "SUBSCRIPTION"), ("ALTER", "SUBSCRIPTION"), ("DROP", "SUBSCRIPTION"), ("REINDEX", "DATABASE"), ("REINDEX", "SYSTEM"),
    ("REINDEX", "SCHEMA"),
)  # fmt: skip

_AS_NEW = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; UNLISTEN *; CLOSE ALL; SELECT pg_catalog.pg_advisory_unlock_all()"

_LEFT_BEHIND = (
    "SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, "
    "pg_catalog.concat('pg_temp.', pg_catalog.quote_ident(c.relname)) FROM pg_catalog.pg_class c "
    "WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() AND c.relkind OPERATOR(pg_catalog.=) "
    "ANY (CAST(ARRAY['r', 'p', 'v', 'S'] AS pg_catalog.\"char\"[])) AND c.relname OPERATOR(pg_catalog.<>) '{guard}' "
    "UNION ALL SELECT '', pg_catalog.quote_ident(p.name) FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql"
)

_DEFERRABLE = (
    "SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, c.conname), ', '), "
    "pg_catalog.string_agg(CASE WHEN c.condeferred THEN pg_catalog.format('%I.%I', n.nspname, c.conname) END, ', ') "
    "FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.connamespace "
    "WHERE c.condeferrable AND c.conname OPERATOR(pg_catalog.<>) '{guard}'"
)

_ONLY_THIS = "SET TRANSACTION READ WRITE"
"""The first statement in each transaction of the rehearsal; all other transactions of the session are read-only."""

_GONE = (pg_errors.InvalidSavepointSpecification, pg_errors.NoActiveSqlTransaction)

HOW_ELSE = "migrate plan --rehearse --on scratch runs it with real commits, in a database made for it"


class GuardedConnection(RecordedConnection):
    """A connection on which a commit only sets a savepoint, as long as it is guarded.

    Three things protect the database from a commit that does not go through the methods of this class: a row in a temporary table with a
    deferred constraint trigger, which makes every real commit fail; all transactions of the session but the rehearsal's own are
    read-only; and their search_path is empty, so nothing can be created there without a schema.

    Attributes:
        has_ended: the transaction of the rehearsal was ended by a statement that did not go through the methods of this class.
        bound: a migration has written what all databases of the server share, so nothing is committed any more.
    """

    def __init__(self, dsn: str) -> None:
        self._guard = f"migrate_graph_guard_{secrets.token_hex(4)}"
        self._keeps = False
        self._is_guarded = False
        self._in_step = False
        self._is_uncommitted = False  # the body has sent something since its beginning, or since its last commit
        self._sends_each_alone = False
        self.has_ended = False
        self.bound = False
        super().__init__(dsn)

    # -- the transaction ------------------------------------------------------------------------------------------------------

    def guard(self, *, keeps: bool, pooled: bool) -> None:
        """Open the transaction of the rehearsal, which nothing else can commit.

        Args:
            keeps: the work of each migration is committed, unless it writes what all databases of the server share.
            pooled: a pooler gives the session to other clients later, so settings are made for the transaction only.

        Raises:
            DatabaseRefused: the server is read-only, or the role may not create the guard.
        """
        self._keeps = keeps
        if not pooled:
            self.ask("SET default_transaction_read_only = on; SET search_path = ''")
        self.autocommit = False
        self._is_guarded = True
        try:
            self.ask(
                f"{_ONLY_THIS}; CREATE TEMPORARY TABLE {self._guard} (armed integer); "
                f"CREATE FUNCTION pg_temp.{self._guard}() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN "
                f"IF pg_catalog.current_setting('migrate_graph.{self._guard}', true) = 'open' THEN RETURN NULL; END IF; "
                f"RAISE EXCEPTION 'a rehearsal is never committed' USING ERRCODE = '{ESCAPED}'; END $guard$; "
                f"CREATE CONSTRAINT TRIGGER {self._guard} AFTER INSERT ON pg_temp.{self._guard} DEFERRABLE INITIALLY DEFERRED "
                f"FOR EACH ROW EXECUTE FUNCTION pg_temp.{self._guard}(); {self._arming}"
            )
        except pg_errors.ReadOnlySqlTransaction as error:
            raise DatabaseRefused(
                "the server is read-only (a standby?), and a rehearsal writes", hint=HOW_ELSE
            ) from error
        except pg_errors.FeatureNotSupported as error:  # SET TRANSACTION READ WRITE during recovery
            raise DatabaseRefused("the server is a standby, and a rehearsal writes", hint=HOW_ELSE) from error
        except pg_errors.InsufficientPrivilege as error:
            raise DatabaseRefused(
                f"the role may not make what guards a rehearsal: {str(error).splitlines()[0]}",
                hint="GRANT TEMPORARY ON DATABASE … TO the role, or rehearse --on scratch",
            ) from error
        if keeps:
            self._really_end()

    @property
    def _arming(self) -> str:
        return f"SET LOCAL migrate_graph.{self._guard} = 'shut'; INSERT INTO pg_temp.{self._guard} VALUES (1)"

    def _really_end(self, first: str = "") -> None:
        """Commit, and begin the next transaction.

        Args:
            first: statements to send before the COMMIT; empty, or ending with `; `.

        Raises:
            Error: a deferred constraint is violated; everything since the last commit is rolled back.
        """
        try:
            # The driver does not notice that one transaction ends and another one begins. They are two messages, so that the server
            # resets its counters in between.
            self.ask(f"{first}SET LOCAL migrate_graph.{self._guard} = 'open'; COMMIT")
            self.ask(f"BEGIN; {self._beginning}")
        except _GONE:
            raise
        except psycopg2.Error:
            pg.connection.rollback(self)
            self.ask(self._beginning)
            self._tell_of_end()
            raise
        self._tell_of_end()

    @property
    def _beginning(self) -> str:
        return f"{_ONLY_THIS}; {self._arming}{f'; {self._savepoints}' if self._in_step else ''}"

    def _tell_of_end(self) -> None:
        if self.recorder is not None:
            self.recorder.after_end()

    def _settle(self) -> None:
        """Check deferred constraints, as a commit does, and set every constraint back to its declaration."""
        ((names, deferred),) = self.ask(_DEFERRABLE.format(guard=self._guard))
        if names:
            self.ask(f"SET CONSTRAINTS {names} IMMEDIATE")
        if deferred:
            self.ask(f"SET CONSTRAINTS {deferred} DEFERRED")

    @contextlib.contextmanager
    def _or_ended(self) -> Iterator[None]:
        """Notice in the block that the transaction of the rehearsal has ended.

        Raises:
            AttemptFailed: it has.
        """
        try:
            yield
        except _GONE:
            self.has_ended = True
            raise ended_past_us() from None

    # -- a migration --------------------------------------------------------------------------------------------------------------

    def renew(self, settings: Sequence[tuple[str, str]]) -> None:
        """Clean the session, as far as a transaction allows, and apply the settings of a migration's session."""
        with self._or_ended():
            if self.info.transaction_status != INTRANS:
                raise pg_errors.NoActiveSqlTransaction
            chosen = ", ".join(
                f"pg_catalog.set_config({quote_literal(name)}, {quote_literal(value)}, false)"
                for name, value in settings
            )
            left = self.ask(f"{_AS_NEW}; SELECT {chosen}; {_LEFT_BEHIND.format(guard=self._guard)}")
            self._planned = {name.removeprefix("migrate_graph_") for kind, name in left if not kind}
            gone = [
                f"DROP {kind} IF EXISTS {name} CASCADE" if kind else f"DEALLOCATE {name}"
                for kind, name in left
                if kind or not name.startswith("migrate_graph_")
            ]
            if gone:
                self.ask("; ".join(gone))

    def begin_step(self, mode: TransactionMode) -> None:
        """Begin a migration."""
        self._in_step, self.single = True, mode is TransactionMode.SINGLE
        self._sends_each_alone = mode is TransactionMode.NONE
        self._is_uncommitted = self.single
        self.lost_work = ""
        self.ask(self._savepoints)

    @property
    def _savepoints(self) -> str:
        return f"SAVEPOINT {_STEP}" + (f"; SAVEPOINT {_PART}" if self.single else "")

    def end_step(self) -> None:
        """Keep what the migration did.

        Raises:
            AttemptFailed: the transaction is over.
        """
        with self._or_ended():
            self._end(own=False, goes_on=False)
            self._in_step = False

    def _end(self, *, own: bool, goes_on: bool) -> None:
        """End a transaction of the migration: with a real commit where that is allowed, otherwise by releasing the savepoint."""
        if self.recorder is not None:
            self.recorder.before_end(self, own=own)
        self.bound = self.bound or (self.recorder is not None and self.recorder.writes_shared)
        if self._keeps and not self.bound:
            self._in_step = goes_on
            self._really_end(f"RELEASE SAVEPOINT {_STEP}; ")
        else:
            self._settle()
            self.ask(f"RELEASE SAVEPOINT {_STEP}{f'; {self._savepoints}' if goes_on else ''}")

    def abandon_step(self) -> None:
        """Undo what the migration did since its last own commit."""
        if not self._in_step or self.closed:
            return
        self._in_step = False
        try:
            if self.info.transaction_status == IDLE:
                raise pg_errors.NoActiveSqlTransaction
            self.ask(f"ROLLBACK TO SAVEPOINT {_STEP}; RELEASE SAVEPOINT {_STEP}")
        except _GONE:
            self.has_ended = True

    # -- what the body sends ------------------------------------------------------------------------------------------------------

    def parts_of(self, text: str) -> list[Statement]:
        """Return the statements of a text, which are sent one by one."""
        return split(text, backslashes=self.backslashes)

    def hear(self, cursor: pg.cursor, found: Sequence[Statement], who: Speaker, send: Callable[[str], object]) -> None:
        """Run a statement and have it recorded; where each statement is a transaction of its own, end that."""
        super().hear(cursor, found, who, send)
        if self._sends_each_alone and self._in_step and self.info.transaction_status == INTRANS:
            self._commit(own=False)

    def _carry_out(self, recorder: Recorder, statement: Statement, send: Callable[[str], object]) -> Held:
        if self.info.transaction_status == IDLE:
            self.has_ended = True
            raise ended_past_us()
        self._refuse(statement.kind)
        if statement.kind is Kind.COMMITS:
            self.commit()
        elif statement.kind is Kind.ROLLS_BACK:
            self.rollback()
        if statement.kind is not Kind.PLAIN:
            return Held.HELD_BACK
        words = first_words(statement.text)
        refused = next((each for each in _NEVER_IN_TRANSACTION if tuple(words[: len(each)]) == each), None)
        if refused:
            recorder.not_rehearsed(f"{' '.join(refused)} cannot be part of a transaction, so it was not run")
            return Held.SKIPPED
        if acts_outside(statement.text):
            recorder.not_rehearsed("COPY to a file or a program of the server was not run")
            return Held.OUTSIDE
        return self._send(statement.text, words, send)

    def _send(self, text: str, words: Sequence[str], send: Callable[[str], object]) -> Held:
        plain = without_concurrently(text)
        switch = words[:2] == ["SET", "CONSTRAINTS"]
        if switch:
            self.ask(f"SET LOCAL migrate_graph.{self._guard} = 'open'")
        self._is_uncommitted = True
        try:
            send(plain)
            self.look_after(plain)
        except psycopg2.Error:
            if self._sends_each_alone and self.info.transaction_status == INERROR:
                self.rollback()
            raise
        if switch:
            self.ask(f"SET CONSTRAINTS pg_temp.{self._guard} DEFERRED; {self._arming}")
        return Held.RUN if plain == text else Held.CHANGED

    # -- the ends of a transaction, as the body knows them ----------------------------------------------------------------------------

    def commit(self) -> None:
        """Set a savepoint, and really commit where that is allowed."""
        self._commit(own=True)

    def _commit(self, *, own: bool) -> None:
        if not self._in_step:
            return
        status = self.info.transaction_status
        if status == INERROR:
            self.rollback()
            self.lost_work = "an SQL error had aborted the transaction that it committed"
            raise pg_errors.InFailedSqlTransaction(
                "current transaction is aborted: everything since the last commit is rolled back, and there is nothing to commit"
            )
        with self._or_ended():
            if status == IDLE:
                raise pg_errors.NoActiveSqlTransaction
            if self.single:
                self.ask(f"RELEASE SAVEPOINT {_PART}; SAVEPOINT {_PART}")
                return
            self._end(own=own, goes_on=True)
            self._is_uncommitted = False
            if self.recorder is not None:
                self.recorder.next_transaction()

    def rollback(self) -> None:
        """Go back to the last savepoint."""
        if not self._in_step or self.closed:
            return
        if self.recorder is not None:
            self.recorder.before_rollback(self)
        with self._or_ended():
            if self.info.transaction_status == IDLE:
                raise pg_errors.NoActiveSqlTransaction
            self.ask(f"ROLLBACK TO SAVEPOINT {_PART if self.single else _STEP}")
            self._is_uncommitted = self.single

    def close(self) -> None:
        """Act as if the connection was closed: roll back what the body has not committed. The session stays open for its next use."""
        if not self._is_guarded:
            super().close()
            return
        if self._in_step and self._is_uncommitted and not self.closed:
            self.lost_work = self.lost_work or "its connection was closed with uncommitted work"
            self.rollback()

    def really_close(self) -> None:
        """End the session; the server rolls back."""
        self._is_guarded = self._in_step = False
        with contextlib.suppress(psycopg2.Error):
            pg.connection.close(self)

    def reset(self) -> None:
        """Go back to the last savepoint."""
        self.rollback()

    @property
    def autocommit(self) -> Any:
        """Whether each statement is a transaction of its own, as the body sees it."""
        return self._sends_each_alone if self._is_guarded else pg.connection.autocommit.__get__(self)  # type: ignore[attr-defined] # a property of C

    @autocommit.setter
    def autocommit(self, value: Any) -> None:
        if self._is_guarded:
            self._sends_each_alone = bool(value)
        else:
            pg.connection.autocommit.__set__(self, value)  # type: ignore[attr-defined] # as above

    def set_session(self, *arguments: Any, **options: Any) -> None:
        """Switch to autocommit if that is asked for; other options cannot be set inside of a transaction, which is recorded."""
        if not self._is_guarded:
            super().set_session(*arguments, **options)
            return
        if options.pop("autocommit", None) is not None:
            self.autocommit = True
        if arguments or options:
            self._not_obeyed("set_session()", "all of a rehearsal is one transaction")

    def set_isolation_level(self, level: int | None) -> None:
        """Roll back and switch autocommit on or off, as the level says; other levels are not obeyed, which is recorded."""
        self.rollback()
        self.autocommit = level == pg.ISOLATION_LEVEL_AUTOCOMMIT
        if level not in {pg.ISOLATION_LEVEL_AUTOCOMMIT, pg.ISOLATION_LEVEL_READ_COMMITTED, None}:
            self._not_obeyed("set_isolation_level()", "all of a rehearsal is one transaction")

    def set_client_encoding(self, encoding: str) -> None:
        """Leave the encoding as it is: the driver would roll back to change it."""
        self._not_obeyed(f"set_client_encoding({encoding!r})", "the driver would roll back to change it")

    def _not_obeyed(self, call: str, why: str) -> None:
        if self.recorder is not None:
            self.recorder.not_rehearsed(f"{call} was not obeyed: {why}")


def ended_past_us() -> AttemptFailed:
    """Return the error of a migration that has ended the transaction of the rehearsal."""
    return AttemptFailed(
        "it ended the transaction of the rehearsal past us (with a cursor made by hand, perhaps); nothing of it was kept",
        hint=HOW_ELSE,
    )
