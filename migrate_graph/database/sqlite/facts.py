"""What an SQLite database is made of, in SQLite's own words; the difference of two such readings; how large its tables are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from migrate_graph import __version__
from migrate_graph.core.drift import Described, Inventory
from migrate_graph.core.footprint import Fact, Size
from migrate_graph.database.watching import Difference
from migrate_graph.quoting import quote_identifier

Run: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs a statement, and gives its rows."""

NAME: Final = r'(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|\w+)'
"""How SQL writes a name, without its schema; a regular expression."""

VIRTUAL: Final = "CREATE VIRTUAL TABLE "
"""How the text of a virtual table begins, as SQLite keeps it."""

_SCHEMA: Final = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY type, name"
# Without those that a virtual table has for its queries: one of fts5 is named like the table itself.
_COLUMNS: Final = (
    'SELECT cid, name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) WHERE hidden <> 1'
)
_KEYS: Final = (
    'SELECT id, seq, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq'
)
_UNIQUE: Final = (
    "SELECT l.name, group_concat(i.name) FROM pragma_index_list(?) l, pragma_index_info(l.name) i "
    "WHERE l.origin = 'u' GROUP BY l.name ORDER BY l.name"
)
_SHADOWS: Final = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def spelled(name: str) -> str:
    """Return a name as it is written in SQL: quoted where it is no plain one."""
    return name if _PLAIN.fullmatch(name) else quote_identifier(name)


def plain(written: str) -> str:
    """Return the name that SQL writes so, in whatever quotes."""
    return written[1:-1].replace('""', '"') if written[:1] in {'"', "`", "["} else written


class _Table(Struct, frozen=True):
    """What stands in one table.

    Attributes:
        sql: that makes it, as SQLite keeps it.
        page: where its content begins: the same when it is renamed; 0 for views.
        facts: of its columns and constraints, with their definitions.
        columns: names by number.
    """

    sql: str
    page: int
    facts: Mapping[Fact, str]
    columns: tuple[str, ...]


class Facts(Struct, frozen=True):
    """A reading.

    Attributes:
        known: every fact, with its definition.
        tables: by name.
    """

    known: Mapping[Fact, str] = field(default_factory=dict)
    tables: Mapping[str, _Table] = field(default_factory=dict)


def read_facts(run: Run, *, own: Collection[str], before: Facts | None = None) -> Facts:
    """Read what a database is made of.

    Args:
        run: runs a statement.
        own: names of tables that are this package's.
        before: an earlier reading: tables that are as they were then are not asked again.
    """
    rows = [row for row in run(_SCHEMA, ()) if row[2] not in own]
    known: dict[Fact, str] = {}
    tables: dict[str, _Table] = {}
    for kind, name, table, page, sql in rows:
        if kind in {"table", "view"} and not name.startswith("sqlite_"):
            old = before.tables.get(name) if before else None
            as_it_was = old is not None and (old.sql, old.page) == (sql, page)
            tables[name] = old if old and as_it_was else _read_table(run, kind, name, page, sql)
            known[Fact(kind, spelled(name))] = sql if kind == "view" else ""
            known.update(tables[name].facts)
        elif kind == "index" and sql:  # others belong to a constraint
            known[Fact("index", spelled(name))] = sql
        elif kind == "trigger":
            known[Fact("trigger", f"{spelled(table)}.{spelled(name)}")] = sql
    return Facts(known, tables)


def read_inventory(run: Run, *, own: Collection[str]) -> Inventory:
    """Read what a database is made of, each fact with the table that it belongs to.

    The text of a table is a fact here: what SQLite lists nowhere else (a check, a collation) stands in it. Tables that a virtual table
    keeps its content in are no facts: they come and go with it, and nobody else can make them.

    Args:
        run: runs a statement.
        own: names of tables that are this package's.
    """
    read = read_facts(run, own=own)
    indexed = {spelled(name): spelled(table) for kind, name, table, *_ in run(_SCHEMA, ()) if kind == "index"}
    shadows = _shadows(run, read)
    facts = {}
    for fact, definition in read.known.items():
        relation = indexed.get(fact.identity, "") if fact.kind == "index" else table_of(fact)
        if relation not in shadows:
            facts[fact] = Described(definition, relation)
    for name, table in read.tables.items():
        if Fact("table", spelled(name)) in facts:
            facts[Fact("text", spelled(name))] = Described(table.sql, spelled(name))
    return Inventory(facts, server="sqlite", version=__version__)


