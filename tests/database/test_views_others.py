"""Views in a database that others use: a block reads, locks and changes only what is its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import psycopg2
import psycopg2.errors
import pytest
from bystanders import Bystander, in_step
from catalog_probe import difference, probe
from others_stand import stand
from view_stand import BASE, SHOP, PostgresStand, dressed, kept

from migrate_graph.authoring import SqlView
from migrate_graph.core.events import Warned
from migrate_graph.database.postgres.session.connection import OurConnection
from migrate_graph.errors import ViewError

__all__ = ["stand"]

pytestmark = pytest.mark.postgres


BYSTANDERS = 2_000


MANY = """
CREATE TABLE crowd (id int, note text);
DO $$ BEGIN FOR i IN 1..{count} LOOP EXECUTE format('CREATE VIEW crowd_%s AS SELECT id, note FROM crowd WHERE id > %s', i, i); END LOOP; END $$;
"""


class Other:
    """Another session."""

    def __init__(self, uri: str) -> None:
        self.connection = psycopg2.connect(uri, options="-c lock_timeout=5000")

    def __call__(self, *statements: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def other(postgres_admin_uri: str) -> Iterator[Other]:
    other = Other(postgres_admin_uri)
    yield other
    other.connection.close()


def catalog_queries(stand: PostgresStand) -> list[str]:
    """Count from now on the statements of the keeper that ask the catalogs."""
    asked: list[str] = []
    catalog = stand.catalog
    plain = catalog.run

    def counted(statement: str, parameters: Any = None) -> Any:
        if "pg_catalog.pg_" in statement or "EXECUTE " in statement:
            asked.append(statement)
        return plain(statement, parameters)

    catalog.run = counted
    return asked


def layers(stand: PostgresStand, count: int, *, dressed: bool) -> list[Any]:
    """Make a chain of views with something to restore, and their managers."""
    stand(SHOP)
    managers, below = [], "orders"
    for number in range(count):
        name = f"chain_{number}"
        managers.append(
            stand.manager(name.title(), up=f"CREATE VIEW {name} AS SELECT id FROM {below}", down=f"DROP VIEW {name}")
        )
        stand(managers[-1].statement_up)
        if dressed:
            stand(f"COMMENT ON VIEW {name} IS 'number {number}'", f"GRANT SELECT ON {name} TO reader")
        below = name
    stand.connection.commit()
    return managers


@pytest.mark.parametrize("count", [1, 30])
def test_a_block_asks_the_catalogs_ten_times_at_most(stand: PostgresStand, roles: tuple[str, ...], count: int) -> None:
    managers = layers(stand, count, dressed=True)
    stand("CREATE FUNCTION of_last(chain_0) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    managers[0].__class__.statement_up += "; CREATE FUNCTION of_last(chain_0) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    managers[0].__class__.statement_down = "DROP FUNCTION of_last(chain_0); DROP VIEW chain_0"
    before = probe(stand.connection.cursor())
    for _ in range(2):  # the second time the view ledger knows them
        asked = catalog_queries(stand)
        kept(stand, managers[::-1], managers)
        assert 4 <= len(asked) <= 10
    assert difference(before, probe(stand.connection.cursor())) == []


def locks(other: Other, stand: PostgresStand) -> set[str]:
    """Return the relations of users that the migration's session has locked, however lightly."""
    pid = stand.connection.info.backend_pid
    rows = other(
        "SELECT DISTINCT c.relname::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        f"WHERE l.pid = {pid} AND c.oid >= 16384 AND c.relnamespace = 'public'::regnamespace"
    )
    other.connection.rollback()
    return {name for (name,) in rows}


