"""The query that reads the facts of a PostgreSQL database: a UNION with one part for each kind of object."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec import Struct

from migrate_graph.quoting import as_array, quote_literal

SETTINGS: Final = (
    "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true), "
    "pg_catalog.set_config('IntervalStyle', 'postgres', true), pg_catalog.set_config('TimeZone', 'UTC', true), "
    "pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('quote_all_identifiers', 'off', true), "
    "pg_catalog.set_config('bytea_output', 'hex', true)"
)
"""Settings under which facts are read, because the server writes definitions by the session's settings. With this search_path, names
without a schema are only the server's own."""


def _acl(acl: str, kind: str, owner: str) -> str:
    """Return an SQL expression that writes privileges in a fixed order; NULL where they are the default ones."""
    default = f"acldefault('{kind}', {owner})"
    spelled = "(SELECT string_agg(CAST(a AS text), ',' ORDER BY CAST(a AS text) COLLATE \"C\") FROM unnest({}) a)"
    return f"nullif({spelled.format(acl)}, {spelled.format(default)})"


def _free(catalog: str, alias: str) -> str:
    """Return an SQL condition: an object belongs neither to an extension nor to the server."""
    return (
        f"{alias}.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend byext WHERE byext.classid = '{catalog}'::regclass "
        f"AND byext.objid = {alias}.oid AND byext.deptype = 'e')"
    )


def _names(query: str) -> str:
    return f"coalesce((SELECT string_agg(x, ', ' ORDER BY x COLLATE \"C\") FROM ({query}) AS of(x)), '')"


class Part(Struct, frozen=True):
    """One part of the query.

    Attributes:
        sql: selects kind, identity, definition, catalog, OID, number of the part, and OID of the relation that it belongs to.
        catalogs: it must be read again when rows of one of these were written.
        of_relations: it reads only from `rel`, and can be restricted to some relations.
        shared: it reads objects that all databases of the server share.
        since: first version of the server that has such objects.
        words: it need only be read again if a statement, or code in the database, contains one of these, because rows of `catalogs` are
            written for every new table, too; empty where that does not matter.
    """

    sql: str
    catalogs: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    of_relations: bool = False
    shared: bool = False
    since: int = 0


_RELATION = """
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'matview' WHEN 'S' THEN 'sequence'
         WHEN 'c' THEN 'type' ELSE 'foreign table' END,
  c.id,
  concat_ws(' ', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, nullif(c.relkind, 'r'), nullif(c.relpersistence, 'p'),
    'owner ' || pg_get_userbyid(c.relowner), 'with ' || CAST(c.reloptions AS text),
    'toast with ' || (SELECT CAST(t.reloptions AS text) FROM pg_class t WHERE t.oid = c.reltoastrelid),
    CASE WHEN c.relrowsecurity THEN 'row security' END, CASE WHEN c.relforcerowsecurity THEN 'forced' END,
    CASE WHEN c.relkind IN ('r', 'p', 'm') AND c.relreplident <> 'd' THEN concat('replica identity ', c.relreplident) END,
    'tablespace ' || (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace),
    'using ' || (SELECT nullif(a.amname, 'heap') FROM pg_am a WHERE a.oid = c.relam AND c.relkind IN ('r', 'm', 'p')),
    'of ' || CAST(CAST(nullif(c.reloftype, 0) AS regtype) AS text),
    'partition by ' || pg_get_partkeydef(c.oid), 'partition ' || pg_get_expr(c.relpartbound, c.oid),
    'inherits ' || (SELECT string_agg(CAST(CAST(i.inhparent AS regclass) AS text), ', ' ORDER BY i.inhseqno) FROM pg_inherits i
      WHERE i.inhrelid = c.oid),
    (SELECT concat_ws(' ', 'server', s.srvname, CAST(f.ftoptions AS text)) FROM pg_foreign_table f JOIN pg_foreign_server s
      ON s.oid = f.ftserver WHERE f.ftrelid = c.oid),
    (SELECT concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache,
      CASE WHEN s.seqcycle THEN 'cycle' END) FROM pg_sequence s WHERE s.seqrelid = c.oid),
    'owned by ' || (SELECT string_agg(concat(CAST(CAST(d.refobjid AS regclass) AS text), '.', a.attname, ' ', d.deptype), ', ')
      FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
        AND d.deptype IN ('a', 'i'))),
  'pg_class', c.oid, 0, c.oid FROM rel c
"""

