"""What a migration did when it was watched: its statements, locks, rows and changes, as the database told them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct, field

from migrate_graph.messages import counted, sized
from migrate_graph.user_files import SourceLocation

KEEPS_OTHERS_OUT = frozenset({"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"})
"""Locks on a table that keep others from writing to it, or from reading it."""


class Fact(Struct, frozen=True, order=True):
    """One thing a database is made of.

    Attributes:
        kind: `table`, `column`, `index`, `constraint`, `view`, … in the database's words.
        identity: its qualified name, quoted where the database would quote it: `public.invoice.qty`.
    """

    kind: str
    identity: str

    def __str__(self) -> str:
        return f"{self.kind} {self.identity}"


class Rewrite(Struct, frozen=True):
    """A table whose file was written anew.

    Attributes:
        relation: which.
        size: bytes of the real table, without its indexes; None where that is not known.
        rows: estimated rows of the real table; None where that is not known.
    """

    relation: str
    size: int | None = None
    rows: int | None = None

    def __str__(self) -> str:
        if self.size is None or self.rows is None:
            return self.relation
        return f"{self.relation} ({sized(self.size)}, {counted(self.rows, 'row')})"


class Held(StrEnum):
    """What became of a statement in a rehearsal, which cannot run every statement."""

    RUN = "run"
    """It ran as it was sent."""
    HELD_BACK = "held back"
    """It begins or ends a transaction: a savepoint was used instead."""
    CHANGED = "run without CONCURRENTLY"
    SKIPPED = "not run: it cannot be part of a transaction"
    OUTSIDE = "not run: the server would act outside of the database"

    @property
    def ran(self) -> bool:
        """Whether it was sent at all."""
        return not self.value.startswith("not run")


class Statement(Struct, frozen=True):
    """One statement that the body sent.

    Attributes:
        sql: its text, values filled in; literals are `?` when values are not wanted.
        source: the line of the user's file that sent it.
        seconds: how long it took.
        rows: rows it touched or returned, as the driver counts; None where it does not say.
        locks: the strongest lock it newly took on each relation that existed before the migration: `ACCESS EXCLUSIVE`.
        rewrites: tables that it wrote anew.
        uses: columns that it read or wrote: `public.invoice.qty`; `public.invoice.*` for whole rows.
        writes: columns that it updated; `public.invoice.*` where it deletes rows.
        inserts: relations that it puts rows into.
        scans: relations that it read from end to end, also to build an index or to prove a constraint.
        transaction: in which of the body's transactions it ran, counted from 0; each own commit or rollback begins another.
        held: what became of it.
        error: what the database answered, when it failed.
        error_code: the class of that answer: an SQLSTATE (`2BP01`), or SQLite's name for it; empty where it has none.
        blockers: views that the error names and that have no manager: they depend on what the statement changes.
    """

    sql: str
    source: SourceLocation | None = None
    seconds: float = 0.0
    rows: int | None = None
    locks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rewrites: tuple[Rewrite, ...] = ()
    uses: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    inserts: tuple[str, ...] = ()
    scans: tuple[str, ...] = ()
    transaction: int = 0
    held: Held = Held.RUN
    error: str = ""
    error_code: str = ""
    blockers: tuple[str, ...] = ()


class Wrote(Struct, frozen=True):
    """Rows of one table that were written, also by triggers.

    Attributes:
        inserted: rows.
        updated: rows.
        deleted: rows; a TRUNCATE counts none.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.deleted

    def __str__(self) -> str:
        counts = ("inserted", self.inserted), ("updated", self.updated), ("deleted", self.deleted)
        return ", ".join(f"{count:,} {word}" for word, count in counts if count)


class OutsideAct(Struct, frozen=True):
    """Something that a body did, or tried to do, outside of its database.

    Attributes:
        what: in words: `opens the file /tmp/x for writing`.
        source: the line of the user's file.
        refused: whether it was kept from happening.
    """

    what: str
    source: SourceLocation | None = None
    refused: bool = True


class Size(Struct, frozen=True):
    """How large a relation is where the migration will really run.

    Attributes:
        bytes: of the relation, without its indexes.
        rows: estimated by the database.
    """

    bytes: int
    rows: int