def test_two_thousand_bystanders_are_neither_read_nor_locked(stand: PostgresStand, other: Other) -> None:
    [base] = layers(stand, 1, dressed=False)
    stand(MANY.format(count=BYSTANDERS), "CREATE MATERIALIZED VIEW crowd_held AS SELECT id FROM crowd")
    stand("CREATE TABLE crowd_table (id int)", "CREATE VIEW crowd_reader AS SELECT id FROM crowd_table")
    stand.connection.commit()
    # Others hold what they hold: a REFRESH of one view, an ALTER of another's table.
    other("REFRESH MATERIALIZED VIEW crowd_held", "ALTER TABLE crowd_table ADD COLUMN more int")
    asked = catalog_queries(stand)
    stand.keeper.take_down([base], [base], migration="m")
    reading = Other(stand.uri)
    assert {name for name in locks(reading, stand) if name.startswith("crowd")} == set()
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    assert {name for name in locks(reading, stand) if name.startswith("crowd")} == set()
    reading.connection.close()
    assert len(asked) <= 10
    stand.connection.commit()
    other.connection.rollback()


def views_of_orders(stand: PostgresStand, count: int) -> list[Any]:
    stand(SHOP)
    managers = [
        stand.manager(f"Each{number}", up=f"CREATE VIEW each{number} AS SELECT id FROM orders")
        for number in range(count)
    ]
    stand(*(manager.statement_up for manager in managers))
    stand.connection.commit()
    return managers


def test_two_hundred_blocks_of_one_migration_each_cost_the_same(stand: PostgresStand) -> None:
    managers = views_of_orders(stand, 200)
    kept(stand, managers[:1], managers[:1])  # finds the view ledger, once
    asked = catalog_queries(stand)
    costs = []
    for manager in managers:
        asked.clear()
        stand.keeper.take_down([manager], [manager], migration="m")
        costs.append(len(asked))
    assert set(costs) == {1}  # what there is; that it went is confirmed with the row of the view ledger
    assert all("EXECUTE migrate_graph" in statement for statement in asked)  # no query is planned again
    stand("ALTER TABLE orders ALTER COLUMN customer TYPE text")
    costs.clear()
    for _ in managers:
        asked.clear()
        stand.keeper.bring_up()
        costs.append(len(asked))
    assert set(costs) == {1}  # what came, and how it is
    stand.keeper.check_complete()


WATCHING = """
CREATE FUNCTION also() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF {when} THEN EXECUTE 'DROP VIEW IF EXISTS theirs'; END IF; END $$;
CREATE EVENT TRIGGER also ON ddl_command_end WHEN TAG IN ('{tag}') EXECUTE FUNCTION also();
"""


@pytest.mark.parametrize("tag", ["DROP VIEW", "CREATE VIEW"])
def test_what_an_event_trigger_drops_meanwhile_is_seen(stand: PostgresStand, tag: str) -> None:
    [manager] = views_of_orders(stand, 1)
    stand("CREATE VIEW theirs AS SELECT 1 AS one")
    kept(stand, [manager], [manager])
    stand(WATCHING.format(tag=tag, when="to_regclass('theirs') IS NOT NULL"))
    stand.connection.commit()
    kept(stand, [manager], [manager])
    told = [event.message for event in stand.events if isinstance(event, Warned)]
    assert len(told) == 1
    assert "public.theirs" in told[0]
    stand.connection.rollback()
    stand("DROP EVENT TRIGGER also")
    stand.connection.commit()


def test_what_a_cursor_made_by_hand_drops_along_is_seen(stand: PostgresStand) -> None:
    [manager] = views_of_orders(stand, 1)
    stand("CREATE POLICY p ON vault AS RESTRICTIVE USING (id IN (SELECT id FROM each0))")
    stand.connection.commit()
    stand("SELECT 1")
    plain = type(manager).down

    def down(self: Any) -> None:
        psycopg2.extensions.cursor(stand.connection).execute("DROP VIEW each0 CASCADE")
        plain(self)  # DROP VIEW IF EXISTS

    type(manager).down = down
    with pytest.raises(ViewError, match=r"policy p ON public\.vault"):
        stand.keeper.take_down([manager], [manager], migration="m")


