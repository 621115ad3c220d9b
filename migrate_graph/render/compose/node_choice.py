"""Which nodes a picture shows: what changes and what explains it, what was asked for, or everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import networkx as nx

from migrate_graph.core.graph import Edge, EdgeKind, Node, NodeKind
from migrate_graph.core.plan import Step
from migrate_graph.core.rules import Severity
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.render.compose.node_facts import Fact
from migrate_graph.render.picture import About, PictureOptions, Question
from migrate_graph.render.style import State

EVERYTHING_UP_TO = 60
"""Nodes that a reader can still take in at once; more are cut to what matters."""
NEWEST = 40
"""Migrations that stand for a graph that is too large to be drawn as a whole."""
PLAN_UP_TO = 150
"""Changing migrations that a plan picture shows without cutting to `PictureOptions.limit`."""

_TROUBLE = frozenset({State.FAILED, State.INTERRUPTED, State.BLOCKED, State.ORPHAN, State.CYCLE})


@dataclass(frozen=True, slots=True)
class Shown:
    """What a picture shows.

    Attributes:
        nodes: drawn.
        how: why not everything, for the sub-line; empty when everything is drawn.
        whole: everything is drawn.
    """

    nodes: frozenset[Node]
    how: str = ""
    whole: bool = False


def choose(question: Question, about: About, facts: Mapping[Node, Fact], options: PictureOptions) -> Shown:
    """Return which nodes are drawn.

    Raises:
        UsageError: `options.focus` names nothing that exists.
    """
    everything = frozenset(facts)
    if options.selected is not None:
        return Shown(everything & options.selected, "selected")
    if options.focus:
        return Shown(
            _around(options.focus, options.hops, about, facts), f"within {options.hops} of {', '.join(options.focus)}"
        )
    if options.everything or (question is Question.GRAPH and len(facts) <= EVERYTHING_UP_TO):
        return Shown(everything, whole=True)
    changing = _Changes(question, about, facts, options).choose()
    if changing.nodes:
        return changing if changing.nodes != everything else Shown(everything, whole=True)
    if len(facts) <= EVERYTHING_UP_TO:
        return Shown(everything, whole=True)
    return _newest(about, facts)


def touches_shown(about: About, question: Question, *, count: int) -> AbstractSet[str]:
    """Return the migrations whose `touches` are drawn: all of a small graph, else only those that have not run.

    What history touched long ago explains nothing about now, and these edges are most of the ink and of the layout's time.
    """
    names = about.graph.migrations.keys()
    if question is Question.GRAPH and (count <= 12 or (about.plan is None and count <= EVERYTHING_UP_TO)):
        return frozenset(names)
    applied = frozenset(about.plan.applied) if about.plan else about.history.applied if about.history else frozenset()
    return frozenset(names) - applied


class _Changes:
    """The nodes that change or are in trouble, with what explains each of them."""

    def __init__(self, question: Question, about: About, facts: Mapping[Node, Fact], options: PictureOptions) -> None:
        self.question = question
        self.about = about
        self.facts = facts
        self.limit = options.limit
        self.checked = self._accused() if question is Question.CHECK else frozenset()
        self.steps = self._first_steps() if about.plan else ()

    def choose(self) -> Shown:
        running = {Node(NodeKind.MIGRATION, step.migration.name) for step in self.steps}
        troubled = self._troubled()
        kept = running | troubled | self.checked | self._out_of_order()
        kept |= self._requirements_of({node for node in kept if node.kind is NodeKind.MIGRATION})
        views = self._views_of_steps() | {node for node in kept if node.kind is NodeKind.VIEW}
        kept |= views | self._explained(views)
        kept &= self.facts.keys()
        planned = len(self.about.plan.steps) if self.about.plan else 0
        how = f"first {len(self.steps)} of {planned} to run" if len(self.steps) < planned else ""
        wrong = "what is wrong and what it follows" if self.question is Question.CHECK else ""
        return Shown(frozenset(kept), how or wrong or "what changes and what it follows")

    def _accused(self) -> frozenset[Node]:
        """Return what findings are about, with their other places."""
        grave = [each for each in self.about.findings if each.severity in {Severity.ERROR, Severity.WARNING}]
        names = {finding.subject for finding in grave}
        names |= {related.subject for finding in grave for related in finding.related}
        return frozenset(node for node in self.facts if node.name in names)

    def _first_steps(self) -> tuple[Step, ...]:
        assert self.about.plan is not None  # noqa: S101 - only asked with a plan
        steps = self.about.plan.steps
        return steps[: self.limit] if self.limit and len(steps) > PLAN_UP_TO else steps

    def _troubled(self) -> set[Node]:
        """Return what is in trouble; of a long queue of blocked ones, as many as of steps."""
        stuck = [
            node for node, fact in self.facts.items() if fact.state is State.BLOCKED and node.kind is NodeKind.MIGRATION
        ]
        too_many = self.limit and len(stuck) > PLAN_UP_TO
        left_out = set(stuck[self.limit :]) if too_many else set()
        return {
            node
            for node, fact in self.facts.items()
            if fact.state in _TROUBLE and node not in left_out and (node.kind is NodeKind.MIGRATION or not too_many)
        }

    def _out_of_order(self) -> set[Node]:
        """Return what is applied although a requirement of it is not."""
        return {
            Node(NodeKind.MIGRATION, after)
            for before, after in self.about.graph.requires.edges
            if self._state(after) is State.APPLIED and self._state(before) is not State.APPLIED
        }

    def _state(self, name: str) -> State:
        return self.facts[Node(NodeKind.MIGRATION, name)].state

    def _requirements_of(self, nodes: AbstractSet[Node]) -> set[Node]:
        """Return what these require directly, as drawn."""
        names = {node.name for node in nodes}
        return {
            Node(NodeKind.MIGRATION, before) for before, after in self.about.graph.reduced_requires() if after in names
        }

    def _views_of_steps(self) -> set[Node]:
        """Return the views that the drawn steps change, open, or take over from."""
        graph = self.about.graph
        names: set[str] = set()
        for step in self.steps:
            names.update(step.views_down, step.views_up, step.creates, step.retires, step.migration.touches)
            names.update(view for created in step.creates for view in [graph.views[created].replaces] if view)
        return {Node(NodeKind.VIEW, name) for name in names}

    def _explained(self, views: AbstractSet[Node]) -> set[Node]:
        """Return what leads from the views that are opened or whose window moves to every other changed view.

        A change may reach a view through another one that itself stays as it is (a retired version, say): drawn as well, so that
        no box is blue without a visible reason.
        """
        relations: nx.Graph[str] = nx.Graph(self.about.graph.uses)
        relations.add_edges_from(self.about.graph.replaces.edges)
        migrations = {step.migration.name for step in self.steps}
        opened = {name for step in self.steps for name in step.migration.touches}
        opened |= {view.name for view in self.about.graph.views.values() if {view.since, view.until} & migrations}
        roots = sorted(opened & set(relations))
        explained = {Node(NodeKind.VIEW, name) for name in opened} & self.facts.keys()
        if not roots:
            return explained
        # A list, although it asks for a set: the order of the roots decides between paths of one length.
        paths: dict[str, list[str]] = nx.multi_source_dijkstra_path(relations, roots, weight=None)
        wanted = {node.name for node in views} & set(paths)
        return explained | {Node(NodeKind.VIEW, name) for wish in wanted for name in paths[wish]}


def _around(names: Iterable[str], hops: int, about: About, facts: Mapping[Node, Fact]) -> frozenset[Node]:
    """Return what is at most `hops` edges before or after these."""
    start = frozenset(node for name in names for node in _named(name, facts))
    edges = list(about.graph.edges())
    return start | _walk(start, hops, _index(edges, forward=True)) | _walk(start, hops, _index(edges, forward=False))


def _named(name: str, facts: Mapping[Node, Fact]) -> list[Node]:
    found = [node for node in facts if node.name == name]
    if not found:
        near = similar(name, [node.name for node in facts], most=3)
        hint = did_you_mean(near, "`migrate status` lists all names")
        raise UsageError(f"no migration or view is called '{name}'", hint=hint)
    return found


def _index(edges: Iterable[Edge], *, forward: bool) -> dict[Node, list[Node]]:
    index: dict[Node, list[Node]] = {}
    for edge in edges:
        source, target = (edge.before, edge.after) if forward else (edge.after, edge.before)
        index.setdefault(source, []).append(target)
    return index


def _walk(start: AbstractSet[Node], hops: int, index: Mapping[Node, list[Node]]) -> set[Node]:
    seen, front = set(start), set(start)
    for _ in range(hops):
        front = {after for node in front for after in index.get(node, ())} - seen
        seen |= front
    return seen


def _newest(about: About, facts: Mapping[Node, Fact]) -> Shown:
    """Return the newest migrations, with the views they open or whose windows they move: where people work."""
    newest = {Node(NodeKind.MIGRATION, name) for name in about.order[-NEWEST:]}
    # A project may have more views than migrations, or nothing but views.
    newest |= {
        Node(NodeKind.VIEW, name) for name in list(about.graph.views)[len(newest) - NEWEST :] if len(newest) < NEWEST
    }
    beside = {
        node
        for edge in about.graph.edges()
        if edge.kind not in {EdgeKind.REQUIRES, EdgeKind.USES}
        for node, other in ((edge.before, edge.after), (edge.after, edge.before))
        if other in newest
    }
    return Shown(frozenset(newest | beside) & frozenset(facts), "the newest")
