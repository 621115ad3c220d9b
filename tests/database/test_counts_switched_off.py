"""A server that counts no rows (`track_counts = off`): a role that may switches it on for its sessions, for others nothing is guessed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from rehearsal_stand import RehearsalStand, facts, footprint, run
from servers import PostgresServer
from user_project import Project

from migrate_graph.core.footprint import Wrote
from migrate_graph.database import Settings
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.database.postgres.sizes import sizes

pytestmark = pytest.mark.postgres

LEDGER = "CREATE TABLE ewh_implemented_features (id serial, name varchar(512) UNIQUE, installed char(1), last_update_dttm timestamp)"
BODY = """
from migrate_graph import migration


@migration
def one_1(db):
    db.executesql("INSERT INTO stock VALUES (2)")
    db.executesql("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    return True
"""
VIEW = """
import os
import psycopg2
from migrate_graph import ViewMigrationManager, migration


class Few(ViewMigrationManager):
    uses = ()
    since = "one_1"

    def up(self):
        self.db.executesql("CREATE VIEW few AS SELECT id FROM stock")

    def down(self):
        connection = psycopg2.connect(os.environ["OTHER"])
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT obj_description(to_regclass('few')), to_regclass('few')")
        if cursor.fetchall() == [(None, "few")]:
            cursor.execute("COMMENT ON VIEW few IS 'said meanwhile'")
        connection.close()
        self.db.executesql("DROP VIEW IF EXISTS few")


@migration
def one_1(db):
    with Few(db):
        pass
    return True


@migration(requires=one_1)
def two_1(db):
    with Few(db):
        pass
    return True
"""


@pytest.fixture
def name(postgres_server: PostgresServer, postgres_uri: str) -> str:
    """Return the name of a database with a table, whose sessions count nothing."""
    database = postgres_uri.rpartition("/")[2]
    run(postgres_uri, LEDGER, "CREATE TABLE stock (id int)", "INSERT INTO stock VALUES (1)")
    postgres_server.execute(f"ALTER DATABASE {database} SET track_counts = off")
    return database


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("superuser", "counts"), [(True, "on"), (False, "off")])
def test_a_session_counts_where_its_role_may_switch_that_on(
    postgres_server: PostgresServer, name: str, superuser: bool, counts: str, ours: bool
) -> None:
    uri = postgres_server.admin_uri(name) if superuser else postgres_server.app_uri(name)
    with (
        closing(Sessions(Settings(uri)).open("look", ours=ours)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_catalog.current_setting('track_counts')")
        assert cursor.fetchall() == [(counts,)]


def test_a_role_that_may_be_told_so_switches_it_on(postgres_server: PostgresServer, name: str) -> None:
    if postgres_server.version < 150000:
        pytest.skip("roles are given the right to change single settings from PostgreSQL 15 on")
    postgres_server.execute("GRANT SET ON PARAMETER track_counts TO app")
    try:
        with (
            closing(Sessions(Settings(postgres_server.app_uri(name))).open("look")) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT pg_catalog.current_setting('track_counts')")
            assert cursor.fetchall() == [("on",)]
    finally:
        postgres_server.execute("REVOKE SET ON PARAMETER track_counts FROM app")


def test_what_is_not_counted_is_said_to_be_unknown(postgres_server: PostgresServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "migrations.py").write_text(BODY)
    seen = footprint(RehearsalStand(postgres_server.app_uri(name), tmp_path).rehearse("here"), "one_1")
    assert facts(seen.added) == {"type public.positive", "constraint public.positive.positive_check"}
    assert any("track_counts is off" in why for why in seen.not_rehearsed)
    assert sizes(Settings(postgres_server.app_uri(name))) == {}


def test_a_superuser_sees_everything(postgres_server: PostgresServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "migrations.py").write_text(BODY)
    seen = footprint(RehearsalStand(postgres_server.admin_uri(name), tmp_path).rehearse("here"), "one_1")
    assert (seen.not_rehearsed, seen.wrote) == ((), {"public.stock": Wrote(1)})


def test_a_comment_that_others_give_meanwhile_comes_back(
    postgres_server: PostgresServer, name: str, project: Project
) -> None:
    uri = postgres_server.admin_uri(name)
    project.env |= {"MIGRATE_URI": uri, "OTHER": uri}
    project.write("migrations.py", VIEW)
    ran = project.migrate("apply")
    assert ran.returncode == 0, ran.stderr
    assert run(uri, "SELECT obj_description('few'::regclass)") == [("said meanwhile",)]
