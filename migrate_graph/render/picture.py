"""What a picture holds, whatever its format: nodes, edges, clusters and words, without a layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.graph import Edge, EdgeKind, MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.model import Migration, View
from migrate_graph.core.rules.rule import Finding, Severity, quoted
from migrate_graph.core.states import State, States
from migrate_graph.render.style import EdgeState

if TYPE_CHECKING:
    from migrate_graph.core.plan import Plan


class Question(StrEnum):
    """What a picture answers."""

    PLAN = "plan"
    """What will change?"""
    GRAPH = "graph"
    """How is it built?"""
    CHECK = "check"
    """What is wrong?"""
    CHANGE = "change"
    """What is different since a revision?"""
    RUN = "run"
    """What did a run do, and how long did it take?"""


class PictureInput(Struct, frozen=True, dict=True):
    """What a picture is made from: what a command has assessed; nothing is judged or planned here.

    Attributes:
        graph: what is declared.
        states: what is known of each node.
        plan: what would run; None when nothing was planned.
        findings: what is wrong.
        ordering: how ties are broken where no plan tells the order.
        took: seconds that steps took before, where that is known.
        seen: edges that are not declared, but for which watched migrations give a reason.
    """

    graph: MigrationGraph
    states: States
    plan: Plan | None = None
    findings: tuple[Finding, ...] = ()
    ordering: Ordering = Ordering.LEGACY
    took: Mapping[str, float] = field(default_factory=dict)
    seen: tuple[Edge, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """Every declared migration in the order in which it runs."""
        return self.plan.order if self.plan and self.plan.order else self.graph.order(self.ordering)

    def declared(self, node: Node) -> Migration | View | None:
        """Return the declaration of a node; None when there is none."""
        if node.kind is NodeKind.MIGRATION:
            return self.graph.migrations.get(node.name)
        return self.graph.views.get(node.name)

    @cached_property
    def grave(self) -> tuple[Finding, ...]:
        """The errors and warnings among the findings."""
        return tuple(each for each in self.findings if each.severity in {Severity.ERROR, Severity.WARNING})

    @cached_property
    def accused(self) -> dict[Node, str]:
        """The nodes that errors and warnings are about, each with a sentence from its first finding."""
        found: dict[Node, str] = {}
        for finding in self.grave:
            if finding.code not in _OF_RINGS:  # for a ring, each member has the sentence about its own edge
                found.setdefault(finding.subject, finding.message)
            for related in finding.related:
                found.setdefault(related.subject, f"{quoted(related.subject.name)} {related.message}")
        return found

    @cached_property
    def severities(self) -> dict[Node, str]:
        """The severity of the worst finding about each node."""
        found: dict[Node, str] = {}
        for finding in self.grave:  # the worst first
            for node in (finding.subject, *(related.subject for related in finding.related)):
                found.setdefault(node, str(finding.severity))
        return found

    def at_rest(self) -> PictureInput:
        """Return the same without a plan: findings do not depend on what would run."""
        return replace(self, plan=None, states={node: known.at_rest for node, known in self.states.items()})

    @cached_property
    def codes(self) -> dict[Node, tuple[str, ...]]:
        """Codes of what is wrong with each node: it is the subject, or a member of a ring, or the unknown name itself."""
        found: dict[Node, dict[str, None]] = {}
        for finding in self.grave:
            ring = (each.subject for each in finding.related) if finding.code in _OF_RINGS else ()
            for node in (finding.subject, *ring):
                found.setdefault(node, {})[finding.code] = None
        for edge in self.graph.edges():
            for node, other in ((edge.before, edge.after), (edge.after, edge.before)):
                code = _OF_UNKNOWN_NAMES[edge.kind]
                if self.declared(node) is None and code in found.get(other, ()):
                    found.setdefault(node, {})[code] = None
        return {node: tuple(codes) for node, codes in found.items()}


_OF_RINGS = frozenset({"MG101", "MG202"})
_OF_UNKNOWN_NAMES = {
    EdgeKind.REQUIRES: "MG102",
    EdgeKind.USES: "MG201",
    EdgeKind.READS: "MG201",
    EdgeKind.REPLACES: "MG201",
    EdgeKind.SINCE: "MG203",
    EdgeKind.UNTIL: "MG204",
    EdgeKind.TOUCHES: "MG208",
}
"""The rule that finds an unknown name at the end of an edge."""


HAPPENINGS = frozenset({"creates", "rebuilds", "retires", "blocked by"})
"""Words of `PictureNode.details` that tell of a run rather than of the declaration."""


_NAMED = 6
"""How many names a line lists."""


def shortened(names: Sequence[str], *, most: int = _NAMED) -> str:
    """Return names as words; of many, the first ones and the number of the others."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most + 1 else ", ".join(names)


