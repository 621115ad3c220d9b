"""The view catalog of PostgreSQL: which views exist, what reads them, and what a transaction has created and dropped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

import psycopg2
from msgspec.structs import replace
from psycopg2.errorcodes import (
    DEPENDENT_OBJECTS_STILL_EXIST,
    INTERNAL_ERROR,
    UNDEFINED_FUNCTION,
    UNDEFINED_OBJECT,
    UNDEFINED_TABLE,
)

from migrate_graph.database.postgres.views.asking import Asking, encoding_of
from migrate_graph.database.postgres.views.filling import contents_in, contents_of, filling
from migrate_graph.database.postgres.views.looks import Look, gone_among, look_in, looked_at
from migrate_graph.database.postgres.views.objects import (
    PG_CLASS,
    Address,
    Found,
    address_of,
    details_of,
    edges_from,
    edges_in,
    found_in,
    known_as,
    names_of,
    reached_from,
)
from migrate_graph.database.postgres.views.plain_views import (
    IS_WATCHED,
    PLAIN_VIEWS,
    PlainViews,
    asking,
    gone_or_again,
    seen,
)
from migrate_graph.database.postgres.views.replacing import PostgresInPlace
from migrate_graph.database.postgres.views.restoration import Restoration, create, differs
from migrate_graph.database.postgres.views.snapshot import (
    Captured,
    Made,
    array_of,
    capture,
    captured_from,
    described,
    read_by_busy,
    stamped,
    texts,
)
from migrate_graph.database.postgres.views.trust import distrust
from migrate_graph.database.postgres.views.unchanged import SEEN, closed, compared, opened
from migrate_graph.database.relation import NO_TEXT, Relation
from migrate_graph.database.views.catalog import (
    Changes,
    Concern,
    Contents,
    InPlace,
    Key,
    NoText,
    Observation,
    Reached,
    Restorable,
    Unseen,
    top_of,
)
from migrate_graph.database.views.manager_text import ManagerText
from migrate_graph.database.views.plain_sql import PlainChanges, plain_changes
from migrate_graph.errors import ViewError
from migrate_graph.quoting import bare, parted

_JUST_MADE = 2**20


# Classes of SQLSTATE: an object with this name does not exist, or its schema does not.
_NOT_THERE = {"42", "3F"}

_RELATION_KINDS = {"TABLE", "SEQUENCE", "INDEX", "TYPE"}

# Run with the session's own search_path, along which a manager's names are looked up; so every operator and function has its schema.
_MEANT = """SELECT pg_catalog.to_regclass(meant.name)::pg_catalog.oid::pg_catalog.int8 AS oid, meant.name AS name
FROM pg_catalog.unnest({names}) AS meant (name)"""

_SCHEMAS = "SELECT pg_catalog.current_schemas(true) AS schemas, pg_catalog.current_setting('search_path') AS place"


# These two queries are run with the session's own search_path, too.
_WATCHED = f"SELECT {IS_WATCHED} AS watched"

_NEW = """SELECT new.name AS name, c.oid::pg_catalog.int8 AS oid FROM pg_catalog.unnest({names}) AS new (name)
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(new.name)::pg_catalog.oid
WHERE c.relkind OPERATOR(pg_catalog.=) 'v' AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
    AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid"""

# 16384 is FirstNormalObjectId: relations with a smaller OID belong to the server. Views of extensions and temporary views are left out.
_EVERY_VIEW = """
SELECT c.oid::int8 AS oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""

# Names in ASCII, with other bytes as escapes: they may be no text in the connection's encoding.
_NAMED = """
SELECT c.oid::int8 AS oid, pg_catalog.encode(pg_catalog.convert_to(pg_catalog.format('%I.%I', n.nspname, c.relname),
        pg_catalog.getdatabaseencoding()), 'escape') AS identity,
    pg_catalog.encode(pg_catalog.convert_to(c.relname::text, pg_catalog.getdatabaseencoding()), 'escape') AS name,
    CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END AS kind
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ({oids})
"""

# Pairs of views of which one reads the other in its query, or writes to it by a rule.
_READS = """
SELECT DISTINCT r.ev_class::int8 AS reader, c.oid::int8 AS read
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'n'
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
WHERE r.ev_class >= 16384 AND c.oid <> r.ev_class
ORDER BY 1, 2
"""

