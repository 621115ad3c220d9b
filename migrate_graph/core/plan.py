"""What will run, in which order and why: a value, shown by `plan` and walked by `apply`."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
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
        views_down: views it takes down, dependents first.
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


def build_plan(
    graph: MigrationGraph,
    history: History,
    *,
    ordering: Ordering = Ordering.LEGACY,
    selection: AbstractSet[str] | None = None,
) -> Plan:
    """Say what would run.

    Args:
        graph: what is declared; it may be invalid (what is on or behind a cycle is blocked).
        history: what the database remembers.
        ordering: how ties are broken.
        selection: names of the migrations asked for; None for all. Closed under ancestors here.
    """
    raise NotImplementedError
