"""`V.renew(db)` in whole projects: what the commands say of it, and that texts are known to have come in."""

from __future__ import annotations

import json
from contextlib import closing
from importlib.resources import files
from typing import Any

import jsonschema
import psycopg2
import pytest

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
    query = "SELECT id FROM totals WHERE a > 1"


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id int, a int, b int)")
    with Totals(db):
        pass
    return True
"""
EDITS = (("SELECT id, a FROM t", "SELECT id, a, b FROM t"), ("WHERE a > 1", "WHERE a > 2"))
RENEWED = """

@migration(requires=create_20260101_001)
def renew_20260102_002(db):
    Totals.renew(db)
    return True
"""
# Beside it the others can run: with --jobs workers are started.
OTHER = "\n\n@migration(requires=create_20260101_001, independent=True)\ndef other_20260102_004(db):\n    return True\n"
pytestmark = pytest.mark.postgres


def oids(uri: str) -> dict[str, int]:
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT relname, oid FROM pg_class WHERE relname IN ('totals', 'best')")
        return dict(cursor.fetchall())


@pytest.fixture
def shop(shell: Any, postgres_uri: str) -> Any:
    """A project whose two views are there, and were edited since."""
    shell.env["MIGRATE_URI"] = postgres_uri
    shell.write("migrations.py", PROJECT)
    assert shell("apply").code == 0
    shell.write("migrations.py", edited())
    return shell


def edited(*, dropped: bool = False) -> str:
    text = PROJECT
    for old, new in EDITS:
        text = text.replace(old, new)
    return text.replace("SELECT id, a, b FROM t", "SELECT a, id FROM t") if dropped else text


def events(ran: Any) -> list[tuple[str, str]]:
    """Return what became of the views, and check every line."""
    schema = json.loads((files(schemas) / "event-1.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in ran.out.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema)
    return [(each["type"], each["view"]) for each in lines if each["type"].startswith("view_")]


def test_an_edit_is_brought_in_while_everything_stays_up(shop: Any) -> None:
    uri = shop.env["MIGRATE_URI"]
    before = oids(uri)
    status = shop("status")
    assert "let one do so: `Totals.renew(db)`" in " ".join(status.out.split())
    assert "`Totals.renew(db)`" in " ".join(shop("check", "--history").out.split())
    shop.write("migrations.py", edited() + RENEWED)
    assert shop("plan", "--json").json["steps"][0]["renews"] == ["Totals", "Best"]
    assert shop("check", "--history").code == 0
    rehearsed = shop("plan", "--rehearse", "--on", "here")
    assert "same     Totals, Best: replaced; what reads them stays up" in rehearsed.out
    told = shop("plan", "--rehearse", "--on", "here", "--json").json
    jsonschema.validate(told, json.loads((files(schemas) / "plan-1.json").read_text(encoding="utf-8")))
    assert told["rehearsal"]["results"][0]["replaced"] == ["Totals", "Best"]
    ran = shop("apply", "--json")
    assert events(ran) == [("view_replace", "Totals"), ("view_replace", "Best")]
    assert ran.code == 0
    assert oids(uri) == before
    assert "text changed" not in shop("status").out
    assert "MG406" not in shop("check", "--history").out


def test_one_view_is_told_in_the_singular_and_several_in_the_plural(shop: Any) -> None:
    told = " ".join(shop("plan").out.split())
    assert "texts changed since they were created, and no step brings them in: Totals, Best; bring them in with" in told
    shop.write("migrations.py", edited() + RENEWED)
    assert "text  Totals, Best, which changed since they were created" in shop("plan").out
    shop.write("migrations.py", edited().replace(*EDITS[0][::-1]))
    told = " ".join(shop("plan").out.split())
    assert "text changed since it was created, and no step brings it in: Best; bring it in with" in told
    shop.write("migrations.py", edited().replace(*EDITS[0][::-1]) + RENEWED)
    assert "text  Best, which changed since it was created" in shop("plan").out


def test_an_edited_reader_gets_its_text_also_where_no_column_was_added(shop: Any) -> None:
    shop.write(
        "migrations.py", edited().replace("SELECT id, a, b FROM t", "SELECT id, a FROM t WHERE id > 0") + RENEWED
    )
    assert events(shop("apply", "--json")) == [("view_replace", "Totals"), ("view_replace", "Best")]
    assert "text changed" not in shop("status").out


def test_where_it_has_to_go_down_it_does(shop: Any) -> None:
    before = oids(shop.env["MIGRATE_URI"])
    shop.write("migrations.py", edited(dropped=True) + RENEWED)
    rehearsed = shop("plan", "--rehearse", "--on", "here")
    assert "stays up" not in rehearsed.out
    ran = shop("apply", "--json")
    assert [name for _, name in events(ran)] == ["Totals", "Best", "Totals", "Totals", "Best"]
    [fell_back] = [each for each in ran.lines if each["type"] == "view_fall_back"]
    assert (fell_back["way"], "cannot change name of view column" in fell_back["reason"]) == ("in place", True)
    assert not oids(shop.env["MIGRATE_URI"]).items() & before.items()
    assert "text changed" not in shop("status").out


@pytest.mark.parametrize("options", [("--atomic",), ("--coalesce",), ("--jobs", "2")], ids=" ".join)
@pytest.mark.parametrize("weave", ["off", "blocked", "windows"])
def test_with_every_way_to_run(shop: Any, weave: str, options: tuple[str, ...]) -> None:
    before = oids(shop.env["MIGRATE_URI"])
    shop.write("pyproject.toml", f'[tool.migrate]\nweave = "{weave}"\n')
    more = (
        "@migration(requires=renew_20260102_002)\ndef more_20260103_003(db):\n    Totals.renew(db)\n    return True\n"
    )
    shop.write("migrations.py", edited() + RENEWED + more + OTHER)
    ran = shop("apply", *options)
    assert ran.code == 0, ran.out + ran.err
    assert ("3 migrations to run, up to 2 at once" in ran.err) is ("--jobs" in options)
    assert "renew_20260102_002: Totals, Best replaced; what reads them stayed up" in " ".join(ran.err.split())
    assert oids(shop.env["MIGRATE_URI"]) == before


def test_views_that_stay_down_for_the_next_migration_come_up_with_their_new_texts(shop: Any) -> None:
    opened = RENEWED.replace("renew_20260102_002", "open_20260102_001").replace(
        "Totals.renew(db)", "with Totals(db):\n        pass"
    )
    both = opened + RENEWED.replace("requires=create_20260101_001", "requires=open_20260102_001")
    shop.write("migrations.py", edited() + both)
    ran = shop("apply", "--coalesce", "--json")
    assert events(ran) == [
        ("view_drop", "Best"),
        ("view_drop", "Totals"),
        ("view_create", "Totals"),
        ("view_create", "Best"),
    ]


def test_beside_others_only_what_the_text_shows(shop: Any) -> None:
    hidden = RENEWED.replace("Totals.renew(db)", "globals()['Totals'].renew(db)")
    shop.write("migrations.py", edited() + hidden + OTHER)
    ran = shop("apply", "--jobs", "2")
    assert ran.code == 1
    assert "@migration(views=[Totals])" in ran.err


def test_it_is_undone_as_it_was_done(shop: Any) -> None:
    """The text is the project's: the way back opens the view, and brings up what the text says by then."""
    shop.write("migrations.py", edited() + RENEWED.replace("(requires", "(down=lambda db: True, requires"))
    assert shop("apply").code == 0
    shop.write("migrations.py", PROJECT + RENEWED.replace("(requires", "(down=lambda db: True, requires"))
    ran = shop("revert", "renew_20260102_002", "--yes")
    assert ran.code == 0, ran.out + ran.err
    assert "text changed" not in shop("status").out
