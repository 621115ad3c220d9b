"""Whatever ends a verification, a signal or a kill, and whatever it was at: nothing of it stays, or the next one removes it."""

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

# The second sleeps where the first has not run: in another order, and on its requirements alone; or everywhere.
PROJECT = """
from migrate_graph import migration


@migration
def first_1(db):
    db.executesql("CREATE TABLE made (a int)")
    return True


@migration
def second_2(db):
    db.executesql("CREATE TABLE beside (a int)")
    if {everywhere} or db.executesql("SELECT to_regclass('made') IS NULL")[0][0]:
        db.executesql("SELECT pg_sleep(600)")
    return True
"""

VERIFY = """
import sys
from pathlib import Path
from migrate_graph.config import load_config
from migrate_graph.errors import MigrateGraphError
from migrate_graph.workflow.laboratory.closing import close
from migrate_graph.workflow.laboratory.permuting import permute
from migrate_graph.workflow.project import open_project
from migrate_graph.workflow.laboratory.laboratory import laboratory

root = Path(sys.argv[1])
project = open_project(load_config(root, {}), root=root)
try:
    with laboratory(project, on=sys.argv[2]) as found:
        watched = found.watch()
        if sys.argv[3] == "permute":
            permute(found, most=3)
        if sys.argv[3] == "close":
            close(found, watched)
except MigrateGraphError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""

DATABASES = "SELECT count(*) FROM pg_database WHERE datname ~ '^migrate_graph_'"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^migrate_graph'"
SLEEPS = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' AND state = 'active'"


@pytest.fixture
def server(postgres_server: PostgresServer, may_create_databases: None) -> PostgresServer:
    return postgres_server


def command(root: Path, uri: str, doing: str) -> list[str]:
    return [sys.executable, "-c", VERIFY, str(root), uri, doing]


@contextmanager
def verifying(root: Path, uri: str, doing: str, server: PostgresServer) -> Iterator[subprocess.Popen[str]]:
    """Verify in a child, and give it when its second migration sleeps on the server."""
    (root / "migrations.py").write_text(PROJECT.format(everywhere=doing == "watch"))
    (root / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(root / "tmp")}  # noqa: TID251 - a child's
    process = subprocess.Popen(command(root, uri, doing), env=environment, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: server.ask(SLEEPS) == 1)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("doing", ["watch", "permute", "close"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_nothing_stays(
    doing: str, number: signal.Signals, tmp_path: Path, postgres_uri: str, server: PostgresServer
) -> None:
    with verifying(tmp_path, postgres_uri, doing, server) as process:
        process.send_signal(number)
        told, _ = process.communicate(timeout=60)
    assert (process.returncode, told) == (128 + number, f"stopped by {number.name}\n")
    wait_until(lambda: server.ask(SESSIONS) == 0)
    assert server.ask(DATABASES) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_kill_leaves_the_next_one_removes(tmp_path: Path, postgres_uri: str, server: PostgresServer) -> None:
    with verifying(tmp_path, postgres_uri, "permute", server) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        # The server still executes what the dead client left; it notices when that ends, or when it looks.
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' UNION ALL SELECT true LIMIT 1"
        wait_until(lambda: server.ask(ended))
        wait_until(lambda: server.ask(SESSIONS) == 0)
    assert server.ask(DATABASES) == 2  # the start of all, and the one that was at work
    (tmp_path / "migrations.py").write_text(PROJECT.format(everywhere=False).replace("pg_sleep(600)", "1"))
    assert subprocess.run(command(tmp_path, postgres_uri, "watch"), check=False).returncode == 0
    assert server.ask(DATABASES) == 0
