"""Materialized views that come up without their rows, and are filled after the commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from bodies import ask, forget_managers, sql
from stand import Stand

from migrate_graph import SqlView, ViewMigrationManager
from migrate_graph.core.events import RunFinished, ViewCreated, ViewRefreshed, ViewRefreshing, Warned
from migrate_graph.core.model import Migration
from migrate_graph.database.books.ledger import AttemptKey
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.relation import Relation
from migrate_graph.executor.attempt import WeavingOptions

__all__ = ["forget_managers"]

pytestmark = pytest.mark.postgres

WIDEN = "ALTER TABLE t ALTER COLUMN c TYPE varchar(20)"
WIDER = "ALTER TABLE t ALTER COLUMN c TYPE varchar(30)"
ROWS = "SELECT count(*) FROM m"


def matview(kind: str, query: str, *uses: Any, **more: Any) -> Any:
    """Return a manager of a materialized view."""
    return type(kind, (SqlView,), {"__module__": __name__, "query": query, "uses": uses, "materialized": True} | more)


def opening(name: str, *statements: str, opens: Any) -> Callable[[Any], Any]:
    """Return a migration that sends statements while managers are open."""

    def run(db: Any) -> bool:
        with opens(db):
            for each in statements:
                db.executesql(each)
        return True

    run.__name__ = name
    return run


def kept(uri: str) -> dict[str, tuple[Any, ...]]:
    """Return what must be as before of every view of the test's own."""
    with closing(psycopg2.connect(uri)) as connection:
        found: list[Relation] = [*PostgresCatalog(lambda: connection).every_view().values()]
    return {
        each.identity: (each.kind, each.owner, each.columns, set(each.items), set(each.grants))
        for each in found
        if not each.identity.startswith("bystander.")
    }


class Warehouse:
    """A database with a table t and a materialized view M of it, with an index, a comment, privileges and options; R reads M."""

    def __init__(self, uri: str, **rebuild: Any) -> None:
        self.uri = uri
        self.stand = Stand(uri)
        self.m = matview(
            "M", "SELECT id, c::text AS c, 100 / weight AS share FROM t", indexes={"m_id": "UNIQUE (id)"}, **rebuild
        )
        self.r = matview("R", "SELECT count(*) AS n FROM m", self.m)
        self.made = [
            sql(
                "base",
                "CREATE TABLE t (id serial PRIMARY KEY, c varchar(10), weight int DEFAULT 1)",
                "INSERT INTO t (c) SELECT 'c' FROM generate_series(1, 10)",
            ),
            opening("first", opens=self.m),
        ]
        made = self.run()
        assert made.succeeded, made.results
        ask(
            uri, "GRANT SELECT (id), INSERT ON m TO PUBLIC", "COMMENT ON MATERIALIZED VIEW m IS 'kept'",
            "COMMENT ON INDEX m_id IS 'kept, too'", "ALTER MATERIALIZED VIEW m SET (fillfactor = 70)",
            "ALTER MATERIALIZED VIEW m ALTER c SET STATISTICS 7", "ALTER MATERIALIZED VIEW m CLUSTER ON m_id",
            "ALTER MATERIALIZED VIEW m ALTER c SET STORAGE EXTERNAL", "COMMENT ON COLUMN m.c IS 'of a column'",
        )  # fmt: skip
        self.stand.events.clear()

    def run(self, *bodies: Any, opens: dict[str, list[Any]] | None = None, **more: Any) -> RunFinished:
        """Run bodies after those that have made it."""
        opened = {"first": [self.m], "": [self.r], **(opens or {})}
        return self.stand.run(*self.made, *bodies, views=opened, **more)

    def works(self, *bodies: Any, refreshed: str, warned: int = 0, **more: Any) -> None:
        """Run bodies; everything is afterwards as before, and these were refreshed."""
        before = kept(self.uri)
        self.stand.events.clear()
        finished = self.run(*bodies, **more)
        assert finished.succeeded, [each.error for each in finished.results]
        assert [each.relation for each in self.stand.told(ViewRefreshed)] == [
            f"public.{each}" for each in refreshed.split()
        ]
        assert len(self.stand.told(Warned)) == warned, self.stand.told(Warned)
        assert kept(self.uri) == before
        self.is_filled()

    def is_filled(self) -> None:
        """Check that nothing is left to be done, and that the view ledger knows that."""
        history = self.stand.history()
        assert not history.views_down
        assert not history.views_unfilled
        assert ask(self.uri, ROWS) == [(10,)]
        assert ask(self.uri, "SELECT n FROM r") == [(10,)]


@pytest.fixture
def warehouse(postgres_uri: str, bystander: None) -> Warehouse:
    """One whose managers say nothing of how they come up."""
    return Warehouse(postgres_uri)


@pytest.fixture
def deferred(postgres_uri: str, bystander: None) -> Warehouse:
    """One whose M is deferred."""
    return Warehouse(postgres_uri, rebuild="deferred")