def test_a_temporary_namesake_is_not_taken_for_the_new_view(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    [manager] = views_of_orders(stand, 1)
    stand("GRANT SELECT ON each0 TO reader")
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    type(manager).statement_down = "DROP VIEW public.each0"
    stand.keeper.take_down([manager], [manager], migration="m")
    stand("CREATE TEMP VIEW each0 AS SELECT 'mine' AS note")
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    stand("DROP VIEW pg_temp.each0")
    assert difference(before, probe(stand.connection.cursor())) == []


def test_plain_statements_are_confirmed_and_not_looked_for(stand: PostgresStand) -> None:
    managers = views_of_orders(stand, 3)
    for manager in managers:
        kept(stand, [manager], [manager])
    asked: list[str] = []
    plain = stand.catalog._answer

    def noted(statement: str) -> Any:
        asked.append(statement)
        return plain(statement)

    stand.catalog._answer = noted
    kept(stand, managers[:1], managers[:1])
    assert not any("pg_locks" in each for each in asked)
    type(managers[0]).statement_down = "DROP VIEW IF EXISTS each0 CASCADE"
    stand.catalog._prepared.stopped = True  # so that queries stand in the messages
    kept(stand, managers[:1], managers[:1])
    assert any("pg_locks" in each for each in asked)


def test_few_messages_are_sent_for_a_block(stand: PostgresStand) -> None:
    managers = views_of_orders(stand, 6)
    for manager in managers:  # now the view ledger knows them
        kept(stand, [manager], [manager])
    sent = [stand.connection.asked]
    for manager in managers:
        stand.keeper.take_down([manager], [manager], migration="m")
        sent.append(stand.connection.asked)
    down = [after - before for before, after in pairwise(sent)]
    assert set(down) == {4}  # of these one is the manager's own
    stand("ALTER TABLE orders ALTER COLUMN customer TYPE text")
    sent = [stand.connection.asked]
    for _ in managers:
        stand.keeper.bring_up()
        sent.append(stand.connection.asked)
    up = [after - before for before, after in pairwise(sent)]
    assert set(up) == {4}
    stand.keeper.check_complete()


class FakeDal:
    """As much of a `DAL` as a manager uses."""

    _adapter = SimpleNamespace(dbengine="postgres")

    def __init__(self, stand: PostgresStand) -> None:
        self._stand = stand

    def executesql(self, statement: str) -> list[Any]:
        return self._stand(statement)


def test_a_view_that_is_declared_by_its_query_costs_as_little(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    kind = type("Declared", (SqlView,), {"query": "SELECT id FROM orders", "uses": (), "grants": {"reader": "SELECT"}})
    stand(SHOP)
    manager = kind(FakeDal(stand))
    for _ in range(2):
        kept(stand, [manager], [manager])
    asked = catalog_queries(stand)
    before = stand.connection.asked
    stand.keeper.take_down([manager], [manager], migration="m")
    assert stand.connection.asked - before == 5  # of these it sends two: is it a materialized view? and DROP VIEW
    before = stand.connection.asked
    stand.keeper.bring_up()
    assert stand.connection.asked - before == 5
    assert len(asked) == 2


def test_what_fails_in_a_message_undoes_the_block(stand: PostgresStand) -> None:
    [manager] = views_of_orders(stand, 1)
    stand(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON ewh_implemented_features_views FOR EACH ROW EXECUTE FUNCTION no()",
    )
    stand.connection.commit()
    stand("SELECT 1")
    with pytest.raises(psycopg2.errors.RaiseException, match="not now"):
        stand.keeper.take_down([manager], [manager], migration="m")
    assert stand("SELECT count(*) FROM each0") == [(50,)]  # the transaction goes on, without what the block did
    stand("DROP TRIGGER no ON ewh_implemented_features_views")
    kept(stand, [manager], [manager])


def test_neither_a_new_view_nor_a_repair_reads_the_rows_of_all_others(stand: PostgresStand) -> None:
    stand(SHOP)
    managers = [
        stand.manager(f"Each{number}", up=f"CREATE VIEW each{number} AS SELECT id FROM orders") for number in range(30)
    ]
    sent: list[str] = []
    plain = stand.catalog.run

    def noted(statement: str, parameters: Any = None) -> Any:
        sent.append(statement)
        return plain(statement, parameters)

    stand.catalog.run = noted
    stand.keeper._ledger._execute = noted
    for manager in managers:
        kept(stand, [manager], [manager])
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand.keeper.abandon()
    assert stand.keeper.repair(managers, declared={type(each).__name__ for each in managers}) == ()
    asked = [each for each in sent if each.startswith("SELECT manager")]
    assert len(asked) > 60
    assert [each for each in asked if "WHERE" not in each] == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        ["DROP VIEW theirs CASCADE"],
        ["ROLLBACK TO SAVEPOINT mine"],
        ["DEALLOCATE ALL"],
        ["CREATE OR REPLACE VIEW each1 AS SELECT id, note FROM orders"],
        ["DROP VIEW each1", "CREATE VIEW each1 AS SELECT 1 AS one", "COMMENT ON VIEW each1 IS 'new'"],
    ],
)
def test_what_a_body_does_between_its_blocks_is_its_own(stand: PostgresStand, meanwhile: list[str]) -> None:
    managers = views_of_orders(stand, 4)
    stand("CREATE VIEW theirs AS SELECT 1 AS one", "CREATE VIEW readers AS SELECT one FROM theirs")
    stand.connection.commit()
    stand("SAVEPOINT mine", "DROP VIEW each3")
    for manager in managers[:3]:  # now everything that can be remembered is
        kept(stand, [manager], [manager])
    stand(*meanwhile)
    before = probe(stand.connection.cursor())
    for manager in managers[:3]:
        kept(stand, [manager], [manager], "SELECT 1")
    gone = "DROP VIEW theirs CASCADE" in meanwhile
    assert stand("SELECT count(*) FROM pg_views WHERE viewname IN ('theirs', 'readers')") == [(0 if gone else 2,)]
    made_anew = {line for line in difference(before, probe(stand.connection.cursor())) if "each1" not in line}
    assert made_anew == set()
    assert stand("SELECT count(*) FROM pg_views WHERE viewname LIKE 'each%'") == [
        (4 if "ROLLBACK" in meanwhile[0] else 3,)
    ]


