"""What the house promises and no import contract can see."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate_graph.config import load_config
from migrate_graph.core import events
from migrate_graph.core.events import Event
from migrate_graph.core.graph import build_graph
from migrate_graph.core.rules import RULES
from migrate_graph.database import BACKENDS, Backend, Settings, is_one_file
from migrate_graph.executor import Executor
from migrate_graph.loader import load
from migrate_graph.render import FORMATS
from migrate_graph.reports import REPORTS
from migrate_graph.workflow.assessment import assess

PACKAGE = Path(__file__).parents[2] / "migrate_graph"
# Whoever writes or reads what is different by the user's choice: URIs and the files of libpq; the SQL of a declared view.
MAY_ASK = {"config/secrets.py", "config/settings.py", "config/uris.py", "authoring/sql_view.py"}
# Their fields have metadata; are read when somebody asks for them; are compared in part.
DATACLASSES = {"Config", "BodyFacts", "_Binding"}


def asked(tree: ast.AST) -> Iterator[int]:
    """Yield the lines on which something is compared with the name of a kind of database."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            words: list[ast.expr] = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith":
            words = list(node.args)
        elif isinstance(node, ast.match_case):
            words = [each.value for each in ast.walk(node.pattern) if isinstance(each, ast.MatchValue)]
        else:
            continue
        texts = [each.value for word in words for each in ast.walk(word) if isinstance(each, ast.Constant)]
        if any(isinstance(text, str) and text.strip().lower().removesuffix("://") in BACKENDS for text in texts):
            yield node.lineno if hasattr(node, "lineno") else node.pattern.lineno


def test_nobody_outside_asks_which_database_it_is() -> None:
    places = {
        f"{name}:{line}"
        for path in PACKAGE.rglob("*.py")
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith("database/") and name not in MAY_ASK
        for line in asked(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not places, "ask the backend, or a function of migrate_graph.database, for what is different"


@pytest.mark.parametrize(
    "code",
    ["uri.startswith('postgres')", "kind == 'sqlite'", "kind in ('sqlite', 'x')", "match kind:\n case 'sqlite': 1"],
)
def test_who_asks_is_found(code: str) -> None:
    assert list(asked(ast.parse(code)))


@pytest.mark.parametrize(("uri", "one"), [("sqlite://a.db", True), ("SQLite:///a", True), ("postgres://h/d", False)])
def test_a_database_that_is_one_file(uri: str, one: bool) -> None:
    assert is_one_file(uri) is one


def test_every_event_is_one_of_the_events() -> None:
    """Without its line in `Event` mypy would not miss the text of a new one."""
    told = {
        name
        for name, value in vars(events).items()
        if isinstance(value, type)
        and value.__module__ == events.__name__
        and name not in {"Outcome", "Result", "LockHolder"}
    }
    assert told == {each.__name__ for each in Event.__args__}


def test_values_are_structs() -> None:
    """A dataclass takes forty times as long to be made."""
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in PACKAGE.rglob("*.py")}
    classes = [each for tree in trees.values() for each in ast.walk(tree) if isinstance(each, ast.ClassDef)]
    assert {
        each.name for each in classes if "dataclass" in " ".join(map(ast.unparse, each.decorator_list))
    } == DATACLASSES


def test_no_struct_shows_the_secrets_that_it_holds() -> None:
    """What collects tracebacks with the values of variables would send them on."""
    structs = {
        each.name: {name for part in each.body for name in _names_given(part)}
        for file in PACKAGE.rglob("*.py")
        for each in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(each, ast.ClassDef) and "Struct" in map(ast.unparse, each.bases)
    }
    secret = {name: names for name, names in structs.items() if names & {"secrets", "uri", "password"}}
    assert len(secret) > 3
    assert {name for name, names in secret.items() if "__repr__" not in names} == set()
    assert "hunter2" not in repr([Settings("postgres://u:hunter2@h/d", secrets=("hunter2",))])


def _names_given(part: ast.stmt) -> Iterator[str]:
    if isinstance(part, ast.AnnAssign | ast.Assign):
        targets = [part.target] if isinstance(part, ast.AnnAssign) else part.targets
        yield from map(ast.unparse, targets)


def test_no_file_is_called_after_nothing() -> None:
    assert not {path.stem for path in PACKAGE.rglob("*.py")} & {"utils", "helpers", "common", "manager"}


PATH_OF_DATA = {
    "load_config": load_config,
    "load": load,
    "build_graph": build_graph,
    "backend.read_history": Backend.read_history,
    "assess": assess,
    "Executor.run": Executor.run,
}


def test_the_path_of_data_is_that_of_the_page() -> None:
    """Each function of the page is there, takes what it says and returns what it says."""
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page.partition("## The path of data")[2].partition("```text\n")[2].partition("```")[0]
    told = re.findall(r"^([\w.]+)\(([^)]*)\) +→ (\w+)", block, re.MULTILINE)
    assert [name for name, _, _ in told] == list(PATH_OF_DATA)
    for name, arguments, result in told:
        signature = inspect.signature(PATH_OF_DATA[name])
        names = [each.strip() for each in arguments.split(",") if each.strip() not in {"", "…"}]
        assert names == [each for each in signature.parameters if each != "self"][: len(names)], name
        assert str(signature.return_annotation) == result, name
    assert re.search(r"^FORMATS\[name\], REPORTS\[name\] +→ bytes, text", block, re.MULTILINE)
    assert FORMATS
    assert REPORTS


def test_dicts_stand_where_a_plugin_system_would() -> None:
    assert all(isinstance(each, dict) for each in (RULES, FORMATS, REPORTS, BACKENDS))
