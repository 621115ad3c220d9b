"""What the program does in the database for itself fails there: it says what was not done and what to do, and blames nobody's code."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from fault_field import Field

MIGRATIONS = """
from migrate_graph import SqlView, migration


def drop_base(db):
    db.executesql("DROP TABLE base")
    return True


@migration(down=drop_base)
def base_1(db):
    db.executesql("CREATE TABLE base (id integer PRIMARY KEY)")
    db.executesql("INSERT INTO base VALUES (1)")
    with V(db):
        return True


class V(SqlView):
    uses = ()
    since = base_1
    query = "SELECT id FROM base"
"""

FAILS = """
import sqlite3, sys
from importlib import import_module
from migrate_graph.cli import main

def fail(*_arguments, **_options):
    raise sqlite3.OperationalError("disk I/O error")

module, _, path = sys.argv[1].partition(":")
*owners, name = path.split(".")
owner = import_module(module)
for each in owners:
    owner = getattr(owner, each)
setattr(owner, name, fail)
sys.exit(main(sys.argv[2:]))
"""
"""Runs a command in which a function fails as the driver does."""

WORK = {
    "restore": ("migrate_graph.database.views.keeper:ViewKeeper.renew", "the backup is restored, but", "go on with migrate status"),
    "revert": ("migrate_graph.workflow.revert:_count", "nothing was undone: what data goes", "run it again"),
}  # fmt: skip


@pytest.mark.parametrize("command", WORK)
def test_it_says_what_was_not_done(command: str, on_sqlite: Field) -> None:
    on_sqlite.write(MIGRATIONS)
    assert on_sqlite.apply().code == 0
    words = [command, "base_1", "--yes"]
    if command == "restore":
        with closing(sqlite3.connect(on_sqlite.uri.partition("://")[2])) as database:
            on_sqlite.write("\n".join(database.iterdump()) + "\n", "dump.sql")
        on_sqlite.env["MIGRATE_URI"] = f"sqlite://{on_sqlite.path}/other.sqlite"
        words = [command, "dump.sql"]
    where, told, hint = WORK[command]
    ran = subprocess.run(
        [sys.executable, "-c", FAILS, where, *words],
        check=False, cwd=on_sqlite.path, env=on_sqlite.env, capture_output=True, text=True,
    )  # fmt: skip
    said = " ".join(ran.stderr.split())
    assert ran.returncode == 6, said
    assert told in said
    assert "disk I/O error" in said
    assert hint in said
    assert on_sqlite.read().views == {"v"}
    assert "base_1" in on_sqlite.migrate("status").output
