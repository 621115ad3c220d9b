"""Decides which views an adopted migration drops and creates again, and writes the statements for what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any, Final

from msgspec.structs import replace

from migrate_graph.core.adopting import Making
from migrate_graph.core.drift import Described, Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.core.reachability import closure
from migrate_graph.database.postgres.views.restoration import Restoration, carried
from migrate_graph.database.postgres.views.snapshot import Made, capture
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Restorable
from migrate_graph.database.views.manager_text import ManagerText

Ask = Callable[[str, Any], list[tuple[Any, ...]]]
"""Runs a query under the settings of facts."""

Facts = Mapping[Fact, Described]

VIEWS: Final = frozenset({"view", "matview"})

FUNCTION: Final = (
    "pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
    "AND format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) = %(name)s"
)
"""SQL: the function or procedure of a name, as FROM has it."""

# What a view reads: relations, their columns, functions.
_READS: Final = """
SELECT DISTINCT format('%%I.%%I', n.nspname, c.relname), x.read FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
CROSS JOIN LATERAL (
  SELECT format('%%I.%%I', m.nspname, s.relname) FROM pg_class s JOIN pg_namespace m ON m.oid = s.relnamespace
    WHERE d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid AND s.oid <> c.oid
  UNION ALL SELECT format('%%I.%%I.%%I', m.nspname, s.relname, a.attname) FROM pg_class s JOIN pg_namespace m ON m.oid = s.relnamespace
    JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum = d.refobjsubid WHERE d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
    AND s.oid <> c.oid
  UNION ALL SELECT format('%%I.%%I(%%s)', m.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) FROM pg_proc p
    JOIN pg_namespace m ON m.oid = p.pronamespace WHERE d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
) AS x(read) WHERE r.rulename = '_RETURN' AND c.relkind IN ('v', 'm') AND c.oid >= 16384
"""

# What a routine reads, as far as the server knows: views, by the types of its head or its SQL body, and other routines.
_ROUTINES_READ: Final = """
SELECT DISTINCT format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), x.read FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
CROSS JOIN LATERAL (
  SELECT format('%%I.%%I', m.nspname, c.relname) FROM pg_class c JOIN pg_namespace m ON m.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')
    AND (d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid OR d.refclassid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t
    WHERE t.oid = c.reltype AND d.refobjid IN (t.oid, t.typarray)))
  UNION ALL SELECT format('%%I.%%I(%%s)', m.nspname, q.proname, pg_get_function_identity_arguments(q.oid)) FROM pg_proc q
    JOIN pg_namespace m ON m.oid = q.pronamespace WHERE d.refclassid = 'pg_proc'::regclass AND q.oid = d.refobjid AND q.oid <> p.oid
) AS x(read) WHERE p.oid >= 16384
"""

# An object that depends on a view and is no view itself, so that it cannot be created again here.
_NEEDED: Final = """
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid OR d.refclassid = 'pg_type'::regclass
  AND d.refobjid IN (t.oid, t.typarray)) AND d.deptype = 'n'
WHERE c.oid = to_regclass(%(name)s) AND NOT EXISTS (SELECT FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class
  WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND (v.oid = c.oid OR v.relkind IN ('v', 'm') AND r.rulename = '_RETURN'))
