"""What `with V(db)` does inside a run."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from migrate_graph.authoring import ViewMigrationManager
from migrate_graph.core.events import Observer
from migrate_graph.core.timeline import Timeline
from migrate_graph.executor import checkpoints
from migrate_graph.executor.checkpoints import Checkpoint

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.database import Work


class RunViews:
    """Opens view managers on the connection of one attempt.

    Attributes:
        work: the attempt's connection; set before the body starts.
        were_opened: a block was entered, so that what came up must be judged.
    """

    def __init__(self, graph: MigrationGraph, name: str, applied: AbstractSet[str], observer: Observer) -> None:
        self.work: Work
        self.were_opened = False
        self._graph = graph
        self._name = name
        self._applied = applied
        self._observer = observer

    def enter(self, manager: ViewMigrationManager) -> None:
        """Take down the manager's view and what depends on it, in one pass."""
        block = Timeline(self._graph).block(type(manager).__name__, applied=self._applied, running=self._name)
        instances: Mapping[str, ViewMigrationManager] = {
            name: manager if name == type(manager).__name__ else self._graph.views[name].manager(manager.db)
            for name in (*block.down, *block.up)
        }
        self.were_opened = True
        self.work.views.take_down(
            [instances[name] for name in block.down],
            [instances[name] for name in block.up],
            migration=self._name,
            observer=self._observer,
        )
        checkpoints.reached(Checkpoint.VIEWS_DOWN)

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:  # noqa: ARG002 - of ViewOpener
        """Bring up what this block took down, unless it failed."""
        if error is not None:
            self.work.views.abandon()
            return
        self.work.views.bring_up()
        checkpoints.reached(Checkpoint.VIEWS_UP)
