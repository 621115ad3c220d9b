"""Draw a picture as rows, with lanes at the left and words at the right: for pictures whose boxes would be too small to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

import networkx as nx
from msgspec import Struct, field

from migrate_graph.columns import broken, columns
from migrate_graph.core.graph import EdgeKind
from migrate_graph.core.states import State
from migrate_graph.render.labels import wrapped
from migrate_graph.render.layout.lanes import Place, backwards_of, parents_of, places_of
from migrate_graph.render.picture import Picture, PictureEdge, PictureNode, shortened
from migrate_graph.render.style import LIGHT, STATES, TIMES, accused_look, edge_colour, edge_width, glyph_of

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"

# Points. 604 and the page's margins are 838 pixels: what a code host gives a picture.
WIDTH = 604.0
_LETTER, _LINE = 6.0, 12.0
_SIZE = "10"
_GAP = 4.0
_WIDEST_LANE, _NARROWEST_LANE, _ALL_LANES = 13.0, 5.0, 180.0
_MOST_LANES = int(_ALL_LANES / _NARROWEST_LANE)
_DOT, _CUT = 4.0, 4.0
_THIN, _THINNEST = 0.6, 0.8
"""Borders are thinner than those of boxes, which stand apart; but never thinner than this."""
_LONGEST_NAME = 62
"""Columns of the longest line of a name: there is room for it even behind all lanes and a number."""
_OF_MIGRATIONS = frozenset({EdgeKind.REQUIRES, EdgeKind.NEEDS, EdgeKind.CONFLICTS})
_OF_VIEWS = frozenset({EdgeKind.USES, EdgeKind.READS, EdgeKind.REPLACES})
_DASHES = {"dashed": "5,2", "dotted": "1,3"}


class Rows(Struct):
    """What was drawn.

    Attributes:
        group: its corner is at 0, 0.
        width: in points.
        height: in points.
        edges: those that are drawn as lanes.
    """

    group: ET.Element
    width: float = WIDTH
    height: float = 0.0
    edges: list[PictureEdge] = field(default_factory=list)


def draw_rows(picture: Picture) -> Rows:
    """Draw the migrations of a picture in the order of the run, then its views, each before the views that read it."""
    migrations = [node for node in picture.nodes if node.kind != "view"]
    views = [node for node in picture.nodes if node.kind == "view"]
    blocks = []
    if migrations:
        blocks.append(_Block.of(migrations, [edge for edge in picture.edges if edge.kind in _OF_MIGRATIONS], picture))
    if views:
        edges = [edge for edge in picture.edges if edge.kind in _OF_VIEWS]
        blocks.append(_Block.of(_read_first(views, edges), edges, picture))
    drawn = Rows(ET.Element(f"{_SVG}g"))
    for block in blocks:
        block.draw(drawn)
    return drawn


def _read_first(views: Sequence[PictureNode], edges: Iterable[PictureEdge]) -> list[PictureNode]:
    """Sort views by what they read, then as declared; a ring of them stays as declared."""
    nodes = {node.key: node for node in views}
    reads: nx.DiGraph[str] = nx.DiGraph()
    reads.add_nodes_from(nodes)
    reads.add_edges_from((edge.before, edge.after) for edge in edges if edge.before in nodes and edge.after in nodes)
    if not nx.is_directed_acyclic_graph(reads):
        return list(views)
    places = {key: place for place, key in enumerate(nodes)}
    return [nodes[key] for key in nx.lexicographical_topological_sort(reads, key=places.__getitem__)]


class _Block(Struct, frozen=True):
    """Rows whose lanes belong together: the migrations, or the views."""

    rows: Sequence[PictureNode]
    edges: Sequence[PictureEdge]
    parents: Mapping[str, Sequence[str]]
    places: Sequence[Place] | None
    heads: Mapping[str, Sequence[str]]
    told: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, rows: Sequence[PictureNode], edges: Sequence[PictureEdge], picture: Picture) -> _Block:
        parents = parents_of(rows, edges)
        places = places_of(rows, parents, widest=_MOST_LANES)
        words = _Words(rows, edges, picture, parents=parents if places is None else {})
        return cls(
            rows,
            edges,
            parents,
            places,
            {node.key: _head(node) for node in rows},
            {node.key: words.of(node) for node in rows},
        )

    @property
    def numbers(self) -> float:
        """The width of the column with the places in the run, in points."""
        digits = max((len(str(node.place)) for node in self.rows if node.place), default=0)
        return digits * _LETTER + 8 if digits else 0.0

    @property
    def lane(self) -> float:
        """The distance from one lane to the next, in points."""
        number = max((len(place.held) for place in self.places or ()), default=1)
        return min(_WIDEST_LANE, max(_NARROWEST_LANE, _ALL_LANES / number))

    @property
    def left(self) -> float:
        """The distance of the words from the left edge, in points."""
        number = max((len(place.held) for place in self.places or ()), default=0)
        return self.numbers + number * self.lane + 6

    def draw(self, drawn: Rows) -> None:
        """Draw the rows below what is drawn already, the lanes behind them."""
        top = drawn.height + (4 * _GAP if drawn.height else 0)
        room = int((drawn.width - self.left - 14) / _LETTER)
        column = max(columns(head[-1]) for head in self.heads.values()) + 2
        lines = {
            node.key: _lines(self.heads[node.key], self.told[node.key], column, room, extra=node.description)
            for node in self.rows
        }
        middles: dict[str, float] = {}
        for node in self.rows:
            middles[node.key] = top + 3 + _LINE / 2
            top += len(lines[node.key]) * _LINE + 6 + _GAP
        if self.places is not None:
            self._draw_lanes(drawn, middles)
        for index, node in enumerate(self.rows):
            x = self._x(self.places[index].column) if self.places is not None else None
            if node.place:
                marks = {"class": "quiet", "fill": LIGHT.muted, "text-anchor": "end"}
                _write(drawn.group, self.numbers - 8, middles[node.key], str(node.place), marks)
            drawn.group.append(self._row(node, lines[node.key], (x, middles[node.key]), drawn.width))
        drawn.height = top

    def _row(self, node: PictureNode, lines: Sequence[str], at: tuple[float | None, float], right: float) -> ET.Element:
        """Draw a row: a flat box with its words, and its dot in the lane."""
        x, middle = at
        style, look = STATES[node.state], accused_look(node.accused, node.state)
        marks = f"node {node.kind} {node.state}{f' {look.name}' if look else ''}"
        group = ET.Element(f"{_SVG}g", {"id": node.key, "class": marks})
        ET.SubElement(group, f"{_SVG}title").text = node.tooltip
        inside = ET.SubElement(group, f"{_SVG}a", {_HREF: node.link, "target": "_top"}) if node.link else group
        stroke = look.light if look else style.light.stroke
        width = max(_THINNEST, _THIN * (look.width if look else style.width))
        border = {"stroke": stroke, "stroke-width": f"{width:.2g}"}
        if style.line in _DASHES:
            border["stroke-dasharray"] = _DASHES[style.line]
        cut = _CUT if node.kind == "view" else 0
        box = (self.left, middle - _LINE / 2 - 3, right, middle + (len(lines) - 0.5) * _LINE + 3)
        _polygon(inside, box, border, cut=cut, fill=style.light.fill)
        if style.double:
            _polygon(inside, (box[0] + 2, box[1] + 2, box[2] - 2, box[3] - 2), border)
        if x is not None:
            dot = (x - _DOT, middle - _DOT, x + _DOT, middle + _DOT)
            _polygon(inside, dot, {"stroke": style.light.stroke}, cut=cut / 2, fill=style.light.stroke)
        for number, line in enumerate(lines):
            _write_line(
                inside, line, self.heads[node.key][number:], node.state, (self.left + 7, middle + number * _LINE)
            )
        return group

    def _x(self, column: int) -> float:
        return self.numbers + (column + 0.5) * self.lane

    def _draw_lanes(self, drawn: Rows, middles: Mapping[str, float]) -> None:
        assert self.places is not None  # noqa: S101 - asked before
        at = {node.key: self._x(place.column) for node, place in zip(self.rows, self.places, strict=True)}
        above = dict(zip([node.key for node in self.rows[1:]], [node.key for node in self.rows], strict=False))
        for edge in self.edges:
            if edge.before in self.parents.get(edge.after, ()):
                start, end = (at[edge.before], middles[edge.before]), (at[edge.after], middles[edge.after])
                drawn.edges.append(edge)
                drawn.group.append(_lane(edge, start, end, middles[above[edge.after]]))


def _lane(edge: PictureEdge, start: tuple[float, float], end: tuple[float, float], last: float) -> ET.Element:
    """Draw an edge: straight down its lane to the row above, then over to the row that waits for it."""
    group = ET.Element(
        f"{_SVG}g", {"class": f"edge {edge.kind} {edge.state}", "data-before": edge.before, "data-after": edge.after}
    )
    (x, y), (to, bottom) = start, end
    turn = f"V{last:g} C{x:g},{bottom:g} {to:g},{last:g} {to:g},{bottom:g}" if x != to else f"V{bottom:g}"
    attributes = {
        "d": f"M{x:g},{y:g} {turn}",
        "fill": "none",
        "stroke": edge_colour(edge.kind, edge.state),
        "stroke-width": f"{edge_width(edge.kind, edge.state):g}",
    }
    ET.SubElement(group, f"{_SVG}path", attributes)
    return group


# Words ------------------------------------------------------------------------------------------------------------------------


def _head(node: PictureNode) -> list[str]:
    """Return the sign and the name; a very long name takes several lines, and is not cut."""
    glyph = glyph_of(node.state)
    whole = [node.name] if columns(node.name) <= _LONGEST_NAME else wrapped(node.name, width=_LONGEST_NAME)
    return [f"{glyph} {line}".strip() if not number else f"  {line}" for number, line in enumerate(whole)]


class _Words:
    """The sentences of each row: first its state, then what it does, then what is wrong with it."""

    def __init__(
        self,
        rows: Sequence[PictureNode],
        edges: Iterable[PictureEdge],
        picture: Picture,
        *,
        parents: Mapping[str, Sequence[str]],
    ) -> None:
        self._backwards = backwards_of(rows, edges)
        self._parents = parents
        self._labels = {node.key: f"#{node.place}" if node.place else node.name for node in picture.nodes}
        self._counted: dict[str, list[str]] = defaultdict(list)
        for edge in sorted(picture.edges, key=lambda edge: -edge.count):
            self._counted[edge.after].append(f"{self._labels[edge.before]} {TIMES}{edge.count}")

    def of(self, node: PictureNode) -> list[str]:
        """Return the sentences: first the one that may stand beside the name."""
        told = (note.removeprefix(f"#{node.place} ").removeprefix("view · ") for note in node.notes if note != "view")
        # "pending" shows in its number and its look, and "blocked" in the words "blocked by": both are left out here.
        said = {State.PENDING, *(State.BLOCKED for word, _ in node.details if word == "blocked by")}
        notes = " ".join(note for note in told if note not in said)
        others = self._of_module(node) if node.kind == "module" else self._of_node(node)
        return [notes, "; ".join(f"{word} {text}".strip() for word, text in others if text), node.sentence]

    def _of_module(self, node: PictureNode) -> Iterator[tuple[str, str]]:
        yield "after", shortened(self._counted[node.key])

    def _of_node(self, node: PictureNode) -> Iterator[tuple[str, str]]:
        yield "after", shortened([self._labels[key] for key in self._parents.get(node.key, ())])
        yield "below it, but first:", shortened(self._backwards[node.key])
        yield "", "; ".join(node.happenings)
        wanted = _WINDOW if node.kind == "view" else frozenset() if node.happenings else _OPENS
        yield from ((word, shortened(text.split(", "))) for word, text in node.details if word in wanted)


_WINDOW = frozenset({"since", "until", "replaces", "hands over to"})
_OPENS = frozenset({"opens"})


def _lines(head: Sequence[str], told: Sequence[str], column: int, room: int, *, extra: str) -> list[str]:
    """Return the lines of a row: the name, beside it what fits there, and the rest below, broken between words.

    `extra`, the docstring, is added only where the first line has room for it.
    """
    together = "; ".join(filter(None, told))
    more = "; ".join(filter(None, (together, extra)))
    together = more if column + columns(more) <= room else together
    first, *rest = (together,) if column + columns(together) <= room else told
    *lines, last = head
    start = column if column + columns(first) <= room else columns(last) + 2
    fits = start + columns(first) <= room
    lines.append(last + " " * (start - columns(last)) + first if first and fits else last)
    for each in rest if fits else (first, *rest):
        lines += [f"    {line}" for line in _broken(each, room - 4)] if each else []
    return lines


def _broken(text: str, room: int) -> Iterator[str]:
    """Break a text between words, and a name that is longer than a line where it has joints."""
    for line in broken(text, room):
        yield from [line] if columns(line) <= room else wrapped(line, width=room)


# Rows -------------------------------------------------------------------------------------------------------------------------


def _write_line(parent: ET.Element, line: str, heads: Sequence[str], state: State, at: tuple[float, float]) -> None:
    """Write a line; if it begins with a line of the name, that part is bold or struck through as the state wants it."""
    style, (x, y) = STATES[state], at
    name = heads[0] if heads else ""
    rest = line[len(name) :].lstrip()
    if name:
        bold = {"font-weight": "bold"} if style.bold else {}
        struck = {"text-decoration": "line-through"} if style.struck else {}
        indent = len(name) - len(name.lstrip())
        _write(parent, x + indent * _LETTER, y, name.lstrip(), {"fill": style.light.text} | bold | struck)
    if rest:
        _write(parent, x + (columns(line) - columns(rest)) * _LETTER, y, rest, {"fill": style.light.text})


def _write(parent: ET.Element, x: float, middle: float, words: str, attributes: Mapping[str, str]) -> None:
    at = {"x": f"{x:g}", "y": f"{middle + 3.5:g}", "font-size": _SIZE}
    ET.SubElement(parent, f"{_SVG}text", at | dict(attributes)).text = words


def _polygon(
    parent: ET.Element,
    box: tuple[float, float, float, float],
    border: Mapping[str, str],
    *,
    cut: float = 0,
    fill: str = "none",
) -> None:
    """Draw a rectangle, or one with cut corners."""
    left, top, right, bottom = box
    corners = (
        (left + cut, top),
        (right - cut, top),
        (right, top + cut),
        (right, bottom - cut),
        (right - cut, bottom),
        (left + cut, bottom),
        (left, bottom - cut),
        (left, top + cut),
    )
    points = " ".join(dict.fromkeys(f"{x:g},{y:g}" for x, y in corners))
    ET.SubElement(parent, f"{_SVG}polygon", {"points": points, "fill": fill} | dict(border))
