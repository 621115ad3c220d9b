"""Remembers every object that a new `DAL` consists of, so that a later look tells whether anything was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import is_
from typing import Any

from msgspec import Struct

# These attributes differ for each migration: `dal.attach` sets them when a migration takes the `DAL`.
_OF_ITS_OWN = frozenset({"connector", "driver_args", "_driver_args"})


def parts_of(db: Any) -> list[Any]:
    """Return the objects that a `DAL` is made of."""
    adapter = db._adapter  # noqa: SLF001 - pyDAL has no public name for any of this
    return [db, db._aliased_tables, adapter, adapter.dialect, adapter.parser, adapter.representer]  # noqa: SLF001 - as above


class DalAsMade(Struct, frozen=True):
    """A `DAL` as it was made.

    Attributes:
        parts: the objects that the `DAL` is made of.
        attributes: the `__dict__` of each part.
        holders: `attributes`, and every dictionary, list and set that the parts hold.
        sizes: how many entries each holder had.
        reads: functions that return the entries of the holders, one after the other.
        in_all: all these entries at the time, in one list; None for what differs for each migration.
        own: positions in that list of what differs for each migration.
    """

    parts: list[Any]
    attributes: list[dict[str, Any]]
    holders: list[Any]
    sizes: list[int]
    reads: list[Callable[[], Iterable[Any]]]
    in_all: list[Any]
    own: list[int]

    @classmethod
    def of(cls, db: Any) -> DalAsMade:
        """Remember a `DAL` as it is now."""
        from pydal.objects import Expression

        parts = parts_of(db)
        attributes = [vars(part) for part in parts]
        in_parts = [each for names in attributes for name, each in names.items() if name not in _OF_ITS_OWN]
        # All pyDAL expressions share the dialect of the `DAL` that was made last, and a body may make a `DAL` of its own.
        others = [Expression._dialect_expressions_, *(each for each in in_parts if isinstance(each, dict | list | set))]
        holders = [*attributes, *others]
        own: list[int] = []
        reads: list[Callable[[], Iterable[Any]]] = []
        length = 0
        for holder in holders:
            if isinstance(holder, dict):
                reads += [holder.keys, holder.values]
            else:
                reads.append(partial(iter, holder))
            if any(holder is each for each in attributes):
                own += [length + len(holder) + at for at, name in enumerate(holder) if name in _OF_ITS_OWN]
            length += len(holder) * (2 if isinstance(holder, dict) else 1)
        return cls(parts, attributes, holders, [*map(len, holders)], reads, _in_all(reads, own), own)

    def is_still(self, db: Any) -> bool:
        """Return whether every object is the same one as before; compare with `is`, since `==` of pyDAL's objects makes a query."""
        parts = parts_of(db)
        if not all(map(is_, parts, self.parts)) or not all(map(is_, map(vars, parts), self.attributes)):
            return False
        if [*map(len, self.holders)] != self.sizes:
            return False
        in_all = _in_all(self.reads, self.own)
        return all(map(is_, in_all, self.in_all)) or all(map(_is, in_all, self.in_all))


def _in_all(reads: Iterable[Callable[[], Iterable[Any]]], own: Iterable[int]) -> list[Any]:
    found: list[Any] = []
    for read in reads:
        found += read()
    for place in own:
        found[place] = None
    return found


def _is(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str) and one == other)
