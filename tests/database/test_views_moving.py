"""To edwh-migrate and back: whoever ran in between, and whatever a class is called now, no view is stranded."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from bystanders import bystanding
from moving_stories import Story, run_as_edwh_migrate
from user_project import Project, RunMigrate

from migrate_graph import console_hook
from migrate_graph.config import Config


def connected(uri: str) -> Any:
    return sqlite3.connect(uri.removeprefix("sqlite://")) if uri.startswith("sqlite") else psycopg2.connect(uri)


def versions(uri: str) -> dict[str, int]:
    """Return the views that are there, with the version of each."""
    query = "SELECT viewname FROM pg_views WHERE schemaname = 'public'"
    if uri.startswith("sqlite"):
        query = "SELECT name FROM sqlite_master WHERE type = 'view'"
    connection, found = connected(uri), {}
    cursor = connection.cursor()
    cursor.execute(query)
    for (name,) in cursor.fetchall():
        cursor.execute(f"SELECT max(version) FROM {name}")
        found[name] = cursor.fetchone()[0]
    connection.close()
    return found


def owners(uri: str) -> Counter[str]:
    """Return how many managers the view ledger gives each relation."""
    connection = connected(uri)
    cursor = connection.cursor()
    cursor.execute("SELECT relations FROM ewh_implemented_features_views")
    found = Counter(each["identity"] for (text,) in cursor.fetchall() for each in json.loads(text)["relations"])
    connection.close()
    return found


@pytest.mark.parametrize("seed", range(12))
def test_they_take_turns(
    seed: int,
    database_uri: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    new_process: None,
    run_migrate: RunMigrate,
) -> None:
    story, told = Story(seed, cascades=not database_uri.startswith("sqlite")), [""]
    settings = {"migrate_uri": database_uri, "database_to_restore": "", "migrations_file": "migrations.py"}
    others = ExitStack()
    for stage, (edited, theirs, dies) in enumerate(story.stages(6)):
        if stage == 1:  # there is a ledger now, so that nobody takes the database for an empty one
            others.enter_context(bystanding(database_uri))
        story.write(tmp_path)
        told.append(f"{'edwh-migrate' if theirs else 'migrate'}: {edited}; opens {story.opened[-1]}")
        if dies:
            (tmp_path / "die").touch()
            died = run_migrate(cwd=tmp_path, env={"MIGRATE_URI": database_uri, "DATABASE_TO_RESTORE": ""})
            assert died.returncode == -9 or not story.opened[-1], died.stdout + died.stderr
            (tmp_path / "die").unlink()
            told.append(f"it died; {story.edit_after_death()}")
            story.write(tmp_path)
        if theirs:
            run_as_edwh_migrate(tmp_path, Config.load(settings))
        else:
            code = console_hook([], config=Config.load(settings))
            assert code == 0, "\n".join([*told, capfd.readouterr().err, (tmp_path / "migrations.py").read_text()])
        if not theirs:
            assert set(owners(database_uri).values()) <= {1}, "\n".join([*told, str(owners(database_uri))])
        assert versions(database_uri) == story.expected(), "\n".join([*told, capfd.readouterr().err])
    others.close()


STUCK = """
from edwh_migrate import ViewMigrationManager, migration

@migration
def first_20260101_001(db):
    db.executesql("CREATE TABLE a (id INTEGER)")
    with Report(db):
        pass
    return True

class Report(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW report AS SELECT id FROM a")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS report")
"""


def test_a_view_that_cannot_come_back_can_be_forgotten(project: Project, database_uri: str) -> None:
    """Its class is gone, and so is what its definition reads: every run asks for a decision, until somebody decides."""
    project.env["MIGRATE_URI"] = database_uri
    project.write("migrations.py", STUCK)
    assert project.migrate("apply").returncode == 0
    connection = connected(database_uri)
    cursor = connection.cursor()
    for statement in (
        "DROP VIEW report",
        "DROP TABLE a",
        "UPDATE ewh_implemented_features_views SET state = 'down', relations = replace(relations, 'CREATE VIEW', 'CREATE VEIW')",
    ):
        cursor.execute(statement)
    connection.commit()
    connection.close()
    project.write(
        "migrations.py", STUCK.partition("class Report")[0].replace("    with Report(db):\n        pass\n", "")
    )
    with bystanding(database_uri):
        asked = project.migrate("apply")
    assert (asked.returncode, "migrate views forget Report" in asked.stderr) == (5, True), asked.stderr
    unknown = project.migrate("views", "forget", "Rport")
    assert (unknown.returncode, "it knows Report" in unknown.stderr) == (2, True), unknown.stderr
    done = project.migrate("views", "forget", "Report", "--reason", "nobody reads it")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("forgotten: Report\n  ")
    assert "SELECT id" in done.stdout
    log = project.migrate("log").stdout
    assert "views forget Report" in log
    assert "nobody reads it" in log
    assert project.migrate("apply").returncode == 0
    assert "views forget" not in project.migrate("status", "--all").stdout


def test_a_view_that_is_up_is_not_forgotten(project: Project, database_uri: str) -> None:
    """What it was made like is how an edit, and a change by hand, are noticed."""
    project.env["MIGRATE_URI"] = database_uri
    project.write("migrations.py", STUCK)
    assert project.migrate("apply").returncode == 0
    before = _rows(database_uri)
    with bystanding(database_uri):
        done = project.migrate("views", "forget", "Report")
    assert done.returncode == 2, done.stderr
    assert "nothing of Report is down, and it is declared" in done.stderr
    assert "migrate show Report" in done.stderr
    assert project.migrate("show", "Report").returncode == 0
    assert _rows(database_uri) == before
    # Its class is gone: nobody compares the view with anything any more.
    project.write(
        "migrations.py", STUCK.partition("class Report")[0].replace("    with Report(db):\n        pass\n", "")
    )
    done = project.migrate("views", "forget", "Report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("forgotten: Report\n  ")
    assert "Report was not down: what it has made stays in the database" in done.stderr
    assert _rows(database_uri) == []


def _rows(uri: str) -> list[tuple[object, ...]]:
    connection = connected(uri)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT manager, state, relations FROM ewh_implemented_features_views ORDER BY manager")
        return list(cursor.fetchall())
    finally:
        connection.close()
