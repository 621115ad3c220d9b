"""A revert of several migrations counts data under the names from before it: its own steps rename tables and columns, and make others."""

from __future__ import annotations

import pytest
from revert_stand import Shop

from migrate_graph.errors import DecisionNeeded

TEXT = """
from migrate_graph import migration


def by(*statements):
    def run(db):
        for statement in statements:
            db.executesql(statement)
        return True

    return run


{migrations}
"""

ONE = "CREATE TABLE one (id integer, a integer)", "DROP TABLE one"
EXTRA = "ALTER TABLE one ADD COLUMN extra integer", "ALTER TABLE one DROP COLUMN extra"
NO_EXTRA = EXTRA[1], EXTRA[0]
NO_ONE = ONE[1], ONE[0]
OTHER_COLUMN = "ALTER TABLE one RENAME COLUMN extra TO more", "ALTER TABLE one RENAME COLUMN more TO extra"
OTHER_TABLE = "ALTER TABLE one RENAME TO two", "ALTER TABLE two RENAME TO one"
EMPTY = "INSERT INTO one VALUES (7, 7)", "DELETE FROM one"

CASES = {
    "a column that a step makes again": ([ONE, EXTRA, NO_EXTRA], "INSERT INTO one VALUES (1, 2)", "extra", ""),
    "a column and a table that steps rename": (
        [ONE, EXTRA, OTHER_COLUMN, OTHER_TABLE, ("ALTER TABLE two ADD COLUMN b integer", "ALTER TABLE two DROP COLUMN b")],
        "INSERT INTO two VALUES (1, 2, 3, 4)",
        "extra",
        "column two.b (1 value), column two.more (1 value)",
    ),
    "a table that a step renames": ([ONE, OTHER_TABLE], "INSERT INTO two VALUES (1, 2)", "one", "table two (1 row)"),
    "a table that a step makes again": ([ONE, NO_ONE], "", "one", ""),
    "rows of a table that a step renames": ([ONE, EMPTY, OTHER_TABLE], "", "rows", "rows of two (1 row)"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_data_is_counted_under_the_names_from_before_the_revert(case: str, shop: Shop) -> None:
    pairs, rows, undone, told = CASES[case]
    names = {"one": 1, "extra": 2, "rows": 2}
    lines, before = [], "[]"
    for number, (up, down) in enumerate(pairs, 1):
        lines.append(
            f"@migration(requires={before}, down=by({down!r}))\ndef m_{number}(db):\n    return by({up!r})(db)\n"
        )
        before = f"m_{number}"
    text = TEXT.format(migrations="\n\n".join(lines))
    assert shop.apply(text) == 0
    if rows:
        shop.run(rows)
    name = f"m_{names[undone]}"
    if not told:
        assert shop.revert(name, text, with_dependents=True) == 0
        return
    with pytest.raises(DecisionNeeded) as refused:
        shop.revert(name, text, with_dependents=True)
    assert refused.value.message.partition("this data goes: ")[2].replace("public.", "") == told


CUT = """
@migration(down=by("ALTER TABLE one ALTER COLUMN c TYPE varchar(3) USING c::varchar(3)"))
def m_1(db):
    db.executesql("CREATE TABLE one (c text)")
    return True


@migration(requires=m_1, down=by("ALTER TABLE two RENAME COLUMN d TO c", "ALTER TABLE two RENAME TO one"))
def m_2(db):
    db.executesql("ALTER TABLE one RENAME TO two")
    db.executesql("ALTER TABLE two RENAME COLUMN c TO d")
    return True
"""


@pytest.mark.postgres
def test_values_that_another_type_cuts_are_counted_under_the_names_from_before(shop: Shop) -> None:
    if not shop.uri.startswith("postgres"):
        pytest.skip("the types of SQLite's columns cut nothing")
    text = TEXT.format(migrations=CUT)
    assert shop.apply(text) == 0
    shop.run("INSERT INTO two VALUES ('abc'), ('abcd')")
    with pytest.raises(DecisionNeeded, match=r"values of public\.two\.d, which become .*\(1 value\)"):
        shop.revert("m_1", text, with_dependents=True)
