"""What PostgreSQL's catalog tells about views: which there are, who reads them, what went along with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import psycopg2
import psycopg2.extensions as pg
from psycopg2.errorcodes import (
    DEPENDENT_OBJECTS_STILL_EXIST,
    INVALID_SAVEPOINT_SPECIFICATION,
    NO_ACTIVE_SQL_TRANSACTION,
)

from migrate_graph.database.names import TableNames
from migrate_graph.database.postgres.restoration import Restoration, differs
from migrate_graph.database.postgres.snapshot import capture
from migrate_graph.database.relation import Relation
from migrate_graph.database.savepoints import NotKept, Savepoint, Transaction
from migrate_graph.database.views.catalog import CommittedInside, Dependent, Key, Observation

_SAVEPOINT = "migrate_graph_views"

# 16384 is FirstNormalObjectId: every relation below it belongs to the server. Toast tables and indexes follow theirs.
_PRESENT = "SELECT oid::int8 FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'f', 'v', 'm') AND oid >= 16384"

_RELATIONS = """
SELECT c.oid::int8, format('%I.%I', n.nspname, c.relname), c.relname::text, c.relkind IN ('v', 'm')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.oid >= 16384 ORDER BY c.oid
"""

# What reads a view, or its row type, or the array of that; each with the relation that it is a part of.
_DEPENDENTS = """
WITH target AS (
    SELECT c.oid AS view, 'pg_catalog.pg_class'::regclass AS classid, c.oid AS objid
    FROM pg_catalog.pg_class c WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384
    UNION ALL
    SELECT c.oid, 'pg_catalog.pg_type'::regclass, t.oid
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type t ON t.oid = c.reltype OR t.typelem = c.reltype AND t.typcategory = 'A'
    WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384
), found AS (
    SELECT DISTINCT target.view, d.classid, d.objid, d.objsubid, rule.rulename, rule.ev_class,
        coalesce(rule.ev_class, trigger.tgrelid, policy.polrelid, def.adrelid, index.indrelid, statistic.stxrelid,
            nullif(type.typrelid, 0), element.typrelid, CASE d.classid WHEN 'pg_catalog.pg_class'::regclass THEN d.objid END) AS relation
    FROM target JOIN pg_catalog.pg_depend d ON d.refclassid = target.classid AND d.refobjid = target.objid AND d.deptype IN ('n', 'a')
    LEFT JOIN pg_catalog.pg_rewrite rule ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND rule.oid = d.objid
    LEFT JOIN pg_catalog.pg_trigger trigger ON d.classid = 'pg_catalog.pg_trigger'::regclass AND trigger.oid = d.objid
    LEFT JOIN pg_catalog.pg_policy policy ON d.classid = 'pg_catalog.pg_policy'::regclass AND policy.oid = d.objid
    LEFT JOIN pg_catalog.pg_attrdef def ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND def.oid = d.objid
    LEFT JOIN pg_catalog.pg_index index ON d.classid = 'pg_catalog.pg_class'::regclass AND index.indexrelid = d.objid
    LEFT JOIN pg_catalog.pg_statistic_ext statistic ON d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND statistic.oid = d.objid
    LEFT JOIN pg_catalog.pg_type type ON d.classid = 'pg_catalog.pg_type'::regclass AND type.oid = d.objid
    LEFT JOIN pg_catalog.pg_type element ON element.oid = type.typelem AND type.typcategory = 'A'
)
SELECT view::int8, relation::int8, classid::int8, objid::int8, objsubid, coalesce(rulename = '_RETURN', false),
    CASE WHEN rulename = '_RETURN' THEN '' ELSE pg_catalog.pg_describe_object(classid, objid, objsubid) END,
    CASE WHEN rulename = '_RETURN' THEN '' ELSE (SELECT coalesce(o.name, o.identity) FROM pg_catalog.pg_identify_object(classid, objid, objsubid) o) END
