"""Write a picture as SVG: Graphviz' layout with a title, a legend, a dark mode and words for those who cannot see it."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.columns import columns
from migrate_graph.core.states import STUCK, WORDINGS
from migrate_graph.render import Renderer
from migrate_graph.render.formats.dot import LETTER, edge_id, text_of, to_dot
from migrate_graph.render.formats.rows import draw_rows
from migrate_graph.render.layout.engine import LayoutTimeout, lay_out
from migrate_graph.render.layout.shape import wants_rows
from migrate_graph.render.legend import draw_head
from migrate_graph.render.picture import Picture, PictureNode, shortened
from migrate_graph.render.style import FONT_STACK, LIGHT, STATES, dark_mode

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
ET.register_namespace("", _SVG)
ET.register_namespace("xlink", _XLINK)

# Points.
_MARGIN = 12.0
_NARROWEST = 520.0
_DESCRIBED = 20
"""How many names the description lists, for people with a screen reader."""
_LONGEST = 3.0
"""Above this ratio of height to width rows are drawn instead of boxes."""
_WIDEST = 1070.0
"""Letters of 9 points in a picture of this width are 7 pixels high where a code host shows it in 838 pixels."""


def to_svg(picture: Picture, *, renderer: Renderer = Renderer.AUTO, zoomable: bool = False) -> bytes:
    """Write SVG: boxes and arrows while their letters can be read on a page, else rows; no script, nothing from the network.

    Args:
        picture: what is drawn.
        renderer: what lays the boxes out.
        zoomable: the reader can enlarge it, so that it is boxes whatever their number.

    Raises:
        UsageError: no renderer.
        LayoutTimeout: the layout of something zoomable took too long.
    """
    drawing = _boxes(picture, renderer) if zoomable else _legible(picture, renderer)
    return ET.tostring(_framed(drawing), encoding="unicode").encode() + b"\n"


def _legible(picture: Picture, renderer: Renderer) -> _Drawing:
    """Draw boxes where they can be read, else rows."""
    if not wants_rows(picture):
        try:
            boxes = _boxes(picture, renderer)
        except LayoutTimeout:
            pass  # rows need no layout
        else:
            if boxes.width <= _WIDEST and boxes.height <= _LONGEST * max(boxes.width, _NARROWEST):
                return boxes
    rows = draw_rows(picture)
    return _Drawing(rows.group, rows.width, rows.height, replace(picture, edges=tuple(rows.edges)))


def _boxes(picture: Picture, renderer: Renderer) -> _Drawing:
    return _drawing_of(ET.fromstring(_laid_out(picture, renderer)), picture)  # noqa: S314 - Graphviz wrote it


def _laid_out(picture: Picture, renderer: Renderer) -> bytes:
    """Lay out; when that takes too long, once more with less care."""
    try:
        return lay_out(to_dot(picture), renderer=renderer)
    except LayoutTimeout:
        return lay_out(to_dot(picture, hurried=True), renderer=renderer)


class _Drawing(Struct):
    """What was drawn: a group whose corner is at 0, 0, its size, and the picture with just the edges in it."""

    group: ET.Element
    width: float
    height: float
    picture: Picture


def _tag(name: str) -> str:
    return f"{{{_SVG}}}{name}"


def _drawing_of(root: ET.Element, picture: Picture) -> _Drawing:
    """Take the drawing out of the page that Graphviz wrote, and put our own words, classes and labels on its nodes and edges."""
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    group = root.find(_tag("g"))
    assert group is not None  # noqa: S101 - Graphviz always writes one
    group.attrib = {"transform": f"translate({_translation(group.attrib['transform'])})"}
    for child in list(group):
        if child.tag in {_tag("polygon"), _tag("title")}:  # the page's background and the graph's name
            group.remove(child)
    nodes = {node.key: node for node in picture.nodes}
    edges = {edge_id(edge): edge for edge in picture.edges}
    for each in group.iter(_tag("g")):
        name = each.get("id", "")
        _clean(each)
        if name in nodes:
            _dress(each, nodes[name])
        elif name in edges:
            each.attrib |= {"data-before": edges[name].before, "data-after": edges[name].after}
    return _Drawing(group, width, height, picture)


def _translation(transform: str) -> str:
    found = re.search(r"translate\(([^)]*)\)", transform)
    return found[1] if found else "0 0"


def _clean(group: ET.Element) -> None:
    """Remove what is superfluous in Graphviz' output: repeated classes, titles that repeat ids, anchors without a target, fonts."""
    classes = group.get("class", "").split()
    if classes:
        group.set("class", " ".join(dict.fromkeys(classes)))
    for title in group.findall(_tag("title")):
        group.remove(title)
    for index, child in enumerate(list(group)):
        if child.tag == _tag("g") and child.get("id", "").startswith("a_"):
            group[index : index + 1] = _unwrapped(child)
    for text in group.iter(_tag("text")):
        text.attrib.pop("font-family", None)
        text.attrib.pop("{http://www.w3.org/XML/1998/namespace}space", None)


