"""Keeps the `DAL` of a migration that did not change it, for the next migration: making a `DAL` takes longer than a small migration."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from migrate_graph.database.dal import DalSource, attach, define_ledger_later, make_own_dal
from migrate_graph.database.dal_as_made import DalAsMade

if TYPE_CHECKING:
    from pathlib import Path


class HoldsDal(Protocol):
    """The object that holds a `DAL`."""

    db: Any


class SpareDal:
    """Makes the `DAL` for each migration of a run, or returns the one that the last migration has used.

    Attributes:
        ledger: name of the ledger table, as it is pasted into SQL.
    """

    def __init__(self, *, typedal: bool, folder: Path | None, ledger: str) -> None:
        """Start without a `DAL`; one is made for the first migration.

        Args:
            typedal: migrations get a TypeDAL, which is made anew each time.
            folder: directory of pyDAL's files.
            ledger: name of the ledger table, as it is pasted into SQL.
        """
        self._typedal = typedal
        self._folder = folder
        self.ledger = ledger
        self._db: Any = None
        self._made: DalAsMade | None = None
        self._holders: tuple[int, ...] = ()

    def take(self, source: DalSource) -> Any:
        """Return a `DAL` that is new or like new, with a connection of `source`."""
        db, self._db = self._db, None
        if db is not None:
            attach(db, source)
            return db
        with _collected():
            db = make_own_dal(source, typedal=self._typedal, folder=self._folder)
            define_ledger_later(db, rname=self.ledger)
        return db

    def note(self, holder: HoldsDal) -> None:
        """Note the state and the reference counts of a `DAL` that was just taken; the counts are the same for the whole run."""
        if self._made is None:
            self._made = DalAsMade.of(holder.db)
        if not self._holders:
            self._holders = _references(holder)

    def keep(self, holder: HoldsDal) -> None:
        """Keep a `DAL` for the next migration, if nothing in it was changed and nothing else refers to it."""
        is_as_made = self._made is not None and self._made.is_still(holder.db)
        if not self._typedal and _references(holder) == self._holders and is_as_made:
            self._db = holder.db
        else:
            self._made = None


@contextmanager
def _collected() -> Iterator[None]:
    """Collect the garbage that is made inside the block, and only that: objects that pyDAL discards while it makes a `DAL` still refer to it.

    All older objects are frozen meanwhile, since a project has many; not when the program has frozen objects itself.
    """
    if asides := not gc.get_freeze_count():
        gc.freeze()
    try:
        yield
    finally:
        gc.collect(1)
        if asides:
            gc.unfreeze()


def _references(holder: HoldsDal) -> tuple[int, ...]:
    adapter = holder.db._adapter  # noqa: SLF001 - pyDAL has no public name for any of this
    return (sys.getrefcount(holder.db), sys.getrefcount(adapter))
