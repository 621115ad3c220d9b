"""Reads the facts of an SQLite database (its objects with their definitions), compares two readings, and reads the sizes of tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from migrate_graph import __version__
from migrate_graph.core.drift import Described, Inventory
from migrate_graph.core.footprint import Fact, Size
from migrate_graph.core.traces import owner_of
from migrate_graph.database.watching import Difference
from migrate_graph.quoting import quote_identifier, unquoted
from migrate_graph.sql_space import SPACE

Run: TypeAlias = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs a statement, and returns its rows."""

NAME: Final = r'(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|\w+)'
"""How SQL writes a name, without its schema; a regular expression."""

VIRTUAL: Final = "CREATE VIRTUAL TABLE "
"""The beginning of the text that SQLite stores for a virtual table."""

_SCHEMA: Final = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY type, name"
# Without the hidden columns of a virtual table: fts5 has one with the name of the table itself.
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
    """Return a name as SQL writes it: quoted if it needs quotes."""
    return name if _PLAIN.fullmatch(name) else quote_identifier(name)


class _Table(Struct, frozen=True):
    """One table or view.

    Attributes:
        sql: its CREATE statement, as SQLite stores it.
        page: the page where its content begins, which stays the same when the table is renamed; 0 for views and virtual tables.
        facts: its columns and constraints, with their definitions.
        columns: names of its columns, in order.
    """

    sql: str
    page: int
    facts: Mapping[Fact, str]
    columns: tuple[str, ...]


class Facts(Struct, frozen=True):
    """The facts of a database at one moment.

    Attributes:
        known: every fact, with its definition.
        tables: tables and views, by name.
    """

    known: Mapping[Fact, str] = field(default_factory=dict)
    tables: Mapping[str, _Table] = field(default_factory=dict)


def read_facts(run: Run, *, own: Collection[str], before: Facts | None = None) -> Facts:
    """Read the facts of a database.

    Args:
        run: runs a statement.
        own: names of the tool's own tables, which are left out.
        before: an earlier reading: tables that are unchanged since are not read again.
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
        elif kind == "index" and sql:  # an index without text belongs to a constraint
            known[Fact("index", spelled(name))] = sql
        elif kind == "trigger":
            known[Fact("trigger", f"{spelled(table)}.{spelled(name)}")] = sql
    return Facts(known, tables)


def read_inventory(run: Run, *, own: Collection[str]) -> Inventory:
    """Read the facts of a database, each with the table that it belongs to.

    The text of a table is a fact here, since checks and collations are listed nowhere else. The shadow tables in which a virtual table
    keeps its content are left out: they are created and dropped with it.

    Args:
        run: runs a statement.
        own: names of the tool's own tables, which are left out.
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
    """Return the shadow tables of virtual tables, as SQL writes their names; none where SQLite is older than 3.37 and cannot list them."""
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
    except Exception:  # noqa: BLE001 - a broken view (its table is gone) has no columns
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


class Rename(Struct, frozen=True):
    """A column that a statement renamed; all names in lower case and without quotes.

    Attributes:
        table: the table, as it was called at that moment.
        was: the old name of the column.
        now: the new name.
    """

    table: str
    was: str
    now: str


_S: Final = rf"{SPACE}*"
_RENAMES: Final = re.compile(
    rf"(?:{SPACE}|;)*ALTER{_S}\bTABLE{_S}(?:{NAME}{_S}\.{_S})?(?P<table>{NAME}){_S}\bRENAME\b{_S}(?:COLUMN\b{_S})?"
    rf"(?P<was>(?!TO\b){NAME}){_S}TO{_S}(?P<now>{NAME})",
    re.IGNORECASE | re.DOTALL,
)


def renames_in(sql: str) -> list[Rename]:
    """Return the column that a statement renames, if it does."""
    found = _RENAMES.match(sql)
    return [Rename(*(unquoted(found[part]).casefold() for part in ("table", "was", "now")))] if found else []


