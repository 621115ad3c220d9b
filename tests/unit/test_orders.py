"""Orders that a graph permits: all are, all differ, the same ones for one seed; and the way between two of them."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.workflow.laboratory.orders import Swaps, drawn, turned

Before = dict[str, frozenset[str]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[tuple[str, ...], Before]:
    """Draw an order and what each of its names needs before it."""
    names = [f"m{number}" for number in range(draw(st.integers(1, 9)))]
    before = {
        name: frozenset(draw(st.sets(st.sampled_from(names[:place]), max_size=3)) if place else ())
        for place, name in enumerate(names)
    }
    return tuple(names), before


def is_permitted(order: tuple[str, ...], before: Before) -> bool:
    return all(before[name] <= set(order[:place]) for place, name in enumerate(order))


def every(names: tuple[str, ...], before: Before) -> set[tuple[str, ...]]:
    return {order for order in itertools.permutations(names) if is_permitted(order, before)}


@given(graphs(), st.integers(0, 5))
def test_what_is_drawn_is_permitted_and_new_and_the_same_for_one_seed(
    graph: tuple[tuple[str, ...], Before], seed: int
) -> None:
    names, before = graph
    found = [*drawn(names, before, most=6, seed=seed)]
    assert all(is_permitted(order, before) for order in found)
    assert all(sorted(order) == sorted(names) for order in found)
    assert len({names, *found}) == len(found) + 1
    assert found == [*drawn(names, before, most=6, seed=seed)]


@given(graphs())
def test_all_orders_are_found_where_there_are_few(graph: tuple[tuple[str, ...], Before]) -> None:
    names, before = graph
    if len(names) > 4:
        return
    wanted = every(names, before)
    assert {names, *drawn(names, before, most=200, seed=1)} == wanted


@pytest.mark.parametrize("names", ["ab", "abcdef"])
def test_the_first_two_turn_around_every_pair_that_may_be(names: str) -> None:
    found = [*drawn(tuple(names), dict.fromkeys(names, frozenset()), most=2, seed=0)]
    assert tuple(reversed(names)) in found


def test_one_beside_a_chain_stands_anywhere_in_it_with_equal_chances() -> None:
    chain = [f"c{number}" for number in range(7)]
    before: Before = {name: frozenset(chain[place - 1 : place] if place else ()) for place, name in enumerate(chain)}
    before["x"] = frozenset()
    places: Counter[int] = Counter()
    for seed in range(200):
        places.update(
            order.index("x") for order in itertools.islice(drawn(("x", *chain), before, most=4, seed=seed), 2, 4)
        )
    assert set(places) == set(range(1, 7))  # the first and the last place are those of the orders that come before
    assert max(places.values()) < 3 * min(places.values())


def test_the_same_orders_are_drawn_on_every_machine() -> None:
    found = [*drawn(tuple("abcde"), {**dict.fromkeys("abcd", frozenset()), "e": frozenset("a")}, most=4, seed=7)]
    assert ["".join(order) for order in found] == ["dcbae", "aedcb", "dbcae", "adecb"]


@given(graphs(), st.integers(0, 3))
def test_every_order_on_the_way_is_permitted_and_differs_in_two_neighbours(
    graph: tuple[tuple[str, ...], Before], seed: int
) -> None:
    names, before = graph
    for end in drawn(names, before, most=3, seed=seed):
        way = Swaps(names, end)
        inversions = sum(turned(end, pair) for pair in itertools.combinations(names, 2))
        assert len(way) == inversions
        assert (way.order(0), way.order(len(way))) == (names, end)
        for step in range(1, len(way) + 1):
            one, other = way.order(step - 1), way.order(step)
            assert is_permitted(other, before)
            at = next(place for place, name in enumerate(one) if other[place] != name)
            assert way.swapped(step) == (one[at], one[at + 1])
            assert (other[at], other[at + 1]) == (one[at + 1], one[at])
            assert turned(end, way.swapped(step))


def test_no_order_is_drawn_where_there_is_one_alone() -> None:
    assert [*drawn(("a",), {"a": frozenset()}, most=5, seed=1)] == []
    assert [*drawn((), {}, most=5, seed=1)] == []
    random.seed(1)  # nobody else's lot is used
    state = random.getstate()
    [*drawn(("a", "b"), {"a": frozenset(), "b": frozenset()}, most=5, seed=1)]
    assert random.getstate() == state