_COLUMN = """
SELECT 'column', c.id || '.' || quote_ident(a.attname),
  concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull{valid} THEN 'not null' END,
    CASE a.attgenerated WHEN '' THEN 'default ' ELSE concat('generated ', a.attgenerated, ' ') END || pg_get_expr(d.adbin, d.adrelid),
    'identity ' || CAST(nullif(a.attidentity, '') AS text),
    'collate ' || (SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l JOIN pg_namespace n
      ON n.oid = l.collnamespace WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation),
    'storage ' || CAST(nullif(a.attstorage, y.typstorage) AS text), {compression}
    'statistics ' || nullif(a.attstattarget, -1), CAST(a.attoptions AS text), CAST(a.attfdwoptions AS text),
    CASE WHEN NOT a.attislocal THEN 'inherited' END),
  'pg_class', c.oid, CAST(a.attnum AS int), c.oid
FROM rel c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type y ON y.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
"""

# The order only matters while the columns are the same: a new column always comes last.
_COLUMN_ORDER = """
SELECT 'column order', c.id, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), 'pg_class', c.oid, 0, c.oid
FROM rel c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.relkind IN ('r', 'p', 'f', 'c')
GROUP BY c.id, c.oid
"""

_OF_INDEX = """concat_ws(' ', CASE WHEN NOT x.indisvalid THEN 'INVALID' END, CASE WHEN x.indisclustered THEN 'clustered' END,
    CASE WHEN x.indisreplident THEN 'replica identity' END,
    'tablespace ' || (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = i.reltablespace),
    'part of ' || (SELECT CAST(CAST(h.inhparent AS regclass) AS text) FROM pg_inherits h WHERE h.inhrelid = i.oid),
    'statistics ' || (SELECT string_agg(a.attnum || ' ' || a.attstattarget, ', ' ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = i.oid AND a.attstattarget <> -1))"""

_INDEX = f"""
SELECT 'index', format('%I.%I', n.nspname, i.relname), concat_ws(' ', pg_get_indexdef(i.oid), nullif({_OF_INDEX}, '')),
  'pg_class', i.oid, 0, c.oid
FROM rel c JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x'))
"""

# Until it is validated, rows may be without a value: a fact of its own tells that, and VALIDATE CONSTRAINT then changes something.
_IS_VALID = (
    " AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] "
    "AND NOT k.convalidated)"
)

_CONSTRAINT = f"""
SELECT 'constraint', c.id || '.' || quote_ident(k.conname), concat_ws(' ', pg_get_constraintdef(k.oid),
    CASE WHEN NOT k.conislocal THEN 'inherited' END,
    (SELECT nullif(concat_ws(' ', CAST(i.reloptions AS text), {_OF_INDEX}), '') FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
      WHERE x.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x'))),
  'pg_constraint', k.oid, 0, c.oid
FROM rel c JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype NOT IN ('n', 't') OR k.contype = 'n' AND NOT k.convalidated
"""

_ENABLED = "CASE {0} WHEN 'O' THEN NULL ELSE concat('enabled ', {0}) END"

_TRIGGER = f"""
SELECT 'trigger', c.id || '.' || quote_ident(t.tgname), concat_ws(' ', pg_get_triggerdef(t.oid), {_ENABLED.format("t.tgenabled")}),
  'pg_trigger', t.oid, 0, c.oid
FROM rel c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
"""

_RULE = f"""
SELECT 'rule', c.id || '.' || quote_ident(r.rulename), concat_ws(' ', pg_get_ruledef(r.oid), {_ENABLED.format("r.ev_enabled")}),
  'pg_rewrite', r.oid, 0, c.oid
FROM rel c JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN'
"""

_POLICY = f"""
SELECT 'policy', c.id || '.' || quote_ident(p.polname), concat_ws(' ', p.polcmd, CASE WHEN NOT p.polpermissive THEN 'restrictive' END,
    'to ' || {_names("SELECT CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END FROM unnest(p.polroles) r")},
    'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)),
  'pg_policy', p.oid, 0, c.oid
FROM rel c JOIN pg_policy p ON p.polrelid = c.oid
"""

_STATISTICS = f"""
SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), concat_ws(' ', pg_get_statisticsobjdef(s.oid),
    'target ' || nullif(to_jsonb(s) ->> 'stxstattarget', '-1'), 'owner ' || pg_get_userbyid(s.stxowner)), 'pg_statistic_ext', s.oid, 0, c.oid
FROM rel c JOIN pg_statistic_ext s ON s.stxrelid = c.oid JOIN pg_namespace n ON n.oid = s.stxnamespace
WHERE {_free("pg_statistic_ext", "s")}
"""

_PUBLISHED = """
SELECT 'published table', quote_ident(p.pubname) || ' ' || c.id, {row}, 'pg_publication_rel', r.oid, 0, c.oid
FROM every c JOIN pg_publication_rel r ON r.prrelid = c.oid JOIN pg_publication p ON p.oid = r.prpubid
"""

_GRANTS = f"""
SELECT * FROM (SELECT 'grants', c.id, {_acl("c.relacl", "r", "c.relowner")} AS definition, 'pg_class', c.oid, 0, c.oid FROM every c
  WHERE c.relacl IS NOT NULL AND c.relkind <> 'S'
UNION ALL SELECT 'grants', c.id, {_acl("c.relacl", "s", "c.relowner")}, 'pg_class', c.oid, 0, c.oid FROM every c
  WHERE c.relacl IS NOT NULL AND c.relkind = 'S') x WHERE definition IS NOT NULL
"""

