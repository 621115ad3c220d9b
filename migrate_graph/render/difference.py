"""A change as Mermaid: what was added, changed and removed, with what it hangs on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate_graph.core.comparison import Comparison
from migrate_graph.core.graph import Edge, EdgeKind, MigrationGraph, Node, NodeKind
from migrate_graph.redaction import one_line

LIMIT = 120
"""Nodes; the hosts of Markdown refuse much larger diagrams."""

_CLASSES = {
    "added": "fill:#DDF4E4,stroke:#1A7F37,color:#0B4F22,stroke-width:2px",
    "changed": "fill:#FFF0C2,stroke:#9A6700,color:#573A00,stroke-width:2px",
    "removed": "fill:#FFFFFF,stroke:#B3261E,color:#7A120C,stroke-width:2px,stroke-dasharray:6 3",
    "same": "fill:#F1F3F5,stroke:#7A8494,color:#414B5A",
}


def to_mermaid(comparison: Comparison, *, before: MigrationGraph, after: MigrationGraph) -> str:
    """Draw a change; an empty text when nothing changed, or too much to be drawn."""
    states = _states(comparison)
    if not states:
        return ""
    edges = sorted({*after.edges(), *(edge for edge in before.edges() if _gone(edge, states))})
    edges = [edge for edge in edges if edge.before in states or edge.after in states]
    nodes = sorted({*states, *(node for edge in edges for node in (edge.before, edge.after))})
    if len(nodes) > LIMIT:
        return ""
    keys = {node: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR", *_nodes(nodes, keys, states), *_edges(edges, keys)]
    used = {states.get(node, "same") for node in nodes}
    lines += [f"  classDef {name} {style}" for name, style in _CLASSES.items() if name in used]
    return "\n".join(lines) + "\n"


def _states(comparison: Comparison) -> dict[Node, str]:
    def migrations(names: Iterable[str], state: str) -> dict[Node, str]:
        return {Node(NodeKind.MIGRATION, name): state for name in names}

    return {
        **dict.fromkeys(comparison.added, "added"),
        **dict.fromkeys(comparison.removed, "removed"),
        **migrations((old.name for old, _ in comparison.renamed), "removed"),
        **migrations((new.name for _, new in comparison.renamed), "added"),
        **migrations((each.name for each in comparison.edited), "changed"),
        **migrations((each.migration.name for each in comparison.reparented), "changed"),
        **{Node(NodeKind.VIEW, each.view.name): "changed" for each in comparison.rewindowed},
    }


def _gone(edge: Edge, states: dict[Node, str]) -> bool:
    return "removed" in {states.get(edge.before), states.get(edge.after)}


def _nodes(nodes: Iterable[Node], keys: dict[Node, str], states: dict[Node, str]) -> Iterator[str]:
    for node in nodes:
        state = states.get(node, "same")
        note = f"<br/>{state}" if state != "same" else ""
        opening, closing = ("{{", "}}") if node.kind is NodeKind.VIEW else ("[", "]")
        yield f'  {keys[node]}{opening}"{_label(node.name)}{note}"{closing}:::{state}'


def _edges(edges: Iterable[Edge], keys: dict[Node, str]) -> Iterator[str]:
    for edge in edges:
        arrow = "-->" if edge.kind is EdgeKind.REQUIRES else f"-.->|{edge.kind}|"
        yield f"  {keys[edge.before]} {arrow} {keys[edge.after]}"


def _label(name: str) -> str:
    """Give a name with everything but letters, digits and `_` as Mermaid's entities."""
    return "".join(char if char.isalnum() or char in "_ " else f"#{ord(char)};" for char in one_line(name))
