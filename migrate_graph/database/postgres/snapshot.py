"""Reads everything PostgreSQL knows about views that dropping and creating them would lose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, TypeAlias

from migrate_graph.database.relation import Grant, Item, Relation

Query: TypeAlias = Callable[[str], list[tuple[Any, ...]]]
"""Runs a statement without parameters and gives its rows."""

# Everything below reads pg_catalog only and leaves the quoting to the server's format(). `$oids` is put in by _read().
_VIEWS = """
WITH view AS MATERIALIZED (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS identity, n.nspname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY ($oids)
)
"""

_RELATIONS = (
    _VIEWS
    + """
SELECT view.oid::int8, view.identity, view.relname::text, CASE view.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END,
    CASE WHEN view.relkind IN ('v', 'm') THEN pg_catalog.rtrim(pg_catalog.pg_get_viewdef(view.oid), ';') END,
    pg_catalog.pg_get_userbyid(view.relowner)::text,
    ARRAY (SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = view.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM view ORDER BY view.oid
"""
)

_GRANTS = (
    _VIEWS
    + """
, acl AS (
    SELECT view.oid, '' AS column, pg_catalog.aclexplode(coalesce(view.relacl, pg_catalog.acldefault('r', view.relowner))) AS item FROM view
    UNION ALL
    SELECT view.oid, a.attname::text, pg_catalog.aclexplode(a.attacl)
    FROM view JOIN pg_catalog.pg_attribute a ON a.attrelid = view.oid WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
)
SELECT oid::int8, "column", CASE (item).grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid((item).grantee)::text END,
    (item).privilege_type, pg_catalog.pg_get_userbyid((item).grantor)::text, (item).is_grantable
FROM acl ORDER BY 1, 2, 3, 4, 5
"""
)

# What a relation that this session's role creates in each view's schema would get by itself.
_FRESH_GRANTS = (
    _VIEWS
    + """
, role AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
, item AS (
    SELECT view.oid, pg_catalog.aclexplode(coalesce(
        (SELECT d.defaclacl FROM pg_catalog.pg_default_acl d WHERE d.defaclrole = role.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = 'r'),
        pg_catalog.acldefault('r', role.oid))) AS item
    FROM view, role
    UNION
    SELECT view.oid, pg_catalog.aclexplode(d.defaclacl)
    FROM view, role, pg_catalog.pg_default_acl d
    WHERE d.defaclrole = role.oid AND d.defaclnamespace = view.relnamespace AND d.defaclobjtype = 'r'
)
SELECT oid::int8, '', CASE (item).grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid((item).grantee)::text END,
    (item).privilege_type, pg_catalog.pg_get_userbyid((item).grantor)::text, (item).is_grantable
FROM item
"""
)

# In the order in which they are restored: emptying a materialized view comes before its indexes, ANALYZE last.
_ITEMS = (
    _VIEWS
    + """
, part AS (  -- the columns that an index or a statistics object reads
    SELECT d.classid, d.objid, array_agg(a.attname::text ORDER BY a.attnum) AS columns
    FROM view JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = view.oid AND d.refobjsubid > 0
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE view.relkind = 'm' AND d.classid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_statistic_ext'::regclass)
    GROUP BY d.classid, d.objid
)
, index AS (
    SELECT view.oid, view.identity, i.*, c.relname, c.reltablespace, format('%I.%I', view.nspname, c.relname) AS name,
        coalesce((SELECT columns FROM part WHERE part.objid = i.indexrelid), '{}') AS columns
    FROM view JOIN pg_catalog.pg_index i ON i.indrelid = view.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
)
, statistics AS (
    SELECT view.oid, view.relowner, s.stxname, s.stxowner, pg_catalog.to_jsonb(s) ->> 'stxstattarget' AS target, s.oid AS stxoid,
        format('%I.%I', n.nspname, s.stxname) AS name,
        coalesce((SELECT columns FROM part WHERE part.objid = s.oid AND part.classid = 'pg_catalog.pg_statistic_ext'::regclass), '{}') AS columns
    FROM view JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = view.oid JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
)
, attribute AS (
    SELECT view.oid, view.identity, view.relkind, a.*, t.typstorage, nullif(pg_catalog.to_jsonb(a) ->> 'attcompression', '') AS compression
    FROM view JOIN pg_catalog.pg_attribute a ON a.attrelid = view.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
)
, rule AS (
    SELECT view.oid, view.identity, r.oid AS ruleoid, r.rulename, r.ev_enabled, pg_catalog.pg_get_ruledef(r.oid) AS definition
    FROM view JOIN pg_catalog.pg_rewrite r ON r.ev_class = view.oid WHERE r.rulename <> '_RETURN'
)
, trigger AS (
    SELECT view.oid, view.identity, t.oid AS tgoid, t.tgname, pg_catalog.pg_get_triggerdef(t.oid) AS definition
    FROM view JOIN pg_catalog.pg_trigger t ON t.tgrelid = view.oid WHERE NOT t.tgisinternal
)
, comment AS (  -- of the parts, by catalog
    SELECT d.classoid, d.objoid, d.description FROM pg_catalog.pg_description d
    WHERE d.objsubid = 0 AND (
        d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid IN (SELECT indexrelid FROM index)
        OR d.classoid = 'pg_catalog.pg_trigger'::regclass AND d.objoid IN (SELECT tgoid FROM trigger)
        OR d.classoid = 'pg_catalog.pg_rewrite'::regclass AND d.objoid IN (SELECT ruleoid FROM rule)
        OR d.classoid = 'pg_catalog.pg_statistic_ext'::regclass AND d.objoid IN (SELECT stxoid FROM statistics))
)
, item (oid, place, aspect, name, sql, columns) AS (
    SELECT oid, 1, 'not populated', '', format('REFRESH MATERIALIZED VIEW %s WITH NO DATA', identity), '{}'::text[]
    FROM view WHERE relkind = 'm' AND NOT relispopulated
    UNION ALL
    SELECT view.oid, 2, 'access method', '', format('ALTER <kind> %s SET ACCESS METHOD %I', identity, a.amname), '{}'
    FROM view JOIN pg_catalog.pg_am a ON a.oid = view.relam WHERE a.amname <> current_setting('default_table_access_method')
    UNION ALL
    SELECT view.oid, 3, 'tablespace', '', format('ALTER <kind> %s SET TABLESPACE %I', identity, t.spcname), '{}'
    FROM view JOIN pg_catalog.pg_tablespace t ON t.oid = view.reltablespace
    UNION ALL
    SELECT view.oid, 4, 'option', option_name, format('ALTER <kind> %s SET (%I = %L)', identity, option_name, option_value), '{}'
    FROM view CROSS JOIN pg_catalog.pg_options_to_table(view.reloptions)
    UNION ALL
    SELECT view.oid, 4, 'option', 'toast.' || option_name, format('ALTER <kind> %s SET (toast.%I = %L)', identity, option_name, option_value), '{}'
    FROM view JOIN pg_catalog.pg_class toast ON toast.oid = view.reltoastrelid CROSS JOIN pg_catalog.pg_options_to_table(toast.reloptions)
    UNION ALL
    SELECT view.oid, 5, 'comment', '', format('COMMENT ON <kind> %s IS %L', identity, d.description), '{}'
    FROM view JOIN pg_catalog.pg_description d ON d.objoid = view.oid AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
    UNION ALL
    SELECT a.oid, 5, 'column comment', a.attname, format('COMMENT ON COLUMN %s.%I IS %L', identity, a.attname, d.description), ARRAY[a.attname::text]
    FROM attribute a JOIN pg_catalog.pg_description d ON d.objoid = a.oid AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = a.attnum
    UNION ALL
    SELECT a.oid, 6, 'column default', a.attname,
        format('ALTER <kind> %s ALTER COLUMN %I SET DEFAULT %s', identity, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid)),
        ARRAY[a.attname::text]
    FROM attribute a JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.oid AND d.adnum = a.attnum
    UNION ALL
    SELECT oid, 7, 'column statistics target', attname,
        format('ALTER <kind> %s ALTER COLUMN %I SET STATISTICS %s', identity, attname, attstattarget), ARRAY[attname::text]
    FROM attribute WHERE attstattarget >= 0
    UNION ALL
    SELECT oid, 7, 'column option', attname || ' ' || option_name,
        format('ALTER <kind> %s ALTER COLUMN %I SET (%I = %L)', identity, attname, option_name, option_value), ARRAY[attname::text]
    FROM attribute CROSS JOIN pg_catalog.pg_options_to_table(attoptions)
    UNION ALL
    SELECT oid, 7, 'column storage', attname, format('ALTER <kind> %s ALTER COLUMN %I SET STORAGE %s', identity, attname,
        CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END), ARRAY[attname::text]
    FROM attribute WHERE relkind = 'm' AND attstorage <> typstorage
    UNION ALL
    SELECT oid, 7, 'column compression', attname, format('ALTER <kind> %s ALTER COLUMN %I SET COMPRESSION %s', identity, attname,
        CASE compression WHEN 'l' THEN 'lz4' ELSE 'pglz' END), ARRAY[attname::text]
    FROM attribute WHERE relkind = 'm' AND compression IS NOT NULL
    UNION ALL
    SELECT oid, 8, 'rule', rulename, definition, '{}' FROM rule
    UNION ALL
    SELECT rule.oid, 9, 'rule comment', rulename, format('COMMENT ON RULE %I ON %s IS %L', rulename, identity, c.description), '{}'
    FROM rule JOIN comment c ON c.objoid = ruleoid AND c.classoid = 'pg_catalog.pg_rewrite'::regclass
    UNION ALL
    SELECT oid, 8, 'trigger', tgname, definition, '{}' FROM trigger
    UNION ALL
    SELECT trigger.oid, 9, 'trigger comment', tgname, format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, identity, c.description), '{}'
    FROM trigger JOIN comment c ON c.objoid = tgoid AND c.classoid = 'pg_catalog.pg_trigger'::regclass
    UNION ALL
    SELECT oid, 10, 'index', relname, pg_catalog.pg_get_indexdef(indexrelid), columns FROM index
    UNION ALL
    SELECT index.oid, 11, 'index tablespace', relname, format('ALTER INDEX %s SET TABLESPACE %I', name, t.spcname), columns
    FROM index JOIN pg_catalog.pg_tablespace t ON t.oid = index.reltablespace
    UNION ALL
    SELECT index.oid, 11, 'index comment', relname, format('COMMENT ON INDEX %s IS %L', name, c.description), columns
    FROM index JOIN comment c ON c.objoid = indexrelid AND c.classoid = 'pg_catalog.pg_class'::regclass
    UNION ALL
    SELECT index.oid, 11, 'index statistics target', relname || ' ' || a.attnum,
        format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', name, a.attnum, a.attstattarget), columns
    FROM index JOIN pg_catalog.pg_attribute a ON a.attrelid = indexrelid WHERE a.attstattarget >= 0
    UNION ALL
    SELECT oid, 12, 'cluster', '', format('ALTER <kind> %s CLUSTER ON %I', identity, relname), columns FROM index WHERE indisclustered
    UNION ALL
    SELECT oid, 12, 'statistics', name, pg_catalog.pg_get_statisticsobjdef(stxoid), columns FROM statistics
    UNION ALL
    SELECT oid, 13, 'statistics target', name, format('ALTER STATISTICS %s SET STATISTICS %s', name, target), columns
    FROM statistics WHERE target::int >= 0
    UNION ALL
    SELECT oid, 13, 'statistics comment', name, format('COMMENT ON STATISTICS %s IS %L', name, c.description), columns
    FROM statistics JOIN comment c ON c.objoid = stxoid AND c.classoid = 'pg_catalog.pg_statistic_ext'::regclass
    UNION ALL
    SELECT oid, 14, 'statistics owner', name, format('ALTER STATISTICS %s OWNER TO %I', name, pg_catalog.pg_get_userbyid(stxowner)), columns
    FROM statistics WHERE pg_catalog.pg_get_userbyid(stxowner) <> current_user  -- whose they would be anyway
    UNION ALL
    SELECT view.oid, 15, 'security label', l.provider, format('SECURITY LABEL FOR %I ON <kind> %s IS %L', l.provider, identity, l.label), '{}'
    FROM view JOIN pg_catalog.pg_seclabel l ON l.objoid = view.oid AND l.classoid = 'pg_catalog.pg_class'::regclass AND l.objsubid = 0
    UNION ALL
    SELECT a.oid, 15, 'column security label', a.attname || ' ' || l.provider,
        format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS %L', l.provider, identity, a.attname, l.label), ARRAY[a.attname::text]
    FROM attribute a JOIN pg_catalog.pg_seclabel l ON l.objoid = a.oid AND l.classoid = 'pg_catalog.pg_class'::regclass AND l.objsubid = a.attnum
    UNION ALL
    SELECT oid, 16, 'planner statistics', '', format('ANALYZE %s', identity), '{}'
    FROM view WHERE relkind = 'm' AND relispopulated
        AND EXISTS (SELECT FROM pg_catalog.pg_stats s WHERE s.schemaname = view.nspname AND s.tablename = view.relname)
)
SELECT oid::int8, aspect, name::text, sql, columns::text[] FROM item ORDER BY oid, place, name
"""
)


def capture(query: Query, oids: Iterable[int]) -> dict[int, Relation]:
    """Read relations completely; the search_path must be empty, so that every name comes with its schema.

    Args:
        query: runs a statement.
        oids: of views, materialized views or tables.
    """
    wanted = sorted(oids)
    if not wanted:
        return {}
    # Two versions of the server may write one definition in two ways.
    [(version,)] = query("SELECT pg_catalog.current_setting('server_version_num')::int / 10000")
    items: dict[int, list[Item]] = defaultdict(list)
    for oid, aspect, name, sql, columns in _read(query, _ITEMS, wanted):
        items[oid].append(Item(aspect, name, sql, tuple(columns)))
    grants: dict[int, list[Grant]] = defaultdict(list)
    for oid, *grant in _read(query, _GRANTS, wanted):
        grants[oid].append(Grant(*grant))
    return {
        oid: Relation(
            identity,
            name,
            kind,
            definition=f"CREATE {kind} {identity} AS {definition}" if definition else "",
            fingerprint=f"{version}:{sha256(definition.encode()).hexdigest()[:16]}" if definition else "",
            owner=owner,
            columns=tuple(columns),
            items=tuple(items[oid]),
            grants=tuple(grants[oid]),
        )
        for oid, identity, name, kind, definition, owner, columns in _read(query, _RELATIONS, wanted)
    }


def read_grants(query: Query, oid: int) -> tuple[str, list[Grant]]:
    """Return the owner of a relation and every privilege on it."""
    [(owner,)] = query(
        f"SELECT pg_catalog.pg_get_userbyid(relowner)::text FROM pg_catalog.pg_class WHERE oid = {int(oid)}"
    )
    return owner, [Grant(*grant) for _, *grant in _read(query, _GRANTS, [oid])]


def fresh_grants(query: Query, oid: int) -> frozenset[Grant]:
    """Return the privileges that a relation would have if the current role had just created it beside this one."""
    return frozenset(Grant(*grant) for _, *grant in _read(query, _FRESH_GRANTS, [oid]))


def _read(query: Query, statement: str, oids: Iterable[int]) -> list[tuple[Any, ...]]:
    return query(statement.replace("$oids", "'{" + ",".join(str(int(oid)) for oid in oids) + "}'::oid[]"))