def seen_by(name: str, uri: str, seen: list[Any], *statements: str) -> Callable[[Any], Any]:
    """Return a migration that notes, while it runs and when it ends, whether m has its rows."""

    def run(db: Any) -> bool:
        for each in statements:
            db.executesql(each)
        seen.append(db.executesql("SELECT relispopulated FROM pg_class WHERE relname = 'm'"))
        return True

    run.__name__ = name
    return run


def test_what_is_declared_as_deferred_is_filled_after_the_commit(deferred: Warehouse) -> None:
    """Both by stepping aside and in a block; what reads M is deferred with it."""
    deferred.works(sql("widen", WIDEN), refreshed="m r")
    ups = deferred.stand.told(ViewCreated)
    assert [(each.view, each.unfilled) for each in ups] == [("M", True), ("R", True)]
    deferred.works(
        sql("widen", WIDEN), opening("wider", WIDER, opens=deferred.m), refreshed="m r", opens={"wider": [deferred.m]}
    )


def test_the_first_creation_is_deferred_too(postgres_uri: str) -> None:
    made = Warehouse(postgres_uri, rebuild="deferred")
    assert ask(postgres_uri, ROWS) == [(10,)]
    made.is_filled()


@pytest.mark.parametrize("how", ["aside", "block", "single", "none", "atomic", "jobs of a body"])
def test_a_migration_defers_what_comes_up_in_it(warehouse: Warehouse, how: str) -> None:
    body = opening("wider", WIDEN, opens=warehouse.m) if how in {"block", "none"} else sql("wider", WIDEN)
    warehouse.works(
        body, refreshed="m r",
        opens={"wider": ["deferred", warehouse.m] if how in {"block", "none"} else ["deferred"]},
        modes={"wider": how} if how in {"single", "none"} else {}, atomic=how == "atomic",
    )  # fmt: skip


def test_without_a_word_everything_comes_up_at_once(warehouse: Warehouse) -> None:
    warehouse.works(sql("widen", WIDEN), refreshed="")
    assert not any(each.unfilled for each in warehouse.stand.told(ViewCreated))


def test_readers_are_told_that_there_are_no_rows_until_then(warehouse: Warehouse) -> None:
    """What a second session reads between the commit and the refresh."""
    seen: list[str] = []

    def look(event: Any) -> None:
        if isinstance(event, ViewRefreshing) and event.relation == "public.m":
            with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState, match="has not been populated"):
                ask(warehouse.uri, ROWS)
            seen.append(event.relation)

    warehouse.stand.listener = look
    warehouse.works(sql("widen", WIDEN), refreshed="m r", opens={"widen": ["deferred"]})
    assert seen == ["public.m"]


def test_the_next_migration_finds_the_rows(deferred: Warehouse) -> None:
    """Also in a run that is not one transaction: it is as if each had been a run of its own."""
    seen: list[Any] = []
    deferred.works(
        seen_by("widen", deferred.uri, seen, WIDEN), seen_by("looks", deferred.uri, seen), refreshed="m r",
    )  # fmt: skip
    assert seen == [[(False,)], [(True,)]], "a statement that names it brings it up, without its rows"


def test_what_was_empty_before_stays_so(deferred: Warehouse) -> None:
    """WITH NO DATA is part of what a view was, whoever said it."""
    ask(deferred.uri, "DROP MATERIALIZED VIEW r", "REFRESH MATERIALIZED VIEW m WITH NO DATA")
    before = kept(deferred.uri)
    deferred.stand.events.clear()
    ask(deferred.uri, "DELETE FROM ewh_implemented_features_views WHERE manager = 'R'")
    finished = deferred.stand.run(*deferred.made, sql("widen", WIDEN), views={"first": [deferred.m]})
    assert finished.succeeded, finished.results
    assert not deferred.stand.told(ViewRefreshing)
    assert kept(deferred.uri) == before
    assert ask(deferred.uri, "SELECT relispopulated FROM pg_class WHERE relname = 'm'") == [(False,)]
    assert not deferred.stand.history().views_unfilled


def test_what_is_declared_without_rows_is_never_filled(postgres_uri: str) -> None:
    stand = Stand(postgres_uri)
    empty = matview("Empty", "SELECT 1 AS one", with_data=False, rebuild="deferred")
    finished = stand.run(opening("first", opens=empty), views={"first": ["deferred", empty]})
    assert finished.succeeded
    assert not stand.told(ViewRefreshing)
    assert ask(postgres_uri, "SELECT relispopulated FROM pg_class WHERE relname = 'empty'") == [(False,)]


def test_a_body_that_fills_it_itself_is_not_done_twice(deferred: Warehouse) -> None:
    body = sql(
        "widen", "DO $$ BEGIN END $$", WIDEN, "SELECT 1", "REFRESH MATERIALIZED VIEW m", "REFRESH MATERIALIZED VIEW r"
    )
    deferred.works(body, refreshed="")


