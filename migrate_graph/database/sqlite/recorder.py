"""Records the statements that a migration sends to an SQLite database, and what each reads and writes, by SQLite's authorizer."""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.footprint import Footprint, OutsideAct, Rewrite, Size, Statement, Wrote
from migrate_graph.core.model import TransactionMode
from migrate_graph.core.traces import owner_of
from migrate_graph.database.sqlite.facts import NAME, Facts, Rename, renames_in, spelled, table_of
from migrate_graph.database.sqlite.statements import without_values
from migrate_graph.database.sqlite.work import WorkConnection, WorkCursor, keyword
from migrate_graph.database.watching import Difference, Speaker, speaker
from migrate_graph.messages import first_line
from migrate_graph.quoting import unquoted
from migrate_graph.redaction import redact

_WRITING: Final = {
    sqlite3.SQLITE_INSERT: "inserted",
    sqlite3.SQLITE_UPDATE: "updated",
    sqlite3.SQLITE_DELETE: "deleted",
}
_SCHEMA_TABLES: Final = frozenset({"sqlite_master", "sqlite_temp_master", "sqlite_schema", "sqlite_temp_schema"})
_WIDTHS: Final = (
    "SELECT m.name, count(*) FROM sqlite_master m, pragma_table_xinfo(m.name) WHERE m.type = 'table' GROUP BY 1"
)
_IN_VIEW: Final = "error in view "
_VALUE: Final = re.compile(r"[?:@$]")


