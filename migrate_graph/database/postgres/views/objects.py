"""Reads which objects depend on others, and reads functions, policies and other objects completely."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any, TypeAlias

from msgspec import Struct

from migrate_graph.database.postgres.views.snapshot import (
    DEPENDS,
    OWN_PRIVILEGES,
    TYPE_PRIVILEGES,
    Made,
    array_of,
    fresh_privileges,
    grants_of,
    literal,
    privileges,
    texts,
)
from migrate_graph.database.relation import Item, Relation
from migrate_graph.quoting import as_array, bare, parted

Address: TypeAlias = tuple[int, int, int]
"""An object as in `pg_depend`: OID of its catalog, its OID there, and the number of a column or 0."""

PG_CLASS, PG_EXTENSION = 1259, 3079
"""OIDs of `pg_class` and `pg_extension`, the same in every database."""

# The word in `COMMENT ON` for kinds that `pg_identify_object` calls otherwise.
_COMMENTED = {
    "TABLE CONSTRAINT": "CONSTRAINT",
    "TABLE COLUMN": "COLUMN",
    "COMPOSITE TYPE COLUMN": "COLUMN",
    "STATISTICS OBJECT": "STATISTICS",
}

_LISTS = {
    "search_path",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
}

# Everything that DROP … CASCADE of the seeds would drop, each row with one object that it depends on. When a part is dropped (i: the query
# of a view, the expression of a generated column; P: a part of a partitioned index; e: a member of an extension), the whole is dropped,
# too, with all that depends on it. LATERAL looks up one object at a time: the cost depends on what is found, not on the catalog's size.
_REACH = """
WITH RECURSIVE reach (classid, objid, objsubid, onclass, onobject, oncolumn) AS (
    SELECT seed.classid, seed.objid, seed.objsubid, 0::oid, 0::oid, 0
    FROM unnest($classes::oid[], $objects::oid[], $columns::int4[]) AS seed (classid, objid, objsubid)
    UNION
    SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid, 0, 0::oid, 0::oid, 0
    FROM pg_catalog.pg_class c WHERE c.oid = ANY ($views) AND c.relkind IN ('v', 'm')
    UNION
    SELECT next.classid, next.objid, next.objsubid, reach.classid, reach.objid, reach.objsubid
    FROM reach CROSS JOIN LATERAL (
        SELECT d.classid, d.objid, d.objsubid FROM pg_catalog.pg_depend d
        WHERE d.refclassid = reach.classid AND d.refobjid = reach.objid AND (reach.objsubid = 0 OR d.refobjsubid = reach.objsubid)
        UNION ALL
        SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_catalog.pg_depend d
        WHERE d.classid = reach.classid AND d.objid = reach.objid AND (reach.objsubid = 0 OR d.objsubid = reach.objsubid)
            AND d.deptype IN ('i', 'P', 'e')
    ) next
)
, object AS MATERIALIZED (
    SELECT classid, objid, objsubid, pg_catalog.json_agg(pg_catalog.json_build_array(onclass::int8, onobject::int8, oncolumn)) AS reasons
    FROM reach GROUP BY 1, 2, 3
)
"""

# The relation that an object is a part of: it is dropped and restored together with that. A sequence that a column of a view owns is none:
# it is dropped with the view, but does not come back with it.
_WHOLE = """CASE o.classid
    WHEN 'pg_catalog.pg_rewrite'::regclass THEN (SELECT x.ev_class FROM pg_catalog.pg_rewrite x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_trigger'::regclass THEN (SELECT x.tgrelid FROM pg_catalog.pg_trigger x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_policy'::regclass THEN (SELECT x.polrelid FROM pg_catalog.pg_policy x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_attrdef'::regclass THEN (SELECT x.adrelid FROM pg_catalog.pg_attrdef x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_constraint'::regclass THEN (SELECT x.conrelid FROM pg_catalog.pg_constraint x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_statistic_ext'::regclass THEN (SELECT x.stxrelid FROM pg_catalog.pg_statistic_ext x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_type'::regclass THEN (SELECT nullif(coalesce(nullif(x.typrelid, 0),
        (SELECT e.typrelid FROM pg_catalog.pg_type e WHERE e.oid = x.typelem AND e.typarray = x.oid)), 0)
        FROM pg_catalog.pg_type x WHERE x.oid = o.objid)
    WHEN 'pg_catalog.pg_class'::regclass THEN CASE WHEN o.objsubid = 0 THEN
        (SELECT x.refobjid FROM pg_catalog.pg_depend x WHERE x.classid = o.classid AND x.objid = o.objid AND x.objsubid = 0
            AND x.refclassid = o.classid AND x.deptype IN ('i', 'a') AND NOT EXISTS (SELECT FROM pg_catalog.pg_class s, pg_catalog.pg_class v
                WHERE s.oid = x.objid AND s.relkind = 'S' AND v.oid = x.refobjid AND v.relkind = 'v') ORDER BY x.deptype DESC LIMIT 1) END
    END"""

# Other objects that an object may be a part of. An array: of its element type; a multirange and its functions: of the range; a constraint
# trigger's constraint: of the trigger; operators and functions of an operator class: of that; an expression: of its generated column; an
# index: of its constraint, or of the index of the partitioned table. A member of an extension is no part of it here.
_OTHER_WHOLE = """coalesce(
    CASE WHEN o.classid IN ('pg_catalog.pg_type'::regclass, 'pg_catalog.pg_proc'::regclass) THEN
        (SELECT pg_catalog.json_build_array(x.refclassid::int8, x.refobjid::int8, 0) FROM pg_catalog.pg_depend x WHERE x.classid = o.classid
            AND x.objid = o.objid AND x.refclassid = 'pg_catalog.pg_type'::regclass AND x.deptype = 'i' LIMIT 1)
    WHEN o.classid = 'pg_catalog.pg_constraint'::regclass THEN
        (SELECT pg_catalog.json_build_array(x.tableoid::int8, x.oid::int8, 0) FROM pg_catalog.pg_trigger x
            JOIN pg_catalog.pg_constraint k ON k.oid = x.tgconstraint AND k.contype = 't' WHERE x.tgconstraint = o.objid LIMIT 1)
    END,
    (SELECT pg_catalog.json_build_array(x.refclassid::int8, x.refobjid::int8, x.refobjsubid) FROM pg_catalog.pg_depend x
        WHERE x.classid = o.classid AND x.objid = o.objid AND x.objsubid = o.objsubid AND (x.deptype = 'P'
            OR x.deptype = 'i' AND (o.classid <> 'pg_catalog.pg_class'::regclass OR x.refclassid = 'pg_catalog.pg_constraint'::regclass)
            OR x.deptype = 'a' AND x.classid IN ('pg_catalog.pg_amop'::regclass, 'pg_catalog.pg_amproc'::regclass))
        ORDER BY x.deptype, x.refclassid LIMIT 1))"""

_EXTENSION = """(SELECT x.refobjid FROM pg_catalog.pg_depend x WHERE x.classid = o.classid AND x.objid = o.objid
        AND x.refclassid = 'pg_catalog.pg_extension'::regclass AND x.deptype = 'e')"""

# Only addresses and reasons, no details: views are read completely by another query, and the parts of a view need no details.
_EDGES = f"""
SELECT object.classid::int8 AS classid, object.objid::int8 AS objid, object.objsubid AS objsubid, object.reasons AS reasons,
    coalesce({_WHOLE.replace("o.", "object.")}, 0)::int8 AS whole
FROM object
"""

_LISTED = """
WITH object AS MATERIALIZED (
    SELECT o.classid, o.objid, o.objsubid, NULL::json AS reasons
    FROM unnest($classes::oid[], $objects::oid[], $columns::int4[]) AS o (classid, objid, objsubid)
)
"""

UNREAD = Relation("", "", "PART")
"""Stands for an object whose details were not read: a part of a view."""

_COMMENT = "(SELECT d.description FROM pg_catalog.pg_description d WHERE d.classoid = o.classid AND d.objoid = o.objid AND d.objsubid = 0)"
_ON = (
    "(SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {relation})"
)
_NOTHING = (
    "NULL::text AS owner, {comment} AS comment, NULL::text[] AS settings, NULL::json AS grants, NULL::json AS fresh"
)

_TYPE = """CASE o.classid WHEN 'pg_catalog.pg_type'::regclass THEN o.objid WHEN 'pg_catalog.pg_class'::regclass THEN
        (SELECT c.reltype FROM pg_catalog.pg_class c WHERE c.oid = o.objid AND c.relkind = 'c' AND o.objsubid = 0) END"""

# Properties that are neither in the statement that creates an object nor in its comment. For example, a trigger may be disabled.
_MORE = f"""(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(item.aspect, item.name, item.head, item.sql) ORDER BY item.place, item.name) FROM (
    {TYPE_PRIVILEGES.format(identity="thing.identity", type=_TYPE)}
    UNION ALL
    SELECT 3, 'state', '', '', pg_catalog.format('ALTER TABLE %s %s %s %I', {_ON.format(relation="x.relation")},
        CASE x.state WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, thing.kind, thing.name)
    FROM (SELECT r.ev_class AS relation, r.ev_enabled AS state FROM pg_catalog.pg_rewrite r WHERE o.classid = r.tableoid AND r.oid = o.objid
        UNION ALL SELECT t.tgrelid, t.tgenabled FROM pg_catalog.pg_trigger t WHERE o.classid = t.tableoid AND t.oid = o.objid) x
    WHERE x.state <> 'O'
    UNION ALL {DEPENDS.format(place=4, what="thing.kind || ' ' || thing.identity", classid="o.classid", objid="o.objid")}
        AND thing.kind IN ('FUNCTION', 'PROCEDURE', 'TRIGGER', 'INDEX')
    UNION ALL
    SELECT 5, 'security label', l.provider, pg_catalog.format('SECURITY LABEL FOR %I ON', l.provider),
        pg_catalog.format('%s IS %L', thing.identity, l.label)
    FROM pg_catalog.pg_seclabel l WHERE l.classoid = o.classid AND l.objoid = o.objid AND l.objsubid = o.objsubid
        AND thing.kind IN ('FUNCTION', 'PROCEDURE', 'AGGREGATE', 'TYPE', 'TABLE', 'SEQUENCE')
    UNION ALL
    SELECT 6, 'column comment', a.attname, '', pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', thing.identity, a.attname, d.description)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_description d ON d.objoid = a.attrelid AND d.classoid = o.classid AND d.objsubid = a.attnum
    WHERE thing.kind IN ('TABLE', 'TYPE') AND o.classid = 'pg_catalog.pg_class'::regclass AND a.attrelid = o.objid AND a.attnum > 0 AND o.objsubid = 0
    ) item)"""

_DETAILS = f"""
, o AS MATERIALIZED (SELECT object.*, {_WHOLE.replace("o.", "object.")} AS whole FROM object)
SELECT o.classid::int8 AS classid, o.objid::int8 AS objid, o.objsubid AS objsubid, o.reasons AS reasons,
    coalesce(o.whole, 0)::int8 AS whole, {_OTHER_WHOLE} AS otherwhole, coalesce({_EXTENSION}, 0)::int8 AS extension,
    thing.kind AS kind, thing.identity AS identity, thing.name AS name, thing.definition AS definition, thing.owner AS owner,
    thing.comment AS comment, thing.settings AS settings, thing.grants AS grants, thing.fresh AS fresh,
    {_MORE} AS more, CASE WHEN thing.definition IS NULL AND thing.kind NOT IN ('AGGREGATE', 'RULE', 'TRIGGER')
        AND NOT (o.classid = 'pg_catalog.pg_class'::regclass AND o.objsubid = 0) THEN (
        SELECT pg_catalog.json_build_array(x.type, x.object_names, x.object_args)
        FROM pg_catalog.pg_identify_object_as_address(o.classid, o.objid, o.objsubid) x) END AS address,
    current_user::text AS creator, pg_catalog.current_setting('role') AS role
FROM o CROSS JOIN LATERAL ($thing) thing
"""

_OF_SEQUENCE = privileges("c.relacl", default="pg_catalog.acldefault('s', c.relowner)")
_OF_SCHEMA = privileges("t.nspacl", default="pg_catalog.acldefault('n', t.nspowner)")
_OF_FUNCTION = privileges("p.proacl", default="pg_catalog.acldefault('f', p.proowner)")
_OF_COLUMN = privileges("a.attacl", part="a.attname")

_POLICY = """pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', x.polname, {on},
        CASE WHEN x.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        CASE x.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r)) END, ', ')
            FROM pg_catalog.unnest(x.polroles) r))
        || coalesce(' USING (' || pg_catalog.pg_get_expr(x.polqual, x.polrelid) || ')', '')
        || coalesce(' WITH CHECK (' || pg_catalog.pg_get_expr(x.polwithcheck, x.polrelid) || ')', '')"""

# Objects of these catalogs may depend on nothing, so that they have no row in `pg_depend`; they are looked up in their own catalog.
_ON_NOTHING = " ".join(
    f"OR o.classid = 'pg_catalog.{catalog}'::regclass AND EXISTS (SELECT FROM pg_catalog.{catalog} x WHERE x.oid = o.objid)"
    for catalog in (
        "pg_extension",
        "pg_namespace",
        "pg_cast",
        "pg_publication",
        "pg_foreign_data_wrapper",
        "pg_language",
    )
)

# `pg_identify_object` raises an error on old servers if the object does not exist. There are no comments in the SQL: the server would have
# to read them each time.
_THING = f"""
    SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX'
            WHEN 'I' THEN 'INDEX' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END AS kind,
        pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity, c.relname::text AS name, NULL::text AS definition,
        CASE WHEN c.relkind NOT IN ('v', 'm', 'i', 'I') THEN pg_catalog.pg_get_userbyid(c.relowner)::text END AS owner,
        CASE WHEN c.relkind = 'c' THEN (SELECT d.description FROM pg_catalog.pg_description d WHERE d.objoid = c.reltype
            AND d.classoid = 'pg_catalog.pg_type'::regclass) WHEN c.relkind NOT IN ('v', 'm') THEN {_COMMENT} END AS comment, NULL::text[] AS settings,
        CASE WHEN c.relkind IN ('r', 'p', 'f') THEN {OWN_PRIVILEGES} WHEN c.relkind = 'S' THEN {_OF_SEQUENCE} END AS grants,
        CASE WHEN c.relkind IN ('r', 'p', 'f') THEN {fresh_privileges("r", "c.relnamespace")}
            WHEN c.relkind = 'S' THEN {fresh_privileges("S", "c.relnamespace")} END AS fresh
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.objsubid = 0 AND c.oid = o.objid
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
        pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.oidvectortypes(p.proargtypes)), p.proname::text,
        CASE WHEN p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid) END,
        pg_catalog.pg_get_userbyid(p.proowner)::text, {_COMMENT}, p.proconfig, {_OF_FUNCTION},
        {fresh_privileges("f", "p.pronamespace")}
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE o.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = o.objid
    UNION ALL
    SELECT 'POLICY', pg_catalog.format('%I ON %s', x.polname, {_ON.format(relation="x.polrelid")}), x.polname::text,
        {_POLICY.format(on=_ON.format(relation="x.polrelid"))}, {_NOTHING.format(comment=_COMMENT)}
    FROM pg_catalog.pg_policy x WHERE o.classid = 'pg_catalog.pg_policy'::regclass AND x.oid = o.objid
    UNION ALL
    SELECT 'RULE', pg_catalog.format('%I ON %s', x.rulename, {_ON.format(relation="x.ev_class")}), x.rulename::text,
        CASE WHEN x.rulename <> '_RETURN' THEN pg_catalog.pg_get_ruledef(x.oid) END, {_NOTHING.format(comment=_COMMENT)}
    FROM pg_catalog.pg_rewrite x WHERE o.classid = 'pg_catalog.pg_rewrite'::regclass AND x.oid = o.objid
    UNION ALL
    SELECT 'TRIGGER', pg_catalog.format('%I ON %s', x.tgname, {_ON.format(relation="x.tgrelid")}), x.tgname::text,
        CASE WHEN NOT x.tgisinternal THEN pg_catalog.pg_get_triggerdef(x.oid) END, {_NOTHING.format(comment=_COMMENT)}
    FROM pg_catalog.pg_trigger x WHERE o.classid = 'pg_catalog.pg_trigger'::regclass AND x.oid = o.objid
    UNION ALL
    SELECT pg_catalog.upper(x.type), x.identity, coalesce(x.name, x.identity), NULL, CASE o.classid
            WHEN 'pg_catalog.pg_type'::regclass THEN (SELECT pg_catalog.pg_get_userbyid(t.typowner) FROM pg_catalog.pg_type t WHERE t.oid = o.objid)
            WHEN 'pg_catalog.pg_operator'::regclass THEN
                (SELECT pg_catalog.pg_get_userbyid(t.oprowner) FROM pg_catalog.pg_operator t WHERE t.oid = o.objid)
            WHEN 'pg_catalog.pg_opclass'::regclass THEN
                (SELECT pg_catalog.pg_get_userbyid(t.opcowner) FROM pg_catalog.pg_opclass t WHERE t.oid = o.objid)
            WHEN 'pg_catalog.pg_opfamily'::regclass THEN
                (SELECT pg_catalog.pg_get_userbyid(t.opfowner) FROM pg_catalog.pg_opfamily t WHERE t.oid = o.objid)
            WHEN 'pg_catalog.pg_namespace'::regclass THEN
                (SELECT pg_catalog.pg_get_userbyid(t.nspowner) FROM pg_catalog.pg_namespace t WHERE t.oid = o.objid) END::text,
        (SELECT d.description FROM pg_catalog.pg_description d WHERE d.classoid = o.classid AND d.objoid = o.objid AND d.objsubid = o.objsubid),
        NULL, CASE o.classid WHEN 'pg_catalog.pg_class'::regclass THEN (SELECT {_OF_COLUMN} FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = o.objid AND a.attnum = o.objsubid)
            WHEN 'pg_catalog.pg_namespace'::regclass THEN (SELECT {_OF_SCHEMA} FROM pg_catalog.pg_namespace t WHERE t.oid = o.objid) END,
        CASE o.classid WHEN 'pg_catalog.pg_namespace'::regclass THEN {fresh_privileges("n", "NULL")} END
    FROM pg_catalog.pg_identify_object(CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid) {_ON_NOTHING} THEN o.classid END,
        o.objid, o.objsubid) x
    WHERE x.type IS NOT NULL AND NOT (o.classid = 'pg_catalog.pg_class'::regclass AND o.objsubid = 0)
        AND o.classid NOT IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_policy'::regclass,
            'pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_trigger'::regclass)