_COLUMN_GRANTS = """
SELECT 'grants', c.id || '.' || quote_ident(a.attname),
  (SELECT string_agg(CAST(x AS text), ',' ORDER BY CAST(x AS text) COLLATE "C") FROM unnest(a.attacl) x),
  'pg_class', c.oid, CAST(a.attnum AS int), c.oid
FROM every c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL AND a.attacl <> '{}' AND NOT a.attisdropped
"""

_SCHEMA = """
SELECT 'schema', quote_ident(n.nspname), 'owner ' || pg_get_userbyid(n.nspowner), 'pg_namespace', n.oid, 0, CAST(0 AS oid) FROM ns n
"""

_FUNCTION = f"""
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
  format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
  concat_ws(' ', CASE p.prokind WHEN 'a' THEN (SELECT concat_ws(' ', pg_get_function_result(p.oid), p.provolatile, p.proparallel,
      g.aggkind, g.aggnumdirectargs, g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn, g.aggdeserialfn, g.aggmtransfn,
      g.aggminvtransfn, g.aggmfinalfn, g.aggfinalextra, g.aggmfinalextra, g.aggfinalmodify, g.aggmfinalmodify,
      CAST(CAST(nullif(g.aggsortop, 0) AS regoperator) AS text), CAST(CAST(g.aggtranstype AS regtype) AS text), g.aggtransspace,
      CAST(CAST(nullif(g.aggmtranstype, 0) AS regtype) AS text), g.aggmtransspace, g.agginitval, g.aggminitval)
      FROM pg_aggregate g WHERE g.aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END, 'owner ' || pg_get_userbyid(p.proowner)),
  'pg_proc', p.oid, 0, CAST(0 AS oid)
FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace WHERE {_free("pg_proc", "p")}
"""

_TYPE = f"""
SELECT 'type', format('%I.%I', n.nspname, t.typname), concat_ws(' ', t.typtype, CASE t.typtype
    WHEN 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
    WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'not null' END,
      'default ' || t.typdefault, 'collate ' || nullif({{collation}}, '"default"'))
    WHEN 'r' THEN (SELECT concat_ws(' ', CAST(CAST(r.rngsubtype AS regtype) AS text), r.rngcollation,
      (SELECT o.opcname FROM pg_opclass o WHERE o.oid = r.rngsubopc), r.rngcanonical, r.rngsubdiff) FROM pg_range r WHERE r.rngtypid = t.oid)
    ELSE concat_ws(' ', t.typlen, t.typbyval, t.typcategory, t.typispreferred, t.typisdefined, t.typdelim, t.typinput, t.typoutput,
      t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze, t.typalign, t.typstorage, t.typdefault) END,
    'owner ' || pg_get_userbyid(t.typowner)),
  'pg_type', t.oid, 0, CAST(0 AS oid)
FROM pg_type t JOIN ns n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r', 'b', 'p') AND NOT EXISTS (SELECT FROM pg_type a WHERE a.typarray = t.oid) AND {_free("pg_type", "t")}
"""

_DOMAIN_CONSTRAINT = f"""
SELECT 'constraint', format('%I.%I.%I', n.nspname, t.typname, k.conname), pg_get_constraintdef(k.oid), 'pg_constraint', k.oid, 0, CAST(0 AS oid)
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN ns n ON n.oid = t.typnamespace WHERE k.contype <> 'n' AND {_free("pg_type", "t")}
"""

_CAST = f"""
SELECT 'cast', format('%s as %s', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)),
  concat_ws(' ', CAST(CAST(nullif(c.castfunc, 0) AS regprocedure) AS text), c.castcontext, c.castmethod), 'pg_cast', c.oid, 0, CAST(0 AS oid)
FROM pg_cast c WHERE {_free("pg_cast", "c")}
"""

_OPERATOR = f"""
SELECT 'operator', CAST(CAST(o.oid AS regoperator) AS text), concat_ws(' ', o.oprcode, o.oprcanmerge, o.oprcanhash,
    CAST(CAST(nullif(o.oprcom, 0) AS regoperator) AS text), '!', CAST(CAST(nullif(o.oprnegate, 0) AS regoperator) AS text),
    o.oprrest, o.oprjoin, 'owner', pg_get_userbyid(o.oprowner)), 'pg_operator', o.oid, 0, CAST(0 AS oid)
FROM pg_operator o JOIN ns n ON n.oid = o.oprnamespace WHERE {_free("pg_operator", "o")}
"""

