"""What will run, in which order and why: a value, shown by `plan` and walked by `apply`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from functools import cached_property

from msgspec import Struct, field

from migrate_graph.core.footprint import Footprint
from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.history import History
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration
from migrate_graph.core.states import RUNNABLE, NodeState, State, States, standing_of
from migrate_graph.core.timeline import Course, Timeline, ViewChanges
from migrate_graph.messages import counted


class ReasonKind(StrEnum):
    """Why a step stands where it stands."""

    ROOT = "root"
    """Requires nothing: order of declaration or sequence decides."""
    AFTER = "after"
    """Runs as soon as its requirements have run."""


class Reason(Struct, frozen=True):
    """Why a step runs, and why here.

    Attributes:
        kind: see `ReasonKind`.
        after: its requirements, without those that other requirements imply.
        status: what it was before: pending, failed (then it is tried again) or reverted.
        late: ordered before something that is already applied.
    """

    kind: ReasonKind
    after: tuple[str, ...] = ()
    status: State = State.PENDING
    late: bool = False


class Step(Struct, frozen=True):
    """One migration that will run.

    Attributes:
        migration: what runs.
        reason: why, and why here.
        views: what it does to views.
        footprint: what it did in a rehearsal; None without one.
    """

    migration: Migration
    reason: Reason
    views: ViewChanges = field(default_factory=ViewChanges)
    footprint: Footprint | None = None


class Blocked(Struct, frozen=True):
    """A migration that was asked for and cannot run.

    Attributes:
        migration: what cannot run.
        by: what it waits for: names of interrupted, running, unknown or blocked requirements; its own name when it is
            itself interrupted or running.
    """

    migration: Migration
    by: tuple[str, ...]


class Plan(Struct, frozen=True, dict=True):
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
        standing: the state of every migration and every orphan before the plan runs.
    """

    steps: tuple[Step, ...] = ()
    order: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    interrupted: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    standing: States = field(default_factory=dict)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each migration in the run, from 1."""
        return {step.migration.name: place for place, step in enumerate(self.steps, 1)}

    @cached_property
    def footprints(self) -> dict[str, Footprint]:
        """What was seen of each step that was rehearsed, in the order of the run; empty when none was."""
        return {step.migration.name: step.footprint for step in self.steps if step.footprint is not None}

    @cached_property
    def not_asked(self) -> frozenset[str]:
        """`unselected` as a set."""
        return frozenset(self.unselected)

    def step_of(self, name: str) -> Step | None:
        """Return the step that runs a migration; None when this plan does not run it."""
        place = self.places.get(name)
        return self.steps[place - 1] if place else None

    @property
    def summary(self) -> str:
        """How much runs, and how many views are new, rebuilt and retired by it: `4 to run · 2 views new, 1 rebuilt`."""
        new = {name for step in self.steps for name in step.views.new}
        retired = {name for step in self.steps for name in step.views.retired}
        rebuilt = {name for step in self.steps for name in step.views.up} - new - retired
        counts = {"new": len(new - retired), "rebuilt": len(rebuilt), "retired": len(retired - new)}
        told = [f"{count} {word}" for word, count in counts.items() if count]
        if told:
            number, word = told[0].split()
            told[0] = f"{counted(int(number), 'view')} {word}"
        return " · ".join(part for part in (f"{len(self.steps)} to run", ", ".join(told)) if part)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Names of what was asked for and cannot run before a human has decided about it."""
        return tuple(name for name in self.interrupted if name not in self.not_asked)


def build_plan(
    graph: MigrationGraph,
    history: History,
    *,
    ordering: Ordering = Ordering.LEGACY,
    selection: AbstractSet[str] | None = None,
    standing: States | None = None,
) -> Plan:
    """Return what would run.

    Args:
        graph: what is declared; it may be invalid (what is on or behind a cycle is blocked).
        history: what the database remembers.
        ordering: how ties are broken.
        selection: names of the migrations asked for; None for all. What they require is added here.
        standing: the states before the plan, where they are known already; see `standing_of`.
    """
    if standing is None:
        standing = standing_of(graph, history, ordering=ordering)
    order = graph.order(ordering)
    known = {name: standing[Node(NodeKind.MIGRATION, name)] for name in order}
    asked = set(order) if selection is None else _with_requirements(graph, selection)
    open_ones = [name for name in order if not known[name].applied]
    return Plan(
        steps=_steps(graph, history, known, [name for name in open_ones if name in asked]),
        order=order,
        applied=tuple(name for name in order if known[name].applied),
        blocked=tuple(
            Blocked(graph.migrations[name], known[name].waits_for or (name,))
            for name in open_ones
            if name in asked and known[name].state not in RUNNABLE
        ),
        interrupted=tuple(name for name in order if known[name].state is State.INTERRUPTED),
        orphans=graph.orphans(history),
        unselected=tuple(name for name in open_ones if name not in asked),
        added=tuple(name for name in open_ones if name in asked and selection is not None and name not in selection),
        standing=standing,
    )


def plan_in_order(graph: MigrationGraph, history: History, names: Iterable[str]) -> Plan:
    """Return a plan that runs just these migrations, in this order, whatever the project's way of breaking ties.

    Args:
        graph: what is declared.
        history: what the database remembers.
        names: what is to run; in an order that the graph permits.
    """
    order = tuple(names)
    standing = standing_of(graph, history)
    known = {name: standing[Node(NodeKind.MIGRATION, name)] for name in graph.order()}
    return Plan(
        steps=_steps(graph, history, known, order),
        order=order,
        applied=tuple(name for name, state in known.items() if state.applied),
        standing=standing,
    )


def _with_requirements(graph: MigrationGraph, selection: AbstractSet[str]) -> set[str]:
    """Return a selection and all that it requires, directly or not."""
    known = [name for name in selection if name in graph.requires]
    layers = nx.bfs_layers(graph.requires.reverse(copy=False), known)
    return {name for layer in layers for name in layer}.union(selection)


def _course(graph: MigrationGraph, history: History, known: Mapping[str, NodeState]) -> Course:
    """Return the views as they are before the plan: as the database has them, or as the applied migrations have left them."""
    timeline, applied = Timeline(graph), {name for name, state in known.items() if state.applied}
    foreign = history.applied - known.keys()
    if graph.registry.windows and history.views_there is not None:
        return Course(timeline, foreign | applied, history.views_there)
    course = Course(timeline, foreign)
    for name in known:
        if name in applied:
            course.run(graph.migrations[name])
    return course


def _steps(
    graph: MigrationGraph, history: History, known: Mapping[str, NodeState], asked: Iterable[str]
) -> tuple[Step, ...]:
    """Make the steps, following the views from what is applied to the end of the plan."""
    runnable = [name for name in asked if known[name].state in RUNNABLE]
    if not runnable:  # then it does not matter which views the applied migrations have opened
        return ()
    course = _course(graph, history, known)
    steps = []
    for name in runnable:
        migration = graph.migrations[name]
        reason = Reason(
            kind=ReasonKind.AFTER if migration.requires else ReasonKind.ROOT,
            after=tuple(before for before in migration.requires if (before, name) not in graph.redundant_requires),
            status=known[name].state,
            late=known[name].late,
        )
        steps.append(Step(migration, reason, course.run(migration)))
    return tuple(steps)
