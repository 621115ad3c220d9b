"""What a database is made of, and drift: what somebody changed by hand since the last run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.footprint import Fact

RELATIONS = frozenset({"table", "view", "matview", "foreign table", "sequence"})
"""Kinds of facts that other facts belong to."""

_MOVES_WITH = {"view": frozenset({"column", "column order"}), "matview": frozenset({"column", "column order"})}
"""For a kind of relation: the kinds of facts that change by themselves when its definition changes."""


_IN_THE_TEXT = frozenset({"column", "constraint"})
"""Kinds of facts that stand in the text of a table, where a database keeps one (SQLite)."""


class Described(Struct, frozen=True):
    """What the database says about a fact.

    Attributes:
        definition: in the database's own words.
        relation: the identity of the table, view or sequence that it belongs to, its own for these; empty for what belongs to none.
    """

    definition: str
    relation: str = ""


_NOTHING = Described("")


class Inventory(Struct, frozen=True, eq=False, dict=True):
    """Everything that a database is made of, as it was read at one moment.

    Attributes:
        facts: all facts, each with what the database says about it.
        server: kind and version of the server that was read: `postgres 15`, `sqlite`.
        version: of this tool.
    """

    facts: Mapping[Fact, Described]
    server: str
    version: str

    @cached_property
    def digest(self) -> str:
        """A digest of all facts, the same for the same facts."""
        return digest_of(self.facts.items())

    @cached_property
    def relations(self) -> dict[str, str]:
        """Digests of all that belongs to a relation, by its identity; a fact that belongs to none has its own, by kind and identity."""
        owned: dict[str, list[tuple[Fact, Described]]] = {}
        for fact, described in self.facts.items():
            owned.setdefault(described.relation or str(fact), []).append((fact, described))
        return {name: digest_of(facts)[:16] for name, facts in sorted(owned.items())}


def digest_of(facts: Iterable[tuple[Fact, Described]]) -> str:
    """Return the digest of facts, in whatever order they come."""
    lines = sorted(f"{fact.kind}\0{fact.identity}\0{described.definition}" for fact, described in facts)
    return hashlib.sha256("\1".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


class Changed(StrEnum):
    """What became of something between two runs."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


class Drifted(Struct, frozen=True):
    """One thing that is not as the last run left it.

    Attributes:
        fact: which.
        before: its definition when the last run had ended; None where it was not there.
        after: its definition now; None where it is gone.
        relation: the relation that it belongs to; empty for none.
        parts: facts that came, changed or went with it, and need no mention of their own.
    """

    fact: Fact
    before: str | None
    after: str | None
    relation: str = ""
    parts: tuple[Fact, ...] = ()

    @property
    def what(self) -> Changed:
        """What became of it."""
        return Changed.ADDED if self.before is None else Changed.REMOVED if self.after is None else Changed.CHANGED


class Drift(Struct, frozen=True):
    """What a comparison with the stored facts gave.

    Attributes:
        changes: in the order of their names.
        unknown: why nothing can be said; empty when something can.
        ignored: how many changes the project's patterns leave out.
    """

    changes: tuple[Drifted, ...] = ()
    unknown: str = ""
    ignored: int = 0


def why_not_comparable(before: Inventory, after: Inventory) -> str:
    """Return why two inventories tell nothing about each other; empty when they can be compared."""
    if before.version != after.version:
        return f"the schema of the database was stored by migrate_graph {before.version}, and this is {after.version}"
    if before.server != after.server:
        return f"the schema of the database was stored on {before.server}, and this is {after.server}"
    return ""


def drift_between(before: Inventory, after: Inventory, *, ignore: Sequence[str] = ()) -> Drift:
    """Return what differs in the second of two inventories.

    Args:
        before: as the last run left it.
        after: as it is now.
        ignore: patterns of what is left out: of names, or of a kind with a name (`public.log_*`, `index public.*_tmp`). The pattern of
            a relation also means what belongs to it.
    """
    if unknown := why_not_comparable(before, after):
        return Drift(unknown=unknown)
    found = _folded({change.fact: change for change in _changes(before, after)})
    told = tuple(change for change in found if not is_ignored(change.fact, change.relation, ignore))
    return Drift(changes=told, ignored=len(found) - len(told))


def is_ignored(fact: Fact, relation: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern names a fact, or the relation that it belongs to."""
    names = [name for name in (fact.identity, relation, str(fact)) if name]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _changes(before: Inventory, after: Inventory) -> Iterator[Drifted]:
    was, now = before.facts, after.facts
    differing = [
        (fact, was.get(fact), now.get(fact))
        for fact in sorted(was.keys() | now.keys())
        if was.get(fact) != now.get(fact)
    ]
    moved, spoken_for = set(), set()
    for fact, old, new in differing:
        relation = (old or new or _NOTHING).relation
        if fact.kind in _IN_THE_TEXT:
            spoken_for.add(relation)
        if fact.kind == "column" and (old is None or new is None):
            moved.add(relation)
    # Another order of columns is reported only where no column came or went, which changes the order as well. Another text of a table
    # is reported only where no column or constraint in it is.
    silent = {"column order": moved, "text": spoken_for}
    for fact, old, new in differing:
        relation = (new or old or _NOTHING).relation
        if old is None or new is None or relation not in silent.get(fact.kind, ()):
            before_it, after_it = (each.definition if each is not None else None for each in (old, new))
            yield Drifted(fact, before_it, after_it, relation)


def _folded(changes: Mapping[Fact, Drifted]) -> list[Drifted]:
    """Return the changes; those that follow from the change of their relation become `parts` of that change."""
    owners: dict[tuple[str, bool], Drifted] = {}
    for fact, change in changes.items():
        if fact.kind in RELATIONS:  # a view may be gone, and a table have come in its place
            owners |= {
                (change.relation, is_gone): change for is_gone in (change.after is None, change.before is not None)
            }
    parts: dict[Fact, list[Fact]] = {}
    for fact, change in changes.items():
        owner = owners.get((change.relation, change.after is None), change) if fact.kind not in RELATIONS else change
        goes_along = owner.what is not Changed.CHANGED or fact.kind in _MOVES_WITH.get(owner.fact.kind, ())
        if owner.fact != fact and goes_along:
            parts.setdefault(owner.fact, []).append(fact)
    folded = {fact for found in parts.values() for fact in found}
    return [replace(change, parts=tuple(parts.get(fact, ()))) for fact, change in changes.items() if fact not in folded]