# What objects depend on, also through their rules, triggers, column defaults and indexes. The row type of a relation stands for the relation.
_DEPENDS_ON = """
WITH given (classid, objid, objsubid) AS (VALUES {given}),
parts AS (
    SELECT g.classid, g.objid, g.objsubid, g.classid AS of_class, g.objid AS of_object FROM given g
    UNION
    SELECT g.classid, g.objid, g.objsubid, p.of_class, p.of_object FROM given g JOIN LATERAL (
        SELECT 'pg_catalog.pg_rewrite'::regclass::oid AS of_class, r.oid AS of_object FROM pg_catalog.pg_rewrite r WHERE r.ev_class = g.objid
        UNION ALL SELECT 'pg_catalog.pg_trigger'::regclass::oid, t.oid FROM pg_catalog.pg_trigger t WHERE t.tgrelid = g.objid
        UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass::oid, f.oid FROM pg_catalog.pg_attrdef f WHERE f.adrelid = g.objid
        UNION ALL SELECT 'pg_catalog.pg_class'::regclass::oid, i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = g.objid
    ) p ON g.classid = 'pg_catalog.pg_class'::regclass AND g.objsubid = 0
)
SELECT DISTINCT p.classid::int8 AS classid, p.objid::int8 AS objid, p.objsubid AS objsubid,
    CASE WHEN t.oid IS NULL THEN d.refclassid ELSE 'pg_catalog.pg_class'::regclass::oid END::int8 AS refclassid,
    coalesce(t.typrelid, d.refobjid)::int8 AS refobjid, 0 AS refobjsubid
FROM parts p JOIN pg_catalog.pg_depend d ON d.classid = p.of_class AND d.objid = p.of_object AND d.deptype IN ('n', 'a')
LEFT JOIN pg_catalog.pg_type y ON d.refclassid = 'pg_catalog.pg_type'::regclass AND y.oid = d.refobjid
LEFT JOIN pg_catalog.pg_type t ON t.oid = CASE WHEN y.typcategory = 'A' THEN y.typelem ELSE y.oid END AND t.typrelid <> 0
WHERE d.refobjid >= 16384 AND NOT (d.refclassid = p.classid AND d.refobjid = p.objid)
ORDER BY 1, 2, 3, 4, 5
"""


