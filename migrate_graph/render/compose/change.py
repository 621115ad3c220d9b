"""Compose the picture of a change: what was added, changed and removed, with what it hangs on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from migrate_graph.core.comparison import Comparison
from migrate_graph.core.graph import Edge, EdgeKind, MigrationGraph, Node, NodeKind
from migrate_graph.redaction import one_line
from migrate_graph.render.compose.details import Details
from migrate_graph.render.compose.graph import STRENGTH
from migrate_graph.render.labels import key_of, wrapped
from migrate_graph.render.picture import About, Link, Picture, PictureEdge, PictureNode, Question
from migrate_graph.render.style import EdgeState, State

_STATES = (State.ADDED, State.CHANGED, State.REMOVED)


def picture_of_change(
    comparison: Comparison, *, before: MigrationGraph, after: MigrationGraph, title: str, revision: str
) -> Picture:
    """Compose the picture of a change; unchanged neighbours are drawn, the rest of the graph is not.

    Args:
        comparison: of these two graphs.
        before: the graph of the revision.
        after: the graph as it is.
        title: one line.
        revision: what is compared with, as it was named.
    """
    notes = _notes(comparison)
    removed = {node for node, (state, _) in notes.items() if state is State.REMOVED}
    edges = [*_edges(after), *(edge for edge in _edges(before) if {edge.before, edge.after} & removed)]
    edges = sorted({edge for edge in edges if edge.before in notes or edge.after in notes})
    shown = _in_order({*notes, *(node for edge in edges for node in (edge.before, edge.after))}, before, after)
    gone, here = Details(About(before)), Details(About(after))
    nodes = [_node(node, notes, before, gone) if node in removed else _node(node, notes, after, here) for node in shown]
    links = tuple(Link(key_of(edge.before), key_of(edge.after), edge.kind) for edge in edges)
    return Picture(
        question=Question.CHANGE,
        title=one_line(title),
        subtitle=_subtitle(notes, one_line(revision)),
        nodes=tuple(nodes),
        edges=tuple(_arrows(edges, known={*_edges(before)})),
        links=links,
        about=About(after),
        total=len(nodes),
        shown=len(nodes),
    )


def _notes(comparison: Comparison) -> dict[Node, tuple[State, tuple[str, ...]]]:
    """Return the state of everything that changed, and in words what changed."""
    notes: dict[Node, tuple[State, tuple[str, ...]]] = {
        **dict.fromkeys(comparison.added, (State.ADDED, ("added",))),
        **dict.fromkeys(comparison.removed, (State.REMOVED, ("removed",))),
    }
    for old, new in comparison.renamed:
        notes[Node(NodeKind.MIGRATION, old.name)] = (State.REMOVED, ("removed: renamed",))
        notes[Node(NodeKind.MIGRATION, new.name)] = (State.ADDED, ("added: renamed",))
    changes: dict[Node, list[str]] = defaultdict(list)
    for migration in comparison.edited:
        changes[Node(NodeKind.MIGRATION, migration.name)].append("changed: edited")
    for each in comparison.reparented:
        changes[Node(NodeKind.MIGRATION, each.migration.name)].append("changed: requires more")
    for window in comparison.rewindowed:
        changes[Node(NodeKind.VIEW, window.view.name)].append(f"changed: {', '.join(window.changed)}")
    return notes | {node: (State.CHANGED, tuple(words)) for node, words in changes.items()}


def _in_order(shown: set[Node], before: MigrationGraph, after: MigrationGraph) -> list[Node]:
    """Sort as migrations run, what is removed behind what ran before it; then views and unknown names."""
    order = list(About(after).order)
    place = 0
    for name in About(before).order:
        if name in after.migrations:
            place = order.index(name) + 1
        else:
            order.insert(place, name)
            place += 1
    places = {Node(NodeKind.MIGRATION, name): place for place, name in enumerate(order)}
    return sorted(shown, key=lambda node: (places.get(node, len(places)), node))


def _edges(graph: MigrationGraph) -> Iterator[Edge]:
    """Yield the edges that other requirements do not imply."""
    for edge in graph.edges():
        implied = (edge.before.name, edge.after.name) in graph.redundant_requires
        if edge.kind is not EdgeKind.REQUIRES or not implied:
            yield edge


def _node(
    node: Node,
    notes: Mapping[Node, tuple[State, tuple[str, ...]]],
    graph: MigrationGraph,
    details: Details,
) -> PictureNode:
    state, words = notes.get(node, (State.DECLARED, ()))
    is_view = node.kind is NodeKind.VIEW
    declared = graph.views.get(node.name) if is_view else graph.migrations.get(node.name)
    name = one_line(node.name)
    return PictureNode(
        key=key_of(node),
        name=name,
        kind=str(node.kind),
        state=state,
        label=wrapped(name, capitals=is_view),
        notes=("view", *words) if is_view else words,
        module=one_line(declared.module) if declared else "",
        source=one_line(str(declared.source)) if declared else "",
        description=one_line(declared.description.partition("\n")[0]) if declared else "",
        details=details.of(node),
    )


def _arrows(edges: list[Edge], *, known: set[Edge]) -> Iterator[PictureEdge]:
    """Yield one arrow for each pair; what was there before is drawn thin."""
    kinds: dict[tuple[Node, Node], list[Edge]] = defaultdict(list)
    for edge in edges:
        kinds[edge.before, edge.after].append(edge)
    for (before, after), found in kinds.items():
        reasons = tuple(sorted((edge.kind for edge in found), key=STRENGTH.index))
        state = EdgeState.OLD if known.issuperset(found) else EdgeState.LIVE
        yield PictureEdge(key_of(before), key_of(after), reasons[0], state, reasons)


def _subtitle(notes: Mapping[Node, tuple[State, tuple[str, ...]]], revision: str) -> str:
    counts = Counter(state for state, _ in notes.values())
    told = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    return f"since {revision}: {told or 'nothing changed'}"