def difference(before: Facts, after: Facts, renames: Sequence[Rename]) -> Difference:
    """Return how the facts differ between two readings.

    Args:
        before: the earlier reading.
        after: the later one.
        renames: the columns that statements renamed in between, in order.
    """
    old, new = before.known, after.known
    changed = {fact for fact in old.keys() & new.keys() if old[fact] != new[fact]}
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    touched = {table_of(fact) for fact in {*changed, *added, *removed}}
    for name, table in after.tables.items():
        was = before.tables.get(name)
        fact = Fact("table", spelled(name))
        if was is not None and fact in new and was.sql != table.sql and fact.identity not in touched:
            changed.add(fact)  # a check or a collation has changed, which SQLite lists only in the table's text
    return Difference(
        added=frozenset(added),
        changed=frozenset(changed),
        removed=frozenset(removed),
        renamed=frozenset(_renamed(before, after, renames) & removed),
        called=dict(_called(before, after, renames)),
    )


def table_of(fact: Fact) -> str:
    """Return the table that a fact belongs to, as SQL writes its name."""
    return owner_of(fact.identity) if fact.kind in {"column", "trigger", "constraint"} else fact.identity


def _renamed(before: Facts, after: Facts, renames: Sequence[Rename]) -> set[Fact]:
    """Return the old facts of renamed tables and columns.

    A renamed table has the same content page under another name, and keeps the columns whose names it still has. A renamed column has
    a new name that a statement gave it: one that was dropped may have the same position and definition as one that was added.
    """
    at = {table.page: name for name, table in after.tables.items() if table.page}
    found: set[Fact] = set()
    for name, table in before.tables.items():
        new = at.get(table.page)
        if new is None or (after.tables[new].columns == table.columns and new == name):
            continue
        kept = {each.casefold() for each in after.tables[new].columns}
        if new != name:
            lost = {_column(name, each) for each in table.columns if each.casefold() not in kept}
            found |= {Fact("table", spelled(name)), *table.facts} - lost
        kept -= {each.casefold() for each in table.columns}
        of_table = [each for each in renames if each.table in {name.casefold(), new.casefold()}]
        found |= {_column(name, each) for each in table.columns if _becomes(each, of_table) in kept}
    return found


def _called(before: Facts, after: Facts, renames: Sequence[Rename]) -> Iterator[tuple[str, str]]:
    """Yield the old and the new name of each table that was renamed, and of each column whose table was, or that was itself."""
    at = {table.page: name for name, table in after.tables.items() if table.page}
    for name, table in before.tables.items():
        new = at.get(table.page)
        if new is None:
            continue
        if new != name:
            yield spelled(name), spelled(new)
        now = {each.casefold(): each for each in after.tables[new].columns}
        of_table = [each for each in renames if each.table in {name.casefold(), new.casefold()}]
        for each in table.columns:
            column = now.get(_becomes(each, of_table))
            if column is not None and (new, column) != (name, each):
                yield _column(name, each).identity, _column(new, column).identity


def _becomes(column: str, renames: Iterable[Rename]) -> str:
    """Return the name of a column after some renames, in lower case."""
    name = column.casefold()
    for each in renames:
        name = each.now if name == each.was else name
    return name


def _column(table: str, name: str) -> Fact:
    return Fact("column", f"{spelled(table)}.{spelled(name)}")


def read_sizes(run: Run, facts: Facts) -> dict[str, Size]:
    """Return the sizes of the tables, by name as SQL writes it: rows are counted; bytes are 0 where SQLite has no dbstat."""
    names = [name for name, table in facts.tables.items() if table.page]
    try:
        taken: dict[str, int] = dict(run("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE", ()))
    except Exception:  # noqa: BLE001 - not every SQLite has it
        taken = {}
    rows = count_rows(run, names)
    return {spelled(name): Size(int(taken.get(name, 0)), rows[spelled(name)]) for name in names}


def count_rows(run: Run, names: Iterable[str]) -> dict[str, int]:
    """Return how many rows tables have, by name as SQL writes it."""
    counts = {}
    for name in names:
        [(counts[spelled(name)],)] = run(f"SELECT count(*) FROM {quote_identifier(name)}", ())
    return counts
