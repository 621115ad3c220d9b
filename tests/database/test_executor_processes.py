"""Processes that a body starts, whichever way: they find what the project's files declare and define."""

from __future__ import annotations

import pytest
from user_project import Project

BODY = """
import types
from edwh_migrate import ViewMigrationManager, migration
from edwh_migrate.migrate import should_run
import helper

def square(n):
    return n * n

@migration
def first_20260101_001(db):
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("METHOD")) as pool:
        assert list(pool.map(helper.double, [1, 2])) == [2, 4]
        assert list(pool.map(square, [1, 2])) == [1, 4]
        assert pool.submit(helper.names).result() == ["migrate_graph.authoring.declare", "migrate_graph.compat.connections"]
    db.executesql("CREATE TABLE a (id INTEGER)")
    return True
"""
HELPER = """
def double(n):
    return 2 * n

def names():
    import edwh_migrate
    return [edwh_migrate.migration.__module__, edwh_migrate.migrate.setup_db.__module__]
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("layout", ["a file", "a package", "numbered files"])
def test_workers_find_the_modules_of_the_project(project: Project, sqlite_uri: str, method: str, layout: str) -> None:
    body, where = BODY.replace("METHOD", method), "migrations.py"
    project.write("helper.py", HELPER)
    if layout == "a package":
        where = "app/migrations.py"
        project.write("app/__init__.py", "")
        project.write("app/helper.py", HELPER)
        body = body.replace("import helper", "from app import helper")
    if layout == "numbered files":
        where = "migrations"
        project.write("migrations/a0001_first.py", body)
    else:
        project.write(where, body)
    done = project.migrate("apply", where, env={"MIGRATE_URI": sqlite_uri})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", ["check", "plan --json", "graph -o x.svg", "apply"])
def test_a_thread_that_an_import_starts_holds_nothing_up(project: Project, sqlite_uri: str, words: str) -> None:
    """Schedulers and metrics do that: it is named, and not waited for."""
    project.write("background.py", "import threading\nthreading.Thread(target=threading.Event().wait).start()\n")
    project.write(
        "migrations.py",
        "import background\nfrom edwh_migrate import migration\n@migration\ndef first_20260101_001(db): return True\n",
    )
    done = project.migrate(*words.split(), env={"MIGRATE_URI": sqlite_uri}, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "was left by user code and does not end" in done.stderr