_OPERATOR_CLASS = f"""
SELECT 'operator class', format('%I.%I using %I', n.nspname, o.opcname, m.amname), concat_ws(' ',
    (SELECT f.opfname FROM pg_opfamily f WHERE f.oid = o.opcfamily), CAST(CAST(o.opcintype AS regtype) AS text), o.opcdefault,
    CAST(CAST(nullif(o.opckeytype, 0) AS regtype) AS text), 'owner', pg_get_userbyid(o.opcowner)), 'pg_opclass', o.oid, 0, CAST(0 AS oid)
FROM pg_opclass o JOIN ns n ON n.oid = o.opcnamespace JOIN pg_am m ON m.oid = o.opcmethod WHERE {_free("pg_opclass", "o")}
UNION ALL SELECT 'operator family', format('%I.%I using %I', n.nspname, f.opfname, m.amname), concat_ws(' ',
    (SELECT string_agg(concat_ws(' ', a.amopstrategy, a.amoppurpose, CAST(CAST(a.amopopr AS regoperator) AS text)), ', '
      ORDER BY a.amopstrategy, CAST(CAST(a.amopopr AS regoperator) AS text) COLLATE "C") FROM pg_amop a WHERE a.amopfamily = f.oid),
    (SELECT string_agg(concat_ws(' ', a.amprocnum, CAST(a.amproc AS regprocedure)), ', '
      ORDER BY a.amprocnum, CAST(CAST(a.amproc AS regprocedure) AS text) COLLATE "C") FROM pg_amproc a WHERE a.amprocfamily = f.oid),
    'owner', pg_get_userbyid(f.opfowner)), 'pg_opfamily', f.oid, 0, CAST(0 AS oid)
FROM pg_opfamily f JOIN ns n ON n.oid = f.opfnamespace JOIN pg_am m ON m.oid = f.opfmethod WHERE {_free("pg_opfamily", "f")}
"""

_COLLATION = f"""
SELECT 'collation', format('%I.%I', n.nspname, c.collname),
  concat_ws(' ', CAST(to_jsonb(c) - '{{oid,collname,collnamespace,collowner}}'::text[] AS text),
    'owner', pg_get_userbyid(c.collowner)), 'pg_collation', c.oid, 0, CAST(0 AS oid)
FROM pg_collation c JOIN ns n ON n.oid = c.collnamespace WHERE {_free("pg_collation", "c")}
UNION ALL SELECT 'conversion', format('%I.%I', n.nspname, c.conname), concat_ws(' ', c.conforencoding, c.contoencoding, c.conproc, c.condefault,
    'owner', pg_get_userbyid(c.conowner)), 'pg_conversion', c.oid, 0, CAST(0 AS oid)
FROM pg_conversion c JOIN ns n ON n.oid = c.connamespace WHERE {_free("pg_conversion", "c")}
"""

_TEXT_SEARCH = f"""
SELECT 'text search configuration', format('%I.%I', n.nspname, c.cfgname),
    concat_ws(' ', (SELECT p.prsname FROM pg_ts_parser p WHERE p.oid = c.cfgparser),
    (SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapseqno, CAST(CAST(m.mapdict AS regdictionary) AS text)), ', '
      ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg = c.oid), 'owner', pg_get_userbyid(c.cfgowner)),
  'pg_ts_config', c.oid, 0, CAST(0 AS oid) FROM pg_ts_config c JOIN ns n ON n.oid = c.cfgnamespace WHERE {_free("pg_ts_config", "c")}
UNION ALL SELECT 'text search dictionary', format('%I.%I', n.nspname, d.dictname), concat_ws(' ',
    (SELECT t.tmplname FROM pg_ts_template t WHERE t.oid = d.dicttemplate), d.dictinitoption, 'owner', pg_get_userbyid(d.dictowner)),
  'pg_ts_dict', d.oid, 0, CAST(0 AS oid) FROM pg_ts_dict d JOIN ns n ON n.oid = d.dictnamespace WHERE {_free("pg_ts_dict", "d")}
UNION ALL SELECT 'text search parser', format('%I.%I', n.nspname, p.prsname),
  concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype),
  'pg_ts_parser', p.oid, 0, CAST(0 AS oid) FROM pg_ts_parser p JOIN ns n ON n.oid = p.prsnamespace WHERE {_free("pg_ts_parser", "p")}
UNION ALL SELECT 'text search template', format('%I.%I', n.nspname, t.tmplname), concat_ws(' ', t.tmplinit, t.tmpllexize),
  'pg_ts_template', t.oid, 0, CAST(0 AS oid) FROM pg_ts_template t JOIN ns n ON n.oid = t.tmplnamespace WHERE {_free("pg_ts_template", "t")}
"""

