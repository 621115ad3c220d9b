"""A database that edwh-migrate 2.1.0 made is used in place, and 2.1.0 can still read what we write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from fault_field import Field

MIGRATIONS = """
from edwh_migrate import migration

@migration
def create_customer_20250101_001(db):
    raise AssertionError("installed already")
    return True

@migration(requires=create_customer_20250101_001)
def add_invoice_20250102_001(db):
    raise AssertionError("installed already")
    return True

@migration
def import_failed_20250103_001(db):
    assert db(db.ewh_implemented_features.installed == True).count() == 2
    db.executesql("INSERT INTO customer (id, name) VALUES (1, 'Ada')")
    return True

@migration(requires=import_failed_20250103_001)
def new_20260101_001(db):
    return False
"""


def _taken_over(field: Field) -> None:
    kind = "postgres" if field.is_postgres else "sqlite"
    dump = Path(__file__).with_name(f"made_by_2_1_0_{kind}.sql").read_text()
    if field.is_postgres:
        field.query(dump)
    else:
        with closing(sqlite3.connect(field.uri.partition("://")[2])) as connection:
            connection.executescript(dump)
    field.write(MIGRATIONS)


def test_a_database_of_2_1_0_is_used_in_place(anywhere: Field) -> None:
    _taken_over(anywhere)
    status = anywhere.migrate("status")
    assert status.code == 0, status.output
    assert anywhere.read().journal == [], "a reading command writes nothing"
    ended = anywhere.apply()
    assert ended.code == 1
    assert "ok import_failed_20250103_001" in ended.output
    state = anywhere.probe()
    assert state.ledger == {
        "create_customer_20250101_001": "T", "add_invoice_20250102_001": "T", "import_failed_20250103_001": "T", "new_20260101_001": "F",
    }  # fmt: skip


def test_what_we_write_is_read_back_as_2_1_0_reads_it(anywhere: Field) -> None:
    """It defines the table with pyDAL and asks for `installed == True`; the columns are the four it knows."""
    _taken_over(anywhere)
    anywhere.apply()
    anywhere.wait_until_quiet()
    from pydal import DAL
    from pydal import Field as Column

    db: Any = DAL(anywhere.uri, folder=str(anywhere.path), migrate=False)
    try:
        db.define_table(
            "ewh_implemented_features",
            Column("name", unique=True),
            Column("installed", "boolean", default=False),
            Column("last_update_dttm", "datetime"),
        )
        table = db.ewh_implemented_features
        installed = [row.name for row in db(table.installed == True).select(table.name, orderby=table.id)]  # noqa: E712 - pyDAL's query
        rows = db(table.id > 0).select()
    finally:
        db.close()
    assert installed == ["create_customer_20250101_001", "add_invoice_20250102_001", "import_failed_20250103_001"]
    assert [row.installed for row in rows if row.name == "new_20260101_001"] == [False]
    assert all(row.last_update_dttm.year >= 2026 for row in rows)
    columns = (
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'ewh_implemented_features' ORDER BY ordinal_position"
        if anywhere.is_postgres
        else "SELECT name FROM pragma_table_info('ewh_implemented_features')"
    )
    assert [name for (name,) in anywhere.query(columns)] == ["id", "name", "installed", "last_update_dttm"]
