"""A ledger that somebody made by hand may let a name stand twice, and may say in another type what is installed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from pydal import DAL
from stand import Stand

from migrate_graph import ViewMigrationManager
from migrate_graph.authoring import collecting
from migrate_graph.compat.connections import define_ewh_implemented_features

_COLUMNS = "id serial PRIMARY KEY, name varchar(512), installed char(1), last_update_dttm timestamp"

LEDGERS = {
    "as ours": f"CREATE TABLE ewh_implemented_features ({_COLUMNS}, UNIQUE (name))",
    "no constraint": f"CREATE TABLE ewh_implemented_features ({_COLUMNS})",
    "an index that is not unique": f"CREATE TABLE ewh_implemented_features ({_COLUMNS}); CREATE INDEX ON ewh_implemented_features (name)",
    "unique for some": f"CREATE TABLE ewh_implemented_features ({_COLUMNS}); "
    "CREATE UNIQUE INDEX ON ewh_implemented_features (name) WHERE installed = 'T'",
    "unique with another column": f"CREATE TABLE ewh_implemented_features ({_COLUMNS}, UNIQUE (name, installed))",
    "unique at the commit": f"CREATE TABLE ewh_implemented_features ({_COLUMNS}, UNIQUE (name) DEFERRABLE)",
    "unique in another spelling": f"CREATE TABLE ewh_implemented_features ({_COLUMNS}); "
    "CREATE UNIQUE INDEX ON ewh_implemented_features (lower(name))",
}


@pytest.mark.postgres
@pytest.mark.parametrize("how", [{}, {"atomic": True}], ids=["each by itself", "atomic"])
@pytest.mark.parametrize("ledger", LEDGERS)
def test_each_name_stands_once_however_the_ledger_was_made(ledger: str, how: dict[str, Any], postgres_uri: str) -> None:
    """Also where an earlier attempt has left a row, and where the body writes its own."""
    connection = psycopg2.connect(postgres_uri)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(LEDGERS[ledger])
    cursor.execute("INSERT INTO ewh_implemented_features (name, installed) VALUES ('failed_1', 'F')")

    def failed_1(db: Any) -> bool:
        db.executesql("CREATE TABLE failed (id integer)")
        return True

    def new_2(db: Any) -> bool:
        db.executesql("CREATE TABLE new (id integer)")
        return True

    def itself_3(db: Any) -> bool:
        db.executesql("INSERT INTO ewh_implemented_features (name, installed) VALUES ('itself_3', 'F')")
        return True

    finished = Stand(postgres_uri).run(failed_1, new_2, itself_3, **how)
    assert finished.succeeded, finished.results
    cursor.execute("SELECT name, installed, last_update_dttm IS NULL FROM ewh_implemented_features ORDER BY name")
    assert cursor.fetchall() == [("failed_1", "T", False), ("itself_3", "T", False), ("new_2", "T", False)]
    connection.close()


# In these edwh-migrate finds that a migration is installed: pyDAL takes what begins with a t for true.
INSTALLED = {
    "boolean": ("boolean", True),
    "a small letter": ("char(1)", "t"),
    "a word": ("varchar(10)", "true"),
    "a word of Python": ("text", "True"),
}


def _with_ledger(uri: str, kind: str, *rows: tuple[str, Any]) -> Any:
    """Make a ledger in which `installed` is of a kind; return a connection."""
    of_type, _ = INSTALLED[kind]
    on_postgres = uri.startswith("postgres")
    number, value = ("serial", "%s") if on_postgres else ("integer", "?")
    connect = psycopg2.connect if on_postgres else sqlite3.connect
    connection: Any = connect(uri.removeprefix("sqlite://"))
    cursor = connection.cursor()
    cursor.execute(
        "CREATE TABLE ewh_implemented_features "
        f"(id {number} PRIMARY KEY, name varchar(512), installed {of_type}, last_update_dttm timestamp)"
    )
    cursor.executemany(f"INSERT INTO ewh_implemented_features (name, installed) VALUES ({value}, {value})", rows)
    connection.commit()
    return connection


@pytest.mark.parametrize("how", [{}, {"atomic": True}], ids=["each by itself", "atomic"])
@pytest.mark.parametrize("kind", INSTALLED)
def test_what_2_1_0_takes_for_installed_is_not_run_again(kind: str, how: dict[str, Any], database_uri: str) -> None:
    _, true = INSTALLED[kind]
    _with_ledger(database_uri, kind, ("old_1", true), ("failed_2", False if true is True else "F")).close()
    ran = []

    def old_1(db: Any) -> bool:
        ran.append("old_1")
        return True

    def failed_2(db: Any) -> bool:
        ran.append("failed_2")
        return True

    stand = Stand(database_uri)
    finished = stand.run(old_1, failed_2, requires={"failed_2": ["old_1"]}, **how)
    assert (finished.succeeded, ran) == (True, ["failed_2"])
    assert {name for name, record in stand.history().records.items() if record.installed} == {"old_1", "failed_2"}


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_failure_does_not_take_back_what_another_run_has_recorded_so(kind: str, database_uri: str) -> None:
    _, true = INSTALLED[kind]
    with closing(_with_ledger(database_uri, kind, ("new_1", None))) as other:

        def new_1(db: Any) -> bool:
            db.rollback()  # in SQLite nobody else can write before
            cursor = other.cursor()
            value = "%s" if database_uri.startswith("postgres") else "?"
            cursor.execute(f"UPDATE ewh_implemented_features SET installed = {value} WHERE name = 'new_1'", (true,))
            other.commit()
            raise RuntimeError("this run has lost its lock")

        stand = Stand(database_uri)
        assert not stand.run(new_1).succeeded
    assert stand.history().records["new_1"].installed


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_view_outside_of_a_run_finds_its_window_open(kind: str, database_uri: str) -> None:
    if kind == "boolean" and database_uri.startswith("sqlite"):
        pytest.skip("pyDAL does not take the 1 of SQLite for true")
    _, true = INSTALLED[kind]
    _with_ledger(database_uri, kind, ("old_1", true), ("failed_2", False if true is True else "F")).close()

    with collecting():

        class Opened(ViewMigrationManager):
            uses = ()
            since = "old_1"
            until = "failed_2"

            def up(self) -> None: ...

            def down(self) -> None: ...

    db = DAL(database_uri, migrate=False)
    define_ewh_implemented_features(db, migrate=False)
    assert (Opened(db).check_since(), Opened(db).check_until(), Opened(db).should_run()) == (True, True, True)
    db.close()
