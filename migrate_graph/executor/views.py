"""What `with V(db)` does inside a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from migrate_graph.authoring import ViewMigrationManager, declared_at
from migrate_graph.authoring.views import all_managers, relatives_of
from migrate_graph.core.events import Observer, Warned
from migrate_graph.core.graph import build_graph
from migrate_graph.core.timeline import Timeline
from migrate_graph.errors import UsageError
from migrate_graph.executor import checkpoints
from migrate_graph.executor.checkpoints import Checkpoint

if TYPE_CHECKING:
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.model import View
    from migrate_graph.core.timeline import Moment, ViewBlock
    from migrate_graph.database import Work


@lru_cache(maxsize=1)
def _timeline(graph: MigrationGraph) -> Timeline:
    """Return the views over time; the migrations of a run share what is looked up in it."""
    return Timeline(graph)


@lru_cache(maxsize=1)
def _managers_of(graph: MigrationGraph) -> frozenset[type | None]:
    """Return the classes that the views of a graph were declared by."""
    return frozenset(view.manager for view in graph.views.values())


class _Fingerprints(Mapping[str, str]):
    """Fingerprints of the texts of managers, by name; only those that somebody asks for are looked up."""

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = views

    def __getitem__(self, name: str) -> str:
        return self._views[name].fingerprint

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


class RunViews:
    """Opens view managers on the connection of one attempt.

    Args:
        graph: what is declared.
        name: of the migration.
        observer: told what goes down and comes up.
        foreseen: the managers that it may open; None for any.

    Attributes:
        work: the attempt's connection; set before the body starts.
        were_opened: a block was entered, so that what came up must be judged.
    """

    def __init__(
        self, graph: MigrationGraph, name: str, observer: Observer, *, foreseen: AbstractSet[str] | None = None
    ) -> None:
        self.work: Work
        self.were_opened = False
        self._graph = graph
        self._name = name
        self._applied: AbstractSet[str] | None = None
        self._observer = observer
        self._moment: Moment | None = None
        self._managers = _managers_of(graph)
        self._foreseen = foreseen

    def read_applied(self) -> AbstractSet[str]:
        """Return which names are installed, as the transaction of the migration sees them when this is asked for the first time."""
        if self._applied is None:
            self._applied = self.work.read_applied() - {self._name}
        return self._applied

    def enter(self, manager: ViewMigrationManager) -> None:
        """Take down the manager's view and what depends on it, in one pass."""
        self._require_foreseen(type(manager).__name__)
        self._add_undeclared(type(manager))
        name = type(manager).__name__
        self._open([name], {name: manager}, manager.db)

    def _block(self, names: Sequence[str]) -> tuple[ViewBlock, Moment]:
        """Return what opening managers takes down and brings up, and the views as they are then."""
        moment = self._moment = self._moment or _timeline(self._graph).moment(
            applied=self.read_applied(), running=self._name
        )
        return moment.block(names), moment

    def _open(self, names: Sequence[str], given: Mapping[str, ViewMigrationManager], db: Any) -> None:
        block, moment = self._block(names)
        instances: Mapping[str, ViewMigrationManager] = {
            name: given[name] if name in given else self._graph.views[name].manager(db)
            for name in (*block.down, *block.up)
        }
        self.were_opened = True
        self.work.views.take_down(
            [instances[name] for name in block.down],
            [instances[name] for name in block.up],
            migration=self._name,
            observer=self._observer,
            texts=_Fingerprints(self._graph.views),
            used=lambda: [self._graph.views[name].manager(db) for name in moment.used_by(block.up)],
        )
        checkpoints.reached(Checkpoint.VIEWS_DOWN)

    def _require_foreseen(self, name: str) -> None:
        """Refuse a view of which nobody knew when it was judged what may run beside this migration.

        Raises:
            UsageError: with how to say so.
        """
        if self._foreseen is not None and name not in self._foreseen:
            raise UsageError(
                f"{self._name} opens the view {name}, which its text does not show, while others run beside it (--jobs)",
                hint=f"declare it, @migration(views=[{name}]), or apply it without --jobs",
            )

    def _add_undeclared(self, kind: type[ViewMigrationManager]) -> None:
        """Add managers that were not declared when the files were loaded: from a late import, or made by the body.

        Raises:
            UsageError: another manager has the name of this one; neither may be passed over.
        """
        declared = self._graph.views
        managers = self._managers
        if managers.issuperset(all_managers()):  # the common case, and no class is asked what it uses
            return
        strangers = [each for each in relatives_of(kind) if each not in managers]
        for each in strangers[:]:
            known = declared.get(each.__name__)
            if known is not None and declared_at(known.manager) == declared_at(each):  # its file was executed again
                strangers.remove(each)
            elif known is not None:
                raise UsageError(
                    f"two view managers are called {each.__name__}: {declared_at(known.manager)} and {declared_at(each)}",
                    hint="rename one of them",
                )
        if strangers:
            names = ", ".join(f"{each.__name__} ({declared_at(each)})" for each in strangers)
            self._observer(
                Warned(
                    f"not declared while the files were loaded, so nothing could be checked about: {names}",
                    "import them at the top of the migrations file",
                )
            )
            views = tuple(each.as_view(position=len(declared) + at) for at, each in enumerate(strangers))
            self._graph = build_graph(replace(self._graph.registry, views=(*self._graph.registry.views, *views)))
            self._managers, self._moment = managers.union(strangers), None

    def leave(self, manager: ViewMigrationManager, error: BaseException | None) -> None:  # noqa: ARG002 - of ViewOpener
        """Bring up what this block took down, unless it failed."""
        if error is not None:
            self.work.views.abandon()
            return
        self.work.views.bring_up()
        checkpoints.reached(Checkpoint.VIEWS_UP)
