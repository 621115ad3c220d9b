"""Finds what has to be dropped and created again so that a column can change, and the columns whose change cannot be written for that reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct

from migrate_graph.core.drift import Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.database.postgres.facts.anew import FUNCTION, VIEWS, Ask, Facts, is_read_by, type_of

_OF_COLUMN: Final = """
WITH RECURSIVE tree AS (SELECT CAST(to_regclass(%(relation)s) AS oid) AS oid UNION
  SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent),
target AS (SELECT CAST('pg_class'::regclass AS oid) AS class, a.attrelid AS oid, CAST(a.attnum AS int) AS sub FROM pg_attribute a JOIN tree
  ON tree.oid = a.attrelid WHERE quote_ident(a.attname) = %(part)s UNION ALL
  SELECT 'pg_type'::regclass, t.oid, 0 FROM pg_type t JOIN pg_class c ON t.typrelid = c.oid OR t.oid = (SELECT y.typarray FROM pg_type y
  WHERE y.typrelid = c.oid) JOIN tree ON tree.oid = c.oid)
"""

_OF_FUNCTION: Final = f"""
WITH target AS (SELECT 'pg_proc'::regclass AS class, p.oid, 0 AS sub FROM {FUNCTION})
"""

# What depends on the objects of `target`, as facts are called: its kind, identity and relation, and a description. The kind is empty
# where no statement of `Definitions` drops such an object and creates it again. A row type counts only where rows of it are stored.
_NEEDS: Final = """
SELECT DISTINCT coalesce(f.kind, ''), coalesce(f.id, ''), coalesce(f.relation, ''), pg_describe_object(d.classid, d.objid, d.objsubid)
FROM target t JOIN pg_depend d ON d.refclassid = t.class AND d.refobjid = t.oid AND d.refobjsubid = t.sub
LEFT JOIN LATERAL (
  SELECT 'trigger' AS kind, g.tgrelid AS of, quote_ident(g.tgname) AS part FROM pg_trigger g
    WHERE d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
  UNION ALL SELECT 'policy', p.polrelid, quote_ident(p.polname) FROM pg_policy p WHERE d.classid = 'pg_policy'::regclass AND p.oid = d.objid
  UNION ALL SELECT 'rule', r.ev_class, quote_ident(r.rulename) FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  UNION ALL SELECT 'constraint', k.conrelid, quote_ident(k.conname) FROM pg_constraint k
    WHERE d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.conrelid <> 0
  UNION ALL SELECT 'column', a.attrelid, quote_ident(a.attname) FROM pg_attribute a LEFT JOIN pg_attrdef e ON e.adrelid = a.attrelid
    AND e.adnum = a.attnum WHERE a.attgenerated <> '' AND (d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
    OR d.classid = 'pg_class'::regclass AND a.attrelid = d.objid AND a.attnum = d.objsubid)
) AS o ON true
LEFT JOIN LATERAL (
  SELECT o.kind, format('%%I.%%I.', n.nspname, c.relname) || o.part AS id, format('%%I.%%I', n.nspname, c.relname) AS relation
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = o.of
  UNION ALL SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END,
    format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), '' FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND p.prokind IN ('f', 'p', 'w')
  UNION ALL SELECT 'index', format('%%I.%%I', n.nspname, i.relname), format('%%I.%%I', m.nspname, c.relname) FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace JOIN pg_class c ON c.oid = x.indrelid
    JOIN pg_namespace m ON m.oid = c.relnamespace WHERE d.classid = 'pg_class'::regclass AND i.oid = d.objid
  UNION ALL SELECT 'statistics', format('%%I.%%I', n.nspname, s.stxname), format('%%I.%%I', m.nspname, c.relname) FROM pg_statistic_ext s
    JOIN pg_namespace n ON n.oid = s.stxnamespace JOIN pg_class c ON c.oid = s.stxrelid JOIN pg_namespace m ON m.oid = c.relnamespace
    WHERE d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid
) AS f ON true
WHERE NOT (d.classid = t.class AND d.objid = t.oid AND d.objsubid = t.sub)
  AND NOT EXISTS (SELECT FROM pg_trigger g WHERE d.classid = 'pg_trigger'::regclass AND g.oid = d.objid AND g.tgisinternal)
  AND NOT EXISTS (SELECT FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN')
  AND NOT EXISTS (SELECT FROM pg_attrdef e WHERE d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid AND
    d.refclassid = 'pg_class'::regclass AND e.adrelid = t.oid AND e.adnum = t.sub)
  AND NOT EXISTS (SELECT FROM pg_class s WHERE d.classid = 'pg_class'::regclass AND s.oid = d.objid AND s.relkind = 'S')
  AND (t.class <> 'pg_type'::regclass OR d.deptype = 'n' AND EXISTS (SELECT FROM pg_class c WHERE d.classid = 'pg_class'::regclass
    AND c.oid = d.objid AND d.objsubid > 0 AND c.relkind IN ('r', 'm', 'p')))
UNION ALL SELECT '', '', '', 'the partition key of ' || pg_describe_object(t.class, t.oid, 0) FROM target t JOIN pg_depend d
  ON d.classid = t.class AND d.objid = t.oid AND d.objsubid = t.sub WHERE t.sub > 0 AND d.refclassid = t.class AND d.refobjid = t.oid
  AND d.refobjsubid = 0 AND d.deptype = 'i'
ORDER BY 1, 2, 4
"""

# A generated column that is dropped and added comes last. It may not have privileges of its own, which would be lost.
_IS_MOVED: Final = """
SELECT CASE WHEN a.attacl IS NOT NULL THEN 'has privileges of its own' ELSE 'stands before other columns' END FROM pg_attribute a
WHERE a.attrelid = to_regclass(%(relation)s) AND quote_ident(a.attname) = %(part)s AND (a.attacl IS NOT NULL OR EXISTS (
  SELECT FROM pg_attribute b WHERE b.attrelid = a.attrelid AND b.attnum > a.attnum AND NOT b.attisdropped AND
  quote_ident(b.attname) = ANY (%(stay)s)) OR EXISTS (SELECT FROM pg_inherits i WHERE a.attrelid IN (i.inhrelid, i.inhparent)))
"""

_HINDERS: Final = frozenset({"trigger", "policy", "rule", "function", "procedure", "column", ""})
"""Kinds that prevent a column from changing its type; the server itself rebuilds indexes, statistics and constraints."""

_ROUTINES: Final = frozenset({"function", "procedure"})

_IS_GENERATED: Final = re.compile(r" generated [sv] ")

_FOREIGN_KEY: Final = re.compile(r"FOREIGN KEY \((.*?)\) REFERENCES (.*?)\((.*?)\)")


class _Found(Struct):
    """What must go so that something can change.

    Attributes:
        of: what changes: it, and for a routine also what is dropped or changed below it.
        facts: these are dropped and created again, each with its relation.
        why: why that is not possible; empty where it is.
    """

    of: list[Fact]
    facts: dict[Fact, str]
    why: str = ""


class Retyped:
    """What is dropped and created again so that columns, and what routines read, can change.

    Args:
        ask: runs a query under the settings of facts.
        before: the facts before the changes.
        after: the facts now.
        changes: the changes.

    Attributes:
        refused: what is left to be written by hand, each with the reason.
    """

    def __init__(self, ask: Ask, before: Facts, after: Facts, changes: Sequence[Drifted]) -> None:
        self._ask = ask
        self._before, self._after = before, after
        self._changes = {change.fact: change for change in changes}
        self._found = {fact: self._what_must_go(fact, of) for fact, of in self._roots()}
        self.refused: dict[Fact, str] = {}
        for fact, found in self._found.items():
            if found.why:
                self._refuse(fact, found.why)

    @property
    def remade(self) -> frozenset[Fact]:
        """Routines and generated columns that are dropped and created again, instead of being replaced or changed."""
        roots = {fact for fact in self._possible() if fact.kind != "column" or self._is_generated(fact)}
        return frozenset(
            roots | {fact for fact in self._with_them() if fact.kind == "column" or fact.kind in _ROUTINES}
        )

    @property
    def readers(self) -> frozenset[Fact]:
        """Routines that are dropped before the relations that they read: those that go, and those that are dropped and created again."""
        gone = [change for change in self._changes.values() if change.fact.kind in _ROUTINES and change.after is None]
        names = {change.relation for change in self._changes.values()} - {""}
        reading = {each.fact for each in gone if any(is_read_by(each.before or "", name) for name in names)}
        return frozenset(reading | {fact for fact in self.remade if fact.kind in _ROUTINES})

    def along(self) -> list[Drifted]:
        """Return the changes with what is dropped and created again for them."""
        silent = {**self._with_them(), **self._keys()}
        added = [
            Drifted(fact, self._before[fact].definition, self._after[fact].definition, relation)
            for fact, relation in silent.items()
            if fact not in self._changes
        ]
        return [*self._changes.values(), *added]

    def relation_of(self, fact: Fact) -> str:
        """Return the relation that a column belongs to."""
        return self._after[fact].relation

    def refuse_what(self, readers: Callable[[AbstractSet[str]], str]) -> bool:
        """Leave what is read by views that cannot be dropped; return whether there is any.

        Args:
            readers: returns why a reader of one of these names cannot be dropped; empty where it can.
        """
        refused = len(self.refused)
        for fact, found in self._possible().items():
            names = {each.identity for each in (fact, *found.facts) if each.kind == "column" or each.kind in _ROUTINES}
            if why := readers(names):
                self._refuse(fact, why)
        return len(self.refused) > refused

    def _possible(self) -> dict[Fact, _Found]:
        return {fact: found for fact, found in self._found.items() if fact not in self.refused}

    def _with_them(self) -> dict[Fact, str]:
        return {fact: relation for found in self._possible().values() for fact, relation in found.facts.items()}

    def _is_generated(self, fact: Fact) -> bool:
        return _IS_GENERATED.search(f" {self._after[fact].definition} ") is not None

    def _roots(self) -> Iterator[tuple[Fact, list[Fact]]]:
        """Yield what changes in a way that other objects can prevent, with what is left if it is."""
        moved: list[Drifted] = []
        for change in self._changes.values():
            if change.after is None and (change.fact.kind == "column" or change.fact.identity == change.relation):
                moved.append(change)
            elif (
                change.fact.kind == "column"
                and change.before is not None
                and change.after is not None
                and change.relation
            ):
                kinds = {bool(_IS_GENERATED.search(f" {each} ")) for each in (change.before, change.after)}
                is_other = (
                    change.before != change.after if True in kinds else type_of(change.before) != type_of(change.after)
                )
                if is_other and len(kinds) == 1 and not self._is_of_a_view(change.relation):
                    moved.append(change)
                    yield change.fact, [change.fact]
        for change in self._changes.values():
            if change.fact.kind in _ROUTINES and change.before is not None and change.after is not None:
                below = [each.fact for each in moved if is_read_by(change.before, each.relation)]
                if below:
                    yield change.fact, [change.fact, *below]

    def _is_of_a_view(self, relation: str) -> bool:
        return any(Fact(kind, relation) in self._after for kind in VIEWS)

    def _what_must_go(self, root: Fact, of: list[Fact]) -> _Found:
        """Return what must go so that a column or routine can change."""
        found = _Found(of, {})
        change = self._changes[root]
        waiting = [(root, change.relation)]
        if root.kind == "column" and self._is_generated(root):
            found.why = self._is_moved(root, change.relation)
        while waiting and not found.why:
            fact, relation = waiting.pop()
            is_dropped = fact != root or fact.kind in _ROUTINES or self._is_generated(fact)
            for need, its_relation, described in self._needs(fact, relation):
                if need == root or need in found.facts or not (is_dropped or need.kind in _HINDERS):
                    continue
                if need in self._after and need not in self._before:
                    continue  # it is made when the change is done
                found.why = self._why_not(need, its_relation, described)
                if found.why:
                    break
                found.facts[need] = its_relation
                if need.kind == "column" or need.kind in _ROUTINES:
                    waiting.append((need, its_relation))
        return found

    def _needs(self, fact: Fact, relation: str) -> list[tuple[Fact, str, str]]:
        part = fact.identity.removeprefix(f"{relation}.")
        target = _OF_FUNCTION if fact.kind in _ROUTINES else _OF_COLUMN
        rows = self._ask(f"{target}{_NEEDS}", {"name": fact.identity, "relation": relation, "part": part})
        return [(Fact(kind, name), its_relation, described) for kind, name, its_relation, described in rows]

    def _why_not(self, fact: Fact, relation: str, described: str) -> str:
        """Return why something cannot be dropped and created again; empty where it can."""
        if fact not in self._after:
            return f"{described} needs it"
        if fact.kind == "column":
            return self._is_moved(fact, relation)
        if fact.kind == "constraint" and self._after[fact].definition.startswith(("PRIMARY", "UNIQUE")):
            is_key = any(
                f"REFERENCES {relation}(" in each.definition
                for at, each in self._after.items()
                if at.kind == "constraint"
            )
            return f"a foreign key may need {described}" if is_key else ""
        return ""

    def _is_moved(self, fact: Fact, relation: str) -> str:
        """Return why a generated column cannot be dropped and added; empty where it can."""
        stay = [
            name.identity.removeprefix(f"{relation}.")
            for name, each in self._after.items()
            if name.kind == "column"
            and each.relation == relation
            and name in self._before
            and not self._is_generated(name)
        ]
        rows = self._ask(
            _IS_MOVED, {"relation": relation, "part": fact.identity.removeprefix(f"{relation}."), "stay": stay}
        )
        return (
            f"the generated column {fact.identity} would have to be dropped and added, and {rows[0][0]}" if rows else ""
        )

    def _keys(self) -> dict[Fact, str]:
        """Return the foreign keys whose columns change their types at both ends."""
        moved = {fact.identity for fact in self._possible() if fact.kind == "column"}
        found = {}
        for fact, each in self._after.items():
            said = _FOREIGN_KEY.match(each.definition) if fact.kind == "constraint" and fact in self._before else None
            if said:
                here, there = (
                    {f"{relation}.{column.strip()}" for column in columns.split(",")}
                    for relation, columns in ((each.relation, said[1]), (said[2], said[3]))
                )
                if here & moved and there & moved:
                    found[fact] = each.relation
        return found

    def _refuse(self, root: Fact, why: str) -> None:
        """Leave a change to be written by hand, with the other changes that need it."""
        found = self._found[root]
        for fact in found.of:
            self.refused.setdefault(fact, why)
        for fact in found.of:
            change = self._changes[fact]
            if change.after is None or fact.kind not in {"column", *_ROUTINES}:
                continue
            for need, _, _ in self._needs(fact, change.relation):
                if need in self._changes:
                    self.refused.setdefault(need, f"it needs {fact.identity}, whose change is not written")
