"""Keeps the `DAL` of a migration that left it as it was made, for the next one: making it takes longer than a small migration."""

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
    """The one thing that holds a `DAL`."""

    db: Any


class SpareDal:
    """Makes the `DAL` of each migration of a run, or hands the last one on.

    Attributes:
        ledger: name of the ledger's table, as it is pasted into SQL.
    """

    def __init__(self, *, typedal: bool, folder: Path | None, ledger: str) -> None:
        """Make one for a run.

        Args:
            typedal: a TypeDAL is asked for; that is made anew each time.
            folder: directory of pyDAL's files.
            ledger: name of the ledger's table, as it is pasted into SQL.
        """
        self._typedal = typedal
        self._folder = folder
        self.ledger = ledger
        self._db: Any = None
        self._made: DalAsMade | None = None
        self._holders: tuple[int, ...] = ()

    def take(self, source: DalSource) -> Any:
        """Return a `DAL` that nobody has used, on a connection of `source`."""
        db, self._db = self._db, None
        if db is not None:
            attach(db, source)
            return db
        with _collected():
            db = make_own_dal(source, typedal=self._typedal, folder=self._folder)
            define_ledger_later(db, rname=self.ledger)
        return db

    def note(self, holder: HoldsDal) -> None:
        """Note what a `DAL` is like that has just been taken, and how many hold it, which is the same for all of a run."""
        if self._made is None:
            self._made = DalAsMade.of(holder.db)
        if not self._holders:
            self._holders = _references(holder)

    def keep(self, holder: HoldsDal) -> None:
        """Keep a `DAL` for the next migration, where nothing of it was changed and nobody else can reach it."""
        is_as_made = self._made is not None and self._made.is_still(holder.db)
        if not self._typedal and _references(holder) == self._holders and is_as_made:
            self._db = holder.db
        else:
            self._made = None


@contextmanager
def _collected() -> Iterator[None]:
    """Collect the garbage that is made inside, and only that: what pyDAL throws away while it makes a `DAL` still holds it.

    Everything else is put aside meanwhile, unless the program has put something aside itself: a project has many objects.
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
