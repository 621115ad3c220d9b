"""Views that step aside: what `plan --rehearse` and `apply` say of them, and what they end with."""

from __future__ import annotations

import os
from typing import Any

import jsonschema
import pytest
from bodies import ask
from test_cli_json import schema_of

pytestmark = pytest.mark.postgres


PROJECT = """
from migrate_graph import SqlView, migration


@migration
def create_20260101_001(db):
    db.executesql("CREATE TABLE t (id serial PRIMARY KEY, a int, b text, c varchar(10))")
    with V(db):
        db.executesql("CREATE VIEW w AS SELECT b FROM t")
    return True


class V(SqlView):
    uses = ()
    since = create_20260101_001
    query = "SELECT id, a, c FROM t"


class V2(SqlView):
    uses = (V,)
    since = create_20260101_001
    query = "SELECT a, count(*) AS n FROM v GROUP BY a"
"""
WIDER = """

@migration(requires=create_20260101_001)
def widen_a_20260102_002(db):
    db.executesql("ALTER TABLE t ALTER COLUMN a TYPE bigint")
    return True
"""
UNMANAGED = """

@migration(requires=widen_a_20260102_002)
def widen_b_20260103_003(db):
    db.executesql("ALTER TABLE t ALTER COLUMN b TYPE varchar(30)")
    return True


@migration(requires=widen_b_20260103_003)
def last_20260104_004(db):
    return True
"""


@pytest.fixture
def woven(
    shell: Any, postgres_server: Any, may_create_databases: None, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A project with two managed views and one that nobody manages, and a migration that is pending."""
    shell.env["MIGRATE_URI"] = postgres_uri
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=os.pathsep)
    shell.write("migrations.py", PROJECT)
    assert shell("apply").code == 0
    shell.write("migrations.py", PROJECT + WIDER)
    return shell


def type_of(woven: Any, column: str) -> str:
    """Return the type of a column as it is in the database."""
    ((found,),) = ask(
        woven.env["MIGRATE_URI"],
        f"SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = '{column}'",
    )
    return str(found)


@pytest.mark.parametrize("place", ["here", "clone", "scratch"])
def test_a_rehearsal_tells_what_steps_aside_and_keeps_nothing(woven: Any, place: str) -> None:
    ran = woven("plan", "--rehearse", "--on", place)
    assert ran.code == 0, ran.out + ran.err
    assert "aside    V2, V: in the way, so they go down and come up by themselves" in ran.out
    assert type_of(woven, "a") == "integer"
    ran = woven("plan", "--rehearse", "--on", place, "--json")
    jsonschema.validate(ran.json["rehearsal"], schema_of("plan")["properties"]["rehearsal"])
    results = {each["name"]: each for each in ran.json["rehearsal"]["results"]}
    assert results["widen_a_20260102_002"]["stepped_aside"] == ["V2", "V"]


def test_apply_tells_what_stepped_aside(woven: Any) -> None:
    ran = woven("apply")
    assert ran.code == 0, ran.err
    assert "widen_a_20260102_002: V2, V stepped aside, and came back" in ran.err
    assert type_of(woven, "a") == "bigint"
    assert ask(woven.env["MIGRATE_URI"], "SELECT count(*) FROM v2") == [(0,)]


def test_apply_tells_it_to_programs(woven: Any) -> None:
    ran = woven("apply", "--json")
    for line in ran.lines:
        jsonschema.validate(line, schema_of("event"))
    (finished,) = [each for each in ran.lines if each["type"] == "migration_end"]
    assert finished["result"]["stepped_aside"] == ["V2", "V"]
    assert [each["view"] for each in ran.lines if each["type"] == "view_drop"] == ["V2", "V"]
    assert [each["view"] for each in ran.lines if each["type"] == "view_create"] == ["V", "V2"]


@pytest.mark.parametrize("place", ["here", "clone"])
def test_a_view_without_a_manager_stops_the_plan(woven: Any, place: str) -> None:
    woven.write("migrations.py", PROJECT + WIDER + UNMANAGED)
    ran = woven("plan", "--rehearse", "--on", place)
    assert ran.code == 3, ran.out
    assert "error MG609 " in ran.out
    said = " ".join(ran.out.split())
    assert "with 'public.w' in the way" in said, said
    assert "migrate views adopt public.w" in said
    ran = woven("plan", "--rehearse", "--on", place, "--json")
    assert ran.code == ran.json["exit_code"] == 3
    (failed,) = [each for each in ran.json["steps"] if each["name"] == "widen_b_20260103_003"]
    assert failed["footprint"]["statements"][-1]["blockers"] == ["public.w"]
    assert woven("apply", "--rehearse-first").code == 3
    assert type_of(woven, "a") == "integer", "nothing was run"


def test_a_view_without_a_manager_stops_the_migration(woven: Any) -> None:
    woven.write("migrations.py", PROJECT + WIDER + UNMANAGED)
    ran = woven("apply")
    assert ran.code == 1
    assert "cannot alter type of a column used by a view" in ran.err
    assert "migrate views adopt public.w" in ran.err
    assert type_of(woven, "b") == "text"
    adopted = woven("views", "adopt", "public.w", "-o", "views.py")
    assert adopted.code == 0, adopted.err
    woven.write(
        "migrations.py",
        PROJECT.replace("from migrate_graph import", "import views\nfrom migrate_graph import", 1) + WIDER + UNMANAGED,
    )
    ran = woven("apply")
    assert ran.code == 0, ran.err
    assert "W stepped aside, and came back" in ran.err
    assert type_of(woven, "b") == "character varying(30)"


@pytest.mark.parametrize("how", ["pyproject", "environment", "option"])
def test_the_settings(woven: Any, how: str) -> None:
    woven.write("migrations.py", PROJECT + WIDER + UNMANAGED)
    words, env = (), {}
    if how == "pyproject":
        woven.write("pyproject.toml", '[tool.migrate]\nunmanaged = "keep"\n')
    elif how == "environment":
        env = {"MIGRATE_UNMANAGED": "keep"}
    else:
        words = ("--set", "unmanaged=keep")
    off = woven("apply", "--set", "weave=off", *words, **env)
    assert off.code == 1
    assert "used by a view" in off.err
    assert type_of(woven, "a") == "integer"
    ran = woven("apply", *words, **env)
    assert ran.code == 0, ran.err
    assert "widen_b_20260103_003: public.w stepped aside, and came back" in ran.err
    assert woven("apply", "--set", "weave=always").code == 2


def test_what_fails_with_a_view_down_is_repaired(woven: Any) -> None:
    """A view without a manager comes up from its stored definition, and nothing else is remembered of it."""
    woven.write(
        "migrations.py",
        PROJECT
        + """

@migration(requires=create_20260101_001)
def dies_20260102_002(db):
    db.executesql("ALTER TABLE t ALTER COLUMN b TYPE varchar(30)")
    db.commit()
    return not db
""",
    )
    ran = woven("apply", "--set", "unmanaged=keep")
    assert ran.code == 1
    assert "1 commit of its own stayed in the database" in " ".join(ran.err.split())
    assert ask(woven.env["MIGRATE_URI"], "SELECT count(*) FROM w") == [(0,)]
    rows = ask(woven.env["MIGRATE_URI"], "SELECT manager, state FROM ewh_implemented_features_views ORDER BY 1")
    assert rows == [("V", "up"), ("V2", "up")]
