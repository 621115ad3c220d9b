"""Whatever is declared and remembered: what a picture shows adds up, is explained, and can be read back."""

import re

import networkx as nx
from drawing import drawn, graph_of
from hypothesis import given, settings
from hypothesis import strategies as st
from registries import digraphs, paths_of, registries
from test_plan_laws import histories

from migrate_graph.core.graph import EdgeKind, build_graph
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import build_plan
from migrate_graph.core.states import State
from migrate_graph.render import PictureOptions, render
from migrate_graph.render.formats.lanes import to_lines
from migrate_graph.render.picture import Picture, Question

CHANGES = {State.ADDED, State.REBUILT, State.REMOVED}
QUICK = ("dot", "mermaid", "markdown", "json", "graphml", "text")


def picture_for(registry: Registry, data: st.DataObject, question: Question) -> Picture:
    graph = build_graph(registry)
    if question is Question.GRAPH and data.draw(st.booleans()):
        return drawn(question, graph)
    history = data.draw(histories(list(graph.migrations)))
    return drawn(question, graph, build_plan(graph, history), history)


@given(registries(cyclic=True), st.data(), st.sampled_from(Question))
def test_shown_and_hidden_add_up(registry: Registry, data: st.DataObject, question: Question) -> None:
    picture = picture_for(registry, data, question)
    keys = [node.key for node in picture.nodes]
    assert len(keys) == len(set(keys))
    assert picture.shown <= picture.total
    assert {edge.before for edge in picture.edges} | {edge.after for edge in picture.edges} <= set(keys)
    if picture.whole is None:
        assert picture.shown == picture.total
    else:
        hidden = {node.key for node in picture.whole.nodes} - set(keys)
        assert picture.shown + len(hidden) == picture.total == picture.whole.shown
        assert f"{picture.shown:,} of {picture.total:,} shown" in picture.subtitle
    for node in picture.nodes:
        assert "".join(node.label) == node.name


@given(registries(), st.data())
def test_every_drawn_edge_exists_and_none_is_lost(registry: Registry, data: st.DataObject) -> None:
    picture = picture_for(registry, data, Question.GRAPH)
    versions: nx.DiGraph[str] = nx.DiGraph()
    versions.add_nodes_from(node.key for node in picture.nodes)
    versions.add_edges_from((link.before, link.after) for link in picture.links if link.kind is EdgeKind.REPLACES)

    def same(before: str, after: str, kind: EdgeKind) -> set[tuple[str, str, EdgeKind]]:
        """Return as what an edge may be drawn: a view hangs from what it names, or from a successor of that."""
        later = nx.descendants(versions, before) if kind is EdgeKind.USES else set()
        return {(version, after, kind) for version in {before} | later}

    exist = {(link.before, link.after, link.kind) for link in picture.links}
    drawn = {(edge.before, edge.after, kind) for edge in picture.edges for kind in edge.kinds}
    assert drawn <= {each for edge in exist for each in same(*edge)}
    lost = {edge for edge in exist if not same(*edge) & drawn}
    implied = {(link.before, link.after, link.kind) for link in picture.links if link.implied}
    assert all(kind is EdgeKind.TOUCHES or (before, after, kind) in implied for before, after, kind in lost)


@given(registries(), st.data())
def test_every_changed_view_is_explained_by_an_arrow(registry: Registry, data: st.DataObject) -> None:
    graph = build_graph(registry)
    history = data.draw(histories(list(graph.migrations)))
    plan = build_plan(graph, history)
    picture = drawn(Question.PLAN, graph, plan, history)
    running = {f"m.{step.migration.name}" for step in plan.steps}
    related: dict[str, set[str]] = {}
    for edge in picture.edges:
        if {EdgeKind.USES, EdgeKind.REPLACES} & set(edge.kinds):
            related.setdefault(edge.before, set()).add(edge.after)
            related.setdefault(edge.after, set()).add(edge.before)
    explained = {
        key for edge in picture.edges for key in (edge.before, edge.after) if {edge.before, edge.after} & running
    }
    front = [key for key in explained if key.startswith("v.")]
    while front:
        fresh = related.get(front.pop(), set()) - explained
        explained |= fresh
        front += fresh
    changed = {node.key for node in picture.nodes if node.kind == "view" and node.state in CHANGES}
    assert changed == {
        f"v.{view}"
        for step in plan.steps
        for view in (*step.views.down, *step.views.up, *step.views.new, *step.views.retired)
    } - {node.key for node in picture.nodes if node.state is State.CYCLE}
    assert changed <= explained


@settings(max_examples=60)
@given(registries(cyclic=True), st.data(), st.sampled_from(Question))
def test_every_text_format_takes_every_graph(registry: Registry, data: st.DataObject, question: Question) -> None:
    picture = picture_for(registry, data, question)
    for name in QUICK:
        first = render(picture, name)
        assert first.endswith(b"\n")
        assert render(picture, name) == first


# Reading lanes back -----------------------------------------------------------------------------------------------------------


class Drawing:
    """Lanes read from the characters alone, as an eye does: every line is followed upwards from a node to nodes."""

    def __init__(self, lines: list[str]) -> None:
        self.grid: list[str] = []
        self.nodes: dict[tuple[int, int], str] = {}
        for line in lines:
            # Without a plan there are no numbers: one blank column and two spaces stand before the lanes.
            match = re.match(r"^ {3}(?P<lanes>[│├┤╭╮╰╯┼─ ○]*)(?:  (?P<name>\w+))?$", line)
            assert match, line
            if "○" in match["lanes"]:
                self.nodes[len(self.grid), match["lanes"].index("○")] = str(match["name"])
            self.grid.append(match["lanes"])

    def edges(self) -> set[tuple[str, str]]:
        return {(source, name) for (row, column), name in self.nodes.items() for source in self.sources(row, column)}

    def at(self, row: int, column: int) -> str:
        return self.grid[row][column] if row >= 0 and 0 <= column < len(self.grid[row]) else " "

    def takes(self, row: int, column: int) -> bool:
        """Whether a connector's end leads down to the node of the next node row (the other end gives)."""
        return next(place for place in self.nodes if place[0] > row)[1] == column

    def sources(self, row: int, column: int) -> set[str]:
        """Follow the line that ends at the top of this cell."""
        above = row - 1
        if (above, column) in self.nodes:
            return {self.nodes[above, column]}
        mark = self.at(above, column)
        found = self.sources(above, column) if mark in "│├┤┼" else set()
        if mark in "├┤╭╮" and self.takes(above, column):
            step = 1 if mark in "├╭" else -1
            end = column + step
            while self.at(above, end) in "─┼":
                end += step
            found |= self.sources(above, end)
        return found


@settings(max_examples=200)
@given(digraphs(cyclic=False))
def test_lanes_read_back_to_the_reduced_edges(requires: dict[str, list[str]]) -> None:
    graph = graph_of(*paths_of(requires), declared=list(requires))
    picture = drawn(Question.GRAPH, graph, options=PictureOptions(title="t"))
    lines = [line.text for line in to_lines(picture, width=200)]
    assert Drawing(lines[lines.index("") + 1 :]).edges() == set(graph.reduced_requires())
