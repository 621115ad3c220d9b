"""What a `DAL` was like when it was made, down to every object it consists of, so that it can be told whether it still is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import is_
from typing import Any

from msgspec import Struct

# What each migration has of its own: pyDAL is told how to connect when a `DAL` is taken.
_OF_ITS_OWN = frozenset({"connector", "driver_args", "_driver_args"})


def parts_of(db: Any) -> list[Any]:
    """Return what a `DAL` is made of."""
    adapter = db._adapter  # noqa: SLF001 - pyDAL has no public name for any of this
    return [db, db._aliased_tables, adapter, adapter.dialect, adapter.parser, adapter.representer]  # noqa: SLF001 - as above


class DalAsMade(Struct, frozen=True):
    """A `DAL` as it was made.

    Attributes:
        parts: what it is made of.
        attributes: of each part.
        holders: these, and every other dictionary, list and set.
        sizes: how many entries each of these had.
        reads: give what stands in them, in a row.
        in_all: what stood there; None for what each migration has of its own.
        own: places of that.
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
        """Look at a `DAL`."""
        from pydal.objects import Expression

        parts = parts_of(db)
        attributes = [vars(part) for part in parts]
        in_parts = [each for names in attributes for name, each in names.items() if name not in _OF_ITS_OWN]
        # All expressions speak the dialect of the `DAL` that was made last, which a body may have made itself.
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
        """Return whether everything is the very same object as before: pyDAL's own make queries of a comparison."""
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
