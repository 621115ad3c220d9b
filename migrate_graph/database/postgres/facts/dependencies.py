"""Which objects depend on which, from `pg_depend`, read again as the database changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from migrate_graph.database.postgres.facts.columns import Thing
from migrate_graph.database.postgres.facts.reading import Read

# An object that others know as part of another one is replaced by that: the rule of a view by the view, a default by its column, the index
# of a constraint by the constraint, a row type by its relation, an array or multirange type by its element or range type, and a member of
# an extension by the extension.
_STANDS_FOR: Final = """
SELECT {given}, z.class, CAST(z.number AS int8), CAST(z.part AS int)
FROM {source}
LEFT JOIN pg_type t ON s.class = 'pg_type' AND t.oid = s.number
LEFT JOIN pg_type m ON m.oid = CASE t.typtype WHEN 'm' THEN
  (SELECT g.rngtypid FROM pg_range g WHERE to_jsonb(g) ->> 'rngmultitypid' = CAST(t.oid AS text)) END
LEFT JOIN pg_type l ON t.typcategory = 'A' AND l.oid = t.typelem
LEFT JOIN pg_constraint k ON s.class = 'pg_class' AND k.conindid = s.number AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_attrdef f ON s.class = 'pg_attrdef' AND f.oid = s.number
LEFT JOIN pg_rewrite r ON s.class = 'pg_rewrite' AND r.oid = s.number AND r.rulename = '_RETURN'
CROSS JOIN LATERAL (SELECT coalesce(m.oid, l.oid, t.oid) AS type, coalesce(m.typrelid, l.typrelid, t.typrelid, 0) AS rows_of) b
CROSS JOIN LATERAL (SELECT
  CASE WHEN b.rows_of <> 0 OR f.oid IS NOT NULL OR r.oid IS NOT NULL THEN 'pg_class' WHEN k.oid IS NOT NULL THEN 'pg_constraint'
    ELSE s.class END AS class,
  coalesce(nullif(b.rows_of, 0), b.type, k.oid, f.adrelid, r.ev_class, s.number) AS number,
  CASE WHEN f.oid IS NOT NULL THEN f.adnum WHEN r.oid IS NOT NULL OR k.oid IS NOT NULL THEN 0 ELSE s.part END AS part) y
LEFT JOIN pg_depend e ON e.classid = CAST(CAST(y.class AS regclass) AS oid) AND e.objid = y.number AND e.deptype = 'e'
CROSS JOIN LATERAL (SELECT CASE WHEN e.refobjid IS NULL THEN y.class ELSE 'pg_extension' END AS class,
  coalesce(e.refobjid, y.number) AS number, CASE WHEN e.refobjid IS NULL THEN y.part ELSE 0 END AS part) z
"""

_DEPENDS: Final = """
(SELECT CAST(CAST(d.classid AS regclass) AS text) AS of_class, d.objid AS of_number, d.objsubid AS of_part,
   CAST(CAST(d.refclassid AS regclass) AS text) AS class, d.refobjid AS number, d.refobjsubid AS part
 FROM pg_depend d WHERE d.deptype <> 'e' AND d.objid >= 16384 AND (d.refobjid >= 16384 OR d.refclassid = 'pg_extension'::regclass){of}
 UNION ALL
 SELECT CAST(CAST(d.classid AS regclass) AS text), d.objid, d.objsubid, 'pg_authid', d.refobjid, 0
 FROM pg_shdepend d WHERE d.dbid = (SELECT x.oid FROM pg_database x WHERE x.datname = current_database())
   AND d.refclassid = 'pg_authid'::regclass AND d.refobjid >= 16384 AND d.deptype <> 'o'{of}) s
