"""What goes wrong while a view is built beside the old one, and names and owners of every kind."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from bodies import ask, forget_managers, named, sql
from catalog_probe import difference, probed
from stand import Stand
from swap_stand import BASE, NEW, OLD, SWAPPED, House, columns, house, leftovers, swapped
from test_deferred import matview, opening

from migrate_graph import ViewMigrationManager
from migrate_graph.core.events import ViewBuilt
from migrate_graph.database.views.beside import temporary_name_of
from migrate_graph.errors import DecisionNeeded

__all__ = ["forget_managers", "house"]

pytestmark = pytest.mark.postgres


# -- faults -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["SELECT id, c, 1 / (id - 3) AS share FROM t", "SELECT 1 AS id, c FROM t", "SELECT nothing FROM t"]
)
@pytest.mark.parametrize("caught", [False, True])
def test_a_query_that_fails_leaves_the_old_view_as_it_was(house: House, query: str, caught: bool) -> None:
    """Also where the body goes on after the error: a savepoint has taken everything back."""
    before = probed(house.uri)
    manager = swapped(query)

    def edit(db: Any) -> bool:
        if not caught:
            with manager(db):
                return True
        with pytest.raises(psycopg2.Error), manager(db):
            pass
        return bool(db.executesql("SELECT count(*) FROM m"))

    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    finished = house.stand.run(BASE, named("first", lambda _: None), edit, views={"edit": [manager], "": [r]})
    assert finished.succeeded is caught, finished.results
    assert not difference(before, probed(house.uri))
    assert not house.stand.history().views_down


def test_an_index_that_cannot_be_built_says_which(house: House) -> None:
    """By its own name, though it is built under another; the same of the view."""
    ask(house.uri, "CREATE UNIQUE INDEX one_c ON m ((c || id))", *(f"CREATE INDEX a{at} ON m (c)" for at in range(10)))
    finished = house.edit(
        query="SELECT id, c::text AS c FROM t UNION ALL SELECT NULL, x FROM (VALUES (NULL), (NULL)) AS v (x)"
    )
    assert finished.succeeded, "NULLs are not the same"
    finished = house.edit(query="SELECT 1 AS id, '1' AS c UNION ALL SELECT 11, ''", name="again")
    assert not finished.succeeded
    said = finished.results[-1].error
    assert "cannot build public.m " in said
    assert 'could not create unique index "one_c" (CREATE UNIQUE INDEX "one_c" ON public.m ' in said
    assert not leftovers(house.uri)
    finished = house.edit(query="SELECT 1 AS id, c::text AS c FROM t", name="declared")
    assert not finished.succeeded
    assert 'could not create unique index "m_id"' in finished.results[-1].error
    assert columns(house.uri) == ["id", "c"]
    assert not leftovers(house.uri)


def test_a_commit_of_a_reader_leaves_nothing_that_was_built(house: House) -> None:
    """A raw COMMIT in `down()` is refused; what it has made durable of ours is dropped, and the next run goes on."""
    manager = swapped()

    class R(ViewMigrationManager):
        uses = (manager,)

        def up(self) -> None:
            self.db.executesql("CREATE VIEW r AS SELECT count(*) AS n FROM m")

        def down(self) -> None:
            self.db.executesql("DROP VIEW IF EXISTS r")
            if commits:
                self.db.executesql("COMMIT")

    commits = [True]
    bodies = [BASE, named("first", lambda _: None), opening("edit", opens=manager)]
    finished = house.stand.run(*bodies, views={"edit": [manager, R]})
    assert not finished.succeeded
    assert "commits by itself" in finished.results[-1].error
    assert not leftovers(house.uri)
    commits.clear()
    finished = house.stand.run(*bodies, views={"edit": [manager, R]})
    assert finished.succeeded, finished.results
    assert columns(house.uri) == ["id", "c", "share"]
    assert not leftovers(house.uri)
    assert ask(house.uri, "SELECT n FROM r") == [(10,)]


@pytest.mark.parametrize("commits", [False, True])
def test_a_connection_that_is_lost_meanwhile_leaves_the_old_view(house: House, commits: bool) -> None:
    """What has kept nothing is simply run again; after a commit of its own a human is asked."""
    before = probed(house.uri)
    ended: list[Any] = []
    cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'migrate_graph:edit'"

    def look(event: Any) -> None:
        if isinstance(event, ViewBuilt) and not ended:
            ended.extend(ask(house.uri, cut))

    house.stand.listener = look
    manager = swapped()

    def edit(db: Any) -> bool:
        if commits:
            db.executesql("CREATE TABLE IF NOT EXISTS of_its_own (i int)")
            db.commit()
        with manager(db):
            return True

    r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)
    bodies = [BASE, named("first", lambda _: None), edit]
    if commits:
        with pytest.raises(DecisionNeeded, match="after 1 commit of its own"):
            house.stand.run(*bodies, views={"edit": [manager], "": [r]})
    else:
        finished = house.stand.run(*bodies, views={"edit": [manager], "": [r]})
        assert not finished.succeeded
        assert "connection to the database was lost" in finished.results[-1].error
    assert ended == [(True,)]
    assert house.told() == "built M"
    ask(house.uri, "DROP TABLE IF EXISTS of_its_own")
    assert not difference(before, probed(house.uri))
    assert not house.stand.history().views_down
    if not commits:
        house.stand.events.clear()
        assert house.stand.run(*bodies, views={"edit": [manager], "": [r]}).succeeded
        assert house.told() == SWAPPED
    assert not leftovers(house.uri)


def test_what_a_death_has_left_is_built_anew(house: House) -> None:
    """Nothing can, but for somebody's COMMIT between; then the name is ours, and nobody reads it."""
    ask(house.uri, f"CREATE MATERIALIZED VIEW {temporary_name_of('m', 'public.m')} AS SELECT 1 AS one")
    assert house.edit().succeeded
    assert house.told() == SWAPPED
    assert not leftovers(house.uri)


