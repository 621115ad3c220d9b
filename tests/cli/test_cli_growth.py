"""Eight times the views are at most ten times the work of a command, counted in calls, and no more questions to the catalogs."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import psycopg2
import pytest
from growing import calls_of

from migrate_graph import ViewMigrationManager
from migrate_graph.authoring import views
from migrate_graph.cli import main
from migrate_graph.core.states import NodeState
from migrate_graph.database import Settings, open_backend
from migrate_graph.database.postgres.session.connection import OurConnection

_FEW, _MANY = 500, 4_000

_MANAGER = """
class V{number}(ViewMigrationManager):
    uses = ({uses})
    since = "m_0"
    def up(self):
        self.db.executesql("CREATE VIEW v{number} AS SELECT {number} AS id")
    def down(self):
        self.db.executesql("DROP VIEW IF EXISTS v{number}")
"""

_MIGRATION = """
@migration{requires}
def m_{number}(db):
    with V{number}(db):
        pass
    return True
"""


def _project(directory: Path, size: int) -> Path:
    directory.mkdir()
    managers = (_MANAGER.format(number=number, uses=f"V{number - 1}," if number % 10 else "") for number in range(size))
    migrations = (
        _MIGRATION.format(number=number, requires=f"(requires=[m_{number - 1}])" if number else "")
        for number in range(size // 10)
    )
    text = "".join(["from migrate_graph import ViewMigrationManager, migration\n", *managers, *migrations])
    (directory / "migrations.py").write_text(text)
    (directory / "pyproject.toml").write_text("[tool.migrate]\n")
    return directory


def _quietly(*words: str, home: Path) -> None:
    """Run a command that succeeds; nobody reads what it prints."""
    out = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO())):
        assert main(words, environ={"CI": "true", "HOME": str(home)}) == 0


@pytest.mark.parametrize("words", ["check", "plan --offline --json", "status --offline --json"])
def test_a_command_grows_with_the_views(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for size in (_FEW, _MANY):
        monkeypatch.chdir(_project(tmp_path / str(size), size))
        _quietly("--version", home=tmp_path)  # what is imported once is imported now
        calls.append(calls_of(lambda: _quietly(*words.split(), home=tmp_path)))
    few, many = calls
    assert many < 10 * few, f"{few} calls for {_FEW}, {many} for {_MANY}"


@pytest.mark.postgres
def test_the_catalogs_are_asked_as_often_for_many_views(postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `status` asks of 4,000 views is asked in as many statements as of 500, and costs eight times as many calls."""
    connection = psycopg2.connect(postgres_uri)
    connection.autocommit = True
    cursor = connection.cursor()
    asked, managers, settings = [], {}, Settings(postgres_uri)
    sent: list[object] = []
    cursors = OurConnection.cursor

    def counted(self: OurConnection, *arguments: object, **options: object) -> object:
        sent.append(1)
        return cursors(self, *arguments, **options)

    with open_backend(settings, writing=True) as backend:
        backend.prepare()
    for first, last in ((0, _FEW), (_FEW, _MANY)):
        for start in range(first, last, 250):
            texts = (
                f"CREATE VIEW v{number} AS SELECT {number} AS id" for number in range(start, min(start + 250, last))
            )
            cursor.execute("; ".join(texts))
        for number in range(first, last):
            body = {
                "uses": (),
                "up": lambda self, n=number: self.db.executesql(f"CREATE VIEW v{n} AS SELECT {n} AS id"),
                "down": lambda self, n=number: self.db.executesql(f"DROP VIEW IF EXISTS v{n}"),
                "__module__": __name__,
            }
            managers[f"V{number}"] = type(f"V{number}", (ViewMigrationManager,), body)
        with open_backend(settings, writing=True) as backend:
            backend.record_existing_views(managers, {})
            sent.clear()
            with monkeypatch.context() as patched:
                patched.setattr(OurConnection, "cursor", counted)
                backend.view_presences(managers)
                statements = len(sent)
            asked.append((statements, calls_of(lambda b=backend: b.view_presences(managers))))  # type: ignore[misc]
    connection.close()
    (few, few_calls), (many, many_calls) = asked
    assert many == few
    assert many_calls < 10 * few_calls


def test_each_view_is_looked_at_once_not_once_for_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of every view for every step would not show among all other calls of projects of this size."""
    asked: list[str] = []
    changed, identity = NodeState.changed, views._identity

    def is_changed(state: NodeState) -> bool:
        asked.append("changed")
        return changed.fget(state)  # type: ignore[attr-defined, no-any-return] # a property

    monkeypatch.setattr(NodeState, "changed", property(is_changed))
    monkeypatch.setattr(views, "_identity", lambda manager: asked.append("declared") or identity(manager))
    monkeypatch.chdir(_project(tmp_path / "project", 300))
    _quietly("plan", "--offline", "--json", home=tmp_path)
    assert asked.count("changed") < 5 * 330
    assert asked.count("declared") < 2 * 300
