"""Where nothing sets `schema`, the search_path of the database or the role is left alone, as edwh-migrate left it."""

from __future__ import annotations

import os

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


COMMANDS = (("plan",), ("apply",), ("plan", "--rehearse", "--on", "here"))


def refusals(shop: Project, *commands: tuple[str, ...]) -> list[str]:
    """Return what commands say of a database without a place for the ledger; each on one line."""
    told = []
    for args in commands or COMMANDS:
        done = shop.migrate(*args)
        assert done.returncode == 6, done.stdout + done.stderr
        told.append(" ".join(f"{done.stdout} {done.stderr}".split()))
    return told


@pytest.mark.parametrize(
    ("path", "said", "hint"),
    [
        (
            "pg_catalog, shop, ext",
            "tables would be created in pg_catalog, which belongs to the server",
            'set `schema` to \'shop\'; or ALTER ROLE "app" SET search_path = "shop", "ext", pg_catalog',
        ),
        (
            "pg_catalog",
            "tables would be created in pg_catalog, which belongs to the server",
            'set `schema` to \'public\'; or ALTER ROLE "app" SET search_path = "public", pg_catalog',
        ),
        (
            "pg_temp, shop",
            "tables would be created in pg_temp, which belongs to the server",
            'set `schema` to \'shop\'; or ALTER ROLE "app" SET search_path = "shop", pg_temp',
        ),
        (
            '"No ""where, x"',
            "names no schema that exists",
            'CREATE SCHEMA "No ""where, x"; or set `schema`; or ALTER ROLE "app" SET search_path = public',
        ),
        ("''", "names no schema that exists", 'set `schema`; or ALTER ROLE "app" SET search_path = public'),
    ],
)
def test_a_path_without_a_place_is_told_with_what_can_be_typed(
    shop: Project, postgres_server: PostgresServer, postgres_database: str, path: str, said: str, hint: str
) -> None:
    """Of a path that begins with the server's own schema, `apply` said that the role lacks a right, which no GRANT gives; `plan` nothing."""
    postgres_server.execute(f'ALTER ROLE app IN DATABASE "{postgres_database}" SET search_path = {path}')
    for told in refusals(shop):
        assert said in told
        assert hint in told
    typed = hint.rpartition("; or ALTER ROLE ")[2].removeprefix('"app" ')
    postgres_server.execute(f'ALTER ROLE app IN DATABASE "{postgres_database}" {typed}')
    assert shop.migrate("plan", "--rehearse", "--on", "here").returncode != 6, "what is typed mends it"


def test_a_schema_that_is_set_and_belongs_to_the_server_is_named(shop: Project) -> None:
    shop.env["SCHEMA"] = "pg_catalog, shop"
    for told in refusals(shop):
        assert "the setting `schema` is 'pg_catalog, shop': tables would be created in pg_catalog" in told
        assert "set `schema` to 'shop'" in told
        assert "ALTER ROLE" not in told


@pytest.mark.parametrize("rights", ["USAGE", ""])
def test_the_right_that_is_missing_in_a_schema_is_named(
    shop: Project, postgres_server: PostgresServer, postgres_database: str, rights: str
) -> None:
    """Of one that the role may not even use, it was said that it does not exist; else the hint was to grant "the rights it lacks"."""
    grant = [f'GRANT {rights} ON SCHEMA "Theirs" TO app'] if rights else []
    postgres_server.execute('CREATE SCHEMA "Theirs"', *grant, database=postgres_database)
    shop.env["SCHEMA"] = "Theirs"
    for told in refusals(shop, *(COMMANDS[1:] if rights else COMMANDS)):
        assert "the role app may create no table in schema Theirs of" in told
        assert 'GRANT USAGE, CREATE ON SCHEMA "Theirs" TO "app"; or set `schema`' in told
    postgres_server.execute('GRANT USAGE, CREATE ON SCHEMA "Theirs" TO app', database=postgres_database)
    assert shop.migrate("plan").returncode == 0


def test_a_schema_that_migrate_table_names_and_that_does_not_exist_is_told(shop: Project) -> None:
    shop.env["MIGRATE_TABLE"] = "nowhere.ledger"
    for told in refusals(shop, *COMMANDS[1:]):
        assert "schema 'nowhere', which `migrate_table` names, does not exist in" in told
        assert 'CREATE SCHEMA "nowhere"; or set `migrate_table`' in told


SECOND = """
@migration(requires=first_20260101_001)
def second_20260102_001(db):
    return db.executesql("SELECT name FROM ewh_implemented_features WHERE installed = 'T'") == [("first_20260101_001",)]
"""


@pytest.mark.usefixtures("may_create_databases")
def test_a_copy_has_the_records_of_a_ledger_in_a_schema_whose_name_needs_quotes(
    shop: Project, postgres_server: PostgresServer, postgres_database: str
) -> None:
    """The path was split at each comma, and quotes within a name stayed doubled: the records were not copied, and no word said so."""
    postgres_server.execute('CREATE SCHEMA "Ünd ""q, x" AUTHORIZATION app', database=postgres_database)
    postgres_server.execute(f'ALTER ROLE app IN DATABASE "{postgres_database}" SET search_path = "Ünd ""q, x", ext')
    shop.env["PATH"] = f"{postgres_server.binaries}{os.pathsep}{shop.env.get('PATH', os.defpath)}"
    assert shop.migrate("apply").returncode == 0
    shop.write("migrations.py", FILE + SECOND)
    done = shop.migrate("plan", "--rehearse", "--on", "clone")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 migration succeeded" in done.stdout
