"""What is known of every node: its state and the few words under its name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from migrate_graph.core.graph import EdgeKind, Node, NodeKind
from migrate_graph.core.history import Status
from migrate_graph.core.model import View
from migrate_graph.core.plan import Plan
from migrate_graph.core.rules import Severity
from migrate_graph.render.labels import COLUMNS
from migrate_graph.render.picture import About
from migrate_graph.render.style import State

# Which rule finds an unknown name at the open end of an edge.
_UNKNOWN_CODES = {
    EdgeKind.REQUIRES: "MG102",
    EdgeKind.USES: "MG201",
    EdgeKind.REPLACES: "MG201",
    EdgeKind.SINCE: "MG203",
    EdgeKind.UNTIL: "MG204",
}
_STUCK = {State.FAILED, State.INTERRUPTED, State.BLOCKED, State.ORPHAN, State.CYCLE}


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one node.

    Attributes:
        state: see `State`.
        notes: the words under its name.
        place: its place in the run, from 1; 0 when it does not run.
        codes: of the rules that found something wrong with it.
    """

    state: State
    notes: tuple[str, ...] = ()
    place: int = 0
    codes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Known:
    """What several nodes are judged by, gathered once."""

    about: About
    applied: AbstractSet[str]
    statuses: Mapping[str, Status]
    places: Mapping[str, int]
    blocked: Mapping[str, tuple[str, ...]]
    interrupted: AbstractSet[str]
    rings: AbstractSet[Node]
    codes: Mapping[str, tuple[str, ...]]
    views: _ViewChanges


@dataclass(slots=True)
class _ViewChanges:
    """What the steps of a plan do to views."""

    created: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    rebuilt: set[str] = field(default_factory=set)


def facts_of(about: About) -> dict[Node, Fact]:
    """Return what is known of every declared node, every unknown name that something refers to, and every orphan of the ledger."""
    known = _gather(about)
    facts = {Node(NodeKind.MIGRATION, name): _migration_fact(name, known) for name in about.graph.migrations}
    facts |= {
        node: Fact(State.ORPHAN, (f"unknown · {code}",), codes=(code,)) for node, code in _unknown_nodes(about).items()
    }
    for name in orphans_of(about):
        node = Node(NodeKind.MIGRATION, name)
        needed = facts.get(node)
        facts[node] = Fact(State.ORPHAN, ("not in code",), codes=(*(needed.codes if needed else ()), "MG401"))
    facts |= {Node(NodeKind.VIEW, name): _view_fact(view, known, facts) for name, view in about.graph.views.items()}
    return facts


def ring_edges(about: About) -> frozenset[tuple[Node, Node]]:
    """Return the pairs of neighbours on the rings of the graph."""
    kinds = {
        EdgeKind.REQUIRES: NodeKind.MIGRATION,
        EdgeKind.USES: NodeKind.VIEW,
        EdgeKind.REPLACES: NodeKind.VIEW,
    }
    return frozenset(
        (Node(kind, before), Node(kind, after))
        for edge_kind, kind in kinds.items()
        for ring in about.graph.cycles(edge_kind)
        for before, after in zip(ring, (*ring[1:], ring[0]), strict=True)
    )


def orphans_of(about: About) -> tuple[str, ...]:
    """Return the names that the ledger has and nothing declares, sorted."""
    if about.plan is not None:
        return about.plan.orphans
    if about.history is None:
        return ()
    return about.graph.orphans(about.history)


def _unknown_nodes(about: About) -> dict[Node, str]:
    """Return the names that edges refer to and nothing declares, each with the code of the rule that says so."""
    declared = {NodeKind.MIGRATION: about.graph.migrations, NodeKind.VIEW: about.graph.views}
    return {
        node: _UNKNOWN_CODES.get(edge.kind, "MG208")
        for edge in about.graph.edges()
        for node in (edge.before, edge.after)
        if node.name not in declared[node.kind]
    }


def _gather(about: About) -> _Known:
    plan, history = about.plan, about.history
    if plan is not None:
        applied: AbstractSet[str] = frozenset(plan.applied)
    else:
        applied = history.applied if history else frozenset()
    codes: dict[str, list[str]] = defaultdict(list)
    for finding in about.findings:
        if finding.severity in {Severity.ERROR, Severity.WARNING} and finding.code not in codes[finding.subject]:
            codes[finding.subject].append(finding.code)
    return _Known(
        about=about,
        applied=applied,
        statuses=history.statuses() if history else {},
        places={step.migration.name: place for place, step in enumerate(plan.steps, 1)} if plan else {},
        blocked={blocked.migration.name: blocked.by for blocked in plan.blocked} if plan else {},
        interrupted=frozenset(plan.interrupted) if plan else frozenset(),
        rings=frozenset(node for pair in ring_edges(about) for node in pair),
        codes={subject: tuple(found) for subject, found in codes.items()},
        views=_view_changes(plan) if plan else _ViewChanges(),
    )


