"""What is looked up for advisories, and that no answer is never taken for a good one."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def audit() -> ModuleType:
    spec = spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_everything_that_a_user_may_install_has_a_lowest_version_that_is_documented(audit: ModuleType) -> None:
    bounds = audit.lowest_versions(ROOT / "pyproject.toml")
    assert {"pydal", "wasmtime", "psycopg2-binary", "redis", "TypeDAL"} <= bounds.keys()
    assert "pytest" not in bounds
    assert all(bounds.values())
    rows = re.findall(
        r"^\| ([\w-]+) \| (\d[\w.]*) \| [^|]+ \|$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert dict(rows) == bounds


def test_what_is_known_to_be_unsafe_is_not_allowed(audit: ModuleType) -> None:
    bounds = audit.lowest_versions(ROOT / "pyproject.toml")
    assert int(bounds["wasmtime"].split(".")[0]) >= 44
    assert [int(part) for part in bounds["psycopg2-binary"].split(".")] >= [2, 9, 13]


def test_a_dependency_without_a_lowest_version_is_told(audit: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nname = "p"\ndependencies = ["one>=1.2; python_version > \'3\'", "two", "three[x]>=3", "four<5"]\n'
        '[project.optional-dependencies]\nextra = ["p[more]", "five >= 5"]\ndev = ["six"]\n'
    )
    bounds = audit.lowest_versions(file)
    assert bounds == {"one": "1.2", "two": "", "three": "3", "four": "", "five": "5"}
    code, told = audit.audit("pip-audit-that-is-not-there", bounds)
    assert code == 2
    assert "four, two" in told[0] or "two, four" in told[0]


SAID: dict[str, Any] = {"name": "one", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"id": "PYSEC-1", "fix_versions": ["2"]}
CANARY: dict[str, Any] = {"name": "requests", "version": "2.19.0", "vulns": [BAD]}
SKIPPED = {"name": "one", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("canary", "lowest", "today", "code", "said"),
    [
        ([CANARY], [SAID], [SAID], 0, "2 versions looked up at pypi"),
        ([CANARY], [SAID | {"vulns": [BAD]}], [SAID], 1, "lowest: one 1: PYSEC-1, mended in 2"),
        ([CANARY], [SAID], [SAID | {"vulns": [BAD]}], 1, "of today: one 1: PYSEC-1"),
        ([CANARY], [SKIPPED], [SAID], 3, "lowest: one: not looked up: Dependency not found"),
        ([CANARY], [SAID], [], 3, "of today: could not be looked up"),
        ([{"name": "requests", "skip_reason": "not found"}], [SAID], [SAID], 3, "no advisory data can be reached"),
        ([CANARY | {"vulns": []}], [SAID], [SAID], 3, "no advisory data can be reached"),
        (None, [SAID], [SAID], 3, "no advisory data can be reached"),
    ],
)
def test_the_exit_code(
    canary: Any, lowest: Any, today: Any, code: int, said: str, audit: ModuleType, tmp_path: Path
) -> None:
    """Stands for pip-audit: answers by what it is asked; without an answer it fails as without a network."""
    answers = {"requests": canary, "one": lowest, ".": today}
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nanswers = json.loads({json.dumps(json.dumps(answers))})\n"
        "what = sys.argv[-1]\nwhat = what if what == '.' else open(what).read().split('==')[0]\n"
        "if answers[what] is None: sys.exit('Failed to resolve')\n"
        "print(json.dumps({'dependencies': answers[what]}))\n"
        "sys.exit(any(each.get('vulns') for each in answers[what]))\n"
    )
    program.chmod(0o755)
    found, told = audit.audit(str(program), {"one": "1"})
    assert found == code, told
    assert said in "\n".join(told)
