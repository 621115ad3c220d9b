"""What is seen of migrations is told alike, however the sessions of a database write names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rehearsal_stand import RehearsalStand, footprint, run
from servers import PostgresServer
from verify_stand import VerifyStand

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("may_create_databases")]

SHOP = """
from migrate_graph import migration


@migration
def shop_1(db):
    db.executesql("CREATE TABLE orders (id int PRIMARY KEY, total numeric DEFAULT 0)")
    db.executesql('CREATE TABLE "Lines" (order_id int REFERENCES orders, what text, "Price" numeric)')
    return True


@migration(requires="shop_1")
def rows_1(db):
    db.executesql("INSERT INTO orders (id) VALUES (1)")
    db.executesql('UPDATE "Lines" SET "Price" = 2 WHERE what = \\'a\\'')
    return True


@migration(requires="shop_1")
def wider_1(db):
    db.executesql("CREATE VIEW sums AS SELECT id, total FROM orders")
    db.executesql('SELECT total FROM sums')
    db.executesql('ALTER TABLE "Lines" ALTER COLUMN what TYPE varchar(9)')
    return True
"""

NAMES = ("shop_1", "rows_1", "wider_1")


def told(found: object) -> tuple[object, ...]:
    return tuple(
        getattr(found, part) for part in ("locks", "uses", "writes", "inserts", "wrote", "checked", "hangs", "calls")
    )


@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
def test_a_rehearsal_calls_relations_as_the_changes_do(
    place: str, postgres_uri: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a role has `quote_all_identifiers`, what was locked or written had another name than what had changed."""
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    (tmp_path / "migrations.py").write_text(SHOP)
    stand = RehearsalStand(postgres_uri, tmp_path)
    usual = {name: told(footprint(stand.rehearse(place), name)) for name in NAMES}
    postgres_server.execute("ALTER ROLE app SET quote_all_identifiers = on")
    try:
        quoted = {name: told(footprint(stand.rehearse(place), name)) for name in NAMES}
    finally:
        postgres_server.execute("ALTER ROLE app RESET quote_all_identifiers")
    assert quoted == usual
    assert "public.orders" in usual["rows_1"][4]


def test_what_migrations_need_of_each_other_is_seen_however_names_are_written(
    postgres_uri: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    stand = VerifyStand(tmp_path, postgres_uri)
    stand.write(SHOP)
    usual = {name: told(found) for name, found in stand.watch().footprints.items()}
    postgres_server.execute("ALTER ROLE app SET quote_all_identifiers = on")
    try:
        quoted = {name: told(found) for name, found in stand.watch().footprints.items()}
    finally:
        postgres_server.execute("ALTER ROLE app RESET quote_all_identifiers")
    assert quoted == usual
    assert "public.orders" in usual["rows_1"][3]


def test_views_in_the_way_are_named_however_names_are_written(
    postgres_uri: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The server's words name them as its session writes names; they are compared with what another session reads."""
    (tmp_path / "migrations.py").write_text("""
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("ALTER TABLE stock DROP COLUMN qty")
    return True
""")
    run(
        postgres_uri,
        "CREATE TABLE stock (id int, qty int)",
        "CREATE VIEW shelf AS SELECT qty FROM stock",
        "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)",
    )
    postgres_server.execute("ALTER ROLE app SET quote_all_identifiers = on")
    try:
        done = RehearsalStand(postgres_uri, tmp_path, {"MIGRATE_WEAVE": "off"}).rehearse("here")
    finally:
        postgres_server.execute("ALTER ROLE app RESET quote_all_identifiers")
    assert footprint(done, "one_1").statements[0].blockers == ("public.shelf",)