class Footprint(Struct, frozen=True):
    """What one migration did.

    The tool's own tables never appear in it, and what this package reads for itself is not counted. Relations and columns are named as
    the identity of their fact is: `public.invoice`, `public.invoice.qty` (PostgreSQL), `invoice`, `invoice.qty` (SQLite).

    Attributes:
        statements: what it sent, in order.
        locks: the strongest lock it held on each relation when it ended, relations that it made itself included. A migration needs each
            relation that it locks. Empty on SQLite, and for statements that are a transaction of their own.
        added: facts that were not there before.
        changed: facts that have another definition than before.
        removed: facts that are gone.
        renamed: those of the removed facts that still exist under another name, so that nothing is lost.
        called: the new names of renamed tables and columns, by the old ones.
        retyped: the types of columns, before and after, where they are not the same (PostgreSQL).
        invalid: indexes that it left unusable, by name.
        hangs: facts that it did not add itself, and on which what it made, made anew or changed depends, by the database's own records:
            columns, types, functions, keys of other tables, the relation that a column, an index or a trigger is part of, … A view that
            is taken down and brought up counts as made anew, also where it is defined as before.
        lost: facts on which what it removed, changed or made anew depended before, and does not depend any more. They may be gone, too.
        uses: columns that were read or written by its statements, or by views, triggers, functions and `DO` blocks that these run.
            `public.invoice.*` stands for whole rows, and for columns that are not known: it counts as all columns.
        writes: columns that were updated, also where the table held no rows. `public.invoice.*` where rows were deleted, and where the
            columns are not known: it counts as all columns, and as rows inserted and deleted.
        inserts: relations that rows were inserted into; updated and deleted rows stand in `writes`.
        calls: functions, types, sequences and other facts without columns that its statements name.
        checked: relations whose rows were looked up so that they stay: by a foreign key, or by `SELECT … FOR UPDATE`.
        wrote: numbers of rows written, by table; a statement that met no rows leaves nothing here.
        sizes: of the relations it touched that existed before, where the migration will really run.
        own_commits: commits that the body made itself.
        outside: what it did outside of its database.
        without_rows: it was watched on a copy without the rows: what it would write is not known.
        unreadable: why views that it made cannot be read after it, in words (SQLite accepts such views).
        view_uses: of each view manager that came up in it, those whose views it uses, by the database's own records.
        not_rehearsed: why a part of it, or all, could not be watched, in words; empty when everything was.
        failure: why it failed; empty when it did not.
        failed_at: the line where it failed.
    """

    statements: tuple[Statement, ...] = ()
    locks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    added: frozenset[Fact] = frozenset()
    changed: frozenset[Fact] = frozenset()
    removed: frozenset[Fact] = frozenset()
    renamed: frozenset[Fact] = frozenset()
    called: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    retyped: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    invalid: tuple[str, ...] = ()
    hangs: frozenset[Fact] = frozenset()
    lost: frozenset[Fact] = frozenset()
    uses: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    inserts: frozenset[str] = frozenset()
    calls: frozenset[Fact] = frozenset()
    checked: frozenset[str] = frozenset()
    wrote: Mapping[str, Wrote] = field(default_factory=lambda: MappingProxyType({}))
    sizes: Mapping[str, Size] = field(default_factory=lambda: MappingProxyType({}))
    own_commits: int = 0
    outside: tuple[OutsideAct, ...] = ()
    without_rows: bool = False
    unreadable: tuple[str, ...] = ()
    view_uses: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    not_rehearsed: tuple[str, ...] = ()
    failure: str = ""
    failed_at: SourceLocation | None = None

    @property
    def rewrites(self) -> tuple[Rewrite, ...]:
        """Every table that was written anew, in order."""
        return tuple(rewrite for statement in self.statements for rewrite in statement.rewrites)


class Budget(Struct, frozen=True):
    """What a migration may cost where it will really run before a rehearsal objects.

    Attributes:
        rewrite: bytes of the largest table that may be written anew, or read under a lock that keeps others out.
        lock: seconds for which such a lock may be held.
        rows: rows that one statement may write.
    """

    rewrite: int = 100_000_000
    lock: float = 2.0
    rows: int = 100_000

    def __str__(self) -> str:
        megabytes, rest = divmod(self.rewrite, 10**6)
        return f"rewrite={self.rewrite if rest else f'{megabytes} MB'}, lock={self.lock:g}, rows={self.rows}"

    def is_small(self, size: Size) -> bool:
        """Return whether a relation is so small that anything can be done to it quickly."""
        return size.bytes <= self.rewrite and size.rows <= self.rows
