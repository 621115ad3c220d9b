"""Views that are built beside the old ones: what the commands say of them, in rehearsals, sealed plans and runs with workers."""

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
from migrate_graph import SqlView, ViewMigrationManager, migration


class Totals(SqlView):
    uses = ()
    since = "base_1"
    rebuild = "swap"
    materialized = True
    query = "SELECT id, c FROM t"
    indexes = {"totals_id": "UNIQUE (id)"}


class Count(SqlView):
    uses = (Totals,)
    since = "base_1"
    query = "SELECT count(*) AS n FROM totals"


@migration
def base_1(db):
    db.executesql("CREATE TABLE t (id integer PRIMARY KEY, c integer)")
    db.executesql("INSERT INTO t VALUES (1, 2)")
    with Totals(db), Count(db):
        return True
"""
EDIT = """

@migration(requires=base_1)
def edit_2(db):
    with Totals(db):
        pass
    return True
"""
EDITED = PROJECT.replace("SELECT id, c FROM", "SELECT id, c, id + c AS both FROM") + EDIT
BUILT = "view built beside the old one: Totals"


@pytest.fixture
def edited(shell: Any, postgres_uri: str) -> Any:
    """A project whose views are there, and one of which was edited."""
    shell.env["MIGRATE_URI"] = postgres_uri
    shell.write("migrations.py", PROJECT)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    assert BUILT not in ran.err
    shell.write("migrations.py", EDITED)
    return shell


def has_both(uri: str) -> bool:
    """Return whether the new version is there."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_attribute WHERE attrelid = 'totals'::regclass AND attname = 'both'")
        return cursor.fetchone() is not None


@pytest.mark.postgres
def test_an_apply_tells_people_and_programs(edited: Any) -> None:
    ran = edited("apply", "--json")
    assert ran.code == 0, ran.err
    schema = json.loads((files(schemas) / "event-1.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in ran.out.splitlines()]
    for line in lines:
        jsonschema.validate(line, schema)
    told = [(each["type"], each["view"]) for each in lines if each["type"].startswith("view_")]
    assert told == [
        ("view_build", "Totals"), ("view_drop", "Count"), ("view_drop", "Totals"), ("view_create", "Totals"), ("view_create", "Count"),
    ]  # fmt: skip
    assert has_both(edited.env["MIGRATE_URI"])


@pytest.mark.postgres
def test_workers_do_it_too(edited: Any) -> None:
    edited.write("migrations.py", EDITED + "\n\n@migration(independent=True)\ndef other_3(db):\n    return True\n")
    ran = edited("apply", "--jobs", "2")
    assert ran.code == 0, ran.err
    assert "2 migrations to run, up to 2 at once" in ran.err
    assert BUILT in ran.err
    assert has_both(edited.env["MIGRATE_URI"])


@pytest.mark.postgres
@pytest.mark.parametrize("place", ["here", "clone"])
def test_a_rehearsal_does_it_and_leaves_nothing(
    edited: Any, postgres_server: Any, monkeypatch: Any, place: str
) -> None:
    """And what was sealed with it runs as it was approved."""
    monkeypatch.setenv("PATH", str(postgres_server.binaries), prepend=":")
    postgres_server.execute("ALTER ROLE app CREATEDB")
    try:
        ran = edited("plan", "--rehearse", "--on", place, "--sql")
        sealed = edited("plan", "--rehearse", "--on", place, "-o", "approved.json")
    finally:
        postgres_server.execute("ALTER ROLE app NOCREATEDB")
    assert ran.code == 0, ran.out + ran.err
    assert sealed.code == 0, sealed.out + sealed.err
    assert "public.totals" in ran.out
    assert "migrate_graph_swap_" not in ran.out + ran.err
    assert not has_both(edited.env["MIGRATE_URI"])
    ran = edited("apply", "approved.json")
    assert ran.code == 0, ran.err
    assert BUILT in ran.err
    assert has_both(edited.env["MIGRATE_URI"])


def test_the_word_means_inline_on_sqlite(shell: Any, sqlite_uri: str) -> None:
    shell.env["MIGRATE_URI"] = sqlite_uri
    shell.write("migrations.py", PROJECT)
    assert shell("apply").code == 0
    shell.write("migrations.py", EDITED)
    ran = shell("apply")
    assert ran.code == 0, ran.err
    assert BUILT not in ran.err
    assert "view up: Totals" in ran.err


def test_a_class_that_cannot_be_built_so_is_found(shell: Any) -> None:
    own = "\n\n    def up(self):\n        super().up()\n"
    shell.write("migrations.py", PROJECT.replace('{"totals_id": "UNIQUE (id)"}', '{"totals_id": "UNIQUE (id)"}' + own))
    ran = shell("check")
    assert "MG213" in ran.out
    assert "'Totals'" in ran.out
    shell.write("migrations.py", PROJECT)
    assert "MG213" not in shell("check").out
