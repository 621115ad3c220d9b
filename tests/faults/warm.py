"""Forks the children of the fault tests: everything that a run needs is loaded here once, by a run.

Reads requests from stdin, one JSON object a line; a child's exit code (negative: the signal that ended it) is written beside its output.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import sys
import tempfile
from pathlib import Path

import child

import migrate_graph.database.postgres.backend
import migrate_graph.database.postgres.views.catalog  # noqa: F401 - as every run on PostgreSQL
from migrate_graph.cli import main

_MIGRATIONS = """
from migrate_graph import ViewMigrationManager, migration

class V(ViewMigrationManager):
    uses = ()
    def up(self): self.db.executesql("CREATE VIEW v AS SELECT 1 AS one")
    def down(self): self.db.executesql("DROP VIEW IF EXISTS v")

@migration
def one_1(db):
    with V(db):
        return True

@migration
def two_2(db):
    if db:
        raise ValueError
    return True
"""


def warm_up() -> None:
    """Run once, so that everything is imported."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "migrations.py").write_text(_MIGRATIONS)
        os.chdir(directory)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main(["apply"], environ={"MIGRATE_URI": f"sqlite://{directory}/warm.sqlite", "HOME": directory})
        os.chdir(before)


def serve() -> None:
    """Fork what is asked for until stdin ends."""
    outputs: dict[int, str] = {}
    while True:
        asked, _, _ = select.select([sys.stdin], [], [], 0.005 if outputs else None)
        if asked:
            line = sys.stdin.readline()
            if not line:
                return
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                child.run(**request)
            outputs[pid] = request["output"]
            print(pid, flush=True)  # noqa: T201 - to the test
        while outputs and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            temporary = Path(f"{outputs.pop(ended[0])}.code")
            temporary.with_suffix(".part").write_text(str(os.waitstatus_to_exitcode(ended[1])))
            temporary.with_suffix(".part").rename(temporary)


if __name__ == "__main__":
    warm_up()
    serve()