def test_a_refresh_that_fails_is_remembered_and_stops_nothing(deferred: Warehouse) -> None:
    """The migration is applied; what reads the view waits with it; a later migration may mend it, and the next run goes on."""
    finished = deferred.run(
        sql("widen", WIDEN, "UPDATE t SET weight = 0 WHERE id = 3"), sql("next", "CREATE TABLE other (id int)")
    )
    assert finished.succeeded, finished.results
    assert [each.unfilled for each in finished.results] == [("M", "R"), ()]
    told = {each.message for each in deferred.stand.told(Warned)}
    assert any("public.m (M) could not be refreshed: division by zero" in each for each in told), told
    assert any("public.r (R) could not be refreshed" in each for each in told), told
    waiting = deferred.stand.history().views_unfilled
    assert [(each.relation, each.manager, each.migration) for each in waiting] == [
        ("public.m", "M", "widen"), ("public.r", "R", "widen"),
    ]  # fmt: skip
    # It goes down and comes up again without its rows: it still waits, now for the other reason.
    mends = sql("mends", "UPDATE t SET weight = 1", WIDER)
    deferred.stand.events.clear()
    assert deferred.run(sql("widen", WIDEN), sql("next", "SELECT 1"), mends).succeeded
    assert [each.relation for each in deferred.stand.told(ViewRefreshed)] == ["public.m", "public.r"]
    deferred.is_filled()


def test_what_waits_comes_up_with_its_rows_where_nothing_is_deferred(warehouse: Warehouse) -> None:
    finished = warehouse.run(sql("widen", WIDEN, "UPDATE t SET weight = 0"), opens={"widen": ["deferred"]})
    assert finished.succeeded
    assert warehouse.stand.history().views_unfilled
    before = kept(warehouse.uri)
    assert warehouse.run(sql("widen", WIDEN), sql("mends", "UPDATE t SET weight = 1", WIDER)).succeeded
    after = kept(warehouse.uri)
    empty = {item for _, _, _, items, _ in before.values() for item in items if item.aspect == "not populated"}
    assert len(empty) == 2
    assert {name: (*each[:3], each[3] - empty, each[4]) for name, each in before.items()} == after
    warehouse.is_filled()


def test_a_migration_that_rolls_back_leaves_nothing_to_be_filled(deferred: Warehouse) -> None:
    before = kept(deferred.uri)
    finished = deferred.run(sql("widen", WIDEN, "SELECT 1 / 0"))
    assert not finished.succeeded
    assert kept(deferred.uri) == before
    assert not deferred.stand.told(ViewRefreshing)
    assert not deferred.stand.history().views_unfilled


def test_what_others_read_is_filled_first_in_the_other_order_too(deferred: Warehouse) -> None:
    """The order of creation is not always that of reading: an ordinary view between the two may have been replaced."""
    ask(
        deferred.uri, "CREATE VIEW x AS SELECT 1::bigint AS n", "CREATE MATERIALIZED VIEW older AS SELECT n FROM x WITH NO DATA",
        "CREATE MATERIALIZED VIEW newer AS SELECT 2::bigint AS n WITH NO DATA", "CREATE OR REPLACE VIEW x AS SELECT n FROM newer",
        "INSERT INTO ewh_implemented_features_views (manager, state, migration, relations, changed) SELECT 'N', 'up', 'm', "
        """'{"text": "", "unfilled": ["public.older", "public.newer"], "relations": []}', now()""",
    )  # fmt: skip
    left: list[Any] = []

    def refresh() -> None:
        work = deferred.stand.backend.work(Migration("x", lambda _db: True), AttemptKey.now("x", run=""))
        left.extend(work.views.refresh(deferred.stand.events.append, commit=work.db.commit))
        work.close()

    deferred.run(before=refresh)
    assert not left
    assert [each.relation for each in deferred.stand.told(ViewRefreshed)] == ["public.newer", "public.older"]
    assert ask(deferred.uri, "SELECT n FROM older") == [(2,)]
    assert not deferred.stand.history().views_unfilled


def test_what_nobody_manages_is_filled_too_and_leaves_no_row(deferred: Warehouse) -> None:
    """It steps aside because it reads M, so that it can have no rows before M has."""
    ask(deferred.uri, "CREATE MATERIALIZED VIEW foreign_one AS SELECT count(*) AS n FROM m")
    deferred.works(sql("widen", WIDEN), refreshed="m foreign_one r", weaving=WeavingOptions(keeps_unmanaged=True))
    assert ask(deferred.uri, "SELECT n FROM foreign_one") == [(10,)]
    assert ask(deferred.uri, "SELECT manager FROM ewh_implemented_features_views ORDER BY 1") == [("M",), ("R",)]


def test_a_manager_that_fills_at_once_is_told(warehouse: Warehouse) -> None:
    """Its own statements leave nothing out: all is as without the word, and that is said."""

    class Own(ViewMigrationManager):
        uses = ()

        def up(self) -> None:
            self.db.executesql("CREATE MATERIALIZED VIEW own AS SELECT id FROM t")

        def down(self) -> None:
            self.db.executesql("DROP MATERIALIZED VIEW IF EXISTS own")

    finished = warehouse.run(opening("own", opens=Own), opens={"own": ["deferred", Own]})
    assert finished.succeeded
    assert finished.results[-1].unfilled == ()
    (told,) = warehouse.stand.told(Warned)
    assert "Own came up with its rows, inside of own, although it is deferred" in told.message
    assert ask(warehouse.uri, "SELECT count(*) FROM own") == [(10,)]
