"""Finds which objects of an SQLite database depend on which: by what the authorizer is asked for each view, trigger and index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from migrate_graph.core.footprint import Fact
from migrate_graph.database.sqlite.authorizer import overheard
from migrate_graph.database.sqlite.facts import NAME, Facts, spelled, table_of
from migrate_graph.quoting import unquoted

_INDEX: Final = re.compile(rf"(\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+)(?:{NAME}\s*\.\s*)?{NAME}", re.IGNORECASE)
_PROBE: Final = '"migrate_graph_probe"'
_KEYS: Final = 'SELECT "table", "from", "to" FROM pragma_foreign_key_list(?)'
_FIRST_KEY: Final = "SELECT name FROM pragma_table_info(?) WHERE pk = 1"
_OF_ROWS: Final = {sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_DELETE}
_OF_TABLES: Final = frozenset({"column", "index", "trigger", "constraint"})


class Hanging:
    """Reads what each fact depends on.

    Args:
        path: path of the database file.

    Attributes:
        broken: why a view cannot be read, by the view's name; set by `read`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, str] = {}
        self.broken: dict[str, str] = {}

    def read(self, facts: Facts) -> dict[Fact, frozenset[Fact]]:
        """Return the facts that each fact depends on; `broken` tells which views cannot be read.

        Args:
            facts: the present facts.
        """
        self.broken, self._names = {}, {spelled(name): name for name in facts.tables}
        with closing(sqlite3.connect(self._path)) as connection:
            return {
                fact: frozenset(_really(self._of(connection, facts, fact, definition), facts) - {fact})
                for fact, definition in facts.known.items()
                if fact.kind != "table"
            }

    def _of(self, connection: sqlite3.Connection, facts: Facts, fact: Fact, definition: str) -> set[Fact]:
        found = {owner_of(facts, table_of(fact))} if fact.kind in _OF_TABLES and fact.kind != "index" else set()
        if fact.kind == "view":
            return self._reading(connection, f"SELECT * FROM {fact.identity}", self._names[fact.identity], fact)
        if fact.kind == "index":
            return self._reading(connection, _INDEX.sub(rf"\1{_PROBE}", definition, count=1), "", None)
        if fact.kind == "trigger":
            return found | self._of_trigger(connection, facts, fact)
        if fact.kind == "constraint" and " foreign key " in fact.identity:
            return found | set(self._of_key(connection, fact))
        return found

    def _reading(self, connection: sqlite3.Connection, sql: str, inner: str, told: Fact | None) -> set[Fact]:
        """Return what a statement reads or writes: itself (empty `inner`), or by the view or trigger `inner`."""
        with overheard(connection) as asked:
            try:
                connection.execute(f"EXPLAIN {sql}")
            except sqlite3.Error as error:
                if told is not None:
                    self.broken[told.identity] = str(error)
        return {
            Fact("column", f"{spelled(table)}.{spelled(column)}") if column else Fact("table", spelled(table))
            for action, table, column, _, where in asked
            if action in _OF_ROWS and table and where == inner and not table.startswith("sqlite_")
        }

    def _of_trigger(self, connection: sqlite3.Connection, facts: Facts, fact: Fact) -> set[Fact]:
        table = table_of(fact)
        name = unquoted(fact.identity[len(table) + 1 :])
        columns = [spelled(each) for each in facts.tables[self._names[table]].columns]
        sets = ", ".join(f"{each} = {each}" for each in columns)
        firing = (f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}", f"UPDATE {table} SET {sets}")
        return set().union(*(self._reading(connection, sql, name, None) for sql in firing))

    def _of_key(self, connection: sqlite3.Connection, fact: Fact) -> Iterator[Fact]:
        own = fact.identity.rpartition(" foreign key (")[2].removesuffix(")")  # a column's name may contain a comma
        for parent, column, to in connection.execute(_KEYS, (self._names[table_of(fact)],)).fetchall():
            if f", {column}, " not in f", {own}, ":
                continue
            yield Fact("column", f"{table_of(fact)}.{spelled(column)}")
            yield Fact("table", spelled(parent))
            for key in [to] if to else [row[0] for row in connection.execute(_FIRST_KEY, (parent,)).fetchall()]:
                yield Fact("column", f"{spelled(parent)}.{spelled(key)}")


