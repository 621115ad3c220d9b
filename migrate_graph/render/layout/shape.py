"""Choose how a picture is laid out: boxes in the direction that fits a screen better, or rows for what is long or large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec.structs import replace

from migrate_graph.columns import columns
from migrate_graph.core.late import nx
from migrate_graph.render.picture import Picture
from migrate_graph.render.style import EDGES

_MOST_BOXES = 150
"""With more boxes than this, no layout has letters that can be read on a page."""
_LONGEST_CHAIN = 8
"""So many boxes one behind the other still look like a picture."""
_MOSTLY = 0.6
"""If a larger part of the boxes than this stands one behind the other, the picture is a chain."""
_SCREEN = (1080.0, 620.0)
"""Points of a laptop's screen, less the window's frame and the picture's head."""
_BETTER = 1.15
"""How many times larger the letters must become on a screen before the unusual direction is chosen."""


def runs_left_to_right(picture: Picture) -> bool:
    """Return whether time should run left to right: as usual for the question, unless the other direction fits a screen better.

    A picture that is drawn as rows keeps the usual direction; so does one with cycles, whose size is not known before it is laid out.
    """
    ranks = _ranks(picture)
    usual, other = picture.left_to_right, replace(picture, left_to_right=not picture.left_to_right)
    if not ranks or wants_rows(picture):
        return usual
    return usual if _scale(other, ranks) < _BETTER * _scale(picture, ranks) else not usual


def _scale(picture: Picture, ranks: Mapping[str, int]) -> float:
    """Estimate how large the picture can be shown on a screen; 1 is its full size."""
    number = len(picture.nodes)
    # A box is as wide as its longest line and as high as its lines; then comes the room that is left for arrows.
    wide = sum(14 + 6 * (2 + max(map(columns, (*node.label, *node.notes)))) for node in picture.nodes) / number
    high = sum(9 + 12 * (len(node.label) + len(node.notes)) for node in picture.nodes) / number
    length, breadth = max(ranks.values()) + 1, _breadth(picture, ranks)
    if picture.left_to_right:
        width, height = length * (1.1 * wide + 23), breadth * (high + 15)
    else:
        width, height = breadth * (wide + 15), length * (high + 25)
    return min(_SCREEN[0] / width, _SCREEN[1] / height, 1.0)


def _breadth(picture: Picture, ranks: Mapping[str, int]) -> int:
    """Return how many boxes stand side by side at the broadest place; frames count with their own broadest place, and add up."""
    frames = {key: number for number, cluster in enumerate(picture.clusters) for key in cluster.keys}
    broadest: Counter[int] = Counter()
    for (frame, _), count in Counter((frames.get(key, -1), rank) for key, rank in ranks.items()).items():
        broadest[frame] = max(broadest[frame], count)
    return broadest.total()


def wants_rows(picture: Picture) -> bool:
    """Whether rows are better than boxes: there are very many boxes, or most stand one behind the other."""
    if len(picture.nodes) > _MOST_BOXES:
        return True
    length = len(set(_ranks(picture).values()))
    return length > _LONGEST_CHAIN and length > _MOSTLY * len(picture.nodes)


def _ranks(picture: Picture) -> dict[str, int]:
    """Return the rank of every node as Graphviz computes it, one more than the highest rank before it; empty if there is a cycle."""
    arrows: nx.DiGraph[str] = nx.DiGraph()
    arrows.add_nodes_from(node.key for node in picture.nodes)
    arrows.add_edges_from((edge.before, edge.after) for edge in picture.edges if EDGES[edge.kind].weight)
    if not nx.is_directed_acyclic_graph(arrows):
        return {}
    return {key: rank for rank, keys in enumerate(nx.topological_generations(arrows)) for key in keys}
