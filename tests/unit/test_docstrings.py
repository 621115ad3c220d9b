"""Docstrings of functions begin as their readers expect, with what is returned, yielded, raised or written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import migrate_graph

_VAGUE = re.compile(r"(Give the|Say|Tell|Let|Make sure)s?\b|[^.\n]*; gives? ")
"""They leave open whether something is returned, shown or written."""


def test_no_docstring_of_a_function_is_vague() -> None:
    package = Path(migrate_graph.__file__).parent
    found = []
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and _VAGUE.match(ast.get_docstring(node) or ""):
                found.append(f"{file.relative_to(package)}:{node.lineno} {node.name}: {ast.get_docstring(node)}")
    assert not found, "begin with Return, Yield, Raise, Write, …"
