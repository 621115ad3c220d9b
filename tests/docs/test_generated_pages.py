"""What is generated is what the code says today; what is linked exists."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from migrate_graph.errors import ExitCode

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        yield importlib.import_module("generate")


def words_of(text: str) -> list[str]:
    """Return what a picture says, wherever the layout puts it: engines differ in the last digits."""
    root = ET.fromstring(text)
    return sorted(" ".join(piece.split()) for piece in root.itertext() if piece.strip())


def test_generated_pages_are_fresh(generator: ModuleType) -> None:
    stale = []
    for path, text in generator.generated():
        there = path.read_text(encoding="utf-8") if path.exists() else "<absent/>"
        same = words_of(there) == words_of(text) if path.suffix == ".svg" else there == text
        stale += [] if same else [str(path.relative_to(ROOT))]
    assert not stale, "run `make docs` and commit what it writes"


def test_every_module_has_its_sentence(generator: ModuleType) -> None:
    without = [
        str(module.relative_to(ROOT))
        for module in (ROOT / "migrate_graph").rglob("*.py")
        if not generator.sentence_of(module).endswith((".", ":"))
    ]
    assert not without, "a module starts with a docstring: its one sentence"


def test_every_page_stands_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE))


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)|src=\"([^\"]+)\"", text)
    local = [
        target
        for pair in targets
        for target in pair
        if target and "://" not in target and not target.startswith("mailto:")
    ]
    missing = [target for target in local if not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing


def test_the_readme_names_every_command(generator: ModuleType) -> None:
    from migrate_graph.cli.program import every_command

    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2].partition("\n## ")[0]
    words = set(re.findall(r"[a-z]+", " ".join(re.findall(r"`([^`]+)`", table))))
    missing = [path for path, _ in every_command(path="") if not set(path.split()) <= words]
    assert not missing


@pytest.mark.parametrize("page", ["cli.md", "reliability.md"])
def test_every_exit_code_is_told(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| (\d+)(?: ?\+ ?n)? \|", text, re.MULTILINE)}
    assert told >= {int(code) for code in ExitCode}
