"""Views that come up with their windows: what the commands say of them, and whole projects that never open a manager."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from bodies import ask

from migrate_graph.database.sqlite.backend import SqliteBackend
from migrate_graph.reports import schemas

PROJECT = """
from migrate_graph import SqlView, migration


class Totals(SqlView):
    uses = ()
    since = "create_20260101_001"
    query = "SELECT id, a FROM t"


class Best(SqlView):
    uses = (Totals,)
    since = "create_20260101_001"
    until = "third_20260103_003"
    query = "SELECT a FROM totals"


class NewTotals(SqlView):
    name = "totals"
    uses = ()
    since = "second_20260102_002"
    replaces = Totals
    query = "SELECT id, a, b FROM t"


class Old(SqlView):
    uses = (Totals,)
    query = "SELECT id FROM totals"


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id int, a int)")
    return True


def undo(db):
    return True


def shrink(db):
    db.executesql("ALTER TABLE t DROP COLUMN b")
    return True


@migration(requires=create_20260101_001, down=shrink)
def second_20260102_002(db):
    db.executesql("ALTER TABLE t ADD COLUMN b int")
    return True


@migration(requires=second_20260102_002, down=undo)
def third_20260103_003(db):
    return True
"""
SETTINGS = '[tool.migrate]\nweave = "windows"\n'


@pytest.fixture
def shop(shell: Any, database_uri: str) -> Any:
    """A project whose migrations never write `with`."""
    shell.env["MIGRATE_URI"] = database_uri
    shell.write("pyproject.toml", SETTINGS)
    shell.write("migrations.py", PROJECT)
    return shell


@pytest.fixture
def on_postgres(shell: Any, postgres_server: Any, postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same on PostgreSQL, whose programs are found."""
    shell.env["MIGRATE_URI"] = postgres_uri
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    shell.write("pyproject.toml", SETTINGS)
    shell.write("migrations.py", PROJECT)
    return shell


def there(shell: Any) -> dict[str, bool]:
    """Return which views are in the database, as `status` says."""
    found = shell("status", "--json").json
    return {each["name"]: each["lives"] and not each["missing"] and not each["down"] for each in found["views"]}


def test_the_plan_says_what_the_run_does(shop: Any) -> None:
    assert shop("check").code == 0
    plan = shop("plan", "--json").json
    assert [(each["creates"], each["views_up"], each["retires"]) for each in plan["steps"]] == [
        (["Totals", "Best"], ["Totals", "Best"], []),
        (["NewTotals"], ["NewTotals", "Best"], ["Totals"]),
        (["Old"], ["Old"], ["Best"]),
    ]
    text = shop("plan").out
    assert "new   Totals, Best" in text
    is_sqlite = shop.env["MIGRATE_URI"].startswith("sqlite")
    stays = {"NewTotals": "in place", "Best": "in place"}
    assert [each["views_how"] for each in plan["steps"]] == [{}, {} if is_sqlite else stays, {}]
    assert (
        "how   NewTotals, Best: up all the time, where the server can replace what changes" in text
    ) is not is_sqlite
    assert shop("plan", "--graph", "plan.mmd").code == 0
    picture = (shop.path / "plan.mmd").read_text(encoding="utf-8")
    assert "NewTotals" in picture
    run = shop("apply", "--json")
    events = [(each["type"], each["view"]) for each in run.lines if each["type"].startswith("view_")]
    handed_over = [("view_replace", "NewTotals")]
    if shop.env["MIGRATE_URI"].startswith("sqlite"):
        handed_over = [
            ("view_drop", "Best"),
            ("view_drop", "Totals"),
            ("view_create", "NewTotals"),
            ("view_create", "Best"),
        ]
    assert events == [
        ("view_create", "Totals"), ("view_create", "Best"), *handed_over, ("view_drop", "Best"), ("view_create", "Old"),
    ]  # fmt: skip
    assert there(shop) == {"Totals": False, "Best": False, "NewTotals": True, "Old": True}
    assert shop("plan", "--check").code == 0
    assert shop("check", "--history").code == 0


def test_a_view_that_is_missing_says_when_it_comes_up(shop: Any) -> None:
    assert shop("apply", "--to", "second_20260102_002").code == 0
    assert "not in the database: old; it comes up with third_20260103_003" in " ".join(shop("status").out.split())
    assert shop("apply").code == 0
    shop.write(
        "migrations.py",
        PROJECT.replace(
            "class Old(", "class Late(SqlView):\n    uses = ()\n    query = 'SELECT id FROM t'\n\n\nclass Old("
        ),
    )
    assert "not in the database: late; it comes up with the next migration" in " ".join(shop("status").out.split())


def test_why_says_where_a_view_comes_up(shop: Any) -> None:
    answer = shop("why", "Best")
    assert "comes up in create_20260101_001, second_20260102_002" in " ".join(answer.out.split())
    assert "brings up NewTotals, Best" in " ".join(shop("why", "second_20260102_002").out.split())
    document = shop("why", "Old", "--json").json
    jsonschema.validate(document, json.loads((files(schemas) / "why-1.json").read_text(encoding="utf-8")))
    assert document["comes_up_with"] == ["third_20260103_003"]


def test_a_revert_takes_away_what_its_window_opened(shop: Any) -> None:
    assert shop("apply").code == 0
    assert shop("revert", "second_20260102_002", "--with-dependents", "--yes").code == 0
    assert there(shop) == {"Totals": True, "Best": True, "NewTotals": False, "Old": True}
    assert shop("apply").code == 0
    assert there(shop) == {"Totals": False, "Best": False, "NewTotals": True, "Old": True}