def _view_changes(plan: Plan) -> _ViewChanges:
    changes = _ViewChanges()
    for step in plan.steps:
        changes.created.update(step.creates)
        changes.retired.update(step.retires)
        changes.rebuilt.update(step.views_down, step.views_up)
    changes.rebuilt -= changes.created | changes.retired
    return changes


def _migration_fact(name: str, known: _Known) -> Fact:
    state, words = _migration_state(name, known)
    codes = known.codes.get(name, ())
    if state is State.CYCLE:
        codes = ("MG101", *(code for code in codes if code != "MG101"))
    return Fact(state, _with_codes(words, codes), known.places.get(name, 0), codes)


def _migration_state(name: str, known: _Known) -> tuple[State, tuple[str, ...]]:
    """Judge one migration: what needs a human first, then what the plan says, then what the database says."""
    status, place = known.statuses.get(name), known.places.get(name)
    if Node(NodeKind.MIGRATION, name) in known.rings:
        return State.CYCLE, ("CYCLE",)
    if name in known.interrupted or status is Status.INTERRUPTED:
        return State.INTERRUPTED, ("interrupted",)
    if name in known.applied:
        return State.APPLIED, ()
    if status is Status.FAILED:
        return State.FAILED, (f"FAILED, again as #{place}" if place else "FAILED",)
    return (State.BLOCKED, ("blocked",)) if name in known.blocked else _waiting_state(place, known.about)


def _waiting_state(place: int | None, about: About) -> tuple[State, tuple[str, ...]]:
    """Judge a migration that has not run: by its place in the plan, or by there being no plan."""
    if place:
        return State.PENDING, (f"#{place} pending",)
    if about.plan is not None:
        return State.DECLARED, ("not asked for",)
    return (State.DECLARED, ()) if about.history is None else (State.PENDING, ("pending",))


def _view_fact(view: View, known: _Known, facts: Mapping[Node, Fact]) -> Fact:
    state, word = _view_state(view, known, facts)
    codes = known.codes.get(view.name, ())
    if state is State.CYCLE:
        codes = ("MG202", *(code for code in codes if code != "MG202"))
    note = f"view · {word}" if word else "view"
    return Fact(state, _with_codes((note,), codes), codes=codes)


def _view_state(view: View, known: _Known, facts: Mapping[Node, Fact]) -> tuple[State, str]:
    """Judge one view: its ring, then what the plan does to it, then whether it lives now."""
    if Node(NodeKind.VIEW, view.name) in known.rings:
        return State.CYCLE, "CYCLE"
    if known.about.plan is None and known.about.history is None:
        return State.DECLARED, ""
    word = _view_change(view.name, known.views)
    if word:
        return State.PENDING, word
    graph = known.about.graph
    if view.in_window(known.applied, running=None):
        successors = (graph.views[name] for name in graph.replaces.successors(view.name))
        replaced = any(successor.in_window(known.applied, running=None) for successor in successors)
        return (State.RETIRED, "retired") if replaced else (State.APPLIED, "")
    if view.until is not None and view.until in known.applied:
        return State.RETIRED, "retired"
    opener = facts.get(Node(NodeKind.MIGRATION, view.since or ""))
    return (State.BLOCKED, "blocked") if opener and opener.state in _STUCK else (State.DECLARED, "not yet")


def _view_change(name: str, changes: _ViewChanges) -> str:
    """Return what the plan does to a view, empty for nothing."""
    if name in changes.created:
        return "new, then retired" if name in changes.retired else "new"
    if name in changes.retired:
        return "retire"
    return "rebuild" if name in changes.rebuilt else ""


def _with_codes(words: tuple[str, ...], codes: tuple[str, ...]) -> tuple[str, ...]:
    """Add the codes of rules to the words: on their line while that stays short, else on a line of their own."""
    if not codes:
        return words
    together = " · ".join((*words, *codes))
    return (together,) if len(together) <= COLUMNS else (*words, " ".join(codes))
