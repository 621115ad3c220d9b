"""What is generated is what the code says today; what is linked exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(generator: ModuleType) -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generator.generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
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