class Notes(Struct):
    """What the authorizer was asked while one statement was prepared.

    Attributes:
        uses: columns that are read or written; `t.*` for rows that are inserted, deleted or only counted.
        direct: what the statement itself writes: table and kind of change.
        indirect: what triggers and foreign keys write because of it: table and kind of change.
        reads: columns that are read or updated.
        updates: columns that are updated; `t.*` where rows are deleted.
        fills: tables that rows are inserted into, each with whether the statement itself does it (else a trigger).
        makes: names of the objects that it creates.
        anew: tables that are created or dropped, so that the same name may have other rows afterwards.
        sql: the statement with its values, as SQLite traces it.
    """

    uses: dict[str, None] = field(default_factory=dict)
    direct: dict[tuple[str, str], None] = field(default_factory=dict)
    indirect: dict[tuple[str, str], None] = field(default_factory=dict)
    reads: dict[str, None] = field(default_factory=dict)
    updates: dict[str, None] = field(default_factory=dict)
    fills: dict[tuple[str, bool], None] = field(default_factory=dict)
    makes: dict[str, None] = field(default_factory=dict)
    anew: dict[str, None] = field(default_factory=dict)
    sql: str = ""

    def take(self, action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> None:
        """Note one question to the authorizer; the arguments are SQLite's."""
        table = first or ""
        if database == "temp" or table in _SCHEMA_TABLES or table.startswith("sqlite_"):
            return
        if action in {sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE}:
            self.uses[f"{spelled(table)}.{spelled(second) if second else '*'}"] = None
        elif action in {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_DELETE}:
            self.uses[f"{spelled(table)}.*"] = None
        self._take_closely(action, spelled(table), second, is_own=not inner)
        if action in _WRITING:
            (self.indirect if inner else self.direct)[spelled(table), _WRITING[action]] = None

    def _take_closely(self, action: int, table: str, column: str | None, *, is_own: bool) -> None:
        name = f"{table}.{spelled(column) if column else '*'}"
        if action in {sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE}:
            self.reads[name] = None
        if action in {sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}:
            self.updates[name] = None
        elif action == sqlite3.SQLITE_INSERT:
            self.fills[table, is_own] = None
        elif action in _MAKING:
            self.makes[table] = None
        if action in _ANEW:
            self.anew[table] = None

    def by_other_means(self) -> set[tuple[str, str]]:
        """Return what is written as a consequence of the statement: by triggers, and in tables that refer to the statement's table."""
        own = next(iter(self.direct), None)
        return {*self.indirect, *(each for each in self.direct if own and each[0] != own[0])}

    def closely(self) -> tuple[set[str], set[str], set[str]]:
        """Return the columns that a statement uses, the columns that it writes, and the tables that it inserts rows into."""
        word = keyword(self.sql)
        if word in _BUILDS and not _TABLE_OF_ROWS.match(self.sql):
            return set(), set(), set()
        uses, writes = {*self.reads}, {*self.updates}
        for table, is_own in self.fills:
            if is_own:
                columns = _INSERTED.match(self.sql)
                uses |= {f"{table}.{each}" for each in (_columns(columns["columns"]) if columns else ("*",))}
            if _REPLACES.match(self.sql):
                writes.add(f"{table}.*")
        return uses, writes, {table for table, _ in self.fills}


_BEFORE: Final = r"\s*(?:WITH\b.*?)?(?:REPLACE|INSERT(?:\s+OR\s+\w+)?)\s+INTO\s+"
_INSERTED: Final = re.compile(
    rf"{_BEFORE}{NAME}(?:\s*\.\s*{NAME})?(?:\s+AS\s+{NAME})?\s*\((?P<columns>[^()]*)\)\s*(?:VALUES|SELECT|WITH|DEFAULT)\b",
    re.IGNORECASE | re.DOTALL,
)
_REPLACES: Final = re.compile(r"\s*(?:WITH\b.*?)?(?:REPLACE|INSERT\s+OR\s+REPLACE)\s+INTO\b", re.IGNORECASE | re.DOTALL)
_TABLE_OF_ROWS: Final = re.compile(r"\s*CREATE\s+(?:TEMP\w*\s+)?TABLE\b", re.IGNORECASE)
_BUILDS: Final = frozenset({"CREATE", "ALTER", "DROP", "REINDEX", "ANALYZE", "VACUUM", "PRAGMA", "ATTACH", "DETACH"})
_MAKING: Final = frozenset({
    sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_TRIGGER,
})  # fmt: skip
_ANEW: Final = frozenset({sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE})


def _columns(text: str) -> list[str]:
    """Return the names in a list of columns, as SQL writes them."""
    return [spelled(unquoted(each)) for each in re.findall(NAME, text)]


class Recorder:
    """Watches one migration after another.

    Args:
        root: directory that places are shown relative to.
        values: statements are shown with their values.
        secrets: texts that no output may contain.
        own: names of the tool's own tables.

    Attributes:
        own_commits: how many commits the migration has made.
        uses: columns that it used.
        writes: columns that it wrote; `t.*` for all.
        inserts: tables that it inserted rows into.
        makes: names of the objects that it created.
        written: tables that it wrote to, directly or indirectly, also if that was rolled back.
        renames: the columns that it renamed, in order.
        anew: tables that it created or dropped.
        goes_back: it rolled back a part of a transaction, so that some of the counted rows do not exist.
    """

    def __init__(self, *, root: Path, values: bool, secrets: Sequence[str], own: Sequence[str]) -> None:
        self.root = root
        self._values = values
        self._secrets = secrets
        self._own = frozenset(map(spelled, own))
        self.begin()

    def begin(self) -> None:
        """Begin to watch a migration: forget the one before."""
        self._statements: list[Statement] = []
        self._transaction = 0
        self.own_commits = 0
        self.uses: set[str] = set()
        self.writes: set[str] = set()
        self.inserts: set[str] = set()
        self.makes: set[str] = set()
        self.written: set[str] = set()
        self.renames: list[Rename] = []
        self.anew: set[str] = set()
        self.goes_back = False
        self._kept: dict[str, Wrote] = {}
        self._open: dict[str, Wrote] = {}

    def footprint(
        self, difference: Difference, sizes: dict[str, Size], outside: Sequence[OutsideAct], views: Sequence[str]
    ) -> Footprint:
        """Return the footprint of the migration.

        Args:
            difference: how the facts differ after it.
            sizes: sizes of the tables before the first migration.
            outside: what it did outside its database.
            views: names of all views before it.
        """
        uses = frozenset(use for statement in self._statements for use in statement.uses)
        touched = {table_of(fact) for fact in {*difference.removed, *difference.changed, *difference.added}}
        names = sorted(name for name in sizes if name in touched or any(use.startswith(f"{name}.") for use in uses))
        return Footprint(
            statements=tuple(
                replace(each, blockers=each.blockers or _blockers(each.error, views)) for each in self._statements
            ),
            added=difference.added,
            changed=difference.changed,
            removed=difference.removed,
            renamed=difference.renamed,
            called=difference.called,
            uses=uses,
            wrote={name: self._kept[name] for name in sorted(self._kept)},
            sizes={name: sizes[name] for name in names},
            own_commits=self.own_commits,
            outside=tuple(outside),
        )

    def recount(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Correct the counts by the real numbers of rows: SQLite reports too little about cascades, REPLACE and triggers.

        Args:
            before: numbers of rows of the tables before the migration.
            after: numbers of rows of the tables that it wrote to.
        """
        for name in self.written & before.keys() & after.keys():
            kept = self._kept.get(name, Wrote())
            more = after[name] - before[name] - (kept.inserted - kept.deleted)
            if more and self.goes_back:
                undone = min(kept.inserted, -more) if more < 0 else -min(kept.deleted, more)
                kept = replace(kept, inserted=kept.inserted - max(undone, 0), deleted=kept.deleted - max(-undone, 0))
                more += undone
            kept = _sum(kept, Wrote(inserted=max(more, 0), deleted=max(-more, 0)))
            if kept != Wrote():
                self._kept[name] = kept
            else:
                self._kept.pop(name, None)

    def note_end(self, *, keeps: bool, own: bool = True) -> None:
        """Note that a transaction has ended.

        Args:
            keeps: it was committed, not rolled back.
            own: the migration itself ended it.
        """
        if keeps:
            for name, wrote in self._open.items():
                self._kept[name] = _sum(self._kept.get(name, Wrote()), wrote)
        self._open = {}
        if own:
            self._transaction += 1
            self.own_commits += keeps

    def statement(
        self, connection: RecordedConnection, cursor: sqlite3.Cursor, who: Speaker, send: Callable[[], Any]
    ) -> Any:
        """Send a statement of the migration, and note what it does.

        Args:
            connection: the connection that sends it.
            cursor: the cursor that sends it.
            who: the code that sends it.
            send: sends it; the text of the statement is known from SQLite's trace.
        """
        notes = connection.notes = Notes()
        changes, started = connection.changes, time.perf_counter()
        found = Statement("", who.source, transaction=self._transaction)
        try:
            answer = send()
            found = replace(found, rows=cursor.rowcount if cursor.rowcount >= 0 else None)
        except BaseException as error:
            name = getattr(error, "sqlite_errorname", "")
            unmanaged = connection.weaver.unmanaged_by(error) if connection.weaver is not None else ()
            found = replace(found, error=redact(first_line(error), *self._secrets), error_code=name, blockers=unmanaged)
            raise
        else:
            return answer
        finally:
            connection.notes = None
            self._add(replace(found, seconds=time.perf_counter() - started), notes)
            self._count(notes, found.rows or 0, connection.changes - changes)

    def overheard(self, sql: str, notes: Notes, who: Speaker) -> None:
        """Note a statement that came through a cursor made by hand."""
        self._add(Statement("", who.source, transaction=self._transaction), replace(notes, sql=sql))

    def blocked_by(self, views: Sequence[str]) -> None:
        """Note the views without a manager that the migration has broken, as blockers of its last statement."""
        if views and self._statements:
            self._statements[-1] = replace(self._statements[-1], blockers=tuple(views))

    def rewritten(self, tables: Sequence[str], sizes: dict[str, Size]) -> None:
        """Note that the last statement has rewritten whole tables."""
        rewrites = tuple(
            Rewrite(name, sizes[name].bytes, sizes[name].rows) if name in sizes else Rewrite(name)
            for name in tables
            if name not in self._own
        )
        self._statements[-1] = replace(self._statements[-1], rewrites=rewrites)

    def _add(self, found: Statement, notes: Notes) -> None:
        sql = notes.sql.strip().removesuffix(";").rstrip()
        for known, found_now in zip((self.uses, self.writes, self.inserts), notes.closely(), strict=True):
            known |= {each for each in found_now if owner_of(each) not in self._own}
        self.makes |= {*notes.makes}
        self.anew |= {*notes.anew}
        self.written |= {table for table, _ in (*notes.direct, *notes.indirect)} - self._own
        if not found.error:
            self.renames += renames_in(sql)
        told = redact(sql if self._values else without_values(sql), *self._secrets)
        self._statements.append(replace(found, sql=told, uses=tuple(sorted(notes.uses))))

    def _count(self, notes: Notes, rows: int, changes: int) -> None:
        """Count the written rows where it is clear in which table: SQLite counts rows of all tables together. `recount` corrects the rest."""
        if not changes:
            return
        direct = min(rows, changes)
        if notes.direct and direct:
            self._count_one(next(iter(notes.direct)), direct)
        others = notes.by_other_means()
        if (
            len(others) == 1
            and changes > direct
            and (others == {*notes.indirect} or next(iter(others))[1] == "updated")
        ):
            self._count_one(next(iter(others)), changes - direct)

    def _count_one(self, written: tuple[str, str], rows: int) -> None:
        table, kind = written
        if table not in self._own:
            self._open[table] = _sum(self._open.get(table, Wrote()), Wrote(**{kind: rows}))


def _sum(one: Wrote, other: Wrote) -> Wrote:
    return Wrote(one.inserted + other.inserted, one.updated + other.updated, one.deleted + other.deleted)


def _blockers(error: str, views: Sequence[str]) -> tuple[str, ...]:
    """Return the view that an error message of SQLite names; these messages are always in English."""
    if not error.startswith(_IN_VIEW):
        return ()
    rest = error.removeprefix(_IN_VIEW)
    named = [view for view in views if rest.startswith((f"{view}:", f"{view} "))]
    return (spelled(max(named, key=len)),) if named else ()


class RecordedCursor(WorkCursor):
    """A cursor of a watched migration."""

    connection: RecordedConnection

    def execute(self, sql: str, parameters: Any = (), /) -> RecordedCursor:
        """Run a statement, and record it."""
        self._heard(sql, lambda: super(RecordedCursor, self).execute(sql, parameters))
        return self

    def executemany(self, sql: str, parameters: Any, /) -> RecordedCursor:
        """Run a statement with each of several values, and record it once."""
        self._heard(sql, lambda: super(RecordedCursor, self).executemany(sql, parameters))
        return self

    def run_alone(self, statement: str) -> None:
        """See `WorkCursor`."""
        self._heard(statement, lambda: super(RecordedCursor, self).run_alone(statement))

    def _heard(self, sql: str, send: Callable[[], Any]) -> None:
        connection = self.connection
        recorder = connection.recorder
        who = speaker(recorder.root, sys._getframe(1)) if recorder and connection.notes is None else None  # noqa: SLF001 - who asks
        if recorder is None or who is None or not keyword(sql):  # without a keyword it is only a comment
            send()
        else:
            connection.hear(recorder, self, who, sql, send)


class RecordedConnection(WorkConnection):
    """The driver connection of a watched migration.

    Attributes:
        recorder: records the statements; None while no body runs.
        notes: the authorizer's questions about the statement that is being sent.
        sizes: sizes of the tables before the first migration.
    """

    cursor_class = RecordedCursor

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.recorder: Recorder | None = None
        self.notes: Notes | None = None
        self.sizes: dict[str, Size] = {}
        self._sent = ""
        self._refused: RuntimeError | None = None
        self._by_hand = Notes()
        self._our_changes = 0
        super().__init__(*arguments, **options)
        self.set_trace_callback(self._traced)

    @property
    def changes(self) -> int:
        """How many rows the migration has changed, directly or by triggers."""
        return self.total_changes - self._our_changes

    def hear(self, recorder: Recorder, cursor: sqlite3.Cursor, who: Speaker, sql: str, send: Callable[[], Any]) -> None:
        """Send a statement, and record it.

        Args:
            recorder: records it.
            cursor: the cursor that sends it.
            who: the code that sends it.
            sql: its text, used where SQLite refuses the statement before it runs, and so does not trace it.
            send: sends it.
        """
        word = keyword(sql)
        before = self._widths() if word == "ALTER" else {}
        was_open = self.in_transaction

        def sent() -> Any:
            assert self.notes is not None  # noqa: S101 - the recorder has made them
            self.notes.sql, self._sent, self._refused = "", sql, None
            try:
                return send()
            except sqlite3.Error:
                if self._refused is not None:  # SQLite's own error only says "not authorized"
                    raise self._refused from None
                raise
            finally:
                self.notes.sql = self.notes.sql or sql

        recorder.statement(self, cursor, who, sent)
        if word == "VACUUM":
            recorder.rewritten(sorted(self.sizes), self.sizes)
        elif before:
            after = self._widths()
            recorder.rewritten(
                [spelled(name) for name, width in before.items() if after.get(name, width) < width], self.sizes
            )
        if was_open and not self.in_transaction:
            recorder.note_end(keeps=word in {"COMMIT", "END"})
        elif word == "ROLLBACK":
            recorder.goes_back = True

    def _widths(self) -> dict[str, int]:
        """Return how many columns each table has."""
        with self.unheard(), self.ours():
            rows = sqlite3.Connection.cursor(self, sqlite3.Cursor).execute(_WIDTHS)
            return dict(rows.fetchall())

    def before_statement(self, sql: str) -> None:
        """Open the transaction if needed, without recording the statements that are sent for that."""
        notes, self.notes = self.notes, None
        before = self.total_changes
        try:
            super().before_statement(sql)
        finally:
            self.notes = notes
            self._our_changes += self.total_changes - before

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Record no statement inside the block: the tool sends them, because views step aside."""
        (notes, self.notes), (recorder, self.recorder) = (self.notes, None), (self.recorder, None)
        before = self.total_changes
        try:
            yield
        finally:
            self.notes, self.recorder = notes, recorder
            self._our_changes += self.total_changes - before

    def judge(self, action: int, *names: str | None) -> int:
        """Answer SQLite's authorizer question, and note the question."""
        answer = super().judge(action, *names)
        if self.recorder is not None and answer == sqlite3.SQLITE_OK:
            if action == sqlite3.SQLITE_ATTACH and not self._may_attach(names[0]):
                return sqlite3.SQLITE_DENY
            first, second, database, inner = (*names, None, None, None, None)[:4]
            notes = self.notes or (None if self.is_ours else self._by_hand)
            if notes is not None:
                notes.take(action, first, second, database, inner)
        return answer

    def _may_attach(self, file: str | None) -> bool:
        """Return whether `OutsideWatch` permits to attach a file; it is asked here, since SQLite opens the file in C without an audit event."""
        try:
            sys.audit("sqlite3.connect", file or "")
        except RuntimeError as error:
            self._refused = error
            return False
        return True

    def _traced(self, sql: str) -> None:
        """Note the text of a statement with its values; a statement that was not sent through `RecordedCursor` is recorded here."""
        if self.recorder is None or sql.startswith("--"):  # a statement of a trigger
            return
        if self.notes is not None:
            if not self.notes.sql and _begin_alike(sql, self._sent):
                self.notes.sql = sql
            return
        notes, self._by_hand = self._by_hand, Notes()
        who = None if self.is_ours else speaker(self.recorder.root)
        if who is not None:
            self.recorder.overheard(sql, notes, who)

    def commit(self) -> None:
        """Commit, and record that."""
        self._note_end(super().commit, keeps=True)

    def rollback(self) -> None:
        """Roll back, and record that."""
        self._note_end(super().rollback, keeps=False)

    def _note_end(self, end: Callable[[], None], *, keeps: bool) -> None:
        was_open = self.in_transaction
        end()
        if self.recorder is None or not was_open:
            return
        if self.mode is not TransactionMode.SINGLE:
            self.recorder.note_end(keeps=keeps)
        elif not keeps:
            self.recorder.goes_back = True


def _begin_alike(traced: str, sent: str) -> bool:
    """Return whether a traced text is the sent statement with its values; a virtual table may run statements of its own before it."""
    head = _VALUE.split(sent, maxsplit=1)[0]
    return traced.startswith(head) or head.startswith(traced)


def views_in(facts: Facts) -> list[str]:
    """Return the names of all views, and of virtual tables."""
    return [name for name, table in facts.tables.items() if not table.page]
