"""What both backends write and read about migrations, over whatever connection keeps their books."""

from __future__ import annotations

import hashlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
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

_TELL_EVERY = 10.0
# Short at first, since most runs have nothing to do, then as long as politeness asks.
_FIRST_PAUSE = 0.1


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Bookkeeping(ABC):
    """The part of a backend that is the same everywhere; see `database.Backend` for what the methods promise."""

    label: str
    secrets: tuple[str, ...]
    _ledger: Ledger
    _longest_pause: float
    """Seconds between two questions whether the lock is free, once it has been waited for a while."""

    @abstractmethod
    def _execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, outside any migration."""

    @abstractmethod
    def _revive(self) -> None:
        """Connect again where that is needed, and see that no attempt is still at work on the server; the lock is not taken by this."""

    @abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """Make several statements one transaction; within another one they are a part of that."""

    def _encoding(self) -> str:
        """Return what the database can store text in, as Python calls it."""
        return "utf-8"

    @abstractmethod
    def _present(self) -> set[str]:
        """Name those of the tool's tables that exist."""

    @abstractmethod
    def lock_holder(self) -> LockHolder | None:
        """Return who holds the lock, None when it is free."""

    @abstractmethod
    def how_to_end(self, holder: LockHolder) -> str:
        """Return what ends whoever holds the lock, as it can be typed."""

    @abstractmethod
    def _address(self) -> str:
        """Return where the database is, so that two of them differ."""

    @abstractmethod
    def read_inventory(self) -> Inventory:
        """Read what the database is made of."""

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
        """Return the relations that these managers are known to have made, as they are called in facts."""
        rows = (row for name, row in self._view_rows().items() if name in managers)
        return frozenset(relation.identity for row in rows for relation in row.relations)

    def identity(self) -> tuple[str, str]:
        first = self._first_attempt()
        return (_short(first) if first else ""), _short(self._address())

    def _first_attempt(self) -> str:
        return self._ledger.first_attempt() if self._ledger.names.journal in self._present() else ""

    def fingerprint(self) -> str:
        # The first attempt's key is as old as the journal: a database made anew at the same address has another.
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
        """Try again and again, telling who is in the way; return the seconds waited, 0.0 when nobody was.

        A call that blocks instead would, on PostgreSQL, hold a snapshot and stall a CREATE INDEX CONCURRENTLY of the winner.

        Raises:
            LockTimeout: after `limit` seconds; 0 asks once.
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
