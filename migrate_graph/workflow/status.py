"""Read the status of a project: each migration and view as it stands, and who is at work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from migrate_graph.core.events import LockHolder
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.model import View
from migrate_graph.core.states import NodeState, State
from migrate_graph.user_files import SourceLocation
from migrate_graph.workflow.assessment import Assessment, assess
from migrate_graph.workflow.project import Project, Reading


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
        edited=known.changed,
        renewed_by=found.planned.steps[known.brought_up[0] - 1].migration.name if known.brought_up else "",
    )
