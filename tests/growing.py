"""Projects of any size, and what work on them costs: counted in calls, which no other program of the machine disturbs."""

from __future__ import annotations

import cProfile
from collections.abc import Callable

from drawing import registry_of
from msgspec.structs import replace

from migrate_graph.core.commuting import Commuting
from migrate_graph.core.footprint import Fact
from migrate_graph.core.graph import EdgeKind, Ordering, build_graph
from migrate_graph.core.history import History, Record
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
from migrate_graph.core.selection import select
from migrate_graph.core.states import states_of
from migrate_graph.core.traces import Touch, Trace


class Name(str):
    """A name whose look-ups in sets and dictionaries are calls, and so are counted: those of a plain one happen in C, unseen."""

    __slots__ = ()

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True


def calls_of(work: Callable[[], object]) -> int:
    """Return how many calls some work makes, of functions in Python and in C."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        work()
    finally:
        profile.disable()
    return sum(each.callcount for each in profile.getstats())


def _named(registry: Registry) -> Registry:
    return replace(
        registry,
        migrations=tuple(
            replace(each, name=Name(each.name), requires=tuple(map(Name, each.requires)))
            for each in registry.migrations
        ),
    )


def project(size: int) -> Registry:
    """Declare migrations in a band of requirements, and a quarter as many views in families of ten."""
    names = [f"m_{20200101 + index}_001" for index in range(size)]
    views = {
        f"V{index}": {
            "uses": [f"V{used}" for used in range(max(index - index % 10, index - 2), index)],
            "since": names[index],
            "replaces": f"V{index - 5}" if index % 10 == 9 else None,
        }
        for index in range(size // 4)
    }
    return _named(
        registry_of(
            *(f"{names[index - hop]} < {names[index]}" for hop in (1, 7) for index in range(hop, size)),
            migrations={name: {"touches": [f"V{index % (size // 4)}"]} for index, name in enumerate(names)},
            views=views,
            declared=names,
        )
    )


def half_applied(registry: Registry) -> History:
    """Return the history of a database that has the first half of a project."""
    done = registry.migrations[: len(registry.migrations) // 2]
    return History(records={each.name: Record(each.name, installed=True) for each in done})


def tangle(size: int) -> Registry:
    """Declare migrations that require each other in rings."""
    return _named(
        registry_of(*(f"m{index} < m{(index * 7 + 1) % size} < m{(index + 1) % size}" for index in range(size)))
    )


def _states(registry: Registry) -> object:
    graph, history = build_graph(registry), half_applied(registry)
    return states_of(graph, history, build_plan(graph, history))


def _watched(registry: Registry) -> object:
    """Judge footprints: tables that a few migrations work on, and one that every migration writes to."""
    known = {}
    for place, each in enumerate(registry.migrations):
        table = Name(f"t{place - place % 7}")
        makes = frozenset({Fact("relation", table), Fact("column", f"{table}.a")}) if place % 7 == 0 else frozenset()
        rows = {"hot": {Touch.UPDATE: frozenset("a")}, table: {Touch.INSERT: frozenset("*")}}
        known[each.name] = Trace(makes=makes, needs=frozenset({Fact("relation", table)}), rows=rows)
    found = Commuting([each.name for each in registry.migrations], known, build_graph(registry).requires.edges)
    return found.undeclared, found.unordered, found.unreasoned, found.inferred, found.missing


WORK: dict[str, tuple[Callable[[int], Registry], Callable[[Registry], object]]] = {
    "build": (project, build_graph),
    "order": (project, lambda registry: build_graph(registry).order(Ordering.INTERTWINED)),
    "check": (project, lambda registry: check(build_graph(registry), half_applied(registry))),
    "plan": (project, lambda registry: build_plan(build_graph(registry), half_applied(registry))),
    "states": (project, _states),
    "commuting": (project, _watched),
    "rings": (tangle, lambda registry: build_graph(registry).cycles(EdgeKind.REQUIRES)),
    "select": (project, lambda registry: select("+V1 m_2020*+", build_graph(registry), {})),
}
"""For every kind of work: what is made ready, and what is measured."""