def _unwrapped(anchor_group: ET.Element) -> list[ET.Element]:
    """Keep an anchor that has a target, else only what is inside."""
    anchor = anchor_group.find(_tag("a"))
    if anchor is None:
        return list(anchor_group)
    anchor.attrib.pop(f"{{{_XLINK}}}title", None)
    return [anchor] if anchor.get(f"{{{_XLINK}}}href") else list(anchor)


def _dress(group: ET.Element, node: PictureNode) -> None:
    """Add the tooltip, the label for screen readers, and the letters' weight on a node."""
    style = STATES[node.state]
    lines = text_of(node)
    left = _middle(group) - max(columns(line) for line in lines) * LETTER / 2
    title = ET.Element(_tag("title"))
    title.text = node.tooltip
    group.insert(0, title)
    for number, (text, line) in enumerate(zip(group.iter(_tag("text")), lines, strict=False)):
        # Graphviz guesses the width of a glyph it has no metrics for, and leaves the lines off centre.
        # Leading spaces are not kept everywhere (an SVG inside HTML), so the indent is made by the position.
        words = line.lstrip(" ")
        text.text, text.attrib["x"] = words, f"{left + (len(line) - len(words)) * LETTER:.2f}"
        if style.bold:
            text.set("font-weight", "bold")
        if style.struck and number < len(node.label):
            text.set("text-decoration", "line-through")


def _middle(group: ET.Element) -> float:
    """Return the middle of a node, from left to right."""
    outline = group.find(f".//{_tag('polygon')}")
    assert outline is not None  # noqa: S101 - every shape of ours is a polygon
    across = [float(point.partition(",")[0]) for point in outline.attrib["points"].split()]
    return (min(across) + max(across)) / 2


# The page ---------------------------------------------------------------------------------------------------------------------


def _framed(drawing: _Drawing) -> ET.Element:
    """Draw title, sub-line and legend above the drawing, on a page of our own."""
    picture = drawing.picture
    inner = max(drawing.width, _NARROWEST)
    head, bottom = draw_head(picture, left=_MARGIN, width=inner)
    width, height = inner + 2 * _MARGIN, bottom + drawing.height + _MARGIN
    root = ET.Element(
        _tag("svg"),
        {
            "width": f"{width:.0f}pt",
            "height": f"{height:.0f}pt",
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "role": "img",
            "aria-labelledby": "picture-title picture-description",
            "font-family": FONT_STACK,
        },
    )
    ET.SubElement(root, _tag("title"), {"id": "picture-title"}).text = picture.title
    ET.SubElement(root, _tag("desc"), {"id": "picture-description"}).text = _description(picture)
    ET.SubElement(root, _tag("style")).text = style_of(picture)
    ET.SubElement(root, _tag("rect"), {"class": "page", "width": "100%", "height": "100%", "fill": LIGHT.background})
    root.append(head)
    place = ET.SubElement(root, _tag("g"), {"transform": f"translate({_MARGIN:.0f} {bottom:.0f})"})
    place.append(drawing.group)
    return root


def _description(picture: Picture) -> str:
    """Return in words what is drawn: the counts, what is in trouble, and what runs, in its order."""
    stuck = [
        f"{WORDINGS[node.state].legend}: {node.name}"
        for node in picture.nodes
        if node.state in STUCK and not node.place
    ]
    runs = [f"{node.place} {node.name}" for node in sorted(picture.nodes, key=lambda node: node.place) if node.place]
    parts = [picture.subtitle, shortened(stuck, most=_DESCRIBED)]
    parts += [f"Runs {shortened(runs, most=_DESCRIBED)}"] if runs else []
    return ". ".join(filter(None, parts))


def style_of(picture: Picture) -> str:
    """Return the content of the picture's style element."""
    states = sorted({node.state for node in picture.nodes})
    kinds = sorted({edge.kind for edge in picture.edges})
    return dark_mode(states, kinds, sorted({edge.state for edge in picture.edges}))
