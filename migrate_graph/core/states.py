"""The state of each migration and view, and the one table of words and signs for states."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.graph import MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.history import Attempt, AttemptState, History
from migrate_graph.core.model import Migration, View, same_fingerprint
from migrate_graph.core.timeline import Moment, Timeline

if TYPE_CHECKING:
    from migrate_graph.core.plan import Plan


class State(StrEnum):
    """What is known of a migration or a view."""

    DECLARED = "declared"
    """Only declared: no database was read, or the plan was not asked for it."""
    APPLIED = "applied"
    """The ledger has it as installed; of a view: it lives."""
    PENDING = "pending"
    """It has not run."""
    REVERTED = "reverted"
    """It was applied and undone; the next run applies it again."""
    FAILED = "failed"
    """The last attempt failed; the next run tries it again."""
    INTERRUPTED = "interrupted"
    """Some of its work is durable and it does not run again before a human has decided."""
    RUNNING = "running"
    """Somebody who holds the lock is at work on it."""
    BLOCKED = "blocked"
    """Something that it requires cannot run; of a view: the migration that opens its window cannot run."""
    DOWN = "down"
    """A view that was taken down and did not come back."""
    ORPHAN = "orphan"
    """Named by something, or recorded, and declared nowhere."""
    CYCLE = "cycle"
    """Part of a ring: none of its members can come first."""
    RETIRED = "retired"
    """A view whose window has closed, or whose successor lives in its place."""
    REBUILT = "rebuilt"
    """A view that the plan takes down and brings up again."""
    ADDED = "added"
    """A view that the plan creates; in a comparison with a revision: it is not in that revision."""
    CHANGED = "changed"
    """In a comparison with a revision: it is in both, and differs."""
    REMOVED = "removed"
    """A view that the plan retires; in a comparison with a revision: it is only in that revision."""


class Wording(Struct, frozen=True):
    """How a state is shown, in a terminal and in pictures.

    Attributes:
        glyph: stands before the name; each state has its own.
        ascii: stands before the name where only ASCII can be shown; each state has its own.
        tone: `good`, `info`, `warning`, `error` or `muted`: decides its colour.
        legend: what it means.
        is_asked_for: a migration of a database can have this state, so `state:` can select it.
    """

    glyph: str
    ascii: str
    tone: str
    legend: str
    is_asked_for: bool = False


WORDINGS: Final[Mapping[State, Wording]] = {
    # The most serious first: a box that stands for several nodes shows the first state in this table that one of them has.
    State.FAILED: Wording("✗", "x", "error", "failed", is_asked_for=True),
    State.INTERRUPTED: Wording("!", "!", "error", "interrupted: a human must decide", is_asked_for=True),
    State.DOWN: Wording("↓", "v", "error", "taken down, and not brought back"),
    State.CYCLE: Wording("↻", "@", "error", "in a cycle", is_asked_for=True),
    State.ORPHAN: Wording("?", "?", "warning", "named, but not in the code", is_asked_for=True),
    State.BLOCKED: Wording("⊘", "%", "warning", "blocked by another", is_asked_for=True),
    State.RUNNING: Wording("»", "=", "info", "running now", is_asked_for=True),
    State.REVERTED: Wording("↶", "<", "info", "was reverted: will change again", is_asked_for=True),
    State.PENDING: Wording("▶", ">", "info", "will change (#n = place in the run)", is_asked_for=True),
    State.DECLARED: Wording("○", "o", "info", "declared"),
    State.APPLIED: Wording("✓", "*", "good", "applied", is_asked_for=True),
    State.RETIRED: Wording("–", ".", "muted", "retired view"),  # noqa: RUF001 - an en dash: wider than a hyphen, read as "no longer"
    State.REBUILT: Wording("~", "~", "info", "rebuilt"),
    State.ADDED: Wording("+", "+", "good", "new"),
    State.CHANGED: Wording("~", "~", "warning", "changed"),
    State.REMOVED: Wording("-", "-", "error", "retired or removed"),
}
GRAVITY: Final = tuple(WORDINGS)
"""The states, the most serious first."""
STUCK: Final = frozenset({State.FAILED, State.INTERRUPTED, State.DOWN, State.CYCLE, State.ORPHAN, State.BLOCKED})
"""States that need somebody's attention: the run does not go on here by itself, or something is wrong."""
RUNNABLE: Final = frozenset({State.PENDING, State.FAILED, State.REVERTED})
"""States of migrations that the next run runs."""