_LANGUAGE = f"""
SELECT 'language', quote_ident(l.lanname), concat_ws(' ', l.lanpltrusted, CAST(CAST(nullif(l.lanplcallfoid, 0) AS regprocedure) AS text),
    CAST(CAST(nullif(l.laninline, 0) AS regprocedure) AS text), CAST(CAST(nullif(l.lanvalidator, 0) AS regprocedure) AS text),
    'owner', pg_get_userbyid(l.lanowner)), 'pg_language', l.oid, 0, CAST(0 AS oid) FROM pg_language l WHERE {_free("pg_language", "l")}
UNION ALL SELECT 'access method', quote_ident(a.amname), concat_ws(' ', a.amtype, a.amhandler), 'pg_am', a.oid, 0, CAST(0 AS oid)
FROM pg_am a WHERE {_free("pg_am", "a")}
UNION ALL SELECT 'transform', format('%s for %I', format_type(t.trftype, NULL), l.lanname), concat_ws(' ', t.trffromsql, t.trftosql),
  'pg_transform', t.oid, 0, CAST(0 AS oid) FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {_free("pg_transform", "t")}
"""

_EVENT_TRIGGER = f"""
SELECT 'event trigger', quote_ident(e.evtname), concat_ws(' ', e.evtevent, CAST(CAST(e.evtfoid AS regprocedure) AS text), e.evtenabled,
    CAST(e.evttags AS text), 'owner', pg_get_userbyid(e.evtowner)), 'pg_event_trigger', e.oid, 0, CAST(0 AS oid)
FROM pg_event_trigger e WHERE {_free("pg_event_trigger", "e")}
"""

_PUBLICATION = f"""
SELECT 'publication', quote_ident(p.pubname), concat_ws(' ', CAST(to_jsonb(p) - '{{oid,pubname,pubowner}}'::text[] AS text), 'owner',
    pg_get_userbyid(p.pubowner)), 'pg_publication', p.oid, 0, CAST(0 AS oid) FROM pg_publication p WHERE {_free("pg_publication", "p")}
UNION ALL SELECT 'subscription', quote_ident(s.subname), concat_ws(' ', s.subenabled, s.subslotname, {{synchronous}},
    CAST(s.subpublications AS text), 'owner', pg_get_userbyid(s.subowner)), 'pg_subscription', {{subscription}}, 0, CAST(0 AS oid)
FROM pg_subscription s WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
"""

_PUBLISHED_SCHEMA = """
SELECT 'published schema', format('%I %I', p.pubname, n.nspname), '', 'pg_publication_namespace', x.oid, 0, CAST(0 AS oid)
FROM pg_publication_namespace x JOIN pg_publication p ON p.oid = x.pnpubid JOIN ns n ON n.oid = x.pnnspid
"""

_FOREIGN = f"""
SELECT 'foreign data wrapper', quote_ident(w.fdwname), concat_ws(' ', CAST(CAST(nullif(w.fdwhandler, 0) AS regprocedure) AS text),
    CAST(CAST(nullif(w.fdwvalidator, 0) AS regprocedure) AS text), CAST(w.fdwoptions AS text), 'owner', pg_get_userbyid(w.fdwowner)),
  'pg_foreign_data_wrapper', w.oid, 0, CAST(0 AS oid) FROM pg_foreign_data_wrapper w WHERE {_free("pg_foreign_data_wrapper", "w")}
UNION ALL SELECT 'foreign server', quote_ident(s.srvname), concat_ws(' ', (SELECT w.fdwname FROM pg_foreign_data_wrapper w WHERE w.oid = s.srvfdw),
    s.srvtype, s.srvversion, CAST(s.srvoptions AS text), 'owner', pg_get_userbyid(s.srvowner)), 'pg_foreign_server', s.oid, 0, CAST(0 AS oid)
FROM pg_foreign_server s WHERE {_free("pg_foreign_server", "s")}
UNION ALL SELECT 'user mapping', format('%I for %s', u.srvname, u.usename),
  coalesce(CAST(u.umoptions AS text), ''), 'pg_user_mapping', u.umid, 0, CAST(0 AS oid)
FROM pg_user_mappings u
"""

_EXTENSION = """
SELECT 'extension', quote_ident(e.extname), concat_ws(' ', e.extversion, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = e.extnamespace)),
  'pg_extension', e.oid, 0, CAST(0 AS oid) FROM pg_extension e WHERE e.oid >= 16384
"""

_DEFAULT_GRANTS = """
SELECT 'default grants', concat_ws(' ', pg_get_userbyid(d.defaclrole), (SELECT n.nspname FROM pg_namespace n WHERE n.oid = d.defaclnamespace),
    d.defaclobjtype), (SELECT string_agg(CAST(x AS text), ',' ORDER BY CAST(x AS text) COLLATE "C") FROM unnest(d.defaclacl) x),
  'pg_default_acl', d.oid, 0, CAST(0 AS oid) FROM pg_default_acl d
"""


def _grants_on(catalog: str, identity: str, *, acl: str, kind: str, owner: str, source: str) -> str:
    return (
        f"SELECT * FROM (SELECT 'grants', {identity}, {_acl(acl, kind, owner)} AS definition, '{catalog}', x.oid, 0, CAST(0 AS oid) "
        f"FROM {source} WHERE {acl} IS NOT NULL) g WHERE definition IS NOT NULL"
    )


