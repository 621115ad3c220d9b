"""The part of a footprint that decides about the order of migrations: what was made, changed, removed and needed, and rows touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from msgspec import Struct, field

from migrate_graph.core.footprint import Fact, Footprint
from migrate_graph.user_files import SourceLocation

ALL = "*"
"""Stands for every column of a table, and for its rows as a whole."""

_RELATIONS = frozenset({"table", "view", "matview", "sequence", "foreign table", "type"})
_PARTS = frozenset({"column", "constraint", "trigger", "rule", "policy"})
_FIRES = frozenset({"trigger", "rule", "policy"})
# Kinds of facts that only describe another fact: a migration that adds one has made nothing that others could need.
_SAID = frozenset({"grants", "default grants", "comment", "label", "setting"})
# Left out: two migrations that add a column each may change places, and one that exchanges columns also changes the columns.
_IMPLIED = frozenset({"column order"})
_LAST = re.compile(r'(?P<owner>.*)\.(?:"(?:[^"]|"")*"|[^."]+)', re.DOTALL)
_FIRST = re.compile(r'(?P<first>"(?:[^"]|"")*"|[^."]+)\.', re.DOTALL)
_KEY = re.compile(r'(?P<owner>(?:"(?:[^"]|"")*"|[^" ])+) (?:foreign key|unique) \(.*\)', re.DOTALL)


class Touch(StrEnum):
    """What is done to rows."""

    READ = "read"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    """Rows are deleted, or changed in a way that is not known."""
    CHECK = "check"
    """They are looked up for a foreign key."""
    PROVE = "prove"
    """A new constraint of a table that was there before is checked against them."""
    INDEX = "index"
    """A new index of a table that was there before is built of them: it may be unique."""


Rows: TypeAlias = Mapping[str, Mapping[Touch, frozenset[str]]]
"""What was done to the columns of each table; `*` stands for all of them."""


class Trace(Struct, frozen=True):
    """The part of one migration's footprint that decides about order.

    Facts are resources here: the kind of every relation and type is `relation`, since only one of them can have a name.

    Attributes:
        makes: what was not there before.
        changes: what is not as before.
        removes: what is gone.
        needs: what had to be there for it to run, and was not made by it.
        lost: what it no longer depends on: something that it removed or made anew had depended on that.
        rows: what it did to rows of tables that were there before.
        fires: tables whose triggers, rules or policies it changed.
    """

    makes: frozenset[Fact] = frozenset()
    changes: frozenset[Fact] = frozenset()
    removes: frozenset[Fact] = frozenset()
    needs: frozenset[Fact] = frozenset()
    lost: frozenset[Fact] = frozenset()
    rows: Rows = field(default_factory=lambda: MappingProxyType({}))
    fires: frozenset[str] = frozenset()


def resource_of(fact: Fact) -> Fact:
    """Return a fact as a resource: a relation or a type gets the kind `relation`, since who uses it may not know its kind."""
    return Fact("relation", fact.identity) if fact.kind in _RELATIONS else fact


def owner_of(identity: str) -> str:
    """Return the relation that a column, a constraint or a trigger belongs to: all but the last part of its name."""
    match = _KEY.fullmatch(identity) or _LAST.fullmatch(identity)
    return match["owner"] if match else identity


def _schema_of(identity: str) -> Iterator[Fact]:
    match = _FIRST.match(identity)
    if match:
        yield Fact("schema", match["first"])


def relation_and_part(name: str) -> tuple[str, str]:
    """Return the relation and the last part of `public.invoice.qty`, both as SQL writes them; a name of one part has no last part."""
    owner = owner_of(name)
    return owner, name[len(owner) + 1 :]


def trace_of(footprint: Footprint) -> Trace:
    """Return the part of a footprint that decides about order."""
    made = [fact for fact in footprint.added if fact.kind not in _SAID]
    said = [fact for fact in (*footprint.added, *footprint.removed) if fact.kind in _SAID]
    makes = _resources(made)
    changes = _resources([*footprint.changed, *said])
    removes = _resources(fact for fact in footprint.removed if fact.kind not in _SAID)
    own = {fact.identity for fact in makes if fact.kind == "relation"}
    facts = [*footprint.added, *footprint.changed, *footprint.removed]
    return Trace(
        makes=makes,
        changes=changes,
        removes=removes,
        needs=frozenset(_needs(footprint, facts)) - makes,
        lost=_resources(footprint.lost) - makes,
        rows=MappingProxyType({
            table: MappingProxyType({touch: frozenset(columns) for touch, columns in sorted(touches.items())})
            for table, touches in sorted(_rows(footprint).items()) if table not in own
        }),
        fires=frozenset(owner_of(fact.identity) for fact in facts if fact.kind in _FIRES) - own,
    )  # fmt: skip


def _resources(facts: Iterable[Fact]) -> frozenset[Fact]:
    return frozenset(resource_of(fact) for fact in facts if fact.kind not in _IMPLIED)


def _needs(footprint: Footprint, facts: Iterable[Fact]) -> Iterator[Fact]:
    """Yield what had to be there for a migration to run; also what it made itself."""
    yield from (Fact("relation", name) for name in {*footprint.locks, *footprint.checked, *footprint.inserts})
    for use in footprint.uses | footprint.writes:
        relation, column = relation_and_part(use)
        yield Fact("relation", relation)
        if column != ALL:
            yield Fact("column", use)
    yield from _resources(footprint.hangs | footprint.calls)
    for fact in facts:
        whole = owner_of(fact.identity) if fact.kind in _PARTS else fact.identity
        if fact.kind in _PARTS or fact.kind == "grants":
            yield Fact("relation", whole)
        if fact.kind not in _SAID:
            yield from _schema_of(whole)


_Found: TypeAlias = dict[str, dict[Touch, set[str]]]


def _rows(footprint: Footprint) -> _Found:
    """Return what was done to the columns of each table."""
    rows: _Found = {}
    for touch, relation, column in _touches(footprint):
        rows.setdefault(relation, {}).setdefault(touch, set()).add(column)
    return rows


def _touches(footprint: Footprint) -> Iterator[tuple[Touch, str, str]]:
    yield from ((Touch.READ, *relation_and_part(use)) for use in _read(footprint))
    for use in footprint.writes:
        relation, column = relation_and_part(use)
        yield Touch.DELETE if column == ALL else Touch.UPDATE, relation, column
    yield from ((Touch.INSERT, relation, ALL) for relation in footprint.inserts)
    yield from ((Touch.DELETE, relation, ALL) for relation, wrote in footprint.wrote.items() if wrote.deleted)
    yield from ((Touch.CHECK, relation, ALL) for relation in footprint.checked)
    yield from ((touch, *relation_and_part(use)) for touch, use in _proved(footprint))


def _read(footprint: Footprint) -> Iterator[str]:
    """Yield the columns that were read: not those that a statement names only to put rows into them."""
    told = set()
    for statement in footprint.statements:
        for use in statement.uses:
            told.add(use)
            # A column that a statement reads only to build or to check something is not in `footprint.uses`.
            if use in footprint.uses and owner_of(use) not in statement.inserts:
                yield use
    # Columns that views, triggers and functions read stand in no statement's `uses`.
    yield from (use for use in footprint.uses - told if owner_of(use) not in footprint.inserts)


def _proved(footprint: Footprint) -> Iterator[tuple[Touch, str]]:
    """Yield the columns of older tables that were read to check a new constraint, or to build a new index."""
    made = {fact.identity for fact in footprint.added}
    columns = [fact.identity for fact in footprint.hangs if fact.kind == "column"]
    bound = {owner_of(fact.identity) for fact in footprint.added if fact.kind == "constraint"} - made
    indexes = any(fact.kind == "index" for fact in footprint.added)
    for column in columns:
        relation = owner_of(column)
        if relation in bound or (bound and footprint.locks.get(relation) == "SHARE ROW EXCLUSIVE"):
            yield Touch.PROVE, column
        elif relation not in made and indexes and footprint.locks.get(relation) != "ACCESS SHARE":
            yield Touch.INDEX, column


class Entry(Struct, frozen=True):
    """What is kept of a migration that was watched.

    Attributes:
        trace: what it did.
        fingerprint: of its text then.
        views: for each view that it made, the view's fingerprint then.
        uses: for each of these views, the managers that it was seen to use; views of which the database told nothing are left out.
    """

    trace: Trace
    fingerprint: str = ""
    views: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    uses: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))


class TrialKind(StrEnum):
    """How a migration was tried on a new database."""

    PLANNED = "in the order of the project"
    ALONE = "on what it requires alone"
    OTHER = "in another order that the graph permits"
    INFERRED = "in an order that the inferred graph permits"
    BACK = "when it is undone"
    AGAIN = "when it is applied again after its way back"

    @property
    def goes_back(self) -> bool:
        """Whether it is about a way back, and not about an order."""
        return self in {TrialKind.BACK, TrialKind.AGAIN}


class Trial(Struct, frozen=True):
    """A trial of migrations that did not end as it should.

    Attributes:
        name: the migration that failed; where only the result differs, the later one of the two that changed places.
        kind: how it was tried.
        error: why it failed; empty where all succeeded.
        source: where it failed.
        other: the migration that it changed places with; empty where that was not found out.
        differences: what differs from the result of the project's own order, in words.
        order: the order in which migrations were tried; empty for the project's own.
        reasons: why no way back can be derived, each with its line.
    """

    name: str
    kind: TrialKind
    error: str = ""
    source: SourceLocation | None = None
    other: str = ""
    differences: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    reasons: tuple[tuple[str, SourceLocation | None], ...] = ()


class Traces(Struct, frozen=True):
    """What is known of all migrations that were watched.

    Attributes:
        entries: by migration.
        file: the file that they were read from, as it is shown; empty when they were watched just now.
        faults: what is wrong with that file, each with its line.
        trials: the trials that did not end as they should.
    """

    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    file: str = ""
    faults: tuple[tuple[int, str], ...] = ()
    trials: tuple[Trial, ...] = ()
