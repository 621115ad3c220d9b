"""Write a picture as a Mermaid flowchart, within the limits of the hosts that draw it, and a Markdown report around it."""

from __future__ import annotations

import re

from msgspec.structs import replace

from migrate_graph.core.graph import EdgeKind
from migrate_graph.core.states import State
from migrate_graph.markdown import code
from migrate_graph.render.labels import told_in
from migrate_graph.render.picture import Picture, PictureEdge, PictureNode
from migrate_graph.render.style import LIGHT, STATES, TIMES, EdgeState, accused_look, glyph_of

# Mermaid refuses 50,000 characters and 500 edges, and no diagram can raise that; above 120 nodes nobody reads it.
MOST_NODES, MOST_EDGES, MOST_CHARACTERS = 120, 400, 45_000
MOST_OF_A_COMMENT = 65_000
"""Characters: the hosts refuse a comment of more than 65,536."""

_ARROWS = {
    EdgeKind.REQUIRES: "-->",
    EdgeKind.SINCE: "-.->|since|",
    EdgeKind.UNTIL: "-.->|until|",
    EdgeKind.USES: "-->|uses|",
    EdgeKind.READS: "-.->|reads|",
    EdgeKind.REPLACES: "==>|replaces|",
    EdgeKind.TOUCHES: "-.-o|touches|",
    EdgeKind.NEEDS: "-.->|needs|",
    EdgeKind.CONFLICTS: "-.-x|conflicts|",
}
_SHAPES = {"view": ('{{"', '"}}'), "module": ('[["', '"]]'), "orphans": ('[("', '")]')}
_BACKGROUND = frozenset({State.APPLIED, State.RETIRED, State.DECLARED})


def to_mermaid(picture: Picture) -> str:
    """Write a flowchart; if it is too large for the hosts, without the nodes that do not change, else only a remark."""
    if _fits(picture):
        return _flowchart(picture)
    essential = _without_background(picture)
    if essential.nodes and _fits(essential):
        return _flowchart(essential)
    many = f"{len(picture.nodes)} nodes and {len(picture.edges)} arrows are too many for Mermaid: see the SVG or HTML"
    return f'flowchart LR\n  n0["{many}"]\n'


def to_markdown(picture: Picture) -> str:
    """Write a report for a job summary or a pull request: counts, a table, and the diagram folded away."""
    lines = [f"### {_markdown(picture.title)}", "", _markdown(picture.subtitle), ""]
    diagram = [
        "",
        "<details><summary>Graph</summary>",
        "",
        "```mermaid",
        to_mermaid(picture).rstrip(),
        "```",
        "",
        "</details>",
    ]
    room = MOST_OF_A_COMMENT - sum(len(line) + 1 for line in (*lines, *diagram))
    return "\n".join((*lines, *_table(picture, room), *diagram)) + "\n"


def _fits(picture: Picture) -> bool:
    if len(picture.nodes) > MOST_NODES or len(picture.edges) > MOST_EDGES:
        return False
    return len(_flowchart(picture)) <= MOST_CHARACTERS


def _without_background(picture: Picture) -> Picture:
    """Leave out what does not change."""
    nodes = tuple(node for node in picture.nodes if node.state not in _BACKGROUND)
    keys = {node.key for node in nodes}
    edges = tuple(edge for edge in picture.edges if {edge.before, edge.after} <= keys)
    return replace(picture, nodes=nodes, edges=edges)


def _flowchart(picture: Picture) -> str:
    ids = {node.key: f"n{number}" for number, node in enumerate(picture.nodes)}
    lines = ["flowchart LR" if picture.left_to_right else "flowchart TB"]
    lines += [_box(ids[node.key], node) for node in picture.nodes]
    lines += [f"  {ids[edge.before]} {_arrow(edge)} {ids[edge.after]}" for edge in picture.edges]
    lines += [_class(state) for state in State if any(node.state is state for node in picture.nodes)]
    looks = dict.fromkeys(look for node in picture.nodes if (look := accused_look(node.accused, node.state)))
    lines += [f"  classDef {look.name} fill:{LIGHT.background},stroke:{look.light},stroke-width:3px" for look in looks]
    rings = [str(number) for number, edge in enumerate(picture.edges) if edge.state is EdgeState.CYCLE]
    if rings:
        lines.append(f"  linkStyle {','.join(rings)} stroke:{LIGHT.cycle_edge},stroke-width:3px")
    return "\n".join(lines) + "\n"


def _box(name: str, node: PictureNode) -> str:
    left, right = _SHAPES.get(node.kind, ('["', '"]'))
    words = [glyph_of(node.state)] if node.state in {State.APPLIED, State.RETIRED} else []
    label = "<br/>".join(_quoted(line) for line in (*node.label, *node.notes, *told_in(node.sentence), *words))
    look = accused_look(node.accused, node.state)
    return f"  {name}{left}{label}{right}:::{look.name if look else node.state}"


def _arrow(edge: PictureEdge) -> str:
    return f"-->|{TIMES}{edge.count}|" if edge.count > 1 else _ARROWS[edge.kind]


def _class(state: State) -> str:
    style = STATES[state]
    dashes = {"solid": "", "dashed": ",stroke-dasharray:6 3", "dotted": ",stroke-dasharray:2 3"}[style.line]
    width = max(1, round(style.width + (1.5 if style.double else 0)))
    colours = f"fill:{style.light.fill},stroke:{style.light.stroke},color:{style.light.text}"
    return f"  classDef {state} {colours},stroke-width:{width}px{dashes}"


def _quoted(text: str) -> str:
    r"""Escape for a quoted label; `#` begins Mermaid's entities, `%%` its comments, a backquote its Markdown, `\n` its lines."""
    text = text.replace("&", "&amp;").replace("#", "#35;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "#quot;").replace("`", "#96;").replace("%%", "#37;#37;").replace("\\", "#92;")


def _table(picture: Picture, room: int) -> list[str]:
    """Return the lines of a table of the migrations in the picture, as far as there is room."""
    rows = sorted(
        (node for node in picture.nodes if node.kind != "view"), key=lambda node: (not node.place, node.place)
    )
    rows = [node for node in rows if node.state is not State.APPLIED] or rows
    if not rows:
        return []
    lines = ["| # | migration | state | declared at | |", "|--:|---|---|---|---|"]
    left = room - sum(map(len, lines)) - 100
    for number, node in enumerate(rows):
        told = "; ".join(filter(None, (*node.happenings, node.sentence)))
        cells = (str(node.place or ""), code(node.name), str(node.state), code(node.source), code(told))
        line = f"| {' | '.join(cells)} |"
        left -= len(line) + 1
        if left < 0:
            return [*lines, "", f"… and {len(rows) - number} more"]
        lines.append(line)
    return lines


def _markdown(text: str) -> str:
    """Escape for Markdown text and table cells: nothing of it may become markup, a link, a mention or HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~@])", r"\\\1", text)
