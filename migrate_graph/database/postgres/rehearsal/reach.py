"""What a migration touches without naming it: dependencies of its objects, and what views, triggers and functions read or write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from migrate_graph.core.footprint import Fact
from migrate_graph.database.postgres.facts.columns import Named, Thing
from migrate_graph.database.postgres.facts.dependencies import Dependencies
from migrate_graph.database.postgres.facts.reading import Difference, Facts
from migrate_graph.database.postgres.rehearsal.locks_and_counters import UNTOUCHED, Counters, Seen

_BUILDS: Final = frozenset({
    "CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "ANALYZE", "VACUUM", "CLUSTER", "REINDEX", "LOCK", "SECURITY", "REASSIGN",
    "IMPORT", "REFRESH", "SET", "RESET", "SHOW", "DISCARD", "DEALLOCATE", "LISTEN", "NOTIFY", "UNLISTEN", "CHECKPOINT", "LOAD", "SAVEPOINT",
    "RELEASE", "ROLLBACK", "COMMIT",
})  # fmt: skip
"""First words of statements whose effect the facts tell. The rows that they read to check a constraint do not count as used."""

_OF_OTHERS: Final = frozenset({"grants", "comment", "label", "column order"})
"""Kinds of facts that are properties of another object."""


class _Touch(Struct):
    """What was done with one relation that no statement names.

    Attributes:
        name: name of the relation.
        is_blind: any column may have been used; otherwise the columns that views read are known.
        is_read: its rows were read.
        is_written: existing rows were updated or deleted.
        is_filled: rows were inserted.
    """

    name: str
    is_blind: bool = False
    is_read: bool = False
    is_written: bool = False
    is_filled: bool = False


class Reached(Struct, frozen=True):
    """What a migration has touched; for the attributes see `Footprint`."""

    hangs: frozenset[Fact] = frozenset()
    lost: frozenset[Fact] = frozenset()
    uses: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    inserts: frozenset[str] = frozenset()
    calls: frozenset[Fact] = frozenset()
    checked: frozenset[str] = frozenset()


class _Notes(Struct):
    """What was noted of one migration.

    Attributes:
        touched: relations that no statement names, by OID.
        views: OIDs of the views that it has read or filled.
        others: functions, types and sequences that its statements name.
        checked: names of relations of which foreign keys have locked rows.
        writes: columns that its statements update; `public.t.*` for deleted rows.
        inserts: names of relations into which its statements insert rows.
    """

    touched: dict[int, _Touch] = field(default_factory=dict)
    views: set[int] = field(default_factory=set)
    others: set[Thing] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    inserts: set[str] = field(default_factory=set)


class Reach:
    """Notes what migrations touch, one migration after another.

    Args:
        facts: the objects and properties of the database.
        dependencies: which objects depend on which; they are read here.
    """

    def __init__(self, facts: Facts, dependencies: Dependencies) -> None:
        self._facts = facts
        self._dependencies = dependencies
        dependencies.read_whole()
        self._notes = _Notes()

    def begin(self) -> None:
        """Begin with another migration, and forget the notes of the last one."""
        self._notes = _Notes()

    def names(self, named: Named) -> None:
        """Note what a statement on rows names."""
        notes = self._notes
        notes.others |= named.others
        notes.writes |= set(named.writes)
        notes.inserts |= set(named.inserts)

    def note(self, word: str, named: Named | None, before: Counters, now: Counters) -> None:
        """Note what a statement did with relations.

        Args:
            word: the first word of the statement.
            named: what it names; None where it is no statement on rows.
            before: what the transaction had done with each relation before the statement.
            now: what it has done after the statement.
        """
        for number, seen in now.items():
            if seen.name is None or seen.kind in {"c", "S"}:
                continue
            was = before.get(number, UNTOUCHED)
            is_read_through = seen.kind == "v" and named is not None and number in named.relations
            if is_read_through or (seen.kind == "m" and word in {"REFRESH", "CREATE"} and seen != was):
                self._notes.views.add(number)
            elif word == "TRUNCATE":
                self._note_emptied(seen, was)
            elif named is None or number not in named.relations:
                self._note_beyond(number, word, named, seen, was)
            elif "RowShareLock" in seen.modes - was.modes:
                self._notes.checked.add(seen.name)

    def _note_emptied(self, seen: Seen, was: Seen) -> None:
        if seen.file != was.file or seen.modes != was.modes:
            self._notes.writes.add(f"{seen.name}.*")

    def _note_beyond(self, number: int, word: str, named: Named | None, seen: Seen, was: Seen) -> None:
        """Note what was done with a relation that the statement does not name."""
        fresh = seen.modes - was.modes
        is_blind = not (named.is_known if named is not None else word in _BUILDS)
        has_moved = seen.has_moved_since(was)
        if word in _BUILDS and (not has_moved or _only_builds(word, seen, fresh)):
            return
        if not has_moved and not fresh & _OF_ROWS:
            return
        written = tuple(now - then for now, then in zip(seen.written, was.written, strict=True))
        if not is_blind and "RowShareLock" in seen.modes and not any(written) and "AccessShareLock" not in fresh:
            self._notes.checked.add(str(seen.name))
            return
        touch = self._notes.touched.setdefault(number, _Touch(str(seen.name)))
        touch.is_blind |= is_blind
        inserted, updated, deleted = written
        has_written = any(written) or "RowExclusiveLock" in fresh
        fills = bool(inserted) or (named is not None and bool(named.inserts) and not named.writes)
        touch.is_filled |= has_written and fills
        touch.is_written |= has_written and (bool(updated or deleted) or not fills)
        touch.is_read |= not has_written or bool(updated or deleted) or not fills

    def reached(self, difference: Difference) -> Reached:
        """Return what a migration has touched, after it has ended.

        Args:
            difference: how it has changed the facts.
        """
        hangs, lost = self._exchange(difference)
        notes = self._notes
        through = self._columns_of(
            frozenset().union(*(self._dependencies.read_by(view, stops=self._is_held) for view in notes.views))
        )
        uses = {column for columns in through.values() for column in columns}
        writes = set(notes.writes)
        for number, touch in notes.touched.items():
            if self._facts.fact_of("pg_class", number) in difference.made:
                continue  # the migration has created the relation itself
            whole = {f"{touch.name}.*"}
            columns = whole if touch.is_blind else through.get(number, whole)
            uses |= columns if touch.is_read else set()
            writes |= columns if touch.is_written else set()
        return Reached(
            hangs=hangs,
            lost=lost,
            uses=frozenset(uses),
            writes=frozenset(writes),
            inserts=frozenset({*notes.inserts, *(touch.name for touch in notes.touched.values() if touch.is_filled)}),
            calls=frozenset(self._facts_of(self._dependencies.stand_for(notes.others))) - difference.made,
            checked=frozenset(notes.checked),
        )

    def _is_held(self, number: int) -> bool:
        """Return whether a relation stores the rows that it has read (a materialized view): to read it does not read those again."""
        fact = self._facts.fact_of("pg_class", number)
        return fact is not None and fact.kind == "matview"

    def _columns_of(self, things: Iterable[Thing]) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for catalog, number, part in things:
            fact = self._facts.fact_of(catalog, number, part)
            if fact is not None:
                found.setdefault(number, set()).add(fact.identity if part else f"{fact.identity}.*")
        return found

    def _facts_of(self, things: Iterable[Thing]) -> set[Fact]:
        return {fact for thing in things if (fact := self._facts.fact_of(*thing)) is not None}

    def _exchange(self, difference: Difference) -> tuple[frozenset[Fact], frozenset[Fact]]:
        """Read the dependencies anew; return what new objects depend on, and what only the old ones depended on."""
        known, dependencies = self._facts, self._dependencies
        anew = {key[:3] for key in difference.anew if key[3] not in _OF_OTHERS}
        gone = {key[:3]: fact for key, fact in difference.gone.items() if key[3] not in _OF_OTHERS}
        before = {thing for old in gone for thing in dependencies.of(old)}
        dependencies.renew({*anew, *gone})
        now = {thing for new in anew for thing in dependencies.of(new)}
        around = {known.relation_of(key) for key in difference.anew}
        around |= {known.fact_of(*key[:3]) for key in difference.anew if key[3] in _OF_OTHERS}
        stays = self._facts_of(now)
        let_go = {gone.get(thing) or known.fact_of(*thing) for thing in before - now} - stays
        return frozenset({*stays, *filter(None, around)} - difference.made), frozenset(filter(None, let_go))


def _only_builds(word: str, seen: Seen, fresh: frozenset[str]) -> bool:
    """Return whether rows were only read to build or check something, for example an index; `CREATE TABLE AS` really uses them."""
    return seen.may_have_changed and not (word == "CREATE" and "AccessShareLock" in fresh)


_OF_ROWS: Final = frozenset({"AccessShareLock", "RowShareLock", "RowExclusiveLock"})
"""The locks of statements that read or write rows."""
