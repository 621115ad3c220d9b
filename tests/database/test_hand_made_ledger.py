"""A ledger that somebody made by hand may let a name stand twice: a record is then written without that promise."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from stand import Stand

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
