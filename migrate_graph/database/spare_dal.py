"""Keeps the `DAL` of a migration that left it as it was made, for the next one: making it takes longer than a small migration."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from migrate_graph.database.dal import DalSource, attach, define_ledger_later, make_own_dal

if TYPE_CHECKING:
    from pathlib import Path

_Seen: TypeAlias = list[tuple[object, dict[str, object], dict[str, list[object]]]]


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
        self._seen: _Seen = []
        self._holders: tuple[int, ...] = ()

    def take(self, source: DalSource) -> Any:
        """Return a `DAL` that nobody has used, on a connection of `source`."""
        db, self._db = self._db, None
        if db is not None:
            attach(db, source)
            return db
        db = make_own_dal(source, typedal=self._typedal, folder=self._folder)
        define_ledger_later(db, rname=self.ledger)
        return db

    def note(self, holder: HoldsDal) -> None:
        """Note what a `DAL` is like that has just been taken, and how many hold it, which is the same for all of a run."""
        if not self._seen:
            self._seen = _look_at(holder.db)
        if not self._holders:
            gc.collect(1)  # what pyDAL throws away while it makes one still holds it
            self._holders = _references(holder)

    def keep(self, holder: HoldsDal) -> None:
        """Keep a `DAL` for the next migration, where nothing of it was changed and nobody else can reach it."""
        is_kept = not self._typedal and _references(holder) == self._holders and _is_as_before(holder.db, self._seen)
        if is_kept:
            self._db = holder.db
        else:
            self._seen = []


def _references(holder: HoldsDal) -> tuple[int, ...]:
    adapter = holder.db._adapter  # noqa: SLF001 - pyDAL has no public name for any of this
    return (sys.getrefcount(holder.db), sys.getrefcount(adapter))


def _parts(db: Any) -> list[Any]:
    """Return what a `DAL` is made of."""
    adapter = db._adapter  # noqa: SLF001 - as above
    aliases = db._aliased_tables  # noqa: SLF001 - as above
    return [db, aliases, adapter, adapter.dialect, adapter.parser, adapter.representer]


def _look_at(db: Any) -> _Seen:
    from pydal.objects import Expression

    # All expressions speak the dialect of the `DAL` that was made last, which a body may have made itself.
    spoken: dict[str, object] = Expression._dialect_expressions_
    return [*((part, dict(vars(part)), _contents(part)) for part in _parts(db)), (Expression, dict(spoken), {})]


def _is_as_before(db: Any, seen: _Seen) -> bool:
    """Return whether everything is the very same object as before: pyDAL's own make queries of a comparison."""
    now = _look_at(db)
    return len(now) == len(seen) and all(
        part is before and _are_same(values, values_before) and _have_same(contents, contents_before)
        for (part, values, contents), (before, values_before, contents_before) in zip(now, seen, strict=True)
    )


# What each migration has of its own: pyDAL is told how to connect when a `DAL` is taken.
_OF_ITS_OWN = frozenset({"connector", "driver_args", "_driver_args"})


def _are_same(values: dict[str, object], before: dict[str, object]) -> bool:
    return values.keys() == before.keys() and all(
        value is before[name] for name, value in values.items() if name not in _OF_ITS_OWN
    )


def _contents(part: object) -> dict[str, list[object]]:
    """Return what stands in the lists and dictionaries of a part."""
    found: dict[str, list[object]] = {}
    for name, value in vars(part).items():
        if isinstance(value, dict):
            found[name] = [] if name in _OF_ITS_OWN else [*value, *value.values()]
        elif isinstance(value, list | set):
            found[name] = list(value)
    return found


def _have_same(contents: dict[str, list[object]], before: dict[str, list[object]]) -> bool:
    return contents.keys() == before.keys() and all(
        len(values) == len(before[name]) and all(map(_is, values, before[name])) for name, values in contents.items()
    )


def _is(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str) and one == other)
