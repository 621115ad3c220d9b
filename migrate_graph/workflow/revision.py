"""Judge a change: the graph as it is, against the graph of a git revision."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migrate_graph.core.comparison import Comparison, compare
from migrate_graph.core.graph import MigrationGraph, build_graph
from migrate_graph.core.model import Registry
from migrate_graph.errors import UsageError
from migrate_graph.loader import load
from migrate_graph.workflow.project import Project

_PATIENCE = 120.0
"""Seconds that one git command may take."""


@dataclass(frozen=True, slots=True)
class Base:
    """The graph of a revision, and what changed since.

    Attributes:
        revision: as it was named.
        graph: of that revision; empty when the migrations file did not exist yet.
        comparison: what changed.
    """

    revision: str
    graph: MigrationGraph
    comparison: Comparison


def read_base(project: Project, revision: str, *, environ: Mapping[str, str]) -> Base:
    """Load the graph of a git revision, without touching the checkout or its index.

    The code of that revision is run as the loader runs any; what it imports from outside the migrations' directory is
    what is installed now.

    Args:
        project: as it is now.
        revision: a branch, tag or commit.
        environ: the environment that git gets.

    Raises:
        UsageError: there is no git, no repository, or no such revision.
        LoadError: the migrations file of that revision does not run.
    """
    git = _Git(project.path.parent, environ)
    top = Path(git.asked("rev-parse", "--show-toplevel"))
    commit = git.commit(revision)
    path, root = project.path.resolve(), project.root.resolve()
    way = path.relative_to(top.resolve())
    with git.files_of(commit, top) as files:
        there = files / way
        inside = root.is_relative_to(top.resolve())
        registry = (
            load(there, root=files / root.relative_to(top.resolve()) if inside else there.parent)
            if there.exists()
            else Registry()
        )
        graph = build_graph(registry)
        return Base(revision, graph, compare(before=graph, after=project.graph))


class _Git:
    """Asks git about the repository that a directory is in."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        program = shutil.which("git", path=environ.get("PATH"))
        if program is None:
            raise UsageError(
                "a base revision needs git, and git is not installed", hint="install git, or leave --base out"
            )
        self.program = program
        self.directory = directory
        self.environ = {**environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def run(self, *words: str, directory: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a git command."""
        try:
            return subprocess.run(  # noqa: S603 - git by its full path; a revision is never taken for an option, see commit()
                [self.program, "-C", str(directory or self.directory), *words],
                env={**self.environ, **extra},
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"git {words[0]} took longer than {_PATIENCE:.0f} s", hint="run it by hand to see why"
            ) from error

    def asked(self, *words: str) -> str:
        """Return the answer of a git command."""
        done = self.run(*words)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise UsageError(
                f"{self.directory} is not in a git repository: {said[0] if said else 'git does not say why'}",
                hint="--base compares with a revision of the repository that the migrations are in",
            )
        return done.stdout.rstrip("\n")

    def commit(self, revision: str) -> str:
        """Return the commit that a revision names."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if done.returncode or not done.stdout.strip():
            remote, _, branch = revision.partition("/")
            fetch = f"git fetch {remote} {branch}" if branch else f"git fetch origin {revision}"
            raise UsageError(f"git knows no revision '{revision}'", hint=f"a shallow clone may lack it: {fetch}")
        return done.stdout.strip()

    @contextmanager
    def files_of(self, commit: str, top: Path) -> Iterator[Path]:
        """Put the files of a commit into a temporary directory.

        By an index of its own: a worktree would leave traces in the repository and run its checkout hook.
        """
        with tempfile.TemporaryDirectory(prefix="migrate-base-") as name:
            scratch = Path(name)
            index = str(scratch / "index")
            files = scratch / "files"
            files.mkdir()
            for words in (("read-tree", commit), ("checkout-index", "--all", "--quiet", f"--prefix={files}{os.sep}")):
                done = self.run(*words, directory=top, GIT_INDEX_FILE=index)
                if done.returncode:
                    raise UsageError(f"git {words[0]} failed: {done.stderr.strip()}", hint="run git fsck")
            yield files.resolve()


def told(base: Base) -> Sequence[str]:
    """Return what changed since the base, one line each; faults are the findings' matter."""
    comparison = base.comparison
    if not comparison:
        return [f"nothing changed since {base.revision}"]
    lines = [f"added since {base.revision}: {node.kind} {node.name}" for node in comparison.added]
    lines += [f"removed since {base.revision}: {node.kind} {node.name}" for node in comparison.removed]
    lines += [f"renamed since {base.revision}: {old.name} to {new.name}" for old, new in comparison.renamed]
    lines += [f"edited since {base.revision}: {each.name}" for each in comparison.edited]
    lines += [f"re-parented since {base.revision}: {each.migration.name}" for each in comparison.reparented]
    lines += [f"another window since {base.revision}: {each.view.name}" for each in comparison.rewindowed]
    return lines
