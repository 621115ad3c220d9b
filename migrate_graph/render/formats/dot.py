"""Write a picture as Graphviz DOT, and as the PDF that a system Graphviz makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from migrate_graph.columns import columns
from migrate_graph.core.late import nx
from migrate_graph.render import Renderer
from migrate_graph.render.labels import told_in
from migrate_graph.render.layout.engine import lay_out
from migrate_graph.render.picture import Picture, PictureEdge, PictureNode
from migrate_graph.render.style import (
    EDGES,
    LIGHT,
    STATES,
    TIMES,
    EdgeState,
    accused_look,
    edge_colour,
    edge_width,
    glyph_of,
)

if TYPE_CHECKING:
    import graphviz

# Points. Courier is 0.6 em wide in every build of Graphviz, so boxes measured here fit the letters of any monospaced font.
LETTER, LINE = 6.0, 12.0
_SHAPES = {"view": "octagon", "module": "folder", "orphans": "box3d"}


def to_dot(picture: Picture, *, titled: bool = False, hurried: bool = False) -> str:
    """Write DOT; the same picture gives the same bytes.

    Args:
        picture: what to write.
        titled: with title and sub-line, where the format does not add them itself.
        hurried: ask for a layout that is quick rather than beautiful.
    """
    import graphviz

    digraph = graphviz.Digraph(
        "migrate",
        graph_attr=_graph_attributes(picture, hurried=hurried) | (_title(picture) if titled else {}),
        node_attr={"fontname": "Courier", "fontsize": "10", "fixedsize": "true", "shape": "box", "style": "filled"},
        edge_attr={"fontname": "Courier", "fontsize": "9", "arrowsize": "0.7"},
    )
    framed = {key: cluster.label for cluster in picture.clusters for key in cluster.keys}
    nodes = {node.key: node for node in picture.nodes}
    # Left to right, Graphviz puts the part that comes first at the bottom; people read from the top.
    turned = picture.left_to_right
    for number, cluster in enumerate(reversed(picture.clusters) if turned else picture.clusters):
        with digraph.subgraph(name=f"cluster_{number}") as frame:
            _frame(frame, cluster.label)
            for key in cluster.keys:
                _add_node(frame, nodes[key])
    for node in _lowest_part_first(picture) if turned else picture.nodes:
        if node.key not in framed:
            _add_node(digraph, node)
    for edge in picture.edges:
        _add_edge(digraph, edge)
    _stack_isolated(digraph, picture)
    return str(digraph.source)


def to_pdf(picture: Picture, *, renderer: Renderer = Renderer.AUTO) -> bytes:
    """Lay the DOT out as PDF.

    Raises:
        UsageError: no renderer.
        LayoutTimeout: the layout took too long.
    """
    return lay_out(to_dot(picture, titled=True), wanted="pdf", renderer=renderer)


def _lowest_part_first(picture: Picture) -> list[PictureNode]:
    """Return the nodes with the connected parts of a picture from last to first; within a part the order stays."""
    arrows: nx.DiGraph[str] = nx.DiGraph()
    arrows.add_nodes_from(node.key for node in picture.nodes)
    arrows.add_edges_from((edge.before, edge.after) for edge in picture.edges)
    parts = {key: number for number, part in enumerate(nx.weakly_connected_components(arrows)) for key in part}
    loose = {key for key in arrows if not arrows.degree(key)}  # these are stacked, and count as one part
    return sorted(picture.nodes, key=lambda node: 1 if node.key in loose else -parts[node.key])


def text_of(node: PictureNode) -> tuple[str, ...]:
    """Return the lines inside a node: glyph and name, then the notes, aligned."""
    glyph = glyph_of(node.state)
    rest = (*node.label[1:], *node.notes, *told_in(node.sentence))
    if not glyph:
        return (node.label[0], *rest)
    return (f"{glyph} {node.label[0]}", *(f"  {line}" for line in rest))


def edge_id(edge: PictureEdge) -> str:
    """Return the id of an edge in DOT and SVG."""
    return f"{edge.before}--{edge.after}--{edge.kind}"


def _title(picture: Picture) -> dict[str, str]:
    return {"label": _text(f"{picture.title}\n{picture.subtitle}"), "labelloc": "t"}


def _graph_attributes(picture: Picture, *, hurried: bool) -> dict[str, str]:
    attributes = {
        "rankdir": "LR" if picture.left_to_right else "TB",
        "bgcolor": LIGHT.background,
        "fontname": "Courier",
        "fontsize": "10",
        "nodesep": "0.18",
        "ranksep": "0.32",
        "pad": "0.15",
        "splines": "true",
        "newrank": "true",
        "outputorder": "edgesfirst",
        "charset": "UTF-8",
    }
    # Measured: with all kinds of edges dot takes 13 s for 1,000 nodes and 3 minutes for 2,000 unless it is told to try less.
    if hurried or len(picture.nodes) > 1000:
        attributes |= {"nslimit": "0.5", "nslimit1": "0.5", "mclimit": "0.05", "splines": "line"}
    elif len(picture.nodes) > 300:
        attributes |= {"nslimit": "2", "nslimit1": "2", "mclimit": "0.3"}
    return attributes


def _frame(frame: graphviz.Digraph, label: str) -> None:
    frame.attr(
        label=_text(label),
        labeljust="l",
        style="rounded,filled",
        fillcolor=LIGHT.cluster_fill,
        color=LIGHT.cluster_stroke,
        fontcolor=LIGHT.muted,
        margin="10",
    )
    frame.attr(**{"class": "module"})


def _add_node(digraph: graphviz.Digraph, node: PictureNode) -> None:
    style = STATES[node.state]
    look = accused_look(node.accused, node.state)
    lines = text_of(node)
    width, height = _size(lines, octagon=node.kind == "view")
    attributes = {
        "id": node.key,
        "class": f"{node.kind} {node.state}{f' {look.name}' if look else ''}",
        "label": "".join(f"{_text(line)}\\l" for line in lines),
        "shape": _SHAPES.get(node.kind, "box"),
        "width": f"{width / 72:.3f}",
        "height": f"{height / 72:.3f}",
        "style": "filled" if style.line == "solid" else f"filled,{style.line}",
        "fillcolor": style.light.fill,
        "color": look.light if look else style.light.stroke,
        "fontcolor": style.light.text,
        "penwidth": f"{look.width if look else style.width:g}",
        "tooltip": _text(node.tooltip),
    }
    if style.double:
        attributes["peripheries"] = "2"
    if node.link:
        attributes |= {"URL": _text(node.link), "target": "_top"}
    digraph.node(node.key, **attributes)


def _size(lines: Sequence[str], *, octagon: bool) -> tuple[float, float]:
    """Return the width and height of a node in points, so that its letters stay clear of an octagon's cut corners."""
    width, height = max(columns(line) for line in lines) * LETTER + 14, len(lines) * LINE + 9
    if not octagon:
        return width, height
    return (width + 0.75 * height + 6, height) if len(lines) <= 2 else (width * 1.35, height * 1.4)


