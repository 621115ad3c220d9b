"""Opening a view does what the description of 2.1.0 says, and views end the same from wherever an upgrade starts."""

from collections.abc import Iterable, Set

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st
from registries import registries

from migrate_graph.core.graph import MigrationGraph, build_graph
from migrate_graph.core.history import History, Record
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import Step, build_plan
from migrate_graph.core.timeline import Timeline


class Described:
    """The description of 2.1.0 word for word, by recursion."""

    def __init__(self, graph: MigrationGraph, applied: Set[str], running: str) -> None:
        self.views, self.applied, self.running = graph.views, applied, running

    def in_window(self, name: str) -> bool:
        since, until = self.views[name].since, self.views[name].until
        opened = since is None or since in self.applied | {self.running}
        return opened and (until is None or until not in self.applied)

    def successors(self, name: str) -> list[str]:
        return [other for other, view in self.views.items() if view.replaces == name]

    def readers(self, name: str) -> list[str]:
        return [other for other, view in self.views.items() if name in view.uses]

    def end(self, name: str) -> str:
        for other in self.successors(name):
            if self.in_window(self.end(other)):
                return self.end(other)
        return name

    def active(self, name: str) -> bool:
        return self.in_window(name) and self.end(name) == name

    def retiring(self, name: str) -> bool:
        return self.in_window(name) and any(
            self.in_window(other) and self.views[other].since == self.running for other in self.successors(name)
        )

    def collect(self, name: str, visited: list[str]) -> None:
        if name in visited:
            return
        visited.append(name)
        if self.in_window(name) or self.end(name) != name:
            for reader in self.readers(name):
                self.collect(reader, visited)
        for other in [*self.successors(name), *filter(None, [self.views[name].replaces])]:
            self.collect(other, visited)

    def affected(self, opened: Iterable[str]) -> set[str]:
        visited: list[str] = []
        for name in opened:
            self.collect(name, visited)
        return {name for name in visited if self.in_window(name) and (self.active(name) or self.retiring(name))}


@given(registries(views=6), st.data())
def test_a_block_is_what_the_description_says(registry: Registry, data: st.DataObject) -> None:
    graph = build_graph(registry)
    order = graph.order()
    place = data.draw(st.integers(0, len(order) - 1))
    applied, running = set(order[:place]), order[place]
    opened = data.draw(st.lists(st.sampled_from([*graph.views, "Nowhere"]), max_size=2, unique=True))
    described = Described(graph, applied, running)
    affected = described.affected(name for name in opened if name in graph.views)
    block = Timeline(graph).block(*opened, applied=applied, running=running)
    handed_over = {name for name in affected if not described.active(name)}
    assert sorted(block.up) == sorted(affected - handed_over)
    assert sorted(block.down) == sorted(name for name in affected if graph.views[name].replaces not in handed_over)
    # Dependencies first, where they are no ring (a successor may use what its predecessor is used by). What reads a
    # successor was built on the relation of its predecessor.
    before = nx.DiGraph(
        [
            (needed, name)
            for name in affected
            for used in graph.views[name].uses
            for needed in {used, described.end(used), graph.views[used].replaces} & affected - {name}
        ]
    )
    if nx.is_directed_acyclic_graph(before):
        for needed, name in before.edges:
            for order_of, first, second in ((block.up, needed, name), (block.down, name, needed)):
                if first in order_of and second in order_of:
                    assert order_of.index(first) < order_of.index(second)


def run(existing: set[str], steps: Iterable[Step]) -> set[str]:
    """Do to a set of relations what steps do to a database."""
    existing = set(existing)
    for step in steps:
        existing -= set(step.views.down)
        existing |= set(step.views.up)
        existing -= set(step.views.retired)
    return existing


@given(registries(views=6))
def test_from_every_prefix_the_same_views_live_at_the_end(registry: Registry) -> None:
    graph = build_graph(registry)
    whole = build_plan(graph, History())
    assert [step.migration.name for step in whole.steps] == list(graph.order())
    at_the_end = run(set(), whole.steps)
    moment = Timeline(graph).moment(applied=set(graph.migrations))
    assert all(moment.in_window(name) for name in at_the_end)
    for length in range(len(whole.steps) + 1):
        done = {step.migration.name: Record(step.migration.name, installed=True) for step in whole.steps[:length]}
        rest = build_plan(graph, History(records=done))
        assert rest.steps == whole.steps[length:]
        assert run(run(set(), whole.steps[:length]), rest.steps) == at_the_end


@given(registries(views=6))
def test_living_is_the_window_without_a_living_successor(registry: Registry) -> None:
    graph = build_graph(registry)
    applied: set[str] = set()
    for name in graph.order():
        described = Described(graph, applied, running="")
        assert Timeline(graph).living(applied) == {view for view in graph.views if described.active(view)}
        applied.add(name)