"""


class Found(Struct, frozen=True):
    """An object that depends, directly or not, on one of the seeds.

    Attributes:
        thing: the object; of a view only the name.
        whole: the object that it is a part of; None where it is none.
        reasons: the found objects that it depends on.
        made: the circumstances of its creation; see `Made`.
        extension: the extension that it is a member of; None where there is none.
    """

    thing: Relation
    whole: Address | None
    reasons: frozenset[Address]
    made: Made
    extension: Address | None = None


def edges_from(views: Collection[Address], seeds: Collection[Address]) -> str:
    """Return the query for the same objects as `reached_from`, without their details, which cost most; `edges_in` reads its rows."""
    return _reach(views, seeds) + _EDGES


def _reach(views: Collection[Address], seeds: Collection[Address]) -> str:
    return placed(_REACH, seeds).replace("$views", array_of(sorted(oid for _, oid, _ in views)))


def edges_in(rows: Iterable[list[Any]]) -> dict[Address, Found]:
    """Read the rows of `edges_from`."""
    return {
        (classid, objid, column): Found(UNREAD, (PG_CLASS, whole, 0) if whole else None, _reasons(reasons), Made())
        for classid, objid, column, reasons, whole in rows
    }


def address_of(thing: Relation) -> str:
    """Return the query for the address of an object; the server raises an error if it does not exist."""
    if not thing.address:  # a relation
        return (
            f"SELECT {PG_CLASS}::int8 AS classid, x.oid::oid::int8 AS objid, 0 AS objsubid "
            f"FROM (SELECT {literal(thing.identity)}::regclass AS oid) x"
        )
    kind, names, arguments = json.loads(thing.address)
    return (
        "SELECT x.classid::int8 AS classid, x.objid::int8 AS objid, x.objsubid AS objsubid "
        f"FROM pg_catalog.pg_get_object_address({literal(kind)}, {_in_order(names)}, {_in_order(arguments)}) x"
    )


def _in_order(values: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(map(literal, values))}]::pg_catalog.text[]"


def details_of(objects: Collection[Address]) -> str:
    """Return the query for the details of some objects; `found_in` reads its rows."""
    return placed(_LISTED, objects) + _DETAILS.replace("$thing", _THING)


def reached_from(views: Collection[Address], seeds: Collection[Address]) -> str:
    """Return the query for everything that would be dropped together with some objects, themselves included; `found_in` reads its rows.

    Args:
        views: relations; those that are no views are ignored.
        seeds: other objects.
    """
    return _reach(views, seeds) + _DETAILS.replace("$thing", _THING)


def known_as(*, functions: Collection[str], parts: Collection[str], tables: Collection[str]) -> str:
    """Return the query for functions by name, and policies, rules and triggers by name and table; `found_in` reads its rows."""
    of_tables = f"(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname = ANY ({texts(tables)}))"
    return f"""
