"""Look: status, why, show, log, and where each setting came from; values for a command to show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx

from migrate_graph.core.events import LockHolder
from migrate_graph.core.graph import EdgeKind, MigrationGraph, Node, NodeKind, Ordering
from migrate_graph.core.history import Attempt
from migrate_graph.core.model import Migration, View, same_fingerprint
from migrate_graph.core.states import NodeState, State
from migrate_graph.errors import UsageError
from migrate_graph.redaction import redact
from migrate_graph.user_files import SourceLocation
from migrate_graph.workflow.assessment import Assessment, assess
from migrate_graph.workflow.project import Project, Reading, require_name, unknown_name

if TYPE_CHECKING:
    from migrate_graph.config import Config, Setting


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration in one database.

    Attributes:
        name: of it.
        status: what is known of it.
        when: it was applied or last tried; None when never.
        duration: seconds of the last attempt; None when unknown.
        commits: own commits that a failed or interrupted attempt left behind.
        detail: the error of the last attempt, or what it waits for.
        late: pending, but ordered before something applied.
        changed: its source differs from the one that was applied.
        source: where it is declared; None for an orphan.
    """

    name: str
    status: State
    when: datetime | None = None
    duration: float | None = None
    commits: int = 0
    detail: str = ""
    late: bool = False
    changed: bool = False
    source: SourceLocation | None = None