_OTHER_GRANTS = " UNION ALL ".join((
    _grants_on("pg_namespace", "'schema ' || quote_ident(x.nspname)", acl="x.nspacl", kind="n", owner="x.nspowner", source="ns x"),
    _grants_on(
        "pg_proc", "format('%I.%I(%s)', n.nspname, x.proname, pg_get_function_identity_arguments(x.oid))",
        acl="x.proacl", kind="f", owner="x.proowner", source=f"pg_proc x JOIN ns n ON n.oid = x.pronamespace AND {_free('pg_proc', 'x')}",
    ),
    _grants_on(
        "pg_type", "format('%I.%I', n.nspname, x.typname)",
        acl="x.typacl", kind="T", owner="x.typowner", source=f"pg_type x JOIN ns n ON n.oid = x.typnamespace AND {_free('pg_type', 'x')}",
    ),
    _grants_on("pg_language", "'language ' || quote_ident(x.lanname)", acl="x.lanacl", kind="l", owner="x.lanowner", source="pg_language x"),
    _grants_on(
        "pg_foreign_data_wrapper", "'foreign data wrapper ' || quote_ident(x.fdwname)",
        acl="x.fdwacl", kind="F", owner="x.fdwowner", source="pg_foreign_data_wrapper x",
    ),
    _grants_on(
        "pg_foreign_server", "'foreign server ' || quote_ident(x.srvname)",
        acl="x.srvacl", kind="S", owner="x.srvowner", source="pg_foreign_server x",
    ),
))  # fmt: skip


def _said_of_objects(kind: str, catalog: str, text: str) -> str:
    """Return a part of the query for comments or security labels of all objects but those of the tool and of extensions."""
    return f"""
SELECT '{kind}', o.type || ' ' || o.identity, d.{text}, CAST(CAST(d.classoid AS regclass) AS text), d.objoid, CAST(d.objsubid AS int), CAST(0 AS oid)
FROM {catalog} d CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
WHERE (d.objoid >= 16384 OR d.classoid = 'pg_namespace'::regclass AND d.objoid IN (SELECT n.oid FROM ns n))
  AND o.identity IS NOT NULL AND coalesce(o.schema, '') !~ '^pg_' AND d.classoid <> 'pg_extension'::regclass
  AND NOT (d.classoid = 'pg_class'::regclass AND d.objoid IN (SELECT w.oid FROM own w))
  AND NOT EXISTS (SELECT FROM pg_depend byext WHERE byext.classid = d.classoid AND byext.objid = d.objoid AND byext.deptype = 'e')
"""


_ROLE = """
SELECT 'role', quote_ident(r.rolname), CAST(to_jsonb(r) - '{oid,rolname,rolpassword}'::text[] AS text), 'pg_authid', r.oid, 0, CAST(0 AS oid)
FROM pg_roles r WHERE r.oid >= 16384
UNION ALL SELECT 'membership', format('%I in %I', pg_get_userbyid(m.member), pg_get_userbyid(m.roleid)), CAST(m.admin_option AS text),
  'pg_auth_members', m.roleid, CAST(m.member AS int), CAST(0 AS oid) FROM pg_auth_members m
UNION ALL SELECT 'setting', concat_ws(' ', 'role ' || nullif(pg_get_userbyid(s.setrole), 'unknown (OID=0)'),
    'database ' || (SELECT d.datname FROM pg_database d WHERE d.oid = s.setdatabase)), CAST(s.setconfig AS text), 'pg_db_role_setting', s.setrole,
  CAST(s.setdatabase AS int), CAST(0 AS oid) FROM pg_db_role_setting s
"""

OF_PRIVILEGES: Final = ("grant", "revoke", "privileges", "own")
"""One of these words is in every statement that changes privileges. With default privileges, new objects may have some without it."""

_OF_TYPES = ("type", "domain", "enum", "schema", "owned", "extension")

