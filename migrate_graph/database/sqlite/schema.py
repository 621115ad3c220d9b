"""Remembers SQLite's schema (the table sqlite_master), and what follows from it; only changed parts are worked out again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from msgspec import Struct, field

from migrate_graph.core.reachability import closure
from migrate_graph.database.relation import Item, Relation
from migrate_graph.quoting import quote_identifier

_OURS = "SELECT rowid, type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"
SCHEMA = f"{_OURS} ORDER BY rowid"
"""The query for the whole schema, in order of creation: then checking a view that reads another one is fast, since SQLite has resolved that one."""

Row: TypeAlias = "tuple[str, str, str, str]"
"""A row of the schema: type, name, table and CREATE statement of an object."""

_QUOTED = re.compile(r"""["'`\[]((?:[^"'`\]]|"")+)["'`\]]""")


class Part(Struct, eq=False):
    """A view, or the triggers of one table or view for one event: something that can be checked for errors.

    Attributes:
        description: what a message calls it.
        sql: its CREATE statement or statements.
        relation: name of the view or table.
        event: the event of the triggers: DELETE, INSERT or UPDATE; empty for a view.
        error: why it does not work; empty when it works. None: not checked since something that it names has changed.
    """

    description: str
    sql: str
    relation: str
    event: str = ""
    error: str | None = None


class _Thing(Struct):
    """A table or view with its triggers and indexes, and what is known about it."""

    rows: dict[int, Row]
    parts: list[Part]
    words: set[str]
    relation: Relation | None

    @property
    def place(self) -> int:
        """The rowid of its first row in the schema."""
        return next(iter(self.rows))


def rows_at(places: Iterable[int], last: int) -> str:
    """Return the query for the rows of the schema with these rowids (`places`), and for all rows behind `last`.

    A new object gets a rowid behind all others, or that of the last one if that was dropped.
    """
    listed = ", ".join(map(str, sorted(places)))
    return f"{_OURS} AND rowid IN ({listed}) UNION ALL {_OURS} AND rowid > {last} ORDER BY 1"


class Moment(Struct, frozen=True):
    """The relations at one moment, to be compared with later.

    Attributes:
        schema: the schema object that made this value.
        place: how many changes that object had noted until then.
        relations: the tables and views, by name.
    """

    schema: Schema
    place: int
    relations: Mapping[str, Relation]


class Schema(Struct, eq=False):
    """The schema as it was read last. A place is the rowid of a row in it.

    Attributes:
        relations: the tables and views with their properties, by name.
        last: the highest place.
    """

    relations: dict[str, Relation] = field(default_factory=dict)
    last: int = 0
    # Names that changed, each with whether it existed before the change.
    _changes: list[tuple[str, bool]] = field(default_factory=list)
    _moment: Moment | None = None
    _rows: dict[int, Row] = field(default_factory=dict)
    _things: dict[str, _Thing] = field(default_factory=dict)
    _mentions: dict[str, set[str]] = field(default_factory=dict)

    def places(self, names: Iterable[str]) -> set[int]:
        """Return the places of some tables and views, and of their triggers and indexes."""
        return {place for name in names if name in self._things for place in self._things[name].rows}

    def in_order(self) -> list[Row]:
        """Return all rows, in order of creation."""
        return [self._rows[at] for at in sorted(self._rows)]

    def update(self, rows: Iterable[tuple[int, str, str, str, str]], places: Iterable[int] | None = None) -> None:
        """Take over rows that were read.

        Args:
            rows: rows of the query `SCHEMA` or `rows_at`.
            places: the places that were asked for; None: all.
        """
        now: dict[int, Row] = {place: (kind, name, table, sql) for place, kind, name, table, sql in rows}
        asked = self._rows.keys() if places is None else {*places}
        differing = {at for at in asked | now.keys() if self._rows.get(at) != now.get(at)}
        if not differing:
            return
        before = {at: self._rows.pop(at) for at in differing & self._rows.keys()}
        after = {at: now[at] for at in sorted(differing & now.keys())}
        self._rows |= after
        self.last = max(self._rows, default=0) if self.last in before else max(self.last, *after, 0)
        self._replace(before, after)

    def _replace(self, before: Mapping[int, Row], after: Mapping[int, Row]) -> None:
        changed = {row[2].lower() for some in (before, after) for row in some.values()}
        rows = {name: {**self._things[name].rows} if name in self._things else {} for name in changed}
        for place, row in before.items():
            del rows[row[2].lower()][place]
        for place, row in after.items():
            rows[row[2].lower()][place] = row
        stale = self.readers_of(changed)
        for name, its in rows.items():
            self._forget(name)
            if its:
                self._learn(name, dict(sorted(its.items())))
        stale |= self.readers_of(changed)
        for name in stale & self._things.keys():
            for part in self._things[name].parts:
                part.error = None

    def _forget(self, name: str) -> None:
        thing = self._things.pop(name, None)
        for word in thing.words if thing else ():
            self._mentions[word].discard(name)
        for part in thing.parts if thing else ():
            part.error = None  # an `Observation` may still hold it, and must check it anew
        if thing and thing.relation:
            del self.relations[thing.relation.name]
            self._changes.append((thing.relation.name, True))

    def _learn(self, name: str, rows: dict[int, Row]) -> None:
        parts = list(_parts(rows.values()))
        words = set[str]().union(*(words_of(part.sql) for part in parts))
        own = next((row for row in rows.values() if row[0] in {"table", "view"}), None)
        relation = _relation(own, rows.values()) if own else None
        self._things[name] = _Thing(rows, parts, words, relation)
        for word in words:
            self._mentions.setdefault(word, set()).add(name)
        if relation:
            self.relations[relation.name] = relation
            self._changes.append((relation.name, False))

    def readers_of(self, names: Iterable[str]) -> set[str]:
        """Return these names, and those of all objects whose text names one of them, directly or through others."""
        return closure(names, lambda name: self._mentions.get(name, set()))

    def of_kind(self, kind: str) -> list[Row]:
        """Return the rows of one type: `view` or `trigger`."""
        return [row for row in self._rows.values() if row[0] == kind]

    def named(self, name: str) -> Relation | None:
        """Return the table or view of a name, in upper or lower case; None where there is none."""
        thing = self._things.get(name.lower())
        return thing.relation if thing else None

    def now(self) -> Moment:
        """Return the present relations, to be compared with later."""
        if self._moment is None or self._moment.place != len(self._changes):
            self._moment = Moment(self, len(self._changes), self.relations.copy())
        return self._moment

    def gone_since(self, moment: Moment) -> list[str]:
        """Return the names of the tables and views that existed at that moment and do not now."""
        return [name for name, was_there in self._changed(moment).items() if was_there and name not in self.relations]

    def made_since(self, moment: Moment) -> tuple[str, ...]:
        """Return the names of the views that did not exist at that moment, in order of creation."""
        new = (self.relations.get(name) for name, was_there in self._changed(moment).items() if not was_there)
        views = (self._things[each.name.lower()] for each in new if each and each.is_view)
        return tuple(thing.relation.name for thing in self._in_order(views) if thing.relation)

    def _changed(self, moment: Moment) -> dict[str, bool]:
        """Return all names that may have been created or dropped since that moment, each with whether it existed then."""
        if moment.schema is not self:  # of another connection
            return {name: name in moment.relations for name in [*moment.relations, *self.relations]}
        return dict(reversed(self._changes[moment.place :]))

    def concerned(self, names: Iterable[str]) -> list[Part]:
        """Return the parts that read these views, or something that these views read, directly or through others; without names every part."""
        wanted = set(names)
        if not wanted:
            return [part for thing in self._in_order(self._things.values()) for part in thing.parts]
        below = closure(
            wanted, lambda name: self._things[name].words & self._things.keys() if name in self._things else set()
        )
        above = self._things.keys() & self.readers_of(below)
        return [part for thing in self._in_order(self._things[name] for name in above) for part in thing.parts]

    @staticmethod
    def _in_order(things: Iterable[_Thing]) -> list[_Thing]:
        return sorted(things, key=lambda thing: thing.place)


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


def words_of(sql: str) -> set[str]:
    """Return the words and the quoted names of a text, in lower case."""
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
