"""`apply --coalesce`, `plan --coalesce` and the setting: what is shown, what runs, what is refused."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from migrate_graph.reports import schemas

PROJECT = """
from migrate_graph import SqlView, migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)")
    with V(db):
        pass
    return True


class V(SqlView):
    uses = ()
    since = create_20260101_001
    query = "SELECT id, a FROM t"
"""
OPENS = """

@migration(requires=create_20260101_001)
def one_20260102_002(db):
    with V(db):
        db.executesql("ALTER TABLE t ADD COLUMN b INT")
    return True


@migration(requires=one_20260102_002)
def two_20260103_003(db):
    with V(db):
        db.executesql("ALTER TABLE t ADD COLUMN c INT")
    return {}
"""
WIDENS = """

@migration(requires=create_20260101_001)
def widen_20260102_002(db):
    db.executesql("ALTER TABLE t ALTER COLUMN a TYPE bigint")
    return True


@migration(requires=widen_20260102_002)
def widen_20260103_003(db):
    db.executesql("ALTER TABLE t ALTER COLUMN a TYPE numeric")
    return True
"""


@pytest.fixture
def project(shell: Any) -> Any:
    """A project whose view exists, and two migrations that open it are pending."""
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path}/shop.db"
    shell.write("migrations.py", PROJECT)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    shell.write("migrations.py", PROJECT + OPENS.format("True"))
    return shell


def columns(shell: Any) -> list[str]:
    """Return the columns of the table."""
    with closing(sqlite3.connect(shell.path / "shop.db")) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(t)")]


def views(ran: Any, kind: str) -> list[str]:
    """Return the views of the events of a kind."""
    return [each["view"] for each in ran.lines if each["type"] == kind]


def test_views_go_down_once(project: Any) -> None:
    ran = project("apply", "--coalesce", "--json")
    assert ran.code == 0, ran.out
    assert (views(ran, "view_drop"), views(ran, "view_create")) == (["V"], ["V"])
    schema = json.loads((files(schemas) / "event-1.json").read_text(encoding="utf-8"))
    for line in ran.lines:
        jsonschema.validate(line, schema)
    assert columns(project) == ["id", "a", "b", "c"]


@pytest.mark.parametrize("words", [(), ("--no-coalesce",)])
def test_without_it_they_go_down_each_time(project: Any, words: tuple[str, ...]) -> None:
    project.write("pyproject.toml", f"[tool.migrate]\ncoalesce = {'true' if words else 'false'}\n")
    ran = project("apply", "--json", *words)
    assert (views(ran, "view_drop"), views(ran, "view_create")) == (["V", "V"], ["V", "V"])


def test_the_setting(project: Any) -> None:
    project.write("pyproject.toml", "[tool.migrate]\ncoalesce = true\n")
    ran = project("apply", "--json")
    assert views(ran, "view_drop") == ["V"]


def test_a_failure_says_that_its_segment_is_taken_back(project: Any) -> None:
    project.write("migrations.py", PROJECT + OPENS.format("False"))
    ran = project("apply", "--coalesce")
    assert ran.code == 1
    assert "1 failed, 1 rolled back" in ran.err, ran.err
    assert "committed: nothing" in ran.err
    assert columns(project) == ["id", "a"]
    project.write("migrations.py", PROJECT + OPENS.format("True"))
    assert project("apply", "--coalesce").code == 0


def test_a_plan_shows_the_segments(project: Any) -> None:
    ran = project("plan", "--coalesce")
    assert ran.code == 0
    assert "together: 1 to 2 are one transaction, in which V go down once and come up once" in ran.out
    assert "add --rehearse" in ran.out
    ran = project("plan", "--coalesce", "--json")
    assert ran.json["together"] == [{"steps": ["one_20260102_002", "two_20260103_003"], "views": ["V"]}]
    schema = json.loads((files(schemas) / "plan-1.json").read_text(encoding="utf-8"))
    jsonschema.validate(ran.json, schema)
    assert project("plan", "--json").json["together"] is None
    project.write("migrations.py", PROJECT)
    assert "together" not in project("plan", "--coalesce").out


@pytest.mark.parametrize(
    "words",
    [
        ("--coalesce", "--atomic"),
        ("--coalesce", "--jobs", "2"),
        ("--coalesce", "--fake"),
        ("--coalesce", "--set", "atomic=true"),
        ("--coalesce", "--set", "jobs=2"),
        ("--jobs", "2", "--set", "coalesce=true"),
    ],
)
def test_what_does_not_go_together(project: Any, words: tuple[str, ...]) -> None:
    ran = project("apply", *words)
    assert ran.code == 2, ran.err
    assert columns(project) == ["id", "a"]
    if "--fake" not in words:
        assert project("plan", *words).code == 2


def test_one_transaction_comes_first(project: Any) -> None:
    """Typed `--atomic` wins over what is set; both set: the whole run is one transaction anyway."""
    ran = project("apply", "--atomic", "--set", "coalesce=true", "--json")
    assert ran.code == 0
    assert views(ran, "view_drop") == ["V"]


@pytest.mark.postgres
def test_a_rehearsal_tells_which_views_are_in_the_way(
    shell: Any, postgres_server: Any, postgres_uri: str, monkeypatch: pytest.MonkeyPatch, may_create_databases: None
) -> None:
    shell.env["MIGRATE_URI"] = postgres_uri
    shell.write("migrations.py", PROJECT)
    assert shell("apply").code == 0
    shell.write("migrations.py", PROJECT + WIDENS)
    ran = shell("plan", "--coalesce", "--rehearse", "--on", "here")
    assert "together: 1 to 2 are one transaction, in which V go down once" in ran.out, ran.out
    assert "no two steps in a row" in shell("plan", "--coalesce").out
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    ran = shell("apply", "--coalesce", "--rehearse-first", "--json")
    assert ran.code == 0, ran.out
    assert (views(ran, "view_drop"), views(ran, "view_create")) == (["V"], ["V"])
