"""Deferred materialized views with `apply --jobs`: each is filled once, by who ran the migration that it came up in, before what waits for that."""

from __future__ import annotations

from pathlib import Path

import pytest
from child import executed
from fault_field import Field, Templates

from migrate_graph.executor import Checkpoint

pytestmark = pytest.mark.postgres

assert executed  # the bodies below import it

# Each view draws a number when its query is run. No rollback gives it back, so that a refresh that fails counts as well.
PROJECT = """
import time
from child import executed, here
from migrate_graph import SqlView, migration


@migration
def base_1(db):
    for name in "abc":
        db.executesql(f"CREATE SEQUENCE fills_{name}")
        db.executesql(f"CREATE TABLE t_{name} (id integer, weight integer DEFAULT 1, name varchar(20))")
        db.executesql(f"INSERT INTO t_{name} (id) VALUES (1)")
    with A(db), B(db), C(db):
        return True


class A(SqlView):
    uses = ()
    since = base_1
    rebuild = "deferred"
    materialized = True
    query = "SELECT nextval('fills_a') AS nth, name FROM t_a"


class B(SqlView):
    uses = ()
    since = base_1
    rebuild = "deferred"
    materialized = True
    query = "SELECT nextval('fills_b') AS nth, name FROM t_b"


class C(SqlView):
    uses = ()
    since = base_1
    rebuild = "deferred"
    materialized = True
    query = "SELECT nextval('fills_c') AS nth, 1 / weight AS share, name FROM t_c"


def widen(db, name, view):
    executed(f"wider_{name}")
    with view(db):
        db.executesql(f"ALTER TABLE t_{name} ALTER COLUMN name TYPE varchar(30)")
    return True
"""
WIDER = """

@migration(requires=base_1)
def wider_a(db):
    return widen(db, "a", A)


@migration(requires=base_1)
def wider_b(db):
    return widen(db, "b", B)


@migration(requires=wider_a)
def after_a(db):
    return bool(db.executesql("SELECT nth FROM a"))
"""
# Holds its view until the others have their rows.
BYSTANDER = """

@migration(requires=base_1)
def hold_c(db):
    widened = "SELECT count(*) FROM pg_attribute WHERE attrelid IN ('t_a'::regclass, 't_b'::regclass) AND atttypmod = 34"
    filled = "SELECT count(*) FROM pg_matviews WHERE matviewname IN ('a', 'b') AND ispopulated"
    with C(db):
        deadline = time.monotonic() + 60
        while (db.executesql(widened), db.executesql(filled)) != ([(2,)], [(2,)]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    return True
"""


def fills(field: Field) -> dict[str, int]:
    """Return how often each view was filled, or was tried to be."""
    asked = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fills_{}"
    return {name: field.query(asked.format(name))[0][0] for name in "abc"}


def unfilled(field: Field) -> set[str]:
    rows = field.query("SELECT matviewname FROM pg_matviews WHERE NOT ispopulated")
    return {name for (name,) in rows}


@pytest.fixture
def field(templates: Templates, tmp_path: Path) -> Field:
    """A project whose three views have their rows."""
    made = templates.copy("postgres", PROJECT, tmp_path / "project")
    assert fills(made) == {"a": 1, "b": 1, "c": 1}
    return made


def test_each_is_filled_once_and_a_bystander_is_left_alone(field: Field) -> None:
    field.query("UPDATE t_c SET weight = 0")
    field.write(PROJECT + WIDER + BYSTANDER)
    ended = field.apply("--jobs", "3", env={"MIGRATE_LOCK_TIMEOUT": "0"})
    assert ended.code == 7, ended.output
    assert unfilled(field) == {"c"}
    # That of the bystander by its own process, and at the end of the run, when another one may have mended it.
    assert fills(field) == {"a": 2, "b": 2, "c": 3}
    assert "is tried again" not in ended.output


def test_what_an_earlier_run_left_is_tried_at_the_start_and_at_the_end(field: Field) -> None:
    """And a view that others have to fill is nobody's meanwhile."""
    field.query("UPDATE t_c SET weight = 0")
    breaks = "\n\n@migration(requires=base_1)\ndef break_2(db):\n    return widen(db, 'c', C)\n"
    field.write(PROJECT + breaks)
    assert field.apply("--jobs", "1").code == 7
    assert fills(field) == {"a": 1, "b": 1, "c": 2}
    field.write(PROJECT + breaks + WIDER)
    ended = field.apply("--jobs", "2")
    assert ended.code == 7, ended.output
    assert fills(field) == {"a": 2, "b": 2, "c": 4}
    mends = "\n\n@migration(requires=base_1)\ndef mend_3(db):\n    db.executesql('UPDATE t_c SET weight = 5')\n    return True\n"
    more = "\n\n@migration(requires=base_1)\ndef more_3(db):\n    return True\n"
    field.write(PROJECT + breaks + WIDER + mends + more)
    ended = field.apply("--jobs", "2")
    assert ended.code == 0, ended.output
    assert not unfilled(field)


@pytest.mark.parametrize("place", [Checkpoint.COMMITTED, Checkpoint.VIEW_FILLED, Checkpoint.VIEW_REFRESHED])
def test_of_a_worker_that_dies_the_run_fills_what_it_left(place: Checkpoint, field: Field) -> None:
    """Before what requires its migration begins, which reads the rows."""
    field.write(PROJECT + WIDER)
    ended = field.apply("--jobs", "2", fatal=(place, 1), kills="one")
    assert ended.code == 0, ended.output
    # Each worker dies at its first arrival there; one that commits without views of its own as well.
    assert field.deaths() == (3 if place is Checkpoint.COMMITTED else 2), ended.output
    assert not unfilled(field)
    tried = fills(field)
    assert tried["c"] == 1
    # Where the refresh of one that died was not durable it counts once more.
    more = place is Checkpoint.VIEW_FILLED
    assert all(tried[name] in {2, 2 + more} for name in "ab")
    assert field.executions("wider_a") == field.executions("wider_b") == 1
    assert field.probe().last("after_a") == ("applied", 0)
