"""Compose the picture of a change: what was added, changed and removed, with its neighbours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from migrate_graph.core.comparison import Comparison
from migrate_graph.core.graph import Edge, Node, NodeKind
from migrate_graph.core.states import State
from migrate_graph.redaction import one_line
from migrate_graph.render import PictureOptions
from migrate_graph.render.compose.boxes import arrows, box, is_implied, links
from migrate_graph.render.compose.graph import check_link_template
from migrate_graph.render.compose.notes import Details
from migrate_graph.render.picture import Picture, PictureInput, PictureNode, Question
from migrate_graph.render.style import EdgeState

_STATES = (State.ADDED, State.CHANGED, State.REMOVED)


def picture_of_change(
    comparison: Comparison, given: PictureInput, *, before: PictureInput, revision: str, options: PictureOptions
) -> Picture:
    """Compose the picture of a change; unchanged neighbours are drawn, the rest of the graph is not.

    Args:
        comparison: of these two graphs.
        given: the graph as it is.
        before: the graph of the revision.
        revision: what is compared with, as it was named.
        options: title and links.

    Raises:
        UsageError: the link template is no URL that may be drawn.
    """
    check_link_template(options.link_template)
    notes = _notes(comparison)
    removed = {node for node, (state, _) in notes.items() if state is State.REMOVED}
    old, new = (
        [edge for edge in graph.edges() if not is_implied(edge, graph)] for graph in (before.graph, given.graph)
    )
    told = {*new, *(edge for edge in old if {edge.before, edge.after} & removed)}
    edges = sorted(edge for edge in told if edge.before in notes or edge.after in notes)
    shown = _in_order({*notes, *(node for edge in edges for node in (edge.before, edge.after))}, before, given)
    boxes = [_box(node, notes, before if node in removed else given, options) for node in shown]

    def state_of(_before: Node, _after: Node, found: Sequence[Edge]) -> EdgeState:
        return EdgeState.OLD if set(old).issuperset(found) else EdgeState.LIVE

    return Picture(
        question=Question.CHANGE,
        title=one_line(options.title),
        subtitle=_subtitle(notes, one_line(revision)),
        nodes=tuple(boxes),
        edges=tuple(arrows(edges, state_of)),
        links=tuple(links(edges, given.graph)),
        total=len(boxes),
        shown=len(boxes),
    )


def _notes(comparison: Comparison) -> dict[Node, tuple[State, tuple[str, ...]]]:
    """Return the state of each node that changed, and in words what changed."""
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


def _in_order(shown: set[Node], was: PictureInput, given: PictureInput) -> list[Node]:
    """Sort migrations as they run, each removed one behind the one that ran before it; then views and unknown names."""
    order = list(given.order)
    place = 0
    for name in was.order:
        if name in given.graph.migrations:
            place = order.index(name) + 1
        else:
            order.insert(place, name)
            place += 1
    places = {Node(NodeKind.MIGRATION, name): place for place, name in enumerate(order)}
    return sorted(shown, key=lambda node: (places.get(node, len(places)), node))


def _box(
    node: Node, notes: Mapping[Node, tuple[State, tuple[str, ...]]], side: PictureInput, options: PictureOptions
) -> PictureNode:
    state, words = notes.get(node, (State.DECLARED, ()))
    return box(
        node,
        side.declared(node),
        state=state,
        notes=("view", *words) if node.kind is NodeKind.VIEW else words,
        details=Details(side).of(node),
        link_template=options.link_template,
    )


def _subtitle(notes: Mapping[Node, tuple[State, tuple[str, ...]]], revision: str) -> str:
    counts = Counter(state for state, _ in notes.values())
    told = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    return f"since {revision}: {told or 'nothing changed'}"