"""

_PARTS: Final = """
SELECT 'pg_rewrite', CAST(r.oid AS int8), 'pg_class', CAST(r.ev_class AS int8), 0 FROM pg_rewrite r WHERE r.rulename = '_RETURN'{rules}
UNION ALL SELECT 'pg_attrdef', CAST(f.oid AS int8), 'pg_class', CAST(f.adrelid AS int8), CAST(f.adnum AS int) FROM pg_attrdef f{defaults}
"""

_NAMED: Final = "(SELECT k AS class, n AS number, 0 AS part FROM unnest($1) n CROSS JOIN unnest(CAST(ARRAY[{catalogs}] AS text[])) k) s"


class Dependencies:
    """What each object depends on, as it was last read.

    Args:
        read: see `facts.Read`.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[tuple[str, int], dict[int, set[Thing]]] = {}

    def read_whole(self) -> None:
        """Read all dependencies."""
        self._known = self._found(None)

    def of(self, thing: Thing) -> frozenset[Thing]:
        """Return what an object depends on, as it was last read."""
        catalog, number, part = thing
        return frozenset(self._known.get((catalog, number), {}).get(part, ()))

    def renew(self, things: Iterable[Thing]) -> None:
        """Read again what some objects depend on; an object that does not exist any more depends on nothing.

        Args:
            things: the objects; each includes all of its parts.
        """
        asked = {(catalog, number) for catalog, number, _ in things}
        if not asked:
            return
        found = self._found(frozenset(number for _, number in asked))
        for each in asked:
            self._known.pop(each, None)
        self._known |= found

    def read_by(self, view: int, *, stops: Callable[[int], bool]) -> frozenset[Thing]:
        """Return the relations and columns that a view reads, also through other views.

        Args:
            view: OID of the view.
            stops: takes the OID of a relation; returns whether to read it does not read what it was made from (a materialized view).
        """
        found: set[Thing] = set()
        ahead, seen = [view], {view}
        while ahead:
            for thing in self.of(("pg_class", ahead.pop(), 0)):
                catalog, number, _ = thing
                if catalog != "pg_class":
                    continue
                found.add(thing)
                if number not in seen and not stops(number):
                    seen.add(number)
                    ahead.append(number)
        return frozenset(found)

    def stand_for(self, things: Iterable[Thing]) -> frozenset[Thing]:
        """Return what objects are part of, or the objects themselves: for an array type its element type, for a member its extension."""
        asked = frozenset(things)
        if not asked:
            return frozenset()
        catalogs = ", ".join(f"'{catalog}'" for catalog in sorted({catalog for catalog, *_ in asked}))
        query = _STANDS_FOR.format(given="s.class, CAST(s.number AS int8), 0", source=_NAMED.format(catalogs=catalogs))
        rows = self._read(query, frozenset(number for _, number, _ in asked))
        return frozenset(
            (catalog, number, part)
            for of_catalog, of_number, _, catalog, number, part in rows
            if (of_catalog, of_number, 0) in asked
        )

    def _found(self, numbers: frozenset[int] | None) -> dict[tuple[str, int], dict[int, set[Thing]]]:
        """Read what the objects with these OIDs depend on; None for all objects."""
        is_some = numbers is not None
        parts = self._read(
            _PARTS.format(
                rules=" AND r.ev_class = ANY ($1)" if is_some else "",
                defaults=" WHERE f.adrelid = ANY ($1)" if is_some else "",
            ),
            numbers or frozenset(),
        )
        whole = {(catalog, number): (of, relation, part) for catalog, number, of, relation, part in parts}
        source = _DEPENDS.format(of=" AND d.objid = ANY ($1)" if is_some else "")
        query = _STANDS_FOR.format(given="s.of_class, CAST(s.of_number AS int8), CAST(s.of_part AS int)", source=source)
        asked = (numbers or frozenset()) | {number for _, number in whole} if is_some else frozenset[int]()
        found: dict[tuple[str, int], dict[int, set[Thing]]] = {}
        for of_catalog, of_number, of_part, *thing in self._read(query, asked):
            catalog, number, part = thing
            owner, owner_number, owner_part = whole.get((of_catalog, of_number), (of_catalog, of_number, of_part))
            if (owner, owner_number) != (catalog, number) or (owner_part and part not in {0, owner_part}):
                of = found.setdefault((owner, owner_number), {}).setdefault(owner_part, set())
                of.add((catalog, number, part))
        return found
