"""Views over time: which live at a moment, what opening one takes down and brings up, and what a run does to each of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache, cached_property
from heapq import heappop, heappush

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration, View
from migrate_graph.core.reachability import knots


@dataclass(frozen=True, slots=True)
class ViewBlock:
    """What happens to views when managers are opened inside a migration.

    Attributes:
        down: taken down on entering, in order: dependents first.
        up: brought up on leaving, in order: dependencies first. A view that retires by hand-over is in `down` only;
            its successor, created for the first time, in `up` only.
    """

    down: tuple[str, ...] = ()
    up: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewChanges:
    """What one step of a run does to the views that exist.

    Attributes:
        down: existing views it takes down, dependents first.
        up: views it brings up, dependencies first.
        new: of those brought up, the ones that did not exist before.
        retired: views that exist no longer afterwards: their window closes, or a successor takes over.
        handed_over: of those retired, each view whose successor comes up in the same step: `(view, successor)`.
    """

    down: tuple[str, ...] = ()
    up: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    handed_over: tuple[tuple[str, str], ...] = ()

    @property
    def rebuilt(self) -> tuple[str, ...]:
        """Views that exist before and after, and are made anew in between."""
        return tuple(name for name in self.up if name not in self.new and name not in self.retired)


class Timeline:
    """The views of a graph over time.

    Args:
        graph: what is declared.
        order: migrations in the order in which they run, for questions about a place in it; none for all others.
    """

    def __init__(self, graph: MigrationGraph, order: Iterable[str] = ()) -> None:
        self.graph = graph
        self.views = graph.views
        self.places = {name: place for place, name in enumerate(order)}
        # Looked up once for all moments, and only for the views that somebody asks about.
        self.successors = cache(self._successors)
        self.relatives = cache(self._relatives)
        self.readers = cache(lambda name: tuple(graph.uses.successors(name)))

    def _successors(self, name: str) -> tuple[str, ...]:
        """Return the views that name a view in `replaces`. On a ring nothing comes last, so that none of it succeeds another."""
        ring = self._ringed.get(name, set())
        return tuple(after for after in self.graph.replaces.successors(name) if after not in ring)

    @cached_property
    def _ringed(self) -> dict[str, set[str]]:
        """For each view on a ring of `replaces`: the views of that ring."""
        return {name: knot for knot in knots(self.graph.replaces) for name in knot}

    def _relatives(self, name: str) -> tuple[str, ...]:
        """Return a view's successors, and the declared view that it replaces."""
        before = (name for name in self.graph.replaces.predecessors(name) if name in self.views)
        return (*self.successors(name), *before)

    def moment(self, *, applied: Container[str], running: str | None = None) -> Moment:
        """Return the views as they are while `running` runs on top of `applied`, or between two migrations."""
        return Moment(self, applied, running)

    def living(self, applied: Container[str]) -> frozenset[str]:
        """Return the views that live when just these migrations are applied: window open, no successor in its own."""
        moment = self.moment(applied=applied)
        return frozenset(name for name in self.views if moment.active(name))

    def block(self, *opened: str, applied: Container[str], running: str) -> ViewBlock:
        """Return what opening these managers inside a migration takes down and brings up.

        Args:
            opened: the managers; names that nothing declares are passed over.
            applied: migrations that are installed.
            running: the migration that opens them.
        """
        return self.moment(applied=applied, running=running).block(opened)

    def during(self, name: str) -> Moment:
        """Return the views while a migration of the order runs."""
        return self.moment(applied=_Prefix(self.places, self.places[name]), running=name)

    def after(self, name: str) -> Moment:
        """Return the views when a migration of the order has just been applied."""
        return self.moment(applied=_Prefix(self.places, self.places[name] + 1))

    @cached_property
    def sound_views(self) -> dict[str, View]:
        """The views whose bounds are declared and have a place in the order: nothing else can be said of the others."""
        graph = self.graph

        def known(bound: str | None) -> bool:
            return bound is None or (bound in graph.migrations and bound not in graph.unsortable)

        return {name: view for name, view in self.views.items() if known(view.since) and known(view.until)}

    @cached_property
    def brought_up(self) -> dict[str, tuple[str, ...]]:
        """For each migration that touches views and has a place in the order: the views that come up in it."""
        found = {}
        for name in self.places:
            touches = self.graph.migrations[name].touches
            if touches and name not in self.graph.unsortable:
                moment = self.during(name)
                found[name] = tuple(view for view in moment.affected(touches) if moment.active(view))
        return found