def looked_up(now: Mapping[Fact, frozenset[Fact]], *, inserts: frozenset[str], writes: frozenset[str]) -> set[Fact]:
    """Return the columns and tables that SQLite reads to check foreign keys when rows are inserted or columns written.

    Args:
        now: the facts that each fact depends on.
        inserts: tables that rows were inserted into.
        writes: columns that were written; `t.*` for all.
    """
    return {
        thing
        for fact, things in now.items()
        if fact.kind == "constraint" and " foreign key " in fact.identity
        for table in [table_of(fact)]
        if table in inserts or not writes.isdisjoint({f"{table}.*", *(each.identity for each in things)})
        for thing in things
        if table_of(thing) != table
    }


def only_scanned(
    now: Mapping[Fact, frozenset[Fact]], *, uses: frozenset[str], inserts: frozenset[str], writes: frozenset[str]
) -> set[str]:
    """Return the columns that SQLite itself has read, only because rows were inserted into the table that they refer to.

    SQLite looks then whether rows with these columns were waiting for the inserted ones (deferred foreign keys).

    Args:
        now: the facts that each fact depends on.
        uses: columns that were read or written.
        inserts: tables that rows were inserted into.
        writes: columns that were written; `t.*` for all.
    """
    touched: dict[str, set[str]] = {}
    for use in uses | writes:
        touched.setdefault(table_of(Fact("column", use)), set()).add(use)
    keys: dict[str, set[str]] = {}
    for fact, things in now.items():
        table = table_of(fact)
        others = {table_of(thing) for thing in things} - {table}
        is_waiting = fact.kind == "constraint" and " foreign key " in fact.identity and others <= inserts
        if is_waiting and not any(touched.get(other, set()) & writes for other in others):
            keys.setdefault(table, set()).update(thing.identity for thing in things if table_of(thing) == table)
    return {
        use
        for table, columns in keys.items()
        if table not in inserts and touched.get(table, set()) <= columns - writes
        for use in touched.get(table, set())
    }


def hangs_and_lost(
    before: Mapping[Fact, frozenset[Fact]],
    now: Mapping[Fact, frozenset[Fact]],
    *,
    anew: frozenset[Fact],
    made: frozenset[Fact],
) -> tuple[frozenset[Fact], frozenset[Fact]]:
    """Return what the objects of a migration depend on and it has not made, and what its changed and dropped objects no longer depend on.

    Args:
        before: the facts that each fact depended on before the migration.
        now: the facts that each fact depends on now.
        anew: facts that are new, changed, or belong to an object that was made again.
        made: those of them that the migration made, also when they are as before.
    """
    stays = {thing for fact in anew for thing in now.get(fact, ())}
    # A column depends on nothing but its table.
    old = {fact for fact in {*anew, *(before.keys() - now.keys())} if fact.kind != "column"}
    let_go = {thing for fact in old for thing in before.get(fact, ())}
    return frozenset(stays - made), frozenset(let_go - stays)


def _really(found: set[Fact], facts: Facts) -> set[Fact]:
    """Return facts with their real kind (a "table" may be a view); one that does not exist is left out."""
    told = set()
    for fact in found:
        if fact in facts.known:
            told.add(fact)
        elif fact.kind == "table" and (view := Fact("view", fact.identity)) in facts.known:
            told.add(view)
        elif fact.kind == "column" and fact.identity.endswith((".rowid", ".ROWID", ".oid", "._rowid_")):
            told |= _really({Fact("table", table_of(fact))}, facts)
    return told


def owner_of(facts: Facts, table: str) -> Fact:
    """Return the fact of the table or view with this name."""
    return Fact("view" if Fact("view", table) in facts.known else "table", table)
