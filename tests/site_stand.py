"""The site as a release builds it, and the environment of a build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOLD_BY_CI = {
    "MIGRATE_GRAPH_REPOSITORY", "CI_PROJECT_URL", "CI_COMMIT_SHA", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_SHA",
    "GITHUB_WORKSPACE", "CI_PROJECT_DIR",
}  # fmt: skip


def without_a_repository() -> dict[str, str]:
    """Return an environment in which nobody says where the repository is."""
    shell = os.environ.items()  # noqa: TID251 - handed on to children
    return {name: value for name, value in shell if name not in TOLD_BY_CI} | {"NO_MKDOCS_2_WARNING": "1"}


def build_site(site: Path, **environ: str) -> Path:
    """Build the site into a directory, strictly, with these variables in the environment; return the directory."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(site)],
        check=False, cwd=ROOT, env=without_a_repository() | environ, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return site
