"""A user's project in a temporary directory, and the command line in a child process that knows nothing of this shell.

Not in `conftest.py`, where tests could not import it: there are several files of that name.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

RunMigrate = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nothing of this shell's settings is left."""
    kept = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - tests are an edge too
        if name in {"PATH", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START", "PYTHONPATH"}
    }
    return (
        kept
        | {"HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        | dict(extra or {})
    )


class Project:
    """A temporary project directory.

    `project.write("migrations.py", "…")` writes (dedented); `project.migrate("plan")` runs the command line in it,
    with `project.env` as its settings.
    """

    def __init__(self, path: Path, run: RunMigrate) -> None:
        self.path = path
        self.env: dict[str, str] = {}
        self._run = run

    def write(self, name: str, text: str) -> Path:
        """Write a file, creating its directories."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def migrate(
        self, *args: str | Path, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in the project."""
        return self._run(*args, cwd=self.path, env=self.env | dict(env or {}), timeout=timeout)
