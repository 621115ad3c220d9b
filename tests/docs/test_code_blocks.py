"""What the documentation shows is run: files are written, commands typed, output compared.

In a page, a `python` or `toml` block with a title is a file of that name; other `python` blocks are loaded as a
migrations file. The commands of `console` blocks (`$ …`) run beside those files, from top to bottom; what they export
holds to the end of the page, and they end with 0 unless `# exits N` says otherwise. Output that is shown must be what
comes out; `…` stands for anything. `sh` blocks are for people only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
LIBRARY = ROOT / "examples" / "with_pytest"

# Page → the project it talks about; None: the page writes its own files.
RUN = {
    "README.md": None,
    "docs/index.md": None,
    "docs/writing-migrations.md": None,
    "docs/existing-database.md": None,
    "docs/graph.md": SHOP,
    "docs/pydal.md": None,
    "docs/views.md": None,
    "docs/moving-from-edwh-migrate.md": None,
    "examples/shop/README.md": SHOP,
    "docs/testing.md": None,
    "docs/recipes.md": None,
    "docs/rehearsing.md": None,
    "docs/verifying.md": None,
    "examples/with_pytest/README.md": LIBRARY,
    "examples/with_pydal2sql/README.md": ROOT / "examples" / "with_pydal2sql",
}
FENCE = re.compile(
    r"^ *```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
EXITS = re.compile(r"\s+# exits (\d+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str
    line: int


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield Block(match["language"], match["title"], match["text"], text.count("\n", 0, match.start()) + 1)


def dialogue(text: str) -> Iterator[tuple[str, int, str]]:
    """Cut a console block into commands, each with its exit code and the output that is shown."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        exits = EXITS.search(command)
        yield EXITS.sub("", command), int(exits[1]) if exits else 0, output.strip()


def matches(*, shown: str, real: str) -> bool:
    """Whether the output is what is shown; trailing blanks do not count."""
    pattern = ".*?".join(re.escape(part) for part in shown.split("…"))
    lines = "\n".join(line.rstrip() for line in real.strip().splitlines())
    return re.fullmatch(pattern, lines, re.DOTALL) is not None


def run(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # noqa: TID251 - tests are an edge too
        "HOME": str(cwd.parent), "LANG": "C.UTF-8", "COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return subprocess.run(
        ["bash", "-c", command], check=False, cwd=cwd, env=environment, timeout=120, text=True, encoding="utf-8",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize("page", RUN)
def test_the_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    if (template := RUN[page]) is None:
        project.mkdir()
    else:
        shutil.copytree(template, project, ignore=shutil.ignore_patterns("__pycache__", "*.db*", "*.svg"))
    exports: list[str] = []
    for block in blocks_of(ROOT / page):
        if block.title is not None:
            (project / block.title).write_text(block.text, encoding="utf-8")
        if block.language == "console":
            for command, exits, shown in dialogue(block.text):
                exports += [command] if command.startswith("export ") else []
                done = run("\n".join([*exports, command]), project)
                where = f"{page}:{block.line}: {command} → {done.returncode}\n{done.stdout}"
                if done.returncode != exits:
                    pytest.fail(f"{where}\nshould have ended with {exits}", pytrace=False)
                if shown and not matches(shown=shown, real=done.stdout):
                    pytest.fail(f"{where}\nthe page says:\n{shown}", pytrace=False)


def python_blocks() -> Iterator[object]:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")]
    for page in sorted(pages):
        for block in blocks_of(page):
            if block.language == "python" and "migrate_graph" in block.text:
                yield pytest.param(block, id=f"{page.relative_to(ROOT)}:{block.line}")


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_in_the_documentation_loads(block: Block, tmp_path: Path) -> None:
    from migrate_graph.loader import load

    file = tmp_path / "migrations.py"
    file.write_text(block.text, encoding="utf-8")
    load(file)


def test_what_is_compared_can_differ() -> None:
    assert matches(shown="a\n…\nc", real="a\nb\nc\n")
    assert not matches(shown="a\nc", real="a\nb\nc\n")
