"""A project has one graph: whoever opens it, what the footprint file has learnt of views is known."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

import migrate_graph
from migrate_graph import migrations
from migrate_graph.compat.declared import import_migrations, imported
from migrate_graph.compat.runs import project_for, session_of
from migrate_graph.config import Config, load_config
from migrate_graph.core.graph import build_graph
from migrate_graph.core.model import UsesFrom
from migrate_graph.core.traces import Entry, Trace, Traces
from migrate_graph.core.uses import known_uses, with_known_uses
from migrate_graph.loader import load
from migrate_graph.workflow.adding_requires import add_requires, take_snapshot
from migrate_graph.workflow.footprint_file import footprint_text
from migrate_graph.workflow.project import Project, open_project
from migrate_graph.workflow.proof import with_requirements

FILE = """
    from migrate_graph import SqlView, migration

    @migration
    def create_20260101_001(db):
        return True

    @migration
    def fill_20260102_002(db):
        return True

    class Base(SqlView):
        query = "SELECT id, total FROM orders"

    class total(SqlView):  # a word of another query, which is no view there
        query = "SELECT 1 AS one"

    class Reader(SqlView):
        query = "SELECT max(total) AS most FROM base"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """The settings of a project whose footprint file knows that `Reader` reads `Base` alone."""
    monkeypatch.chdir(tmp_path)
    before, migrations.managers[:] = [*migrations.managers], []  # of other tests of this process
    (tmp_path / "migrations.py").write_text(textwrap.dedent(FILE))
    config = load_config(tmp_path, environ={})
    views = open_project(config).graph.views
    assert views["Reader"].uses == ("Base", "total"), "that is guessed"
    prints = {name: view.fingerprint for name, view in views.items()}
    uses = {"Base": frozenset[str](), "total": frozenset[str](), "Reader": frozenset({"Base"})}
    seen = Traces({"create_20260101_001": Entry(Trace(), views=prints, uses=uses)})
    (tmp_path / "migrations.footprint.json").write_text(footprint_text(seen))
    yield config
    migrations.managers[:] = before


def by_the_command_line(config: Config) -> Project:
    return open_project(config)


def by_a_program(config: Config) -> Project:
    try:
        assert import_migrations([], config)
        return project_for(config)
    finally:
        imported.forget()


def by_a_console_in_a_program(config: Config) -> Project:
    project = session_of(config).project(None)
    assert isinstance(project, Project)
    return project


def with_more_requirements(config: Config) -> Project:
    return with_requirements(open_project(config), {"fill_20260102_002": ("create_20260101_001",)})


def in_a_worker(config: Config) -> Project:
    """A worker is told what the run knows: it reads no footprint file."""
    project = open_project(config)
    loaded = load(project.path, root=project.root)
    views = with_known_uses(loaded.views, known_uses(project.registry.views))
    return replace(project, graph=build_graph(replace(loaded, views=views)))


@pytest.mark.parametrize(
    "opened", [by_the_command_line, by_a_program, by_a_console_in_a_program, with_more_requirements, in_a_worker]
)
def test_what_was_learnt_is_known(config: Config, opened: Callable[[Config], Project]) -> None:
    view = opened(config).graph.views["Reader"]
    assert (view.uses, view.uses_from) == (("Base",), UsesFrom.LEARNT)


def test_requirements_can_be_written_where_something_was_learnt(config: Config) -> None:
    project = open_project(config)
    additions = {"fill_20260102_002": ("create_20260101_001",)}
    added = add_requires(project, additions, take_snapshot(project, {}), {})
    assert not added.unable
    assert 'requires="create_20260101_001"' in (project.root / "migrations.py").read_text()


def test_of_another_file_nothing_was_learnt(config: Config, tmp_path: Path) -> None:
    """As on the command line: the footprint file is about the configured file."""
    other = tmp_path / "other.py"
    other.write_text(textwrap.dedent(FILE))
    try:
        assert import_migrations([str(other)], config)
        assert project_for(config).graph.views["Reader"].uses_from is UsesFrom.GUESSED
    finally:
        imported.forget()
    assert open_project(config, other).graph.views["Reader"].uses_from is UsesFrom.GUESSED


MAKES_PROJECTS = {"workflow/project.py"}
MAKES_GRAPHS = {
    "workflow/project.py",  # of a project: all others ask it
    "executor/worker.py",  # of the same files, with what the run knows
    "executor/views.py",  # of the run's own, when a body declares a view, or the database tells of a reader
    "authoring/store.py",  # of edwh-migrate's store, for the order alone
    "authoring/views.py",  # of the relatives of a manager that is used outside of a run
}


def test_nobody_else_makes_a_project_or_its_graph() -> None:
    """Whoever needs one asks `open_project`, `project_of` or `Project.declaring`, which forget nothing."""
    package = Path(migrate_graph.__file__).parent
    found: dict[str, set[str]] = {"Project": set(), "build_graph": set()}
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in found:
                found[node.func.id].add(file.relative_to(package).as_posix())
    assert found == {"Project": MAKES_PROJECTS, "build_graph": MAKES_GRAPHS}
