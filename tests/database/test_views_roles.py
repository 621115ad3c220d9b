"""A body that becomes another role keeps its views, and the tool's tables are written as who the session was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from bodies import ask, forget_managers, named, sql, view
from servers import PostgresServer
from stand import Stand

from migrate_graph.core.events import ViewBuilt, ViewRefreshed, ViewReplaced
from migrate_graph.database.postgres.session.statements import may_become

__all__ = ["forget_managers"]

pytestmark = pytest.mark.postgres

BECOMES = {
    "SET ROLE": "SET ROLE keepers",
    "SET LOCAL ROLE": "SET LOCAL ROLE keepers",
    "set_config": "SELECT set_config('role', 'keepers', false)",
    "a block": "DO $$ BEGIN SET ROLE keepers; END $$",
    "a procedure": "CALL become()",
}

STATE = (
    "SELECT c.relname, pg_get_userbyid(c.relowner), CAST(c.relacl AS text), c.relispopulated, obj_description(c.oid) "
    "FROM pg_class c WHERE c.relname IN ('v', 'm') ORDER BY 1"
)


@pytest.fixture
def uri(postgres_server: PostgresServer, postgres_database: str) -> Iterator[str]:
    """Yield a database whose tables and views belong to a role that the session's user may become."""
    postgres_server.execute(
        "DO $$ BEGIN CREATE ROLE keepers; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT keepers TO app",
        "GRANT CREATE, USAGE ON SCHEMA public TO keepers",
        "CREATE PROCEDURE become() LANGUAGE plpgsql AS $$ BEGIN SET ROLE keepers; END $$",
        "CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE keepers; END $$",
        "SET ROLE keepers; CREATE TABLE t (id integer, name varchar(9)); INSERT INTO t VALUES (1, 'a'); "
        "CREATE VIEW v AS SELECT id, name FROM t; CREATE MATERIALIZED VIEW m AS SELECT name FROM v; "
        "GRANT SELECT ON v, m TO PUBLIC; COMMENT ON VIEW v IS 'kept'",
        database=postgres_database,
    )
    yield postgres_server.app_uri(postgres_database)
    postgres_server.execute("REVOKE keepers FROM app")  # the server is that of other tests, too


def managers() -> tuple[Any, Any]:
    """Return the managers of both views."""
    v = view("V", "SELECT id, name FROM t", name="v")
    return v, view("M", "SELECT name FROM v", v, name="m", materialized=True)


# SET LOCAL holds for a transaction: a migration without one has nothing that it could hold for.
WAYS = [
    (way, how)
    for way in ("own", "single", "none", "atomic")
    for how in BECOMES
    if (way, how) != ("none", "SET LOCAL ROLE")
]


@pytest.mark.parametrize(("way", "how"), WAYS)
def test_views_survive_a_body_that_becomes_another_role(uri: str, way: str, how: str) -> None:
    keeps_its_views(uri, way, BECOMES[how])


@pytest.mark.parametrize("way", ["own", "single", "none", "atomic"])
def test_views_survive_a_superuser_who_becomes_another_user(uri: str, postgres_admin_uri: str, way: str) -> None:
    keeps_its_views(postgres_admin_uri, way, "SET SESSION AUTHORIZATION keepers")


