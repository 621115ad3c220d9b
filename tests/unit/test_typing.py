"""Everything that users import has a type: their files pass mypy and pyright, both strict."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import migrate_graph

PROJECT = Path(__file__).parents[1] / "projects" / "typed"
STRICT = {
    "typeCheckingMode": "strict",
    "pythonVersion": "3.11",
    # What a body does with `db` has no types: pyDAL has none.
    **dict.fromkeys(("reportUnknownMemberType", "reportUnknownVariableType", "reportUnknownArgumentType"), False),
}


def mypy(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir=/dev/null", "migrations.py"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip


def pyright(directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "pyrightconfig.json").write_text(json.dumps(STRICT))
    return subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "migrations.py"],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project under strict types."""
    return Path(shutil.copytree(PROJECT, tmp_path / "typed"))


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_project_passes_strictly(project: Path, checker) -> None:
    checked = checker(project)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('transaction="single"', 'transaction="singel"'),
        ("requires=[one_20260101_001", "requires=[1"),
        ("name.upper()", "name.uper()"),
        ("print(ok,", "print(ok + '',"),
    ],
)
def test_what_is_wrong_is_found(project: Path, checker, right: str, wrong: str) -> None:
    file = project / "migrations.py"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    assert checker(project).returncode == 1


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_new_writes_passes_strictly(tmp_path: Path, checker) -> None:
    for words in (["init"], ["new", "create_customers"], ["new", "Totals", "--view", "--requires", "leaves"]):
        subprocess.run([sys.executable, "-m", "migrate_graph", *words], cwd=tmp_path, check=True, capture_output=True)
    checked = checker(tmp_path)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", migrate_graph.__all__)
def test_no_public_name_is_of_an_unknown_type(name: str, tmp_path: Path, revealed: dict[str, str]) -> None:
    assert revealed[name] not in {"Unknown", "Any", "object"}


@pytest.fixture(scope="module")
def revealed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pyright knows of each public name."""
    directory = tmp_path_factory.mktemp("revealed")
    lines = ["import migrate_graph", *(f"reveal_type(migrate_graph.{name})" for name in migrate_graph.__all__)]
    (directory / "migrations.py").write_text("\n".join(lines))
    told = pyright(directory).stdout
    return dict(re.findall(r'Type of "migrate_graph\.(\w+)" is "(.+)"', told))
