"""Reads what a PostgreSQL database holds: facts with their definitions, and digests of rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from migrate_graph.core.footprint import Fact
from migrate_graph.core.reachability import closure
from migrate_graph.database.contents import Contents, Rows
from migrate_graph.database.names import POSTGRES, TableNames
from migrate_graph.database.postgres.facts.query import OF_ONE_DATABASE, SETTINGS, facts_query
from migrate_graph.database.postgres.session.looking import opened
from migrate_graph.database.scratch_database import PREFIX
from migrate_graph.quoting import quote_literal

if TYPE_CHECKING:
    from migrate_graph.database import Settings

_COLUMNS: Final = """
SELECT c.oid, format('%I.%I', n.nspname, c.relname), a.attnum, quote_ident(a.attname),
  a.attidentity <> '' OR EXISTS (SELECT FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
    JOIN pg_class s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid AND s.relkind = 'S'
    WHERE f.adrelid = c.oid AND f.adnum = a.attnum),
  ARRAY(SELECT CAST(k.confrelid AS text) || '.' || k.confkey[array_position(k.conkey, a.attnum)] FROM pg_constraint k
    WHERE k.contype = 'f' AND k.conrelid = c.oid AND a.attnum = ANY (k.conkey))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.oid >= 16384 AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND has_table_privilege(c.oid, 'SELECT')
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY 2, 3
"""


def read_contents(settings: Settings, *, unstable: Mapping[str, Collection[str]]) -> Contents:
    """Read what a database holds.

    Args:
        settings: how it is reached.
        unstable: columns that are left out of the digests of rows, by table.
    """
    place = (settings.schema or "").partition(",")[0].strip()
    with opened(settings, "contents", ours=False) as connection, connection.cursor() as cursor:
        connection.autocommit = False
        own = _own_tables(cursor, TableNames.of(settings.table, POSTGRES))
        cursor.execute(SETTINGS)
        cursor.execute(facts_query(connection.info.server_version, own, OF_ONE_DATABASE))
        facts = {
            Fact(kind, _spelled(identity, place)): _spelled(definition or "", place)
            for _, kind, identity, definition, *_ in cursor.fetchall()
            if kind != "column order" and not _is_others(identity, place)
        }
        cursor.execute(_COLUMNS)
        tables: dict[str, list[Any]] = {}
        for row in cursor.fetchall():
            if row[1] not in own and not _is_others(row[1], place):
                tables.setdefault(row[1], []).append(row)
        numbered = _numbered([column for columns in tables.values() for column in columns])
        rows = {}
        for name, columns in tables.items():
            spelled = _spelled(name, place)
            rows[spelled] = _rows(cursor, name, columns, numbered, unstable.get(spelled, ()))
    return Contents(facts, rows)


def _own_tables(cursor: Any, names: TableNames) -> tuple[str, ...]:
    """Return the names of the tool's own tables with their schemas, looked up along the project's search_path."""
    wanted = ", ".join(f"to_regclass({quote_literal(names.quoted(each))})" for each in names.all)
    cursor.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE c.oid = ANY (ARRAY[{wanted}]::oid[])"
    )
    return tuple(name for (name,) in cursor.fetchall())


def _spelled(text: str, place: str) -> str:
    """Return a text in which the name of a scratch schema is replaced by one that is the same in every run."""
    return text.replace(place, "scratch") if place.startswith(PREFIX) else text


def _is_others(identity: str, place: str) -> bool:
    """Return whether an object belongs to the scratch schema of another run."""
    return identity.startswith(PREFIX) and identity.partition(".")[0] != place


def _numbered(columns: list[Any]) -> frozenset[tuple[int, int]]:
    """Return the columns that get their values from a sequence, and those that refer to one by a foreign key.

    Each is the OID of its table with its number there.
    """
    referring: dict[str, list[tuple[int, int]]] = {}
    for table, _, number, _, _, to in columns:
        for each in to:
            referring.setdefault(each, []).append((table, number))
    numbers = {(table, number) for table, _, number, _, is_numbered, _ in columns if is_numbered}
    return frozenset(closure(numbers, lambda one: referring.get(f"{one[0]}.{one[1]}", ())))


def _rows(
    cursor: Any, name: str, columns: list[Any], numbered: frozenset[tuple[int, int]], unstable: Collection[str]
) -> Rows:
    texts = {column: f"CAST(x.{column} AS text)" for _, _, _, column, *_ in columns}
    counting = frozenset(column for table, _, number, column, *_ in columns if (table, number) in numbered)
    # Sorted by name: if two migrations each add a column, their order may differ between two runs.
    whole = ", ".join(texts[column] for column in sorted(texts) if column not in counting and column not in unstable)
    sums = [f"sum(CAST(hashtextextended(quote_nullable({text}), 1) AS numeric))" for text in texts.values()]
    row = f"sum(CAST(hashtextextended(CAST(CAST(ARRAY[{whole}] AS text[]) AS text), 2) AS numeric))"
    cursor.execute(
        f"SELECT count(*), {', '.join(['CAST(' + each + ' AS text)' for each in (row, *sums)])} FROM ONLY {name} x"
    )
    ((count, digest, *digests),) = cursor.fetchall()
    return Rows(count, dict(zip(texts, (each or "" for each in digests), strict=True)), counting, digest or "")
