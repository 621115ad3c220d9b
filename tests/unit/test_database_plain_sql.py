"""What plain statements do, told from their text."""

from __future__ import annotations

import pytest

from migrate_graph.database.views.plain_sql import PlainChanges, plain_changes


@pytest.mark.parametrize(
    ("statements", "dropped", "created"),
    [
        (["DROP VIEW v"], ("v",), ()),
        (["drop view if exists v, a.\"W\" restrict ;"], ("v", 'a."W"'), ()),
        (["DROP VIEW b", "DROP VIEW a"], ("b", "a"), ()),
        (["CREATE VIEW v AS SELECT ';' AS x"], (), ("v",)),
        (["create view a.v (x) as select 1", "COMMENT ON VIEW a.v IS 'x'", "GRANT SELECT ON a.v TO r;"], (), ("a.v",)),
        (['\n CREATE VIEW "o""dd"(x) AS SELECT 1;\n'], (), ('"o""dd"',)),
        (["DROP VIEW v", "CREATE VIEW v AS SELECT 1"], ("v",), ("v",)),
        ([], (), ()),
    ],
)  # fmt: skip
def test_plain_statements(statements: list[str], dropped: tuple[str, ...], created: tuple[str, ...]) -> None:
    assert plain_changes(statements) == PlainChanges(dropped, created)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP VIEW v CASCADE",
        "DROP VIEW v; DROP TABLE t",
        "DROP VIEW v /* all */",
        "DROP MATERIALIZED VIEW v",
        "DROP TABLE t",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE MATERIALIZED VIEW v AS SELECT f()",
        "CREATE VIEW v AS SELECT 1; DROP VIEW w CASCADE",
        "CREATE VIEW v AS SELECT $$; DROP VIEW w$$",
        "CREATE VIEW %s AS SELECT 1",
        "CREATE SCHEMA s CREATE VIEW v AS SELECT 1",
        "ALTER VIEW v RENAME TO w",
        "SELECT drops_all()",
        "DO 'BEGIN DROP VIEW v CASCADE; END'",
        "GRANT SELECT ON v TO r; DROP VIEW w",
        "",
    ],
)
def test_what_may_do_more_is_not_plain(statement: str) -> None:
    assert plain_changes(["DROP VIEW other", statement]) is None