class PostgresCatalog(Asking):
    """See `views.ViewCatalog`."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        super().__init__(connect)
        self._made: dict[Key, Made] = {}
        self._opened = 0
        self._no_text: set[int] = set()

    def _plain_views(self, names: Collection[str]) -> PlainViews | None:
        """Return what the brief query tells about some names; see `PlainViews`."""
        encoding = encoding_of(self._connection)
        return seen(self._planned(f"{asking(names)}; ", PLAIN_VIEWS.replace("$encoding", encoding), steady=True))

    def observe(self, concern: Concern, *, brief: bool = False) -> Observation:
        """See `views.ViewCatalog`."""
        brief = brief and not (concern.functions or concern.parts or concern.keys)
        token = self._open(brief=brief)
        plain = self._plain_views(concern.views) if brief else None
        if plain and plain.is_enough:
            self._made = {}
            return replace(plain.observation(), token=token)
        if brief:
            self._later(*closed(token))
            token = self._open(brief=False)
        meant, schemas, place = self._meant(concern.views)
        keys = {cast("Address", key) for key in concern.keys}
        known = {key[1] for key in keys if key[0] == PG_CLASS} | set(meant.values())
        views, found, look = self._reached(known, keys, concern)
        self._made = {}
        relations: dict[Key, Relation] = {
            key: each.thing for key, each in found.items() if each.thing.identity and not each.thing.is_view
        }
        relations |= {(PG_CLASS, oid, 0): relation for oid, relation in views.relations.items()}
        reached: dict[Key, Reached] = {
            key: Reached(each.thing, each.whole, frozenset(each.reasons), each.extension) for key, each in found.items()
        }
        meanings: dict[str, Key] = {name: (PG_CLASS, oid, 0) for name, oid in meant.items()}
        return Observation(relations, reached, look, meanings, schemas, token, place)

    def _open(self, *, brief: bool) -> str:
        """Open a cursor that will still see the catalogs as they are now, for `confirm`; return its name."""
        self._opened += 1
        name = f"{SEEN}_{self._opened}"
        for statement in opened(name, brief=brief):
            self._later(statement)
        return name

    def confirm(self, before: Observation, gone: Collection[Key], *, is_plain: bool) -> None:
        """See `views.ViewCatalog`."""
        if before.token:
            for statement in compared(before.token, [cast("Address", key) for key in gone], plain=is_plain):
                self._later(statement)

    def _reached(
        self, known: set[int], keys: set[Address], concern: Concern
    ) -> tuple[Captured, dict[Address, Found], Look]:
        """Read views, objects that would be dropped with them, and what this transaction has created and dropped; mostly in one query.

        Args:
            known: OIDs of the views.
            keys: other objects.
            concern: names of functions, policies, rules and triggers to find as well.
        """
        seeds = {(PG_CLASS, oid, 0) for oid in known}
        if concern.functions or concern.parts:
            named = known_as(functions=concern.functions, parts=concern.parts, tables=concern.tables)
            described_rows, rows, more, *look = self.read_all(
                described(known, new=False), reached_from(seeds, keys), named, *self._look_query()
            )
            return captured_from(described_rows, self.read), {**found_in(more), **found_in(rows)}, self._looked(look)
        described_rows, rows, *look = self.read_all(
            described(known, new=False), edges_from(seeds, keys), *self._look_query()
        )
        moment = self._looked(look)
        found = edges_in(rows)
        unknown = [
            key
            for key, each in found.items()
            if each.whole not in found and (key[0] != PG_CLASS or key[1] not in known or key in keys)
        ]
        details = found_in(self.read(details_of(unknown))) if unknown else {}
        for key in unknown:
            if key in details:
                found[key] = replace(details[key], reasons=found[key].reasons)
            else:
                del found[key]  # it does not exist
        return captured_from(described_rows, self.read), found, moment

    def _meant(self, names: Collection[str]) -> tuple[dict[str, int], frozenset[str], str]:
        """Return the OIDs of the relations that names mean in this session, the schemas in its search_path, and the search_path."""
        rows, [[schemas, place]] = self._read_here(_MEANT.format(names=texts(names)), _SCHEMAS)
        return {name: oid for oid, name in rows if oid is not None}, frozenset(schemas), place

    # -- what the transaction has created and dropped ---------------------------------------------------------------

    def _look_query(self) -> list[str]:
        """Return the query for what was created and dropped so far; empty where that is still known."""
        self._looks.recall(self._connection)
        return [] if self._looks.is_new else [looked_at(self._looks.found or {})]

    def _looked(self, results: list[list[list[Any]]]) -> Look:
        """Return what the rows of `_look_query` tell, or what is still known."""
        if results:
            self._looks.remember(self._connection, look_in(results[0], self._looks.found or {}))
        return self._looks.found or {}

    def moment(self, before: Observation, *, brief: bool = False) -> Any:
        """See `views.ViewCatalog`."""
        if brief:
            return PlainViews()
        self._looks.recall(self._connection)
        known, columns = self._looks.found or {}, _columns_in(before)
        if columns or not self._looks.is_new:
            known = look_in(self.read(looked_at(known, columns)), known)
            self._looks.remember(self._connection, known)
        return known

    def changes(self, since: Any, before: Observation, said: Sequence[str] | None = None) -> Changes:
        """See `views.ViewCatalog`. The effect of plain statements is only confirmed: to read all locks of a long transaction is slow."""
        plain = plain_changes(said) if said else None
        if isinstance(since, PlainViews):
            return self._seen_briefly(plain, since)
        if plain and bool(plain.dropped) is not bool(plain.created):
            done = self._dropped(plain.dropped, since, before) if plain.dropped else self._created(plain.created, since)
            if done is not None:
                self._looks.remember(self._connection, {**since, **done})
                made = sorted((fate, key) for key, fate in done.items() if fate is not None and fate >= 0)
                return Changes(frozenset(done if plain.dropped else ()), tuple(key for _, key in made), is_plain=True)
        now = look_in(self.read(looked_at(since, _columns_in(before))), since)
        self._looks.remember(self._connection, now)
        new = {key: fate for key, fate in now.items() if fate is not None and since.get(key) != fate}
        made = sorted((fate, key) for key, fate in new.items() if fate >= 0)
        first = min((key[1] for _, key in made), default=None)
        # REFRESH fills a temporary relation, which is gone when it ends. OIDs are given in order, so a gone object with an OID soon after that
        # of a new view is such a relation.
        gone = (key for key, fate in new.items() if fate < 0 and not (first and 0 < key[1] - first < _JUST_MADE))
        return Changes(frozenset(gone), tuple(key for _, key in made))

    def _seen_briefly(self, plain: PlainChanges | None, since: PlainViews) -> Changes:
        """Return what plain statements have done, by their text; if the server finds otherwise, it makes the block be rolled back.

        Raises:
            Unseen: their text does not tell it.
        """
        if plain is None or bool(plain.dropped) is bool(plain.created):
            raise Unseen("these statements are not plain")
        if plain.dropped:
            gone = since.parts_of(plain.dropped)
            if gone is None:
                raise Unseen("what they name was not looked at")
            if gone:
                self._later(gone_or_again(gone))
            return Changes(frozenset().union(*gone.values()), is_plain=True)
        now = self._plain_views(plain.created)
        made = [now.meant.get(name) for name in plain.created] if now and not now.is_watched else [None]
        if now is None or not now.views.issuperset(made):
            raise Unseen("what they name is something else")
        known: dict[Key, Relation] = {(PG_CLASS, oid, 0): relation for oid, relation in now.bare.items()}
        return Changes(made=tuple((PG_CLASS, oid, 0) for oid in made if oid is not None), known=known)

    def _dropped(self, names: Collection[str], since: Look, before: Observation) -> Look | None:
        """Return what was dropped, if that is exactly these views and their parts; None where a full look is needed."""
        views = {before.meant[name] for name in names if name in before.meant}
        there = {key for key in before.reached if since.get(cast("Address", key)) != -1}
        [[is_watched]], rows = self._confirmed(_WATCHED, gone_among(cast("set[Address]", there)))
        gone = {(classid, objid, column) for classid, objid, column in rows}
        parts = {key for key in there if top_of(key, before.reached, views | there) in views}
        return dict.fromkeys(gone, -1) if not is_watched and len(views) == len(names) and gone == parts else None

    def _created(self, names: Sequence[str], since: Look) -> Look | None:
        """Return these views, if all are new; None where a full look is needed."""
        [[is_watched]], rows = self._confirmed(_WATCHED, _NEW.format(names=texts(names)))
        oids = dict(rows)
        made: Look = {(PG_CLASS, oids[name], 0): len(since) + at for at, name in enumerate(names) if name in oids}
        is_plain = len(made) == len(names) and not any(since.get(key) for key in made)
        return made if is_plain and not is_watched else None

    def describe(self, keys: Collection[Key]) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        captured = capture(self.read, [cast("Address", key)[1] for key in keys])
        self._made |= {(PG_CLASS, oid, 0): made for oid, made in captured.made.items()}
        return {(PG_CLASS, oid, 0): relation for oid, relation in captured.relations.items()}

    def look_up(self, names: Collection[str]) -> dict[str, tuple[Key, str]]:
        """See `views.ViewCatalog`."""
        if not names:
            return {}
        called: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            schema, relation = map(bare, parted(name))
            called.setdefault(relation, []).append((name, schema))
        [[[schemas, _]]] = self._read_here(_SCHEMAS)  # in order
        rows = self.read(stamped(called))
        found: dict[str, tuple[Key, str]] = {}
        for oid, schema, relation, stamp in sorted(
            rows, key=lambda row: schemas.index(row[1]) if row[1] in schemas else len(schemas), reverse=True
        ):
            for name, wanted in called[relation]:
                if wanted == schema or (not wanted and schema in schemas):
                    found[name] = ((PG_CLASS, oid, 0), stamp or "")
        return found

    def definitions(self, keys: Collection[Key]) -> dict[Key, Relation | None]:
        """See `views.ViewCatalog`. `pg_get_viewdef` waits for locks on what a view reads, so views with such locks are left out first."""
        oids = {cast("Address", key)[1] for key in keys}
        if not oids:
            return {}
        with self.safely():
            busy = {oid for (oid,) in self.read(read_by_busy(oids))}
            found, _ = self._capture_unlocked(oids - busy)  # another session may lock one just now
        return {(PG_CLASS, oid, 0): found.get(oid) for oid in oids}

    def every_view(self) -> dict[Key, Relation]:
        """See `views.ViewCatalog`. Views that others have locked are read one by one at the end, without other locks: no deadlock."""
        found, locked = self._capture_unlocked({oid for (oid,) in self.read(_EVERY_VIEW)})
        for oid in locked:
            found |= self._capture_unlocked({oid}, patience="")[0]
        found |= {
            oid: Relation(identity, name, kind, definition=NO_TEXT)
            for oid, identity, name, kind in self.read(_NAMED.format(oids=array_of(self._no_text)))
        }
        return {(PG_CLASS, oid, 0): found[oid] for oid in sorted(found)}

    def _capture_unlocked(
        self, oids: AbstractSet[int], *, patience: str = "200ms"
    ) -> tuple[dict[int, Relation], set[int]]:
        """Read views completely; return them, and the OIDs of those that are locked. Views that are dropped meanwhile are left out.

        Args:
            oids: OIDs of the views.
            patience: `lock_timeout` meanwhile, less than `deadlock_timeout`; empty for that of the session.
        """
        if not oids:
            return {}, set()
        try:
            with self.atomic(ours=True):
                return self._capture_within(oids, patience), set()
        except NoText:
            locked = set()
            self._no_text |= oids if len(oids) == 1 else set()
        except psycopg2.errors.LockNotAvailable:
            if len(oids) == 1 and not patience:
                raise
            locked = set(oids)
        except psycopg2.Error as error:
            # For a view that was dropped meanwhile, the server raises an internal error.
            if error.pgcode not in {INTERNAL_ERROR, UNDEFINED_TABLE}:
                raise
            locked = set()
        if len(oids) == 1:
            return {}, locked
        chosen = sorted(oids)
        half = len(chosen) // 2
        some, locked = self._capture_unlocked(set(chosen[:half]), patience=patience)
        more, also = self._capture_unlocked(set(chosen[half:]), patience=patience)
        return some | more, locked | also

    def _capture_within(self, oids: AbstractSet[int], patience: str) -> dict[int, Relation]:
        setting = "SELECT pg_catalog.current_setting('lock_timeout'), pg_catalog.set_config('lock_timeout', %s, true)"
        before = self.run(setting, (patience,))[0][0] if patience else ""
        found = capture(self.read, oids).relations
        if patience:  # after an exception, the rollback to the savepoint restores it
            self.run(setting, (before,))
        return found

    def role(self) -> str:
        """Return the current role of the session."""
        return str(self.run("SELECT current_user")[0][0])

    def reads(self) -> list[tuple[Key, Key]]:
        """Return pairs of views: the first one reads the second, or writes to it by a rule."""
        return [((PG_CLASS, reader, 0), (PG_CLASS, read, 0)) for reader, read in self.read(_READS)]

    def reads_of(self, keys: Collection[Key]) -> dict[Key, frozenset[Key]]:
        """See `views.ViewCatalog`."""
        found: dict[Key, set[Key]] = {key: set() for key in keys}
        if found:
            given = ", ".join(f"({key[0]}::oid, {key[1]}::oid, {key[2]})" for key in sorted(found))
            for classid, objid, column, *on in self.read(_DEPENDS_ON.format(given=given)):
                found[classid, objid, column].add((on[0], on[1], on[2]))
        return {key: frozenset(read) for key, read in found.items()}

    def find(self, relations: Collection[Relation]) -> dict[str, tuple[Key, Relation]]:
        """See `views.ViewCatalog`."""
        views = {each.identity: each for each in relations if each.is_view}
        oids = self._meant(views)[0] if views else {}
        there: dict[str, tuple[Key, Relation]] = {
            identity: ((PG_CLASS, oid, 0), views[identity]) for identity, oid in oids.items()
        }
        others = {each.identity for each in relations if not each.is_view}
        if others:
            found = found_in(self.read(known_as(**names_of([each for each in relations if not each.is_view]))))
            self._made |= {key: each.made for key, each in found.items()}
            there |= {
                each.thing.identity: (key, each.thing) for key, each in found.items() if each.thing.identity in others
            }
        return there | self._find_by_address(
            [each for each in relations if each.address or each.kind in _RELATION_KINDS]
        )

    def _find_by_address(self, things: Collection[Relation]) -> dict[str, tuple[Key, Relation]]:
        """Return those that exist of some objects that are found by address: domains, operators, columns, tables."""
        keys: dict[Address, str] = {}
        for thing in things:
            try:
                with self.atomic(ours=True):
                    [[classid, objid, column]] = self.read(address_of(thing))
            except psycopg2.Error as error:
                if (error.pgcode or "")[:2] not in _NOT_THERE:
                    raise
                continue
            keys[classid, objid, column] = thing.identity
        found = found_in(self.read(details_of(keys))) if keys else {}
        self._made |= {key: each.made for key, each in found.items()}
        return {keys[key]: (key, each.thing) for key, each in found.items()}

    def broken(self, before: Observation) -> list[str]:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`. In PostgreSQL no view can be unreadable because of a missing object."""
        return []

    def is_race(self, error: BaseException) -> bool:
        """See `views.ViewCatalog`. The server raises an internal error when another session has just replaced the catalog row to delete."""
        return getattr(error, "pgcode", None) == INTERNAL_ERROR

    def unreadable(self, relations: Iterable[Relation]) -> dict[str, str]:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; the server refuses to create such a view."""
        return {}

    def is_undefined(self, error: BaseException) -> bool:
        """See `views.ViewCatalog`."""
        return getattr(error, "pgcode", None) in {UNDEFINED_TABLE, UNDEFINED_FUNCTION, UNDEFINED_OBJECT}

    def refusal(self, error: BaseException) -> str | None:
        """See `views.ViewCatalog`."""
        if not isinstance(error, psycopg2.Error) or error.pgcode != DEPENDENT_OBJECTS_STILL_EXIST:
            return None
        return "; ".join((error.diag.message_detail or str(error)).strip().splitlines())

    # -- restoring --------------------------------------------------------------------------------------------------

    def in_place(self) -> InPlace:
        """See `views.ViewCatalog`."""
        return PostgresInPlace(self, self._made)

    def restore(self, things: Iterable[Restorable]) -> list[str]:
        """See `views.ViewCatalog`."""
        changed = [each for each in things if differs(each)]
        if not changed:
            return []
        unknown = [each.key for each in changed if each.key not in self._made]
        if unknown:
            self.describe(unknown)
        place = self.place()
        with self.safely():
            return [
                warning
                for each in changed
                for warning in Restoration(self.send, self.read, each, self._made[each.key], place=place).run()
            ]

    def distrust(self, table: str) -> str:
        """See `views.ViewCatalog`."""
        return distrust(self.read, table)

    def recreate(self, stored: Relation) -> list[str]:
        """See `views.ViewCatalog`."""
        place = self.place()
        with self.safely():
            create(self.send, stored)
            found = self.find([stored])
            if stored.identity not in found:
                raise ViewError(f"the stored definition of {stored.label} creates something else")
            key, made = found[stored.identity]
            if stored.is_view:
                made = self.describe([key])[key]
            again = Restorable(key, made, stored, ManagerText(heard=True), fills=stored.kind == "MATERIALIZED VIEW")
            return Restoration(self.send, self.read, again, self._made[key], place=place).run()

    def contents(self, identities: Collection[str]) -> dict[str, Contents]:
        """See `views.ViewCatalog`."""
        return contents_in(self.read(contents_of(identities))) if identities else {}

    def fill(self, identity: str, *, role: str = "") -> None:
        """See `views.ViewCatalog`."""
        for statement in filling(identity, role):
            self.say(statement)


def _columns_in(before: Observation) -> list[Address]:
    """Return the columns of tables among the found objects."""
    return [(key[0], key[1], key[2]) for key in before.reached if not isinstance(key, str) and key[2]]
