"""Run migrations in other orders that the graph permits: all must succeed and end alike; what does not is brought down to two migrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.database.contents import Contents
from migrate_graph.workflow.orders import Swaps, drawn, turned

if TYPE_CHECKING:
    from migrate_graph.core.events import Result
    from migrate_graph.workflow.verifying import Laboratory


class Verdict(IntEnum):
    """How an order went, the worst last."""

    ALIKE = 0
    """All succeeded, and the database is as after the project's own order."""
    ROWS = 1
    """All succeeded, and some table holds other rows."""
    FACTS = 2
    """All succeeded, and the schema is another."""
    FAILED = 3
    """A migration failed."""


class Tried(Struct, frozen=True, kw_only=True):
    """One order, and how it went on a database of its own.

    Attributes:
        order: the migrations, in the order in which they ran; it can be run again.
        verdict: how it went.
        failed: the migration that failed; None when none did.
        differences: what is not as after the order that it is compared with, in words.
    """

    order: tuple[str, ...]
    verdict: Verdict
    failed: Result | None = None
    differences: tuple[str, ...] = ()


class Pair(Struct, frozen=True, kw_only=True):
    """Two migrations whose order counts, while the graph leaves it open.

    Attributes:
        first: comes first in the order that goes well.
        then: comes next in it. With these two changed it goes wrong.
        good: the order that goes well.
        shown: how the other went: the same but for these two, which are neighbours in both.
    """

    first: str
    then: str
    good: tuple[str, ...]
    shown: Tried


class Permuted(Struct, frozen=True, kw_only=True):
    """What came of other orders.

    Attributes:
        seed: of the lot.
        asked: how many orders were wanted; there may be fewer.
        own: how the order went that the others are compared with; where that failed nothing else was tried.
        tried: the others.
        pairs: what explains those that went wrong, the worst first.
        unstable: columns that did not count in the rows of tables: they differ between two runs of the same order.
    """

    seed: int
    asked: int
    own: Tried
    tried: tuple[Tried, ...] = ()
    pairs: tuple[Pair, ...] = ()
    unstable: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def alike(self) -> int:
        """How many orders went as the project's own one."""
        return sum(each.verdict is Verdict.ALIKE for each in self.tried)


def permute(
    laboratory: Laboratory,
    *,
    most: int,
    seed: int = 0,
    start: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Permuted:
    """Run other orders that the graph permits.

    Facts and rows are compared: facts are what `pg_dump --schema-only` tells, too, but for the order of columns; of rows neither their
    order, nor columns that number them as they come, nor what differs between two runs of the same order.

    Args:
        laboratory: where.
        most: how many orders.
        seed: draws them; the same one draws the same.
        start: an order that the graph permits and that went well: the others are compared with it, and the graph's own is the first of them. The
            graph's own where none is given.
        progress: told how many of how many have run.

    Raises:
        Stopped: a signal arrived.
        MigrateGraphError: there is no database to be had.
    """
    order = tuple(start) or laboratory.order
    trial = Trial(laboratory)
    own = trial.begin(order)
    if own.verdict is Verdict.FAILED:
        return Permuted(seed=seed, asked=most, own=own)
    others = dict.fromkeys([laboratory.order, *drawn(order, laboratory.before, most=most, seed=seed)])
    orders = [each for each in others if each != order][:most]
    tried = []
    for number, each in enumerate(orders, 1):
        tried.append(trial.run(each))
        progress(number, len(orders))
    pairs: list[Pair] = []
    # Whatever a pair explains that is known already needs no search of its own.
    for bad in sorted(tried, key=lambda one: -one.verdict):
        if bad.verdict is not Verdict.ALIKE and not _explains(pairs, bad):
            pairs.append(trial.narrow(bad))
    return Permuted(seed=seed, asked=most, own=own, tried=tuple(tried), pairs=tuple(pairs), unstable=trial.unstable)


def _explains(pairs: Sequence[Pair], tried: Tried) -> bool:
    return any(pair.shown.verdict >= tried.verdict and turned(tried.order, (pair.first, pair.then)) for pair in pairs)


class Trial:
    """Runs orders, each on a database of its own, and compares what comes of them with what came of the first.

    Args:
        laboratory: where.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._own = Contents()
        self._order: tuple[str, ...] = ()
        self._known: dict[tuple[str, ...], Tried] = {}
        self.unstable: Mapping[str, frozenset[str]] = {}

    def begin(self, order: Sequence[str]) -> Tried:
        """Run the order that all others are compared with, twice: what differs then does not count."""
        self._order = tuple(order)
        failed, first = self._contents(self._order)
        if failed is not None:
            return Tried(order=self._order, verdict=Verdict.FAILED, failed=failed)
        _, again = self._contents(self._order)
        self.unstable = {name: columns for name, columns in first.unstable(again).items() if columns}
        self._own = again if not self.unstable else self._contents(self._order)[1]
        return Tried(order=self._order, verdict=Verdict.ALIKE)

    def run(self, order: Sequence[str]) -> Tried:
        """Run an order."""
        key = tuple(order)
        if key not in self._known:
            self._known[key] = self._judged(key, self._own)
        return self._known[key]

    def _judged(self, order: tuple[str, ...], other: Contents) -> Tried:
        failed, found = self._contents(order)
        if failed is not None:
            return Tried(order=order, verdict=Verdict.FAILED, failed=failed)
        if differences := other.differences(found):
            return Tried(order=order, verdict=Verdict.FACTS, differences=differences)
        if differences := other.other_rows(found, unstable=self.unstable):
            return Tried(order=order, verdict=Verdict.ROWS, differences=differences)
        return Tried(order=order, verdict=Verdict.ALIKE)

    def _contents(self, order: tuple[str, ...]) -> tuple[Result | None, Contents]:
        laboratory = self._laboratory
        with laboratory.database() as there:
            walked = laboratory.run(there, laboratory.in_order(order))
            return walked.failed, Contents() if walked.failed else laboratory.contents(there, self.unstable)

    def narrow(self, bad: Tried) -> Pair:
        """Return the two neighbours that make an order go wrong: of the orders between it and the good one, half and half again are run."""
        way = Swaps(self._order, bad.order)
        good, wrong = 0, len(way)
        while wrong - good > 1:
            middle = (good + wrong) // 2
            if self.run(way.order(middle)).verdict < bad.verdict:
                good = middle
            else:
                wrong = middle
        first, then = way.swapped(wrong)
        shown = self.run(way.order(wrong))
        return self._on_ancestors(first, then, shown) or Pair(
            first=first, then=then,
            good=_until(way.order(good), shown), shown=replace(shown, order=_until(shown.order, shown)),
        )  # fmt: skip

    def _on_ancestors(self, first: str, then: str, shown: Tried) -> Pair | None:
        """Return the two with nothing but what they require before them, where that goes wrong, too."""
        needed = self._laboratory.ancestors(first) | self._laboratory.ancestors(then)
        below = tuple(name for name in shown.order if name in needed)
        failed, found = self._contents((*below, first, then))
        if failed is not None:
            return None
        turned_around = self._judged((*below, then, first), found)
        if turned_around.verdict < shown.verdict:
            return None
        return Pair(first=first, then=then, good=(*below, first, then), shown=turned_around)


def _until(order: tuple[str, ...], shown: Tried) -> tuple[str, ...]:
    """Return an order as far as another ran, which is the same but for two neighbours, at the last of which it ended or later."""
    return order if shown.failed is None else order[: shown.order.index(shown.failed.name) + 1]
