"""A managed view that goes without its manager (by a function, a trigger, a plain DROP VIEW) is named when the run ends."""

from __future__ import annotations

import pytest
from fault_field import Field

TEXT = """
from migrate_graph import SqlView, migration


class Totals(SqlView):
    uses = ()
    query = "SELECT id FROM base"


class Kept(SqlView):
    uses = ()
    query = "SELECT 1 AS one"


@migration
def create_1(db):
    db.executesql("CREATE TABLE base (id integer)")
    with Totals(db), Kept(db):
        pass
    return True


@migration(requires=create_1, down=lambda db: True)
def dropping_2(db):
    BODY
    return ENDING
"""
TOLD = "1 view not in the database, although no window was closed: Totals (public.totals)"

FUNCTION = (
    "CREATE FUNCTION tidy() RETURNS int LANGUAGE plpgsql AS $$BEGIN DROP TABLE base CASCADE; RETURN 1; END$$",
    "SELECT tidy()",
)
TRIGGER = (
    "CREATE TABLE bell (id integer)",
    "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN DROP TABLE base CASCADE; RETURN NULL; END$$",
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON bell DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tidy()",
    "INSERT INTO bell VALUES (1)",
)
WAYS = {"a function": FUNCTION, "a deferred trigger": TRIGGER, "its name": ("DROP VIEW totals",)}


def _text(*statements: str, end: str = "True") -> str:
    body = "\n    ".join(f"db.executesql({each!r})" for each in statements)
    return TEXT.replace("BODY", body).replace("ENDING", end)


@pytest.mark.parametrize("words", [(), ("--atomic",)], ids=["each", "atomic"])
@pytest.mark.parametrize("way", WAYS)
def test_a_view_that_something_has_dropped_is_named(way: str, words: tuple[str, ...], on_postgres: Field) -> None:
    on_postgres.write(_text(*WAYS[way]))
    ended = on_postgres.apply(*words)
    assert ended.code == 0, ended.output
    assert ended.output.count(TOLD) == 1
    assert "Kept" not in ended.output.partition(TOLD)[2].partition("\n")[0]
    assert "not in the database: public.totals" in on_postgres.migrate("status").output
    assert TOLD not in on_postgres.apply().output, "nothing has run"


def test_on_sqlite_too(on_sqlite: Field) -> None:
    on_sqlite.write(_text("DROP VIEW totals"))
    ended = on_sqlite.apply()
    assert ended.code == 0, ended.output
    assert TOLD.replace("public.totals", '"totals"') in ended.output


def test_a_run_that_fails_later_names_it(on_postgres: Field) -> None:
    on_postgres.write(
        _text(*FUNCTION, end="True\n\n\n@migration(requires=dropping_2)\ndef third_3(db):\n    return False")
    )
    ended = on_postgres.apply()
    assert ended.code == 1, ended.output
    assert TOLD in ended.output


def test_a_view_whose_window_is_closed_is_not_named(anywhere: Field) -> None:
    anywhere.write(
        _text("SELECT 1").replace("uses = ()", "uses = ()\n    until = 'dropping_2'", 1).replace("BODY", "pass")
        .replace("db.executesql('SELECT 1')", "with Totals(db):\n        pass")
    )  # fmt: skip
    ended = anywhere.apply()
    assert ended.code == 0, ended.output
    assert "not in the database" not in ended.output


RETIRED = """
from migrate_graph import SqlView, migration


class Old(SqlView):
    since = "create_1"
    until = "last_2"
    query = "SELECT id FROM base"


class New(SqlView):
    name = "old"
    since = "last_2"
    replaces = Old
    query = "SELECT id, 1 AS one FROM base"


class Gone(SqlView):
    since = "create_1"
    until = "last_2"
    query = "SELECT id FROM base"


@migration
def create_1(db):
    db.executesql("CREATE TABLE base (id integer)")
    return True


@migration(requires=create_1, down=lambda db: True)
def last_2(db):
    return True
"""


def test_views_that_windows_have_closed_are_not_named(anywhere: Field) -> None:
    anywhere.write(RETIRED)
    anywhere.write('[tool.migrate]\nweave = "windows"\n', "pyproject.toml")
    ended = anywhere.apply()
    assert ended.code == 0, ended.output
    assert "not in the database" not in ended.output
    ended = anywhere.migrate("revert", "last_2", "--yes")
    assert ended.code == 0, ended.output
    assert "not in the database" not in ended.output


def test_nor_one_that_the_migration_which_closes_its_window_drops_itself(anywhere: Field) -> None:
    anywhere.write(_text("DROP VIEW totals").replace("uses = ()", "uses = ()\n    until = 'dropping_2'", 1))
    ended = anywhere.apply()
    assert ended.code == 0, ended.output
    assert "not in the database" not in ended.output