@dataclass(frozen=True, slots=True)
class ViewState:
    """One view in one database.

    Attributes:
        name: of its manager.
        state: what is known of it; a view that the plan will change is what it is now.
        lives: its window is open now and no successor has taken over.
        down: it was taken down and not brought back.
        view: what is declared.
        retired: its `until` is applied.
        replaced_by: the successor that lives in its place; None without one.
        missing: relations it made that are not in the database.
        changed: relations whose definition was changed by somebody else.
        unknown: relations that somebody has locked, so that nobody can look without waiting.
        edited: its text does something else than when it was made.
        renewed_by: the pending migration that will bring the new text in; empty when none will.
    """

    name: str
    state: State
    lives: bool
    down: bool
    view: View
    retired: bool = False
    replaced_by: str | None = None
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    edited: bool = False
    renewed_by: str = ""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Everything `status` shows.

    Attributes:
        migrations: in the order of the graph; orphans after them.
        views: in order of declaration.
        reading: what the database remembers, and who is at work on it.
    """

    migrations: tuple[MigrationState, ...]
    views: tuple[ViewState, ...]
    reading: Reading

    @property
    def lock_holder(self) -> LockHolder | None:
        """Who is at work on the database just now."""
        return self.reading.lock_holder

    def count(self, status: State) -> int:
        """Return how many migrations have this status."""
        return sum(state.status is status for state in self.migrations)


def read_status(project: Project, reading: Reading) -> StatusReport:
    """Return what is known of every migration and view."""
    found = assess(project, reading)
    return StatusReport(
        migrations=tuple(
            _migration_state(project, node.name, known)
            for node, known in found.states.items()
            if node.kind is NodeKind.MIGRATION
            and (known.recorded or known.attempt or node.name in found.graph.migrations)
        ),
        views=tuple(_view_state(found, view) for view in found.graph.views.values()),
        reading=reading,
    )


def _migration_state(project: Project, name: str, known: NodeState) -> MigrationState:
    migration = project.graph.migrations.get(name)
    waits_for = f"waits for {', '.join(known.waits_for)}" if known.waits_for else ""
    return MigrationState(
        name=name,
        status=known.state,
        when=known.when,
        duration=known.duration,
        commits=known.commits,
        detail="; ".join(each for each in (waits_for, known.error or known.remark) if each),
        late=known.late,
        changed=known.changed,
        source=migration.source if migration else None,
    )


def _view_state(found: Assessment, view: View) -> ViewState:
    known = found.states[Node(NodeKind.VIEW, view.name)]
    reading = found.reading
    made = reading.presences.get(view.name) if known.applied else None  # what lives no longer is not missed
    return ViewState(
        name=view.name,
        state=known.now,
        lives=known.applied,
        down=any(stored.manager == view.name for stored in reading.history.views_down),
        view=view,
        retired=view.until in reading.history.applied,
        replaced_by=known.replaced_by,
        missing=made.missing if made else (),
        changed=made.changed if made else (),
        unknown=made.unknown if made else (),
        edited=bool(made and made.text and view.fingerprint and not same_fingerprint(made.text, view.fingerprint)),
        renewed_by=next((step.migration.name for step in found.planned.steps if view.name in step.views.up), ""),
    )


# -- show and log ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """One migration or view, with its neighbours and its past.

    Attributes:
        node: what it is.
        declared: the migration or the view.
        state: of a migration; None for a view.
        view_state: of a view; None for a migration.
        requires: what must come first: requirements of a migration, used views of a view.
        dependents: what needs it directly.
        touches: views a migration opens, or migrations that open a view.
        attempts: of a migration, oldest first.
    """

    node: Node
    declared: Migration | View
    state: MigrationState | None
    view_state: ViewState | None
    requires: tuple[str, ...]
    dependents: tuple[str, ...]
    touches: tuple[str, ...]
    attempts: tuple[Attempt, ...]


def show(project: Project, reading: Reading, name: str) -> tuple[Shown, ...]:
    """Return everything known of a name: a migration, a view, or one of each.

    Raises:
        UsageError: nothing is called so.
    """
    require_name(project, name)
    graph, report = project.graph, read_status(project, reading)
    found = []
    if migration := graph.migrations.get(name):
        found.append(
            Shown(
                node=Node(NodeKind.MIGRATION, name),
                declared=migration,
                state=next(state for state in report.migrations if state.name == name),
                view_state=None,
                requires=migration.requires,
                dependents=_successors(graph.requires, name),
                touches=migration.touches,
                attempts=log(reading, name),
            )
        )
    if view := graph.views.get(name):
        found.append(
            Shown(
                node=Node(NodeKind.VIEW, name),
                declared=view,
                state=None,
                view_state=next(state for state in report.views if state.name == name),
                requires=view.uses,
                dependents=_successors(graph.uses, name),
                touches=graph.touched_by(name),
                attempts=(),
            )
        )
    return tuple(found)


def _successors(digraph: nx.DiGraph[str], name: str) -> tuple[str, ...]:
    return tuple(sorted(digraph.successors(name))) if name in digraph else ()


def log(reading: Reading, name: str | None = None) -> tuple[Attempt, ...]:
    """Return the attempts, oldest first: all of them, or those of one migration."""
    return tuple(attempt for attempt in reading.history.attempts if name is None or attempt.name == name)


def log_of(project: Project, reading: Reading, name: str | None) -> tuple[Attempt, ...]:
    """Return the attempts of a migration that is declared, or that the database remembers.

    Raises:
        UsageError: neither knows the name.
    """
    attempts = log(reading, name)
    if (
        name is not None
        and not attempts
        and name not in reading.history.records
        and name not in project.graph.migrations
    ):
        raise unknown_name(project, name)
    return attempts


# -- why -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Why:
    """Why something stands where it stands.

    Attributes:
        name: what is asked about.
        position: its place in the order, counted from 1; None for a view.
        waits_for: requirements not implied by others.
        waited_for_by: what needs it directly.
        ancestors: how many must run before it in all.
        descendants: how many must run after it in all.
        touches: views it opens (a migration), or migrations that open it (a view).
        earlier: what it is compared with: it stands before the other.
        later: see `earlier`.
        path: edges from the earlier to the later, when the graph orders them.
        tie_break: sentences that tell which rule decided, when the graph does not.
    """

    name: str
    position: int | None
    waits_for: tuple[str, ...]
    waited_for_by: tuple[str, ...]
    ancestors: int
    descendants: int
    touches: tuple[str, ...]
    earlier: str = ""
    later: str = ""
    path: tuple[tuple[Node, EdgeKind, Node], ...] = ()
    tie_break: tuple[str, ...] = ()


def why(project: Project, name: str, *, before: str | None = None) -> Why:
    """Return why a migration or view stands where it stands, or why it stands before (or after) another.

    Without `before` a migration is compared with the one that runs just ahead of it.

    Raises:
        UsageError: nothing is called so, or the two cannot be compared.
    """
    require_name(project, name)
    if before is not None:
        require_name(project, before)
        if before == name:
            raise UsageError(f"'{name}' is not before itself", hint="name two different migrations or views")
    graph = project.graph
    if name not in graph.migrations:
        return _why_view(project, name, before)
    order = graph.order(project.ordering)
    at = order.index(name)
    reduced = dict.fromkeys(first for first, second in graph.reduced_requires() if second == name)
    earlier, later = _pair(order, at, before)
    path, tie_break = _compare(project, earlier, later)
    return Why(
        name=name,
        position=at + 1,
        waits_for=tuple(reduced),
        waited_for_by=_successors(graph.requires, name),
        ancestors=len(graph.ancestors(name)),
        descendants=len(graph.descendants(name)),
        touches=graph.migrations[name].touches,
        earlier=earlier,
        later=later,
        path=path,
        tie_break=tie_break,
    )


def _why_view(project: Project, name: str, before: str | None) -> Why:
    graph = project.graph
    users = graph.uses
    path: tuple[tuple[Node, EdgeKind, Node], ...] = ()
    earlier = later = ""
    if before is not None:
        earlier, later = name, before
        path = _path(graph, earlier, later)
        if not path:
            earlier, later = before, name
            path = _path(graph, earlier, later)
    return Why(
        name=name,
        position=None,
        waits_for=graph.views[name].uses,
        waited_for_by=_successors(users, name),
        ancestors=len(nx.ancestors(users, name)) if name in users else 0,
        descendants=len(nx.descendants(users, name)) if name in users else 0,
        touches=graph.touched_by(name),
        earlier=earlier,
        later=later,
        path=path,
        tie_break=() if path or before is None else (f"nothing orders '{name}' and '{before}'",),
    )


def _pair(order: tuple[str, ...], at: int, other: str | None) -> tuple[str, str]:
    name = order[at]
    if other is None:
        return (order[at - 1], name) if at else ("", name)
    if other not in order:
        return name, other
    return (name, other) if at < order.index(other) else (other, name)


def _compare(
    project: Project, earlier: str, later: str
) -> tuple[tuple[tuple[Node, EdgeKind, Node], ...], tuple[str, ...]]:
    if not earlier:
        return (), ("it is the first: nothing that could run has a smaller place",)
    path = _path(project.graph, earlier, later)
    if path:
        return path, ()
    if later not in project.graph.migrations or earlier not in project.graph.migrations:
        return (), (f"nothing orders '{earlier}' and '{later}'",)
    return (), tuple(_tie_break(project, earlier, later))


def _path(graph: MigrationGraph, earlier: str, later: str) -> tuple[tuple[Node, EdgeKind, Node], ...]:
    """Return the shortest path of edges; `touches` joins but does not order, so it is not walked."""
    whole: nx.DiGraph[Node] = nx.DiGraph()
    for edge in graph.edges():
        if edge.kind is not EdgeKind.TOUCHES:
            whole.add_edge(edge.before, edge.after, kind=edge.kind)
    for start in (Node(kind, earlier) for kind in NodeKind):
        for end in (Node(kind, later) for kind in NodeKind):
            if start in whole and end in whole and nx.has_path(whole, start, end):
                nodes = nx.shortest_path(whole, start, end)
                return tuple((one, whole.edges[one, two]["kind"], two) for one, two in pairwise(nodes))
    return ()


def _tie_break(project: Project, earlier: str, later: str) -> Iterator[str]:
    """Tell, sentence by sentence, why the order has one before the other although no edge says so."""
    graph = project.graph
    if later in graph.unsortable:
        yield f"'{later}' stands on or behind a ring of requirements and has no place in the order: migrate check"
        return
    place = {name: at for at, name in enumerate(graph.order(project.ordering))}
    # The later one may not have been able to run yet: follow what it waited for back to what could.
    while True:
        waited = [name for name in graph.migrations[later].requires if place.get(name, -1) > place[earlier]]
        if not waited:
            break
        holding = max(waited, key=place.__getitem__)
        yield f"'{later}' waits for '{holding}', which stands after '{earlier}'"
        later = holding
    yield f"both could run, nothing orders '{earlier}' and '{later}': {_decider(project, earlier, later)}"


def _decider(project: Project, earlier: str, later: str) -> str:
    first, second = project.graph.migrations[earlier], project.graph.migrations[later]
    if bool(first.requires) != bool(second.requires):
        return f"'{earlier}' has requirements and '{later}' has none; what has some is pulled up to right after them"
    if project.ordering is Ordering.INTERTWINED and first.sequence != second.sequence:
        numbers = " < ".join(_sequence_text(each) for each in (first, second))
        return f"the smaller trailing number goes first ({numbers})"
    places = f"{first.source} before {second.source}"
    return f"it is declared earlier ({places}: {first.position + 1} < {second.position + 1} in order of declaration)"


def _sequence_text(migration: Migration) -> str:
    first, second = migration.sequence or (0, 0)
    return f"{first}_{second:03}" if migration.sequence else "no number"


# -- config ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting.

    Attributes:
        name: as in pyproject.toml.
        value: as text, without secrets.
        source: where it came from.
    """

    name: str
    value: str
    source: str


def settings_of(config: Config) -> tuple[SettingRow, ...]:
    """Return every setting, with its value and where it came from."""
    sources = config.sources
    return tuple(
        SettingRow(setting.name, _text_of(config, setting), str(sources[setting.name])) for setting in config.settings()
    )


def _text_of(config: Config, setting: Setting) -> str:
    if setting.name == "migrate_uri" and not config.has_database:
        return "(not set)"
    value = config.shown(setting)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(each) for each in value)
    return "" if value is None else redact(str(value))
