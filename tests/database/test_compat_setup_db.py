"""The connections that `setup_db()` gives, and the ledger table that it defines on them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg2
import pytest
from compat_programs import installed

import migrate_graph
from migrate_graph import Config, compat, migration
from migrate_graph.errors import ConfigError

pytestmark = pytest.mark.usefixtures("new_process")


NAMES = ["plain", "Folded", "Mixed Case", "ünï", "select"]
HOSTILE = ['quo"te', "it's; DROP TABLE x", "per%cent"]


@pytest.mark.parametrize("table", NAMES)
def test_d26_any_name_of_the_ledger_table(database_uri: str, table: str) -> None:
    config = Config.load({"migrate_uri": database_uri, "migrate_table": table})

    @migration
    def looks_itself(db: object) -> bool:
        return db(db.ewh_implemented_features).count() == 0  # type: ignore[operator,attr-defined]

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert [row.name for row in db(db.ewh_implemented_features).select()] == ["looks_itself"]
    migrate_graph.mark_migration(db, "by_hand", True)
    db.commit()
    assert not compat.should_run(db, "by_hand")
    db.close()
    assert installed(Config.load({"migrate_uri": database_uri, "migrate_table": table}))["by_hand"] is True


@pytest.mark.parametrize("table", HOSTILE)
def test_d26_a_name_that_pydal_would_paste_is_refused(table: str) -> None:
    with pytest.raises(ConfigError, match="is not supported"):
        Config.load({"migrate_table": table})


@pytest.mark.parametrize("table", NAMES)
def test_the_ledger_made_by_pydal_is_the_ledger(database_uri: str, table: str) -> None:
    config = Config.load({"migrate_uri": database_uri})
    with pytest.raises(compat.DatabaseNotYetInitialized) as caught:
        migrate_graph.setup_db(impl_feat_table_name=table, config=config)
    caught.value.args[1].close()
    db = migrate_graph.setup_db(
        migrate=True, migrate_enabled=True, impl_feat_table_name=table, config=config, remove_migrate_tablefile=True
    )
    migrate_graph.mark_migration(db, "done", True)
    db.commit()
    db.close()

    @migration
    def done(db: object) -> bool:
        raise AssertionError("it is recorded")

    config.migrate_table = table
    assert migrate_graph.activate_migrations(config) is True


@pytest.mark.postgres
@pytest.mark.parametrize("schema", ["app", "Mixed Case", 'quo"te', "a'; DROP SCHEMA public; --"])
def test_d26_any_name_of_the_schema(postgres_uri: str, schema: str) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    with psycopg2.connect(postgres_uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {quoted}")
    config = Config.load({"migrate_uri": postgres_uri, "schema": schema})

    @migration
    def creates(db: object) -> bool:
        db.executesql("CREATE TABLE here (id int)")  # type: ignore[attr-defined]
        return True

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SELECT current_schema(), count(*) FROM here") == [(schema, 0)]
    db.close()


@pytest.mark.postgres
def test_schema_false_leaves_the_search_path_alone(postgres_uri: str) -> None:
    config = Config.load({"migrate_uri": postgres_uri, "schema": False})

    @migration
    def looks(db: object) -> bool:
        return db.executesql("SHOW search_path") == [('"$user", public',)]  # type: ignore[attr-defined]

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SHOW search_path") == [('"$user", public',)]
    db.close()


@pytest.mark.postgres
@pytest.mark.parametrize("long_running", [True, 60])
def test_a_server_without_pgpool_is_tolerated(postgres_uri: str, long_running: bool | int) -> None:
    config = Config.load({"migrate_uri": postgres_uri})
    migrate_graph.activate_migrations(config)
    db = migrate_graph.setup_db(long_running=long_running, appname="é" * 100, config=config)
    assert db.executesql("SELECT application_name <> '' FROM pg_stat_activity WHERE pid = pg_backend_pid()") == [
        (True,)
    ]
    db.close()


def test_a_typedal_where_the_project_uses_it(database_uri: str) -> None:
    from typedal import TypeDAL

    config = Config.load({"migrate_uri": database_uri, "use_typedal": True})
    seen: list[type] = []

    @migration
    def looks(db: object) -> bool:
        seen.append(type(db))
        return True

    assert migrate_graph.activate_migrations(config) is True
    db = migrate_graph.setup_db(config=config)
    assert isinstance(db, TypeDAL)
    assert seen == [TypeDAL]
    assert [row.name for row in db(db.ewh_implemented_features).select()] == ["looks"]
    db.close()


def test_an_own_class_of_dal(config: Config) -> None:
    from pydal import DAL

    class Own(DAL):
        pass

    migrate_graph.activate_migrations(config)
    db = migrate_graph.setup_db(dal_class=Own, config=config)
    assert type(db) is Own
    db.close()


def test_db_folder_is_where_pydal_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    config = Config.load({"migrate_uri": "sqlite://relative.db", "db_folder": str(tmp_path / "files")})

    @migration
    def fine(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config) is True
    assert (tmp_path / "files" / "relative.db").exists()
    assert list(installed(config)) == ["fine"]


def test_d08_a_locked_database_is_not_an_uninitialised_one(config: Config) -> None:
    migrate_graph.activate_migrations(config)
    with sqlite3.connect(config.migrate_uri.removeprefix("sqlite://"), isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            migrate_graph.setup_db(config=config)
