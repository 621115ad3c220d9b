"""Compare the graph as it is now with the graph of a git revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from msgspec import Struct

from migrate_graph.config.pyproject import tool_table
from migrate_graph.core.comparison import Comparison, compare
from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.model import Registry
from migrate_graph.errors import LoadError
from migrate_graph.loader import load
from migrate_graph.loader.paths import DEFAULT_FILE, file_at
from migrate_graph.workflow.git import Git
from migrate_graph.workflow.project import Project


class Base(Struct, frozen=True):
    """The graph of a revision, and what has changed since.

    Attributes:
        revision: the revision, as the user named it.
        graph: the graph of that revision; empty when the project had no migrations file yet.
        comparison: what has changed.
        note: which commit and which file were used, when they are not the named ones.
    """

    revision: str
    graph: MigrationGraph
    comparison: Comparison
    note: str = ""


def read_base(project: Project, revision: str, *, environ: Mapping[str, str]) -> Base:
    """Load the graph of the commit at which this branch left a git revision, without touching the checkout or its index.

    The code of that commit is executed, as the loader executes any migrations file; packages and submodules are the present ones.

    Args:
        project: the project as it is now.
        revision: a branch, tag or commit, `A...B`, or `A..` for A itself.
        environ: the environment that git gets.

    Raises:
        UsageError: there is no git, no repository, or no such revision.
        LoadError: the migrations file of that revision does not run.
    """
    path, root = project.path.resolve(), project.root.resolve()
    git = Git(path.parent, environ)
    top = git.top.resolve()
    commit = git.base(revision)
    place = path.relative_to(top)
    where = root.relative_to(top) if root.is_relative_to(top) else place.parent

    def compared(files: Path, file: Path | None, note: str) -> Base:
        registry = Registry()
        if file is not None:
            below = (files / where) in file.parents
            registry = load(file, root=files / where if below else file.parent)
        graph = project.declaring(registry).graph
        notes = "; ".join(filter(None, (commit.note, note)))
        return Base(revision, graph, compare(before=graph, after=project.graph), notes)

    with git.files_of(commit.id, place.parent) as files:
        if found := _migrations_at(files / place):
            return compared(files, found, "")
        former = _former_place(place, files=files, where=where, top=top, renamed=git.renamed_since(commit.id))
        if former is None:
            return compared(files, None, f"{place.as_posix()} did not exist at {revision}: all in it is new")
    with git.files_of(commit.id, former.parent) as files:
        return compared(files, files / former, f"the migrations were in {former.as_posix()} then")


def _migrations_at(path: Path) -> Path | None:
    try:
        return file_at(path)
    except LoadError:
        return None


def _former_place(
    place: Path, *, files: Path, where: Path, top: Path, renamed: Mapping[PurePosixPath, PurePosixPath]
) -> Path | None:
    """Return where the migrations of the base are, if they are elsewhere now; None if they are new.

    Otherwise whoever moves a file could edit what it holds, and nobody would be told.

    Args:
        place: the present migrations file, or directory of numbered files; like `where`, relative to the top.
        files: the copy of the base's files.
        where: the directory of the project.
        top: the top of the checkout.
        renamed: the former paths of files, as git sees them.
    """
    found, within = _migrations_at(files / where / _named_in(files / where / "pyproject.toml")), files.resolve()
    if found and found.resolve().is_relative_to(within):  # what is outside of the repository is no part of the base
        former = found.resolve().relative_to(within)
        if not (top / former).exists():  # else it is another file, and the one that is looked at may be new
            return former
    for new, old in renamed.items():
        depth = len(new.parts) - len(place.parts)  # 0, or 1 for a file in a directory of numbered files
        if new.parts[: len(place.parts)] == place.parts and depth < len(old.parts):
            return Path(*old.parts[: len(old.parts) - depth])
    return None


def _named_in(pyproject: Path) -> str:
    """Return the migrations file that a pyproject.toml names; the usual one if it names none, or cannot be read."""
    try:
        table = tool_table(pyproject.read_text("utf-8-sig"), pyproject.name, "migrate")
    except (OSError, UnicodeDecodeError):
        table = {}
    named = {name.lower().replace("-", "_"): text for name, text in table.items()} if isinstance(table, dict) else {}
    return str(named.get("migrations_file") or DEFAULT_FILE)


def told(base: Base) -> Sequence[str]:
    """Return what has changed since the base, one line for each change; faults are reported as findings."""
    comparison = base.comparison
    lines = [base.note] if base.note else []
    if not comparison:
        return [*lines, f"nothing changed since {base.revision}"]
    lines += [f"added since {base.revision}: {node.kind} {node.name}" for node in comparison.added]
    lines += [f"removed since {base.revision}: {node.kind} {node.name}" for node in comparison.removed]
    lines += [f"renamed since {base.revision}: {old.name} to {new.name}" for old, new in comparison.renamed]
    lines += [f"edited since {base.revision}: {each.name}" for each in comparison.edited]
    lines += [f"re-parented since {base.revision}: {each.migration.name}" for each in comparison.reparented]
    lines += [f"another window since {base.revision}: {each.view.name}" for each in comparison.rewindowed]
    return lines
