"""Views that are in the way of a `down` step aside as they do for a body, and none of them is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bystanders import bystanding

from migrate_graph.core.events import RunFinished
from migrate_graph.core.states import State
from migrate_graph.workflow.mark import mark as write_marks

if TYPE_CHECKING:
    from revert_stand import Shop

REBUILT = """
from migrate_graph import SqlView, migration

class A(SqlView):
    since = "base_1"
    query = "SELECT id, name FROM one"

class B(SqlView):
    since = "base_1"
    query = "SELECT id FROM a"

@migration
def base_1(db):
    db.executesql("CREATE TABLE one (id int, name varchar(40))")
    db.executesql("CREATE TABLE bystander (id int)")
    db.executesql("CREATE VIEW seen AS SELECT id FROM bystander")
    return True

def rebuild(db, length):
    db.executesql(f"CREATE TABLE other (id int, name varchar({length}))")
    db.executesql("INSERT INTO other SELECT id, name FROM one")
    db.executesql("DROP TABLE one")
    db.executesql("ALTER TABLE other RENAME TO one")
    return True

@migration(requires=base_1, OPTIONS down=lambda db: rebuild(db, 40))
def rebuild_2(db):
    OPEN
    return rebuild(db, 80)
"""

ON_TOP = """
from migrate_graph import SqlView, migration

@migration
def base_1(db):
    db.executesql("CREATE TABLE one (id int)")
    return True

def drop(db):
    db.executesql("DROP TABLE two CASCADE" if db._dbname == "postgres" else "DROP TABLE two")
    return True

@migration(requires=base_1, down=drop)
def two_2(db):
    db.executesql("CREATE TABLE two (id int)")
    return True

class Late(SqlView):
    SINCE
    query = "SELECT two.id FROM two JOIN one ON one.id = two.id"
"""


def _views(shop: Shop) -> list[str]:
    if shop.uri.startswith("postgres"):
        return [
            each for (each,) in shop.run("SELECT viewname::text FROM pg_views WHERE schemaname = 'public' ORDER BY 1")
        ]
    return [each for (each,) in shop.run("SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY 1")]


def _rebuilt(options: str = "", opened: str = "pass") -> str:
    return REBUILT.replace("OPTIONS", options).replace("OPEN", opened)


@pytest.mark.parametrize("opened", ["pass", "with B(db): pass"])
def test_views_step_aside_for_a_down_and_come_up_as_they_were(shop: Shop, opened: str) -> None:
    """Also when a view that is opened around it reads one that steps aside."""
    assert shop.apply(_rebuilt(opened=opened), weave="windows") == 0
    if shop.uri.startswith("postgres"):
        shop.run("GRANT SELECT ON a TO PUBLIC")
    before = shop.facts()
    assert shop.revert("rebuild_2", yes=True, settings={"weave": "windows"}) == 0
    assert _views(shop) == ["a", "b", "seen"]
    assert shop.columns("a") == ["id", "name"]
    after = shop.facts()
    assert after.keys() == before.keys()
    assert {fact for fact in before if before[fact] != after[fact] and fact.kind != "column"} <= {
        fact for fact in before if fact.identity.endswith("one")
    }
    assert shop.state("rebuild_2") is State.REVERTED
    assert shop.apply(weave="windows") == 0


@pytest.mark.parametrize(("options", "weave"), [("weave=False,", "windows"), ("", "off")])
def test_none_steps_aside_where_that_is_switched_off(shop: Shop, options: str, weave: str) -> None:
    """PostgreSQL refuses the statement; SQLite the last one, in front of which a view cannot be read."""
    text = _rebuilt(options).replace("    return rebuild(db, 80)", "    return True")
    assert shop.apply(text, weave="windows") == 0
    before = shop.facts()
    assert shop.revert("rebuild_2", yes=True, settings={"weave": weave}) == 1
    ended = next(event for event in reversed(shop.events) if isinstance(event, RunFinished))
    if shop.uri.startswith("postgres"):
        assert 'steps aside and comes back with `weave = "blocked"`' in (ended.results[0].hint or "")
    assert shop.facts() == before
    assert shop.state("rebuild_2") is State.APPLIED


def test_a_view_that_reads_what_goes_stops_it_and_the_hint_helps(shop: Shop) -> None:
    """PostgreSQL would drop it by CASCADE, and SQLite leave it unreadable."""
    assert shop.apply(ON_TOP.replace("SINCE", "pass"), weave="windows") == 0
    before = shop.facts()
    assert shop.revert("two_2", yes=True, settings={"weave": "windows"}) == 1
    assert shop.facts() == before
    assert shop.state("two_2") is State.APPLIED
    ended = next(event for event in reversed(shop.events) if isinstance(event, RunFinished))
    assert "Late reads two" in (ended.results[0].error or "").replace("main.", "")
    assert 'let Late begin with it (`since = "two_2"`)' in (ended.results[0].hint or "")
    text = ON_TOP.replace("SINCE", 'since = "two_2"')
    assert shop.revert("two_2", text, settings={"weave": "windows"}) == 0
    assert _views(shop) == []
    assert shop.apply(weave="windows") == 0
    assert shop.columns("late") == ["id"]


@pytest.mark.postgres
@pytest.mark.parametrize("database_uri", ["postgres"], indirect=True)
@pytest.mark.parametrize(("unmanaged", "ends"), [("keep", 0), ("refuse", 1)])
def test_a_view_of_nobody_steps_aside_where_it_may(
    shop: Shop, postgres_admin_uri: str, unmanaged: str, ends: int
) -> None:
    """Meanwhile another session creates, locks and drops things of its own, and many views are in nobody's way."""
    assert shop.apply(_rebuilt(), weave="windows") == 0
    shop.run("CREATE VIEW stranger AS SELECT name FROM one")
    shop.run("GRANT SELECT ON stranger TO PUBLIC")
    others = [f"other_{number:03}" for number in range(300)]
    shop.run("; ".join(f"CREATE VIEW {each} AS SELECT id FROM bystander" for each in others))
    numbers = "SELECT oid FROM pg_class WHERE relname LIKE 'other\\____' ORDER BY 1"
    before = shop.run(numbers)
    with bystanding(postgres_admin_uri):
        ended = shop.revert("rebuild_2", yes=True, settings={"weave": "windows", "unmanaged": unmanaged})
    assert ended == ends
    assert _views(shop) == ["a", "b", *others, "seen", "stranger"]
    assert shop.run("SELECT has_table_privilege('public', 'stranger', 'SELECT')") == [(True,)]
    assert shop.run(numbers) == before
    assert len(before) == len(others)


