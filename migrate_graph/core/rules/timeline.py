"""The order of a graph as a line of moments, at which windows of views open and close."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.model import View
from migrate_graph.core.windows import Moment


class Prefix:
    """The first so many migrations of an order, as a container that costs nothing to make."""

    def __init__(self, places: Mapping[str, int], length: int) -> None:
        self._places = places
        self._length = length

    def __contains__(self, name: object) -> bool:
        return self._places.get(name, self._length) < self._length  # type: ignore[call-overload, no-any-return]


class Timeline:
    """What lives when, if everything runs once in the order of the graph.

    Args:
        graph: what is declared.
        order: its migrations in order.
    """

    def __init__(self, graph: MigrationGraph, order: tuple[str, ...]) -> None:
        self._graph = graph
        self.places = {name: place for place, name in enumerate(order)}

    def during(self, name: str) -> Moment:
        """Return the views while a migration runs."""
        return self._graph.moment(applied=Prefix(self.places, self.places[name]), running=name)

    def after(self, name: str) -> Moment:
        """Return the views when a migration has just been applied."""
        return self._graph.moment(applied=Prefix(self.places, self.places[name] + 1))

    @cached_property
    def sound_views(self) -> dict[str, View]:
        """The views whose bounds are declared and have a place in the order: nothing else can be said of the others."""
        graph = self._graph

        def known(bound: str | None) -> bool:
            return bound is None or (bound in graph.migrations and bound not in graph.unsortable)

        return {name: view for name, view in graph.views.items() if known(view.since) and known(view.until)}

    @cached_property
    def brought_up(self) -> dict[str, tuple[str, ...]]:
        """For each migration that touches views and has a place in the order: the views that come up in it."""
        found = {}
        for name in self.places:
            touches = self._graph.migrations[name].touches
            if touches and name not in self._graph.unsortable:
                moment = self.during(name)
                found[name] = tuple(view for view in moment.affected(touches) if moment.active(view))
        return found
