"""Reads everything about views that would be lost if they were dropped and created again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from hashlib import sha256
from typing import Any, TypeAlias

from msgspec import Struct, field

from migrate_graph.database.relation import Grant, Item, Relation
from migrate_graph.quoting import as_array

Read: TypeAlias = Callable[[str], list[list[Any]]]
"""Runs a query without parameters, whose columns have names, and returns its rows."""

# The queries below are run with `pg_catalog, pg_temp` as search_path; the server quotes the names. `$oids` is replaced by the result of
# `array_of()`. Scalar subqueries look each row up by its OID: with a join the planner might read a whole catalog.
_PRIVILEGES = """(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(x.part,
        CASE x.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(x.grantee) END,
        x.privilege_type, pg_catalog.pg_get_userbyid(x.grantor), x.is_grantable)) FROM ({source}) x)"""

OWN_PRIVILEGES = _PRIVILEGES.format(
    source="""SELECT '' AS part, item.* FROM pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) item
        UNION ALL SELECT a.attname, item.* FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) item
        WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped"""
)


def privileges(acl: str, *, part: str = "''", default: str = "") -> str:
    """Return an SQL expression for the privileges on an object.

    Args:
        acl: SQL of the ACL in the catalog.
        part: SQL of the name of the column that the privileges are on.
        default: SQL of the ACL that holds where the catalog has NULL.
    """
    has = f"coalesce({acl}, {default})" if default else acl
    return _PRIVILEGES.format(source=f"SELECT {part} AS part, item.* FROM pg_catalog.aclexplode({has}) item")


def fresh_privileges(kind: str, schema: str) -> str:
    """Return an SQL expression for the privileges that a new object gets by default if the session's role creates it.

    Args:
        kind: as in `pg_default_acl`: `r` for relations, `S` for sequences, `f` for functions, `n` for schemas.
        schema: SQL of the OID of its schema.
    """
    return _PRIVILEGES.format(
        source=f"""SELECT '' AS part, item.* FROM pg_catalog.pg_roles role, pg_catalog.aclexplode(coalesce(
            (SELECT d.defaclacl FROM pg_catalog.pg_default_acl d
                WHERE d.defaclrole = role.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = '{kind}'),
            pg_catalog.acldefault('{kind.lower()}', role.oid))) item WHERE role.rolname = current_user
        UNION SELECT '', item.* FROM pg_catalog.pg_roles role JOIN pg_catalog.pg_default_acl d ON d.defaclrole = role.oid
            AND d.defaclnamespace = {schema} AND d.defaclobjtype = '{kind}', pg_catalog.aclexplode(d.defaclacl) item
            WHERE role.rolname = current_user"""
    )


# `stamp`: every CREATE OR REPLACE VIEW writes a new version of the view's rule; apart from that, only the renaming of a column does.
_RELATIONS = f"""
SELECT c.oid::int8 AS oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity, c.relname::text AS name,
    CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END AS kind,
    pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';') AS definition,
    pg_catalog.pg_get_userbyid(c.relowner)::text AS owner,
    ARRAY (SELECT a.attname::text FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
    $stamp AS stamp,
    {OWN_PRIVILEGES} AS grants,
    $fresh AS fresh,
    c.relkind = 'm' OR c.reloptions IS NOT NULL OR c.relhastriggers
        OR 1 < (SELECT pg_catalog.count(*) FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid)
        OR EXISTS (SELECT FROM pg_catalog.pg_description d WHERE d.objoid = c.oid AND d.classoid = 'pg_catalog.pg_class'::regclass)
        OR EXISTS (SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_description d ON d.objoid IN (t.oid, t.typarray)
            AND d.classoid = 'pg_catalog.pg_type'::regclass WHERE t.oid = c.reltype)
        OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_description d ON d.objoid = r.oid
            AND d.classoid = 'pg_catalog.pg_rewrite'::regclass WHERE r.ev_class = c.oid)
        OR (SELECT t.typacl IS NOT NULL FROM pg_catalog.pg_type t WHERE t.oid = c.reltype)
        OR EXISTS (SELECT FROM pg_catalog.pg_seclabel l WHERE l.objoid = c.oid AND l.classoid = 'pg_catalog.pg_class'::regclass)
        OR EXISTS (SELECT FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid) AS dressed,
    current_user::text AS creator, pg_catalog.current_setting('role') AS role,
    pg_catalog.current_setting('server_version_num')::int / 10000 AS version
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($oids) AND c.relkind IN ('v', 'm') ORDER BY c.oid
"""

_FRESH = fresh_privileges("r", "c.relnamespace")

_STAMP = """(SELECT r.oid || '.' || r.xmin || '.' || (SELECT pg_catalog.hashtext(pg_catalog.string_agg(a.attname, ',' ORDER BY a.attnum))
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)
    FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN')"""

# Views with their stamps. This locks no view and no table, and needs no privilege.
_STAMPED = """
SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name, $stamp AS stamp
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND c.relname = ANY ($names)
"""

# Views for which another session has, or waits for, an ACCESS EXCLUSIVE lock, on the view or on a relation that it reads.
_BUSY = """
SELECT DISTINCT r.ev_class::int8 AS oid
FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_catalog.pg_locks l ON l.relation IN (d.refobjid, r.ev_class) AND l.locktype = 'relation'
    AND l.database = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND r.ev_class = ANY ($oids)
    AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid()
"""

_VIEWS = """
WITH view AS MATERIALIZED (
    SELECT c.*, pg_catalog.format('%I.%I', n.nspname, c.relname) AS identity, n.nspname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY ($oids)
)
"""

TYPE_PRIVILEGES = """
    SELECT 1 AS place, 'type privilege' AS aspect, '' AS name, '' AS head,
        pg_catalog.format('REVOKE ALL ON TYPE %s FROM PUBLIC', {identity}) AS sql
    FROM pg_catalog.pg_type t WHERE t.oid = {type} AND t.typacl IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(t.typacl) x WHERE x.grantee = 0)
    UNION ALL
    SELECT 2, 'type privilege', pg_catalog.pg_get_userbyid(x.grantee)::text, '', pg_catalog.format('GRANT USAGE ON TYPE %s TO %I', {identity},
        pg_catalog.pg_get_userbyid(x.grantee)) || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    FROM pg_catalog.pg_type t, pg_catalog.aclexplode(t.typacl) x WHERE t.oid = {type} AND x.grantee NOT IN (0, t.typowner)"""

DEPENDS = """
    SELECT {place} AS place, 'extension' AS aspect, e.extname::text AS name, '' AS head,
        pg_catalog.format('ALTER %s DEPENDS ON EXTENSION %I', {what}, e.extname) AS sql
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = {classid} AND d.objid = {objid} AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'x'"""

# In the order in which they are restored: emptying a materialized view comes before its indexes, ANALYZE last. `part`: the columns that
# an index or a statistics object reads; `comment`: comments on the parts. A new statistics object belongs to the session's role, so its
# owner is only restored if it is another one.
_ITEMS = (
    _VIEWS
    + """
, part AS (
    SELECT d.classid, d.objid, pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) AS columns
    FROM view JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = view.oid AND d.refobjsubid > 0
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE view.relkind = 'm' AND d.classid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_statistic_ext'::regclass)
    GROUP BY d.classid, d.objid
)
, every_index AS (
    SELECT view.oid, view.identity, i.*, c.relname, c.reltablespace, pg_catalog.format('%I.%I', view.nspname, c.relname) AS name,
        coalesce((SELECT columns FROM part WHERE part.objid = i.indexrelid), '{}') AS columns
    FROM view JOIN pg_catalog.pg_index i ON i.indrelid = view.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
)
, index AS (SELECT * FROM every_index WHERE indisvalid)
, statistics AS (
    SELECT view.oid, view.relowner, s.stxname, s.stxowner, pg_catalog.to_jsonb(s) ->> 'stxstattarget' AS target, s.oid AS stxoid,
        pg_catalog.format('%I.%I', n.nspname, s.stxname) AS name,
        coalesce((SELECT columns FROM part WHERE part.objid = s.oid AND part.classid = 'pg_catalog.pg_statistic_ext'::regclass), '{}') AS columns
    FROM view JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = view.oid JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
)
, attribute AS (
    SELECT view.oid, view.identity, view.relkind, a.*, t.typstorage, nullif(pg_catalog.to_jsonb(a) ->> 'attcompression', '') AS compression
    FROM view JOIN pg_catalog.pg_attribute a ON a.attrelid = view.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
)
, rule AS (
    SELECT view.oid, view.identity, r.oid AS ruleoid, r.rulename, r.ev_enabled,
        CASE WHEN r.rulename <> '_RETURN' THEN pg_catalog.pg_get_ruledef(r.oid) END AS definition
    FROM view JOIN pg_catalog.pg_rewrite r ON r.ev_class = view.oid
)
, trigger AS (
    SELECT view.oid, view.identity, t.oid AS tgoid, t.tgname, pg_catalog.pg_get_triggerdef(t.oid) AS definition
    FROM view JOIN pg_catalog.pg_trigger t ON t.tgrelid = view.oid WHERE NOT t.tgisinternal
)
, comment AS (
    SELECT d.classoid, d.objoid, d.description FROM pg_catalog.pg_description d
    WHERE d.objsubid = 0 AND (
        d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid IN (SELECT indexrelid FROM index)
        OR d.classoid = 'pg_catalog.pg_trigger'::regclass AND d.objoid IN (SELECT tgoid FROM trigger)
        OR d.classoid = 'pg_catalog.pg_rewrite'::regclass AND d.objoid IN (SELECT ruleoid FROM rule)
        OR d.classoid = 'pg_catalog.pg_statistic_ext'::regclass AND d.objoid IN (SELECT stxoid FROM statistics))
)
, item (oid, place, aspect, name, head, sql, columns) AS (
    SELECT oid, 1, 'not populated', '', '', pg_catalog.format('REFRESH MATERIALIZED VIEW %s WITH NO DATA', identity), '{}'::text[]
    FROM view WHERE relkind = 'm' AND NOT relispopulated
    UNION ALL
    SELECT view.oid, 2, 'access method', '', 'ALTER', pg_catalog.format('%s SET ACCESS METHOD %I', identity, a.amname), '{}'
    FROM view JOIN pg_catalog.pg_am a ON a.oid = view.relam WHERE a.amname <> pg_catalog.current_setting('default_table_access_method')
    UNION ALL
    SELECT view.oid, 3, 'tablespace', '', 'ALTER', pg_catalog.format('%s SET TABLESPACE %I', identity, t.spcname), '{}'
    FROM view JOIN pg_catalog.pg_tablespace t ON t.oid = view.reltablespace
    UNION ALL
    SELECT view.oid, 4, 'option', option_name, 'ALTER', pg_catalog.format('%s SET (%I = %L)', identity, option_name, option_value), '{}'
    FROM view CROSS JOIN pg_catalog.pg_options_to_table(view.reloptions)
    UNION ALL
    SELECT view.oid, 4, 'option', 'toast.' || option_name, 'ALTER',
        pg_catalog.format('%s SET (toast.%I = %L)', identity, option_name, option_value), '{}'
    FROM view JOIN pg_catalog.pg_class toast ON toast.oid = view.reltoastrelid CROSS JOIN pg_catalog.pg_options_to_table(toast.reloptions)
    UNION ALL
    SELECT view.oid, 5, 'comment', '', 'COMMENT ON', pg_catalog.format('%s IS %L', identity, d.description), '{}'
    FROM view JOIN pg_catalog.pg_description d ON d.objoid = view.oid AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
    UNION ALL
    SELECT a.oid, 5, 'column comment', a.attname, '',
        pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', identity, a.attname, d.description), ARRAY[a.attname::text]
    FROM attribute a JOIN pg_catalog.pg_description d ON d.objoid = a.oid AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = a.attnum
    UNION ALL
    SELECT a.oid, 6, 'column default', a.attname,
        'ALTER', pg_catalog.format('%s ALTER COLUMN %I SET DEFAULT %s', identity, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid)),
        ARRAY[a.attname::text]
    FROM attribute a JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.oid AND d.adnum = a.attnum
    UNION ALL
    SELECT oid, 7, 'column statistics target', attname,
        'ALTER', pg_catalog.format('%s ALTER COLUMN %I SET STATISTICS %s', identity, attname, attstattarget), ARRAY[attname::text]
    FROM attribute WHERE attstattarget >= 0
    UNION ALL
    SELECT oid, 7, 'column option', attname || ' ' || option_name,
        'ALTER', pg_catalog.format('%s ALTER COLUMN %I SET (%I = %L)', identity, attname, option_name, option_value), ARRAY[attname::text]
    FROM attribute CROSS JOIN pg_catalog.pg_options_to_table(attoptions)
    UNION ALL
    SELECT oid, 7, 'column storage', attname, 'ALTER', pg_catalog.format('%s ALTER COLUMN %I SET STORAGE %s', identity, attname,
        CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END), ARRAY[attname::text]
    FROM attribute WHERE relkind = 'm' AND attstorage <> typstorage
    UNION ALL
    SELECT oid, 7, 'column compression', attname, 'ALTER', pg_catalog.format('%s ALTER COLUMN %I SET COMPRESSION %s', identity, attname,
        CASE compression WHEN 'l' THEN 'lz4' ELSE 'pglz' END), ARRAY[attname::text]
    FROM attribute WHERE relkind = 'm' AND compression IS NOT NULL
    UNION ALL
    SELECT oid, 8, 'rule', rulename, '', definition, '{}' FROM rule WHERE rulename <> '_RETURN'
    UNION ALL
    SELECT rule.oid, 9, 'rule comment', rulename, '', pg_catalog.format('COMMENT ON RULE %I ON %s IS %L', rulename, identity, c.description), '{}'
    FROM rule JOIN comment c ON c.objoid = ruleoid AND c.classoid = 'pg_catalog.pg_rewrite'::regclass
    UNION ALL
    SELECT oid, 8, 'trigger', tgname, '', definition, '{}' FROM trigger
    UNION ALL
    SELECT trigger.oid, 9, 'trigger comment', tgname, '', pg_catalog.format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, identity, c.description), '{}'
    FROM trigger JOIN comment c ON c.objoid = tgoid AND c.classoid = 'pg_catalog.pg_trigger'::regclass
    UNION ALL
    SELECT oid, 10, 'index', relname, '', pg_catalog.pg_get_indexdef(indexrelid), columns FROM index
    UNION ALL
    SELECT oid, 10, 'invalid index', relname, '', pg_catalog.pg_get_indexdef(indexrelid), '{}' FROM every_index WHERE NOT indisvalid
    UNION ALL
    SELECT index.oid, 11, 'index tablespace', relname, '', pg_catalog.format('ALTER INDEX %s SET TABLESPACE %I', name, t.spcname), columns
    FROM index JOIN pg_catalog.pg_tablespace t ON t.oid = index.reltablespace
    UNION ALL
    SELECT index.oid, 11, 'index comment', relname, '', pg_catalog.format('COMMENT ON INDEX %s IS %L', name, c.description), columns
    FROM index JOIN comment c ON c.objoid = indexrelid AND c.classoid = 'pg_catalog.pg_class'::regclass
    UNION ALL
    SELECT index.oid, 11, 'index statistics target', relname || ' ' || a.attnum, '',
        pg_catalog.format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', name, a.attnum, a.attstattarget), columns
    FROM index JOIN pg_catalog.pg_attribute a ON a.attrelid = indexrelid WHERE a.attstattarget >= 0
    UNION ALL
    SELECT oid, 12, 'cluster', '', 'ALTER', pg_catalog.format('%s CLUSTER ON %I', identity, relname), columns FROM index WHERE indisclustered
    UNION ALL
    SELECT oid, 12, 'statistics', name, '', pg_catalog.pg_get_statisticsobjdef(stxoid), columns FROM statistics
    UNION ALL
    SELECT oid, 13, 'statistics target', name, '', pg_catalog.format('ALTER STATISTICS %s SET STATISTICS %s', name, target), columns
    FROM statistics WHERE target::int >= 0
    UNION ALL
    SELECT oid, 13, 'statistics comment', name, '', pg_catalog.format('COMMENT ON STATISTICS %s IS %L', name, c.description), columns
    FROM statistics JOIN comment c ON c.objoid = stxoid AND c.classoid = 'pg_catalog.pg_statistic_ext'::regclass
    UNION ALL
    SELECT oid, 14, 'statistics owner', name, '',
        pg_catalog.format('ALTER STATISTICS %s OWNER TO %I', name, pg_catalog.pg_get_userbyid(stxowner)), columns
    FROM statistics WHERE pg_catalog.pg_get_userbyid(stxowner) <> current_user
    UNION ALL
    SELECT view.oid, 15, 'security label', l.provider,
        pg_catalog.format('SECURITY LABEL FOR %I ON', l.provider), pg_catalog.format('%s IS %L', identity, l.label), '{}'
    FROM view JOIN pg_catalog.pg_seclabel l ON l.objoid = view.oid AND l.classoid = 'pg_catalog.pg_class'::regclass AND l.objsubid = 0
    UNION ALL
    SELECT a.oid, 15, 'column security label', a.attname || ' ' || l.provider, '',
        pg_catalog.format('SECURITY LABEL FOR %I ON COLUMN %s.%I IS %L', l.provider, identity, a.attname, l.label), ARRAY[a.attname::text]
    FROM attribute a JOIN pg_catalog.pg_seclabel l ON l.objoid = a.oid AND l.classoid = 'pg_catalog.pg_class'::regclass AND l.objsubid = a.attnum
    UNION ALL
    SELECT view.oid, 5, 'type comment', '', '', pg_catalog.format('COMMENT ON TYPE %s IS %L', identity, d.description), '{}'
    FROM view JOIN pg_catalog.pg_description d ON d.objoid = view.reltype AND d.classoid = 'pg_catalog.pg_type'::regclass
    UNION ALL
    SELECT view.oid, 5, 'array type comment', '', '', pg_catalog.format('COMMENT ON TYPE %s[] IS %L', identity, d.description), '{}'
    FROM view JOIN pg_catalog.pg_type t ON t.oid = view.reltype
    JOIN pg_catalog.pg_description d ON d.objoid = t.typarray AND d.classoid = 'pg_catalog.pg_type'::regclass
    UNION ALL
    SELECT view.oid, 5 + given.place, given.aspect, given.name, given.head, given.sql, '{}'
    FROM view CROSS JOIN LATERAL ($type_privileges) given
    UNION ALL
    SELECT oid, 15, 'replica identity', '', 'ALTER',
        pg_catalog.format('%s REPLICA IDENTITY %s', identity, CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END), '{}'
    FROM view WHERE relkind = 'm' AND relreplident IN ('f', 'n')
    UNION ALL
    SELECT oid, 15, 'replica identity', '', 'ALTER', pg_catalog.format('%s REPLICA IDENTITY USING INDEX %I', identity, relname), columns
    FROM index WHERE indisreplident
    UNION ALL
    SELECT view.oid, 15, given.aspect, given.name, given.head, given.sql, '{}' FROM view CROSS JOIN LATERAL ($view_depends) given
    WHERE view.relkind = 'm'
    UNION ALL
    SELECT index.oid, 15, 'index extension', index.relname || ' ' || given.name, given.head, given.sql, columns
    FROM index CROSS JOIN LATERAL ($index_depends) given
    UNION ALL
    SELECT trigger.oid, 15, 'trigger extension', trigger.tgname || ' ' || given.name, given.head, given.sql, '{}'
    FROM trigger CROSS JOIN LATERAL ($trigger_depends) given
    UNION ALL
    SELECT oid, 16, 'planner statistics', '', '', pg_catalog.format('ANALYZE %s', identity), '{}'
    FROM view WHERE relkind = 'm' AND relispopulated
        AND EXISTS (SELECT FROM pg_catalog.pg_stats s WHERE s.schemaname = view.nspname AND s.tablename = view.relname)
)
SELECT oid::int8, aspect, name::text AS name, sql, columns::text[] AS columns, head FROM item ORDER BY oid, place, name
"""
)
_OF_TRIGGER = "pg_catalog.format('TRIGGER %I ON %s', trigger.tgname, trigger.identity)"
for _mark, _what, _catalog, _object in (
    ("$view_depends", "'MATERIALIZED VIEW ' || view.identity", "pg_class", "view.oid"),
    ("$index_depends", "'INDEX ' || index.name", "pg_class", "index.indexrelid"),
    ("$trigger_depends", _OF_TRIGGER, "pg_trigger", "trigger.tgoid"),
):
    _class = f"'pg_catalog.{_catalog}'::regclass"
    _ITEMS = _ITEMS.replace(_mark, DEPENDS.format(place=0, what=_what, classid=_class, objid=_object))
_ITEMS = _ITEMS.replace("$type_privileges", TYPE_PRIVILEGES.format(identity="view.identity", type="view.reltype"))


class Made(Struct, frozen=True):
    """The circumstances in which an object is created, which must be known to restore owner and privileges.

    Attributes:
        creator: the role that creates objects in this session.
        fresh: the privileges that a new object gets by default.
        role: the role of the session's SET ROLE, `none` for none.
    """

    creator: str = ""
    fresh: frozenset[Grant] = frozenset()
    role: str = "none"


class Captured(Struct):
    """Views that were read completely, by OID, and the circumstances of their creation."""

    relations: dict[int, Relation] = field(default_factory=dict)
    made: dict[int, Made] = field(default_factory=dict)


def capture(read: Read, oids: Iterable[int]) -> Captured:
    """Read views completely, and leave out other relations; every name has its schema.

    Args:
        read: runs a query with `pg_catalog, pg_temp` as search_path.
        oids: OIDs of relations.
    """
    wanted = sorted(oids)
    return captured_from(read(described(wanted, new=True)), read) if wanted else Captured()


def described(oids: Collection[int], *, new: bool) -> str:
    """Return the query for the views among some relations; `captured_from` reads its rows.

    Args:
        oids: OIDs of the relations.
        new: also read the privileges that they would get by default.
    """
    fresh = _FRESH if new else "NULL::json"
    return _RELATIONS.replace("$stamp", _STAMP).replace("$fresh", fresh).replace("$oids", array_of(oids))


def captured_from(rows: Collection[list[Any]], read: Read) -> Captured:
    """Read the rows of `described`; for views that have more than a definition, read the rest with one more query."""
    captured = Captured()
    items: dict[int, list[Item]] = defaultdict(list)
    dressed = [row[0] for row in rows if row[10]]
    if dressed:
        for oid, aspect, name, sql, columns, head in read(_ITEMS.replace("$oids", array_of(dressed))):
            items[oid].append(Item(aspect, name or "", sql, tuple(columns), head))
    for oid, identity, name, kind, definition, owner, columns, stamp, grants, fresh, _, creator, role, version in rows:
        captured.relations[oid] = Relation(
            identity,
            name,
            kind,
            definition=f"CREATE {kind} {identity} AS {definition}",
            # Two versions of the server may write the same definition in different ways.
            fingerprint=fingerprint_of(version, definition),
            owner=owner,
            columns=tuple(columns),
            items=tuple(items[oid]),
            grants=grants_of(grants),
            stamp=stamp or "",
        )
        captured.made[oid] = Made(creator, frozenset(grants_of(fresh)), role)
    return captured


def stamped(names: Collection[str]) -> str:
    """Return the query for views by their names without schema, with a stamp that changes when a view is replaced."""
    head, _, tail = _STAMPED.replace("$stamp", _STAMP).partition("$names")
    return head + texts(names) + tail


def read_by_busy(oids: Collection[int]) -> str:
    """Return the query for those of some views that cannot be read without waiting for a lock."""
    return _BUSY.replace("$oids", array_of(oids))


def fingerprint_of(version: int, definition: str | None) -> str:
    """Return the hash of a definition as this version of the server writes it; empty for none."""
    if not definition:
        return ""
    return f"{version}:{sha256(definition.encode(errors='surrogateescape')).hexdigest()[:16]}"


def grants_of(rows: Iterable[Iterable[Any]] | None) -> tuple[Grant, ...]:
    """Return rows of privileges as `Grant`s, sorted."""
    return tuple(Grant(*row) for row in sorted(map(tuple, rows or ())))


def array_of(oids: Iterable[int]) -> str:
    """Return the SQL of an array of OIDs."""
    return f"{as_array(oids)}::oid[]"


def literal(text: str) -> str:
    """Quote a text for a statement without parameters, whatever `standard_conforming_strings` says."""
    quoted = text.replace("'", "''")
    return " E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def texts(values: Iterable[str]) -> str:
    """Return the SQL of an array of texts."""
    return f"ARRAY[{', '.join(map(literal, sorted(values)))}]::pg_catalog.text[]"