def _add_edge(digraph: graphviz.Digraph, edge: PictureEdge) -> None:
    style = EDGES[edge.kind]
    attributes = {
        "id": edge_id(edge),
        "class": f"{edge.kind} {edge.state}",
        "style": style.line,
        "arrowhead": style.head,
        "penwidth": f"{edge_width(edge.kind, edge.state):g}",
        "color": edge_colour(edge.kind, edge.state),
        "weight": str(style.weight),
    }
    if not style.weight:
        attributes["constraint"] = "false"
    if edge.state is EdgeState.CYCLE:
        attributes["weight"] = "1"
    if edge.count > 1:
        attributes |= {"label": f"{TIMES}{edge.count}", "fontcolor": edge_colour(edge.kind, edge.state)}
    digraph.edge(edge.before, edge.after, **attributes)


def _stack_isolated(digraph: graphviz.Digraph, picture: Picture) -> None:
    """Chain nodes without edges into columns by invisible edges: side by side they would make the picture very wide."""
    placed = {key for edge in picture.edges for key in (edge.before, edge.after) if EDGES[edge.kind].weight}
    placed |= {key for cluster in picture.clusters for key in cluster.keys}
    loose = [node.key for node in picture.nodes if node.key not in placed]
    depth = max(1, round(len(loose) ** 0.5))
    for index, (before, after) in enumerate(pairwise(loose), 1):
        if index % depth:
            digraph.edge(before, after, style="invis")


def _text(text: str) -> graphviz.quoting.NoHtml:
    r"""Escape for a label: Graphviz interprets `\n`, `\N` and the like, and copies `&name;` unchanged (invalid XML)."""
    import graphviz

    return graphviz.escape(text.replace("&", "&amp;").replace("\n", "&#10;"))
