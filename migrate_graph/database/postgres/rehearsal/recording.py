"""The connection and the cursors of a migration whose statements are recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import psycopg2.extensions as pg

from migrate_graph.core.footprint import Held
from migrate_graph.database.postgres.rehearsal.recorder import Recorder
from migrate_graph.database.postgres.session.connection import INTRANS, WorkConnection
from migrate_graph.database.postgres.session.cursor import WorkCursor, rows_of
from migrate_graph.database.postgres.session.statements import ENDS, Kind, Statement, split
from migrate_graph.database.watching import Speaker, speaker

_FORGETS = re.compile(r"\b(?:DEALLOCATE|DISCARD)\b", re.IGNORECASE)

_OURS = "SELECT pg_catalog.substr(p.name, 15) FROM pg_catalog.pg_prepared_statements p WHERE pg_catalog.starts_with(p.name, 'migrate_graph_')"


class RecordingCursor(WorkCursor):
    """A cursor that has each statement recorded; several statements in one text are sent one by one."""

    connection: RecordedConnection

    def _speaker(self) -> Speaker | None:
        recorder = self.connection.recorder
        if recorder is None:
            return None
        who = speaker(recorder.root)
        if who is None and not self.connection.is_marking:
            recorder.overhear(self.connection)
        return who

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        who = self._speaker()
        if who is None or self.connection.being_greeted:
            super().execute(query, vars)
            return
        text = self.connection.text_of(query if vars is None else self.mogrify(query, vars))
        send = super().execute
        found = [Statement(text, Kind.PLAIN)] if self.name is not None else self.connection.parts_of(text)
        for each in found or [Statement(text, Kind.PLAIN)]:
            self.connection.hear(self, [each], who, send)

    def executemany(self, query: Any, vars_list: Any) -> None:
        who = self._speaker()
        if who is None:
            super().executemany(query, vars_list)
            return
        values = list(vars_list)
        found = self.connection.parts_of(self.connection.text_of(query))
        if len(found) != 1 or found[0].kind is not Kind.PLAIN:
            for each in values:
                self.execute(query, each)
            return
        texts = [self.connection.text_of(self.mogrify(query, each)) for each in values]
        send = super().executemany
        self.connection.hear(
            self, [Statement(text, Kind.PLAIN) for text in texts], who, lambda _text: send(query, values)
        )

    def callproc(self, procname: Any, *arguments: Any) -> Any:
        who = self._speaker()
        if who is None:
            return super().callproc(procname, *arguments)
        given = arguments[0] if arguments else ()
        values = (
            ", ".join(f"{name} := {self._literal(value)}" for name, value in given.items())
            if isinstance(given, dict)
            else ", ".join(map(self._literal, given or ()))
        )
        answers: list[Any] = []
        send = super().callproc
        self._hear(f"SELECT * FROM {procname}({values})", who, lambda: answers.append(send(procname, *arguments)))
        return answers[0]

    def _literal(self, value: Any) -> str:
        return self.connection.text_of(self.mogrify("%s", (value,)))

    def copy_expert(self, sql: Any, *arguments: Any, **options: Any) -> None:
        self._copy(self.connection.text_of(sql), partial(super().copy_expert, sql, *arguments, **options))

    def copy_from(self, file: Any, table: Any, *arguments: Any, **options: Any) -> None:
        self._copy(f"COPY {table} FROM STDIN", partial(super().copy_from, file, table, *arguments, **options))

    def copy_to(self, file: Any, table: Any, *arguments: Any, **options: Any) -> None:
        self._copy(f"COPY {table} TO STDOUT", partial(super().copy_to, file, table, *arguments, **options))

    def _copy(self, text: str, send: Callable[[], object]) -> None:
        who = self._speaker()
        if who is None:
            send()
        else:
            self._hear(text, who, send)

    def _hear(self, text: str, who: Speaker, send: Callable[[], object]) -> None:
        self.connection.hear(self, [Statement(text, Kind.PLAIN)], who, lambda _text: send())


class RecordedConnection(WorkConnection):
    """The driver connection of a migration that is recorded; its commits are real.

    Attributes:
        recorder: records what is sent; None while no migration uses the connection.
    """

    cursor_class = RecordingCursor

    def __init__(self, dsn: str) -> None:
        self.recorder: Recorder | None = None
        self._planned: set[str] = set()
        super().__init__(dsn)

    @property
    def is_marking(self) -> bool:
        """Whether the marker is being written now, which touches only the tool's tables."""
        return self._marking

    def parts_of(self, text: str) -> list[Statement]:
        """Return the statements to send one by one; empty in autocommit, where a text must stay one message: it is one transaction."""
        return [] if self.autocommit else split(text, backslashes=self.backslashes)

    def hear(self, cursor: pg.cursor, found: Sequence[Statement], who: Speaker, send: Callable[[str], object]) -> None:
        """Run a statement of the migration, and have it recorded.

        Args:
            cursor: the one that sends it.
            found: the statement; several where the driver sends one statement with several lists of values.
            who: the code that sends it.
            send: sends a text.
        """
        if self.recorder is None or not found:
            send("")
            return
        self.before_statement(found[0].kind)
        texts = [each.text for each in found]
        self.note_text(" ".join(texts))
        self.note_who()
        self.recorder.statement(
            self, texts, who.source, lambda: cursor.rowcount, partial(self._carry_out, self.recorder, found[0], send)
        )

    def _planned_there(self) -> set[str]:
        """Return the names of this package's prepared statements that still exist, without their prefix."""
        return {name for (name,) in self.ask(_OURS)}

    def _carry_out(self, recorder: Recorder, statement: Statement, send: Callable[[str], object]) -> Held:
        if statement.kind is Kind.COMMITS:
            recorder.before_end(self, own=True)
            recorder.next_transaction()
        elif statement.kind is Kind.ROLLS_BACK:
            recorder.before_rollback(self)
        send(statement.text)
        if statement.kind in ENDS:
            recorder.after_end()
        self.look_after(statement.text)
        return Held.RUN

    def look_after(self, text: str) -> None:
        """Find out, after a DEALLOCATE or DISCARD, which of this package's prepared statements still exist."""
        if self._planned and _FORGETS.search(text):
            self._planned = self._planned_there() if self.is_in_transaction else set()

    # -- see `recorder.Session` -----------------------------------------------------------------------------------------------

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run statements of this package, unrecorded; return the rows of the last one."""
        with pg.connection.cursor(self, cursor_factory=pg.cursor) as cursor:
            return rows_of(cursor, statement)

    def ask_again(self, name: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement of this package that is sent often; it is prepared the first time."""
        if name not in self._planned:
            self.ask(f"PREPARE migrate_graph_{name} AS {statement}")
            self._planned.add(name)
        return self.ask(f"EXECUTE migrate_graph_{name}")

    def forget_attempt(self) -> None:
        """Set all attributes as on a connection that no attempt has used."""
        super().forget_attempt()
        self._planned = set()  # the session was cleaned with DEALLOCATE ALL

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, and not aborted, so that queries can be sent."""
        return not self.closed and bool(self.info.transaction_status == INTRANS)

    # -- ends -------------------------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        if self.recorder is not None and self.is_in_transaction and not self.single:
            self.recorder.before_end(self, own=True)
            self.recorder.next_transaction()
        super().commit()
        if self.recorder is not None and not self.single:
            self.recorder.after_end()

    def rollback(self) -> None:
        if self.recorder is not None:
            self.recorder.before_rollback(self)
        super().rollback()
        if self.recorder is not None and not self.single:
            self.recorder.after_end()
