"""The part of a backend that reads and writes the tool's tables, the same for both databases."""

from __future__ import annotations

import hashlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from migrate_graph.core.events import LockHolder, LockWaiting, Observer
from migrate_graph.core.history import AttemptState, History, StoredView
from migrate_graph.database.books.ledger import AttemptKey, Known, Ledger
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger
from migrate_graph.errors import LockTimeout
from migrate_graph.foreign_text import storable
from migrate_graph.signals import Interruption

if TYPE_CHECKING:
    from migrate_graph.core.drift import Inventory
    from migrate_graph.database.books.obstacles import Fault

_TELL_EVERY = 10.0
# Short at first, since most runs have nothing to do and end at once; then longer, to ask the server less often.
_FIRST_PAUSE = 0.1


class _TakenBack(Exception):  # noqa: N818 - nothing is wrong
    """Rolls a transaction back."""


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Bookkeeping(ABC):
    """The part of a backend that is the same everywhere; see `database.Backend` for what the methods promise."""

    label: str
    secrets: tuple[str, ...]
    _ledger: Ledger
    _longest_pause: float
    """The longest pause in seconds between two tries to take the lock; the pauses grow up to it."""

    @abstractmethod
    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, outside any migration."""

    @abstractmethod
    def _revive(self) -> None:
        """Connect again if needed, and make sure that no attempt is still working on the server; this does not take the lock."""

    @abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """Run the statements in the block as one transaction; a block inside another one is part of the outer one."""

    def _encoding(self) -> str:
        """Return Python's name for the encoding in which the database stores text."""
        return "utf-8"

    @abstractmethod
    def _present(self) -> set[str]:
        """Return the names of those of the tool's tables that exist."""

    @abstractmethod
    def lock_holder(self) -> LockHolder | None:
        """Return who holds the lock, None when it is free."""

    @abstractmethod
    def how_to_end(self, holder: LockHolder) -> str:
        """Return a command that ends the process or session which holds the lock."""

    @abstractmethod
    def _address(self) -> str:
        """Return the address of the database; two databases have different ones."""

    @abstractmethod
    def read_inventory(self) -> Inventory:
        """Read all objects of the database with their definitions."""

    def has_ledger(self) -> bool:
        return self._ledger.names.ledger in self._present()

    def read_history(self) -> History:
        present = self._present()
        history = self._ledger.read(present)
        if self._ledger.names.views in present:
            views = ViewLedger(self._ledger.names, self._execute)
            texts, unfilled = views.read_texts_and_unfilled()
            history = replace(history, views_down=views.read_down(), view_texts=texts, views_unfilled=unfilled)
        return history

    def unfilled_views(self) -> tuple[StoredView, ...]:
        return ViewLedger(self._ledger.names, self._execute).read_texts_and_unfilled()[1]

    def _record_views(self, rows: Sequence[LedgerRow]) -> tuple[str, ...]:
        if rows:
            with self.together():
                ledger = ViewLedger(self._ledger.names, self._execute)
                ledger.write(rows)
                ledger.release(
                    {each.identity for row in rows for each in row.relations}, keepers=[row.manager for row in rows]
                )
        return tuple(row.manager for row in rows)

    def _view_rows(self) -> dict[str, LedgerRow]:
        if self._ledger.names.views not in self._present():
            return {}
        return ViewLedger(self._ledger.names, self._execute).read()

    def remembered_views(self) -> tuple[str, ...]:
        return tuple(self._view_rows())

    def forget_views(self, managers: Sequence[str], *, reason: str, run: str) -> dict[str, tuple[str, ...]]:
        rows = self._view_rows()
        with self.together():
            ViewLedger(self._ledger.names, self._execute).forget(name for name in managers if name in rows)
            for name in managers:
                if name in rows:
                    key = AttemptKey.now(f"views forget {name}", run=run)
                    self._ledger.write_note(key, AttemptState.MARKED, storable(reason, self._encoding()))
        return {
            name: tuple(each.definition or each.identity for each in rows[name].relations)
            for name in managers
            if name in rows
        }

    def store_inventory(self, *, run: str) -> None:
        from migrate_graph.database.books.stored_facts import packed

        found = self.read_inventory()
        with self.together():
            self._ledger.write_facts(AttemptKey.now("facts", run=run), digest=found.digest, text=packed(found))

    def stored_inventory(self) -> Inventory | None:
        text = self._ledger.read_facts() if self._ledger.names.journal in self._present() else None
        if text is None:
            return None
        from migrate_graph.database.books.stored_facts import unpacked

        return unpacked(text)

    def managed_relations(self, managers: Mapping[str, type]) -> frozenset[str]:
        """Return the relations that these managers are known to have made, with the identities that facts use."""
        rows = (row for name, row in self._view_rows().items() if name in managers)
        return frozenset(relation.identity for row in rows for relation in row.relations)

    def identity(self) -> tuple[str, str]:
        first = self._first_attempt()
        return (_short(first) if first else ""), _short(self._address())

    def _first_attempt(self) -> str:
        return self._ledger.first_attempt() if self._ledger.names.journal in self._present() else ""

    def fingerprint(self) -> str:
        # The key of the first attempt is as old as the journal: a database that is made anew at the same address has another one.
        first = self._first_attempt()
        return hashlib.sha256(f"{self._address()}\0{first}".encode()).hexdigest()[:16]

    def record_failure(self, key: AttemptKey, *, error: str, seconds: float, commits: int = 0) -> None:
        self._revive()
        with self.together():
            self._ledger.write_failure(key, error=storable(error, self._encoding()), seconds=seconds, commits=commits)

    def outcome_of(self, key: AttemptKey) -> Known:
        self._revive()
        return self._ledger.known_of(key)

    def read_installed_at_end(self) -> frozenset[str]:
        self._revive()
        return self._ledger.read_applied()

    def installed_if_held(self, lock: Any, names: Sequence[str]) -> frozenset[str] | None:
        return self._ledger.read_installed(names) if lock.is_held() else None

    def mark(
        self,
        names: Sequence[str],
        *,
        installed: bool,
        reason: str,
        run: str,
        fingerprints: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        with self.together():
            for name in names:
                self._ledger.write_record(name, installed=installed)
                self._ledger.write_note(
                    AttemptKey.now(name, run=run, fingerprint=fingerprints.get(name, "")),
                    AttemptState.MARKED,
                    storable(reason, self._encoding()),
                )

    def _refuse_to_record(self, faults: Sequence[Fault]) -> None:
        if faults:
            from migrate_graph.database.books.obstacles import cannot_record

            raise cannot_record(self.label, faults)

    def _try(self, name: str, *, installed: bool) -> str:
        why = ""
        with suppress(_TakenBack), self.together():
            why = self._ledger.try_success(name, installed=installed)
            raise _TakenBack
        return why

    def _tried(self, names: Sequence[str], *, installed: bool | None) -> list[Fault]:
        """Return why records of these names cannot be written: each is written, with an attempt, and rolled back."""
        from migrate_graph.database.books.obstacles import tried

        return [] if installed is None else tried(names, partial(self._try, installed=installed))

    def resolve(self, name: str, *, attempt: int, applied: bool, reason: str, run: str, fingerprint: str = "") -> bool:
        with self.together():
            if not self._ledger.resolve(attempt, name=name):
                return False
            self._ledger.write_record(name, installed=applied)
            self._ledger.write_note(
                AttemptKey.now(name, run=run, fingerprint=fingerprint),
                AttemptState.RESOLVED,
                storable(reason, self._encoding()),
            )
        return True

    def add_task(self, task: str, *, run: str) -> None:
        with self.together():
            self._ledger.add_task(AttemptKey.now(task, run=run))

    def finish_task(self, task: str) -> None:
        self._ledger.finish_task(task)

    def _wait(
        self,
        taken: Callable[[], bool],
        limit: float,
        observer: Observer,
        interruption: Interruption,
        holder_of: Callable[[], LockHolder | None],
        *,
        quiet_for: float = 0.0,
    ) -> float:
        """Call `taken` until it returns True, reporting who holds the lock; return the seconds waited, 0.0 when nothing was reported.

        A blocking lock call would, on PostgreSQL, hold a snapshot, and block a CREATE INDEX CONCURRENTLY of the run that has the lock.

        Args:
            taken: tries to take the lock once.
            limit: seconds to wait at most; 0 tries once.
            observer: gets a `LockWaiting` event every ten seconds.
            interruption: ends the waiting when a signal arrives.
            holder_of: returns who holds the lock.
            quiet_for: seconds before the first event.

        Raises:
            LockTimeout: the lock was not free within `limit` seconds.
        """
        started = time.monotonic()
        told, pause = quiet_for - _TELL_EVERY, _FIRST_PAUSE
        was_told = False
        while not taken():
            waited = time.monotonic() - started
            holder = holder_of()
            if waited >= limit:
                held_by = f"; it is held by {holder}" if holder else ""
                raise LockTimeout(
                    f"gave up waiting for the lock on {self.label} after {waited:.0f} s{held_by}",
                    hint="wait for the other run to end, or raise --lock-timeout"
                    + (f"; to end it: {self.how_to_end(holder)}" if holder else ""),
                )
            if waited - told >= _TELL_EVERY:
                told, was_told = waited, True
                observer(LockWaiting(waited, limit, holder))
            interruption.sleep(min(pause * random.uniform(0.5, 1.0), max(0.05, limit - waited)))  # noqa: S311 - jitter, no secret
            pause = min(2 * pause, self._longest_pause)
        return time.monotonic() - started if was_told else 0.0
