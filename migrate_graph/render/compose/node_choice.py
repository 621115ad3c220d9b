"""Which nodes a picture shows: what changes and what explains it, what was asked for, or everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.graph import EdgeKind, Node, NodeKind
from migrate_graph.core.late import nx
from migrate_graph.core.states import STUCK, State
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.render import PictureOptions
from migrate_graph.render.compose.boxes import is_implied
from migrate_graph.render.picture import PictureInput, Question

if TYPE_CHECKING:
    from migrate_graph.core.plan import Step

EVERYTHING_UP_TO = 60
"""How many nodes a reader can take in at once; of more only those that matter are shown."""
NEWEST = 40
"""How many migrations are shown of a graph that is too large to be drawn as a whole."""
HOP_UP_TO = 8
"""How many neighbours of a node with a finding are drawn, on each side."""
PLAN_UP_TO = 150
"""Changing migrations that a plan picture shows without cutting to `PictureOptions.limit`."""


class Shown(Struct, frozen=True):
    """What a picture shows.

    Attributes:
        nodes: drawn.
        how: which nodes these are, for the sub-line; empty when everything is drawn.
        whole: everything is drawn.
    """

    nodes: frozenset[Node]
    how: str = ""
    whole: bool = False


def choose(question: Question, given: PictureInput, options: PictureOptions) -> Shown:
    """Return which nodes are drawn.

    Raises:
        UsageError: `options.focus` names nothing that exists.
    """
    everything = frozenset(given.states)
    asked = asked_for(given, options)
    if asked is not None:
        return asked
    if options.everything or (question is Question.GRAPH and len(everything) <= EVERYTHING_UP_TO):
        return Shown(everything, whole=True)
    changing = _wrong(given, options) if question is Question.CHECK else _Changes(given, options).choose()
    if changing.nodes:
        return changing if changing.nodes != everything else Shown(everything, whole=True)
    if len(everything) <= EVERYTHING_UP_TO:
        return Shown(everything, whole=True)
    return _newest(given)


def asked_for(given: PictureInput, options: PictureOptions) -> Shown | None:
    """Return the nodes that were asked for by name: selected, near the focus, or both; None when none were asked for.

    Raises:
        UsageError: `options.focus` names nothing that exists, or nothing selected is near it.
    """
    if options.selected is None and not options.focus:
        return None
    nodes = frozenset(given.states)
    how = []
    if options.selected is not None:
        nodes &= options.selected
        how.append("selected")
    if options.focus:
        near = f"within {options.hops} of {', '.join(options.focus)}"
        around = _around(options.focus, options.hops, given)
        if nodes and not nodes & around:
            raise UsageError(
                f"nothing that is selected is {near}", hint="raise --hops, or leave --select or --focus out"
            )
        nodes &= around
        how.append(near)
    return Shown(nodes, ", ".join(how))


def touches_shown(given: PictureInput, question: Question, *, count: int) -> AbstractSet[str]:
    """Return the migrations whose `touches` are drawn: all of a small graph, else only those that have not run.

    The `touches` of applied migrations explain nothing about now, and they take most of the picture and of the layout's time.
    """
    names = given.graph.migrations.keys()
    if question is Question.GRAPH and (count <= 12 or (given.plan is None and count <= EVERYTHING_UP_TO)):
        return frozenset(names)
    return frozenset(name for name in names if not given.states[Node(NodeKind.MIGRATION, name)].applied)


def _wrong(given: PictureInput, options: PictureOptions) -> Shown:
    """Return the nodes with findings, and one step around them."""
    accused = [node for node in given.accused if node in given.states]
    told = accused[: options.limit] if options.limit and len(accused) > PLAN_UP_TO else accused
    kept = set(told)
    for neighbours in _neighbours(given):
        for node in told:
            kept.update(neighbours.get(node, ())[:HOP_UP_TO])
    how = "what is wrong and one step around it"
    return Shown(frozenset(kept), how if len(told) == len(accused) else f"first {len(told)} of {len(accused)} accused")


def _neighbours(given: PictureInput) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    """Return the neighbours before and behind each node: first those that nothing declares, then the others as they run."""
    places = {Node(NodeKind.MIGRATION, name): place for place, name in enumerate(given.order, 1)}
    before: dict[Node, list[Node]] = {}
    behind: dict[Node, list[Node]] = {}
    for edge in given.graph.edges():
        if not is_implied(edge, given.graph):
            before.setdefault(edge.after, []).append(edge.before)
            behind.setdefault(edge.before, []).append(edge.after)
    for found in (*before.values(), *behind.values()):
        found.sort(key=lambda node: (given.declared(node) is not None, places.get(node, 0), node))
    return before, behind


def _naming(unknown: AbstractSet[Node], given: PictureInput) -> set[Node]:
    """Return unknown names with their neighbours: without the node that refers to it, an unknown name explains nothing."""
    pairs = ((edge.before, edge.after) for edge in given.graph.edges())
    return {node for pair in pairs if not unknown.isdisjoint(pair) for node in pair}


class _Changes:
    """The nodes that change or are in trouble, with what explains each of them."""

    def __init__(self, given: PictureInput, options: PictureOptions) -> None:
        self.given = given
        self.limit = options.limit
        self.steps = self._first_steps() if given.plan else ()

    def choose(self) -> Shown:
        running = {Node(NodeKind.MIGRATION, step.migration.name) for step in self.steps}
        kept = running | self._troubled() | self._out_of_order()
        kept |= self._requirements_of({node for node in kept if node.kind is NodeKind.MIGRATION})
        changing = self._views_of_steps()
        told = frozenset(self._first(changing))
        views = told | {node for node in kept if node.kind is NodeKind.VIEW}
        kept |= views | self._explained(views)
        kept |= _naming({node for node in kept if self.given.declared(node) is None}, self.given)
        kept &= self.given.states.keys()
        planned = len(self.given.plan.steps) if self.given.plan else 0
        cut = [f"first {len(self.steps)} of {planned} to run"] if len(self.steps) < planned else []
        cut += [f"first {len(told)} of {len(changing)} views"] if told < changing else []
        how = ", ".join(cut)
        return Shown(frozenset(kept), how or "what changes and what it follows")

    def _first_steps(self) -> tuple[Step, ...]:
        assert self.given.plan is not None  # noqa: S101 - only asked with a plan
        steps = self.given.plan.steps
        return steps[: self.limit] if self.limit and len(steps) > PLAN_UP_TO else steps

    def _first(self, views: AbstractSet[Node]) -> list[Node]:
        """Return the views that are drawn, as declared: of very many the first ones."""
        ordered = sorted(views, key=_declared_in(self.given))
        return ordered[: self.limit] if self.limit and len(ordered) > PLAN_UP_TO else ordered

    def _troubled(self) -> set[Node]:
        """Return what is in trouble; of very many blocked migrations, as many as of steps."""
        stuck = [
            node
            for node, known in self.given.states.items()
            if known.state is State.BLOCKED and node.kind is NodeKind.MIGRATION
        ]
        too_many = self.limit and len(stuck) > PLAN_UP_TO
        left_out = set(stuck[self.limit :]) if too_many else set()
        return {
            node
            for node, known in self.given.states.items()
            if known.state in STUCK and node not in left_out and (node.kind is NodeKind.MIGRATION or not too_many)
        }

    def _out_of_order(self) -> set[Node]:
        """Return what is applied although a requirement of it is not."""
        return {
            Node(NodeKind.MIGRATION, after)
            for before, after in self.given.graph.requires.edges
            if self._state(after) is State.APPLIED and self._state(before) is not State.APPLIED
        }

    def _state(self, name: str) -> State:
        return self.given.states[Node(NodeKind.MIGRATION, name)].state

    def _requirements_of(self, nodes: AbstractSet[Node]) -> set[Node]:
        """Return what these require directly, without the requirements that others imply."""
        names = {node.name for node in nodes}
        return {
            Node(NodeKind.MIGRATION, before) for before, after in self.given.graph.reduced_requires() if after in names
        }

    def _views_of_steps(self) -> set[Node]:
        """Return the views that the drawn steps change, open, or take over from."""
        graph = self.given.graph
        names: set[str] = set()
        for step in self.steps:
            names.update(step.views.down, step.views.up, step.views.new, step.views.retired, step.migration.touches)
            names.update(view for created in step.views.new for view in [graph.views[created].replaces] if view)
        return {Node(NodeKind.VIEW, name) for name in names}

    def _explained(self, views: AbstractSet[Node]) -> set[Node]:
        """Return the paths from the views that are opened, or whose window opens or closes, to every other changed view.

        A change may reach a view through another one that does not change itself (a retired version, for example). That one is
        drawn as well, so that the picture shows why each view changes.
        """
        relations: nx.Graph[str] = nx.Graph(self.given.graph.uses)
        relations.add_edges_from(self.given.graph.replaces.edges)
        migrations = {step.migration.name for step in self.steps}
        opened = {name for step in self.steps for name in step.migration.touches}
        opened |= {view.name for view in self.given.graph.views.values() if {view.since, view.until} & migrations}
        roots = sorted(opened & set(relations))
        wide = self.limit and len(opened) > PLAN_UP_TO
        explained = set() if wide else {Node(NodeKind.VIEW, name) for name in opened} & self.given.states.keys()
        if not roots:
            return explained
        # A list, although networkx takes a set: the order of the roots decides between paths of the same length.
        paths: dict[str, list[str]] = nx.multi_source_dijkstra_path(relations, roots, weight=None)
        wanted = {node.name for node in views} & set(paths)
        return explained | {Node(NodeKind.VIEW, name) for wish in wanted for name in paths[wish]}


def _around(names: Iterable[str], hops: int, given: PictureInput) -> frozenset[Node]:
    """Return what is at most `hops` edges before or after these."""
    start = [node for name in names for node in _named(name, given.states)]
    edges: nx.DiGraph[Node] = nx.DiGraph((edge.before, edge.after) for edge in given.graph.edges())
    edges.add_nodes_from(start)
    both_ways = (edges, edges.reverse(copy=False))
    return frozenset(
        node for each in both_ways for layer in islice(nx.bfs_layers(each, start), hops + 1) for node in layer
    )


def _named(name: str, known: Iterable[Node]) -> list[Node]:
    found = [node for node in known if node.name == name]
    if not found:
        near = similar(name, [node.name for node in known], most=3)
        hint = did_you_mean(near, "`migrate status` lists all names")
        raise UsageError(f"no migration or view is called '{name}'", hint=hint)
    return found


def _newest(given: PictureInput) -> Shown:
    """Return the newest migrations, where people work, with the views that they open or whose windows they open or close."""
    newest = {Node(NodeKind.MIGRATION, name) for name in given.order[-NEWEST:]}
    # A project may have more views than migrations, or nothing but views.
    newest |= {
        Node(NodeKind.VIEW, name) for name in list(given.graph.views)[len(newest) - NEWEST :] if len(newest) < NEWEST
    }
    beside = {
        node
        for edge in given.graph.edges()
        if edge.kind not in {EdgeKind.REQUIRES, EdgeKind.USES, EdgeKind.READS}
        for node, other in ((edge.before, edge.after), (edge.after, edge.before))
        if other in newest
    }
    beside -= newest
    if len(beside) > NEWEST:
        beside = set(sorted(beside, key=_declared_in(given))[-NEWEST:])
    return Shown(frozenset(newest | beside) & frozenset(given.states), "the newest")


def _declared_in(given: PictureInput) -> Callable[[Node], tuple[int, Node]]:
    """Return the key that sorts views as they are declared, behind nodes of other kinds."""
    places = {Node(NodeKind.VIEW, name): place for place, name in enumerate(given.graph.views)}
    return lambda node: (places.get(node, -1), node)
