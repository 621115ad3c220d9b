"""Remembers what SQLite's schema says; what follows from it is worked out again only for what has changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias

from migrate_graph.database.relation import Item, Relation
from migrate_graph.quoting import quote_identifier

SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
"""In order of creation: SQLite remembers the columns of a view it has resolved, so each next one costs little."""

Row: TypeAlias = "tuple[str, str, str, str]"
"""Type, name, table and text of something in the schema."""

_QUOTED = re.compile(r"""["'`\[]((?:[^"'`\]]|"")+)["'`\]]""")


@dataclass(eq=False, slots=True)
class Part:
    """A view, or the triggers of one table or view, with what shows whether it works.

    Attributes:
        description: what to call it.
        sql: its text.
        relation: the view or table.
        event: of triggers, what they are of: DELETE, INSERT or UPDATE; empty for a view.
        error: why it does not work; empty when it does, None where that was not asked since something that it names has changed.
    """

    description: str
    sql: str
    relation: str
    event: str = ""
    error: str | None = None


@dataclass(slots=True)
class _Thing:
    """A table or view with its triggers, and what is known of it."""

    rows: list[Row]
    parts: list[Part] = field(default_factory=list)
    words: set[str] = field(default_factory=set)
    relation: Relation | None = None


@dataclass(slots=True)
class Schema:
    """What was read last.

    Attributes:
        rows: of the schema, in order of creation.
        relations: everything about the tables and views, by name.
    """

    rows: list[Row] = field(default_factory=list)
    relations: dict[str, Relation] = field(default_factory=dict)
    _things: dict[str, _Thing] = field(default_factory=dict)
    _mentions: dict[str, set[str]] = field(default_factory=dict)

    def update(self, rows: list[Row]) -> None:
        """Take in what the schema says now."""
        before, self.rows = self.rows, rows
        changed = {row[2].lower() for row in _differing(before, rows)}
        if not changed:
            return
        stale = self._readers_of(changed)
        for name in changed:
            self._forget(name)
        for row in rows:
            if row[2].lower() in changed:
                self._things.setdefault(row[2].lower(), _Thing([])).rows.append(row)
        for name in changed & self._things.keys():
            self._learn(name)
        stale |= self._readers_of(changed)
        for name in stale & self._things.keys():
            for part in self._things[name].parts:
                part.error = None

    def _forget(self, name: str) -> None:
        thing = self._things.pop(name, None)
        for word in thing.words if thing else ():
            self._mentions[word].discard(name)
        for part in thing.parts if thing else ():
            part.error = None  # whoever holds it asks anew
        if thing and thing.relation:
            del self.relations[thing.relation.name]

    def _learn(self, name: str) -> None:
        thing = self._things[name]
        thing.parts = list(_parts(thing.rows))
        thing.words = set().union(*(_words(part.sql) for part in thing.parts))
        for word in thing.words:
            self._mentions.setdefault(word, set()).add(name)
        thing.relation = next((_relation(row, thing.rows) for row in thing.rows if row[0] in {"table", "view"}), None)
        if thing.relation:
            self.relations[thing.relation.name] = thing.relation

    def _readers_of(self, names: Iterable[str]) -> set[str]:
        """Return these, and all whose text names one of them, however deep."""
        return closure(names, lambda name: self._mentions.get(name, set()))

    def named(self, name: str) -> Relation | None:
        """Return the table or view of a name, however that is written."""
        thing = self._things.get(name.lower())
        return thing.relation if thing else None

    def concerned(self, names: Iterable[str]) -> list[Part]:
        """Return the parts that read some views, or something that those read, however deep; of no names every part."""
        wanted = set(names)
        if not wanted:
            return [part for thing in self._things.values() for part in thing.parts]
        below = closure(
            wanted, lambda name: self._things[name].words & self._things.keys() if name in self._things else set()
        )
        above = self._readers_of(below)
        return [part for name in self._things.keys() & above for part in self._things[name].parts]


def _differing(before: list[Row], now: list[Row]) -> list[Row]:
    """Return the rows between the first and the last that are not the same in both."""
    if before == now:
        return []
    same = next(
        (at for at, (one, other) in enumerate(zip(before, now, strict=False)) if one != other),
        min(len(before), len(now)),
    )
    before, now = before[same:], now[same:]
    ends = zip(reversed(before), reversed(now), strict=False)
    same = next((at for at, (one, other) in enumerate(ends) if one != other), min(len(before), len(now)))
    return [*before[: len(before) - same], *now[: len(now) - same]]


def closure(names: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """Return some names, and all that follow from them."""
    found, waiting = set(names), list(names)
    while waiting:
        new = set(following(waiting.pop())) - found
        found |= new
        waiting += new
    return found


def _parts(rows: Iterable[Row]) -> Iterator[Part]:
    triggers: list[str] = []
    table = ""
    for kind, name, of, sql in rows:
        if kind == "view":
            yield Part(f"view {quote_identifier(name)}", sql, name)
        elif kind == "trigger":
            triggers.append(sql)
            table = of
    for event in ("DELETE", "INSERT", "UPDATE") if triggers else ():
        yield Part(f"{event} trigger on {quote_identifier(table)}", "\n".join(triggers), table, event)


def _words(sql: str) -> set[str]:
    """Return the words of a text, and every name in quotes."""
    return {word.lower() for word in [*re.findall(r"\w+", sql), *_QUOTED.findall(sql)]}


def _relation(row: Row, rows: Iterable[Row]) -> Relation:
    kind, name, _, sql = row
    triggers: list[Any] = [Item("trigger", each[1], each[3]) for each in rows if each[0] == "trigger"]
    is_view = kind == "view"
    return Relation(
        quote_identifier(name),
        name,
        kind.upper(),
        definition=sql if is_view else "",
        fingerprint=f":{sha256(sql.encode()).hexdigest()[:16]}" if is_view else "",
        items=tuple(triggers) if is_view else (),
    )
