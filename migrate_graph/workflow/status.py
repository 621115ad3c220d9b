"""Read the status of a project: the state of each migration and view, and who holds the lock."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from migrate_graph.core.events import LockHolder
from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.model import View
from migrate_graph.core.states import NodeState, State
from migrate_graph.core.timeline import overdue_views
from migrate_graph.user_files import SourceLocation
from migrate_graph.workflow.assessment import Assessment, assess
from migrate_graph.workflow.project import Project, Reading


class MigrationStatus(Struct, frozen=True):
    """One migration in one database.

    Attributes:
        name: name of the migration.
        known: its state.
        source: where it is declared; None for an orphan.
    """

    name: str
    known: NodeState
    source: SourceLocation | None = None

    @property
    def detail(self) -> str:
        """What the migration waits for; the error of its last attempt, or who wrote its record by hand and why."""
        waits_for = f"waits for {', '.join(self.known.waits_for)}" if self.known.waits_for else ""
        return "; ".join(each for each in (waits_for, self.known.error or self.known.remark) if each)


class ViewStatus(Struct, frozen=True):
    """One view in one database.

    Attributes:
        view: the declared view.
        known: its state.
        down: it was taken down and not brought up again.
        retired: its `until` is applied.
        left_over: relations that it created and that still exist, although it is retired.
        unfilled: its materialized views that are without their rows, and wait for a refresh.
        missing: relations that it created and that do not exist any more.
        altered: relations whose definition was changed by somebody else.
        unknown: relations that are locked by another session, so that they cannot be checked without waiting.
        renewed_by: the pending migration that will bring it up again; empty: none.
        overdue: it was never created although its window is open; a later run creates it.
    """

    view: View
    known: NodeState
    down: bool
    retired: bool = False
    left_over: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    renewed_by: str = ""
    overdue: bool = False


class StatusReport(Struct, frozen=True):
    """Everything that `status` shows.

    Attributes:
        migrations: the migrations in the order of the graph, then orphans.
        views: the views in order of declaration.
        reading: what the database remembers, and who holds the lock.
        note: why nothing was read of the database, or what `apply` would refuse; empty: there is nothing to say.
        is_refused: `apply` would refuse the database.
    """

    migrations: tuple[MigrationStatus, ...]
    views: tuple[ViewStatus, ...]
    reading: Reading
    note: str = ""
    is_refused: bool = False

    @property
    def lock_holder(self) -> LockHolder | None:
        """Who holds the lock of the database now."""
        return self.reading.lock_holder

    def count(self, status: State) -> int:
        """Return how many migrations have this status."""
        return sum(each.known.state is status for each in self.migrations)


def read_status(project: Project, reading: Reading) -> StatusReport:
    """Return the state of every migration and view."""
    found = assess(project, reading)
    overdue = overdue_views(found.graph, reading.history)
    return StatusReport(
        migrations=tuple(
            _migration_status(project, node.name, known)
            for node, known in found.states.items()
            if node.kind is NodeKind.MIGRATION
            and (known.recorded or known.attempt or node.name in found.graph.migrations)
        ),
        views=tuple(_view_status(found, view, overdue) for view in found.graph.views.values()),
        reading=reading,
        note=found.note,
        is_refused=found.refusal is not None,
    )


def _migration_status(project: Project, name: str, known: NodeState) -> MigrationStatus:
    migration = project.graph.migrations.get(name)
    return MigrationStatus(name, known, migration.source if migration else None)


def _view_status(found: Assessment, view: View, overdue: Collection[str]) -> ViewStatus:
    known = found.states[Node(NodeKind.VIEW, view.name)]
    reading = found.reading
    made = reading.presences.get(view.name) if known.applied else None  # a closed view cannot be missing
    retired = view.until in reading.history.applied
    old = reading.presences.get(view.name) if retired and not known.applied else None
    return ViewStatus(
        view=view,
        known=known,
        down=any(stored.manager == view.name for stored in reading.history.views_down),
        unfilled=tuple(each.relation for each in reading.history.views_unfilled if each.manager == view.name),
        retired=retired,
        left_over=old.there if old is not None and old.is_recorded else (),
        missing=made.missing if made else (),
        altered=made.changed if made else (),
        unknown=made.unknown if made else (),
        renewed_by=found.planned.steps[known.brought_up[0] - 1].migration.name if known.brought_up else "",
        overdue=view.name in overdue,
    )
