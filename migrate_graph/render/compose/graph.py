"""Compose the picture that answers a question: choose the nodes, say what is known of them, fold the rest into words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import quote

from migrate_graph.core.graph import EdgeKind, MigrationGraph, Node, NodeKind
from migrate_graph.core.history import History
from migrate_graph.core.model import Migration, View
from migrate_graph.core.plan import Plan
from migrate_graph.core.rules import Finding
from migrate_graph.errors import UsageError
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line
from migrate_graph.render.compose.details import Details
from migrate_graph.render.compose.node_choice import EVERYTHING_UP_TO, Shown, choose, touches_shown
from migrate_graph.render.compose.node_facts import Fact, facts_of, orphans_of, ring_edges
from migrate_graph.render.compose.overview import overview
from migrate_graph.render.labels import key_of, wrapped
from migrate_graph.render.layout.folding import runs_left_to_right
from migrate_graph.render.picture import (
    About,
    Cluster,
    Grouping,
    Link,
    Picture,
    PictureEdge,
    PictureNode,
    PictureOptions,
    Question,
)
from migrate_graph.render.style import EdgeState, State
from migrate_graph.user_files import SourceLocation

ORPHANS_ONE_BY_ONE = 3
"""More records of nothing than these are drawn as one box."""
STRENGTH = (EdgeKind.REQUIRES, EdgeKind.REPLACES, EdgeKind.SINCE, EdgeKind.UNTIL, EdgeKind.USES, EdgeKind.TOUCHES)
"""Of several reasons between one pair, the first of these is drawn."""
RING_KINDS = frozenset({EdgeKind.REQUIRES, EdgeKind.USES, EdgeKind.REPLACES})
_COUNTED = [state for state in State if state not in {State.DECLARED, State.ORPHAN}]
_SETTLED = frozenset({State.APPLIED, State.RETIRED})


def build_picture(
    question: Question | str,
    graph: MigrationGraph,
    plan: Plan | None = None,
    history: History | None = None,
    findings: Iterable[Finding] = (),
    *,
    options: PictureOptions | None = None,
) -> Picture:
    """Compose a picture of a graph, valid or not.

    Args:
        question: what will change, how is it built, or what is wrong.
        graph: what is declared.
        plan: what would run; None when nothing was planned.
        history: what the database remembers; None when none was asked, so that nothing is said of states.
        findings: what is wrong; their codes are written on the nodes.
        options: what the user asked for.

    Raises:
        UsageError: the focus names nothing that exists, or the link template is no URL that may be drawn.
    """
    options = options or PictureOptions()
    check_link_template(options.link_template)
    about = About(graph, plan, history, tuple(findings), options.ordering)
    facts = facts_of(about)
    if options.grouping is Grouping.MODULE:
        return overview(about, facts, options)
    question = Question(question)
    shown = choose(question, about, facts, options)
    composer = _Composer(about, facts, options, ring_edges(about), Details(about))
    picture = composer.compose(question, shown)
    if shown.whole:
        return picture
    return replace(picture, rest=cache(lambda: composer.compose(Question.GRAPH, Shown(frozenset(facts), whole=True))))


def check_link_template(template: str) -> None:
    """Refuse a template that is neither a web address, an editor's, nor a relative path.

    Raises:
        UsageError: it starts with another scheme (`javascript:`, say).
    """
    scheme = re.match(r"\s*([^/?#{]*?):", template)
    if scheme and scheme[1].lower() not in {"http", "https", "vscode", "file"}:
        hint = "use https://…/{file}#L{line}, vscode://file/{file}:{line} or a relative path"
        raise UsageError(f"a link template may not start with '{scheme[1]}:'", hint=hint)


@dataclass(slots=True)
class _Composer:
    """Turns nodes and edges of the graph into those of a picture."""

    about: About
    facts: Mapping[Node, Fact]
    options: PictureOptions
    rings: AbstractSet[tuple[Node, Node]]
    details: Details

    def compose(self, question: Question, shown: Shown) -> Picture:
        """Draw these nodes, in the order of the run."""
        earlier = {} if shown.whole else self._earlier(shown.nodes)
        gathered = self._gathered_orphans(shown.nodes)
        nodes = [self._node(node, earlier.get(node, 0)) for node in self._in_order(shown.nodes - gathered)]
        if gathered:
            nodes.append(_orphan_box(sorted(one_line(node.name) for node in gathered)))
        usual = not (shown.whole and question is Question.GRAPH)
        picture = Picture(
            question=question,
            title=one_line(self.options.title),
            subtitle=self._subtitle(shown),
            nodes=tuple(nodes),
            edges=tuple(self._edges(question, shown.nodes)),
            links=tuple(self._links(shown.nodes)),
            about=self.about,
            clusters=() if usual or self.options.grouping is Grouping.NONE else _clusters(nodes),
            left_to_right=usual,
            total=len(self.facts),
            shown=len(shown.nodes),
        )
        return replace(picture, left_to_right=runs_left_to_right(picture))

    def _in_order(self, shown: AbstractSet[Node]) -> list[Node]:
        """Sort: migrations as they run, then views as declared, then what nothing declares, by name."""
        order, views = self.about.order, self.about.graph.views
        places = {Node(NodeKind.MIGRATION, name): place for place, name in enumerate(order)}
        places |= {Node(NodeKind.VIEW, name): len(order) + place for place, name in enumerate(views)}
        return sorted(shown, key=lambda node: (places.get(node, len(places)), node))

    def _earlier(self, shown: AbstractSet[Node]) -> dict[Node, int]:
        """Count what is folded behind each node that has a requirement which is not drawn."""
        graph = self.about.graph
        drawn = {node.name for node in shown if node.kind is NodeKind.MIGRATION}
        cut = {after for before, after in graph.reduced_requires() if after in drawn and before not in drawn}
        return {Node(NodeKind.MIGRATION, name): len(graph.ancestors(name) - drawn) for name in cut}

    def _gathered_orphans(self, shown: AbstractSet[Node]) -> frozenset[Node]:
        """Return the records of nothing that go into one box: many, and nothing refers to them."""
        loose = {name for name in orphans_of(self.about) if name not in self.about.graph.requires}
        nodes = frozenset(node for node in shown if node.kind is NodeKind.MIGRATION and node.name in loose)
        return nodes if len(nodes) > ORPHANS_ONE_BY_ONE else frozenset()

    # Nodes --------------------------------------------------------------------------------------------------------------------

    def _node(self, node: Node, earlier: int) -> PictureNode:
        fact = self.facts[node]
        graph = self.about.graph
        declared: Migration | View | None = (graph.migrations if node.kind is NodeKind.MIGRATION else graph.views).get(
            node.name
        )
        name = one_line(node.name)
        return PictureNode(
            key=key_of(node),
            name=name,
            kind=str(node.kind),
            state=fact.state,
            label=wrapped(name, capitals=node.kind is NodeKind.VIEW),
            notes=(*fact.notes, f"… {earlier} earlier") if earlier else fact.notes,
            module=one_line(declared.module) if declared else "",
            source=one_line(str(declared.source)) if declared else "",
            description=one_line(declared.description.partition("\n")[0]) if declared else "",
            link=_link(self.options.link_template, declared.source) if declared else "",
            place=fact.place,
            details=self.details.of(node),
        )

    def _edges(self, question: Question, shown: AbstractSet[Node]) -> list[PictureEdge]:
        """Return the edges between drawn nodes: of each pair the strongest, without requirements that others imply."""
        implied = self.about.graph.redundant_requires
        touching = touches_shown(self.about, question, count=len(shown))
        kinds: dict[tuple[Node, Node], list[EdgeKind]] = defaultdict(list)
        for edge in self.about.graph.edges():
            if edge.before not in shown or edge.after not in shown:
                continue
            if edge.kind is EdgeKind.REQUIRES and (edge.before.name, edge.after.name) in implied:
                continue
            if edge.kind is EdgeKind.TOUCHES and edge.before.name not in touching:
                continue
            kinds[edge.before, edge.after].append(edge.kind)
        drawn = (
            PictureEdge(
                before=key_of(before),
                after=key_of(after),
                kind=min(found, key=STRENGTH.index),
                state=self._edge_state(before, after, found),
                kinds=tuple(sorted(found, key=STRENGTH.index)),
            )
            for (before, after), found in kinds.items()
        )
        return sorted(drawn, key=lambda edge: (edge.before, edge.after))

    def _links(self, shown: AbstractSet[Node]) -> Iterator[Link]:
        """Yield every edge between drawn nodes."""
        implied = self.about.graph.redundant_requires
        for edge in self.about.graph.edges():
            if edge.before in shown and edge.after in shown:
                said = edge.kind is EdgeKind.REQUIRES and (edge.before.name, edge.after.name) in implied
                ring = edge.kind in RING_KINDS and (edge.before, edge.after) in self.rings
                yield Link(key_of(edge.before), key_of(edge.after), edge.kind, implied=said, ring=ring)

    def _edge_state(self, before: Node, after: Node, kinds: Sequence[EdgeKind]) -> EdgeState:
        if (before, after) in self.rings and RING_KINDS & set(kinds):
            return EdgeState.CYCLE
        settled = self.facts[before].state in _SETTLED and self.facts[after].state in _SETTLED
        return EdgeState.OLD if settled else EdgeState.LIVE

    def _subtitle(self, shown: Shown) -> str:
        """Count what there is, and say what is left out and how to see it."""
        counts = Counter(fact.state for node, fact in self.facts.items() if node.kind is NodeKind.MIGRATION)
        unknown = sum(fact.state is State.ORPHAN for fact in self.facts.values())
        words = {State.CYCLE: "in a cycle"}
        states = [f"{counts[state]} {words.get(state, state)}" for state in _COUNTED if counts[state]]
        text = counted(len(self.about.graph.migrations), "migration") + (f" ({', '.join(states)})" if states else "")
        text += f", {counted(len(self.about.graph.views), 'view')}" if self.about.graph.views else ""
        text += f", {unknown} not in the code" if unknown else ""
        if shown.whole:
            return text
        return f"{text} · {len(shown.nodes)} of {len(self.facts)} shown: {one_line(shown.how)} (--all shows everything)"


def _clusters(nodes: Sequence[PictureNode]) -> tuple[Cluster, ...]:
    """Frame the modules, where there are few enough to help and enough nodes to need it."""
    modules: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        if node.module:
            modules[node.module].append(node.key)
    if not (12 <= len(nodes) <= EVERYTHING_UP_TO and 2 <= len(modules) <= 6):
        return ()
    return tuple(Cluster(module, tuple(keys)) for module, keys in modules.items())


def _link(template: str, source: SourceLocation) -> str:
    """Fill in the link template; only the two known places are filled, other braces stay."""
    filled = template.replace("{file}", quote(source.path, safe="/:@~")).replace("{line}", str(source.line))
    return one_line(filled)


def _orphan_box(names: Sequence[str]) -> PictureNode:
    """Draw many records of nothing as one box: the first names, and how many more."""
    named, rest = names[:ORPHANS_ONE_BY_ONE], len(names) - ORPHANS_ONE_BY_ONE
    return PictureNode(
        key="o.records",
        name=f"{len(names)} records not in the code",
        kind="orphans",
        state=State.ORPHAN,
        label=(f"{len(names)} not in code:",),
        notes=(*(line for name in named for line in wrapped(name)), f"+ {rest} more", "MG401"),
        details=(("names", ", ".join(names)),),
    )
