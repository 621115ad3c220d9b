"""Reads the facts of a database (its objects and their definitions, as PostgreSQL writes them) again and again, and compares them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from migrate_graph.core.footprint import Fact
from migrate_graph.core.traces import owner_of
from migrate_graph.database import watching
from migrate_graph.database.postgres.facts.query import OF_PRIVILEGES, PARTS, Part, Scope, facts_query

Key: TypeAlias = tuple[str, int, int, str]
"""What identifies a fact even if its object is renamed: catalog, OID, number of a part, and kind of fact."""

Read: TypeAlias = Callable[[str, frozenset[int]], Sequence[tuple[Any, ...]]]
"""Runs a query under `SETTINGS`, with the OIDs of the relations to read as its parameter, and returns its rows."""


class _Known(Struct, frozen=True):
    """One fact, as it was read.

    Attributes:
        fact: its kind and name.
        definition: its definition, as the server writes it.
        part: name of the part of the query that read it.
        relation: OID of the relation that it belongs to; 0 for none.
    """

    fact: Fact
    definition: str
    part: str
    relation: int


class Difference(watching.Difference, frozen=True):
    """How facts differ from an earlier reading.

    Attributes:
        retyped: the types of columns, before and after, where they are not the same.
        invalid: names of indexes that became invalid.
        made: facts of new objects; also of an object that was dropped and created again as it was.
        anew: keys of facts that were added or changed, or whose object was created again.
        gone: facts that were removed or changed, by key, as they were before.
    """

    retyped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    invalid: tuple[str, ...] = ()
    made: frozenset[Fact] = frozenset()
    anew: frozenset[Key] = frozenset()
    gone: Mapping[Key, Fact] = field(default_factory=dict)


class Facts:
    """The facts of a database, as they were last read.

    Args:
        read: see `Read`.
        version: version of the server.
        own: quoted names of the tool's tables, which are left out.
    """

    def __init__(self, read: Read, *, version: int, own: Collection[str]) -> None:
        self._read = read
        self._version = version
        self._own = tuple(own)
        self._known: dict[Key, _Known] = {}
        self._of_part: dict[str, set[Key]] = {}
        self._of_relation: dict[int, set[Key]] = {}
        self._code: str | None = None

    def ask(self, query: str) -> Sequence[tuple[Any, ...]]:
        """Run a query with the same settings as for facts."""
        return self._read(query, frozenset())

    def definitions(self) -> dict[Fact, str]:
        """Return the definitions of all facts."""
        return {known.fact: known.definition for known in self._known.values()}

    def fact_of(self, catalog: str, number: int, part: int = 0) -> Fact | None:
        """Return the fact of an object; None where there is none."""
        for kind in ("column",) if part else _KINDS_OF_OBJECTS:
            if known := self._known.get((catalog, number, part, kind)):
                return known.fact
        return None

    def relation_of(self, key: Key) -> Fact | None:
        """Return the relation that a fact belongs to; None for a relation itself, and for facts that belong to none."""
        relation = self._known[key].relation
        return self.fact_of("pg_class", relation) if relation and key[:3] != ("pg_class", relation, 0) else None

    def read_whole(self) -> Difference:
        """Read all facts; return how they differ from the last reading."""
        return difference(*self._exchange(Scope()))

    def read_changed(self, relations: Iterable[int], written: frozenset[str], said: str) -> Difference:
        """Read the facts that may have changed; return how they differ from the last reading.

        Args:
            relations: OIDs of relations with a lock that allows to change them.
            written: names of catalogs in which rows were written.
            said: the statements that may have changed facts, in lower case.
        """
        touched = frozenset(relations)
        parts = {name for name, part in PARTS.items() if self._is_due(part, written, said)}
        if touched:
            parts |= {name for name, part in PARTS.items() if part.of_relations}
        if not parts:
            return Difference()
        old, new = self._exchange(Scope(touched, frozenset(parts)))
        found = difference(old, new)
        if not found.renamed:
            return found
        # A renamed object also has its new name in the definitions of others, so everything is read.
        self._replace(new, old)
        parts = {name for name, part in PARTS.items() if not part.shared or name in parts}
        return difference(*self._exchange(Scope(None, frozenset(parts))))

    def _is_due(self, part: Part, written: frozenset[str], said: str) -> bool:
        if part.of_relations or written.isdisjoint(part.catalogs):
            return False
        if not part.words or any(word in said or word in self._kept_code() for word in part.words):
            return True
        return part.words is OF_PRIVILEGES and bool(self._of_part.get("default grants"))

    def _kept_code(self) -> str:
        """Return the code of functions and rules in lower case: a statement that calls one need not contain the words of what it does."""
        if self._code is None:
            keys = [*self._of_part.get("function", ()), *self._of_part.get("rule", ())]
            self._code = "\n".join(self._known[key].definition for key in keys).lower()
        return self._code

    def _exchange(self, scope: Scope) -> tuple[dict[Key, _Known], dict[Key, _Known]]:
        """Read the facts of a scope; return those known before, and those known now."""
        rows = self._read(facts_query(self._version, self._own, scope), scope.relations or frozenset())
        if scope.parts is None or not scope.parts.isdisjoint({"function", "rule"}):
            self._code = None
        new = {
            (catalog, number, part_number, kind): _Known(Fact(kind, identity), definition or "", part, relation)
            for part, kind, identity, definition, catalog, number, part_number, relation in rows
        }
        old = {key: self._known[key] for key in self._in_scope(scope)}
        self._replace(old, new)
        return old, new

    def _replace(self, old: Mapping[Key, _Known], new: Mapping[Key, _Known]) -> None:
        for key, known in old.items():
            del self._known[key]
            self._of_part[known.part].discard(key)
            self._of_relation[known.relation].discard(key)
        for key, known in new.items():
            self._known[key] = known
            self._of_part.setdefault(known.part, set()).add(key)
            self._of_relation.setdefault(known.relation, set()).add(key)

    def _in_scope(self, scope: Scope) -> set[Key]:
        if scope.parts is None:
            return set(self._known)
        found: set[Key] = set()
        for name in scope.parts:
            if not PARTS[name].of_relations or scope.relations is None:
                found |= self._of_part.get(name, set())
        for relation in scope.relations or ():
            found |= {key for key in self._of_relation.get(relation, ()) if PARTS[self._known[key].part].of_relations}
        return found


_KINDS_OF_OBJECTS: Final = (
    "table", "view", "matview", "sequence", "foreign table", "index", "type", "function", "procedure", "aggregate", "constraint", "schema",
    "extension", "trigger", "rule", "policy", "statistics", "cast", "operator", "operator class", "operator family", "collation",
    "conversion", "text search configuration", "text search dictionary", "text search parser", "text search template", "language",
    "access method", "event trigger", "publication", "subscription", "foreign data wrapper", "foreign server", "role",
)  # fmt: skip


def difference(old: Mapping[Key, _Known], new: Mapping[Key, _Known]) -> Difference:
    """Return how facts differ between two readings."""
    was = {known.fact: known.definition for known in old.values()}
    now = {known.fact: known.definition for known in new.values()}
    removed = was.keys() - now.keys()
    return Difference(
        added=frozenset(_without_order(now.keys() - was.keys())),
        changed=frozenset(_really_changed(was, now)),
        removed=frozenset(_without_order(removed)),
        renamed=frozenset(
            _without_order(known.fact for key, known in old.items() if key in new and new[key].fact != known.fact and known.fact in removed)
        ),
        called={
            known.fact.identity: new[key].fact.identity
            for key, known in old.items() if known.fact.kind in {"table", "column"} and key in new and new[key].fact != known.fact
        },
        retyped=dict(_retyped(was, now)),
        invalid=tuple(sorted(
            known.fact.identity for key, known in new.items()
            if known.fact.kind == "index" and _is_invalid(known) and not (key in old and _is_invalid(old[key]))
        )),
        made=frozenset(known.fact for key, known in new.items() if key not in old or known.fact not in was),
        anew=frozenset(key for key, known in new.items() if key not in old or old[key] != known),
        gone={key: known.fact for key, known in old.items() if key not in new or new[key] != known},
    )  # fmt: skip


# What may follow the type in the definition of a column, as `facts_query` writes it.
_TYPE = re.compile(
    r"(?:\"(?:[^\"]|\"\")*\"|.)+?(?=$| not null| default | generated | identity | collate | storage | compression | statistics | \{| inherited)",
    re.DOTALL,
)


def _retyped(was: Mapping[Fact, str], now: Mapping[Fact, str]) -> Iterable[tuple[str, tuple[str, str]]]:
    """Yield the columns that have another type than before, with both."""
    for fact in was.keys() & now.keys():
        if fact.kind == "column" and was[fact] != now[fact]:
            types = [found[0] if (found := _TYPE.match(each[fact])) else "" for each in (was, now)]
            if types[0] != types[1]:
                yield fact.identity, (types[0], types[1])


def _is_invalid(known: _Known) -> bool:
    return " INVALID" in known.definition


def _without_order(facts: Iterable[Fact]) -> Iterable[Fact]:
    return (fact for fact in facts if fact.kind != "column order")


def _really_changed(was: Mapping[Fact, str], now: Mapping[Fact, str]) -> Iterable[Fact]:
    """Yield facts with another definition; the order of columns only if no column of the table was added or removed."""
    came_or_went = {owner_of(fact.identity) for fact in was.keys() ^ now.keys() if fact.kind == "column"}
    for fact in was.keys() & now.keys():
        if was[fact] != now[fact] and not (fact.kind == "column order" and fact.identity in came_or_went):
            yield fact
