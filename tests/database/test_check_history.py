"""`check --history` as CI runs it, on each database: every history rule speaks, and nothing is written."""

from __future__ import annotations

import json

from user_project import Project

BEFORE = """
from migrate_graph import migration

@migration
def first_20260101_001(db):
    return bool(db.executesql("CREATE TABLE a (id integer)") or True)

@migration(requires=first_20260101_001)
def gone_20260102_001(db):
    return True

@migration
def edited_20260103_001(db):
    return True
"""
AFTER = """
from migrate_graph import migration

@migration
def first_20260101_001(db):
    return bool(db.executesql("CREATE TABLE a (id integer)") or True)

@migration
def late_20260102_002(db):
    return True

@migration(requires=late_20260102_002)
def edited_20260103_001(db):
    db.executesql("SELECT 1")
    return True
"""
FOUND = {
    ("MG401", "gone_20260102_001"),
    ("MG402", "edited_20260103_001"),
    ("MG403", "edited_20260103_001"),
    ("MG404", "late_20260102_002"),
}


def test_the_history_rules_speak_and_write_nothing(project: Project, database_uri: str) -> None:
    environment = {"MIGRATE_URI": database_uri, "MIGRATION_ORDERING_MODE": "intertwined"}
    project.write("migrations.py", BEFORE)
    assert project.migrate("apply", env=environment).returncode == 0
    project.write("migrations.py", AFTER)
    log = project.migrate("log", "--json", env=environment).stdout
    assert "gone_20260102_001" in log

    done = project.migrate("check", "--history", "--json", env=environment)
    assert done.returncode == 3, done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert {(each["code"], each["subject"]) for each in findings} == FOUND
    assert project.migrate("log", "--json", env=environment).stdout == log
    assert project.migrate("check", env=environment).returncode == 0, "without the history all is well"
