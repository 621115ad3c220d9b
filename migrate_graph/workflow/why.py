"""Explain why something has its place in the order: the path of edges, or the rule that decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from msgspec import Struct

from migrate_graph.core.graph import EdgeKind, MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import UsageError
from migrate_graph.workflow.project import Project, require_name
from migrate_graph.workflow.show import dependents_in


class Why(Struct, frozen=True):
    """Why a migration or view has its place in the order.

    Attributes:
        name: name of the migration or view.
        position: its place in the order, counted from 1; None for a view.
        waits_for: its requirements that are not implied by others.
        waited_for_by: names of what requires or uses it directly.
        ancestors: how many must run before it, directly or indirectly.
        descendants: how many must run after it, directly or indirectly.
        touches: views that a migration opens, or migrations that open a view.
        comes_up_with: when views come up by themselves: the migrations with which a view comes up in a run that starts with an empty
            database, or the views that come up with a migration.
        earlier: of the two that are compared, the one that comes first.
        later: of the two that are compared, the other one.
        path: edges from the earlier to the later one, when the graph orders them.
        tie_break: sentences that tell which rule decided, when the graph does not.
    """

    name: str
    position: int | None
    waits_for: tuple[str, ...]
    waited_for_by: tuple[str, ...]
    ancestors: int
    descendants: int
    touches: tuple[str, ...]
    comes_up_with: tuple[str, ...] = ()
    earlier: str = ""
    later: str = ""
    path: tuple[tuple[Node, EdgeKind, Node], ...] = ()
    tie_break: tuple[str, ...] = ()


def why(project: Project, name: str, *, before: str | None = None) -> Why:
    """Return why a migration or view has its place, or why it stands before (or after) another.

    Without `before`, a migration is compared with the one that runs directly before it.

    Raises:
        UsageError: nothing has this name, or the two names are the same.
    """
    require_name(project, name)
    if before is not None:
        require_name(project, before)
        if before == name:
            raise UsageError(f"'{name}' is not before itself", hint="name two different migrations or views")
    graph = project.graph
    if name not in graph.migrations:
        return _why_view(project, name, before)
    order = graph.order(project.ordering)
    at = order.index(name)
    reduced = dict.fromkeys(first for first, second in graph.reduced_requires() if second == name)
    earlier, later = _pair(order, at, before)
    path, tie_break = _compare(project, earlier, later)
    return Why(
        name=name,
        position=at + 1,
        waits_for=tuple(reduced),
        waited_for_by=dependents_in(graph.requires, name),
        ancestors=len(graph.ancestors(name)),
        descendants=len(graph.descendants(name)),
        touches=graph.migrations[name].touches,
        comes_up_with=_brought_up(project).get(name, ()),
        earlier=earlier,
        later=later,
        path=path,
        tie_break=tie_break,
    )


def _brought_up(project: Project) -> Mapping[str, tuple[str, ...]]:
    """Return the views that come up by themselves with each migration, by its name; empty when views do not follow their windows."""
    graph = project.graph
    return Timeline(graph, graph.order(project.ordering)).brought_up if graph.registry.windows else {}


def _why_view(project: Project, name: str, before: str | None) -> Why:
    graph = project.graph
    users = graph.uses
    path: tuple[tuple[Node, EdgeKind, Node], ...] = ()
    earlier = later = ""
    if before is not None:
        earlier, later = name, before
        path = _path(graph, earlier, later)
        if not path:
            earlier, later = before, name
            path = _path(graph, earlier, later)
    return Why(
        name=name,
        position=None,
        waits_for=graph.views[name].uses,
        waited_for_by=dependents_in(users, name),
        ancestors=len(nx.ancestors(users, name)) if name in users else 0,
        descendants=len(nx.descendants(users, name)) if name in users else 0,
        touches=graph.touched_by(name),
        comes_up_with=tuple(each for each, views in _brought_up(project).items() if name in views),
        earlier=earlier,
        later=later,
        path=path,
        tie_break=() if path or before is None else (f"nothing orders '{name}' and '{before}'",),
    )


def _pair(order: tuple[str, ...], at: int, other: str | None) -> tuple[str, str]:
    name = order[at]
    if other is None:
        return (order[at - 1], name) if at else ("", name)
    if other not in order:
        return name, other
    return (name, other) if at < order.index(other) else (other, name)


def _compare(
    project: Project, earlier: str, later: str
) -> tuple[tuple[tuple[Node, EdgeKind, Node], ...], tuple[str, ...]]:
    if not earlier:
        return (), ("it is the first: nothing that could run has a smaller place",)
    path = _path(project.graph, earlier, later)
    if path:
        return path, ()
    if later not in project.graph.migrations or earlier not in project.graph.migrations:
        return (), (f"nothing orders '{earlier}' and '{later}'",)
    return (), tuple(_tie_break(project, earlier, later))


def _path(graph: MigrationGraph, earlier: str, later: str) -> tuple[tuple[Node, EdgeKind, Node], ...]:
    """Return the shortest path of edges; edges of the kind `touches` do not order anything and are left out."""
    whole: nx.DiGraph[Node] = nx.DiGraph()
    for edge in graph.edges():
        if edge.kind is not EdgeKind.TOUCHES:
            whole.add_edge(edge.before, edge.after, kind=edge.kind)
    for start in (Node(kind, earlier) for kind in NodeKind):
        for end in (Node(kind, later) for kind in NodeKind):
            if start in whole and end in whole and nx.has_path(whole, start, end):
                nodes = nx.shortest_path(whole, start, end)
                return tuple((one, whole.edges[one, two]["kind"], two) for one, two in pairwise(nodes))
    return ()


def _tie_break(project: Project, earlier: str, later: str) -> Iterator[str]:
    """Yield sentences that tell why one comes before the other although no edge orders them."""
    graph = project.graph
    if later in graph.unsortable:
        yield f"'{later}' stands on or behind a ring of requirements and has no place in the order: migrate check"
        return
    place = {name: at for at, name in enumerate(graph.order(project.ordering))}
    # Perhaps the later one could not run yet: go back to the requirement that it waited for and that could run.
    while True:
        waited = [name for name in graph.migrations[later].requires if place.get(name, -1) > place[earlier]]
        if not waited:
            break
        holding = max(waited, key=place.__getitem__)
        yield f"'{later}' waits for '{holding}', which stands after '{earlier}'"
        later = holding
    yield f"both could run, nothing orders '{earlier}' and '{later}': {_decider(project, earlier, later)}"


def _decider(project: Project, earlier: str, later: str) -> str:
    first, second = project.graph.migrations[earlier], project.graph.migrations[later]
    if bool(first.requires) != bool(second.requires):
        return f"'{earlier}' has requirements and '{later}' has none; what has some is pulled up to right after them"
    if project.ordering is Ordering.INTERTWINED and first.sequence != second.sequence:
        numbers = " < ".join(_sequence_text(each) for each in (first, second))
        return f"the smaller trailing number goes first ({numbers})"
    places = f"{first.source} before {second.source}"
    return f"it is declared earlier ({places}: {first.position + 1} < {second.position + 1} in order of declaration)"


def _sequence_text(migration: Migration) -> str:
    first, second = migration.sequence or (0, 0)
    return f"{first}_{second:03}" if migration.sequence else "no number"
