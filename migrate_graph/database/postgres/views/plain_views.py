"""Reads views that have only a definition, an owner and privileges, with one cheap query."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from migrate_graph.database.postgres.views.objects import PG_CLASS, UNREAD, Address
from migrate_graph.database.postgres.views.snapshot import fingerprint_of, grants_of, literal
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Key, Observation, Reached

PG_TYPE, PG_REWRITE = 1247, 2618
"""OIDs of `pg_type` and `pg_rewrite`, the same in every database."""

LOOKS_AGAIN = "migrate_graph looks again"
"""Text in the error that the query of `gone_or_again` raises; the error makes the block be rolled back."""

_EQ, _NE, _GT = "OPERATOR(pg_catalog.=)", "OPERATOR(pg_catalog.<>)", "OPERATOR(pg_catalog.>)"

IS_WATCHED = f"EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled {_NE} 'D')"
"""SQL: whether an event trigger may do more than a statement says."""

# It is planned and run with the session's own search_path, with which `meant` looks the names up; so every operator and function has its
# schema. Only while the server writes the definitions, the search_path is another one; the result tells which it was then.
# LATERAL with OFFSET 0 makes the planner look up one row at a time; it would read a small catalog as a whole.
PLAIN_VIEWS = f"""
WITH meant AS MATERIALIZED (
    SELECT m.name, pg_catalog.to_regclass(m.name)::pg_catalog.oid AS oid
    FROM pg_catalog.unnest(pg_catalog.current_setting('migrate_graph.names')::pg_catalog.text[]) AS m (name)
)
SELECT pg_catalog.convert_to(pg_catalog.json_build_array(
    pg_catalog.current_schemas(true), pg_catalog.current_setting('search_path'),
    (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(m.name, m.oid::pg_catalog.int8)) FROM meant m), {IS_WATCHED},
    pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('standard_conforming_strings', 'on', true),
    (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::pg_catalog.int8,
        c.relkind {_EQ} 'v' AND c.relpersistence {_NE} 't' AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid,
        CASE WHEN c.relkind {_EQ} 'v' AND c.relpersistence {_NE} 't' AND c.reloptions IS NULL AND NOT c.relhastriggers
            AND t.typacl IS NULL AND a.bare IS NOT FALSE AND r.count {_EQ} 1
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_description d WHERE d.objoid {_EQ} c.oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_description d WHERE d.objoid {_EQ} c.reltype)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_description d WHERE d.objoid {_EQ} t.typarray)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_description d WHERE d.objoid {_EQ} r.oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_seclabel l WHERE l.objoid {_EQ} c.oid)
            AND NOT EXISTS (SELECT FROM (VALUES ({PG_CLASS}::pg_catalog.oid, c.oid), ({PG_TYPE}, c.reltype), ({PG_TYPE}, t.typarray),
                    ({PG_REWRITE}, r.oid)) AS o (class, id)
                CROSS JOIN LATERAL (SELECT d.objid FROM pg_catalog.pg_depend d
                    WHERE d.refclassid {_EQ} o.class AND d.refobjid {_EQ} o.id OFFSET 0) d
                WHERE NOT d.objid {_EQ} ANY (ARRAY[c.reltype, t.typarray, r.oid]))
        THEN pg_catalog.json_build_array(pg_catalog.current_setting('search_path'), c.oid::pg_catalog.regclass::pg_catalog.text, c.relname,
            pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';'), pg_catalog.pg_get_userbyid(c.relowner), a.names,
            (SELECT pg_catalog.json_agg(pg_catalog.json_build_array('',
                CASE WHEN x.grantee {_EQ} 0::pg_catalog.oid THEN '' ELSE pg_catalog.pg_get_userbyid(x.grantee) END,
                x.privilege_type, pg_catalog.pg_get_userbyid(x.grantor), x.is_grantable))
                FROM pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) x),
            c.reltype::pg_catalog.int8, t.typarray::pg_catalog.int8, r.oid::pg_catalog.int8, r.written, a.hash) END))
     FROM (SELECT DISTINCT m.oid FROM meant m) m
     CROSS JOIN LATERAL (SELECT x.* FROM pg_catalog.pg_class x WHERE x.oid {_EQ} m.oid OFFSET 0) c
     CROSS JOIN LATERAL (SELECT x.typarray, x.typacl FROM pg_catalog.pg_type x WHERE x.oid {_EQ} c.reltype OFFSET 0) t
     CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS count, pg_catalog.min(x.oid) AS oid, pg_catalog.min(x.xmin::pg_catalog.text) AS written
        FROM pg_catalog.pg_rewrite x WHERE x.ev_class {_EQ} c.oid) r
     CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(x.attname ORDER BY x.attnum) AS names,
        pg_catalog.hashtext(pg_catalog.string_agg(x.attname, ',' ORDER BY x.attnum)) AS hash,
        pg_catalog.bool_and(x.attacl IS NULL AND NOT x.atthasdef AND NOT x.attisdropped) AS bare
        FROM pg_catalog.pg_attribute x WHERE x.attrelid {_EQ} c.oid AND x.attnum {_GT} 0) a),
    pg_catalog.current_setting('server_version_num'),
    pg_catalog.set_config('search_path', pg_catalog.current_setting('migrate_graph.place'), true),
    pg_catalog.set_config('standard_conforming_strings', pg_catalog.current_setting('migrate_graph.strings'), true)
)::pg_catalog.text, '$encoding')
"""


def asking(names: Iterable[str]) -> str:
    """Return the statement to send before the query: it stores the names, and the settings of the session, for the query."""
    quoted = ",".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in sorted(names))
    return (
        f"SELECT pg_catalog.set_config('migrate_graph.names', {literal('{' + quoted + '}')}, true), "
        "pg_catalog.set_config('migrate_graph.place', pg_catalog.current_setting('search_path'), true), "
        "pg_catalog.set_config('migrate_graph.strings', pg_catalog.current_setting('standard_conforming_strings'), true)"
    )


def gone_or_again(oids: Collection[int]) -> str:
    """Return a statement that fails if one of these relations still exists, or if an event trigger is active."""
    there = " OR ".join(f"pg_catalog.pg_table_is_visible({int(oid)}::pg_catalog.oid) IS NOT NULL" for oid in oids)
    return f"SELECT CASE WHEN {IS_WATCHED} OR {there} THEN pg_catalog.concat('{LOOKS_AGAIN}')::pg_catalog.int4 END"  # a constant fails in planning


class PlainViews(Struct, frozen=True):
    """What the query has told about some names.

    Attributes:
        schemas: the schemas in which a name without a schema is looked up.
        place: the session's search_path.
        meant: OIDs by name; None for what does not exist.
        is_watched: an event trigger is active, which may do more than a statement says.
        views: OIDs of those that are views, and not temporary.
        bare: by OID, the views with only a definition, an owner and privileges, on which nothing depends.
        parts: by OID of these, the objects that each consists of.
    """

    schemas: frozenset[str] = frozenset()
    place: str = ""
    meant: Mapping[str, int | None] = field(default_factory=dict)
    is_watched: bool = True
    views: frozenset[int] = frozenset()
    bare: Mapping[int, Relation] = field(default_factory=dict)
    parts: Mapping[int, Mapping[Address, frozenset[Address]]] = field(default_factory=dict)

    @property
    def is_enough(self) -> bool:
        """Whether all names mean bare views or nothing, so that no other query is needed."""
        return not self.is_watched and all(oid is None or oid in self.bare for oid in self.meant.values())

    def parts_of(self, names: Iterable[str]) -> dict[int, frozenset[Key]] | None:
        """Return, by OID, what would be dropped together with these views; None if the result does not cover a name."""
        found: dict[int, frozenset[Key]] = {}
        for name in names:
            oid = self.meant.get(name, -1)
            if oid is not None and oid not in self.parts:
                return None
            if oid is not None:
                found[oid] = frozenset(self.parts[oid])
        return found

    def observation(self) -> Observation:
        """Return the result in the form of `ViewCatalog.observe`."""
        reached: dict[Key, Reached] = {
            key: Reached(
                self.bare[oid] if key[0] == PG_CLASS else UNREAD, None if key[0] == PG_CLASS else view, reasons
            )
            for oid, parts in self.parts.items()
            for view in ((PG_CLASS, oid, 0),)
            for key, reasons in parts.items()
        }
        relations: dict[Key, Relation] = {(PG_CLASS, oid, 0): relation for oid, relation in self.bare.items()}
        meant: dict[str, Key] = {name: (PG_CLASS, oid, 0) for name, oid in self.meant.items() if oid is not None}
        return Observation(relations, reached, self, meant, self.schemas, place=self.place, is_brief=True)


def seen(answer: list[Any]) -> PlainViews | None:
    """Read the answer to the query; None where the server did not evaluate its parts in order, so definitions may lack schemas."""
    schemas, place, meant, is_watched, safe, _, rows, version, *_ = answer
    bare: dict[int, Relation] = {}
    parts: dict[int, dict[Address, frozenset[Address]]] = {}
    for oid, _, details in rows or ():
        if details is None:
            continue
        written_in, identity, name, definition, owner, columns, grants, row, array, rule, written, columns_hash = (
            details
        )
        if written_in != safe:
            return None
        bare[oid] = Relation(
            identity,
            name,
            "VIEW",
            definition=f"CREATE VIEW {identity} AS {definition}",
            fingerprint=fingerprint_of(int(version) // 10000, definition),
            owner=owner,
            columns=tuple(columns or ()),
            grants=grants_of(grants),
            stamp="" if columns_hash is None else f"{rule}.{written}.{columns_hash}",
        )
        view, its_rule, its_row = (PG_CLASS, oid, 0), (PG_REWRITE, rule, 0), (PG_TYPE, row, 0)
        parts[oid] = {
            view: frozenset({its_rule}),
            its_rule: frozenset({view}),
            its_row: frozenset({view}),
            (PG_TYPE, array, 0): frozenset({its_row}),
        }
    return PlainViews(
        frozenset(schemas),
        place,
        dict(meant or ()),
        is_watched,
        frozenset(oid for oid, is_view, _ in rows or () if is_view),
        bare,
        parts,
    )
