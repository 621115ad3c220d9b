"""The README's commands do what it says, on a clean checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

# ruff: noqa: TID251 - the environment is handed on to children

ROOT = Path(__file__).parents[2]
NOT_CHECKED_OUT = (
    ".git",
    ".venv",
    ".demo",
    "build",
    "dist",
    "site",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "*.db",
    "tests",
)


def recipe(target: str) -> str:
    """Return what `make` runs for a target, without its prerequisites."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    match = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert match is not None
    return match[1].replace("$(BIN)", ".venv/bin").replace("$(WORKERS)", "auto")


def pip_settings() -> dict[str, str]:
    """Return what tells pip where packages are."""
    shell = os.environ.items()
    return {name: value for name, value in shell if name.startswith("PIP_") or name in {"SSL_CERT_FILE", "PYENV_ROOT"}}


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_make_demo(tmp_path: Path) -> None:
    assert "make demo" in (ROOT / "README.md").read_text(encoding="utf-8")
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*NOT_CHECKED_OUT))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"} | pip_settings()
    for _ in range(2):  # the second time finds what the first has left
        done = subprocess.run(
            ["make", "demo"], check=False, cwd=checkout, env=environment, timeout=500, text=True, encoding="utf-8",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if "No matching distribution found" in done.stdout and not os.environ.get("CI"):
            pytest.skip("no package index within reach")
        assert done.returncode == 0, done.stdout
        picture = checkout / ".demo" / "plan.svg"
        assert str(picture) in done.stdout
        assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert "add_due_date_20260406_001" in done.stdout


def test_ci_runs_what_make_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for target in ("lint", "types", "house", "test"):
        for line in recipe(target).splitlines():
            assert line.strip() in script, f"`make {target}` and .ci/run differ"


def test_every_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.findall(r"^\.PHONY: (\w+)$", makefile, re.MULTILINE))
    assert phony == set(re.findall(r"^(\w+):.*## \S", makefile, re.MULTILINE))