class PictureNode(Struct, frozen=True):
    """One box of a picture.

    Attributes:
        key: unique in the picture, safe in every format: letters, digits, `_`, `.`, `-` and `%`.
        name: as declared or recorded, made printable.
        kind: migration, view, module, or orphans (several in one box).
        state: see `State`.
        label: the name, broken into lines.
        notes: the words under the name.
        sentence: what went wrong with it, or is wrong with it; empty for nothing.
        accused: `error` or `warning` where the picture shows findings, and one is about this; else empty.
        module: the file that declares it; empty when nothing does.
        source: `file:line`; empty when nothing declares it.
        description: first line of its docstring.
        link: URL of its source; empty without one.
        place: in the run, from 1; 0 when it does not run.
        details: more to be shown on demand: pairs of a word and a text.
    """

    key: str
    name: str
    kind: str
    state: State
    label: tuple[str, ...]
    notes: tuple[str, ...] = ()
    sentence: str = ""
    accused: str = ""
    module: str = ""
    source: str = ""
    description: str = ""
    link: str = ""
    place: int = 0
    details: tuple[tuple[str, str], ...] = ()

    @property
    def happenings(self) -> tuple[str, ...]:
        """What it does to views, or what blocks it, in words: the part of the details that a report on a run shows."""
        return tuple(f"{word} {shortened(text.split(', '))}" for word, text in self.details if word in HAPPENINGS)

    @property
    def tooltip(self) -> str:
        """Full name, what is known of it, place and docstring, one to a line."""
        lines = (self.name, ", ".join((self.kind, *self.notes)) if self.notes else f"{self.kind}, {self.state}")
        return "\n".join(line for line in (*lines, self.sentence, self.source, self.description) if line)


class PictureEdge(Struct, frozen=True):
    """One arrow of a picture, from what comes first to what comes after.

    Attributes:
        before: key of the first.
        after: key of the second.
        kind: the strongest reason.
        state: see `EdgeState`.
        kinds: all reasons between these two.
        count: how many edges it stands for (module overview).
    """

    before: str
    after: str
    kind: EdgeKind
    state: EdgeState = EdgeState.LIVE
    kinds: tuple[EdgeKind, ...] = ()
    count: int = 1


class Link(Struct, frozen=True):
    """One edge of the graph, drawn or not.

    Attributes:
        before: key of the first.
        after: key of the second.
        kind: why.
        implied: other requirements say the same, so it is not drawn.
        ring: it closes a cycle.
        count: how many edges it stands for (module overview).
    """

    before: str
    after: str
    kind: EdgeKind
    implied: bool = False
    ring: bool = False
    count: int = 1


class Cluster(Struct, frozen=True):
    """A frame around the nodes of one module.

    Attributes:
        label: the module.
        keys: of the nodes inside.
    """

    label: str
    keys: tuple[str, ...]


class Picture(Struct, frozen=True):
    """What is drawn.

    Attributes:
        question: what it answers.
        title: one line.
        subtitle: one line of counts, with what was left out.
        nodes: in drawing order: order of the graph, then views, then orphans.
        edges: arrows, sorted.
        links: every edge between the nodes, also those that are not drawn, sorted.
        clusters: frames; empty for none.
        left_to_right: direction of time; otherwise top to bottom.
        total: nodes there are, drawn or not.
        shown: nodes that are drawn; a box that stands for several counts as these.
        rest: composes the picture of everything; None where this one leaves nothing out. See `whole`.
    """

    question: Question
    title: str
    subtitle: str
    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    links: tuple[Link, ...]
    clusters: tuple[Cluster, ...] = ()
    left_to_right: bool = True
    total: int = 0
    shown: int = 0
    rest: Callable[[], Picture] | None = None

    @property
    def whole(self) -> Picture | None:
        """The picture of everything; None where this one leaves nothing out. It is composed here, because few formats show it."""
        return self.rest() if self.rest else None