# -- names and owners ---------------------------------------------------------------------------------------------------------


LONG = "ä" * 31 + "x"


@pytest.mark.parametrize(
    ("name", "index"),
    [(LONG, "i" + LONG + "_and_more"), ("far.m", "far_id"), ('far."Sales per ""day"""', 'an "index"'), ('"' + LONG + ' y"', LONG[:-1])],
)  # fmt: skip
def test_names_of_every_kind(postgres_uri: str, name: str, index: str) -> None:
    """63 bytes and more, quotes, and a schema that is not in the search_path."""
    stand = Stand(postgres_uri)
    indexes = {index: "UNIQUE (id)"}
    old, new = (swapped(query, name=name, indexes=indexes) for query in (OLD, NEW))
    first = [BASE, sql("far", "CREATE SCHEMA far"), opening("first", opens=old)]
    assert stand.run(*first, views={"first": [old]}).succeeded
    before = probed(postgres_uri)
    finished = stand.run(*first, opening("edit", opens=new), views={"first": [], "edit": [new]})
    assert finished.succeeded, finished.results
    assert len(stand.told(ViewBuilt)) == 1
    lines = difference(before, probed(postgres_uri))
    assert sorted(each[:12] for each in lines) == ["+ pg_attribu", "+ pg_rewrite", "- pg_rewrite"], lines
    assert not leftovers(postgres_uri)


def test_another_owner_stays_it_and_his_functions_run_as_him(postgres_uri: str, postgres_admin_uri: str) -> None:
    """What an index of his calls must not run as who migrates."""
    house = House(postgres_uri, dress=())
    role = "owner_of_" + postgres_uri.rpartition("/")[2][-20:]
    ask(
        postgres_admin_uri, f'CREATE ROLE "{role}"', f'GRANT "{role}" TO app', f'GRANT ALL ON SCHEMA public TO "{role}"',
        f'GRANT SELECT ON t TO "{role}"',
        "CREATE FUNCTION spies(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
        "$$ BEGIN RAISE WARNING 'spied as %', current_user; RETURN t; END $$",
        f'ALTER MATERIALIZED VIEW m OWNER TO "{role}"', "GRANT SELECT ON m TO app", "CREATE INDEX spying ON m (spies(c))",
        'ALTER MATERIALIZED VIEW m ALTER c SET STATISTICS 9',
    )  # fmt: skip
    try:
        before = probed(postgres_uri)
        who: set[str] = set()
        manager = swapped(OLD)
        r = matview("R", "SELECT count(*) AS n FROM m", manager, materialized=False)

        def edit(db: Any) -> bool:
            with manager(db):
                pass
            who.update(each.strip() for each in db._adapter.connection.notices if "spied" in each)
            return True

        finished = house.stand.run(BASE, named("first", lambda _: None), edit, views={"edit": [manager], "": [r]})
        assert finished.succeeded, finished.results
        assert house.told() == SWAPPED
        assert {each.rpartition(" ")[2] for each in who} == {role}
        assert not difference(before, probed(postgres_uri))
    finally:
        ask(postgres_admin_uri, f'REASSIGN OWNED BY "{role}" TO app', f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')
