"""The files for containers are those of the page, can be read, and type commands that exist."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "deployment"
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.name)
def test_the_page_shows_the_file(path: Path) -> None:
    assert f'title="{path.name}"\n{path.read_text(encoding="utf-8")}```' in PAGE


def commands_in(value: Any) -> list[list[str]]:
    """Return every list of words that runs migrate."""
    if isinstance(value, dict):
        return [found for each in value.values() for found in commands_in(each)]
    if isinstance(value, list):
        if value[:1] == ["migrate"]:
            return [[str(word) for word in value]]
        return [found for each in value for found in commands_in(each)]
    return []


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_its_commands_exist(name: str, tmp_path: Path) -> None:
    """Typed in an empty directory, with a database that is not there to be reached: the words are understood."""
    commands = commands_in(list(yaml.safe_load_all((FILES / name).read_text(encoding="utf-8"))))
    assert commands
    for _, *words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "migrate_graph", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert "migrations.py does not exist" in done.stderr, done.stderr


def test_services_wait_for_what_they_need() -> None:
    services = yaml.safe_load((FILES / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services["app"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
