"""A program's database from a backup."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg2
import pytest
from compat_programs import installed, psql_on_path, three, write
from servers import postgres_binaries

import migrate_graph
from migrate_graph import Config, migration
from migrate_graph.errors import (
    ExitCode,
    RestoreError,
)

pytestmark = pytest.mark.usefixtures("new_process")


LEDGER = "CREATE TABLE ewh_implemented_features (id {serial} PRIMARY KEY, name VARCHAR(512) UNIQUE, installed CHAR(1), last_update_dttm TIMESTAMP);\n"


@pytest.fixture
def dump(tmp_path: Path, database_uri: str) -> Path:
    serial = "SERIAL" if database_uri.startswith("postgres") else "INTEGER"
    text = LEDGER.format(serial=serial) + (
        "INSERT INTO ewh_implemented_features (name, installed) VALUES ('m_1', 'T');\nCREATE TABLE m (id int);\n"
    )
    return write(tmp_path / "backup.sql", text)


def test_an_empty_database_is_made_from_the_backup_and_then_migrated(
    tmp_path: Path, database_uri: str, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql_on_path(monkeypatch)
    write(tmp_path / "migrations.py", three())
    config = Config.load({"migrate_uri": database_uri, "database_to_restore": str(dump)})
    assert migrate_graph.console_hook([], config=config) == 0
    assert installed(config) == {"m_1": True, "m_2": True, "m_3": True}
    db = migrate_graph.setup_db(config=config)
    assert db.executesql("SELECT id FROM m") == [(2,)]
    db.close()


def test_d08_a_database_with_relations_and_no_ledger_is_refused(tmp_path: Path, database_uri: str, dump: Path) -> None:
    config = Config.load({"migrate_uri": database_uri, "database_to_restore": str(dump), "migrate_table": "typo"})
    if database_uri.startswith("postgres"):
        with psycopg2.connect(database_uri) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE live (id int)")
    else:
        with sqlite3.connect(database_uri.removeprefix("sqlite://")) as database:
            database.execute("CREATE TABLE live (id int)")
    write(tmp_path / "migrations.py", three())
    assert migrate_graph.console_hook([], config=config) == ExitCode.RESTORE
    with pytest.raises(RestoreError, match="is not empty"):
        migrate_graph.recover_database_from_backup(config=config)


@pytest.mark.parametrize("typedal", [False, True])
@pytest.mark.parametrize("folder", [None, "files", "absolute"])
def test_d15a_one_sqlite_file_for_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str | None, typedal: bool
) -> None:
    """2.1.0 restored into another file than it used; TypeDAL by itself takes yet another one."""
    write(
        tmp_path / "backup.sql",
        LEDGER.format(serial="INTEGER") + "INSERT INTO ewh_implemented_features (name) VALUES ('old');\n",
    )
    write(tmp_path / "migrations.py", three())
    folder = str(tmp_path / "absolute") if folder == "absolute" else folder
    directory = tmp_path / (folder or "")
    directory.mkdir(exist_ok=True)
    config = Config.load(
        {
            "migrate_uri": "sqlite://relative.db",
            "db_folder": folder,
            "use_typedal": typedal,
            "database_to_restore": "backup.sql",
        }
    )
    assert migrate_graph.console_hook([], config=config) == ExitCode.OK
    assert set(installed(config)) == {"old", "m_1", "m_2", "m_3"}
    assert list(tmp_path.rglob("*.db")) == [directory / "relative.db"]
    assert list(tmp_path.rglob("*.lock")) == [directory / "relative.db.migrate.lock"]
    monkeypatch.chdir("/")
    if folder and Path(folder).is_absolute():
        assert set(installed(config)) == {"old", "m_1", "m_2", "m_3"}


def test_recover_alone(database_uri: str, dump: Path) -> None:
    config = Config.load({"migrate_uri": database_uri, "database_to_restore": str(dump)})
    migrate_graph.recover_database_from_backup("public", config, postgres_binaries() / "psql")
    assert installed(config) == {"m_1": True}
    with pytest.raises(RestoreError, match="already has the table"):
        migrate_graph.recover_database_from_backup(config=config)


def test_a_backup_that_is_absent_is_caught_as_a_file_that_is_absent(config: Config) -> None:
    config.database_to_restore = "absent.sql"
    with pytest.raises(FileNotFoundError) as caught:
        migrate_graph.recover_database_from_backup(config=config)
    assert isinstance(caught.value, RestoreError)


def test_the_default_backup_may_be_absent_and_a_configured_one_may_not(config: Config) -> None:
    @migration
    def fine(db: object) -> bool:
        return True

    assert migrate_graph.activate_migrations(config) is True
    other = Config.load({"migrate_uri": config.migrate_uri + "2", "database_to_restore": "absent.sql"})
    with pytest.raises(RestoreError, match="does not exist"):
        migrate_graph.activate_migrations(other)
