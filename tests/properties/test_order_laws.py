"""The order is the one edwh-migrate 2.1.0 gives, on every graph and in both of its modes; `declared` is as its `legacy`."""

import heapq
import random
import re

from drawing import graph_of
from hypothesis import given
from hypothesis import strategies as st
from registries import digraphs, paths_of

from migrate_graph.core.graph import Ordering


def reference_order(requires: dict[str, list[str]], ordering: Ordering) -> list[str]:
    """Return what runs when, as the description of 2.1.0 has it: a heap of what is ready, smallest key first."""

    def key(name: str) -> tuple[int, int, int]:
        rank = list(requires).index(name)
        first_digit = 0 if requires[name] else 1
        if ordering is not Ordering.INTERTWINED:
            return first_digit, rank, rank
        match = re.search(r"(\d+)_(\d+)$", name) or re.search(r"(\d+)()$", name)
        first, second = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
        return first_digit, first * 1_000_000 + second, rank

    waiting = {name: set(befores) for name, befores in requires.items()}
    ready = [(key(name), name) for name, befores in waiting.items() if not befores]
    heapq.heapify(ready)
    order = []
    while ready:
        _, name = heapq.heappop(ready)
        order.append(name)
        for other, befores in waiting.items():
            if name in befores:
                befores.remove(name)
                if not befores:
                    heapq.heappush(ready, (key(other), other))
    return order


@given(digraphs(cyclic=False), st.sampled_from(Ordering))
def test_order_equals_the_ancestors(requires: dict[str, list[str]], ordering: Ordering) -> None:
    graph = graph_of(*paths_of(requires), declared=requires)
    assert list(graph.order(ordering)) == reference_order(requires, ordering)


@given(digraphs(cyclic=True), st.sampled_from(Ordering))
def test_an_invalid_graph_is_sorted_as_far_as_it_goes(requires: dict[str, list[str]], ordering: Ordering) -> None:
    graph = graph_of(*paths_of(requires), declared=requires)
    front = reference_order(requires, ordering)
    assert list(graph.order(ordering)) == [*front, *(name for name in requires if name not in front)]
    assert graph.unsortable == set(requires) - set(front)


@given(digraphs(cyclic=False), st.randoms(use_true_random=False))
def test_numbers_alone_decide_in_intertwined_mode(requires: dict[str, list[str]], chance: random.Random) -> None:
    numbered = {name: f"m_{20260401 + index}_001" for index, name in enumerate(sorted(requires))}
    shuffled = list(requires)
    chance.shuffle(shuffled)
    orders = [
        graph_of(
            *(f"{numbered[before]} < {numbered[name]}" for name in declared for before in requires[name]),
            declared=[numbered[name] for name in declared],
        ).order(Ordering.INTERTWINED)
        for declared in (list(requires), shuffled)
    ]
    assert orders[0] == orders[1]
