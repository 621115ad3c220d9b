"""Runs functions as migrations through the real executor, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from migrate_graph.authoring import collecting, migration
from migrate_graph.core.coalescing import Segment
from migrate_graph.core.events import Event, RunFinished
from migrate_graph.core.graph import build_graph
from migrate_graph.core.history import History
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import Plan, build_plan
from migrate_graph.database import Backend, Settings, open_backend
from migrate_graph.executor import Executor, RunOptions
from migrate_graph.executor.refreshing import Refreshing
from migrate_graph.executor.watch import Watch
from migrate_graph.signals import Interruption
from migrate_graph.workflow.project import with_views_there


class Stand:
    """One database; `run(one_1, two_2)` applies what is pending of these.

    Attributes:
        events: what was told.
        listener: is told it as well; None: nobody.
    """

    def __init__(self, uri: str, **settings: Any) -> None:
        self.settings = Settings(uri, **settings)
        self.events: list[Event] = []
        self.backend: Backend
        self.listener: Callable[[Event], object] | None = None

    def run(
        self,
        *bodies: Callable[[Any], Any],
        modes: dict[str, str] | None = None,
        views: dict[str, list[Any]] | None = None,
        before: Callable[[], object] = lambda: None,
        unwoven: Sequence[str] = (),
        after: dict[str, Callable[[Any], Any]] | None = None,
        requires: dict[str, list[str]] | None = None,
        segments_of: Callable[[Plan], tuple[Segment, ...]] = lambda _: (),
        windows: bool = False,
        **options: Any,
    ) -> RunFinished:
        """Run bodies as migrations in this order.

        Args:
            bodies: named as the migrations are.
            modes: `transaction=` by name.
            views: which managers each opens, by name; under "" those that no one opens.
            before: called under the lock, before the run.
            unwoven: for whose statements no view steps aside.
            after: what must hold then, by name.
            requires: names of what each requires, by name.
            segments_of: returns what of the plan is one transaction.
            windows: views come up and go down by their windows.
            options: of `RunOptions`.
        """
        with collecting() as declared:
            for body in bodies:
                name = body.__name__
                declare = migration(
                    transaction=(modes or {}).get(name, "own"),
                    views=(views or {}).get(name, ()),
                    weave=name not in unwoven,
                    after=(after or {}).get(name),
                    requires=(requires or {}).get(name, ()),
                )
                declare(body)
        managers = dict.fromkeys(each for some in (views or {}).values() for each in some if isinstance(each, type))
        declared_views = tuple(each.as_view(position=position) for position, each in enumerate(managers))
        graph = build_graph(Registry(tuple(declared.migrations), declared_views, windows=windows))
        interruption = Interruption()
        with (
            open_backend(self.settings, self._tell, interruption=interruption, writing=True) as backend,
            backend.lock(5, self._tell, interruption) as lock,
        ):
            self.backend = backend
            backend.prepare()
            if backend.unfilled_views():  # `migrate apply` begins with them as well
                self._refresh(backend, interruption)
            history = with_views_there(backend.read_history(), graph, backend)
            plan = build_plan(graph, history)
            backend.preflight([step.migration.name for step in plan.steps], installed=True)
            before()
            executor = Executor(
                backend,
                lock,
                self._tell,
                interruption=interruption,
                options=RunOptions(**{"first_delay": 0.05, "segments": segments_of(plan)} | options),
            )
            return executor.run(plan, graph, history)

    def _refresh(self, backend: Backend, interruption: Interruption) -> None:
        watch = Watch(self._tell, every=60)
        with watch.running():
            Refreshing(backend, self._tell, interruption, RunOptions(), watch).run()

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        if self.listener is not None:
            self.listener(event)

    def history(self) -> History:
        """Read what the database remembers."""
        with open_backend(self.settings) as backend:
            return backend.read_history()

    def told(self, kind: type) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]
