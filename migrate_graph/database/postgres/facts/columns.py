"""Finds out which columns a statement on rows reads and writes: the server parses it as the body of a temporary function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import psycopg2
from msgspec import Struct

Ask: TypeAlias = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs statements of this package, unrecorded, and returns the rows of the last one."""

Thing: TypeAlias = tuple[str, int, int]
"""An object in the server's catalogs: name of the catalog, OID there, and number of a part of it or 0."""

NEEDS: Final = 140000
"""First server version with functions whose bodies are parsed when they are created (BEGIN ATOMIC)."""

_PROBE: Final = "migrate_graph_probe"

# Each relation is read with all of its columns: what MERGE writes is only in the parse tree, as column numbers. Every name has its schema,
# because the search_path is the body's.
_ASKED: Final = f"""
SELECT (SELECT CAST(k.relname AS pg_catalog.text) FROM pg_catalog.pg_class k WHERE k.oid OPERATOR(pg_catalog.=) d.refclassid),
  CAST(d.refobjid AS pg_catalog.int8),
  pg_catalog.array_agg(d.refobjsubid),
  (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
    ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE d.refclassid OPERATOR(pg_catalog.=) {{pg_class}}
    AND c.oid OPERATOR(pg_catalog.=) d.refobjid AND c.relkind OPERATOR(pg_catalog.<>) 'S'),
  (SELECT pg_catalog.array_agg(CAST(a.attnum AS pg_catalog.text) OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||)
    pg_catalog.quote_ident(a.attname)) FROM pg_catalog.pg_attribute a WHERE d.refclassid OPERATOR(pg_catalog.=) {{pg_class}}
    AND a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.>) 0),
  (SELECT CAST(p.prosqlbody AS pg_catalog.text) FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) d.objid)
FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) {{pg_proc}}
  AND d.objid OPERATOR(pg_catalog.=) CAST(CAST('pg_temp.{_PROBE}()' AS pg_catalog.regprocedure) AS pg_catalog.oid)
GROUP BY d.refclassid, d.refobjid, d.objid
""".format(**{
    name: f"CAST(CAST('pg_catalog.{name}' AS pg_catalog.regclass) AS pg_catalog.oid)" for name in ("pg_class", "pg_proc")
})  # fmt: skip

_TREE: Final = re.compile(r":(relid|requiredPerms) (\d+)|:(updatedCols) \(b([ \d]*)\)")
"""Parts of the server's parse tree (`prosqlbody`): the OID of each relation, the required permissions, and the updated columns."""

_INSERTS, _DELETES = 1, 8
_BEFORE_FIRST_COLUMN = 7
"""The tree counts columns from the first system column, so that 8 is the first ordinary one."""

_FIRST_OF_USERS = 16384


class Named(Struct, frozen=True):
    """What a statement on rows names, as the server resolves it.

    Attributes:
        uses: columns: `public.t.a`; `public.t.*` where rows are read as a whole.
        writes: columns that it updates; `public.t.*` where it deletes rows.
        inserts: relations into which it inserts rows.
        relations: OIDs of the relations.
        others: functions, types and sequences.
        is_known: the server could parse it; otherwise it may touch anything.
    """

    uses: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    inserts: tuple[str, ...] = ()
    relations: frozenset[int] = frozenset()
    others: frozenset[Thing] = frozenset()
    is_known: bool = True


UNKNOWN: Final = Named(is_known=False)


def named_in(ask: Ask, text: str, *, version: int, is_in_transaction: bool) -> Named:
    """Return what a statement on rows names.

    Args:
        ask: runs statements in the session that will send the statement.
        text: the statement.
        version: version of the server.
        is_in_transaction: a transaction is open; otherwise one is opened for the query, and rolled back.
    """
    if version < NEEDS:
        return UNKNOWN
    begin, end = _AROUND[is_in_transaction]
    probe = f"CREATE FUNCTION pg_temp.{_PROBE}() RETURNS void LANGUAGE sql BEGIN ATOMIC\n{text}\n; END"
    try:
        rows = ask(f"{begin}; {probe}; {_ASKED}")
    except psycopg2.Error:  # the statement is wrong, or not allowed in such a function
        found = UNKNOWN
    else:
        found = _read(rows)
    ask(end)
    return found


_AROUND: Final = {
    True: (
        "SAVEPOINT migrate_graph_uses",
        "ROLLBACK TO SAVEPOINT migrate_graph_uses; RELEASE SAVEPOINT migrate_graph_uses",
    ),
    False: ("BEGIN", "ROLLBACK"),
}


def _read(rows: Sequence[tuple[Any, ...]]) -> Named:
    uses: set[str] = set()
    others: set[Thing] = set()
    names: dict[int, str] = {}
    columns: dict[int, dict[int, str]] = {}
    for catalog, number, parts, name, known, _ in rows:
        if number < _FIRST_OF_USERS or catalog == "pg_namespace":  # the server's own; or the schema of the probe
            continue
        if name is None:
            others.add((catalog, number, 0))
            continue
        names[number] = name
        columns[number] = dict(_numbered(known or ()))
        uses |= {f"{name}.{columns[number].get(part, '*')}" for part in parts}
    writes, inserts = _written(rows[0][-1] or "" if rows else "", names, columns)
    return Named(
        uses=tuple(sorted({*uses, *(each for each in writes if not each.endswith(".*"))})),
        writes=tuple(sorted(writes)),
        inserts=tuple(sorted(inserts)),
        relations=frozenset(names),
        others=frozenset(others),
    )


def _numbered(columns: Sequence[str]) -> Iterator[tuple[int, str]]:
    for each in columns:
        number, _, name = each.partition(" ")
        yield int(number), name


def _written(
    tree: str, names: Mapping[int, str], columns: Mapping[int, Mapping[int, str]]
) -> tuple[set[str], set[str]]:
    """Return the columns that a statement updates or deletes, and the relations into which it inserts.

    Args:
        tree: the parse tree of the statement.
        names: names of the relations, by OID.
        columns: names of their columns, by OID and number.
    """
    writes: set[str] = set()
    inserts: set[str] = set()
    relation = 0
    for match in _TREE.finditer(tree):
        if match[1] == "relid":
            relation = int(match[2])
        elif relation not in names:
            continue
        elif match[3]:
            updated = (int(number) - _BEFORE_FIRST_COLUMN for number in match[4].split())
            writes |= {f"{names[relation]}.{columns[relation].get(number, '*')}" for number in updated}
        else:
            rights = int(match[2])
            inserts |= {names[relation]} if rights & _INSERTS else set()
            writes |= {f"{names[relation]}.*"} if rights & _DELETES else set()
    return writes, inserts
