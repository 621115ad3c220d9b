"""Finds in SQL text what is deleted, for code that does nothing on a copy without rows: loops over rows, triggers, functions that these call."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from msgspec import Struct, field

from migrate_graph.core.drift import Inventory
from migrate_graph.quoting import parted, unsigned
from migrate_graph.sql_space import SPACE

_ONE: Final = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME: Final = rf"{_ONE}(?:\.{_ONE})?"
_NAMES: Final = rf"(?:only )?{_NAME}(?: ?\*)?(?: ?, ?(?:only )?{_NAME}(?: ?\*)?)*"
_HAPPENS: Final = re.compile(
    rf"\b(?:delete from (?:only )?(?P<deleted>{_NAME})|merge into (?:only )?(?P<merged>{_NAME})[^;]*\bthen delete\b"
    rf"|truncate (?:table )?(?P<truncated>{_NAMES})|drop table (?:if exists )?(?P<dropped>{_NAMES})"
    rf"|alter table (?:if exists )?(?:only )?(?P<of>{_NAME}) (?:rename to (?P<called>{_ONE})|(?P<actions>[^;]*)))",
    re.IGNORECASE,
)
_DROPS_COLUMN: Final = re.compile(
    rf"\bdrop (?!constraint\b|default\b|not\b|identity\b|expression\b)(?:column )?(?:if exists )?(?P<column>{_ONE})",
    re.IGNORECASE,
)
_EACH: Final = re.compile(rf"(?:only )?({_NAME})", re.IGNORECASE)
_CALLED: Final = re.compile(rf"({_ONE})\s*\(")
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_LARGE_OBJECT: Final = re.compile(r"\b(?:lo_unlink|lo_manage)\b", re.IGNORECASE)
_KEPT: Final = re.compile(
    rf"\b(?:insert into|create (?:\w+ )*table)\b[^;]*\bfrom (?:only )?(?P<read>{_NAME})|\bupdate (?:only )?(?P<set>{_NAME})",
    re.IGNORECASE,
)
"""Matches what may keep the rows of a table, or the values of its columns, elsewhere."""

_SPACE: Final = re.compile(f"{SPACE}+", re.DOTALL)


class Deleted(Struct):
    """What texts of SQL delete.

    Attributes:
        rows: tables whose rows they delete.
        tables: tables that they drop, under the name that these had at the beginning.
        columns: tables and columns that they drop.
        has_large_objects: whether they delete large objects.
    """

    rows: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    columns: set[tuple[str, str]] = field(default_factory=set)
    has_large_objects: bool = False


class Deletions:
    """Finds what is deleted in a database.

    Args:
        inventory: what the database is made of.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._tables: dict[str, list[str]] = {}
        self._routines: dict[str, list[str]] = {}
        self._triggers: dict[str, list[str]] = {}
        for fact, each in inventory.facts.items():
            if fact.kind == "table":
                for name in {_folded(fact.identity), _folded(parted(fact.identity)[1])}:
                    self._tables.setdefault(name, []).append(fact.identity)
            elif fact.kind in {"function", "procedure"}:
                name = _folded(parted(unsigned(fact.identity))[1])
                self._routines.setdefault(name, []).append(each.definition)
            elif fact.kind == "trigger":
                self._triggers.setdefault(_folded(each.relation), []).append(each.definition)

    def with_routines(self, texts: Iterable[str]) -> list[str]:
        """Return texts with those of the functions that they call, and that these call."""
        found = [*texts]
        known: set[str] = set()
        for text in found:  # it grows
            for name in _words(text) & self._routines.keys() - known:
                known.add(name)
                found += self._routines[name]
        return found

    def triggers(self, tables: Collection[str], event: str) -> Iterator[str]:
        """Yield the definitions of the triggers that an event (`delete`, `update`, `insert`) on tables fires."""
        for table in tables:
            for text in self._triggers.get(_folded(table), []):
                head = re.split(r"\bon\b", _QUOTED.sub('""', text), maxsplit=1, flags=re.IGNORECASE)[0]
                if re.search(rf"\b{event}\b", head, re.IGNORECASE):
                    yield text

    def in_texts(self, *groups: Iterable[str]) -> Deleted:
        """Return what texts delete; the texts of one group run in their order, and each group begins with the database as it is."""
        found = Deleted()
        kept: set[str] = set()
        for group in groups:
            called: dict[str, list[str]] = {}
            for text in (_SPACE.sub(" ", each) for each in group):
                found.has_large_objects |= _LARGE_OBJECT.search(text) is not None
                names = {name for each in _KEPT.finditer(text) for name in each.groups() if name}
                kept |= {table for name in names for table in self._named(name)}
                for each in _HAPPENS.finditer(text):
                    self._note(each, found, called)
        found.tables -= kept
        found.columns = {(table, column) for table, column in found.columns if table not in kept}
        return found

    def _note(self, each: re.Match[str], found: Deleted, called: dict[str, list[str]]) -> None:
        for name in filter(None, (each["deleted"], each["merged"])):
            found.rows.update(called.get(_folded(name), self._named(name)))
        for name in _listed(each["truncated"]):
            found.rows.update(called.get(_folded(name), self._named(name)))
        for name in _listed(each["dropped"]):
            found.tables.update(called.get(_folded(name), self._named(name)))
        if not each["of"]:
            return
        tables = called.get(_folded(each["of"]), self._named(each["of"]))
        if each["called"]:
            called[_folded(each["called"])] = tables
        for drop in _DROPS_COLUMN.finditer(each["actions"] or ""):
            found.columns |= {(table, drop["column"]) for table in tables}

    def _named(self, name: str) -> list[str]:
        """Return the tables that a name in a text can mean."""
        return self._tables.get(_folded(name), [])


def _listed(names: str | None) -> list[str]:
    return _EACH.findall(names or "")


def _folded(name: str) -> str:
    """Return a name without its quotes, in small letters: more tables may be meant than are, but none is overlooked."""
    return name.replace('"', "").casefold()


def _words(text: str) -> set[str]:
    """Return the names in a text that a bracket follows, as those of functions are called."""
    return {_folded(name) for name in _CALLED.findall(text)}
