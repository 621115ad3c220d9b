"""What will run, in which order and why: a value, shown by `plan` and walked by `apply`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.history import History, Status
from migrate_graph.core.model import Migration


class ReasonKind(StrEnum):
    """Why a step stands where it stands."""

    ROOT = "root"
    """Requires nothing: order of declaration or sequence decides."""
    AFTER = "after"
    """Runs as soon as its requirements have."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a step runs, and why here.

    Attributes:
        kind: see `ReasonKind`.
        after: the requirements that run in this plan or were applied before it: the ones not implied by others.
        status: what it was before: pending or failed (then it is tried again).
        late: ordered before something that is already applied.
    """

    kind: ReasonKind
    after: tuple[str, ...] = ()
    status: Status = Status.PENDING
    late: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that will run.

    Attributes:
        migration: what runs.
        reason: why, and why here.
        views_down: existing views it takes down, dependents first.
        views_up: views it brings up, dependencies first.
        creates: views among `views_up` that did not live before.
        retires: views whose window it closes, or that it hands over to a successor.
    """

    migration: Migration
    reason: Reason
    views_down: tuple[str, ...] = ()
    views_up: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()
    retires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocked:
    """A migration that was asked for and cannot run.

    Attributes:
        migration: what cannot run.
        by: what it waits for: names of interrupted, unknown or blocked requirements; its own name when it is itself
            interrupted.
    """

    migration: Migration
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one `apply` would do.

    Attributes:
        steps: in the order in which they will run.
        order: every declared migration's name in the order of the graph; those on a cycle last.
        applied: names already applied, in that order.
        blocked: what was asked for and cannot run.
        interrupted: names that need `migrate resolve`.
        orphans: recorded names that nothing declares, sorted.
        unselected: pending names that were not asked for, in that order.
        added: names that were not asked for but are required by what was.
    """

    steps: tuple[Step, ...] = ()
    order: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    interrupted: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    _steps: Mapping[str, Step] = field(init=False, repr=False, compare=False)
    _blocked: Mapping[str, Blocked] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_steps", {step.migration.name: step for step in self.steps})
        object.__setattr__(self, "_blocked", {blocked.migration.name: blocked for blocked in self.blocked})

    def step_of(self, name: str) -> Step | None:
        """Return the step that runs a migration; None when this plan does not run it."""
        return self._steps.get(name)

    def blocked_by(self, name: str) -> tuple[str, ...]:
        """Return what a migration waits for; nothing when it is not blocked."""
        blocked = self._blocked.get(name)
        return blocked.by if blocked else ()


def build_plan(
    graph: MigrationGraph,
    history: History,
    *,
    ordering: Ordering = Ordering.LEGACY,
    selection: AbstractSet[str] | None = None,
    stop_on_partial: bool = False,
) -> Plan:
    """Return what would run.

    Args:
        graph: what is declared; it may be invalid (what is on or behind a cycle is blocked).
        history: what the database remembers.
        ordering: how ties are broken.
        selection: names of the migrations asked for; None for all. Closed under ancestors here.
        stop_on_partial: a failed migration that kept own commits is not tried again: it needs a decision, like an
            interrupted one.
    """
    order = graph.order(ordering)
    applied = history.applied
    asked = set(order) if selection is None else _with_requirements(graph, selection)
    added = set() if selection is None else asked - selection
    undecided = _needing_decision(graph, history, stop_on_partial=stop_on_partial)
    runnable, blocked = _judge(
        graph, [name for name in order if name in asked and name not in applied], applied, undecided
    )
    return Plan(
        steps=_steps(graph, history, order, runnable),
        order=order,
        applied=tuple(name for name in order if name in applied),
        blocked=blocked,
        interrupted=tuple(name for name in order if name in undecided),
        orphans=graph.orphans(history),
        unselected=tuple(name for name in order if name not in asked and name not in applied),
        added=tuple(name for name in order if name in added and name not in applied),
    )


def _with_requirements(graph: MigrationGraph, selection: AbstractSet[str]) -> set[str]:
    """Close a selection under what it requires."""
    asked = set(selection)
    fringe = [name for name in selection if name in graph.requires]
    while fringe:
        fresh = [before for before in graph.requires.predecessors(fringe.pop()) if before not in asked]
        asked.update(fresh)
        fringe += fresh
    return asked


def _needing_decision(graph: MigrationGraph, history: History, *, stop_on_partial: bool) -> frozenset[str]:
    """Find the declared migrations that may not run again before a human has looked."""
    attempts = history.last_attempts()
    return frozenset(
        name
        for name, status in history.statuses().items()
        if name in graph.migrations
        and (
            status is Status.INTERRUPTED
            or (stop_on_partial and status is Status.FAILED and name in attempts and attempts[name].commits > 0)
        )
    )


def _judge(
    graph: MigrationGraph, pending: Iterable[str], applied: AbstractSet[str], undecided: AbstractSet[str]
) -> tuple[list[str], tuple[Blocked, ...]]:
    """Divide what is pending, in order, into what can run and what waits for something that cannot.

    As in 2.1.0 a requirement is met when the ledger says so, whether or not it is still declared.
    """
    met = set(applied)
    runnable: list[str] = []
    blocked: list[Blocked] = []
    for name in pending:
        migration = graph.migrations[name]
        # On or behind a cycle nothing runs, even where the ledger breaks the ring: the order there means nothing.
        stuck = graph.unsortable if name in graph.unsortable else frozenset()
        by = tuple(before for before in migration.requires if before not in met or before in stuck)
        if name in undecided:
            by = (name,)
        if by:
            blocked.append(Blocked(migration, by))
        else:
            met.add(name)
            runnable.append(name)
    return runnable, tuple(blocked)


def _steps(graph: MigrationGraph, history: History, order: tuple[str, ...], runnable: list[str]) -> tuple[Step, ...]:
    """Make the steps, following the views from what is applied to the end of the plan."""
    statuses = history.statuses()
    place = {name: index for index, name in enumerate(order)}
    applied = history.applied
    last_applied = max((place[name] for name in applied if name in place), default=-1)
    views = _ViewsOverTime(graph, applied - place.keys())
    for name in order:
        if name in applied:
            views.run(graph.migrations[name])
    steps = []
    for name in runnable:
        migration = graph.migrations[name]
        reason = Reason(
            kind=ReasonKind.AFTER if migration.requires else ReasonKind.ROOT,
            after=tuple(before for before in migration.requires if (before, name) not in graph.redundant_requires),
            status=statuses.get(name, Status.PENDING),
            late=place[name] < last_applied,
        )
        steps.append(Step(migration, reason, *views.run(migration)))
    return tuple(steps)


class _ViewsOverTime:
    """Which views exist, followed migration by migration as if all had run in the order of the graph."""

    def __init__(self, graph: MigrationGraph, applied: AbstractSet[str]) -> None:
        self._graph = graph
        self._applied = set(applied)
        self._built: set[str] = set()
        self._closed_by: dict[str, list[str]] = {}
        for view in graph.views.values():
            if view.until is not None:
                self._closed_by.setdefault(view.until, []).append(view.name)

    def run(self, migration: Migration) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Run a migration on paper.

        Returns:
            What goes down, what comes up, what of that is new, and what retires.
        """
        block = self._graph.view_block(*migration.touches, applied=self._applied, running=migration.name)
        # down() is called for what does not exist yet as well, as in 2.1.0; nothing goes down by that.
        down = tuple(name for name in block.down if name in self._built)
        created = tuple(name for name in block.up if name not in self._built)
        up = set(block.up)
        handed_over = [name for name in down if name not in up]
        self._built |= up
        closed = [name for name in self._closed_by.get(migration.name, ()) if name in self._built]
        retired = tuple(dict.fromkeys(handed_over + closed))
        self._built.difference_update(retired)
        self._applied.add(migration.name)
        return down, block.up, created, retired
