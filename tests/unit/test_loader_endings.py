"""What the text of a body tells about whether it can be part of one transaction."""

import ast
from typing import Any

import pytest

from migrate_graph.loader.endings import what_adds_a_value, what_ends


def _body(*lines: str) -> Any:
    text = "\n".join(["def body(db):", *(f"    {line}" for line in lines), "    return True"])
    return ast.parse(text).body[0]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("db.executesql('COMMIT')", "sends COMMIT"),
        ("db.executesql('  commit and chain')", "sends commit"),
        ("db.executesql('''\n    ROLLBACK;''')", "sends ROLLBACK"),
        ("db.executesql('INSERT INTO t VALUES (1); COMMIT; SELECT 1')", "sends COMMIT"),
        ("db.executesql('END')", "sends END"),
        ("db.executesql('VACUUM t')", "sends VACUUM"),
        ("db.executesql('CREATE UNIQUE INDEX CONCURRENTLY i ON t (id)')", "sends CREATE UNIQUE INDEX CONCURRENTLY"),
        ("db.executesql(f'CREATE INDEX CONCURRENTLY {name} ON t (id)')", "sends CREATE INDEX CONCURRENTLY"),
        ("db.executesql('DROP INDEX CONCURRENTLY i')", "sends DROP INDEX CONCURRENTLY"),
        ("db.executesql('REINDEX TABLE CONCURRENTLY t')", "sends REINDEX TABLE CONCURRENTLY"),
        ("db.executesql('PRAGMA foreign_keys = OFF')", "sends PRAGMA foreign_keys"),
        ("db.executesql(\"ATTACH 'x.db' AS x\")", "sends ATTACH"),
        ("db._adapter.connection.cursor().execute('ALTER SYSTEM SET x = 1')", "sends ALTER SYSTEM"),
        ("db._adapter.connection.autocommit = True", "sets autocommit"),
        ("db._adapter.connection.set_isolation_level(0)", "calls set_isolation_level()"),
        ("db.close()", "calls db.close()"),
        ("if True:\n        db.close()", "calls db.close()"),
    ],
)
def test_what_ends_a_transaction(line: str, what: str) -> None:
    found = what_ends(_body(line))
    assert found is not None
    assert found[1] == what


@pytest.mark.parametrize(
    "line",
    [
        "db.commit()",
        "db.rollback()",
        "db.executesql('ROLLBACK TO SAVEPOINT mine')",
        "db.executesql('ROLLBACK WORK TO mine')",
        "db.executesql('CREATE INDEX i ON t (id)')",
        "db.executesql('REFRESH MATERIALIZED VIEW CONCURRENTLY v')",
        "db.executesql('CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END')",
        "db.executesql('CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$')",
        "db.executesql('ALTER TABLE t DETACH PARTITION p')",
        "db.executesql('SELECT 1', ('COMMIT',))",
        "print('COMMIT')",
        "open('x').close()",
        "db._adapter.connection.autocommit = False",
        "db.executesql(text)",
        "def other(db):\n        db.close()",
    ],
)
def test_what_does_not(line: str) -> None:
    assert what_ends(_body(line)) is None


def test_the_first_line_is_told() -> None:
    assert what_ends(_body("db.commit()", "db.executesql('VACUUM')", "db.executesql('COMMIT')")) == (3, "sends VACUUM")


def test_values_of_enums() -> None:
    assert what_adds_a_value(_body("db.executesql(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad'\")")) == 2
    assert what_adds_a_value(_body("db.executesql('ALTER TYPE mood RENAME TO moods')")) is None