WITH object AS MATERIALIZED (
    SELECT 'pg_catalog.pg_proc'::regclass::oid AS classid, p.oid AS objid, 0 AS objsubid, NULL::json AS reasons
    FROM pg_catalog.pg_proc p WHERE p.proname = ANY ({texts(functions)})
    UNION ALL SELECT 'pg_catalog.pg_policy'::regclass::oid, x.oid, 0, NULL FROM pg_catalog.pg_policy x
        WHERE x.polname = ANY ({texts(parts)}) AND x.polrelid IN {of_tables}
    UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass::oid, x.oid, 0, NULL FROM pg_catalog.pg_rewrite x
        WHERE x.rulename = ANY ({texts(parts)}) AND x.ev_class IN {of_tables}
    UNION ALL SELECT 'pg_catalog.pg_trigger'::regclass::oid, x.oid, 0, NULL FROM pg_catalog.pg_trigger x
        WHERE x.tgname = ANY ({texts(parts)}) AND x.tgrelid IN {of_tables}
)
{_DETAILS.replace("$thing", _THING)}"""


def found_in(rows: Iterable[list[Any]]) -> dict[Address, Found]:
    """Read the rows of `reached_from`, `details_of` and `known_as`."""
    return {(row[0], row[1], row[2]): _found(row[3:]) for row in rows}


def _found(row: list[Any]) -> Found:
    (
        reasons,
        whole,
        other,
        extension,
        kind,
        identity,
        name,
        definition,
        owner,
        comment,
        settings,
        grants,
        fresh,
        more,
        address,
        *us,
    ) = row
    items = [Item("setting", each.partition("=")[0], _setting(kind, identity, each)) for each in settings or ()]
    items += [Item(aspect, part, sql, head=head) for aspect, part, head, sql in more or ()]
    if comment is not None:
        kept = _COMMENTED.get(kind, kind)
        items.append(Item("comment", "", f"COMMENT ON {kept} {identity} IS {literal(comment)}"))
    thing = Relation(
        identity,
        name,
        kind,
        definition=(definition or "").rstrip().rstrip(";"),
        owner=owner or "",
        items=tuple(items),
        grants=grants_of(grants),
        address=json.dumps(address) if address else "",
    )
    creator, role = us
    made = Made(creator, frozenset(grants_of(fresh)), role)
    return Found(
        thing, _whole(whole, other), _reasons(reasons), made, (PG_EXTENSION, extension, 0) if extension else None
    )


def _whole(relation: int, other: list[int] | None) -> Address | None:
    if other:
        return other[0], other[1], other[2]
    return (PG_CLASS, relation, 0) if relation else None


def _reasons(rows: Iterable[list[int]] | None) -> frozenset[Address]:
    return frozenset((each[0], each[1], each[2]) for each in rows or () if each[0])


def _setting(kind: str, identity: str, setting: str) -> str:
    name, _, value = setting.partition("=")
    # The server stores a list with its elements quoted; as one literal it would be a single element.
    return f"ALTER {kind} {identity} SET {name} TO {value if name in _LISTS and value else literal(value)}"


def placed(statement: str, addresses: Iterable[Address]) -> str:
    """Return a statement with addresses filled in."""
    chosen = sorted(addresses)
    for position, name in enumerate(("$classes", "$objects", "$columns")):
        statement = statement.replace(name, as_array(each[position] for each in chosen))
    return statement


def names_of(things: Iterable[Relation]) -> dict[str, set[str]]:
    """Return the arguments for `known_as` to find functions, policies, rules and triggers."""
    functions, parts, tables = set[str](), set[str](), set[str]()
    for each in things:
        if each.kind in {"FUNCTION", "PROCEDURE", "AGGREGATE"}:
            functions.add(each.name)
        elif each.kind in {"POLICY", "RULE", "TRIGGER"}:
            parts.add(each.name)
            tables.add(bare(parted(each.identity.rpartition(" ON ")[2])[1]))
    return {"functions": functions, "parts": parts, "tables": tables}
