"""Views of SQLite that step aside: what `plan --rehearse` and `apply` say of them, and what they end with."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

PROJECT = """
import os
import signal

from migrate_graph import SqlView, migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT)")
    with V(db):
        pass
    db.executesql("CREATE TRIGGER v_in INSTEAD OF INSERT ON v BEGIN INSERT INTO t (a) VALUES (new.a); END")
    return True


class V(SqlView):
    uses = ()
    since = create_20260101_001
    query = "SELECT id, a FROM t"


class V2(SqlView):
    uses = (V,)
    since = create_20260101_001
    query = "SELECT a, count(*) AS n FROM v GROUP BY a"


def rebuild(db):
    db.executesql("CREATE TABLE n (id INTEGER PRIMARY KEY, a BIGINT, b TEXT)")
    db.executesql("INSERT INTO n SELECT * FROM t")
    db.executesql("DROP TABLE t")
    db.executesql("ALTER TABLE n RENAME TO t")
"""
WIDER = """

@migration(requires=create_20260101_001)
def widen_20260102_002(db):
    rebuild(db)
    return True
"""
DIES = """

@migration(requires=create_20260101_001)
def dies_20260102_002(db):
    rebuild(db)
    db.commit()
    {}
    return False
"""


def ask(shell: Any, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a connection of its own; return what the last one finds."""
    with closing(sqlite3.connect(shell.path / "shop.db")) as connection, connection:
        return [connection.execute(each).fetchall() for each in statements][-1]


@pytest.fixture
def woven(shell: Any) -> Any:
    """A project with two managed views, and a migration that is pending."""
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path}/shop.db"
    shell.write("migrations.py", PROJECT)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    shell.write("migrations.py", PROJECT + WIDER)
    return shell


def test_a_rehearsal_tells_what_steps_aside(woven: Any) -> None:
    before = ask(woven, "SELECT sql FROM sqlite_master")
    ran = woven("plan", "--rehearse")
    assert ran.code == 0, ran.out + ran.err
    assert "aside    V2, V: in the way, so they go down and come up by themselves" in ran.out
    assert ask(woven, "SELECT sql FROM sqlite_master") == before
    ran = woven("plan", "--rehearse", "--json")
    (step,) = [each for each in ran.json["steps"] if each["name"] == "widen_20260102_002"]
    told = [each["sql"].split(" ")[:2] for each in step["footprint"]["statements"]]
    assert told == [["CREATE", "TABLE"], ["INSERT", "INTO"], ["DROP", "TABLE"], ["ALTER", "TABLE"]]


def test_apply_tells_what_stepped_aside(woven: Any) -> None:
    ran = woven("apply")
    assert ran.code == 0, ran.err
    assert "widen_20260102_002: V2, V stepped aside, and came back" in ran.err
    ask(woven, "INSERT INTO v (a) VALUES (1)")
    assert ask(woven, "SELECT * FROM v2") == [(1, 1)]


@pytest.mark.parametrize("refuses", [True, False])
def test_a_view_without_a_manager_stops_the_plan(woven: Any, refuses: bool) -> None:
    ask(woven, "CREATE VIEW w AS SELECT b FROM t")
    if not refuses:
        woven.write("migrations.py", (PROJECT + WIDER).replace('db.executesql("ALTER TABLE n RENAME TO t")', "pass"))
    ran = woven("plan", "--rehearse")
    assert ran.code == 3, ran.out
    said = " ".join(ran.out.split())
    assert "error MG609 " in said
    assert "with 'w' in the way" in said
    assert "migrate new NAME --view" in said
    assert woven("apply", "--rehearse-first").code == 3
    before = ask(woven, "SELECT sql FROM sqlite_master")
    ran = woven("apply")
    assert ran.code == 1
    assert 'unmanaged = "keep"' in ran.err
    assert ask(woven, "SELECT sql FROM sqlite_master") == before
    assert woven("apply", "--set", "weave=off").code == (1 if refuses else 0)


def test_a_view_without_a_manager_is_kept_where_that_is_wanted(woven: Any) -> None:
    ask(woven, "CREATE VIEW w AS SELECT b FROM t")
    ran = woven("apply", "--set", "unmanaged=keep")
    assert ran.code == 0, ran.err
    assert "V2, main.w, V stepped aside" in " ".join(ran.err.split())
    assert ask(woven, "SELECT count(*) FROM w") == [(0,)]


@pytest.mark.parametrize("how", ["", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_fails_with_views_down_is_repaired(woven: Any, how: str) -> None:
    """By the end of the run, or, where that was killed, by the next one; nothing is remembered of a view that nobody manages."""
    ask(woven, "CREATE VIEW w AS SELECT b FROM t")
    woven.write("migrations.py", PROJECT + DIES.format(how))
    words = ("apply", "--set", "unmanaged=keep")
    if how:
        program = [sys.executable, "-m", "migrate_graph", *words]
        killed = subprocess.run(program, cwd=woven.path, env=woven.env, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert {name for (name,) in ask(woven, "SELECT manager FROM ewh_implemented_features_views WHERE state = 'down'")} == {
            "V", "V2", "main.w",
        }  # fmt: skip
    ran = woven(*words)
    assert ran.code == (5 if how else 1), ran.err
    assert ask(woven, "SELECT count(*) FROM w") == [(0,)]
    ask(woven, "INSERT INTO v (a) VALUES (1)")
    assert ask(woven, "SELECT * FROM v2") == [(1, 1)]
    rows = ask(woven, "SELECT manager, state FROM ewh_implemented_features_views ORDER BY 1")
    assert rows == [("V", "up"), ("V2", "up")]
