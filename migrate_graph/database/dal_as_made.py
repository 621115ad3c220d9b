"""What a `DAL` was like when it was made, down to every object it consists of, so that it can be told whether it still is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_
from typing import Any

# What each migration has of its own: pyDAL is told how to connect when a `DAL` is taken.
_OF_ITS_OWN = frozenset({"connector", "driver_args", "_driver_args"})


def parts_of(db: Any) -> list[Any]:
    """Return what a `DAL` is made of."""
    adapter = db._adapter  # noqa: SLF001 - pyDAL has no public name for any of this
    return [db, db._aliased_tables, adapter, adapter.dialect, adapter.parser, adapter.representer]  # noqa: SLF001 - as above


@dataclass(frozen=True, slots=True)
class DalAsMade:
    """A `DAL` as it was made.

    Attributes:
        parts: what it is made of.
        attributes: of each part: the names of all, the names of those that count, and what these were.
        contents: what stood in each dictionary, list and set.
        sizes: how many entries each of these had.
        in_all: all of that, in a row.
    """

    parts: list[Any]
    attributes: list[tuple[frozenset[str], list[str], list[Any]]]
    contents: list[tuple[Any, list[Any]]]
    sizes: list[int]
    in_all: list[Any]

    @classmethod
    def of(cls, db: Any) -> DalAsMade:
        """Look at a `DAL`."""
        from pydal.objects import Expression

        parts = parts_of(db)
        # All expressions speak the dialect of the `DAL` that was made last, which a body may have made itself.
        holders: list[Any] = [Expression._dialect_expressions_]
        attributes = []
        for part in parts:
            names = [name for name in vars(part) if name not in _OF_ITS_OWN]
            attributes.append((frozenset(vars(part)), names, [vars(part)[name] for name in names]))
            holders += [vars(part)[name] for name in names if isinstance(vars(part)[name], dict | list | set)]
        contents = [(holder, _content(holder)) for holder in holders]
        in_all = [each for _, content in contents for each in content]
        return cls(parts, attributes, contents, [*map(len, holders)], in_all)

    def is_still(self, db: Any) -> bool:
        """Return whether everything is the very same object as before: pyDAL's own make queries of a comparison."""
        parts = parts_of(db)
        if len(parts) != len(self.parts) or not all(map(is_, parts, self.parts)):
            return False
        for part, (every, names, values) in zip(parts, self.attributes, strict=True):
            now = vars(part)
            if now.keys() != every or not all(map(is_, map(now.__getitem__, names), values)):
                return False
        in_all: list[Any] = []
        for holder, _ in self.contents:
            in_all += holder
            if isinstance(holder, dict):
                in_all += holder.values()
        sizes = [len(holder) for holder, _ in self.contents]
        same = sizes == self.sizes and all(map(is_, in_all, self.in_all))
        return same or all(_has_same(holder, before) for holder, before in self.contents)


def _content(holder: Iterable[Any]) -> list[Any]:
    return [*holder, *holder.values()] if isinstance(holder, dict) else list(holder)


def _has_same(holder: Any, before: Sequence[Any]) -> bool:
    pairs = isinstance(holder, dict)
    if (2 * len(holder) if pairs else len(holder)) != len(before):
        return False
    same = all(map(is_, chain(holder, holder.values()) if pairs else holder, before))
    return same or all(map(_is, _content(holder), before))


def _is(one: object, other: object) -> bool:
    return one is other or (isinstance(one, str) and one == other)