FROM found WHERE relation IS DISTINCT FROM view
"""

# A dropped column is still described, by the name the server gives it.
_LOST = """
SELECT place::int8 FROM unnest($classes::oid[], $objects::oid[], $columns::int4[]) WITH ORDINALITY AS o (classid, objid, objsubid, place)
WHERE coalesce(pg_catalog.pg_describe_object(classid, objid, objsubid) LIKE '%........pg.dropped.%', true)
"""


class PostgresCatalog:
    """See `views.ViewCatalog`; `cursor` opens a psycopg2 cursor on the migration's connection."""

    def __init__(self, cursor: Callable[[], Any]) -> None:
        self._cursor = cursor

    def run(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one statement; without parameters a `%` in it is a `%`."""
        with self._cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def locate(self, names: TableNames) -> TableNames:
        """Find the schema of the view ledger: the migration may have changed the search_path when it is needed."""
        if names.schema:
            return names
        rows = self.run(
            "SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = %s AND c.relkind = 'r' ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, c.oid LIMIT 1",
            (names.views,),
        )
        return replace(names, schema=rows[0][0]) if rows else names

    @property
    def _connection(self) -> Any:
        with self._cursor() as cursor:
            return cursor.connection

    # -- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """See `views.ViewCatalog`."""
        connection = self._connection
        idle = connection.info.transaction_status == pg.TRANSACTION_STATUS_IDLE
        if idle and not connection.autocommit:
            # After a raw COMMIT psycopg2 still believes in a transaction, and would not open one.
            pg.connection.rollback(connection)
        kind = Transaction if idle and connection.autocommit else Savepoint
        try:
            with kind(_SAVEPOINT, self.run).block():
                yield
        except NotKept as error:
            cause = error.__cause__
            if getattr(cause, "pgcode", None) not in {INVALID_SAVEPOINT_SPECIFICATION, NO_ACTIVE_SQL_TRANSACTION}:
                raise cause or error from None
            pg.connection.rollback(connection)
            raise CommittedInside from cause

    @contextmanager
    def commits_held(self) -> Iterator[None]:
        """See `views.ViewCatalog`."""
        connection = self._connection
        connection.commit = lambda: None
        try:
            yield
        finally:
            del connection.commit

    def commit(self) -> None:
        """See `views.ViewCatalog`."""
        pg.connection.commit(self._connection)

    def is_aborted(self) -> bool:
        """See `views.ViewCatalog`."""
        return bool(self._connection.info.transaction_status == pg.TRANSACTION_STATUS_INERROR)

    @contextmanager
    def _qualified_names(self) -> Iterator[None]:
        """Empty the search_path for a moment, so that the server writes every name with its schema."""
        with self.atomic():
            [(search_path,)] = self.run("SELECT pg_catalog.current_setting('search_path')")
            self.run("SELECT pg_catalog.set_config('search_path', '', true)")
            yield
            self.run("SELECT pg_catalog.set_config('search_path', %s, true)", (search_path,))

    def place(self) -> str:
        """See `views.ViewCatalog`: the search_path."""
        return str(self.run("SELECT pg_catalog.current_setting('search_path')")[0][0])

    @contextmanager
    def standing_at(self, place: str) -> Iterator[None]:
        """See `views.ViewCatalog`; what the block itself sets stays."""
        now = self.place()
        if not place or place == now:
            yield
            return
        self.run("SELECT pg_catalog.set_config('search_path', %s, true)", (place,))
        yield  # after an exception the savepoint takes it back
        if self.place() == place:
            self.run("SELECT pg_catalog.set_config('search_path', %s, true)", (now,))

    # -- reading ----------------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """See `views.ViewCatalog`."""
        with self._qualified_names():
            light = self.run(_RELATIONS)
            views = capture(self.run, [oid for oid, _, _, is_view in light if is_view])
            dependents = tuple(_dependent(row, views) for row in self.run(_DEPENDENTS))
        relations: dict[Key, Relation] = {oid: Relation(identity, name, "TABLE") for oid, identity, name, _ in light}
        relations.update(views.items())
        return Observation(relations, dependents)

    def present(self) -> set[Key]:
        """See `views.ViewCatalog`."""
        return {oid for (oid,) in self.run(_PRESENT)}

    def describe(self, keys: Iterable[Key]) -> dict[Key, Relation]:
        """See `views.ViewCatalog`."""
        with self._qualified_names():
            relations: dict[Key, Relation] = {}
            relations.update(capture(self.run, cast("Iterable[int]", keys)).items())
            return relations

    def find(self, identities: Iterable[str]) -> dict[str, Key]:
        """See `views.ViewCatalog`."""
        rows = self.run(
            "SELECT i, pg_catalog.to_regclass(i)::oid::int8 FROM pg_catalog.unnest(%s::text[]) i "
            "WHERE pg_catalog.to_regclass(i) IS NOT NULL",
            (list(identities),),
        )
        return dict(rows)

    def lost(self, before: Observation) -> list[Dependent]:
        """See `views.ViewCatalog`."""
        watched = [each for each in before.dependents if not each.is_relation]
        statement = _LOST
        for position, name in enumerate(("$classes", "$objects", "$columns")):
            values = ",".join(str(int(each.token[position])) for each in watched)
            statement = statement.replace(name, "'{" + values + "}'")
        return [watched[place - 1] for (place,) in self.run(statement)] if watched else []

    def broken(self, before: Observation) -> list[Dependent]:  # noqa: ARG002 - of ViewCatalog
        """See `views.ViewCatalog`; PostgreSQL lets nothing be broken."""
        return []

    def refusal(self, error: BaseException) -> str | None:
        """See `views.ViewCatalog`."""
        if not isinstance(error, psycopg2.Error) or error.pgcode != DEPENDENT_OBJECTS_STILL_EXIST:
            return None
        return "; ".join((error.diag.message_detail or str(error)).strip().splitlines())

    # -- restoring --------------------------------------------------------------------------------------------------

    def restore(self, stored: Relation, made: Relation) -> list[str]:
        """See `views.ViewCatalog`."""
        if not differs(stored, made):
            return []
        with self._qualified_names():
            [(oid, creator)] = self.run("SELECT %s::regclass::oid::int8, current_user::text", (made.identity,))
            return Restoration(self.run, oid=oid, stored=stored, made=made, creator=creator).run()

    def recreate(self, stored: Relation) -> None:
        """See `views.ViewCatalog`."""
        with self._qualified_names():
            self.run(stored.definition)
        keys = self.find([stored.identity])
        for made in self.describe(keys.values()).values():
            self.restore(stored, made)


def _dependent(row: tuple[Any, ...], views: dict[int, Relation]) -> Dependent:
    view, relation, classid, objid, column, is_view, description, name = row
    if is_view:
        reader = views[relation]
        return Dependent(view, relation, f"{reader.kind.lower()} {reader.identity}", reader.name, is_relation=True)
    bare = str(name).partition("(")[0].rpartition(".")[2].strip('"')
    return Dependent(view, relation, description, bare, token=(classid, objid, column))