def test_a_session_that_counts_nothing_remembers_nothing(postgres_admin_uri: str) -> None:
    """A repair runs on one, and so does whoever only looks."""
    stand = PostgresStand(postgres_admin_uri, factory=OurConnection)
    managers = views_of_orders(stand, 3)
    asked = catalog_queries(stand)
    for manager in (*managers, *managers):
        stand.keeper.take_down([manager], [manager], migration="m")
        stand("CREATE VIEW passing AS SELECT 1 AS one", "DROP VIEW passing")
        stand.keeper.bring_up()
    assert not any("EXECUTE" in statement for statement in asked)
    assert sum("pg_catalog.pg_locks" in statement for statement in asked) == 4 * 6
    stand.keeper.take_down(managers, managers, migration="m")
    stand.keeper.abandon()
    assert stand.keeper.repair(managers, declared={"Each0", "Each1", "Each2"}) == ()
    assert stand("SELECT count(*) FROM pg_views WHERE viewname LIKE 'each%'") == [(3,)]
    stand.connection.close()


def test_what_a_down_deallocates_is_asked_anew(stand: PostgresStand) -> None:
    managers = views_of_orders(stand, 3)
    for manager in managers:
        kept(stand, [manager], [manager])
    odd = managers[1]
    type(odd).statement_down = "DEALLOCATE ALL; DROP VIEW each1"
    stand.calls.clear()
    kept(stand, [odd], [odd])
    assert stand.calls == ["down Each1", "down Each1", "up Each1"]  # what it sends is not plain
    stand.calls.clear()
    kept(stand, [managers[0]], [managers[0]])  # what was prepared is gone
    assert stand.calls == ["down Each0", "up Each0"]


WATCHER = """
CREATE FUNCTION drops_theirs() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP VIEW IF EXISTS theirs'; END $$;
CREATE EVENT TRIGGER drops_theirs ON sql_drop WHEN TAG IN ('DROP VIEW') EXECUTE FUNCTION drops_theirs();
"""