ORDER BY 1 LIMIT 1
"""

_OID: Final = "SELECT CAST(CAST(to_regclass(%(name)s) AS oid) AS int8)"

_LIST_ENDS: Final = re.compile(r"\n   FROM |; [vm] ")
"""Behind the columns of a view, in what is said of it."""

_COLLATED: Final = re.compile(r" collate (\S+)")

_NOT_SAID: Final = frozenset({"option", "not populated", "planner statistics"})
"""What is no statement of a migration, or stands in that which makes a view."""


class Anew:
    """The views that are made anew.

    Args:
        ask: runs a query.
        before: what the database was made of.
        after: what it is made of now.
        managed: relations that view managers make: weaving takes them out of the way, and brings them back.
        hidden: how names begin that are in schemas which the role may not look into.
    """

    def __init__(
        self, ask: Ask, before: Facts, after: Facts, managed: AbstractSet[str], *, hidden: tuple[str, ...] = ()
    ) -> None:
        self._ask = ask
        self._hidden = hidden
        self._before, self._after, self._managed = before, after, managed
        self._reads: dict[str, set[str]] = {}
        for reader, read in ask(_READS, {}):
            self._reads.setdefault(reader, set()).add(read)
        self._called: dict[str, set[str]] = {}
        for routine, read in ask(_ROUTINES_READ, {}):
            self._called.setdefault(routine, set()).add(read)
        self.kinds = {fact.identity: fact for fact in after if fact.kind in VIEWS}
        self.refused: dict[str, str] = {}
        self.views: frozenset[str] = frozenset()

    def levels(self) -> dict[str, int]:
        """Return for views and routines the length of the longest chain of such below each: what stands lower is made first."""
        levels: dict[str, int] = {}
        graph, _ = self._order()
        for name in TopologicalSorter(graph).static_order():
            levels[name] = max((levels[each] + 1 for each in graph[name]), default=0)
        return levels

    def _order(self) -> tuple[dict[str, set[str]], set[str]]:
        """Return what each view and routine reads of these; and those left out, because they read each other in a circle."""
        graph = {**self._called, **{view: self._reads.get(view, set()) for view in self.kinds}}
        circle: set[str] = set()
        while True:
            known = graph.keys() - circle
            open_graph = {name: graph[name] & known for name in known}
            try:
                TopologicalSorter(open_graph).prepare()
            except CycleError as error:
                circle |= {*error.args[1]}
            else:
                return open_graph, circle

    def needs_one_of(self, routine: str, views: AbstractSet[str]) -> bool:
        """Return whether a routine reads one of some views, itself or through other routines and views."""
        return bool(self._below(routine) & views)

    def _below(self, name: str) -> set[str]:
        """Return what a view or routine reads, itself or through other views and routines."""

        def read_by(each: str) -> set[str]:
            return self._called.get(each, set()) | self._reads.get(each, set())

        return closure(read_by(name), read_by)

    def refused_reader(self, names: AbstractSet[str]) -> str:
        """Return why a view that reads one of some columns or routines cannot be dropped; empty where each can, or none reads them."""
        views = sorted(view for view in self.refused if self._reads.get(view, set()) & names)
        return f"{views[0]} reads it, and {self.refused[views[0]]}" if views else ""

    def along(
        self, changes: Sequence[Drifted], remade: AbstractSet[Fact] = frozenset(), left: Collection[Fact] = ()
    ) -> list[Drifted]:
        """Decide which views are made anew; return the changes with them, and without what comes back with them.

        Args:
            changes: what changed.
            remade: routines and columns that are dropped and created again.
            left: what is left to be written by hand.
        """
        roots = {*self._by_themselves(changes), *self._in_the_way(changes, remade, left)} - self._managed
        with_readers = {root: self._closed(root, changes) for root in sorted(roots)}
        for found in with_readers.values():
            self._refuse(found, next(filter(None, map(self._why_not, sorted(found))), ""))
        self._refuse_readers(changes, {fact.identity for fact in left})
        known = -1
        while known < len(self.refused):  # one may stand on another
            known = len(self.refused)
            for found in with_readers.values():
                self._refuse(found, next((self.refused[each] for each in sorted(found) if each in self.refused), ""))
        anew = set().union(*with_readers.values()) - self._managed - self.refused.keys()
        self.views = frozenset(anew)
        kept = [each for each in changes if each.fact.kind in VIEWS or not _belongs(each, self.views)]
        told = {each.fact for each in kept}
        silent = [self.kinds[view] for view in sorted(anew) if self.kinds[view] not in told]
        return [
            *kept,
            *(
                Drifted(fact, self._before[fact].definition, self._after[fact].definition, fact.identity)
                for fact in silent
            ),
        ]

    def _refuse_readers(self, changes: Sequence[Drifted], left: AbstractSet[str]) -> None:
        """Refuse the changed views and routines that read each other in a circle, or read what is left to be written by hand."""
        kinds = {*VIEWS, "function", "procedure"}
        told = {change.fact.identity for change in changes if change.fact.kind in kinds and change.after is not None}
        _, circle = self._order()
        circle = circle if circle & told else set()
        for name in sorted(told):
            below = sorted(self._below(name) & (circle | left))
            if name in circle:
                self._refuse(
                    [name],
                    f"it is in a circle with {', '.join(sorted(circle - {name})) or 'itself'}, so that no order is right",
                )
            elif below:
                self._refuse([name], f"it needs {below[0]}, which is not written")

    def _by_themselves(self, changes: Sequence[Drifted]) -> Iterator[str]:
        """Yield the views that cannot be replaced by what they are now."""
        told = {change.relation for change in changes}
        for fact in self.kinds.values():
            was, now = self._before.get(fact), self._after[fact]
            if was is None or fact.identity not in told:
                continue
            is_other = was.definition != now.definition and not only_its_owner(was.definition, now.definition)
            if (is_other and (fact.kind == "matview" or not _keeps_list(was.definition, now.definition))) or (
                not self._keeps_columns(fact.identity)
            ):
                yield fact.identity

    def _keeps_columns(self, view: str) -> bool:
        was, now = (
            {
                fact: (type_of(each.definition), _COLLATED.findall(each.definition))
                for fact, each in facts.items()
                if fact.kind == "column" and each.relation == view
            }
            for facts in (self._before, self._after)
        )
        return was.items() <= now.items()

    def _in_the_way(
        self, changes: Sequence[Drifted], remade: AbstractSet[Fact], left: Collection[Fact]
    ) -> Iterator[str]:
        """Yield the views that read, or have read, what is dropped or changed below them."""
        gone = {each.relation for each in changes if each.after is None and each.relation == each.fact.identity}
        moved = [
            each
            for each in changes
            if each.fact.kind == "column"
            and each.before is not None
            and each.relation not in self.kinds
            and each.fact not in left
        ]
        gone |= {each.relation for each in moved}
        changed = {
            each.fact.identity
            for each in moved
            if each.after is not None and type_of(each.before) != type_of(each.after)
        }
        changed |= {each.fact.identity for each in changes if each.fact.kind == "function" and is_another(each)}
        changed |= {fact.identity for fact in remade}
        yield from (view for view, reads in self._reads.items() if reads & changed and view in self.kinds)
        yield from self._have_mentioned(gone, changes)

    def _have_mentioned(self, names: Collection[str], changes: Sequence[Drifted]) -> Iterator[str]:
        for each in changes:
            is_changed = each.fact.kind in VIEWS and each.before is not None and each.after is not None
            if is_changed and any(name in (each.before or "") for name in names):
                yield each.fact.identity

    def _closed(self, root: str, changes: Sequence[Drifted]) -> set[str]:
        """Return a view with all that read it, or have read it, through whatever is between."""

        def readers(name: str) -> Iterator[str]:
            reading = (view for view, reads in self._reads.items() if name in reads)
            both = chain(reading, self._have_mentioned([name], changes))
            return (view for view in both if self.kinds.get(view) in self._before)

        return closure([root], readers)

    def _why_not(self, view: str) -> str:
        """Return why a view cannot be dropped and made anew; empty when it can."""
        if view in self._managed:
            above = sorted(
                other for other, reads in self._reads.items() if view in reads and other not in self._managed
            )
            return f"{above[0]} reads {view}, which a view manager makes" if above else ""
        if self._hidden and view.startswith(self._hidden):
            return f"the role may not look into the schema of {view}, which would have to be dropped"
        needed = self._ask(_NEEDED, {"name": view})
        return f"{needed[0][0]} needs {view}, which would have to be dropped" if needed else ""

    def _refuse(self, views: Iterable[str], why: str) -> None:
        if why:
            self.refused |= {view: why for view in views if view not in self.refused}

    def why_left(self, change: Drifted) -> str:
        """Return why something of a view is left to be written by hand; empty where it is not."""
        views = [view for view in self.refused if _belongs(change, [view])]
        return self.refused[views[0]] if views else ""

    def making(self, change: Drifted) -> Making:
        """Return the statements for what belongs to a view, when it is made."""
        view = change.fact.identity

        def read(query: str) -> list[list[Any]]:
            return [[*row] for row in self._ask(query.replace("%", "%%"), {})]

        [(oid,)] = self._ask(_OID, {"name": view})
        captured = capture(read, [oid])
        now, made = captured.relations[oid], captured.made[oid]
        is_elsewhere_ours = now.owner != made.creator and f" owner {now.owner} " not in f"{change.before} "
        lacks = [f"owner ({now.owner})"] if is_elsewhere_ours else []
        if is_elsewhere_ours:
            grants = tuple(carried(now.grants, now.owner, made.creator))
            now = replace(now, owner=made.creator, grants=grants)
        return Making(later=list(_belongings(now, made)), lacks=lacks)


def _belongings(view: Relation, made: Made) -> Iterable[str]:
    """Return what makes a new view what it is, beside its query."""
    items = tuple(item for item in view.items if item.aspect not in _NOT_SAID or item.name.startswith("toast."))
    new = replace(view, items=(), owner=made.creator, grants=tuple(sorted(made.fresh)))
    sent: list[str] = []
    thing = Restorable("", new, replace(view, items=items), ManagerText(heard=True))
    Restoration(sent.append, lambda _: [], thing, made, place="").run()
    return (statement for statement in sent if not statement.startswith("SET LOCAL search_path"))


def _belongs(change: Drifted, views: Collection[str]) -> bool:
    """Return whether something is one of some views, or comes and goes with it."""
    kind, name = change.fact.kind, change.fact.identity
    if change.relation in views or name in views:
        return True
    if kind in {"comment", "security label"}:
        return any(name.endswith((f" {view}", f" on {view}")) or f" column {view}." in name for view in views)
    return kind == "grants" and any(name == view or name.startswith(f"{view}.") for view in views)


def is_another(change: Drifted) -> bool:
    """Return whether a function has other arguments, or returns something else: then it cannot be replaced."""
    return change.before is not None and change.after is not None and _head(change.before) != _head(change.after)


def _head(definition: str) -> str:
    return definition.partition("\n LANGUAGE ")[0]


def only_its_owner(before: str, after: str) -> bool:
    """Return whether nothing but the owner of something is another one."""
    same = next(
        (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new),
        min(len(before), len(after)),
    )
    head, _, begun = before[:same].rpartition(" owner ")
    return bool(head) and " " not in begun and before[same:].partition(" ")[1:] == after[same:].partition(" ")[1:]


def _keeps_list(before: str, after: str) -> bool:
    """Return whether a query gives what another one gave, and at most more behind it, as far as its text tells."""
    was, now = (_LIST_ENDS.split(each, maxsplit=1)[0] for each in (before, after))
    return was == now or now.startswith(f"{was},")


def type_of(definition: str | None) -> str:
    """Return the type in the definition of a column."""
    return re.split(
        r" (?:not null|default|generated|identity|collate|storage|statistics|inherited)\b", definition or "", maxsplit=1
    )[0]


def is_read_by(definition: str, relation: str) -> bool:
    """Return whether the server knows of a routine that it reads a relation, or returns its rows: from its head, or its SQL body."""
    head, _, rest = definition.partition("\n LANGUAGE ")
    seen = head + (rest if "BEGIN ATOMIC" in rest else "")
    return re.search(rf"(?<![\w.\"]){re.escape(relation)}(?![\w\"])", seen) is not None
