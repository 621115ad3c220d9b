"""The command line inside this process: fast, with its output and exit code as values."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migrate_graph.cli import main


@dataclass
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """A directory to run commands in."""

    def __init__(self, path: Path, capture: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.env: dict[str, str] = {}
        self._capture = capture
        monkeypatch.chdir(path)

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return file

    def __call__(self, *words: str, **env: str) -> Ran:
        self._capture.readouterr()
        code = main(words, environ={**self.env, **env})
        out, err = self._capture.readouterr()
        return Ran(int(code), out, err)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An empty project directory; `shell("plan", "--check")` runs a command in it."""
    path = tmp_path / "shop"
    path.mkdir()
    return Shell(path, capsys, monkeypatch)


GOOD = '''
    from migrate_graph import ViewMigrationManager, migration


    class Totals(ViewMigrationManager):
        """What customers owe."""

        uses = ()
        since = "create_invoice_20260301_002"

        def up(self):
            self.db.executesql("CREATE VIEW totals AS SELECT sum(total) AS total FROM invoice")

        def down(self):
            self.db.executesql("DROP VIEW IF EXISTS totals")


    @migration
    def create_customer_20260301_001(db):
        """Who buys."""
        db.executesql("CREATE TABLE customer (id INTEGER PRIMARY KEY)")
        return True


    @migration(requires=[create_customer_20260301_001], tags=["money"])
    def create_invoice_20260301_002(db):
        """What they owe."""
        db.executesql("CREATE TABLE invoice (id INTEGER PRIMARY KEY, total INTEGER)")
        with Totals(db):
            pass
        return True


    @migration(requires=[create_invoice_20260301_002])
    def widen_total_20260302_001(db):
        with Totals(db):
            db.executesql("ALTER TABLE invoice ADD COLUMN vat INTEGER")
        return True
'''


@pytest.fixture
def shop(shell: Shell) -> Shell:
    """A valid project of three migrations and a view, with a database that does not exist yet."""
    shell.write("migrations.py", GOOD)
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'shop.db'}"
    return shell


BROKEN = """
    from migrate_graph import migration


    @migration(requires=["ring_b"])
    def ring_a(db):
        return True


    @migration(requires=["ring_a"])
    def ring_b(db):
        return True


    @migration(requires=["crate_customer"])
    def create_customer(db):
        return True
"""


@pytest.fixture
def broken(shell: Shell) -> Shell:
    """A project with a ring and an unknown requirement."""
    shell.write("migrations.py", BROKEN)
    return shell