def keeps_its_views(uri: str, way: str, becomes: str) -> None:
    """Run a body that becomes another role, opens a view and makes a table; all is his, and as it was."""
    v, m = managers()
    before = ask(uri, STATE)

    def opens(db: Any) -> None:
        db.executesql(becomes)
        with v(db):
            db.executesql("ALTER TABLE t ADD COLUMN x integer")
        db.executesql("CREATE TABLE made (id integer)")

    stand = Stand(uri)
    modes = {"opens_2": way} if way != "atomic" else {}
    finished = stand.run(
        sql("first_1", "SELECT 1"), named("opens_2", opens), sql("last_3", "SELECT 1"),
        views={"opens_2": [v], "": [m]}, modes=modes, atomic=way == "atomic",
    )  # fmt: skip
    assert finished.succeeded, finished.results
    assert ask(uri, STATE) == before
    assert ask(uri, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'") == [("keepers",)]
    assert ask(uri, "SELECT manager, state FROM ewh_implemented_features_views ORDER BY 1") == [
        ("M", "up"),
        ("V", "up"),
    ]


@pytest.mark.parametrize("becomes", [each for each in BECOMES if each != "SET LOCAL ROLE"])
def test_views_step_aside_for_another_role(uri: str, becomes: str) -> None:
    v, m = managers()
    before = ask(uri, STATE)
    finished = Stand(uri).run(
        sql("widens_1", BECOMES[becomes], "ALTER TABLE t ALTER COLUMN name TYPE text"), views={"": [v, m]}
    )
    assert finished.succeeded, finished.results
    assert ask(uri, STATE) == before
    assert set(finished.results[0].stepped_aside) == {"V", "M"}


@pytest.mark.parametrize("mode", ["own", "none"])
def test_a_role_that_is_changed_out_of_sight_loses_nothing(uri: str, mode: str) -> None:
    v, m = managers()
    before = ask(uri, STATE)

    def opens(db: Any) -> None:
        db.executesql("SELECT hidden()")
        with v(db):
            db.executesql("ALTER TABLE t ADD COLUMN x integer")

    finished = Stand(uri).run(named("opens_1", opens), views={"opens_1": [v], "": [m]}, modes={"opens_1": mode})
    assert "permission denied" in finished.results[0].error
    assert ask(uri, STATE) == before


@pytest.mark.parametrize("becomes", ["SET ROLE keepers", "SELECT hidden()"])
def test_a_transaction_that_another_role_begins_by_hand_stays_one(uri: str, becomes: str) -> None:
    def begins(db: Any) -> None:
        db.executesql(becomes)
        db.executesql("BEGIN")
        db.executesql("CREATE TABLE undone (id integer)")
        db.executesql("ROLLBACK")
        db.executesql("CREATE TABLE made (id integer)")

    finished = Stand(uri).run(named("begins_1", begins), modes={"begins_1": "none"})
    assert finished.succeeded == becomes.startswith("SET"), finished.results
    left = [("made",)] if finished.succeeded else []
    assert ask(uri, "SELECT tablename FROM pg_tables WHERE tablename IN ('undone', 'made')") == left


def test_what_a_body_becomes_for_its_transaction_ends_with_it(uri: str) -> None:
    v, m = managers()
    seen: list[Any] = []

    def who(db: Any) -> None:
        seen.append(db.executesql("SELECT CAST(current_user AS text)")[0][0])

    def opens(db: Any) -> None:
        db.executesql("SET LOCAL ROLE keepers")
        with v(db):
            who(db)
        who(db)
        db.commit()
        who(db)
        db.executesql("SET ROLE keepers")
        with v(db):
            who(db)
        db.commit()
        who(db)

    finished = Stand(uri).run(named("opens_1", opens), views={"opens_1": [v], "": [m]})
    assert finished.succeeded, finished.results
    assert seen == ["keepers", "keepers", "app", "keepers", "keepers"]


def edited(query: str, **more: Any) -> tuple[Any, Any]:
    """Return the managers of both views, and another query for the materialized one."""
    v, _ = managers()
    return v, view("M", query, v, name="m", materialized=True, **more)


def test_another_role_leaves_rows_for_later(uri: str) -> None:
    """They are filled after the commit, when the session is again who it was."""
    before = ask(uri, STATE)
    v, m = edited("SELECT name FROM v", rebuild="deferred")

    def opens(db: Any) -> None:
        db.executesql("SET ROLE keepers")
        with m(db):
            db.executesql("INSERT INTO t VALUES (2, 'b')")

    stand = Stand(uri)
    finished = stand.run(named("opens_1", opens), views={"opens_1": [m], "": [v]})
    assert finished.succeeded, finished.results
    assert [each.relation for each in stand.told(ViewRefreshed)] == ["public.m"]
    assert ask(uri, STATE) == before
    assert ask(uri, "SELECT count(*) FROM m") == [(2,)]


def test_another_role_renews_a_view_where_it_stands(uri: str) -> None:
    before, oid = ask(uri, STATE), ask(uri, "SELECT 'v'::regclass::oid")
    v, m = view("V", "SELECT id, name, id + 1 AS more FROM t", name="v"), managers()[1]

    def renews(db: Any) -> None:
        db.executesql("SET ROLE keepers")
        v.renew(db)

    stand = Stand(uri)
    finished = stand.run(named("renews_1", renews), views={"renews_1": [v], "": [m]})
    assert finished.succeeded, finished.results
    assert [each.view for each in stand.told(ViewReplaced)] == ["V"]
    assert ask(uri, "SELECT 'v'::regclass::oid") == oid
    assert ask(uri, "SELECT more FROM v") == [(2,)]
    assert ask(uri, STATE) == before


def test_another_role_has_one_built_beside_the_old_one(uri: str) -> None:
    before = ask(uri, STATE)
    v, m = edited("SELECT name, 1 AS more FROM v", rebuild="swap")

    def opens(db: Any) -> None:
        db.executesql("SET ROLE keepers")
        with m(db):
            pass

    stand = Stand(uri)
    finished = stand.run(named("opens_1", opens), views={"opens_1": [m], "": [v]})
    assert finished.succeeded, finished.results
    assert [each.view for each in stand.told(ViewBuilt)] == ["M"]
    assert ask(uri, "SELECT more FROM m") == [(1,)]
    assert ask(uri, STATE) == before


@pytest.mark.parametrize("mode", ["own", "none"])
def test_a_role_survives_an_error_of_the_tools_own_statements(
    uri: str, mode: str, postgres_server: PostgresServer
) -> None:
    """A body that catches it goes on as who it was."""
    v, m = managers()
    name = uri.rpartition("/")[2]

    def opens(db: Any) -> None:
        db.executesql("SET ROLE keepers")
        db.executesql("SET lock_timeout = '100ms'")
        if mode == "own":
            db.commit()
        with closing(psycopg2.connect(postgres_server.admin_uri(name))) as other, other.cursor() as cursor:
            cursor.execute(
                "LOCK TABLE ewh_implemented_features, ewh_implemented_features_views IN ACCESS EXCLUSIVE MODE"
            )
            with pytest.raises(psycopg2.errors.LockNotAvailable), v(db):
                pass
        if mode == "own":
            db.rollback()
        db.executesql("CREATE TABLE made (id integer)")

    finished = Stand(uri).run(named("opens_1", opens), views={"opens_1": [v], "": [m]}, modes={"opens_1": mode})
    assert finished.succeeded, finished.results
    assert ask(uri, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'") == [("keepers",)]


def test_an_upsert_is_no_change_of_role() -> None:
    """What only looks like one costs nothing."""
    for text in (
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "SELECT * FROM user_roles",
        "UPDATE t SET undo = 1",
    ):
        assert not may_become(text), text
    for text in (
        "/* a */ DO $$ $$",
        "-- a\nCALL p()",
        "SELECT 1; do ''",
        "SET LOCAL ROLE x",
        "SELECT set_config('role', 'x', false)",
    ):
        assert may_become(text), text
