"""Makes the boxes and arrows of a picture from nodes and edges of a graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import quote

from migrate_graph.core.graph import Edge, EdgeKind, MigrationGraph, Node, NodeKind
from migrate_graph.core.model import Migration, View
from migrate_graph.core.states import State
from migrate_graph.redaction import one_line
from migrate_graph.render.labels import key_of, wrapped
from migrate_graph.render.picture import Link, PictureEdge, PictureNode
from migrate_graph.render.style import EdgeState
from migrate_graph.user_files import SourceLocation

STRENGTH = (
    EdgeKind.REQUIRES,
    EdgeKind.REPLACES,
    EdgeKind.SINCE,
    EdgeKind.UNTIL,
    EdgeKind.USES,
    EdgeKind.READS,
    EdgeKind.TOUCHES,
    EdgeKind.NEEDS,
    EdgeKind.CONFLICTS,
)
"""Of several reasons between one pair, the first of these is drawn."""
_RING_KINDS = frozenset({EdgeKind.REQUIRES, EdgeKind.USES, EdgeKind.REPLACES})


def box(
    node: Node,
    declared: Migration | View | None,
    *,
    state: State,
    notes: tuple[str, ...],
    sentence: str = "",
    accused: str = "",
    place: int = 0,
    details: tuple[tuple[str, str], ...] = (),
    link_template: str = "",
) -> PictureNode:
    """Return the box of a node; without a declaration only its name is known."""
    name = one_line(node.name)
    return PictureNode(
        key=key_of(node),
        name=name,
        kind=str(node.kind),
        state=state,
        label=wrapped(name, capitals=node.kind is NodeKind.VIEW),
        notes=notes,
        sentence=one_line(sentence),
        accused=accused,
        module=one_line(declared.module) if declared else "",
        source=one_line(str(declared.source)) if declared else "",
        description=one_line(declared.description.partition("\n")[0]) if declared else "",
        link=_link(link_template, declared.source) if declared and link_template else "",
        place=place,
        details=details,
    )


def arrows(edges: Iterable[Edge], state_of: Callable[[Node, Node, Sequence[Edge]], EdgeState]) -> list[PictureEdge]:
    """Return one arrow for each pair of nodes, of its strongest kind; `state_of` returns its `EdgeState`."""
    found: dict[tuple[Node, Node], list[Edge]] = defaultdict(list)
    for edge in edges:
        found[edge.before, edge.after].append(edge)
    drawn = []
    for (before, after), reasons in found.items():
        kinds = tuple(sorted((edge.kind for edge in reasons), key=STRENGTH.index))
        drawn.append(PictureEdge(key_of(before), key_of(after), kinds[0], state_of(before, after, reasons), kinds))
    return sorted(drawn, key=lambda edge: (edge.before, edge.after))


def links(edges: Iterable[Edge], graph: MigrationGraph) -> Iterator[Link]:
    """Yield every edge, drawn or not."""
    for edge in edges:
        yield Link(
            key_of(edge.before),
            key_of(edge.after),
            edge.kind,
            implied=is_implied(edge, graph),
            ring=is_ring(edge, graph),
        )


def is_implied(edge: Edge, graph: MigrationGraph) -> bool:
    """Whether other requirements imply an edge, so that it is not drawn."""
    return edge.kind is EdgeKind.REQUIRES and (edge.before.name, edge.after.name) in graph.redundant_requires


def is_ring(edge: Edge, graph: MigrationGraph) -> bool:
    """Whether an edge is part of a ring."""
    return edge.kind in _RING_KINDS and (edge.before, edge.after) in graph.ring_edges


def _link(template: str, source: SourceLocation) -> str:
    """Fill in the link template; only the two known places are filled, other braces stay."""
    filled = template.replace("{file}", quote(source.path, safe="/:@~", errors="surrogateescape")).replace(
        "{line}", str(source.line)
    )
    return one_line(filled)
