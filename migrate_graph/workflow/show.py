"""Show everything known of one name: a migration, a view, or one of each."""

from __future__ import annotations

from msgspec import Struct

from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.history import Attempt
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration, View
from migrate_graph.workflow.log import log
from migrate_graph.workflow.project import Project, Reading, require_name
from migrate_graph.workflow.status import MigrationStatus, ViewStatus, read_status


class Shown(Struct, frozen=True):
    """One migration or view, with its neighbours and its past.

    Attributes:
        node: its kind and its name.
        declared: the declared migration or view.
        requires: names of what must come first: the requirements of a migration, the used views of a view.
        dependents: names of what requires or uses it directly.
        touches: views that a migration opens, or migrations that open a view.
        status: state of the migration; None for a view.
        view_status: state of the view; None for a migration.
        attempts: attempts at the migration, oldest first.
    """

    node: Node
    declared: Migration | View
    requires: tuple[str, ...]
    dependents: tuple[str, ...]
    touches: tuple[str, ...]
    status: MigrationStatus | None = None
    view_status: ViewStatus | None = None
    attempts: tuple[Attempt, ...] = ()


def show(project: Project, reading: Reading, name: str) -> tuple[Shown, ...]:
    """Return everything known of a name: a migration, a view, or one of each.

    Raises:
        UsageError: nothing has this name.
    """
    require_name(project, name)
    graph, report = project.graph, read_status(project, reading)
    found = []
    if migration := graph.migrations.get(name):
        found.append(
            Shown(
                node=Node(NodeKind.MIGRATION, name),
                declared=migration,
                status=next(each for each in report.migrations if each.name == name),
                requires=migration.requires,
                dependents=dependents_in(graph.requires, name),
                touches=migration.touches,
                attempts=log(reading, name),
            )
        )
    if view := graph.views.get(name):
        found.append(
            Shown(
                node=Node(NodeKind.VIEW, name),
                declared=view,
                view_status=next(each for each in report.views if each.view.name == name),
                requires=view.uses,
                dependents=dependents_in(graph.uses, name),
                touches=graph.touched_by(name),
            )
        )
    return tuple(found)


def dependents_in(digraph: nx.DiGraph[str], name: str) -> tuple[str, ...]:
    """Return the names that come directly after a name in the digraph, sorted."""
    return tuple(sorted(digraph.successors(name))) if name in digraph else ()