PARTS: Final[dict[str, Part]] = {
    "relation": Part(_RELATION, of_relations=True),
    "column": Part(_COLUMN, of_relations=True),
    "column order": Part(_COLUMN_ORDER, of_relations=True),
    "index": Part(_INDEX, of_relations=True),
    "constraint": Part(_CONSTRAINT, of_relations=True),
    "trigger": Part(_TRIGGER, of_relations=True),
    "rule": Part(_RULE, of_relations=True),
    "policy": Part(_POLICY, of_relations=True),
    "statistics": Part(_STATISTICS, of_relations=True),
    "published table": Part(_PUBLISHED, ("pg_publication_rel",)),
    "grants": Part(_GRANTS, ("pg_class",), OF_PRIVILEGES),
    "column grants": Part(_COLUMN_GRANTS, ("pg_attribute",), OF_PRIVILEGES),
    "schema": Part(_SCHEMA, ("pg_namespace",)),
    "function": Part(_FUNCTION, ("pg_proc", "pg_aggregate")),
    "type": Part(_TYPE, ("pg_type", "pg_enum", "pg_range"), _OF_TYPES),
    "domain constraint": Part(_DOMAIN_CONSTRAINT, ("pg_constraint",), _OF_TYPES),
    "cast": Part(_CAST, ("pg_cast",)),
    "operator": Part(_OPERATOR, ("pg_operator",)),
    "operator class": Part(_OPERATOR_CLASS, ("pg_opclass", "pg_opfamily", "pg_amop", "pg_amproc")),
    "collation": Part(_COLLATION, ("pg_collation", "pg_conversion")),
    "text search": Part(_TEXT_SEARCH, ("pg_ts_config", "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template")),
    "language": Part(_LANGUAGE, ("pg_language", "pg_am", "pg_transform")),
    "event trigger": Part(_EVENT_TRIGGER, ("pg_event_trigger",)),
    "publication": Part(_PUBLICATION, ("pg_publication", "pg_subscription")),
    "published schema": Part(_PUBLISHED_SCHEMA, ("pg_publication_namespace",), since=150000),
    "foreign": Part(_FOREIGN, ("pg_foreign_data_wrapper", "pg_foreign_server", "pg_user_mapping")),
    "extension": Part(_EXTENSION, ("pg_extension",)),
    "default grants": Part(_DEFAULT_GRANTS, ("pg_default_acl",)),
    "other grants": Part(
        _OTHER_GRANTS, ("pg_namespace", "pg_proc", "pg_type", "pg_language", "pg_foreign_data_wrapper", "pg_foreign_server"),
        OF_PRIVILEGES,
    ),
    "comment": Part(_said_of_objects("comment", "pg_description", "description"), ("pg_description",)),
    "label": Part(_said_of_objects("label", "pg_seclabel", "provider || ' ' || d.label"), ("pg_seclabel",)),
    "role": Part(_ROLE, ("pg_authid", "pg_auth_members", "pg_db_role_setting"), shared=True),
}  # fmt: skip

SHARED: Final = (
    "pg_authid", "pg_auth_members", "pg_database", "pg_db_role_setting", "pg_tablespace", "pg_parameter_acl", "pg_replication_origin",
    "pg_shdescription", "pg_shseclabel", "pg_subscription",
)  # fmt: skip
"""Catalogs that all databases of a server share: a change there is not limited to a copy of a database."""

_ROWS_OF_RELATIONS: Final = (
    "pg_class", "pg_attribute", "pg_attrdef", "pg_index", "pg_constraint", "pg_trigger", "pg_rewrite", "pg_policy", "pg_statistic_ext",
    "pg_inherits", "pg_partitioned_table", "pg_sequence", "pg_foreign_table",
)  # fmt: skip

WATCHED: Final = tuple(
    dict.fromkeys([*_ROWS_OF_RELATIONS, *SHARED, *(name for part in PARTS.values() for name in part.catalogs)])
)
"""Catalogs for which it is counted whether a transaction has written rows."""


class Scope(Struct, frozen=True):
    """Which facts are read. If both are None, all are, including those of objects that all databases of the server share.

    Attributes:
        relations: OIDs of the relations whose facts are read; None for all.
        parts: names of the parts of the query; None for all.
    """

    relations: frozenset[int] | None = None
    parts: frozenset[str] | None = None


OF_ONE_DATABASE: Final = Scope(None, frozenset(name for name, part in PARTS.items() if not part.shared))
"""All facts but those of objects that all databases of the server share."""


FORGETS_ON_DEMAND: Final = 150000
"""First server version with `pg_stat_force_next_flush()`: after it, the counters of a transaction are reset when it ends."""


NOTHING_COUNTED: Final = "track_counts"
"""Stands in the rows of `counting` for all catalogs, where `track_counts` is off."""


def counting(version: int) -> str:
    """Return the query for the watched catalogs in which the open transaction has written rows; `NOTHING_COUNTED` where that is not known.

    Where the server can, it resets its counters at the end of the transaction.

    Args:
        version: version of the server.
    """
    names = ", ".join(f"'{name}'" for name in WATCHED if _has(name, version))
    anew = "SELECT pg_catalog.pg_stat_force_next_flush(); " if version >= FORGETS_ON_DEMAND else ""
    return (
        f"{anew}SELECT y.name FROM (SELECT x.name, pg_catalog.pg_stat_get_xact_tuples_inserted(x.at) OPERATOR(pg_catalog.+) "
        "pg_catalog.pg_stat_get_xact_tuples_updated(x.at) OPERATOR(pg_catalog.+) "
        "pg_catalog.pg_stat_get_xact_tuples_deleted(x.at) AS count FROM (SELECT n AS name, "
        "CAST(CAST('pg_catalog.' OPERATOR(pg_catalog.||) n AS pg_catalog.regclass) AS pg_catalog.oid) AS at "
        f"FROM pg_catalog.unnest(ARRAY[{names}]) n) x) y WHERE y.count OPERATOR(pg_catalog.>) 0 "
        f"UNION ALL SELECT '{NOTHING_COUNTED}' WHERE pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.=) 'off'"
    )


