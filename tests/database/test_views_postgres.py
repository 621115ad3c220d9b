"""Views of PostgreSQL survive a migration: everything as before, or nothing done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from catalog_probe import difference, probe
from servers import PostgresServer
from view_stand import SHOP, TOP, PostgresStand, dressed, kept

from migrate_graph.core.events import Warned
from migrate_graph.errors import ViewError

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("bystander")]


@pytest.fixture
def stand(postgres_admin_uri: str) -> Iterator[PostgresStand]:
    stand = PostgresStand(postgres_admin_uri)
    yield stand
    stand.connection.close()


def test_a_dressed_stack_with_a_diamond_is_as_before(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    stand.keeper.take_down(managers[::-1], managers, migration="widen", observer=stand.events.append)
    assert stand(
        "SELECT count(*) FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
    ) == [(0,)]
    assert stand.down_now() == ["Base", "Lefty", "Righty", "Top"]
    stand.keeper.bring_up()
    assert difference(before, probe(stand.connection.cursor())) == []
    assert stand.calls == [f"down {n}" for n in ("Top", "Righty", "Lefty", "Base")] + [
        f"up {n}" for n in ("Base", "Lefty", "Righty", "Top")
    ]
    assert stand.down_now() == []
    stand.keeper.check_complete()
    assert not [event for event in stand.events if isinstance(event, Warned)]
    stand.connection.commit()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_the_probe_sees_what_a_naive_rebuild_loses(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    for manager in managers[::-1]:
        manager.down()
    for manager in managers:
        manager.up()
    assert len(difference(before, probe(stand.connection.cursor()))) > 25


def warnings(stand: PostgresStand) -> list[str]:
    return [event.message for event in stand.events if isinstance(event, Warned)]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE orders ALTER COLUMN customer TYPE varchar(200)",
        "ALTER TABLE orders ALTER COLUMN note TYPE varchar(500)",
        "ALTER TABLE orders RENAME COLUMN secret TO hidden",
        "ALTER TABLE orders DROP COLUMN secret",
        "ALTER TABLE orders ADD PRIMARY KEY (id)",
    ],
)
def test_a_table_changes_under_its_views(stand: PostgresStand, roles: tuple[str, ...], statement: str) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    kept(stand, managers[::-1], managers, statement)
    after = probe(stand.connection.cursor())
    for catalog in ("pg_trigger", "pg_statistic_ext", "pg_description", "pg_proc", "pg_policy"):
        assert after[catalog] == before[catalog]
    assert {line.split("'")[1] for line in difference(before, after) if " pg_class " in line} <= {
        "orders",
        "orders_pkey",
    }
    acls = [
        [(row[0], row[2], row[5:]) for row in rows["pg_attribute"] if row[0] != "orders"] for rows in (before, after)
    ]
    if "TYPE" in statement:  # the type is what was asked for, and a default is cast to it
        acls = [[(relation, column, rest[:5]) for relation, column, rest in rows] for rows in acls]
    assert [row for row in acls[1] if row[0] != "orders_pkey"] == acls[0]
    assert warnings(stand) == []


def test_what_belonged_to_a_dropped_column_is_dropped_with_a_word(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    managers = dressed(stand)
    managers[0] = stand.manager("Base", up="CREATE VIEW base AS SELECT id, customer, total FROM orders")
    kept(stand, managers[::-1], managers, "ALTER TABLE orders DROP COLUMN note")
    assert warnings(stand) == [
        "privilege UPDATE (note) for clerk of public.base is not restored: there is no column note any more",
        "column default note of public.base is not restored: there is no column note any more",
    ]
    managers[3] = stand.manager("Top", up=TOP.replace("l.customer", "l.id AS other"))
    kept(stand, managers[3:], managers[3:])
    assert [line for line in warnings(stand)[2:] if "no column customer" not in line] == []
    assert any("index top_low" in line for line in warnings(stand)[2:])
    assert any("column statistics target customer" in line for line in warnings(stand)[2:])
    assert stand("SELECT indexname::text FROM pg_indexes WHERE tablename = 'top'") == [("top_id",)]


# What reads a view without being managed, and what the message must name.
UNMANAGED = {
    "view": ("CREATE VIEW stranger AS SELECT id FROM v", "stranger"),
    "materialized view": ("CREATE MATERIALIZED VIEW stranger AS SELECT id FROM v", "stranger"),
    "row type": ("CREATE FUNCTION stranger(v) RETURNS int LANGUAGE sql AS 'SELECT 1'", "stranger"),
    "array of the row type": ("CREATE FUNCTION stranger(v[]) RETURNS int LANGUAGE sql AS 'SELECT 1'", "stranger"),
    "atomic": (
        "CREATE FUNCTION stranger() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM v; END",
        "stranger",
    ),
    "policy": ("CREATE POLICY stranger ON vault USING (id IN (SELECT id FROM v))", "stranger"),
    "rule": ("CREATE RULE stranger AS ON DELETE TO vault DO ALSO SELECT * FROM v", "stranger"),
    "column": ("ALTER TABLE vault ADD COLUMN stranger v", "stranger"),
    "hostile": (
        'CREATE VIEW "str""an%ger; DROP TABLE orders --😀" AS SELECT id FROM v',
        'str""an%ger; DROP TABLE orders --😀',
    ),
}


@pytest.mark.parametrize("what", UNMANAGED)
@pytest.mark.parametrize("cascade", [False, True], ids=["plain", "cascade"])
def test_d16_nothing_unmanaged_is_lost(stand: PostgresStand, what: str, cascade: bool) -> None:
    statement, name = UNMANAGED[what]
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders", "CREATE VIEW w AS SELECT id FROM v", statement)
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders", down="DROP VIEW v" + cascade * " CASCADE")
    w = stand.manager("W", up="CREATE VIEW w AS SELECT id FROM v")
    with pytest.raises(ViewError) as caught:
        stand.keeper.take_down([w, v], [v, w], migration="widen_20260101_001")
    assert name in caught.value.message
    assert "V" in caught.value.message
    assert "widen_20260101_001" in caught.value.message
    assert caught.value.hint
    assert difference(before, probe(stand.connection.cursor())) == []
    assert stand.down_now() == []
    stand("DROP TABLE IF EXISTS nothing")  # the transaction is usable


def test_a_reader_managed_elsewhere_is_named_with_its_manager(stand: PostgresStand) -> None:
    stand(SHOP)
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders", down="DROP VIEW IF EXISTS v CASCADE")
    w = stand.manager("W", up="CREATE VIEW w AS SELECT id FROM v")
    kept(stand, [w, v], [v, w])
    with pytest.raises(ViewError, match=r"public\.w \(managed by W\)") as caught:
        stand.keeper.take_down([v], [v], migration="m")
    assert "W.uses" in caught.value.hint


def test_a_manager_may_own_several_things(stand: PostgresStand) -> None:
    stand(SHOP)
    up = (
        "CREATE VIEW v AS SELECT id FROM orders; CREATE VIEW v_sum AS SELECT sum(id) FROM v; "
        "CREATE FUNCTION f(v) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    v = stand.manager("V", up=up, down="DROP FUNCTION IF EXISTS f; DROP VIEW IF EXISTS v CASCADE")
    stand(up)  # as edwh-migrate left it: nothing recorded of who made it
    before = probe(stand.connection.cursor())
    kept(stand, [v], [v])
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == []
    assert stand(
        "SELECT manager, json_agg(each->>'identity') FROM ewh_implemented_features_views, "
        "json_array_elements(relations::json->'relations') each GROUP BY 1"
    ) == [("V", ["public.v", "public.v_sum", "public.f(public.v)"])]


def test_the_first_creation_has_nothing_to_restore(stand: PostgresStand) -> None:
    stand(SHOP)
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders")
    stand.keeper.take_down([v], [v], migration="m")
    assert stand.down_now() == ["V"]  # it is to be brought back from now on
    stand.keeper.bring_up()
    assert stand("SELECT count(*) FROM v") == [(50,)]


def test_what_up_itself_says_wins(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand(SHOP)
    create = "CREATE MATERIALIZED VIEW v AS SELECT id, customer FROM orders"
    dress = (
        "COMMENT ON MATERIALIZED VIEW v IS {0}; GRANT {1} ON v TO reader; CREATE INDEX v_id ON v ({2}); "
        "ALTER MATERIALIZED VIEW v SET (autovacuum_enabled = {3}); ALTER MATERIALIZED VIEW v OWNER TO {4}"
    )
    stand("GRANT CREATE ON SCHEMA public TO keeper, auditor")
    stand(create, dress.format("'before'", "SELECT", "id", "false", "keeper"), "GRANT SELECT ON v TO clerk")
    after = dress.format("'after'", "INSERT", "customer", "true", "auditor")
    v = stand.manager("V", up=f"{create} WITH NO DATA; {after}")
    kept(stand, [v], [v])
    assert stand(
        "SELECT obj_description('v'::regclass), has_table_privilege('reader', 'v', 'SELECT'), has_table_privilege('reader', 'v', 'INSERT'), "
        "has_table_privilege('clerk', 'v', 'SELECT'), pg_get_indexdef('v_id'::regclass), reloptions, relispopulated, relowner::regrole::text "
        "FROM pg_class WHERE relname = 'v'"
    ) == [
        (
            "after",
            False,
            True,
            True,
            "CREATE INDEX v_id ON public.v USING btree (customer)",
            ["autovacuum_enabled=true"],
            False,
            "auditor",
        )
    ]


def test_an_unpopulated_view_stays_so_and_statistics_come_back(stand: PostgresStand) -> None:
    stand(SHOP)
    empty = stand.manager("Empty", up="CREATE MATERIALIZED VIEW empty AS SELECT id FROM orders")
    full = stand.manager(
        "Full", up="CREATE MATERIALIZED VIEW full_one AS SELECT id FROM orders", down="DROP MATERIALIZED VIEW full_one"
    )
    stand(empty.statement_up, full.statement_up, "REFRESH MATERIALIZED VIEW empty WITH NO DATA", "ANALYZE full_one")
    kept(stand, [full, empty], [empty, full])
    assert stand(
        "SELECT relname::text, relispopulated FROM pg_class WHERE relkind = 'm' AND relnamespace = 'public'::regnamespace ORDER BY 1"
    ) == [
        ("empty", False),
        ("full_one", True),
    ]
    assert stand("SELECT count(*) FROM pg_stats WHERE tablename = 'full_one'") == [(1,)]


def test_default_privileges_do_not_creep_in(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders")
    stand("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader, auditor")
    stand("CREATE VIEW w AS SELECT id FROM orders", "REVOKE SELECT ON w FROM auditor", "GRANT SELECT ON w TO clerk")
    before = probe(stand.connection.cursor())
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders")
    w = stand.manager("W", up="CREATE VIEW w AS SELECT id FROM orders; GRANT UPDATE ON w TO reader")
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == []
    kept(stand, [w], [w])
    [(acl,)] = stand("SELECT relacl::text FROM pg_class WHERE relname = 'w'")
    assert "reader=rw" in acl  # given by default, and by up()
    assert "auditor" not in acl
    assert "clerk=r" in acl


def test_a_privilege_given_by_a_vanished_role_fails_and_names_it(
    stand: PostgresStand, postgres_server: PostgresServer
) -> None:
    postgres_server.execute("DROP ROLE IF EXISTS leaver", "CREATE ROLE leaver")
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders", "GRANT SELECT ON v TO leaver")
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders")
    with pytest.raises(
        ViewError, match=r"cannot restore the privilege SELECT for leaver of public\.v: role \"leaver\" does not exist"
    ):
        kept(stand, [v], [v], "DROP ROLE leaver")
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_an_owner_that_cannot_be_restored_fails_and_names_it(
    stand: PostgresStand, roles: tuple[str, ...], postgres_uri: str, postgres_server: PostgresServer
) -> None:
    stand(SHOP.replace("CREATE TABLE orders", "CREATE TABLE app_orders").replace("INTO orders", "INTO app_orders"))
    stand("GRANT CREATE ON SCHEMA public TO keeper", "GRANT ALL ON app_orders, ewh_implemented_features_views TO app")
    stand("CREATE VIEW v AS SELECT id FROM app_orders", "ALTER VIEW v OWNER TO keeper", "GRANT keeper TO app")
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    stand.connection.commit()
    other = PostgresStand(postgres_uri, create=False)
    v = other.manager("V", up="CREATE VIEW v AS SELECT id FROM app_orders")
    kept(other, [v], [v])
    other.connection.commit()
    assert difference(before, probe(stand.connection.cursor())) == []
    with pytest.raises(ViewError, match=r"cannot restore the owner \(keeper\) of public\.v"):
        kept(
            other,
            [v],
            [v],
            "REVOKE CREATE ON SCHEMA public FROM keeper",
        )
    other.connection.close()


def test_search_path_and_role_of_the_migration_are_left_alone(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    managers = dressed(stand)
    stand("CREATE SCHEMA elsewhere", "SET search_path = public, elsewhere")
    before = probe(stand.connection.cursor())
    kept(stand, managers[::-1], managers)
    assert stand("SELECT current_setting('search_path'), current_setting('role')") == [("public, elsewhere", "none")]
    stand("SET LOCAL search_path = public")
    kept(stand, managers[::-1], managers)
    assert stand("SHOW search_path") == [("public",)]
    stand.connection.commit()
    assert stand("SHOW search_path") == [("public, elsewhere",)]
    stand("SET search_path = public")
    assert difference(before, probe(stand.connection.cursor())) == []


def test_d07b_a_search_path_changed_inside_the_block_moves_no_view(
    stand: PostgresStand, roles: tuple[str, ...]
) -> None:
    managers = dressed(stand)
    stand("CREATE SCHEMA elsewhere")
    before = probe(stand.connection.cursor())
    kept(stand, managers[::-1], managers, "SET search_path = elsewhere, public", "CREATE TABLE moved (id int)")
    stand.connection.commit()
    assert stand("SHOW search_path") == [("elsewhere, public",)]  # the migration's own setting is its own
    assert stand("SELECT to_regclass('elsewhere.moved') IS NOT NULL, to_regclass('elsewhere.base')") == [(True, None)]
    stand("DROP TABLE moved", "SET search_path = public")
    assert difference(before, probe(stand.connection.cursor())) == []
    assert not [event for event in stand.events if isinstance(event, Warned)]


def test_a_hand_over_carries_over_what_the_relation_had(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand(SHOP)
    old = stand.manager("OrdersV1", up="CREATE VIEW v AS SELECT id FROM orders", down="DROP VIEW v")
    new = stand.manager("OrdersV2", up="CREATE VIEW v AS SELECT id, customer FROM orders", down="DROP VIEW v")
    reader = stand.manager("Reader", up="CREATE VIEW r AS SELECT id FROM v", down="DROP VIEW r")
    stand(old.statement_up, reader.statement_up, "GRANT SELECT ON v TO reader", "COMMENT ON VIEW v IS 'orders'")
    kept(stand, [reader, old], [new, reader])
    assert stand(
        "SELECT has_table_privilege('reader', 'v', 'SELECT'), obj_description('v'::regclass), count(customer) FROM v"
    ) == [(True, "orders", 50)]
    assert stand("SELECT manager FROM ewh_implemented_features_views ORDER BY 1") == [("OrdersV2",), ("Reader",)]
    kept(stand, [new, reader][::-1], [reader][:0], "SELECT 1")  # both retire
    assert stand("SELECT * FROM ewh_implemented_features_views") == []


def test_a_manager_that_creates_nothing_is_caught(stand: PostgresStand) -> None:
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders")
    v = stand.manager("V", up="SELECT 1")
    with pytest.raises(ViewError, match=r"V\.down\(\) dropped public\.v, and V\.up\(\) created nothing"):
        kept(stand, [v], [v])


def test_a_view_may_be_renamed_or_change_its_kind(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand(
        SHOP,
        "CREATE VIEW v AS SELECT id FROM orders",
        "COMMENT ON VIEW v IS 'kept'",
        "GRANT SELECT ON v TO reader",
        "ALTER VIEW v SET (security_barrier)",
    )
    v = stand.manager("V", up="CREATE MATERIALIZED VIEW v AS SELECT id FROM orders", down="DROP VIEW IF EXISTS v")
    kept(stand, [v], [v])
    assert stand(
        "SELECT relkind, obj_description(oid), has_table_privilege('reader', oid, 'SELECT') FROM pg_class WHERE relname = 'v'"
    ) == [("m", "kept", True)]
    assert warnings(stand) == ["option security_barrier of public.v is not restored: it is a materialized view now"]
    w = stand.manager("V", up="CREATE VIEW renamed AS SELECT id FROM orders", down="DROP MATERIALIZED VIEW v")
    kept(stand, [w], [w])
    assert warnings(stand)[1:] == ["V.up() no longer creates public.v"]


_MATVIEW = "CREATE MATERIALIZED VIEW v AS SELECT id, id % 2 AS half FROM orders"
_UNIQUE = "CREATE UNIQUE INDEX {}v_half ON {}v USING btree (half)"


@pytest.mark.parametrize("way", ["in a block", "after a crash"])
def test_an_invalid_index_is_not_created_again_and_said(stand: PostgresStand, way: str) -> None:
    """Its rows may not be unique, or it is the copy of another one; the other indexes come back."""
    stand(SHOP, _MATVIEW, "CREATE INDEX v_id ON v (id)")
    stand.connection.commit()
    with contextlib.closing(psycopg2.connect(stand.uri)) as other:
        other.autocommit = True
        with pytest.raises(psycopg2.errors.UniqueViolation):
            other.cursor().execute(_UNIQUE.format("CONCURRENTLY ", ""))
        other.cursor().execute("COMMENT ON INDEX v_half IS 'not yet'")
    v = stand.manager("V", up=_MATVIEW)
    stand.keeper.take_down([v], [v], migration="m", observer=stand.events.append)
    if way == "in a block":
        stand.keeper.bring_up()
    else:
        stand.connection.commit()
        stand.reconnect()
        assert stand.keeper.repair([v], declared={"V"}, observer=stand.events.append) == ()
    assert stand("SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'v'::regclass") == [
        ("v_id", True)
    ]
    assert warnings(stand) == [
        "invalid index v_half of public.v is not restored: it was INVALID, so no query used it; if it is wanted: "
        + _UNIQUE.format("", "public.")
    ]


def test_an_invalid_index_that_up_creates_is_there(stand: PostgresStand) -> None:
    index = "CREATE INDEX v_half ON v (half)"
    stand(SHOP, _MATVIEW, index, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'v_half'::regclass")
    v = stand.manager("V", up=f"{_MATVIEW}; {index}")
    kept(stand, [v], [v])
    assert stand("SELECT indisvalid FROM pg_index WHERE indexrelid = 'v_half'::regclass") == [(True,)]
    assert warnings(stand) == []


# -- blocks, commits, crashes ---------------------------------------------------------------------------------------


def two(stand: PostgresStand) -> tuple[Any, Any]:
    stand(SHOP)
    a = stand.manager("A", up="CREATE VIEW a AS SELECT id FROM orders", down="DROP VIEW a")
    b = stand.manager("B", up="CREATE VIEW b AS SELECT id FROM a", down="DROP VIEW b")
    stand(a.statement_up, b.statement_up)
    stand.connection.commit()
    return a, b


def test_nested_blocks_take_each_view_once(stand: PostgresStand) -> None:
    a, b = two(stand)
    stand.keeper.take_down([b], [b], migration="m")
    stand.keeper.take_down([b, a], [a, b], migration="m")
    assert stand.calls == ["down B", "down A"]
    stand.keeper.bring_up()
    stand.keeper.bring_up()
    assert stand.calls == ["down B", "down A", "up A", "up B"]
    stand.keeper.check_complete()
    stand.keeper.take_down([b, a], [a, b], migration="m")
    stand.keeper.take_down([b], [b], migration="m")
    stand.keeper.bring_up()
    stand.keeper.bring_up()
    assert stand.calls[4:] == ["down B", "down A", "up A", "up B"]


def test_d04_a_swallowed_exception_is_not_success(stand: PostgresStand) -> None:
    a, b = two(stand)
    before = probe(stand.connection.cursor())
    stand.keeper.take_down([b, a], [a, b], migration="m")
    stand.keeper.abandon()
    with pytest.raises(ViewError, match="views are still down: A, B"):
        stand.keeper.check_complete()
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_a_rollback_inside_the_block_leaves_the_views_and_is_not_success(stand: PostgresStand) -> None:
    a, b = two(stand)
    before = probe(stand.connection.cursor())
    stand.keeper.take_down([b, a], [a, b], migration="m")
    stand.connection.rollback()
    stand.keeper.bring_up()
    assert stand.calls == ["down B", "down A"]
    assert difference(before, probe(stand.connection.cursor())) == []
    with pytest.raises(ViewError, match="rolled back inside"):
        stand.keeper.check_complete()


def test_d04_views_dropped_for_good_by_a_commit_are_repaired_losslessly(
    stand: PostgresStand, roles: tuple[str, ...]
) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand.connection.commit()
    stand.reconnect()
    assert stand.down_now() == ["Base", "Lefty", "Righty", "Top"]
    assert stand.keeper.repair(managers, declared={"Base", "Lefty", "Righty", "Top"}) == ()
    stand.connection.commit()
    assert difference(before, probe(stand.connection.cursor())) == []
    assert stand.down_now() == []


def test_views_without_a_working_manager_come_back_from_their_stored_definition(
    stand: PostgresStand, roles: tuple[str, ...]
) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand.connection.commit()
    stand.reconnect()
    broken = stand.manager("Lefty", up="CREATE VIEW lefty AS SELECT nosuch FROM base")
    assert stand.keeper.repair([broken], declared={"Lefty"}) == ()
    stand.connection.commit()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_what_cannot_be_repaired_is_named_and_stays_in_the_ledger(stand: PostgresStand) -> None:
    a, b = two(stand)
    stand.keeper.take_down([b, a], [a, b], migration="m")
    stand("ALTER TABLE orders RENAME id TO number")
    stand.connection.commit()
    stand.reconnect()
    left = stand.keeper.repair([a, b], declared={"A", "B"})
    assert [(each.manager, each.relations) for each in left] == [("A", ("public.a",)), ("B", ("public.b",))]
    assert 'column "id" does not exist' in left[0].error
    assert stand.down_now() == ["A", "B"]
    stand("ALTER TABLE orders RENAME number TO id")
    assert stand.keeper.repair([a, b], declared={"A", "B"}) == ()


def test_a_row_whose_window_is_closed_is_settled(stand: PostgresStand) -> None:
    a, b = two(stand)
    stand.keeper.take_down([b], [], migration="m")
    stand.connection.commit()
    assert stand.keeper.repair([a], declared={"A", "B"}) == ()
    assert stand("SELECT * FROM ewh_implemented_features_views") == []


def test_a_view_that_somebody_brought_back_by_hand_is_accepted_and_dressed(
    stand: PostgresStand, roles: tuple[str, ...]
) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand.connection.commit()
    for manager in managers:
        stand(manager.statement_up)
    assert stand.keeper.repair(managers, declared={"Base", "Lefty", "Righty", "Top"}) == ()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_a_commit_inside_up_or_down_is_held_back(stand: PostgresStand) -> None:
    a, b = two(stand)
    plain = type(a).down

    def commits(self: Any) -> None:
        plain(self)
        stand.connection.commit()

    type(a).down = commits
    before = probe(stand.connection.cursor())
    stand.keeper.take_down([b, a], [a, b], migration="m")
    stand.connection.rollback()
    assert difference(before, probe(stand.connection.cursor())) == []


@pytest.mark.parametrize("statement", ["COMMIT", "COMMIT; BEGIN"])
def test_a_raw_commit_inside_down_is_refused_and_repaired(stand: PostgresStand, statement: str) -> None:
    a, b = two(stand)
    before = probe(stand.connection.cursor())
    b.__class__.statement_down = f"DROP VIEW b; {statement}"
    with pytest.raises(ViewError, match="commits by itself"):
        stand.keeper.take_down([b, a], [a, b], migration="m")
    stand.connection.rollback()
    assert stand.down_now() == ["A", "B"]
    assert stand.keeper.repair([a, b], declared={"A", "B"}) == ()
    stand.connection.commit()
    assert difference(before, probe(stand.connection.cursor())) == []


def test_d19_an_sql_error_swallowed_in_down_is_not_success(stand: PostgresStand) -> None:
    a, b = two(stand)
    before = probe(stand.connection.cursor())

    def swallow(self: Any) -> None:
        with contextlib.suppress(psycopg2.Error):
            stand("DROP VIEW nosuch")

    type(a).down = swallow
    with pytest.raises(ViewError, match=r"A\.down\(\) swallowed an SQL error"):
        stand.keeper.take_down([b, a], [a, b], migration="m")
    assert difference(before, probe(stand.connection.cursor())) == []


def test_work_that_a_down_gives_back_undone_is_refused(stand: PostgresStand) -> None:
    """MG214 sees an `async def`; what a decorator makes of it only the call tells."""
    a, b = two(stand)
    before = probe(stand.connection.cursor())

    async def later(self: Any) -> None: ...

    type(a).down = later
    with pytest.raises(ViewError, match=r"A\.down\(\) gave <coroutine object .*, which nobody runs"):
        stand.keeper.take_down([b, a], [a, b], migration="m")
    assert difference(before, probe(stand.connection.cursor())) == []


def test_in_autocommit_the_drop_and_its_row_are_one_transaction(stand: PostgresStand) -> None:
    a, b = two(stand)
    before = probe(stand.connection.cursor())
    stand.connection.rollback()
    stand.connection.autocommit = True
    a.__class__.statement_down = "DROP VIEW nosuch"
    with pytest.raises(psycopg2.Error):
        stand.keeper.take_down([b, a], [a, b], migration="m")
    assert difference(before, probe(stand.connection.cursor())) == []
    a.__class__.statement_down = "DROP VIEW a"
    kept(stand, [b, a], [a, b])
    assert difference(before, probe(stand.connection.cursor())) == []


def test_d16_a_ladder_of_16_layers_calls_each_manager_once(stand: PostgresStand) -> None:
    stand(SHOP)
    managers = [stand.manager("L0", up="CREATE VIEW l0 AS SELECT id FROM orders")]
    for layer in range(1, 17):
        below = f"l{layer - 1}"
        for side in "ab":
            managers.append(
                stand.manager(f"L{layer}{side}", up=f"CREATE VIEW l{layer}{side} AS SELECT id FROM {below}")
            )
        managers.append(
            stand.manager(
                f"L{layer}", up=f"CREATE VIEW l{layer} AS SELECT id FROM l{layer}a UNION ALL SELECT id FROM l{layer}b"
            )
        )
    for manager in managers:
        stand(manager.statement_up)
    before = probe(stand.connection.cursor())
    kept(stand, managers[::-1], managers)
    assert len(stand.calls) == 2 * len(managers) == 98
    assert difference(before, probe(stand.connection.cursor())) == []


def test_names_that_try_to_break_out_are_harmless(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    name = "\"; DROP TABLE orders; -- %s {} \\ ' \n<script>😀\u202e"
    quoted = '"' + name.replace('"', '""') + '"'
    literal = "'" + name.replace("'", "''") + "'"
    stand(SHOP)
    v = stand.manager(
        "V",
        up=f"CREATE MATERIALIZED VIEW {quoted} AS SELECT id AS {quoted} FROM orders",
        down=f"DROP MATERIALIZED VIEW {quoted}",
    )
    stand(
        v.statement_up,
        f"COMMENT ON COLUMN {quoted}.{quoted} IS {literal}",
        f'CREATE INDEX {quoted[:-1]}i" ON {quoted} ({quoted})',
    )
    stand(f"GRANT SELECT ({quoted}) ON {quoted} TO reader", f"COMMENT ON MATERIALIZED VIEW {quoted} IS {literal}")
    before = probe(stand.connection.cursor())
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == []
    stand("SAVEPOINT s")
    stand.keeper.take_down([v], [v], migration="m")
    assert stand.keeper.repair([], declared=set()) == ()
    assert difference(before, probe(stand.connection.cursor())) == []
