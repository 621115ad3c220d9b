"""A database in which `standard_conforming_strings` is off: values, records and views are written as they are meant."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from servers import PostgresServer
from user_project import Project

import migrate_graph
from migrate_graph import Config
from migrate_graph.database import Settings
from migrate_graph.database.postgres.session.opening import Sessions
from migrate_graph.errors import DatabaseRefused

pytestmark = pytest.mark.postgres

VALUE = r"C:\new\'; DROP TABLE item; --"

FILE = f"""
from migrate_graph import SqlView, migration


@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE item (name text)")
    db.executesql("INSERT INTO item VALUES (%s)", [{VALUE!r}])
    assert db.executesql("SHOW work_mem") == [("77kB",)]
    return True


class Named(SqlView):
    since = first_20260101_001
    materialized = True
    query = r"SELECT name FROM item WHERE name ~ '\\w'"
    comment = {VALUE!r}


@migration(requires=first_20260101_001)
def second_20260101_002(db):
    with Named(db):
        db.executesql("ALTER TABLE item ADD COLUMN price integer")
    return True


@migration(requires=second_20260101_002)
def third_20260101_003(db):
    if db:
        raise RuntimeError({VALUE!r})
    return True
"""


@pytest.fixture
def shop(project: Project, postgres_server: PostgresServer, postgres_database: str, postgres_uri: str) -> Project:
    """A database whose sessions begin with backslashes that escape; `PGOPTIONS` sets something else."""
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET standard_conforming_strings = off")
    project.env |= {"MIGRATE_URI": postgres_uri, "PGOPTIONS": "-c work_mem=77"}
    project.write("pyproject.toml", '[tool.migrate]\nweave = "windows"\n')
    project.write("migrations.py", FILE)
    return project


def test_a_value_with_a_backslash_is_itself(shop: Project, postgres_uri: str) -> None:
    done = shop.migrate("apply")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed  third_20260101_003" in done.stdout + done.stderr
    with closing(psycopg2.connect(postgres_uri)) as connection, connection.cursor() as cursor:
        for question in (
            "SELECT name FROM named",
            "SELECT obj_description('named'::regclass, 'pg_class')",
            "SELECT substr(error, 15) FROM ewh_implemented_features_journal WHERE error LIKE 'RuntimeError: %'",
        ):
            cursor.execute(question)
            assert cursor.fetchall() == [(VALUE,)]


def test_an_application_reads_and_writes_it_too(shop: Project, postgres_uri: str) -> None:
    assert shop.migrate("apply", "--to", "second_20260101_002").returncode == 0
    db = migrate_graph.setup_db(config=Config.load({"migrate_uri": postgres_uri}))
    assert db.executesql("SELECT count(*) FROM item WHERE name = %s", [VALUE]) == [(1,)]
    db.close()


@pytest.mark.parametrize("way", ["refuses", "ignores"])
def test_a_pooler_that_takes_no_options_is_named(
    way: str,
    postgres_server: PostgresServer,
    postgres_database: str,
    postgres_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres_server.execute(f"ALTER DATABASE {postgres_database} SET standard_conforming_strings = off")
    connect = psycopg2.connect

    def pooler(*arguments: Any, **options: Any) -> Any:
        if options.pop("options", None) and way == "refuses":
            raise psycopg2.OperationalError("FATAL:  unsupported startup parameter: options")
        return connect(*arguments, **options)

    monkeypatch.setattr(psycopg2, "connect", pooler)
    with pytest.raises(DatabaseRefused, match="standard_conforming_strings is off for role app") as refused:
        Sessions(Settings(postgres_uri)).open("keeper")
    assert 'ALTER ROLE "app" SET standard_conforming_strings = on' in refused.value.hint