def test_an_event_trigger_that_comes_after_the_first_look_is_noticed(stand: PostgresStand, other: Other) -> None:
    [manager] = views_of_orders(stand, 1)
    stand("CREATE VIEW theirs AS SELECT 1 AS one")
    stand.connection.commit()
    plain, waiting = type(manager).down, deque([WATCHER])  # the text of a manager is read in lists, but not in a deque

    def down(self: Any) -> None:
        while waiting:  # somebody else, after we looked
            other(waiting.popleft())
            other.connection.commit()
        plain(self)

    type(manager).down = down
    kept(stand, [manager], [manager])
    assert stand.calls.count("down Each0") > 1
    told = [event.message for event in stand.events if isinstance(event, Warned)]
    assert len(told) == 1
    assert "public.theirs" in told[0]
    stand.connection.rollback()
    other("DROP EVENT TRIGGER drops_theirs", "DROP FUNCTION drops_theirs")
    other.connection.commit()


def test_a_view_that_a_plain_statement_left_is_noticed(stand: PostgresStand) -> None:
    [manager] = views_of_orders(stand, 1)
    stand("SELECT 1")
    plain, by_hand = type(manager).down, deque(["ALTER VIEW each0 RENAME TO elsewhere"])  # where no text is read

    def down(self: Any) -> None:
        psycopg2.extensions.cursor(stand.connection).execute(by_hand[0])
        plain(self)  # DROP VIEW IF EXISTS

    type(manager).down = down
    stand.keeper.take_down([manager], [manager], migration="m")
    assert stand.calls == ["down Each0"] * 2  # the server has undone the first, and the second was looked at
    assert stand("SELECT relations FROM ewh_implemented_features_views") == [('{"text": "", "relations": []}',)]


