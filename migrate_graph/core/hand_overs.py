"""Which views can get the text of their successors in place when a migration ends, so that the views that read them stay up."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import Struct

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.late import nx
from migrate_graph.core.timeline import Timeline, ViewBlock
from migrate_graph.quoting import bare, parted


class HandOver(Struct, frozen=True):
    """Views that take over together.

    Attributes:
        first: views that must be created before, since these views read them.
        block: `down` are the views whose places they take, `up` these views themselves; in both, also the readers that stay up.
        heirs: for each view that takes over, the one whose place it takes.
        leaving: views that read one of them and retire with the same migration.
    """

    first: ViewBlock
    block: ViewBlock
    heirs: dict[str, str]
    leaving: tuple[str, ...] = ()


def heirs_in(timeline: Timeline, block: ViewBlock) -> dict[str, str] | None:
    """Return, for each view of a block that takes over, the one whose place it takes.

    None where a view retires without a successor, or has several.
    """
    retiring = [name for name in block.down if name not in block.up]
    heirs = _heirs(timeline, retiring, block.up)
    return heirs if len(heirs) == len(retiring) == len({*heirs.values()}) else None


def hand_overs(timeline: Timeline, turn: ViewBlock, built: Container[str]) -> Iterator[HandOver]:
    """Yield the views that can be handed over in place at a migration's end, as far as declarations tell, in independent groups.

    Args:
        timeline: of the graph.
        turn: what goes down and comes up then, if nothing stays up.
        built: views that exist.
    """
    retiring = [name for name in turn.down if name in built and name not in turn.up]
    all_heirs = _heirs(timeline, retiring, turn.up)
    standing = _standing(timeline.graph, retiring, all_heirs)
    for heirs in _groups(timeline.graph, standing):
        first = _read_by(timeline.graph, heirs).intersection(turn.up).difference(all_heirs)
        first = {name for name in first if name not in built}
        if not _read_by(timeline.graph, first).isdisjoint([*retiring, *all_heirs]):
            continue
        readers = {name for name in _readers_of(timeline.graph, [*heirs, *heirs.values()]) if name in built}
        stays = {*heirs, *readers.difference(retiring, all_heirs)}
        yield HandOver(
            ViewBlock(_only(turn.down, first), _only(turn.up, first)),
            ViewBlock(_only(turn.down, {*heirs.values()} | stays), _only(turn.up, stays)),
            heirs,
            _only(turn.down, readers.intersection(retiring).difference(heirs.values())),
        )


def _heirs(timeline: Timeline, retiring: Sequence[str], up: Sequence[str]) -> dict[str, str]:
    return {name: old for name in up for old in retiring if old in timeline.predecessors(name)}


def _standing(graph: MigrationGraph, retiring: Sequence[str], heirs: dict[str, str]) -> dict[str, str]:
    """Return the views that can take over in place: the only successor, with the same name, and nothing that they read goes down."""
    olds = [*heirs.values()]
    standing = {
        name: old
        for name, old in heirs.items()
        if olds.count(old) == 1
        and graph.views[old].can_replace
        and graph.views[name].can_replace
        and _same(graph, name, old)
    }
    while True:
        gone = {*retiring, *heirs} - {*standing, *standing.values()}
        falling = [name for name in standing if not _read_by(graph, [name, standing[name]]).isdisjoint(gone)]
        if not falling:
            return standing
        for name in falling:
            del standing[name]


def _same(graph: MigrationGraph, name: str, old: str) -> bool:
    """Return whether two views have relations of the same name, as far as their texts tell; one may leave the schema out."""
    names = (relation for each in (name, old) for relation in graph.views[each].relations)
    return len({bare(parted(each)[1]).lower() for each in names}) == 1


def _groups(graph: MigrationGraph, heirs: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the views that take over in groups: those that read one another are in one group. Their order is kept."""
    heir_of = {name: name for name in heirs} | {old: name for name, old in heirs.items()}
    ties: Any = nx.Graph()
    ties.add_nodes_from(heirs)
    for name, old in heirs.items():
        ties.add_edges_from((name, heir_of[each]) for each in _read_by(graph, [name, old]).intersection(heir_of))
    for group in nx.connected_components(ties):
        yield {name: old for name, old in heirs.items() if name in group}


def _read_by(graph: MigrationGraph, names: Sequence[str] | AbstractSet[str] | dict[str, str]) -> set[str]:
    """Return what some views read, directly or through others."""
    return {each for name in names for each in nx.ancestors(graph.uses, name)}


def _readers_of(graph: MigrationGraph, names: Sequence[str]) -> set[str]:
    """Return what reads some views, directly or through others."""
    return {each for name in names for each in nx.descendants(graph.uses, name)}


def _only(names: Sequence[str], wanted: AbstractSet[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in wanted)
