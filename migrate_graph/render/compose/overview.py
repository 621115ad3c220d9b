"""The overview of a large graph: one box per module, with counts, and how often modules wait for each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from migrate_graph.core.graph import EdgeKind, Node, NodeKind
from migrate_graph.core.states import GRAVITY, NodeState, State
from migrate_graph.messages import counted
from migrate_graph.redaction import one_line
from migrate_graph.render import PictureOptions
from migrate_graph.render.compose.node_choice import Shown
from migrate_graph.render.labels import safe, wrapped
from migrate_graph.render.picture import Link, Picture, PictureEdge, PictureInput, PictureNode, Question
from migrate_graph.render.style import TIMES, EdgeState

UNDECLARED = "not in the code"
"""The module of names that nothing declares."""


def overview(given: PictureInput, options: PictureOptions, asked: Shown | None = None) -> Picture:
    """Compose the picture of modules.

    Args:
        given: what is drawn.
        options: title.
        asked: the nodes that count; None for all.
    """
    nodes_of = asked.nodes if asked else frozenset(given.states)
    modules = {node: _module_of(node, given) for node in given.states if node in nodes_of}
    members: dict[str, list[tuple[Node, NodeState]]] = defaultdict(list)
    for node, module in modules.items():
        members[module].append((node, given.states[node]))
    nodes = tuple(_box(module, members[module]) for module in _in_order(members, given.order))
    edges = _edges(given, modules)
    total = f"{len(modules):,} of {len(given.states):,}" if asked else f"{len(modules):,}"
    of = f": {one_line(asked.how)}" if asked else ""
    arrows = f"; {TIMES}n: an arrow stands for so many" if edges else ""
    return Picture(
        question=Question.GRAPH,
        title=one_line(options.title),
        subtitle=f"{counted(len(nodes), 'module')}, {total} migrations and views{of}{arrows}",
        nodes=nodes,
        edges=edges,
        links=tuple(Link(edge.before, edge.after, edge.kind, count=edge.count) for edge in edges),
        left_to_right=True,
        total=len(nodes),
        shown=len(nodes),
    )


def _in_order(members: Mapping[str, Iterable[tuple[Node, NodeState]]], order: Sequence[str]) -> list[str]:
    """Sort modules by their first migration in the order of the run; those without a migration come last, by name."""
    places = {Node(NodeKind.MIGRATION, name): place for place, name in enumerate(order)}
    firsts = {module: min(places.get(node, len(places)) for node, _ in found) for module, found in members.items()}
    return sorted(firsts, key=lambda module: (firsts[module], module))


def _module_of(node: Node, given: PictureInput) -> str:
    declared = given.declared(node)
    return declared.module or "<no file>" if declared else UNDECLARED


def _box(module: str, members: list[tuple[Node, NodeState]]) -> PictureNode:
    counts = Counter((node.kind, known.state) for node, known in members)
    gravest = min((known.state for _, known in members), key=GRAVITY.index)
    notes = []
    for kind in (NodeKind.MIGRATION, NodeKind.VIEW):
        total = sum(number for (of_kind, _), number in counts.items() if of_kind is kind)
        notes += [counted(total, str(kind))] if total else []
    notes += [
        f"{number} {state}"
        for state in GRAVITY
        if state is not State.DECLARED and (number := sum(counts[kind, state] for kind in NodeKind))
    ]
    name = one_line(module)
    return PictureNode(
        key=f"f.{safe(module)}",
        name=name,
        kind="module",
        state=gravest,
        label=wrapped(name),
        notes=tuple(notes),
        module=name,
        details=(("members", ", ".join(one_line(node.name) for node, _ in members)),),
    )


def _edges(given: PictureInput, modules: Mapping[Node, str]) -> tuple[PictureEdge, ...]:
    """Count the edges between modules, each kind by itself."""
    counts: Counter[tuple[str, str, EdgeKind]] = Counter()
    for edge in given.graph.edges():
        before, after = modules.get(edge.before), modules.get(edge.after)
        if before and after and before != after and edge.kind is not EdgeKind.TOUCHES:
            counts[f"f.{safe(before)}", f"f.{safe(after)}", edge.kind] += 1
    return tuple(
        PictureEdge(before, after, kind, EdgeState.LIVE, (kind,), count)
        for (before, after, kind), count in sorted(counts.items())
    )
