"""What the shell completes: names and codes, found without running anybody's code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

# A project with more files than this is completed from the first ones: a shell must not hang on a tab.
_FILES = 200
_DECLARED = re.compile(r"^(?:async )?def (\w+)|^class (\w+)\(", re.MULTILINE)
_DECORATOR = re.compile(r"^@(?:\w+\.)?migration\b", re.MULTILINE)


def complete_name(incomplete: str) -> list[str]:
    """Return the migrations and views whose name begins so, from the text of the files."""
    return sorted(name for name in _names(Path.cwd()) if name.startswith(incomplete))


def complete_code(incomplete: str) -> list[tuple[str, str]]:
    """Return the codes that begin so, each with its rule's name."""
    from migrate_graph.core.rules import RULES

    return [(code, rule.name) for code, rule in RULES.items() if code.startswith(incomplete.upper())]


def _names(directory: Path) -> Iterator[str]:
    for path in _python_files(directory):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if "migration" not in text and "ViewMigrationManager" not in text:
            continue
        if _DECORATOR.search(text):
            for block in _DECORATOR.split(text)[1:]:
                if found := _DECLARED.search(block):
                    yield found[1] or found[2]
        yield from re.findall(r"^class (\w+)\([^)]*(?:ViewMigrationManager|_V\d+|View)\b", text, re.MULTILINE)


def _python_files(directory: Path) -> Iterator[Path]:
    seen = 0
    for parent, directories, files in os.walk(directory):
        directories[:] = sorted(
            name
            for name in directories
            if not name.startswith((".", "__")) and name not in {"node_modules", "venv", "tests"}
        )
        for name in sorted(files):
            if name.endswith(".py"):
                seen += 1
                if seen > _FILES:
                    return
                yield Path(parent, name)
