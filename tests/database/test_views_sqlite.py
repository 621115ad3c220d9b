"""Views of SQLite survive a migration: it neither refuses nor notices what breaks them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from view_stand import TABLE, SqliteStand

from migrate_graph.errors import ViewError

SHOP = (
    "CREATE TABLE orders (id INTEGER, customer TEXT, secret TEXT)",
    "CREATE TABLE audit (id INTEGER)",
    "INSERT INTO orders VALUES (1, 'ann', 's'), (2, 'bob', 's')",
)
BASE = "CREATE VIEW base AS SELECT id, customer FROM orders"


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[SqliteStand]:
    stand = SqliteStand(tmp_path / "shop.db")
    stand(*SHOP)
    yield stand
    stand.connection.close()


def schema(stand: SqliteStand) -> list[Any]:
    return stand(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'ewh%' AND name NOT LIKE 'sqlite%' ORDER BY 1, 2"
    )


def stack(stand: SqliteStand) -> list[Any]:
    texts = {
        "Base": BASE,
        "Lefty": "CREATE VIEW lefty AS SELECT id FROM base",
        "Righty": "CREATE VIEW righty AS SELECT customer, id FROM base",
        "Top": "CREATE VIEW top AS SELECT l.id, r.customer FROM lefty l JOIN righty r ON r.id = l.id",
    }
    managers = [stand.manager(name, up=text) for name, text in texts.items()]
    stand(
        *texts.values(),
        "CREATE TRIGGER base_insert INSTEAD OF INSERT ON base BEGIN INSERT INTO orders (id) VALUES (new.id); END",
    )
    return managers


def kept(stand: SqliteStand, managers: list[Any], *body: str) -> None:
    stand("BEGIN IMMEDIATE")
    stand.keeper.take_down(managers[::-1], managers, migration="m", observer=stand.events.append)
    stand(*body or ("SELECT 1",))
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    stand("COMMIT")


def test_a_diamond_and_its_trigger_are_as_before(stand: SqliteStand) -> None:
    managers = stack(stand)
    before = schema(stand)
    kept(stand, managers)
    assert schema(stand) == before
    assert len(stand.calls) == 8
    stand("INSERT INTO base (id) VALUES (3)")
    assert stand("SELECT count(*) FROM orders") == [(3,)]


@pytest.mark.parametrize("legacy", [False, True], ids=["", "legacy_alter_table"])
def test_a_table_is_rebuilt_under_its_views(stand: SqliteStand, legacy: bool) -> None:
    managers = stack(stand)
    before = schema(stand)
    kept(
        stand, managers, f"PRAGMA legacy_alter_table = {int(legacy)}",
        "CREATE TABLE orders_new (id INTEGER PRIMARY KEY, customer VARCHAR(200))",
        "INSERT INTO orders_new SELECT id, customer FROM orders", "DROP TABLE orders", "ALTER TABLE orders_new RENAME TO orders",
    )  # fmt: skip
    assert [row for row in schema(stand) if row[0] != "table"] == [row for row in before if row[0] != "table"]
    assert stand("SELECT * FROM top ORDER BY 1") == [(1, "ann"), (2, "bob")]


@pytest.mark.parametrize(
    ("stranger", "named"),
    [
        ("CREATE VIEW stranger AS SELECT id FROM base", "stranger"),
        ("CREATE VIEW stranger AS SELECT id FROM orders WHERE id IN (SELECT id FROM lefty)", "stranger"),
        (
            "CREATE TRIGGER stranger AFTER DELETE ON audit BEGIN INSERT INTO audit SELECT id FROM base; END",
            "DELETE trigger on",
        ),
        (
            "CREATE TRIGGER stranger AFTER UPDATE ON audit BEGIN INSERT INTO audit SELECT id FROM base; END",
            "UPDATE trigger on",
        ),
        (
            "CREATE TRIGGER stranger AFTER INSERT ON audit BEGIN DELETE FROM audit WHERE id IN (SELECT id FROM top); END",
            "INSERT trigger on",
        ),
        ('CREATE VIEW "str""an%ger; DROP TABLE orders --😀" AS SELECT id FROM base', 'str""an%ger'),
    ],
)
def test_d16_an_unmanaged_reader_is_named_and_nothing_is_dropped(stand: SqliteStand, stranger: str, named: str) -> None:
    managers = stack(stand)
    stand(stranger)
    before = schema(stand)
    stand("BEGIN IMMEDIATE")
    with pytest.raises(ViewError) as caught:
        stand.keeper.take_down(managers[::-1], managers, migration="widen")
    assert named in caught.value.message
    assert "widen" in caught.value.message
    assert schema(stand) == before
    assert stand.down_now() == []


def test_a_view_that_was_broken_before_stops_nothing(stand: SqliteStand) -> None:
    managers = stack(stand)
    stand("CREATE VIEW stale AS SELECT nosuch FROM base")
    before = schema(stand)
    kept(stand, managers)
    assert schema(stand) == before


def test_a_view_that_the_migration_breaks_is_named(stand: SqliteStand) -> None:
    managers = stack(stand)
    stand("CREATE VIEW stranger AS SELECT secret FROM orders")
    with pytest.raises(ViewError, match=r'after m this works no longer: view "stranger" \(no such column: secret\)'):
        kept(
            stand, managers, "PRAGMA legacy_alter_table = 1", "CREATE TABLE orders_new AS SELECT id, customer FROM orders",
            "DROP TABLE orders", "ALTER TABLE orders_new RENAME TO orders",
        )  # fmt: skip
    stand("ROLLBACK")


def test_d04_a_commit_inside_the_block_is_repaired(stand: SqliteStand) -> None:
    managers = stack(stand)
    before = schema(stand)
    stand("BEGIN IMMEDIATE")
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand("COMMIT")
    stand.keeper.abandon()
    with pytest.raises(ViewError, match="views are still down: Base, Lefty, Righty, Top"):
        stand.keeper.check_complete()
    assert stand.keeper.repair(managers[1:2], declared={"Lefty"}) == ()  # the others from their stored definitions
    assert schema(stand) == before
    assert stand.down_now() == []


def test_a_rollback_inside_the_block_leaves_the_views_and_is_not_success(stand: SqliteStand) -> None:
    managers = stack(stand)
    before = schema(stand)
    stand("BEGIN IMMEDIATE")
    stand.keeper.take_down(managers[::-1], managers, migration="m")
    stand("ROLLBACK")
    stand.keeper.bring_up()
    assert schema(stand) == before
    with pytest.raises(ViewError, match="rolled back inside"):
        stand.keeper.check_complete()


def test_a_raw_commit_inside_down_is_refused_and_repaired(stand: SqliteStand) -> None:
    managers = stack(stand)
    before = schema(stand)
    plain = type(managers[3]).down

    def commits(self: Any) -> None:
        plain(self)
        stand("COMMIT")

    type(managers[3]).down = commits
    stand("BEGIN IMMEDIATE")
    with pytest.raises(ViewError, match="commits by itself"):
        stand.keeper.take_down(managers[::-1], managers, migration="m")
    assert stand.down_now() == ["Base", "Lefty", "Righty", "Top"]
    assert stand.keeper.repair(managers, declared={"Base", "Lefty", "Righty", "Top"}) == ()
    assert schema(stand) == before


def test_outside_of_a_transaction_a_block_is_one(stand: SqliteStand) -> None:
    managers = stack(stand)
    before = schema(stand)
    type(managers[0]).statement_down = "DROP VIEW nosuch"
    with pytest.raises(Exception, match="no such view"):
        stand.keeper.take_down(managers[::-1], managers, migration="m")
    assert schema(stand) == before


def test_a_hand_over_keeps_the_trigger(stand: SqliteStand) -> None:
    stand(BASE, "CREATE TRIGGER ring INSTEAD OF DELETE ON base BEGIN DELETE FROM orders; END")
    old = stand.manager("BaseV1", up=BASE, down="DROP VIEW base")
    new = stand.manager("BaseV2", up="CREATE VIEW base AS SELECT id FROM orders", down="DROP VIEW base")
    stand.keeper.take_down([old], [new], migration="m")
    stand.keeper.bring_up()
    assert stand("SELECT name FROM sqlite_master WHERE type = 'trigger'") == [("ring",)]
    assert stand("SELECT manager, state FROM ewh_implemented_features_views") == [("BaseV2", "up")]


# -- others -----------------------------------------------------------------------------------------------------------


def statements_of_a_block(stand: SqliteStand) -> list[str]:
    """Return what one block of a view with a reader sends."""
    base = stand.manager("Base", up="CREATE VIEW base AS SELECT id FROM orders")
    top = stand.manager("Top", up="CREATE VIEW top AS SELECT id FROM base")
    sent: list[str] = []
    stand.connection.set_trace_callback(sent.append)
    stand.keeper.take_down([top, base], [base, top], migration="m")
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    stand.connection.set_trace_callback(None)
    return sent


def test_two_thousand_bystanders_are_not_asked(tmp_path: Path) -> None:
    counts = []
    for bystanders in (0, 2_000):
        stand = SqliteStand(tmp_path / f"{bystanders}.db")
        stand("CREATE TABLE orders (id int)", "CREATE TABLE crowd (id int)", "BEGIN")
        stand("CREATE VIEW base AS SELECT id FROM orders", "CREATE VIEW top AS SELECT id FROM base")
        for number in range(bystanders):
            stand(f"CREATE VIEW crowd_{number} AS SELECT id FROM crowd WHERE id > {number}")
        for number in range(bystanders // 20):
            stand(
                f"CREATE TABLE owner_{number} (id int)",
                f"CREATE TRIGGER owner_{number}_t AFTER INSERT ON owner_{number} BEGIN DELETE FROM crowd; END",
            )
        stand("CREATE VIEW broken AS SELECT nosuch FROM nowhere", "COMMIT")
        sent = statements_of_a_block(stand)
        assert not any("crowd" in each or "owner_" in each or "broken" in each for each in sent)
        counts.append(len(sent))
        stand.connection.close()
    assert counts[0] == counts[1]


def test_views_of_the_same_table_are_asked_once(tmp_path: Path) -> None:
    counts = []
    for siblings in (0, 100):
        stand = SqliteStand(tmp_path / f"{siblings}.db")
        stand("CREATE TABLE orders (id int)", "CREATE VIEW base AS SELECT id FROM orders")
        stand("CREATE VIEW top AS SELECT id FROM base", "BEGIN")
        for number in range(siblings):
            stand(f"CREATE VIEW sibling_{number} AS SELECT id FROM orders WHERE id > {number}")
        first = statements_of_a_block(stand)
        assert sum("sibling_" in each for each in first) == siblings  # whether each works, before the body may break it
        counts.append(len(statements_of_a_block(stand)))
        stand.connection.close()
    assert counts[0] == counts[1] < 40


def test_what_was_asked_before_does_not_hide_what_breaks_later(tmp_path: Path) -> None:
    stand = SqliteStand(tmp_path / "shop.db")
    stand("CREATE TABLE orders (id int, note text)", "CREATE VIEW sibling AS SELECT note FROM orders", "BEGIN")
    base = stand.manager("Base", up="CREATE VIEW base AS SELECT id FROM orders")
    for _ in range(2):
        stand.keeper.take_down([base], [base], migration="m")
        stand.keeper.bring_up()
    stand.keeper.take_down([base], [base], migration="m")
    stand("SAVEPOINT mine", "DROP TABLE orders", "CREATE TABLE orders (id int)", "ROLLBACK TO mine")
    stand.keeper.bring_up()  # nothing has happened after all
    stand.keeper.take_down([base], [base], migration="m")
    stand("DROP TABLE orders", "CREATE TABLE orders (id int)")
    with pytest.raises(ViewError, match="sibling"):
        stand.keeper.bring_up()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_another_session_changes_nothing_while_a_block_is_open(tmp_path: Path, journal: str) -> None:
    stand = SqliteStand(tmp_path / "shop.db")
    stand(f"PRAGMA journal_mode = {journal}", "CREATE TABLE orders (id int)")
    stand("CREATE VIEW base AS SELECT id FROM orders", "CREATE VIEW theirs AS SELECT 1 AS one")
    base = stand.manager("Base", up="CREATE VIEW base AS SELECT id FROM orders")
    other = sqlite3.connect(tmp_path / "shop.db", isolation_level=None, timeout=0)
    other.execute("CREATE VIEW late AS SELECT 1 AS one")
    other.execute("DROP VIEW theirs")
    other.execute("CREATE TEMP VIEW base AS SELECT 2 AS two")  # its own, whatever it is called
    other.execute("CREATE TEMP TABLE work (id int)")
    stand("BEGIN IMMEDIATE")
    stand.keeper.take_down([base], [base], migration="m")
    for statement in ("DROP VIEW late", "CREATE VIEW more AS SELECT 1", "DROP TABLE orders", "BEGIN EXCLUSIVE"):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute(statement)
    other.execute("DROP TABLE temp.work")
    if journal == "wal":  # who reads sees the view until it is committed
        assert other.execute("SELECT count(*) FROM main.base").fetchone() == (0,)
    recorded = (
        "SELECT state, json_extract(relations, '$.relations[0].identity'), json_array_length(relations, '$.relations')"
    )
    assert stand(f"{recorded} FROM {TABLE}_views") == [("down", '"base"', 1)]
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    stand("COMMIT")
    assert stand(f"{recorded} FROM {TABLE}_views") == [("up", '"base"', 1)]
    other.execute("DROP VIEW late")
    assert other.execute("SELECT two FROM base").fetchone() == (2,)
    other.close()
    stand.connection.close()


def test_what_others_did_between_two_blocks_is_theirs(tmp_path: Path) -> None:
    stand = SqliteStand(tmp_path / "shop.db")
    stand("CREATE TABLE orders (id int)", "CREATE VIEW base AS SELECT id FROM orders", "CREATE VIEW theirs AS SELECT 1")
    base = stand.manager("Base", up="CREATE VIEW base AS SELECT id FROM orders")
    other = sqlite3.connect(tmp_path / "shop.db", isolation_level=None, timeout=5)
    for statements in (["DROP VIEW theirs", "CREATE VIEW theirs AS SELECT id FROM base"], ["DROP VIEW theirs"]):
        for statement in statements:
            other.execute(statement)
        stand("BEGIN IMMEDIATE")
        if len(statements) == 2:  # now it reads ours, and nobody manages it
            with pytest.raises(ViewError, match="theirs"):
                stand.keeper.take_down([base], [base], migration="m")
            stand("ROLLBACK")
            continue
        stand.keeper.take_down([base], [base], migration="m")
        stand.keeper.bring_up()
        stand("COMMIT")
    assert stand(f"SELECT state FROM {TABLE}_views") == [("up",)]
    other.close()
    stand.connection.close()


def test_another_encoding_of_the_file(tmp_path: Path) -> None:
    stand = SqliteStand(tmp_path / "shop.db", before="PRAGMA encoding = 'UTF-16be'")
    assert stand("PRAGMA encoding") == [("UTF-16be",)]
    stand('CREATE TABLE "bestélling" (id int)')
    up = 'CREATE VIEW "überzicht 😀" AS SELECT id, \'é😀\' AS x FROM "bestélling"'
    stand(
        up, 'CREATE TRIGGER "ö" INSTEAD OF INSERT ON "überzicht 😀" BEGIN INSERT INTO "bestélling" VALUES (new.id); END'
    )
    before = stand("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'ewh%' ORDER BY 1, 2")
    view = stand.manager("Overzicht", up=up, down='DROP VIEW IF EXISTS "überzicht 😀"')
    stand.keeper.take_down([view], [view], migration="m")
    stand.keeper.bring_up()
    stand.keeper.check_complete()
    assert stand("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'ewh%' ORDER BY 1, 2") == before
    stand.connection.close()
