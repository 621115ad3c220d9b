"""Rehearses on a copy of an SQLite file: the migrations really run on the copy, and the file itself is only read."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from migrate_graph.core.footprint import Fact, Footprint, OutsideAct, Size
from migrate_graph.database.sqlite.backend import SqliteBackend, resolve_path
from migrate_graph.database.sqlite.facts import (
    Facts,
    count_rows,
    difference,
    read_facts,
    read_sizes,
    spelled,
    table_of,
)
from migrate_graph.database.sqlite.hanging import Hanging, hangs_and_lost, looked_up, only_scanned, owner_of
from migrate_graph.database.sqlite.recorder import RecordedConnection, Recorder, views_in
from migrate_graph.database.sqlite.work import SqliteWork, WorkConnection

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer
    from migrate_graph.core.model import Migration
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.database.watching import Watching
    from migrate_graph.errors import DatabaseError
    from migrate_graph.signals import Interruption

_PAGES = 4096
"""How many pages are copied at a time; in between, other programs may write."""

_LONGEST_COPY = 60.0
"""Seconds after which the file is copied in one go, while writers wait: each write of another program restarts a copy in steps."""


class _TooLong(Exception):  # noqa: N818 - names what happened
    """A copy in steps took too long, because other programs kept writing."""


class _WatchedWork(SqliteWork):
    """See `database.Work`; the body is watched."""

    _rehearsal: SqliteRehearsal | None = None

    def watch(self, rehearsal: SqliteRehearsal, name: str) -> None:
        """Set the rehearsal that gets the footprint, and the name of the migration."""
        self._rehearsal, self._name = rehearsal, name
        self._around = ExitStack()
        self._acts: list[OutsideAct] = []
        self._watches = False

    def start(self) -> None:
        super().start()
        if self._rehearsal is not None:
            self._acts = self._around.enter_context(self._rehearsal.watching.outside(self._name))
            self._rehearsal.recorder.begin()
            self._watches = True
            self._arm()

    def _arm(self) -> None:
        super()._arm()
        connection = self._connection
        if self._rehearsal is not None and self._watches and isinstance(connection, RecordedConnection):
            connection.recorder = self._rehearsal.recorder

    def _look_away(self) -> None:
        self._watches = False
        self._around.close()
        if isinstance(self._connection, RecordedConnection):
            self._connection.recorder = None

    def check(self) -> None:
        self._look_away()
        super().check()

    def finish(self, *, seconds: float, guard: Callable[[], None]) -> None:
        super().finish(seconds=seconds, guard=guard)
        if self._rehearsal is not None:
            self._rehearsal.recorder.note_end(keeps=True, own=False)

    def close(self) -> None:
        if self._ended:
            return
        self._look_away()
        super().close()
        if self._rehearsal is not None:
            if self._weaver is not None:
                self._rehearsal.recorder.blocked_by(self._weaver.without_manager)
            self._rehearsal.note(self._name, self._acts)


def copy_database(settings: Settings, into: Path, *, observer: Observer, interruption: Interruption) -> Settings:
    """Copy the committed state of a database, and pyDAL's `.table` files for it; return the settings of the copy.

    Args:
        settings: settings of the database, which is only read; if its file does not exist, no copy is made.
        into: an empty directory for the copy.
        observer: gets events while another program holds the file.
        interruption: ends the copying when a signal arrives.

    Raises:
        DatabaseUnreachable: the database cannot be read.
    """
    uri = f"sqlite://{into}/database.sqlite"
    original = _Original(settings, writing=False)
    with closing(original):
        original.connect(observer=observer, interruption=interruption)
        original.copy_to(into / "database.sqlite")
    _copy_tables_of_pydal(settings, uri=uri, into=into)
    return replace(settings, uri=uri, folder=into)


class SqliteRehearsal(SqliteBackend):
    """A backend that watches its migrations; see `database.RehearsingBackend`. They are really run, on a copy of the database."""

    work_class = _WatchedWork
    connection_class = RecordedConnection

    def __init__(self, settings: Settings, watching: Watching) -> None:
        super().__init__(replace(settings, session="fresh"), writing=True)
        self.watching = watching
        self.footprints: dict[str, Footprint] = {}
        self.ended = ""
        self.unseen: DatabaseError | None = None
        self._own = self._ledger.names.all
        self.recorder = Recorder(root=watching.root, values=watching.values, secrets=settings.secrets, own=self._own)
        self._facts = Facts()
        self._hanging = Hanging(self.path) if watching.closely else None
        self._hung: dict[Fact, frozenset[Fact]] = {}
        self.sizes: dict[str, Size] = {}
        self._rows: dict[str, int] = {}

    def begin(self) -> None:
        """Read all objects of the copy, and the sizes of its tables."""
        self._facts = self.read_facts()
        if self._hanging is not None:
            self._hung = self._hanging.read(self._facts)
        self.sizes = dict(self.watching.sizes or read_sizes(self._execute, self._facts))
        if self.watching.sizes:  # sizes of another database
            self._rows = count_rows(self._execute, _tables(self._facts))
        else:
            self._rows = {name: size.rows for name, size in self.sizes.items()}

    def read_facts(self) -> Facts:
        """Read all objects of the copy."""
        return read_facts(self._execute, own=self._own, before=self._facts)

    def remarks(self) -> tuple[str, ...]:
        """Return nothing: a copy of the file behaves like the file itself."""
        return ()

    def work(self, migration: Migration, key: AttemptKey) -> SqliteWork:
        """Open a watched session for one attempt."""
        work = super().work(migration, key)
        if isinstance(work, _WatchedWork):
            work.watch(self, migration.name)
        return work

    def _open_work(self) -> WorkConnection:
        connection = super()._open_work()
        if isinstance(connection, RecordedConnection):
            connection.sizes = self.sizes
        return connection

    def note(self, name: str, acts: list[OutsideAct]) -> None:
        """Make and store the footprint of a migration that has ended."""
        before, self._facts = self._facts, self.read_facts()
        seen = difference(before, self._facts, self.recorder.renames)
        self._recount(before)
        footprint = self.recorder.footprint(seen, self.sizes, acts, views_in(before))
        self.footprints[name] = footprint if self._hanging is None else self._closely(self._hanging, footprint)

    def _recount(self, before: Facts) -> None:
        """Count the rows of the tables that a migration wrote to, created, or replaced by another table of the same name."""
        recorder, tables = self.recorder, self._facts.tables
        was = {name for name, table in before.tables.items() if name in tables and table.page == tables[name].page}
        same = {
            name: self._rows[name] for name in map(spelled, was) if name in self._rows and name not in recorder.anew
        }
        changed = [
            name for name in _tables(self._facts) if spelled(name) not in same or spelled(name) in recorder.written
        ]
        now = count_rows(self._execute, changed)
        recorder.recount(same, now)
        self._rows = same | now

    def _closely(self, hanging: Hanging, footprint: Footprint) -> Footprint:
        """Return a footprint with dependencies between objects, and with everything that the statements touched."""
        recorder, before = self.recorder, self._hung
        was_broken = hanging.broken
        now = self._hung = hanging.read(self._facts)
        known = self._facts.known
        made = footprint.added | {fact for fact in known if _last_name(fact) in recorder.makes}
        made |= {fact for fact in known if fact.kind in _PARTS and owner_of(self._facts, table_of(fact)) in made}
        hangs, lost = hangs_and_lost(before, now, anew=made | footprint.changed, made=made)
        uses, inserts, writes = map(frozenset, (recorder.uses, recorder.inserts, recorder.writes))
        keys = looked_up(now, inserts=inserts, writes=writes)
        scanned = only_scanned(now, uses=uses, inserts=inserts, writes=writes)
        unreadable = tuple(
            f"{name}, which it leaves, cannot be read: {why}"
            for name, why in hanging.broken.items()
            if name not in was_broken and Fact("view", name) in made
        )
        return replace(
            footprint,
            hangs=hangs,
            lost=lost,
            uses=(uses - scanned) | {key.identity for key in keys if key.kind == "column"},
            writes=writes,
            inserts=inserts,
            checked=frozenset(table_of(key) for key in keys),
            unreadable=unreadable,
        )


def _tables(facts: Facts) -> list[str]:
    """Return the names of all tables that have rows of their own (no views, no virtual tables)."""
    return [name for name, table in facts.tables.items() if table.page]


_PARTS = frozenset({"column", "constraint"})


def _last_name(fact: Fact) -> str:
    """Return the name with which an object was created: of a trigger without its table."""
    return fact.identity[len(table_of(fact)) + 1 :] if fact.kind == "trigger" else fact.identity


class _Original(SqliteBackend):
    """The backend of the original file, which is only read."""

    def copy_to(self, file: Path) -> None:
        """Copy the committed state into a new file; do nothing where the original does not exist."""
        if self._keeper is None:
            return
        try:
            self._copy(file, pages=_PAGES)
        except _TooLong:
            file.unlink()
            self._copy(file, pages=-1)

    def _copy(self, file: Path, *, pages: int) -> None:
        assert self._keeper is not None  # noqa: S101 - `copy_to` has checked it
        keeper, started = self._keeper, time.monotonic()

        def look_at_the_clock(_status: int, remaining: int, _total: int) -> None:
            self._interruption.check()
            if pages > 0 and remaining and time.monotonic() - started > _LONGEST_COPY:
                raise _TooLong

        with closing(sqlite3.connect(file)) as new:
            self._patiently(
                lambda: keeper.backup(new, pages=pages, progress=look_at_the_clock, sleep=0.0), limit=self._patience()
            )


def _copy_tables_of_pydal(settings: Settings, *, uri: str, into: Path) -> None:
    """Copy pyDAL's `.table` files for the copy, so that pyDAL knows its tables, and the rehearsal does not change the original files.

    These files have a hash of the URI in their name, and lie in pyDAL's folder, or beside the database.
    """
    old, new = (md5(text.encode(), usedforsecurity=False).hexdigest() for text in (settings.uri, uri))
    for folder in {settings.folder or Path(), resolve_path(settings.uri, settings.folder).parent}:
        for file in folder.glob(f"{old}_*.table"):
            shutil.copy(file, into / file.name.replace(old, new))