def test_a_name_that_means_a_relation_of_the_server_is_looked_at(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    stand(SHOP, "CREATE VIEW public.pg_stats AS SELECT id FROM orders", "GRANT SELECT ON public.pg_stats TO reader")
    manager = stand.manager(
        "Mine", up="CREATE VIEW pg_stats AS SELECT id FROM orders", down="DROP VIEW public.pg_stats"
    )
    stand.connection.commit()
    before = probe(stand.connection.cursor())
    kept(stand, [manager], [manager])
    assert difference(before, probe(stand.connection.cursor())) == []


def test_what_others_create_and_drop_meanwhile_is_theirs(stand: PostgresStand, other: Other) -> None:
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders", "CREATE VIEW theirs AS SELECT 1 AS one")
    stand(
        "CREATE TABLE their_table (id int)", "CREATE FUNCTION their_function() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    stand.connection.commit()
    other.connection.autocommit = True
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders")
    plain_down, plain_up = type(v).down, type(v).up

    def down(self: Any) -> None:
        other("CREATE TEMP TABLE work_1 AS SELECT 1 AS one", "DROP VIEW theirs", "DROP TABLE their_table")
        plain_down(self)
        other(
            "DROP FUNCTION their_function()", "CREATE TABLE their_other (id int)", "CREATE VIEW their_view AS SELECT 1"
        )

    def up(self: Any) -> None:
        other("DROP TABLE work_1", "CREATE TEMP TABLE work_2 AS SELECT 1 AS one", "CREATE VIEW their_late AS SELECT 1")
        plain_up(self)
        other("DROP TABLE their_other", "DROP VIEW their_view", "CREATE MATERIALIZED VIEW their_last AS SELECT 1")

    type(v).down, type(v).up = down, up
    stand.keeper.take_down([v], [v], migration="m")
    recorded = "SELECT manager, state, relations::json->'relations' FROM ewh_implemented_features_views"
    [(_, state, relations)] = stand(recorded)
    assert (state, [each["identity"] for each in relations]) == ("down", ["public.v"])
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    [(_, state, relations)] = stand(recorded)
    assert (state, [each["identity"] for each in relations]) == ("up", ["public.v"])
    assert not [event for event in stand.events if isinstance(event, Warned)]


def test_whatever_others_do_at_each_step_is_theirs(stand: PostgresStand, roles: tuple[str, ...]) -> None:
    managers = dressed(stand)
    before = probe(stand.connection.cursor())
    bystander = Bystander(stand.uri)
    in_step(bystander, stand.catalog)
    kept(stand, managers[::-1], managers)
    rounds = bystander.rounds
    assert rounds >= 5
    stand.connection.commit()
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    rows = stand("SELECT relations::json->'relations' FROM ewh_implemented_features_views")
    assert not [each["identity"] for (relations,) in rows for each in relations if "bystander" in each["identity"]]
    stand.keeper.abandon()
    stand.connection.commit()
    assert stand.keeper.repair(managers, declared={type(each).__name__ for each in managers}) == ()
    assert bystander.rounds > rounds + 5
    bystander.close()
    assert difference(before, probe(stand.connection.cursor())) == []
    assert not [event for event in stand.events if isinstance(event, Warned)]


def test_temporary_tables_of_the_manager_itself_are_nobodys_loss(stand: PostgresStand) -> None:
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders")
    stand.connection.commit()
    v = stand.manager(
        "V",
        up="CREATE TEMP TABLE work AS SELECT 1 AS one; CREATE VIEW v AS SELECT id FROM orders; DROP TABLE work",
        down="CREATE TEMP TABLE work AS SELECT 1 AS one; DROP TABLE work; DROP VIEW v",
    )
    before = probe(stand.connection.cursor())
    kept(stand, [v], [v])
    assert difference(before, probe(stand.connection.cursor())) == []


def test_a_row_that_cannot_be_repaired_keeps_no_other_from_it(stand: PostgresStand) -> None:
    stand(SHOP, "CREATE VIEW a AS SELECT id FROM orders", "CREATE VIEW b AS SELECT id FROM a")
    a = stand.manager("A", up="CREATE VIEW a AS SELECT id FROM orders")
    b = stand.manager("B", up="CREATE VIEW b AS SELECT id FROM a")
    stand.keeper.take_down([b, a], [a, b], migration="m")
    stand(
        "INSERT INTO ewh_implemented_features_views SELECT 'Broken', 'down', 'm', "
        "replace(replace(relations, '.a\"', '.c\"'), 'orders', 'no_such_table'), now() "
        "FROM ewh_implemented_features_views WHERE manager = 'A'",
    )
    stand.connection.commit()
    stand.reconnect()
    left = stand.keeper.repair([], declared=set())
    assert [(each.manager, bool(each.error)) for each in left] == [("Broken", True)]
    assert stand("SELECT count(*) FROM b") == [(50,)]


def test_a_view_that_never_came_up_and_is_declared_no_longer_stops_nobody(stand: PostgresStand) -> None:
    stand(SHOP)
    stand.keeper.take_down([], [stand.manager("Gone", up="CREATE VIEW a AS SELECT id FROM orders")], migration="m")
    assert stand.down_now() == ["Gone"]
    assert stand.keeper.repair([], declared=set(), observer=stand.events.append) == ()
    assert stand.down_now() == []
    assert "Gone is declared no longer" in str(stand.events)


def test_who_makes_the_view_of_a_manager_that_is_gone_brings_it_back(stand: PostgresStand) -> None:
    """A class was renamed while its view was down, and what the stored definition reads is there no longer."""
    stand(SHOP, BASE)
    stand.keeper.take_down([stand.manager("Base", up=BASE)], [], migration="m")
    stand.connection.commit()
    stand("ALTER TABLE orders RENAME TO purchases")
    renamed = stand.manager("Renamed", up=BASE.replace("orders", "purchases"), down="DROP VIEW IF EXISTS base")
    other = stand.manager("Other", up="CREATE VIEW other AS SELECT 1 AS id")
    assert stand.keeper.repair([other, renamed], declared={"Other", "Renamed"}) == ()
    assert stand("SELECT count(*) FROM base") == [(50,)]
    assert stand("SELECT manager, state FROM ewh_implemented_features_views") == [("Renamed", "up")]


def test_a_waiting_session_is_not_waited_for(stand: PostgresStand, other: Other) -> None:
    """Somebody drops a function of the row type while we look: then nothing of ours is lost."""
    stand(SHOP, "CREATE VIEW v AS SELECT id FROM orders", "CREATE FUNCTION f(v) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    stand.connection.commit()
    v = stand.manager("V", up="CREATE VIEW v AS SELECT id FROM orders")
    plain = type(v).down
    done = threading.Event()

    def down(self: Any) -> None:
        other("DROP FUNCTION f(v)")
        other.connection.commit()
        done.set()
        plain(self)

    type(v).down = down
    kept(stand, [v], [v])
    assert done.is_set()
