"""Compare the graph as it is now with the graph of a git revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from migrate_graph.core.comparison import Comparison, compare
from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.model import Registry
from migrate_graph.loader import load
from migrate_graph.workflow.git import Git
from migrate_graph.workflow.project import Project


class Base(Struct, frozen=True):
    """The graph of a revision, and what has changed since.

    Attributes:
        revision: the revision, as the user named it.
        graph: the graph of that revision; empty when the migrations file did not exist yet.
        comparison: what has changed.
        note: which commit was used, when it is not the named one.
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
    folder = path.parent.relative_to(top)
    with git.files_of(commit.id, folder) as files:
        there = files / folder / path.name
        registry = Registry()
        if there.exists():
            below = root.is_relative_to(top)
            registry = load(there, root=files / root.relative_to(top) if below else there.parent)
        graph = project.declaring(registry).graph
        return Base(revision, graph, compare(before=graph, after=project.graph), commit.note)


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
