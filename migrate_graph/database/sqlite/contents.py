"""Reads the contents of an SQLite database: facts with their definitions, and digests of rows."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from migrate_graph.core.footprint import Fact
from migrate_graph.core.reachability import closure
from migrate_graph.database.contents import Contents, Rows
from migrate_graph.database.names import SQLITE, TableNames
from migrate_graph.database.sqlite.backend import resolve_path
from migrate_graph.database.sqlite.facts import read_facts, spelled
from migrate_graph.quoting import quote_identifier

if TYPE_CHECKING:
    from migrate_graph.database import Settings

_COLUMNS: Final = "SELECT name, upper(type) = 'INTEGER' AND pk = 1 AND (SELECT max(pk) FROM pragma_table_info(?)) = 1 FROM pragma_table_xinfo(?)"
_REFERENCES: Final = 'SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)'
_PIECES: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)|[(),]|.""", re.DOTALL
)


def read_contents(settings: Settings, *, unstable: Mapping[str, Collection[str]]) -> Contents:
    """Read the contents of a database.

    Args:
        settings: how to reach it.
        unstable: columns that are left out of the digests of rows, by table.
    """
    own = TableNames.of(settings.table, SQLITE).all
    with closing(sqlite3.connect(resolve_path(settings.uri, settings.folder))) as connection:

        def run(statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
            return connection.execute(statement, parameters).fetchall()

        found = read_facts(run, own=own)
        facts = dict(found.known)
        tables = [name for name, table in found.tables.items() if table.page]
        for name in tables:
            facts[Fact("table", spelled(name))] = ", ".join(sorted(_parts(found.tables[name].sql)))
        columns = {name: dict(run(_COLUMNS, (name, name))) for name in tables}
        references = {name: run(_REFERENCES, (name,)) for name in tables}
        numbered = _numbered(columns, references)
        rows = {
            spelled(name): _rows(
                connection, name, sorted(columns[name]), numbered, frozenset(unstable.get(spelled(name), ()))
            )
            for name in tables
        }
    return Contents(facts, rows)


def _parts(sql: str) -> Iterator[str]:
    """Yield the columns and constraints of a CREATE TABLE: the texts between its outer commas."""
    depth, part = 0, ""
    for match in _PIECES.finditer(sql.partition("(")[2]):
        piece = match[0]
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if depth < 0:
            break
        if piece == "," and not depth:
            yield " ".join(part.split())
            part = ""
        else:
            part += piece
    yield " ".join(part.split())


def _numbered(
    columns: Mapping[str, Mapping[str, int]], references: Mapping[str, Sequence[tuple[str, str, str | None]]]
) -> frozenset[tuple[str, str]]:
    """Return the integer primary keys, which number rows in order of insertion, and the columns that refer to one."""
    keys = {
        name.lower(): next((key for key, is_key in known.items() if is_key), None) for name, known in columns.items()
    }
    referring: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, known in references.items():
        for column, table, to in known:
            target = (table.lower(), (to or keys.get(table.lower()) or "").lower())
            referring.setdefault(target, []).append((name, column))
    numbers = {(name, key) for name, known in columns.items() for key, is_key in known.items() if is_key}
    return frozenset(closure(numbers, lambda one: referring.get((one[0].lower(), one[1].lower()), ())))


def _rows(
    connection: sqlite3.Connection,
    name: str,
    columns: Sequence[str],
    numbered: frozenset[tuple[str, str]],
    unstable: frozenset[str],
) -> Rows:
    counting = frozenset(spelled(column) for column in columns if (name, column) in numbered)
    counts = [spelled(column) not in counting | unstable for column in columns]
    quoted = [quote_identifier(each) for each in (*columns, name)]
    sums, whole, count = [0] * len(columns), 0, 0
    for row in connection.execute(f"SELECT {', '.join(quoted[:-1])} FROM {quoted[-1]}"):
        count += 1
        sums = [known + _number(value) for known, value in zip(sums, row, strict=True)]
        whole += _number([value for value, does in zip(row, counts, strict=True) if does])
    digests = {spelled(column): f"{known:x}" for column, known in zip(columns, sums, strict=True)}
    return Rows(count, digests, counting, f"{whole:x}")


def _number(value: object) -> int:
    """Return a hash of a value as a number; the sum over all rows does not depend on their order."""
    return int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=12).digest())
