"""Run migrations in other orders that the graph permits: all must succeed with the same result; else the two responsible are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.database.contents import Contents
from migrate_graph.workflow.laboratory.orders import Swaps, drawn, turned

if TYPE_CHECKING:
    from migrate_graph.core.events import Result
    from migrate_graph.workflow.laboratory.laboratory import Laboratory


class Verdict(IntEnum):
    """How an order went, the worst last."""

    ALIKE = 0
    """All succeeded, and the database is the same as after the project's own order."""
    ROWS = 1
    """All succeeded, but a table has other rows."""
    FACTS = 2
    """All succeeded, but the schema is different."""
    FAILED = 3
    """A migration failed."""


class Tried(Struct, frozen=True, kw_only=True):
    """One order, and how it went on a database of its own.

    Attributes:
        order: the migrations, in the order in which they ran; it can be run again.
        verdict: how it went.
        failed: the migration that failed; None when none did.
        differences: what is different from the order that it is compared with, in words.
    """

    order: tuple[str, ...]
    verdict: Verdict
    failed: Result | None = None
    differences: tuple[str, ...] = ()


class Pair(Struct, frozen=True, kw_only=True):
    """Two migrations whose order makes a difference, although the graph permits both orders.

    Attributes:
        first: the migration that comes first in the good order.
        then: the migration directly after it. When the two change places, the result is different.
        good: the good order.
        shown: the bad order, and how it went: the same order with these two swapped.
    """

    first: str
    then: str
    good: tuple[str, ...]
    shown: Tried


class Permuted(Struct, frozen=True, kw_only=True):
    """The result of running other orders.

    Attributes:
        seed: the seed that they were drawn from.
        asked: how many orders were wanted; there may be fewer.
        own: the order that the others are compared with; when it failed, no other was tried.
        tried: the other orders.
        pairs: pairs of migrations that explain the bad orders, the worst first.
        unstable: by table, columns that were not compared: they differ between two runs of the same order.
    """

    seed: int
    asked: int
    own: Tried
    tried: tuple[Tried, ...] = ()
    pairs: tuple[Pair, ...] = ()
    unstable: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def alike(self) -> int:
        """How many orders gave the same result as the project's own one."""
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

    Facts and rows are compared. Facts are what `pg_dump --schema-only` shows, without the order of columns. Not compared are the order of
    rows, columns that number the rows in the order of insertion, and columns that differ between two runs of the same order.

    Args:
        laboratory: makes the databases.
        most: how many orders are run.
        seed: the same seed draws the same orders.
        start: a permitted order that succeeded; the others are compared with it, and the graph's own order is the first of them. Empty: the
            graph's own order.
        progress: called with the number of orders that have run, and the number of all.

    Raises:
        Stopped: a signal arrived.
        MigrateGraphError: no database can be made.
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
    # A bad order that a known pair explains needs no search of its own.
    for bad in sorted(tried, key=lambda one: -one.verdict):
        if bad.verdict is not Verdict.ALIKE and not _explains(pairs, bad):
            pairs.append(trial.narrow(bad))
    return Permuted(seed=seed, asked=most, own=own, tried=tuple(tried), pairs=tuple(pairs), unstable=trial.unstable)


def _explains(pairs: Sequence[Pair], tried: Tried) -> bool:
    return any(pair.shown.verdict >= tried.verdict and turned(tried.order, (pair.first, pair.then)) for pair in pairs)


class Trial:
    """Runs orders, each on a database of its own, and compares their results with that of the first order.

    Args:
        laboratory: makes the databases.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._own = Contents()
        self._order: tuple[str, ...] = ()
        self._known: dict[tuple[str, ...], Tried] = {}
        self.unstable: Mapping[str, frozenset[str]] = {}

    def begin(self, order: Sequence[str]) -> Tried:
        """Run the order that all others are compared with. It runs twice: columns that differ between the two are not compared."""
        self._order = tuple(order)
        failed, first = self._contents(self._order)
        if failed is not None:
            return Tried(order=self._order, verdict=Verdict.FAILED, failed=failed)
        _, again = self._contents(self._order)
        self.unstable = {name: columns for name, columns in first.unstable(again).items() if columns}
        self._own = again if not self.unstable else self._contents(self._order)[1]
        return Tried(order=self._order, verdict=Verdict.ALIKE)

    def run(self, order: Sequence[str]) -> Tried:
        """Run an order, or return its result when it has run before."""
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
            trial = laboratory.run(there, laboratory.in_order(order))
            return trial.failed, Contents() if trial.failed else laboratory.contents(there, self.unstable)

    def narrow(self, bad: Tried) -> Pair:
        """Return the two neighbours that make an order bad, by bisecting the steps from the good order to it."""
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
        """Return the pair with only its requirements before it, when that shows the same fault; otherwise None."""
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
    """Return an order up to the place at which another one failed.

    Args:
        order: the order.
        shown: the other one: the same order with two neighbours swapped; it failed at the second of these, or later.
    """
    return order if shown.failed is None else order[: shown.order.index(shown.failed.name) + 1]