class Moment:
    """The views at one moment; it remembers its answers, so make a new one per moment.

    Args:
        timeline: of the graph.
        applied: migrations that are installed.
        running: the migration that is running; None between two.
    """

    def __init__(self, timeline: Timeline, applied: Container[str], running: str | None) -> None:
        self._timeline = timeline
        self._views = timeline.views
        self._successors = timeline.successors
        self._applied = applied
        self._running = running
        self._open: dict[str, bool] = {}
        self._ends: dict[str, str] = {}

    def in_window(self, name: str) -> bool:
        """Whether the window of a declared view is open; a successor is not asked."""
        if name not in self._open:
            self._open[name] = self._views[name].in_window(self._applied, running=self._running)
        return self._open[name]

    def active_version(self, name: str) -> str:
        """Return the end of the chain of successors whose window is open; the view itself when it has none.

        A successor that is closed itself still counts when one of its own successors is open.
        """
        if not self._successors(name):
            return name
        stack = [] if name in self._ends else [name]
        while stack:
            current = stack[-1]
            todo = [after for after in self._successors(current) if after not in self._ends]
            if todo:
                stack += todo[::-1]
                continue
            stack.pop()
            ends = (self._ends[after] for after in self._successors(current))
            self._ends[current] = next((end for end in ends if self.in_window(end)), current)
        return self._ends[name]

    def active(self, name: str) -> bool:
        """Whether the view lives: its window is open and no successor has taken over."""
        return self.in_window(name) and self.active_version(name) == name

    def retiring(self, name: str) -> bool:
        """Whether the running migration hands the view over to a successor."""
        return (
            self._running is not None
            and self.in_window(name)
            and any(
                self._views[after].since == self._running and self.in_window(after) for after in self._successors(name)
            )
        )

    def affected(self, opened: Iterable[str]) -> set[str]:
        """Find everything that opening these views takes down or brings up."""
        affected = set()
        stack = [name for name in opened if name in self._views]
        visited = set(stack)
        while stack:
            name = stack.pop()
            current = self.active_version(name) == name
            if self.in_window(name) and (current or self.retiring(name)):
                affected.add(name)
            related = self._timeline.relatives(name)
            if self.in_window(name) or not current:
                related += self._timeline.readers(name)
            for other in related:
                if other not in visited:
                    visited.add(other)
                    stack.append(other)
        return affected

    def used_by(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the living views that some views read, however deep, and that are not among them; dependencies first."""
        given = set(names)
        below, stack = set[str](), list(given)
        while stack:
            new = set(self._views[self.active_version(stack.pop())].uses) & self._views.keys() - below
            below |= new
            stack += new
        living = {self.active_version(name) for name in below} - given
        return tuple(self.dependencies_first({name for name in living if self.active(name)}))

    def successors(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the living versions of some views, dependencies first; those that have none are left out."""
        ends = {self.active_version(name) for name in names}
        return tuple(self.dependencies_first({name for name in ends if self.active(name)}))

    def block(self, opened: Iterable[str]) -> ViewBlock:
        """Return what goes down and what comes up when these views are opened."""
        ordered = self.dependencies_first(self.affected(opened))
        handed_over = {name for name in ordered if not self.active(name)}
        # Both versions name one relation: at a hand-over the installed predecessor drops, the successor creates.
        down = tuple(name for name in reversed(ordered) if self._views[name].replaces not in handed_over)
        return ViewBlock(down=down, up=tuple(name for name in ordered if name not in handed_over))

    def dependencies_first(self, names: set[str]) -> list[str]:
        """Sort by `uses`, then by declaration; where only rings of `uses` are left, the first-declared goes first."""
        waits_for = {name: {need for need in self._needs(name) if need in names and need != name} for name in names}
        releases: dict[str, list[str]] = {name: [] for name in names}
        for name, needs in waits_for.items():
            for need in needs:
                releases[need].append(name)
        by_declaration = sorted((self._views[name].position, name) for name in names)
        ready = [entry for entry in by_declaration if not waits_for[entry[1]]]
        unplaced = iter(by_declaration)
        placed: dict[str, None] = {}
        while len(placed) < len(names):
            _, name = heappop(ready) if ready else next(entry for entry in unplaced if entry[1] not in placed)
            placed[name] = None
            for reader in releases[name]:
                waits_for[reader].discard(name)
                if not waits_for[reader] and reader not in placed:
                    heappush(ready, (self._views[reader].position, reader))
        return list(placed)

    def _needs(self, name: str) -> set[str]:
        """Return the versions of the views it uses: as named, the one that lives, and the one being handed over."""
        needs = set(self._views[name].uses)
        for used in self._views[name].uses:
            if used in self._views and self._timeline.relatives(used):
                needs.add(self.active_version(used))
                # What reads a successor was built on the predecessor's relation: it goes down before that.
                needs.add(self._views[used].replaces or used)
        return needs


class Course:
    """Which views exist, followed migration by migration.

    Args:
        timeline: of the graph.
        applied: names that count as installed before the first migration is followed.
    """

    def __init__(self, timeline: Timeline, applied: AbstractSet[str]) -> None:
        self._timeline = timeline
        self._applied = set(applied)
        self._built: set[str] = set()
        self._closed_by: dict[str, list[str]] = {}
        for view in timeline.views.values():
            if view.until is not None:
                self._closed_by.setdefault(view.until, []).append(view.name)

    @property
    def built(self) -> frozenset[str]:
        """The views that exist now."""
        return frozenset(self._built)

    def run(self, migration: Migration) -> ViewChanges:
        """Run a migration on paper."""
        block = self._timeline.block(*migration.touches, applied=self._applied, running=migration.name)
        # down() is called for what does not exist yet as well, as in 2.1.0; nothing goes down by that.
        down = tuple(name for name in block.down if name in self._built)
        new = tuple(name for name in block.up if name not in self._built)
        up = set(block.up)
        replaced = [name for name in down if name not in up]
        self._built |= up
        closed = [name for name in self._closed_by.get(migration.name, ()) if name in self._built]
        retired = tuple(dict.fromkeys(replaced + closed))
        self._built.difference_update(retired)
        self._applied.add(migration.name)
        # Each goes to the first view in `up` that replaces it, directly or through versions between them.
        graph = self._timeline.graph
        heirs = {
            name: heir for name in replaced for heir in reversed(block.up) if nx.has_path(graph.replaces, name, heir)
        }
        return ViewChanges(down, block.up, new, retired, tuple(heirs.items()))


class _Prefix:
    """The first so many migrations of an order, as a container that costs nothing to make."""

    def __init__(self, places: Mapping[str, int], length: int) -> None:
        self._places = places
        self._length = length

    def __contains__(self, name: object) -> bool:
        return self._places.get(name, self._length) < self._length  # type: ignore[call-overload, no-any-return]
