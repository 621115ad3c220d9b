"""The head of a picture: title, sub-line, and a legend of the shapes, states and lines that occur in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import wrap
from xml.etree import ElementTree as ET

from migrate_graph.columns import columns
from migrate_graph.core.graph import EdgeKind
from migrate_graph.core.states import WORDINGS, State
from migrate_graph.render.picture import Picture
from migrate_graph.render.style import (
    EDGES,
    LIGHT,
    STATES,
    AccusedLook,
    EdgeState,
    accused_look,
    edge_colour,
    edge_width,
    glyph_of,
)

_SVG = "{http://www.w3.org/2000/svg}"
# Points: of the 9 pt letters of sub-line and legend.
_LETTER = 5.4
_ROW = 18.0
_SWATCH = 26.0
_DASHES = {"solid": "", "dashed": "5,2", "dotted": "1,3"}

_Draw = Callable[[ET.Element], None]


def draw_head(picture: Picture, *, left: float, width: float) -> tuple[ET.Element, float]:
    """Draw the head into a group.

    Args:
        picture: what it is the head of.
        left: where it begins, in points.
        width: to wrap in, in points.

    Returns:
        The group, and the height it takes.
    """
    head = ET.Element(f"{_SVG}g", {"class": "head"})
    _write(head, left, 22, picture.title, size=13, weight="bold")
    top = 22.0
    for line in wrap(picture.subtitle, max(20, int(width / _LETTER))):
        top += 14
        _write(head, left, top, line, quiet=True)
    top += 8
    at = left
    for draw, words in _entries(picture):
        needed = _SWATCH + 8 + columns(words) * _LETTER + 16
        if at > left and at + needed > left + width:
            at, top = left, top + _ROW
        entry = ET.SubElement(head, f"{_SVG}g", {"transform": f"translate({at:.0f} {top:.0f})"})
        draw(ET.SubElement(entry, f"{_SVG}g"))
        _write(entry, _SWATCH + 8, 12.5, words, quiet=True)
        at += needed
    return head, top + _ROW + 4


def _entries(picture: Picture) -> Iterator[tuple[_Draw, str]]:
    """Yield an entry for each kind of node, state and line that occurs: a function that draws it, and its words."""
    kinds = {node.kind for node in picture.nodes}
    yield from ((_box_of(kind), kind) for kind in ("migration", "view", "module") if kind in kinds and len(kinds) > 1)
    states = {node.state for node in picture.nodes}
    yield from (
        (_state_of(state), WORDINGS[state].legend) for state in State if state in states and state is not State.DECLARED
    )
    looks = dict.fromkeys(look for node in picture.nodes if (look := accused_look(node.accused, node.state)))
    yield from ((_frame_of(look), look.legend) for look in looks)
    edges = {edge.kind for edge in picture.edges}
    yield from ((_line_of(kind), EDGES[kind].legend) for kind in EdgeKind if kind in edges)


def _write(
    parent: ET.Element, x: float, y: float, words: str, *, size: int = 9, weight: str = "", quiet: bool = False
) -> None:
    attributes = {"x": f"{x:g}", "y": f"{y:g}", "font-size": str(size), "fill": LIGHT.muted if quiet else LIGHT.ink}
    if weight:
        attributes["font-weight"] = weight
    if quiet:
        attributes["class"] = "quiet"
    ET.SubElement(parent, f"{_SVG}text", attributes).text = words


def _box_of(kind: str) -> _Draw:
    points = "7,2 19,2 25,6 25,12 19,16 7,16 1,12 1,6" if kind == "view" else "1,2 25,2 25,16 1,16"

    def draw(entry: ET.Element) -> None:
        attributes = {"points": points, "class": "ink", "fill": LIGHT.background, "stroke": LIGHT.ink}
        ET.SubElement(entry, f"{_SVG}polygon", attributes)

    return draw


def _state_of(state: State) -> _Draw:
    style = STATES[state]

    def draw(entry: ET.Element) -> None:
        entry.set("class", str(state))
        attributes = {"stroke": style.light.stroke, "stroke-width": f"{style.width:g}"}
        if _DASHES[style.line]:
            attributes["stroke-dasharray"] = _DASHES[style.line]
        ET.SubElement(
            entry, f"{_SVG}polygon", {"points": "2,2 24,2 24,16 2,16", "fill": style.light.fill, **attributes}
        )
        if style.double:
            ET.SubElement(entry, f"{_SVG}polygon", {"points": "-1,-1 27,-1 27,19 -1,19", "fill": "none", **attributes})
        glyph = ET.SubElement(
            entry,
            f"{_SVG}text",
            {"x": "13", "y": "12.5", "font-size": "9", "text-anchor": "middle", "fill": style.light.text},
        )
        glyph.text = glyph_of(state)

    return draw


def _frame_of(look: AccusedLook) -> _Draw:
    def draw(entry: ET.Element) -> None:
        entry.set("class", look.name)
        frame = {"fill": LIGHT.background, "stroke": look.light, "stroke-width": f"{look.width:g}"}
        ET.SubElement(entry, f"{_SVG}polygon", {"points": "2,2 24,2 24,16 2,16", **frame})

    return draw


def _line_of(kind: EdgeKind) -> _Draw:
    style = EDGES[kind]
    colour = edge_colour(kind, EdgeState.LIVE)

    def draw(entry: ET.Element) -> None:
        entry.set("class", str(kind))
        line = {
            "d": "M0,9 L19,9",
            "fill": "none",
            "stroke": colour,
            "stroke-width": f"{edge_width(kind, EdgeState.LIVE):g}",
        }
        if _DASHES[style.line]:
            line["stroke-dasharray"] = _DASHES[style.line]
        ET.SubElement(entry, f"{_SVG}path", line)
        _head_of(entry, style.head, colour)

    return draw


def _head_of(entry: ET.Element, head: str, colour: str) -> None:
    """Draw an arrow head as Graphviz does."""
    outline = {"fill": LIGHT.background, "stroke": colour}
    solid = {"fill": colour, "stroke": colour}
    match head:
        case "dot":
            ET.SubElement(entry, f"{_SVG}ellipse", {"cx": "22", "cy": "9", "rx": "3", "ry": "3", **solid})
        case "vee":
            ET.SubElement(entry, f"{_SVG}polygon", {"points": "27,9 18,5.5 21,9 18,12.5", **solid})
        case "tee":
            ET.SubElement(entry, f"{_SVG}polygon", {"points": "20,4 22,4 22,14 20,14", **solid})
        case "odiamond":
            ET.SubElement(entry, f"{_SVG}polygon", {"points": "15,9 21,5.5 27,9 21,12.5", **outline})
        case "empty":
            ET.SubElement(entry, f"{_SVG}polygon", {"points": "19,5.5 27,9 19,12.5", **outline})
        case _:
            ET.SubElement(entry, f"{_SVG}polygon", {"points": "19,5.5 27,9 19,12.5", **solid})
