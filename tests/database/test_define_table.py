"""pyDAL's own way of creating tables inside a migration: it creates nothing there, and says so."""

from __future__ import annotations

import pytest
from user_project import Project

HEAD = """
from migrate_graph import migration
from pydal import Field

@migration
def first_20260101_001(db):
"""


def run(project: Project, uri: str, body: str, **env: str) -> tuple[int, str]:
    project.env["MIGRATE_URI"] = uri
    project.write("migrations.py", HEAD + "".join(f"    {line}\n" for line in body.strip().splitlines()))
    done = project.migrate("apply", env=env)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["thing", "order", "Thing"])
def test_a_table_that_is_not_there_is_not_created_in_silence(project: Project, database_uri: str, name: str) -> None:
    body = f"db.define_table({name!r}, Field('name'), migrate=True)\nreturn True"
    code, said = run(project, database_uri, body)
    assert code == 1
    assert "creates nothing here" in said
    assert "CREATE TABLE" in said
    assert "MG305" in project.migrate("check").stdout


@pytest.mark.parametrize(
    "body",
    [
        "db.executesql('CREATE TABLE thing (id INTEGER, name VARCHAR(10))')\ndb.define_table('thing', Field('name'), migrate=True)",
        "db.define_table('thing', Field('name'))",
        "db.define_table('thing', Field('name'), migrate=False)",
        "db._migrate_enabled = True\ndb.define_table('thing', Field('name'), migrate=True)\ndb.thing.insert(name='x')",
        "db.executesql('CREATE TABLE other (id INTEGER)')\ndb.define_table('thing', rname='other', migrate=True)",
    ],
)
def test_what_worked_with_2_1_0_works(project: Project, database_uri: str, body: str) -> None:
    code, said = run(project, database_uri, f"{body}\nreturn True")
    assert code == 0, said


def test_models_of_typedal_as_well(project: Project, database_uri: str) -> None:
    body = (
        "import typedal\nclass Thing(typedal.TypedTable):\n    name: str\ndb.define(Thing, migrate=True)\nreturn True"
    )
    code, said = run(project, database_uri, body, USE_TYPEDAL="1")
    assert (code, "creates nothing here" in said) == (1, True), said
