"""Reads what PostgreSQL's catalogs say of every user relation, OIDs normalised, to compare before and after."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2

_QUERIES = {
    "pg_class": """
        SELECT c.oid::regclass::text, c.relkind, pg_get_userbyid(c.relowner),
            ARRAY (SELECT unnest(coalesce(c.relacl, acldefault('r', c.relowner)))::text ORDER BY 1), ARRAY (SELECT unnest(c.reloptions) ORDER BY 1),
            c.relispopulated, c.relreplident, c.relhasrules, c.relhastriggers, c.relrowsecurity, am.amname, t.spcname,
            ARRAY (SELECT unnest(toast.reloptions) ORDER BY 1)
        FROM pg_class c LEFT JOIN pg_am am ON am.oid = c.relam LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
            LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
        WHERE c.relkind IN ('r', 'v', 'm', 'i', 'S')""",
    "pg_attribute": """
        SELECT c.oid::regclass::text, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname,
            format_type(a.atttypid, a.atttypmod), a.attnotnull,
            ARRAY (SELECT unnest(a.attacl)::text ORDER BY 1), a.attstattarget, a.attoptions, a.attstorage, to_jsonb(a) ->> 'attcompression',
            pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind IN ('r', 'v', 'm', 'i') AND a.attnum > 0 AND NOT a.attisdropped""",
    "pg_index": """
        SELECT c.oid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisclustered, i.indisreplident, i.indisvalid
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE true""",
    "pg_trigger": """
        SELECT c.oid::regclass::text, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal""",
    "pg_rewrite": """
        SELECT c.oid::regclass::text, r.rulename, pg_get_ruledef(r.oid), r.ev_enabled
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE true""",
    "pg_statistic_ext": """
        SELECT c.oid::regclass::text, s.stxname, pg_get_statisticsobjdef(s.oid), pg_get_userbyid(s.stxowner), to_jsonb(s) ->> 'stxstattarget'
        FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid WHERE true""",
    "pg_policy": """
        SELECT c.oid::regclass::text, p.polname, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE true""",
    "pg_type": """
        SELECT c.oid::regclass::text, ARRAY (SELECT unnest(coalesce(t.typacl, acldefault('T', t.typowner)))::text ORDER BY 1)
        FROM pg_type t JOIN pg_class c ON c.reltype = t.oid WHERE c.relkind IN ('v', 'm')""",
}
_EXTENSIONS = "SELECT pg_describe_object(classid, objid, objsubid), refobjid FROM pg_depend WHERE deptype = 'x'"
_DESCRIPTIONS = """
    SELECT pg_describe_object(classoid, objoid, objsubid), description FROM pg_description WHERE objoid >= 16384
        AND objoid NOT IN (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'bystander' OR c.relpersistence = 't')"""
_FUNCTIONS = """
    SELECT oid::regprocedure::text, CASE prokind WHEN 'a' THEN '' ELSE pg_get_functiondef(oid) END, pg_get_userbyid(proowner),
        ARRAY (SELECT unnest(coalesce(proacl, acldefault('f', proowner)))::text ORDER BY 1)
    FROM pg_proc WHERE oid >= 16384 AND pronamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname = 'bystander')"""

_SCHEMAS = """
    SELECT nspname, pg_get_userbyid(nspowner), ARRAY (SELECT unnest(coalesce(nspacl, acldefault('n', nspowner)))::text ORDER BY 1)
    FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_' AND nspname <> 'bystander'"""
_CLASSES = "SELECT opcname, pg_get_userbyid(opcowner) FROM pg_opclass WHERE oid >= 16384"
_OPERATORS = "SELECT oid::regoperator::text, pg_get_userbyid(oprowner) FROM pg_operator WHERE oid >= 16384"


def probe(cursor: Any, *, without: str = "ewh_implemented_features%") -> dict[str, list[tuple[Any, ...]]]:
    """Read everything of relations that are not called like `without`."""
    found = {}
    for catalog, query in _QUERIES.items():
        cursor.execute(
            query + " AND c.oid >= 16384 AND c.relnamespace <> 'pg_toast'::regnamespace AND c.relname NOT LIKE %s "
            "AND c.relpersistence <> 't' AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname = 'bystander')",
            (without,),
        )
        found[catalog] = sorted(tuple(map(str, row)) for row in cursor.fetchall())
    for name, query in (
        ("pg_description", _DESCRIPTIONS),
        ("pg_proc", _FUNCTIONS),
        ("pg_extension", _EXTENSIONS),
        ("pg_operator", _OPERATORS),
        ("pg_namespace", _SCHEMAS),
        ("pg_opclass", _CLASSES),
    ):
        cursor.execute(query)
        found[name] = sorted(tuple(map(str, row)) for row in cursor.fetchall())
    return found


def difference(before: dict[str, list[tuple[Any, ...]]], after: dict[str, list[tuple[Any, ...]]]) -> list[str]:
    """Return what is only in one of two probes, one line each."""
    lines = []
    for catalog, rows in before.items():
        old, new = set(rows), set(after[catalog])
        lines += [f"- {catalog} {row}" for row in sorted(old - new)] + [
            f"+ {catalog} {row}" for row in sorted(new - old)
        ]
    return lines


def probed(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the catalogs of a database say, read in a session of its own."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        return probe(cursor)