def _shadows(run: Run, facts: Facts) -> set[str]:
    """Return the tables that virtual ones keep their content in, as they are spelled; none where this SQLite cannot tell (before 3.37)."""
    if not any(table.sql.startswith(VIRTUAL) for table in facts.tables.values()):
        return set()
    try:
        return {spelled(name) for (name,) in run(_SHADOWS, ())}
    except Exception:  # noqa: BLE001 - an old SQLite
        return set()


def _read_table(run: Run, kind: str, name: str, page: int, sql: str) -> _Table:
    facts: dict[Fact, str] = {}
    try:
        columns = run(_COLUMNS, (name,))
    except Exception:  # noqa: BLE001 - a view of what is not there any more: it has no columns, and that is all there is to know
        return _Table(sql, page, facts, ())
    for _, column, *definition in columns:
        facts[_column(name, column)] = repr(definition)
    if kind == "table":
        keys: dict[int, list[tuple[Any, ...]]] = {}
        for number, *key in run(_KEYS, (name,)):
            keys.setdefault(number, []).append(tuple(key))
        for parts in keys.values():
            of = ", ".join(str(part[2]) for part in parts)
            facts[Fact("constraint", f"{spelled(name)} foreign key ({of})")] = repr(parts)
        for _, of in run(_UNIQUE, (name,)):
            facts[Fact("constraint", f"{spelled(name)} unique ({of})")] = ""
    return _Table(sql, page, facts, tuple(column for _, column, *_ in columns))


def difference(before: Facts, after: Facts) -> Difference:
    """Return what became of the facts between two readings."""
    old, new = before.known, after.known
    changed = {fact for fact in old.keys() & new.keys() if old[fact] != new[fact]}
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    touched = {table_of(fact) for fact in {*changed, *added, *removed}}
    for name, table in after.tables.items():
        was = before.tables.get(name)
        fact = Fact("table", spelled(name))
        if was is not None and fact in new and was.sql != table.sql and fact.identity not in touched:
            changed.add(fact)  # a check, a collation: what SQLite lists nowhere but in its text
    return Difference(
        added=frozenset(added),
        changed=frozenset(changed),
        removed=frozenset(removed),
        renamed=frozenset(_renamed(before, after) & removed),
    )


def table_of(fact: Fact) -> str:
    """Return the table that a fact belongs to, as it is spelled."""
    if fact.kind in {"column", "trigger"}:
        return table_in(fact.identity)
    if fact.kind != "constraint":
        return fact.identity
    match = re.match(r'"(?:[^"]|"")*"|[^ ]+', fact.identity)
    return match[0] if match else fact.identity


def table_in(name: str) -> str:
    """Return the table that a column is named with, as it is spelled."""
    match = re.match(r'"(?:[^"]|"")*"|[^.]+', name)
    return match[0] if match else name


def _renamed(before: Facts, after: Facts) -> set[Fact]:
    """Return facts of what has the same content under another name: a column that has its place, and is new there and as it was."""
    at = {table.page: name for name, table in after.tables.items() if table.page}
    found: set[Fact] = set()
    for name, table in before.tables.items():
        new = at.get(table.page)
        if new is None or (after.tables[new].columns == table.columns and new == name):
            continue
        if new != name:
            found |= {Fact("table", spelled(name)), *table.facts}
        elif len(after.tables[new].columns) >= len(table.columns):
            pairs = zip(table.columns, after.tables[new].columns, strict=False)
            found |= {
                _column(name, was)
                for was, now in pairs
                if now not in table.columns
                and table.facts[_column(name, was)] == after.tables[new].facts[_column(name, now)]
            }
    return found


def _column(table: str, name: str) -> Fact:
    return Fact("column", f"{spelled(table)}.{spelled(name)}")


def read_sizes(run: Run, facts: Facts) -> dict[str, Size]:
    """Return how large the tables are, by name as it is spelled: rows are counted, bytes where this SQLite can tell them."""
    names = [name for name, table in facts.tables.items() if table.page]
    try:
        taken: dict[str, int] = dict(run("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE", ()))
    except Exception:  # noqa: BLE001 - not every SQLite has it
        taken = {}
    rows = count_rows(run, names)
    return {spelled(name): Size(int(taken.get(name, 0)), rows[spelled(name)]) for name in names}


def count_rows(run: Run, names: Iterable[str]) -> dict[str, int]:
    """Return how many rows tables have, by name as it is spelled."""
    counts = {}
    for name in names:
        [(counts[spelled(name)],)] = run(f"SELECT count(*) FROM {quote_identifier(name)}", ())
    return counts
