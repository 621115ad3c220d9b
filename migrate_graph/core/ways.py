"""How each view of a step comes back, as far as declarations tell."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Set as AbstractSet

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.hand_overs import hand_overs
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration, Rebuild, Way
from migrate_graph.core.timeline import Timeline, ViewBlock, ViewChanges


def deferred_in(graph: MigrationGraph) -> frozenset[str]:
    """Return the managers that are declared as deferred, and all that use them: nothing can be read from a view without rows."""
    wanted = {view.name for view in graph.views.values() if view.rebuild is Rebuild.DEFERRED}
    return frozenset(wanted.union(*(nx.descendants(graph.uses, name) for name in wanted)))


def beside_in(graph: MigrationGraph, block: ViewBlock, deferred: Container[str]) -> AbstractSet[str]:
    """Return the managers of a block whose views can be built while the old ones exist: nothing that they use is in the block.

    Args:
        graph: what is declared.
        block: what goes down and comes up.
        deferred: managers whose views come up without their rows.
    """
    timeline, names = Timeline(graph), {*block.down, *block.up}
    found = set()
    for name in block.up:
        view = graph.views[name]
        if view.rebuild is Rebuild.SWAP and view.can_swap and name not in deferred:
            own = {name, *timeline.predecessors(name)}
            if own & {*block.down} and not nx.ancestors(graph.uses, name) & names - own:
                found.add(name)
    return found


def ways_of(graph: MigrationGraph, migration: Migration, changes: ViewChanges, *, alone: bool) -> dict[str, Way]:
    """Return how each view comes back that exists before a step and, itself or as its successor, after it; PostgreSQL only.

    A view that a body opens may also stay up: its text does not tell whether the server allows that.

    Args:
        graph: what is declared.
        migration: the migration that the step runs.
        changes: what it does to views.
        alone: the step has a transaction of its own.
    """
    block = ViewBlock(changes.down, changes.up)
    heirs = [heir for _, heir in changes.handed_over]
    back = [name for name in changes.up if name in changes.rebuilt or name in heirs]
    deferred = set(back) if migration.defers else deferred_in(graph)
    beside = beside_in(graph, block, deferred) if alone else frozenset()
    stays = {} if migration.touches else _stays(graph, block, changes)
    return {name: stays.get(name) or _way(graph, name, deferred, beside) for name in back}


def _stays(graph: MigrationGraph, block: ViewBlock, changes: ViewChanges) -> dict[str, Way]:
    built = {*changes.down, *changes.up}.difference(changes.new)
    found = hand_overs(Timeline(graph), block, built)
    return {name: Way.IN_PLACE for each in found for name in each.block.up}


def _way(graph: MigrationGraph, name: str, deferred: Container[str], beside: Container[str]) -> Way:
    if name in beside:
        return Way.BESIDE
    view = graph.views[name]
    has_rows = view.is_materialized or view.rebuild is Rebuild.DEFERRED
    return Way.DEFERRED if name in deferred and has_rows else Way.REBUILT
