"""The list of broken lines fits the package: each stands there once, and each test that must notice exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mutants import MUTANTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_breaks_one_line_and_names_a_test(mutant: object) -> None:
    text = (ROOT / "migrate_graph" / mutant.file).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert text.count(mutant.line) == 1  # type: ignore[attr-defined]
    ast.parse(text.replace(mutant.line, mutant.broken))  # type: ignore[attr-defined]
    where, _, words = mutant.tests.partition(" -k ")  # type: ignore[attr-defined]
    files, _, name = where.partition("::")
    tests = "".join((ROOT / file).read_text(encoding="utf-8") for file in files.split())
    assert not name or f"def {name}(" in tests
    wanted = [each for each in re.findall(r"\w+", words) if each not in {"and", "or", "not"}]
    assert not wanted or any(each in tests for each in wanted)


def test_no_two_have_one_name() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