_TELLS_EVERYBODY: Final = 140000
"""First server version in which ordinary roles may read `oid` and `subsynccommit` of subscriptions."""

_REGCOLLATION: Final = 130000
"""First server version with the type `regcollation`, which writes the names of collations."""


def _has(catalog: str, version: int) -> bool:
    since = {"pg_publication_namespace": 150000, "pg_parameter_acl": 150000}
    return version >= since.get(catalog, 0)


def facts_query(version: int, own: Collection[str], scope: Scope) -> str:
    """Return the query that reads facts; if only some relations are read, `$1` stands for their OIDs.

    Args:
        version: version of the server.
        own: quoted names of the tool's tables, which are left out.
        scope: which facts are read.
    """
    parts = scope.parts if scope.parts is not None else PARTS.keys()
    chosen = [(name, part.sql) for name, part in PARTS.items() if name in parts and version >= part.since]
    compression = "'compression ' || CAST(nullif(a.attcompression, '') AS text)," if version >= 140000 else ""
    valid = _IS_VALID if version >= 180000 else ""
    row = "concat_ws(' ', pg_get_expr(r.prqual, r.prrelid), CAST(r.prattrs AS text))" if version >= 150000 else "''"
    names = ", ".join(f"to_regclass({quote_literal(name)})" for name in own)
    collation = "CAST(CAST(nullif(t.typcollation, 0) AS regcollation) AS text)"
    subscription, synchronous = "s.oid", "s.subsynccommit"
    if version < _TELLS_EVERYBODY:
        subscription, synchronous = "CAST(0 AS oid)", "NULL"
    if version < _REGCOLLATION:
        collation = "(SELECT quote_ident(k.collname) FROM pg_collation k WHERE k.oid = t.typcollation)"
    only = "" if scope.relations is None else " WHERE c.oid = ANY ($1)"
    arms = " UNION ALL ".join(
        f"SELECT '{name}' AS part, p.* FROM ({sql}) AS p(kind, id, def, class, at, sub, rel)" for name, sql in chosen
    )
    filled = {
        "{compression}": compression,
        "{row}": row,
        "{valid}": valid,
        "{collation}": collation,
        "{subscription}": subscription,
        "{synchronous}": synchronous,
    }
    for mark, sql in filled.items():
        arms = arms.replace(mark, sql)
    return f"""
WITH own AS MATERIALIZED (SELECT CAST(x AS oid) AS oid FROM unnest(ARRAY[{names}]::regclass[]) x WHERE x IS NOT NULL),
ns AS MATERIALIZED (SELECT n.* FROM pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend byext WHERE byext.classid = 'pg_namespace'::regclass AND byext.objid = n.oid AND byext.deptype = 'e')),
every AS (SELECT c.*, format('%I.%I', n.nspname, c.relname) AS id FROM pg_class c JOIN ns n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND c.oid NOT IN (SELECT w.oid FROM own w) AND {_free("pg_class", "c")}
  AND (c.relkind <> 'S' OR NOT EXISTS (SELECT FROM pg_depend d JOIN own w ON w.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))),
rel AS MATERIALIZED (SELECT * FROM every c{only})
{arms}
"""


def with_numbers(query: str, relations: Collection[int]) -> str:
    """Return a query with `$1` replaced by the OIDs of relations."""
    return query.replace("$1", f"CAST({as_array(relations)} AS oid[])")


def numbers_of(tables: Collection[str]) -> str:
    """Return the query for the OIDs of tables and of the sequences that belong to them.

    Args:
        tables: quoted names.
    """
    names = ", ".join(f"pg_catalog.to_regclass({quote_literal(name)})" for name in tables)
    return (
        f"WITH own AS (SELECT CAST(x AS pg_catalog.oid) AS number FROM pg_catalog.unnest(CAST(ARRAY[{names}] AS pg_catalog.regclass[])) x) "
        "SELECT CAST(number AS pg_catalog.int8) FROM own WHERE number IS NOT NULL UNION SELECT CAST(d.objid AS pg_catalog.int8) "
        "FROM pg_catalog.pg_depend d JOIN own ON own.number OPERATOR(pg_catalog.=) d.refobjid "
        "WHERE d.classid OPERATOR(pg_catalog.=) CAST(CAST('pg_catalog.pg_class' AS pg_catalog.regclass) AS pg_catalog.oid) "
        "AND d.refclassid OPERATOR(pg_catalog.=) d.classid AND d.deptype OPERATOR(pg_catalog.=) "
        "ANY (CAST(ARRAY['a', 'i'] AS pg_catalog.\"char\"[]))"
    )
