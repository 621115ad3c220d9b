"""Fold a long thin picture into bands that are read like lines of text: what no screen is shaped like, nobody reads."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from math import ceil, sqrt

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


def bands(picture: Picture) -> dict[str, int]:
    """Give the band of every node of a picture that would be too long; nothing for one that is well shaped or has cycles."""
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
    """Give how many nodes stand side by side where it is broad: what only one rank has does not make a picture broad."""
    counts = sorted(Counter(ranks.values()).values())
    return counts[int(len(counts) * 0.9)]


def _ranks(picture: Picture) -> dict[str, int]:
    """Give the rank of every node as Graphviz will: one more than the highest of those before it."""
    followers: dict[str, list[str]] = defaultdict(list)
    waiting: Counter[str] = Counter()
    for edge in picture.edges:
        if EDGES[edge.kind].weight:
            followers[edge.before].append(edge.after)
            waiting[edge.after] += 1
    ranks = {node.key: 0 for node in picture.nodes if not waiting[node.key]}
    ready = deque(ranks)
    while ready:
        key = ready.popleft()
        for follower in followers[key]:
            ranks[follower] = max(ranks.get(follower, 0), ranks[key] + 1)
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    return ranks if len(ranks) == len(picture.nodes) and not +waiting else {}