def test_views_that_exist_already_are_left_alone(on_postgres: Any) -> None:
    """Whoever has marked the migrations made the views himself, in words of his own."""
    uri = on_postgres.env["MIGRATE_URI"]
    assert on_postgres("mark", "create_20260101_001", "--installed").code == 0
    for each in (
        "CREATE TABLE t (id int, a int)", "CREATE VIEW totals AS (SELECT t.id, a AS a FROM t)", "CREATE VIEW best AS SELECT a FROM totals",
    ):  # fmt: skip
        ask(uri, each)
    before = ask(uri, "SELECT 'totals'::regclass::oid")
    shown = on_postgres("plan", "--json").json
    assert shown["steps"][0]["creates"] == ["NewTotals"]
    ends = 'class Totals(SqlView):\n    until = "third_20260103_003"\n'
    on_postgres.write("migrations.py", PROJECT.replace("class Totals(SqlView):\n", ends))
    ran = on_postgres("apply", "--json")
    assert ran.code == 0
    dropped = [each["view"] for each in ran.lines if each["type"] == "view_drop"]
    assert dropped == ["Best"], "what is there when the first one ends is its successor's"
    assert before == ask(uri, "SELECT 'totals'::regclass::oid")
    assert ask(uri, "SELECT b FROM totals") == []


def test_what_is_faked_and_not_there_comes_up_with_the_next_step(shop: Any) -> None:
    shop.write("migrations.py", PROJECT.replace("CREATE TABLE t", "CREATE TABLE IF NOT EXISTS t"))
    assert shop("apply", "--to", "create_20260101_001").code == 0
    assert shop("apply", "--fake", "--to", "second_20260102_002").code == 0
    shop.write(
        "migrations.py", PROJECT.replace('query = "SELECT id, a, b FROM t"', 'query = "SELECT id, a, 1 AS b FROM t"')
    )
    plan = shop("plan", "--json").json
    assert [each["creates"] for each in plan["steps"]] == [["NewTotals", "Old"]]
    assert shop("apply").code == 0
    assert there(shop) == {"Totals": False, "Best": False, "NewTotals": True, "Old": True}


ALONE = """
from migrate_graph import SqlView, migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id int, a int)")
    return True
"""
SIDE_BY_SIDE = """

class Late(SqlView):
    uses = ()
    since = create_20260101_001
    query = "SELECT id FROM t"


class OneView(SqlView):
    uses = (Late,)
    since = "one_20260102_001"
    query = "SELECT one.id FROM one, late"


class TwoView(SqlView):
    uses = (OneView,)
    since = "two_20260102_003"
    query = "SELECT two.id FROM two, one_view"


class AllOfThem(SqlView):
    uses = ()
    query = "SELECT one.id FROM one, side, two, three"


@migration(requires=create_20260101_001)
def one_20260102_001(db):
    db.executesql("CREATE TABLE one (id int)")
    return True


@migration(requires=create_20260101_001)
def side_20260102_002(db):
    db.executesql("CREATE TABLE side (id int)")
    return True


@migration(requires=create_20260101_001)
def two_20260102_003(db):
    db.executesql("CREATE TABLE two (id int)")
    return True


@migration(requires=create_20260101_001)
def three_20260102_004(db):
    db.executesql("CREATE TABLE three (id int)")
    return True
"""


@pytest.mark.postgres
def test_side_by_side_they_come_up_as_planned(on_postgres: Any) -> None:
    on_postgres.write("migrations.py", ALONE)
    assert on_postgres("apply").code == 0
    on_postgres.write("migrations.py", ALONE + SIDE_BY_SIDE)
    plan = on_postgres("plan", "--json").json
    assert [each["creates"] for each in plan["steps"]] == [["Late", "OneView"], [], ["TwoView"], ["AllOfThem"]]
    ran = on_postgres("apply", "--jobs", "3")
    assert ran.code == 0, ran.err
    assert there(on_postgres) == dict.fromkeys(("Late", "OneView", "TwoView", "AllOfThem"), True)


@pytest.mark.parametrize("command", [("plan", "--rehearse"), ("verify",)])
def test_tries_do_the_same(
    shop: Any, command: tuple[str, ...], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shop.env["MIGRATE_URI"].startswith("postgres"):
        server = request.getfixturevalue("postgres_server")
        monkeypatch.setenv("PATH", str(server.binaries), prepend=os.pathsep)
        request.getfixturevalue("may_create_databases")
    done = shop(*command)
    assert done.code == 0, done.out + done.err


def test_what_the_database_has_is_looked_up_once_before_the_run_and_once_after_it(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan, and the run that follows it, are of one reading."""
    shell.write("pyproject.toml", '[tool.migrate]\nmigrate_uri = "sqlite://x.db"\nweave = "windows"\n')
    first = "from migrate_graph import SqlView, migration\n\n@migration\ndef a_1(db):\n    return True\n"
    shell.write("migrations.py", first)
    assert shell("apply").code == 0
    later = "\nclass V(SqlView):\n    since = a_1\n    query = 'SELECT 1 AS n'\n\n@migration\ndef b_2(db):\n    return True\n"
    shell.write("migrations.py", first + later)
    asked: list[list[str]] = []
    ask = SqliteBackend.view_presences

    def heard(backend: SqliteBackend, managers: dict[str, type]) -> Any:
        asked.append([*managers])
        return ask(backend, managers)

    monkeypatch.setattr(SqliteBackend, "view_presences", heard)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    assert asked == [["V"], ["V"]]
