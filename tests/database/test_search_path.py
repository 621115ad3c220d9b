"""Where nothing sets `schema`, the search_path of the database or the role is left alone, as edwh-migrate left it."""

from __future__ import annotations

import psycopg2
import pytest
from servers import PostgresServer
from user_project import Project

import migrate_graph
from migrate_graph import Config

pytestmark = pytest.mark.postgres

FILE = """
from edwh_migrate import migration

@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE item (id integer DEFAULT ext.answer())")
    return db.executesql("SELECT answer()") == [(42,)]
"""


@pytest.fixture
def shop(project: Project, postgres_server: PostgresServer, postgres_database: str, postgres_uri: str) -> Project:
    """A database whose own search_path is `shop, ext, public`."""
    postgres_server.execute(
        "CREATE SCHEMA shop AUTHORIZATION app", "CREATE SCHEMA ext AUTHORIZATION app",
        "CREATE FUNCTION ext.answer() RETURNS integer LANGUAGE sql AS 'SELECT 42'", database=postgres_database,
    )  # fmt: skip
    postgres_server.execute(f'ALTER DATABASE "{postgres_database}" SET search_path = shop, ext, public')
    project.env["MIGRATE_URI"] = postgres_uri
    project.write("migrations.py", FILE)
    return project


def schemas(uri: str) -> dict[str, str]:
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind = 'r' AND nspname !~ '^(pg_|information_)'"
        )
        found = dict(cursor.fetchall())
    connection.close()
    return found


TABLES = ("item", "ewh_implemented_features", "ewh_implemented_features_journal", "ewh_implemented_features_views")


def test_everything_lands_where_the_path_says(shop: Project, postgres_uri: str) -> None:
    done = shop.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert schemas(postgres_uri) == dict.fromkeys(TABLES, "shop")
    assert shop.migrate("plan", "--check").returncode == 0
    db = migrate_graph.setup_db(config=Config.load({"migrate_uri": postgres_uri}))
    assert db.executesql("SHOW search_path") == [("shop, ext, public",)]
    assert db(db.ewh_implemented_features).count() == 1
    db.close()


def test_a_ledger_is_found_where_the_path_finds_it(shop: Project, postgres_uri: str) -> None:
    """Made by edwh-migrate in `shop`, or in `public` by who had set that."""
    first = shop.migrate("apply", env={"SCHEMA": "public"})
    assert first.returncode == 1, "functions of ext are not found where the path is set to public"
    assert set(schemas(postgres_uri)) == {name for name in TABLES if name != "item"}
    assert set(schemas(postgres_uri).values()) == {"public"}
    done = shop.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert schemas(postgres_uri) == {**dict.fromkeys(TABLES, "public"), "item": "shop"}


def test_the_path_of_the_role_counts_as_well(
    shop: Project, postgres_server: PostgresServer, postgres_database: str
) -> None:
    postgres_server.execute(
        f'ALTER ROLE app IN DATABASE "{postgres_database}" SET search_path = ext', database=postgres_database
    )
    done = shop.migrate("apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert schemas(shop.env["MIGRATE_URI"]) == dict.fromkeys(TABLES, "ext")


@pytest.mark.parametrize("schema", ["shop", "public, ext"])
def test_a_schema_that_is_set_is_the_path(shop: Project, postgres_uri: str, schema: str) -> None:
    shop.write("migrations.py", FILE.replace("SELECT answer()", "SELECT ext.answer()"))
    shop.write("pyproject.toml", f'[tool.migrate]\nschema = "{schema}"\n')
    assert shop.migrate("apply").returncode == 0
    assert schemas(postgres_uri) == dict.fromkeys(TABLES, schema.partition(",")[0])
    config = Config.load({"migrate_uri": postgres_uri, "schema": schema})
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SHOW search_path")[0][0].replace('"', "") == schema
    db.close()


def test_what_programs_read_is_the_default_of_2_1_0() -> None:
    config = Config.load({})
    assert (config.schema, config.search_path) == ("public", None)
    assert Config.load({"schema": False}).search_path is None
    assert Config.load({"schema": "public"}).search_path == "public"
