"""A project whose tests pytest runs with the plugin."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path

import pydal  # noqa: F401 - a class of ours is made of it once
import pytest
from servers import PostgresServer

# A run inside this process forgets what it imported; what is here already it need not import again, each time.
import migrate_graph.database.postgres.backend
import migrate_graph.database.sqlite.backend
import migrate_graph.pytest_plugin
import migrate_graph.workflow.laboratory.scratch_runs  # noqa: F401

SHOP = '''
    """Two tables, a report on one of them, and a report on that."""
    from migrate_graph import ViewMigrationManager, migration


    @migration
    def create_customers_20260401_001(db):
        db.executesql("CREATE TABLE customer (id INTEGER PRIMARY KEY, name VARCHAR(80), city VARCHAR(80))")
        return True


    class Names(ViewMigrationManager):
        uses = ()
        since = "create_reports_20260401_002"

        def up(self):
            self.db.executesql("CREATE VIEW names AS SELECT id, name FROM customer")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS names")


    class Initials(ViewMigrationManager):
        uses = (Names,)
        since = "create_reports_20260401_002"

        def up(self):
            self.db.executesql("CREATE VIEW initials AS SELECT id, substr(name, 1, 1) AS initial FROM names")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS initials")


    @migration(requires=create_customers_20260401_001)
    def create_reports_20260401_002(db):
        with Names(db):
            pass
        return True


    @migration(requires=create_reports_20260401_002)
    def shout_20260402_001(db):
        db.executesql("UPDATE customer SET name = upper(name)")
        return True
'''


class Project:
    """A project with tests, run by the pytest of this process."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.configure()
        self.declare(SHOP)

    def configure(self, *lines: str, migrate: str = "") -> None:
        options = "\n".join(lines)
        self.write("pyproject.toml", f"[tool.pytest.ini_options]\n{options}\n[tool.migrate]\n{migrate}\n")

    def declare(self, *parts: str) -> None:
        self.write("migrations.py", "\n".join(textwrap.dedent(part) for part in parts))

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(textwrap.dedent(text), encoding="utf-8")

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "-p", "migrate_graph.pytest_plugin", *arguments
        )

    def ready(self, *names: str, arguments: tuple[str, ...] = ()) -> pytest.RunResult:
        """Run ready tests only."""
        (self.path / "tests").mkdir(exist_ok=True)
        self.configure(f"migrate_graph_tests = {list(names)}")
        return self.run("tests", *arguments)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others take seconds to start
    monkeypatch.delenv("MIGRATE_TEST_URI", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return Project(pytester)


def databases_of(server: PostgresServer) -> set[str]:
    import psycopg2

    connection = psycopg2.connect(server.admin_uri())
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'migrate_graph_test_%'")
            return {name for (name,) in cursor.fetchall()}
    finally:
        connection.close()
