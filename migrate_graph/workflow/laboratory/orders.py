"""Orders that a graph permits: drawn at random from a seed, and the steps from one order to another by swaps of neighbours."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

Before: TypeAlias = Mapping[str, AbstractSet[str]]
"""What each name needs directly before it, among those that are ordered."""

_SWAPS: Final = 50_000
"""How many swaps of neighbours are tried at most, so that every order is about equally likely: enough for 40 migrations, few for 500."""

_VAIN: Final = 100
"""After so many known orders in a row the drawing ends: there are probably no others."""


def drawn(order: Sequence[str], before: Before, *, most: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Yield different permitted orders, at most `most`; fewer when there are no more.

    The first two reverse as many pairs as possible; the others are drawn at random.

    Args:
        order: a permitted order; it is not yielded.
        before: what each name needs before it.
        most: the largest number of orders.
        seed: the same seed gives the same orders, on every machine.
    """
    if all(one in before[other] for one, other in itertools.pairwise(order)):
        return  # no migration can change places with its neighbour, so there is no other order
    known, vain, number = {tuple(order)}, 0, 0
    while len(known) <= most and vain < _VAIN:
        found = _order(order, before, number, random.Random(f"{seed} {number}"))  # noqa: S311 - nothing is kept secret by it
        number += 1
        if found in known:
            vain += 1
        else:
            vain = 0
            known.add(found)
            yield found


def _order(order: Sequence[str], before: Before, number: int, lot: random.Random) -> tuple[str, ...]:
    if number < 2:
        return _laid(order, before, lambda ready: len(ready) - 1, backwards=bool(number))
    laid = _laid(order, before, lambda ready: lot.randrange(len(ready)), backwards=bool(number % 2))
    return _mixed(laid, before, lot)


def _laid(
    order: Sequence[str], before: Before, choose: Callable[[Sequence[str]], int], *, backwards: bool
) -> tuple[str, ...]:
    """Return an order that is built from its beginning, or from its end: each time `choose` picks one of the names that may come next."""
    names = [*reversed(order)] if backwards else [*order]
    waits: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for other in before[name]:
            one, then = (name, other) if backwards else (other, name)
            waits[then].add(one)
    frees: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for other in waits[name]:
            frees[other].append(name)
    place = {name: number for number, name in enumerate(names)}
    ready, found = [name for name in names if not waits[name]], list[str]()
    while ready:
        name = ready.pop(choose(ready))
        found.append(name)
        for other in frees[name]:
            waits[other].remove(name)
        ready = sorted([*ready, *(other for other in frees[name] if not waits[other])], key=place.__getitem__)
    return tuple(reversed(found)) if backwards else tuple(found)


def _mixed(order: tuple[str, ...], before: Before, lot: random.Random) -> tuple[str, ...]:
    """Return an order after many random swaps of neighbours that may change places, so that every permitted order is equally likely."""
    mixed, places = [*order], len(order) - 1
    for _ in range(min(len(order) ** 3, _SWAPS) if places > 0 else 0):
        at = lot.randrange(places)
        if mixed[at] not in before[mixed[at + 1]] and lot.random() < 0.5:
            mixed[at], mixed[at + 1] = mixed[at + 1], mixed[at]
    return tuple(mixed)


class Swaps:
    """The steps from one permitted order to another: each step swaps two neighbours, and each order in between is permitted, too.

    Args:
        start: the first order.
        end: the last order, with the same names.
    """

    def __init__(self, start: Sequence[str], end: Sequence[str]) -> None:
        self._start = tuple(start)
        self._swaps: list[int] = []
        current = [*start]
        for place, name in enumerate(end):
            at = current.index(name)
            self._swaps += range(at - 1, place - 1, -1)
            current.insert(place, current.pop(at))

    def __len__(self) -> int:
        return len(self._swaps)

    def order(self, steps: int) -> tuple[str, ...]:
        """Return the order after so many steps."""
        current = [*self._start]
        for at in self._swaps[:steps]:
            current[at], current[at + 1] = current[at + 1], current[at]
        return tuple(current)

    def swapped(self, step: int) -> tuple[str, str]:
        """Return the two names that a step (counted from 1) swaps, as they stand before it."""
        at, order = self._swaps[step - 1], self.order(step - 1)
        return order[at], order[at + 1]


def turned(order: Sequence[str], pair: tuple[str, str]) -> bool:
    """Return whether the second of a pair comes before the first."""
    return order.index(pair[1]) < order.index(pair[0])
