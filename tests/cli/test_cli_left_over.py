"""Views whose window is closed, and that nothing has dropped: without `weave = "windows"` only a migration drops them."""

from __future__ import annotations

import json

import pytest
from bodies import ask

PROJECT = """
from migrate_graph import SqlView, migration


class U(SqlView):
    since = "m1"
    query = "SELECT id, a FROM t"


class V(SqlView):
    since = "m1"
    until = "m2"
    uses = (U,)
    query = "SELECT id FROM u"


@migration
def m1(db):
    db.executesql("CREATE TABLE t (id integer, a integer)")
    with U(db), V(db):
        pass
    return True


@migration(requires=m1, down=lambda db: True)
def m2(db):
    {m2}
    return True


@migration(requires=m2)
def m3(db):
    with U(db):
        pass
    return True
"""


def text_of(shell, *words: str) -> str:
    done = shell(*words)
    assert done.code == 0, done.out + done.err
    return " ".join(done.out.split())


@pytest.fixture
def closed(shell, database_uri: str):
    """A project whose V is created, and whose window the next migration closes."""
    shell.env["MIGRATE_URI"] = database_uri
    shell.write("migrations.py", PROJECT.format(m2="db.executesql('ALTER TABLE t ADD COLUMN b integer')"))
    assert shell("apply", "--to", "m1").code == 0
    return shell


def test_status_says_that_a_retired_view_is_still_there_and_how_to_drop_it(closed) -> None:
    assert "still in the database" not in text_of(closed, "status")
    assert closed("apply", "--to", "m2").code == 0
    told = text_of(closed, "status")
    assert "V retired (until m2) still in the database:" in told
    assert "write `DROP VIEW` in a migration" in told
    assert "state retired still in the database:" in text_of(closed, "show", "V")
    _, v = json.loads(closed("status", "--json").out)["views"]
    assert v["retired"]
    assert [each.strip('"').removeprefix("public.") for each in v["left_over"]] == ["v"]
    drops = "\n\n@migration(requires=m2)\ndef m4(db):\n    db.executesql('DROP VIEW v')\n    return True\n"
    closed.write("migrations.py", PROJECT.format(m2="pass") + drops)
    assert closed("apply", "--to", "m4").code == 0
    assert "V retired (until m2)" in text_of(closed, "status")
    assert "still in the database" not in text_of(closed, "status")


def test_show_says_that_a_view_was_dropped_by_hand(closed, database_uri: str) -> None:
    """It read the records only, so that such a view lived, with nothing missing."""
    ask(database_uri, "DROP VIEW v", "SELECT 1")
    assert "not in the database:" in text_of(closed, "show", "V")
    (shown,) = json.loads(closed("show", "V", "--json").out)["nodes"]
    assert len(shown["missing"]) == 1


def test_a_block_that_opens_the_view_in_its_until_brings_it_up_once_more_and_the_plan_says_so(
    shell, database_uri: str
) -> None:
    shell.env["MIGRATE_URI"] = database_uri
    shell.write("migrations.py", PROJECT.format(m2="with V(db): pass"))
    assert shell("apply", "--to", "m1").code == 0
    told = text_of(shell, "plan", "--to", "m2")
    assert "down V up V ends V, which stays unless the body drops it" in told
    assert "gone" not in told
    assert shell("apply", "--to", "m2").code == 0
    assert ask(database_uri, "SELECT count(*) FROM v") == [(0,)]
    assert "still in the database" in text_of(shell, "status")


def test_the_plan_promises_no_drop_of_a_view_whose_window_closes_unopened(closed) -> None:
    """It said "gone", although nothing but the body could drop it."""
    told = text_of(closed, "plan", "--to", "m2")
    assert "ends V, which stays unless the body drops it" in told
    assert "gone" not in told


def test_windows_drop_what_they_close_and_a_successor_what_it_replaces(closed) -> None:
    closed.env["MIGRATE_WEAVE"] = "windows"
    assert "gone V" in text_of(closed, "plan", "--to", "m2")


def test_down_of_a_manager_drops_a_left_over_view(closed, database_uri: str) -> None:
    """It counted as opening the view, which is an error after its `until`."""
    assert closed("apply", "--to", "m2").code == 0
    drops = "\n\n@migration(requires=m2)\ndef m4(db):\n    V(db).down()\n    return True\n"
    closed.write("migrations.py", PROJECT.format(m2="pass") + drops)
    assert "MG208" not in text_of(closed, "check")
    assert "up V" not in text_of(closed, "plan", "--to", "m4")
    assert closed("apply", "--to", "m4").code == 0
    assert "still in the database" not in text_of(closed, "status")


def test_what_a_retired_view_blocks_is_told_with_its_manager(closed) -> None:
    assert closed("apply", "--to", "m2").code == 0
    failed = closed("apply")
    assert failed.code == 1
    assert "reads it, and its window is closed: drop it before this statement (`DROP VIEW`)" in " ".join(
        failed.err.split()
    )
    assert "views adopt" not in failed.err


def test_a_successor_of_the_same_name_is_not_left_over(shell, database_uri: str) -> None:
    shell.env["MIGRATE_URI"] = database_uri
    newer = 'class W(SqlView):\n    name = "v"\n    since = "m2"\n    replaces = V\n    uses = (U,)\n    query = "SELECT id, a FROM u"\n\n\n'
    text = PROJECT.format(m2="with W(db): pass")
    shell.write("migrations.py", text.replace("@migration\n", newer + "@migration\n"))
    assert shell("apply").code == 0
    told = text_of(shell, "status")
    assert "V retired" in told
    assert "still in the database" not in told


@pytest.mark.parametrize(
    "m2",
    ["pass", "with V(db): pass", "with U(db): pass", "db.executesql('DROP VIEW v')"],
    ids=["left alone", "opened", "below it opened", "dropped"],
)
def test_a_retired_view_is_there_once_when_its_until_is_reverted(shell, database_uri: str, m2: str) -> None:
    """What was left over went not down, so that it could not come up: it existed already."""
    shell.env["MIGRATE_URI"] = database_uri
    shell.write("migrations.py", PROJECT.format(m2=m2))
    assert shell("apply", "--to", "m1").code == 0
    if database_uri.startswith("postgres"):
        ask(database_uri, "COMMENT ON VIEW v IS 'kept'")
    applied = shell("apply", "--to", "m2")
    assert applied.code == 0, applied.err
    assert "down for good" not in text_of(shell, "revert", "m2", "--plan")
    undone = shell("revert", "m2", "--yes")
    assert undone.code == 0, undone.err
    assert ask(database_uri, "SELECT count(*) FROM v") == [(0,)]
    assert "V lives" in text_of(shell, "status")
    if database_uri.startswith("postgres") and "DROP" not in m2:
        assert ask(database_uri, "SELECT obj_description('v'::regclass)") == [("kept",)]
    assert shell("apply", "--to", "m2").code == 0
