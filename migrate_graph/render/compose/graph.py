"""Compose the picture that answers a question: choose the nodes, label them, and sum up in words what is left out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.graph import Edge, EdgeKind, Node, NodeKind
from migrate_graph.core.rules.rule import Severity, quoted
from migrate_graph.core.states import NodeState, State
from migrate_graph.errors import UsageError
from migrate_graph.messages import counted, lasting
from migrate_graph.redaction import one_line
from migrate_graph.render import Grouping, PictureOptions
from migrate_graph.render.compose.boxes import arrows, box, is_implied, is_ring, links
from migrate_graph.render.compose.node_choice import EVERYTHING_UP_TO, Shown, asked_for, choose, touches_shown
from migrate_graph.render.compose.notes import Details, notes_of, notes_of_footprint, notes_of_step
from migrate_graph.render.compose.overview import overview
from migrate_graph.render.labels import wrapped
from migrate_graph.render.layout.shape import runs_left_to_right
from migrate_graph.render.picture import Cluster, Picture, PictureInput, PictureNode, Question
from migrate_graph.render.style import EdgeState

ORPHANS_ONE_BY_ONE = 3
"""If there are more records without a declaration than this, they are drawn as one box."""
_COUNTED = [state for state in State if state not in {State.DECLARED, State.ORPHAN}]
_SETTLED = frozenset({State.APPLIED, State.RETIRED})


def build_picture(question: Question | str, given: PictureInput, options: PictureOptions | None = None) -> Picture:
    """Compose a picture of a graph, valid or not.

    Args:
        question: what will change, how is it built, or what is wrong.
        given: what is drawn; the codes of its findings are written on the nodes.
        options: what the user asked for.

    Raises:
        UsageError: the focus names nothing that exists, or the link template is no URL that may be drawn.
    """
    options = options or PictureOptions()
    check_link_template(options.link_template)
    if options.grouping is Grouping.MODULE:
        return overview(given, options, asked_for(given, options))
    question = Question(question)
    if question is Question.CHECK:
        given = given.at_rest()
    shown = choose(question, given, options)
    composer = _Composer(question, given, options, Details(given))
    picture = composer.compose(question, shown)
    if shown.whole:
        return picture
    everything = Shown(frozenset(given.states), whole=True)
    return replace(picture, rest=cache(lambda: composer.compose(Question.GRAPH, everything)))


def check_link_template(template: str) -> None:
    """Refuse a template that is neither a web address, an editor's, nor a relative path.

    Raises:
        UsageError: it starts with another scheme (`javascript:`, say).
    """
    scheme = re.match(r"\s*([^/?#{]*?):", template)
    if scheme and scheme[1].lower() not in {"http", "https", "vscode", "file"}:
        hint = "use https://…/{file}#L{line}, vscode://file/{file}:{line} or a relative path"
        raise UsageError(f"a link template may not start with '{scheme[1]}:'", hint=hint)


class _Composer(Struct):
    """Turns nodes and edges of the graph into those of a picture."""

    question: Question
    given: PictureInput
    options: PictureOptions
    details: Details

    def compose(self, question: Question, shown: Shown) -> Picture:
        """Draw these nodes, in the order of the run."""
        earlier = {} if shown.whole else self._earlier(shown.nodes)
        gathered = self._gathered_orphans(shown.nodes)
        nodes = [self._node(node, earlier.get(node, 0)) for node in self._in_order(shown.nodes - gathered)]
        if gathered:
            nodes.append(_orphan_box(gathered, self.given))
        usual = not (shown.whole and question is Question.GRAPH)
        picture = Picture(
            question=question,
            title=one_line(self.options.title),
            subtitle=self._subtitle(shown),
            nodes=tuple(nodes),
            edges=tuple(arrows(self._drawn_edges(question, shown.nodes), self._edge_state)),
            links=tuple(links(self._edges(shown.nodes), self.given.graph)),
            clusters=() if usual or self.options.grouping is Grouping.NONE else _clusters(nodes),
            left_to_right=usual,
            total=len(self.given.states),
            shown=len(shown.nodes),
        )
        return replace(picture, left_to_right=runs_left_to_right(picture))

    def _in_order(self, shown: AbstractSet[Node]) -> list[Node]:
        """Sort: migrations as they run, then views as declared, then what nothing declares, by name."""
        order, views = self.given.order, self.given.graph.views
        places = {Node(NodeKind.MIGRATION, name): place for place, name in enumerate(order)}
        places |= {Node(NodeKind.VIEW, name): len(order) + place for place, name in enumerate(views)}
        return sorted(shown, key=lambda node: (places.get(node, len(places)), node))

    def _earlier(self, shown: AbstractSet[Node]) -> dict[Node, int]:
        """Count the ancestors that are not drawn, for each drawn migration with a requirement that is not drawn."""
        graph = self.given.graph
        drawn = {node.name for node in shown if node.kind is NodeKind.MIGRATION}
        cut = {after for before, after in graph.reduced_requires() if after in drawn and before not in drawn}
        return {Node(NodeKind.MIGRATION, name): len(graph.ancestors(name) - drawn) for name in cut}

    def _gathered_orphans(self, shown: AbstractSet[Node]) -> frozenset[Node]:
        """Return the records without a declaration that go into one box: nothing refers to them, and they are many."""
        nodes = frozenset(
            node
            for node in shown
            if node.kind is NodeKind.MIGRATION
            and self.given.states[node].state is State.ORPHAN
            and node.name not in self.given.graph.requires
        )
        return nodes if len(nodes) > ORPHANS_ONE_BY_ONE else frozenset()

    # Nodes --------------------------------------------------------------------------------------------------------------------

    def _node(self, node: Node, earlier: int) -> PictureNode:
        known = self.given.states[node]
        notes = notes_of(node, known, self.given.codes.get(node, ()))
        step = self.given.plan.step_of(node.name) if self.given.plan and node.kind is NodeKind.MIGRATION else None
        if step and self.question is Question.PLAN:
            took = self.given.took.get(node.name)
            notes = (
                *notes,
                *([] if took is None else [f"took {lasting(took)}"]),
                *notes_of_step(step),
                *notes_of_footprint(step),
            )
        return box(
            node,
            self.given.declared(node),
            state=known.state,
            notes=(*notes, f"… {earlier} earlier") if earlier else notes,
            sentence=self._sentence(node, known),
            accused=self.given.severities.get(node, "") if self.question is Question.CHECK else "",
            place=known.place,
            details=self.details.of(node),
            link_template=self.options.link_template,
        )

    def _sentence(self, node: Node, known: NodeState) -> str:
        """Return the error of the last attempt; else, in a picture of findings, what a finding says."""
        accused = self.given.accused.get(node, "") if self.question is Question.CHECK else ""
        return known.error or accused.removeprefix(f"{quoted(node.name)} ").removeprefix(f"view {quoted(node.name)} ")

    def _edges(self, shown: AbstractSet[Node]) -> Iterator[Edge]:
        """Yield every edge between drawn nodes."""
        known = chain(self.given.graph.edges(), self.given.seen)
        return (edge for edge in known if edge.before in shown and edge.after in shown)

    def _drawn_edges(self, question: Question, shown: AbstractSet[Node]) -> Iterator[Edge]:
        """Yield the edges that are drawn: no requirement that others imply, and only the `touches` that matter now."""
        touching = touches_shown(self.given, question, count=len(shown))
        for edge in self._edges(shown):
            old = edge.kind is EdgeKind.TOUCHES and edge.before.name not in touching
            if not old and not is_implied(edge, self.given.graph):
                yield self._as_used(edge, shown) if edge.kind in {EdgeKind.USES, EdgeKind.READS} else edge

    def _as_used(self, edge: Edge, shown: AbstractSet[Node]) -> Edge:
        """Return an edge of `uses` from the version that is really read: the last successor of the view that `uses` names."""
        if is_ring(edge, self.given.graph) or self.given.states[edge.after].replaced_by:
            return edge
        versions = [edge.before]
        while successor := self._successor(versions[-1]):
            if successor in versions:  # a ring of versions has no last one
                return edge
            versions.append(successor)
        last = versions[-1]
        return replace(edge, before=last) if last in shown and last != edge.after else edge

    def _successor(self, view: Node) -> Node | None:
        """Return the version that a view is handed over to by the plan, or that lives in its place."""
        known = self.given.states[view]
        name = (known.heir if self.given.plan else None) or known.replaced_by
        return Node(NodeKind.VIEW, name) if name else None

    def _edge_state(self, before: Node, after: Node, edges: Sequence[Edge]) -> EdgeState:
        if any(is_ring(edge, self.given.graph) for edge in edges):
            return EdgeState.CYCLE
        states = self.given.states
        return EdgeState.OLD if {states[before].state, states[after].state} <= _SETTLED else EdgeState.LIVE

    def _subtitle(self, shown: Shown) -> str:
        """Count what there is, say what is left out and how to see it, and end with the answer."""
        plan = self.given.plan
        parts = [self._counts()]
        if not shown.whole:
            more = "" if self.question is Question.CHECK else " (--all shows everything)"
            number = f"{len(shown.nodes):,} of {len(self.given.states):,}"
            parts.append(f"{number} shown: {one_line(shown.how)}{more}")
        if self.question is Question.PLAN and plan and plan.steps:
            parts.append(plan.summary)
        if self.question is Question.CHECK:
            parts.append(_told_findings(self.given))
        return " · ".join(parts)

    def _counts(self) -> str:
        states = self.given.states
        counts = Counter(known.state for node, known in states.items() if node.kind is NodeKind.MIGRATION)
        words = {State.CYCLE: "in a cycle"}
        told = [f"{counts[state]:,} {words.get(state, state)}" for state in _COUNTED if counts[state]]
        migrations = counted(len(self.given.graph.migrations), "migration") + (f" ({', '.join(told)})" if told else "")
        views = counted(len(self.given.graph.views), "view") if self.given.graph.views else ""
        unknown = sum(known.state is State.ORPHAN for known in states.values())
        return ", ".join(filter(None, (migrations, views, f"{unknown:,} not in the code" if unknown else "")))


def _told_findings(given: PictureInput) -> str:
    counts = Counter(finding.severity for finding in given.findings)
    nouns = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
    return ", ".join(counted(counts[each], noun) for each, noun in nouns.items() if counts[each]) or "nothing wrong"


def _clusters(nodes: Sequence[PictureNode]) -> tuple[Cluster, ...]:
    """Return a frame for each module, where there are enough nodes to need frames and few enough modules for frames to help."""
    modules: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if node.module:
            modules[node.module].append(node.key)
    if not (12 <= len(nodes) <= EVERYTHING_UP_TO and 2 <= len(modules) <= 6):
        return ()
    return tuple(Cluster(module, tuple(keys)) for module, keys in modules.items())


def _orphan_box(gathered: AbstractSet[Node], given: PictureInput) -> PictureNode:
    """Return one box for many records without a declaration: the first names, and how many more."""
    names = sorted(one_line(node.name) for node in gathered)
    codes = {code: None for node in sorted(gathered) for code in given.codes.get(node, ())}
    named, rest = names[:ORPHANS_ONE_BY_ONE], len(names) - ORPHANS_ONE_BY_ONE
    return PictureNode(
        key="o.records",
        name=f"{len(names)} records not in the code",
        kind="orphans",
        state=State.ORPHAN,
        label=(f"{len(names)} not in code:",),
        notes=(*(line for name in named for line in wrapped(name)), f"+ {rest} more", *codes),
        details=(("names", ", ".join(names)),),
    )
