"""A rehearsal that a signal ends leaves nothing; one that is killed leaves a copy, which the next one removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import PostgresServer
from waiting import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")]

PROJECT = """
from migrate_graph import migration


@migration
def first_1(db):
    db.executesql("CREATE TABLE made (a int)")
    return True


@migration(requires=first_1)
def slow_2(db):
    db.executesql("INSERT INTO made VALUES (1)")
    db.executesql("SELECT pg_sleep(600)")
    return True
"""

REHEARSE = """
import sys
from pathlib import Path
from migrate_graph.config import load_config
from migrate_graph.errors import MigrateGraphError
from migrate_graph.workflow.assessment import assess
from migrate_graph.workflow.project import open_project, read_history
from migrate_graph.workflow.place import Place
from migrate_graph.workflow.rehearse import RehearseOptions, rehearse

root = Path(sys.argv[1])
project = open_project(load_config(root, {"MIGRATE_URI": sys.argv[2]}), root=root)
found = assess(project, read_history(project.config))
try:
    done = rehearse(project, found, RehearseOptions(on=Place(sys.argv[3])))
except MigrateGraphError as error:
    print(error.message)
    sys.exit(error.exit_code)
sys.exit(done.exit_code)
"""


@pytest.fixture
def root(tmp_path: Path, may_create_databases: None) -> Path:
    (tmp_path / "migrations.py").write_text(PROJECT)
    return tmp_path


@contextmanager
def rehearsing(root: Path, uri: str, place: str, server: PostgresServer) -> Iterator[subprocess.Popen[str]]:
    """Rehearse in a child, and give it when its second migration sleeps on the server."""
    environment = {**os.environ, "PATH": f"{server.binaries}{os.pathsep}{os.environ['PATH']}"}  # noqa: TID251 - a child's
    process = subprocess.Popen(
        [sys.executable, "-c", REHEARSE, str(root), uri, place], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: server.ask(SLEEPS) == 1)
        yield process
    finally:
        process.kill()
        process.communicate()


COPIES = "SELECT count(*) FROM pg_database WHERE datname ~ '^migrate_graph_'"
SLEEPS = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' AND state = 'active'"
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' UNION ALL SELECT true LIMIT 1"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^migrate_graph'"


@pytest.mark.parametrize("place", ["clone", "here", "scratch"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_nothing_stays(
    place: str, number: signal.Signals, root: Path, postgres_uri: str, postgres_server: PostgresServer
) -> None:
    with rehearsing(root, postgres_uri, place, postgres_server) as process:
        process.send_signal(number)
        told, _ = process.communicate(timeout=120)
    assert (process.returncode, told) == (128 + number, f"stopped by {number.name}\n")
    wait_until(lambda: postgres_server.ask(SESSIONS) == 0)
    assert postgres_server.ask(COPIES) == 0
    assert postgres_server.ask("SELECT to_regclass('made')", postgres_uri.rpartition("/")[2]) is None
    assert not list(root.parent.glob("migrate_graph_rehearsal_*"))


@pytest.mark.parametrize("place", ["clone", "scratch"])
def test_what_a_kill_leaves_the_next_one_removes(
    place: str, root: Path, postgres_uri: str, postgres_server: PostgresServer
) -> None:
    with rehearsing(root, postgres_uri, place, postgres_server) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        # The server still executes what the dead client left; it notices when that ends, or when it looks.
        wait_until(lambda: postgres_server.ask(ENDED))
        wait_until(lambda: postgres_server.ask(SESSIONS) == 0)
    assert postgres_server.ask(COPIES) == 1
    (root / "migrations.py").write_text(PROJECT.replace("pg_sleep(600)", "1"))
    environment = {**os.environ, "PATH": f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}"}  # noqa: TID251 - a child's
    done = subprocess.run(
        [sys.executable, "-c", REHEARSE, str(root), postgres_uri, place], env=environment, check=False
    )
    assert done.returncode == 0
    assert postgres_server.ask(COPIES) == 0


def test_one_that_goes_on_is_left_alone_by_another(
    root: Path, postgres_uri: str, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "migrations.py").write_text(PROJECT.replace("pg_sleep(600)", "1"))
    with rehearsing(root, postgres_uri, "clone", postgres_server) as process:
        environment = {**os.environ, "PATH": f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}"}  # noqa: TID251 - a child's
        done = subprocess.run(
            [sys.executable, "-c", REHEARSE, str(other), postgres_uri, "clone"], env=environment, check=False
        )
        assert done.returncode == 0
        assert postgres_server.ask(COPIES) == 1
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert postgres_server.ask(COPIES) == 0
