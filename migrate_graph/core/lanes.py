"""Which steps of a plan may run side by side: what each of them waits for, which can begin now, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import pairwise, takewhile
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.late import nx
from migrate_graph.core.model import TransactionMode
from migrate_graph.core.plan import Plan, Step

if TYPE_CHECKING:
    from migrate_graph.core.commuting import Commuting


class WaitKind(StrEnum):
    """Why one step of a plan waits until another one has ended."""

    REQUIRES = "requires"
    """It requires the other one."""
    PLACE = "place"
    """One of the two declares nothing about its place, so they keep their order."""
    VIEWS = "views"
    """Both open, begin or end views that are connected by `uses` or `replaces`."""


class Order(Struct, frozen=True):
    """What a plan says about which of its steps may overlap.

    Attributes:
        waits: for each step, in the order of the plan: the steps that must have ended before it begins, and why. Steps that it waits
            for only because of its place are left out where others imply them.
        alone: the steps that overlap with no other.
    """

    waits: Mapping[str, Mapping[str, WaitKind]]
    alone: tuple[str, ...]

    @property
    def is_a_row(self) -> bool:
        """Whether each step waits for the one before it, so that nothing is gained by more than one job."""
        return all(before in self.waits[after] for before, after in pairwise(self.waits))

    @property
    def keeps_place(self) -> tuple[str, ...]:
        """The steps that wait for others only because they declare nothing."""
        return tuple(name for name, waits in self.waits.items() if set(waits.values()) == {WaitKind.PLACE})


def order_of(
    plan: Plan,
    graph: MigrationGraph,
    *,
    ordering: Ordering = Ordering.LEGACY,
    one_history: bool = False,
    seen: Commuting | None = None,
) -> Order:
    """Return what each step of a plan waits for.

    A step waits for what it requires. A step that requires nothing may rely on earlier migrations without declaring it: it waits for
    every step before it in the same file. It does not if it is declared `independent`, if the ordering is `declared`, or if both were
    watched and nothing was seen that forbids them to change places. Steps keep their order if the views that they open, or whose
    windows they open or close, are connected by `uses` or `replaces`.

    Args:
        plan: the plan.
        graph: the graph that the plan was made from.
        ordering: how ties are broken; `intertwined` makes one history of several files.
        one_history: all files are one history in any case, as numbered files of one directory are.
        seen: what was seen of migrations that were watched; None where none was watched.
    """
    waits: dict[str, dict[str, WaitKind]] = {step.migration.name: {} for step in plan.steps}
    whole = one_history or ordering is Ordering.INTERTWINED
    views = _Families(graph)
    places = _Places() if seen is None else _SeenPlaces(seen)
    last_in: dict[str, str] = {}
    for step in plan.steps:
        migration, mine = step.migration, waits[step.migration.name]
        file = "" if whole else migration.module
        if not (migration.requires or migration.independent or ordering is Ordering.DECLARED):
            mine |= dict.fromkeys(places.kept_by(file, migration.name), WaitKind.PLACE)
        if graph.registry.windows and any(graph.views[view].since is None for view in step.views.new):
            # A view without `since` comes up when no other migration is left to run.
            mine |= dict.fromkeys(takewhile(migration.name.__ne__, waits), WaitKind.VIEWS)
        for family in views.of(step):
            if family in last_in:
                mine[last_in[family]] = WaitKind.VIEWS
            last_in[family] = migration.name
        mine |= dict.fromkeys((name for name in migration.requires if name in waits), WaitKind.REQUIRES)
        places.add(file, migration.name, mine)
    outside = (step.migration for step in plan.steps if step.migration.transaction is TransactionMode.NONE)
    return Order(waits, tuple(each.name for each in outside))


class _Places:
    """What a step waits for that declares nothing: the steps before it in its file, back to the last other step of that sort.

    That one waits for all before it.
    """

    def __init__(self) -> None:
        self._since_last: dict[str, list[str]] = {}

    def kept_by(self, file: str, _name: str) -> Sequence[str]:
        """Return the steps that a step waits for because it declares nothing."""
        return self._since_last.pop(file, [])

    def add(self, file: str, name: str, _waits: Iterable[str]) -> None:
        """Note a step, with all that it waits for."""
        self._since_last.setdefault(file, []).append(name)


class _SeenPlaces(_Places):
    """The same where migrations were watched: two that were seen not to influence each other need not keep their order."""

    def __init__(self, seen: Commuting) -> None:
        super().__init__()
        self._seen = seen
        self._names = list(seen.places)
        self._there: dict[str, int] = {}  # of each file: places of its steps so far, as bits
        self._before: dict[str, int] = {}  # of each step: places of all that it waits for, also by way of others

    def kept_by(self, file: str, name: str) -> Sequence[str]:
        found, left = [], self._seen.bound_to(name, self._there.get(file, 0))
        while left:
            last = self._names[left.bit_length() - 1]
            found.append(last)
            left &= ~self._with_before(last)
        return found[::-1]

    def add(self, file: str, name: str, waits: Iterable[str]) -> None:
        self._there[file] = self._there.get(file, 0) | 1 << self._seen.places[name]
        self._before[name] = 0
        for each in waits:
            self._before[name] |= self._with_before(each)

    def _with_before(self, name: str) -> int:
        return self._before[name] | 1 << self._seen.places[name]


class _Families:
    """Families of views that are connected by `uses` or `replaces`: opening one of a family may take down any other of it."""

    def __init__(self, graph: MigrationGraph) -> None:
        self._graph = graph

    def of(self, step: Step) -> tuple[str, ...]:
        """Return the families of the views that a step opens, and of those whose window it opens or closes, or that come up late."""
        views = (*step.migration.touches, *self._graph.bounds.get(step.migration.name, ()), *step.views.new)
        return tuple(dict.fromkeys(self._family[view] for view in views if view in self._family)) if views else ()

    @cached_property
    def _family(self) -> dict[str, str]:
        near = nx.compose(self._graph.uses, self._graph.replaces).to_undirected()
        return {view: min(family) for family in nx.connected_components(near) for view in family}


class Queue:
    """The steps of a plan while some of them run: which can begin now.

    Args:
        order: what each waits for.
        jobs: how many may run at once.
    """

    def __init__(self, order: Order, jobs: int) -> None:
        self._alone = frozenset(order.alone)
        self._jobs = jobs
        self._names = list(order.waits)
        self._place = {name: place for place, name in enumerate(self._names)}
        self._missing = {name: len(waits) for name, waits in order.waits.items()}
        self._behind: dict[str, list[str]] = {}
        for name, waits in order.waits.items():
            for before in waits:
                self._behind.setdefault(before, []).append(name)
        self._ready = [self._place[name] for name, missing in self._missing.items() if not missing]
        heapify(self._ready)
        self.running: set[str] = set()

    def begin(self) -> str | None:
        """Return the step that begins now: the first of the plan that can; None where none can before a running one has ended.

        A step that must run alone holds back the steps behind it: otherwise it might never find itself alone.
        """
        if not self._ready or len(self.running) >= self._jobs or self.running & self._alone:
            return None
        name = self._names[self._ready[0]]
        if name in self._alone and self.running:
            return None
        heappop(self._ready)
        self.running.add(name)
        return name

    def end(self, name: str) -> None:
        """Note that a step has ended, whatever its outcome."""
        self.running.remove(name)
        for after in self._behind.get(name, ()):
            self._missing[after] -= 1
            if not self._missing[after]:
                heappush(self._ready, self._place[after])


class Slot(Struct, frozen=True):
    """When, and in which lane, a step runs.

    Attributes:
        name: of the step.
        lane: its number, from 1.
        start: seconds after the beginning of the run.
        seconds: how long it takes.
        is_known: it took so long in an earlier run; otherwise `seconds` is a guess.
    """

    name: str
    lane: int
    start: float
    seconds: float
    is_known: bool

    @property
    def end(self) -> float:
        """Seconds after the beginning of the run."""
        return self.start + self.seconds


class Forecast(Struct, frozen=True):
    """How a plan runs with so many jobs.

    Attributes:
        jobs: how many.
        order: what each step waits for.
        slots: of each step, in the order of the plan.
        critical: the critical path: the steps, each waiting for the one before, that take longest together. No number of jobs makes
            the run shorter than that.
    """

    jobs: int
    order: Order
    slots: tuple[Slot, ...]
    critical: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """How long the run takes."""
        return max((slot.end for slot in self.slots), default=0.0)

    @property
    def in_a_row(self) -> float:
        """How long it takes one after another."""
        return sum(slot.seconds for slot in self.slots)

    @property
    def critical_seconds(self) -> float:
        """How long the critical path takes."""
        on_it = set(self.critical)
        return sum(slot.seconds for slot in self.slots if slot.name in on_it)

    @property
    def lanes(self) -> tuple[tuple[Slot, ...], ...]:
        """The steps of each lane, in the order in which they begin."""
        return tuple(
            tuple(sorted((slot for slot in self.slots if slot.lane == lane), key=lambda slot: slot.start))
            for lane in sorted({slot.lane for slot in self.slots})
        )

    @property
    def known(self) -> int:
        """Of how many steps it is known how long they take."""
        return sum(slot.is_known for slot in self.slots)


def forecast(order: Order, jobs: int, took: Mapping[str, float]) -> Forecast:
    """Return how a run goes when each step takes as long as before.

    Args:
        order: what each step waits for.
        jobs: how many may run at once.
        took: seconds of each step, where that is known; others count as long as the median of these, or all alike where none is known.
    """
    guess = median(took.values()) if took else 1.0
    seconds = {name: took.get(name, guess) for name in order.waits}
    queue, running, free = Queue(order, jobs), list[tuple[float, int, str]](), list(range(1, jobs + 1))
    slots: dict[str, Slot] = {}
    now = 0.0
    while len(slots) < len(seconds):
        while (name := queue.begin()) is not None:
            slots[name] = slot = Slot(name, heappop(free), now, seconds[name], name in took)
            heappush(running, (slot.end, slot.lane, name))
        now = running[0][0]
        while running and running[0][0] == now:
            _, lane, name = heappop(running)
            heappush(free, lane)
            queue.end(name)
    return Forecast(jobs, order, tuple(slots[name] for name in seconds), _longest(order, seconds))


def _longest(order: Order, seconds: Mapping[str, float]) -> tuple[str, ...]:
    """Return the critical path; of several that take equally long, the one through the steps that come first in the plan."""
    ends: dict[str, float] = {}
    came_from: dict[str, str | None] = {}
    for name, waits in order.waits.items():
        before = _latest(waits, ends)
        came_from[name] = before
        ends[name] = seconds[name] + (ends[before] if before is not None else 0.0)
    way = []
    last = _latest(ends, ends)
    while last is not None:
        way.append(last)
        last = came_from[last]
    return tuple(reversed(way))


def _latest(names: Iterable[str], ends: Mapping[str, float]) -> str | None:
    return max(names, key=ends.__getitem__, default=None)
