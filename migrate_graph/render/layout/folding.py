"""Shape a picture like a screen: choose the direction of time, and fold what is long and thin into bands, read like lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import ceil, sqrt

import networkx as nx

from migrate_graph.columns import columns
from migrate_graph.render.picture import Picture
from migrate_graph.render.style import EDGES

# Points that a node takes along and across the direction of time, about: boxes are wide and flat.
_LEFT_TO_RIGHT = (190.0, 85.0)
_TOP_TO_BOTTOM = (70.0, 200.0)
_LONGEST = 3.0
"""Length to breadth beyond which a picture is folded."""
_WANTED = 1.6
_SHORT = 1500.0
"""Points that fit on a screen one way or the other: not worth a fold."""
_SCREEN = (1080.0, 620.0)
"""Points of a laptop's screen, less the window's frame and the picture's head."""
_BETTER = 1.15
"""How much larger the letters must become on a screen before time runs the unusual way."""


def runs_left_to_right(picture: Picture) -> bool:
    """Return whether time should run left to right: the way the question wants it, unless the other fits a screen better.

    A chain keeps the way of its question, it folds well either way; so does a picture with cycles, of which nothing is known before it
    is laid out.
    """
    ranks = _ranks(picture)
    usual, other = picture.left_to_right, replace(picture, left_to_right=not picture.left_to_right)
    if not ranks or (bands(picture) and _typical_breadth(ranks) == 1):
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
    """Return how many boxes stand side by side where it is broadest; frames stand beside each other over their whole length."""
    frames = {key: number for number, cluster in enumerate(picture.clusters) for key in cluster.keys}
    broadest: Counter[int] = Counter()
    for (frame, _), count in Counter((frames.get(key, -1), rank) for key, rank in ranks.items()).items():
        broadest[frame] = max(broadest[frame], count)
    return broadest.total()


def bands(picture: Picture) -> dict[str, int]:
    """Return the band of every node of a picture that would be too long; nothing for one that is well shaped or has cycles."""
    ranks = _ranks(picture)
    if not ranks or picture.clusters:
        return {}
    along, across = _LEFT_TO_RIGHT if picture.left_to_right else _TOP_TO_BOTTOM
    length = (max(ranks.values()) + 1) * along
    breadth = _typical_breadth(ranks) * across
    if length <= _SHORT or length / breadth <= _LONGEST:
        return {}
    wanted = _WANTED if picture.left_to_right else 1 / _WANTED
    number = max(2, round(sqrt(length / breadth / wanted)))
    size = ceil((max(ranks.values()) + 1) / number)
    return {key: rank // size for key, rank in ranks.items()}


def _typical_breadth(ranks: dict[str, int]) -> float:
    """Return how many nodes stand side by side where it is broad: what only one rank has does not make a picture broad."""
    counts = sorted(Counter(ranks.values()).values())
    return counts[int(len(counts) * 0.9)]


def _ranks(picture: Picture) -> dict[str, int]:
    """Return the rank of every node as Graphviz will: one more than the highest of those before it."""
    arrows: nx.DiGraph[str] = nx.DiGraph()
    arrows.add_nodes_from(node.key for node in picture.nodes)
    arrows.add_edges_from((edge.before, edge.after) for edge in picture.edges if EDGES[edge.kind].weight)
    if not nx.is_directed_acyclic_graph(arrows):
        return {}
    return {key: rank for rank, keys in enumerate(nx.topological_generations(arrows)) for key in keys}
