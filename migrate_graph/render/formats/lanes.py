"""Draw migrations in a terminal: one line each in the order of the run, with lanes that lead to the lines that wait for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, takewhile

from msgspec import Struct

from migrate_graph.columns import broken, columns
from migrate_graph.core.states import WORDINGS, State
from migrate_graph.render.layout.lanes import Join, backwards_of, parents_of, places_of
from migrate_graph.render.picture import Picture, PictureNode
from migrate_graph.render.style import TIMES

WIDEST = 12
"""More lanes than this cannot be read: then words are written instead (`after #3, #5`)."""

_LEAST_NOTE = 26
"""So many columns of a note are written even where the name alone fills the line: the note may say FAILED."""

_ASCII = str.maketrans("│─├┤┼╭╮╰╯…·→└↑↓" + TIMES, "|-++|..''.->`^vx")


class Line(Struct, frozen=True):
    """A line for a terminal.

    Attributes:
        text: without line end, printable.
        state: of the node that it shows, for its colour; None for other lines.
    """

    text: str
    state: State | None = None


def to_lines(picture: Picture, *, width: int = 80, ascii_only: bool = False) -> tuple[Line, ...]:
    """Draw the migrations of a picture as lanes and its views as a tree.

    Args:
        picture: what to draw.
        width: columns of the terminal; notes are cut to it, names never.
        ascii_only: the terminal can show nothing else.
    """
    head = [Line(_cut(picture.title, width)), *(Line(text) for text in broken(picture.subtitle, width)), Line("")]
    rows = [node for node in picture.nodes if node.kind != "view"]
    views = [node for node in picture.nodes if node.kind == "view"]
    lines = [*head, *_lanes(rows, picture, width)]
    if views:
        lines += [Line(""), Line("views"), *_tree(views, picture, width)]
    if not ascii_only:
        return tuple(lines)
    return tuple(Line(_to_ascii(line), line.state) for line in lines)


def to_text(picture: Picture, *, width: int = 80, ascii_only: bool = False) -> str:
    """Draw as one text, without colours."""
    return "".join(f"{line.text.rstrip()}\n" for line in to_lines(picture, width=width, ascii_only=ascii_only))


def _to_ascii(line: Line) -> str:
    text = line.text
    if line.state is not None:
        text = text.replace(WORDINGS[line.state].glyph, WORDINGS[line.state].ascii, 1)
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode()


# Lanes ------------------------------------------------------------------------------------------------------------------------


def _lanes(rows: Sequence[PictureNode], picture: Picture, width: int) -> list[Line]:
    """Draw migrations with lanes; in words where there would be too many lanes, or no room for names."""
    parents = parents_of(rows, picture.edges)
    backwards = backwards_of(rows, picture.edges)
    places = places_of(rows, parents, widest=WIDEST)
    wide = (len(held) for place in places or () for held in (place.held, *(join.held for join in place.joins)))
    lanes = max(0, 2 * max(wide, default=0) - 1)  # a space between two
    longest = max((columns(node.name) for node in rows), default=0)
    digits = max((len(str(node.place)) for node in rows), default=1)
    if places is None or digits + lanes + longest + 4 > max(width, 60):
        return _in_words(rows, parents, backwards, width=width, digits=digits)
    lines: list[Line] = []
    for node, place in zip(rows, places, strict=True):
        lines += [Line(f"{'':{digits}}  {_connector(join, place.column)}") for join in place.joins]
        number = str(node.place or "")
        glyph = WORDINGS[node.state].glyph
        mark = " ".join(
            glyph if index == place.column else "│" if held else " " for index, held in enumerate(place.held)
        )
        head = f"{number:>{digits}}  {mark:<{lanes}}  {node.name}"
        lines.append(Line(_with_note(head, digits + lanes + 4 + longest, _told(node, backwards), width), node.state))
    return lines


def _told(node: PictureNode, backwards: Mapping[str, Sequence[str]]) -> str:
    """Return the text behind a name, without the place in the run, which stands before the name."""
    notes = [note.removeprefix(f"#{node.place} ") for note in node.notes]
    if backwards[node.key]:
        notes.append(f"also after {', '.join(backwards[node.key])} below")
    return "; ".join(filter(None, (*notes, *node.happenings, node.sentence)))


def _in_words(
    rows: Sequence[PictureNode],
    parents: Mapping[str, Sequence[str]],
    backwards: Mapping[str, Sequence[str]],
    *,
    width: int,
    digits: int,
) -> list[Line]:
    """Write one line per migration, naming what it waits for; a row has a number of its own where the run gives none."""
    numbered = any(node.place for node in rows)
    labels = {
        node.key: f"#{node.place}" if node.place else (node.name if numbered else f"#{row}")
        for row, node in enumerate(rows, 1)
    }
    digits = max(digits, len(str(len(rows)))) if not numbered else digits
    lines = []
    for row, node in enumerate(rows, 1):
        number = str(node.place or ("" if numbered else row))
        after = ", ".join(labels[parent] for parent in parents[node.key])
        told = _told(node, backwards)
        note = "; ".join(each for each in (f"after {after}" if after else "", told) if each)
        head = f"{number:>{digits}}  {WORDINGS[node.state].glyph}  {node.name}"
        lines.append(Line(_with_note(head, columns(head), note, width), node.state))
    return lines


def _connector(join: Join, taker: int) -> str:
    """Draw how a lane reaches the column of the next node: `├─┼─╯`."""
    low, high = sorted((join.giver, taker))
    to_right = taker < join.giver
    corners = {
        taker: ("├" if to_right else "┤") if join.started else ("╭" if to_right else "╮"),
        join.giver: ("╯" if to_right else "╰") if join.ends else ("┤" if to_right else "├"),
    }
    cells = []
    for index, held in enumerate(join.held):
        inside = low < index < high
        cells.append(corners.get(index) or (("┼" if held else "─") if inside else "│" if held else " "))
        cells.append("─" if low <= index < high else " ")
    return "".join(cells).rstrip()


# Views ------------------------------------------------------------------------------------------------------------------------


def _tree(views: Sequence[PictureNode], picture: Picture, width: int) -> list[Line]:
    """Draw views as a tree from the view that is read to its readers; one that was drawn above is marked `(*)` and not followed again."""
    nodes = {node.key: node for node in views}
    readers: dict[str, list[str]] = defaultdict(list)
    for edge in picture.links:
        if edge.kind in {"uses", "reads"} and edge.before in nodes and edge.after in nodes:
            readers[edge.before].append(edge.after)
    read = {reader for found in readers.values() for reader in found}
    seen: set[str] = set()
    lines: list[Line] = []
    roots = [key for key in nodes if key not in read]
    # A ring of views has no root: what no root reaches starts a tree of its own.
    for root in (*roots, *nodes):
        if root in seen:
            continue
        todo: list[tuple[str, str, str]] = [(root, "  ", "  ")]
        while todo:
            key, first, rest = todo.pop()
            again = key in seen
            seen.add(key)
            node = nodes[key]
            head = f"{first}{WORDINGS[node.state].glyph} {node.name}" + (" (*)" if again else "")
            lines.append(Line(_with_note(head, 0, ", ".join(_view_notes(node)), width), node.state))
            if not again:
                below = readers[key]
                branches = [(each, f"{rest}├─ ", f"{rest}│  ") for each in below[:-1]]
                branches += [(each, f"{rest}└─ ", f"{rest}   ") for each in below[-1:]]
                todo += reversed(branches)
    return lines


def _view_notes(node: PictureNode) -> Iterable[str]:
    return (note.removeprefix("view · ") for note in node.notes if note != "view")


# Words ------------------------------------------------------------------------------------------------------------------------


def _with_note(head: str, column: int, note: str, width: int) -> str:
    """Write a note behind a name, from a column where there is room, cut with … to the width."""
    if not note:
        return head
    text = f"{head:<{column}}  {note}" if column + 12 <= width else f"{head}  {note}"
    return _cut(text, max(width, columns(head) + _LEAST_NOTE))


def _cut(text: str, width: int) -> str:
    if columns(text) <= width:
        return text
    taken = accumulate(columns(each) for each in text)
    fitting = sum(1 for _ in takewhile(lambda column: column < width, taken))
    return f"{text[:fitting].rstrip()}…"