MARKED = """
from migrate_graph import SqlView, migration

@migration
def base_1(db):
    db.executesql("CREATE TABLE one (id int, name varchar(40))")
    return True

@migration(requires=base_1)
def named_2(db):
    return True

class Named(SqlView):
    since = named_2
    WINDOW
    query = "SELECT name FROM one"

@migration(requires=named_2)
def closing_3(db):
    return True

def unnamed(db):
    db.executesql("ALTER TABLE one DROP COLUMN name")
    return True

@migration(requires=base_1, down=unnamed)
def other_4(db):
    return True
"""


def test_a_view_whose_window_is_not_open_is_told_with_its_manager(shop: Shop) -> None:
    """It has a manager, so that one more helps nobody: the record of its beginning is missing."""
    assert shop.apply(MARKED.replace("WINDOW", ""), weave="windows") == 0
    write_marks(shop.project(), ("named_2", "closing_3"), installed=False, reason="tried", observer=shop.events.append)
    assert shop.revert("other_4", yes=True, settings={"weave": "windows"}) == 1
    hint = _last_hint(shop)
    assert "of Named (migrations.py:" in hint
    assert "named_2, its `since`, is not installed: if it was applied, migrate mark named_2 --installed" in hint
    assert "no manager owns" not in hint
    assert _views(shop) == ["named"]


def test_a_view_that_outlives_its_window_is_told_with_its_manager(shop: Shop) -> None:
    assert shop.apply(MARKED.replace("WINDOW", ""), weave="windows") == 0
    text = MARKED.replace("WINDOW", 'until = "closing_3"')
    assert shop.revert("other_4", text, yes=True, settings={"weave": "windows"}) == 1
    hint = _last_hint(shop)
    assert "of Named (migrations.py:" in hint
    assert "its window is closed: drop it before this statement" in hint


def _last_hint(shop: Shop) -> str:
    ended = next(event for event in reversed(shop.events) if isinstance(event, RunFinished))
    return ended.results[0].hint or ""