class ViewChange(StrEnum):
    """What a plan does to a view."""

    NEW = "new"
    REBUILT = "rebuild"
    RETIRED = "retire"
    HANDED_OVER = "hand over"
    """It retires, and its successor comes up in the same step."""
    PASSING = "new, then retired"

    @property
    def state(self) -> State:
        """The state of the view where a plan is shown."""
        if self is ViewChange.REBUILT:
            return State.REBUILT
        return State.ADDED if self is ViewChange.NEW else State.REMOVED


class NodeState(Struct, frozen=True):
    """What is known of one migration or view.

    Attributes:
        state: see `State`.
        applied: the ledger has it as installed; of a view: it lives.
        place: in the run, from 1; 0 when it does not run.
        asked: false when it is pending and the plan was not asked for it.
        waits_for: what keeps it from running: requirements that cannot run; of a view, the migration that opens it.
        late: not applied, but ordered before something that is.
        code: the migration as it is declared now; only of one that is applied.
        edited: of a view that lives: its text has changed since it was created.
        commits: commits of its own that failed or interrupted attempts left in the database.
        attempt: the last attempt, or the entry that somebody wrote by hand after it (`mark`, `resolve`).
        when: the time when it was applied or last tried; None when never.
        recorded: the ledger has a row for it.
        fingerprint: of the code that was last accepted for it, by a run or by hand; empty when unknown.
        replaced_by: of a view: the successor that lives in its place.
        heir: of a view: the successor that the plan hands it over to.
        before: of a view that the plan changes: its state before the plan runs.
        change: of a view: what the plan does to it.
        taken_down: of a view: places of the steps that take it down.
        brought_up: of a view: places of the steps that bring it up.
    """

    state: State
    applied: bool = False
    place: int = 0
    asked: bool = True
    waits_for: tuple[str, ...] = ()
    late: bool = False
    code: Migration | None = None
    edited: bool = False
    commits: int = 0
    attempt: Attempt | None = None
    when: datetime | None = None
    recorded: bool = False
    fingerprint: str = ""
    replaced_by: str | None = None
    heir: str | None = None
    before: State | None = None
    change: ViewChange | None = None
    taken_down: tuple[int, ...] = ()
    brought_up: tuple[int, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether its code has changed since it was applied, or, of a view, created. This reads the source text of a migration."""
        return self.edited or (
            self.code is not None and not same_fingerprint(self.fingerprint, self.code.facts.fingerprint)
        )

    @property
    def now(self) -> State:
        """Its state before the plan runs; `state` of a view that the plan changes tells what the plan does."""
        return self.before if self.before is not None else self.state

    @property
    def at_rest(self) -> NodeState:
        """The same without a plan: what is pending or blocked is only declared."""
        state = State.DECLARED if self.now in {State.PENDING, State.BLOCKED} else self.now
        return replace(self, state=state, before=None, place=0, waits_for=(), change=None, taken_down=(), brought_up=())

    @property
    def error(self) -> str:
        """What went wrong in the last attempt; empty when it went well, or when somebody has decided about it since."""
        return self.attempt.error if self.attempt and self.attempt.was_run and not self.applied else ""

    @property
    def remark(self) -> str:
        """Who wrote the record by hand, and why; empty when it ran."""
        return self.attempt.error if self.attempt and not self.attempt.was_run else ""

    @property
    def duration(self) -> float | None:
        """Seconds of the last attempt; None when unknown."""
        return self.attempt.duration if self.attempt else None


States = Mapping[Node, NodeState]


def states_of(graph: MigrationGraph, history: History | None = None, plan: Plan | None = None) -> dict[Node, NodeState]:
    """Return what is known of every declared node, every unknown name that something refers to, and every orphan.

    Args:
        graph: what is declared.
        history: what the database remembers; None when no database was read: then only the graph counts.
        plan: what would run; None when nothing is planned.
    """
    standing = standing_of(graph, history) if plan is None else plan.standing
    states = {node: _planned(node, known, plan) for node, known in standing.items()} if plan else dict(standing)
    if history is None and plan is None:
        views: Iterator[tuple[str, NodeState]] = ((name, NodeState(State.DECLARED)) for name in graph.views)
    else:
        views = _views(graph, history or History(), plan, states)
    states |= {Node(NodeKind.VIEW, name): known for name, known in views}
    for node in {node for pair in graph.ring_edges for node in pair}:
        states[node] = replace(states[node], state=State.CYCLE)
    return states | dict.fromkeys(_unknown(graph, states), NodeState(State.ORPHAN))


def _unknown(graph: MigrationGraph, states: States) -> list[Node]:
    """Return what edges refer to and `states` does not hold, in the order of sorted edges; they are sorted only if there is any."""
    found = {node for edge in graph.edges_as_declared() for node in (edge.before, edge.after) if node not in states}
    if not found:
        return []
    return [node for edge in graph.edges() for node in (edge.before, edge.after) if node in found]


def edited_views(graph: MigrationGraph, history: History) -> frozenset[str]:
    """Return the living views whose text does something else than when they were created."""
    moment = Timeline(graph).moment(applied=history.applied)
    return frozenset(
        name
        for name, then in history.view_texts.items()
        if name in graph.views and moment.active(name) and not same_fingerprint(then, graph.views[name].fingerprint)
    )


def standing_of(
    graph: MigrationGraph,
    history: History | None,
    *,
    ordering: Ordering = Ordering.LEGACY,
    stop_on_partial: bool = False,
    at_work: bool = False,
    running: Collection[str] = (),
) -> dict[Node, NodeState]:
    """Return the state of every migration and every orphan before anything is planned; plans are made from these.

    Args:
        graph: what is declared.
        history: what the database remembers; None when no database was read.
        ordering: how ties are broken: which migrations are late depends on it.
        stop_on_partial: a failed migration that kept own commits needs a decision, like an interrupted one.
        at_work: somebody else holds the lock; then the newest attempt, if it has no end, is running.
        running: the migrations that are known to run now; empty when that is not known.
    """
    if history is None:
        return {Node(NodeKind.MIGRATION, name): NodeState(State.DECLARED) for name in graph.migrations}
    last = history.attempts[-1] if at_work and history.attempts else None
    newest = {last.name} if last and last.is_open else frozenset()
    busy_with = frozenset(running) or frozenset(newest)
    return dict(_Judge(graph, history, stop_on_partial=stop_on_partial, busy_with=busy_with).migrations(ordering))


class _Judge:
    """Judges migrations by what the database remembers."""

    def __init__(
        self, graph: MigrationGraph, history: History, *, stop_on_partial: bool, busy_with: AbstractSet[str]
    ) -> None:
        self._graph = graph
        self._history = history
        self._half_undone = history.half_undone()
        self._applied = history.applied - self._half_undone
        self._attempts = history.last_attempts()
        self._kept = _kept_commits(history)
        # Of the code that was last applied. A record that somebody writes by hand accepts the code of that moment.
        self._fingerprints = {
            attempt.name: attempt.fingerprint
            for attempt in history.attempts
            if attempt.state is AttemptState.APPLIED or not attempt.was_run
        }
        self._stop_on_partial = stop_on_partial
        self._busy_with = busy_with

    def migrations(self, ordering: Ordering) -> Iterator[tuple[Node, NodeState]]:
        """Yield the state of each declared migration in their order, then of each orphan."""
        order = self._graph.order(ordering)
        last_applied = max((place for place, name in enumerate(order) if name in self._applied), default=-1)
        met = set(self._applied)
        for place, name in enumerate(order):
            known = self._of(self._graph.migrations[name], met, late=place < last_applied)
            if known.state in RUNNABLE:
                met.add(name)
            yield Node(NodeKind.MIGRATION, name), known
        unfinished = {name for name, attempt in self._attempts.items() if attempt.is_open} | self._half_undone
        for name in sorted(unfinished.union(self._graph.orphans(self._history)).difference(order)):
            state = State.INTERRUPTED if name in unfinished - self._applied else State.ORPHAN
            yield Node(NodeKind.MIGRATION, name), self._known(name, state)

    def _of(self, migration: Migration, met: AbstractSet[str], *, late: bool) -> NodeState:
        """Judge one migration, given what is applied or can run before it.

        As in 2.1.0 a requirement is met when the ledger says so, whether or not it is still declared.
        """
        name = migration.name
        if name in self._applied:
            return self._known(name, State.APPLIED, code=migration)
        known = replace(self._known(name, self._remembered(migration)), late=late)
        if known.state in {State.INTERRUPTED, State.RUNNING}:
            return known
        # Nothing on or behind a cycle runs, even where an applied migration breaks the ring: there is no order among them.
        stuck = self._graph.unsortable if name in self._graph.unsortable else frozenset()
        waits_for = tuple(before for before in migration.requires if before not in met or before in stuck)
        return replace(known, state=State.BLOCKED, waits_for=waits_for) if waits_for else known

    def _remembered(self, migration: Migration) -> State:
        """Return the state of a migration that is not applied, from its record and its last attempt.

        A resumable migration whose body was cut off needs no decision: it is run again.
        """
        name = migration.name
        if name in self._busy_with:
            return State.RUNNING
        attempt = self._attempts.get(name)
        state = attempt.state if attempt else None
        if name in self._half_undone or (state is AttemptState.RUNNING and not migration.resumable):
            return State.INTERRUPTED
        if state is AttemptState.RUNNING:
            return State.PENDING
        if attempt and (state is AttemptState.REVERTED or not attempt.was_run):
            return State.REVERTED if attempt.was_run else State.PENDING
        if state is AttemptState.FAILED or name in self._history.records:
            stops = self._stop_on_partial and self._kept.get(name) and not migration.resumable
            return State.INTERRUPTED if stops else State.FAILED
        return State.PENDING

    def _known(self, name: str, state: State, *, code: Migration | None = None) -> NodeState:
        record, attempt = self._history.records.get(name), self._attempts.get(name)
        tried = (attempt.finished or attempt.started) if attempt else None
        return NodeState(
            state,
            applied=name in self._applied,
            commits=0 if name in self._applied else self._kept.get(name, 0),
            attempt=attempt,
            when=tried or (record.updated if record else None),
            recorded=record is not None,
            fingerprint=self._fingerprints.get(name, ""),
            code=code,
        )


def _kept_commits(history: History) -> dict[str, int]:
    """Return how many own commits of failed or unfinished attempts each migration has left since one ended well or was decided."""
    kept: dict[str, int] = {}
    for attempt in history.attempts:
        unsettled = attempt.is_open or attempt.state in {AttemptState.FAILED, AttemptState.REVERT_FAILED}
        kept[attempt.name] = kept.get(attempt.name, 0) + attempt.commits if unsettled else 0
    return kept


def _planned(node: Node, known: NodeState, plan: Plan) -> NodeState:
    """Add what a plan does with a migration."""
    asked = node.name not in plan.not_asked
    if not asked and known.state in {State.PENDING, State.BLOCKED}:
        return replace(known, state=State.DECLARED, asked=False)
    return replace(known, place=plan.places.get(node.name, 0), asked=asked)


def _views(
    graph: MigrationGraph, history: History, plan: Plan | None, migrations: States
) -> Iterator[tuple[str, NodeState]]:
    """Yield the state of every view: whether it was left down, else what the plan does to it, else whether it lives now."""
    moment = Timeline(graph).moment(applied=history.applied)
    down = {stored.manager for stored in history.views_down}
    verbs = _Verbs(plan)
    edited = edited_views(graph, history) if history.view_texts else ()
    for name, view in graph.views.items():
        known = replace(
            _now(view, moment, history.applied, migrations),
            edited=name in edited,
            change=verbs.change_of(name),
            taken_down=verbs.taken_down.get(name, ()),
            brought_up=verbs.brought_up.get(name, ()),
            heir=verbs.heirs.get(name),
        )
        if name in down:
            known = replace(known, state=State.DOWN)
        elif known.change:
            known = replace(known, state=known.change.state, before=known.state)
        yield name, known


def _now(view: View, moment: Moment, applied: AbstractSet[str], migrations: States) -> NodeState:
    """Judge whether a view lives, and if not, why."""
    successor = moment.active_version(view.name)
    if moment.in_window(view.name):
        if successor == view.name:
            return NodeState(State.APPLIED, applied=True)
        return NodeState(State.RETIRED, replaced_by=successor)
    if view.until is not None and view.until in applied:
        return NodeState(State.RETIRED)
    opener = migrations.get(Node(NodeKind.MIGRATION, view.since or ""))
    if opener is None or opener.state in STUCK:
        return NodeState(State.BLOCKED, waits_for=(view.since or "",))
    return NodeState(State.DECLARED, waits_for=(view.since or "",))


class _Verbs:
    """What the steps of a plan do to each view, and at which places."""

    def __init__(self, plan: Plan | None) -> None:
        self.taken_down: dict[str, tuple[int, ...]] = {}
        self.brought_up: dict[str, tuple[int, ...]] = {}
        self.heirs: dict[str, str] = {}
        self._new: set[str] = set()
        self._retired: set[str] = set()
        for place, step in enumerate(plan.steps if plan else (), 1):
            for name in dict.fromkeys((*step.views.down, *step.views.retired)):
                self.taken_down[name] = (*self.taken_down.get(name, ()), place)
            for name in step.views.up:
                self.brought_up[name] = (*self.brought_up.get(name, ()), place)
            self._new.update(step.views.new)
            self._retired.update(step.views.retired)
            self.heirs |= dict(step.views.handed_over)

    def change_of(self, name: str) -> ViewChange | None:
        """Return what the plan as a whole does to a view."""
        if name in self._new:
            return ViewChange.PASSING if name in self._retired else ViewChange.NEW
        if name in self._retired:
            return ViewChange.HANDED_OVER if name in self.heirs else ViewChange.RETIRED
        return ViewChange.REBUILT if name in self.taken_down or name in self.brought_up else None
