"""Views over time: which live at a moment, what opening one takes down and brings up, and what a run does to each of them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache, cached_property
from heapq import heappop, heappush

from msgspec import Struct

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.history import History
from migrate_graph.core.late import nx
from migrate_graph.core.model import Migration, View
from migrate_graph.core.reachability import closure, knots


class ViewBlock(Struct, frozen=True):
    """What happens to views when managers are opened inside a migration.

    Attributes:
        down: taken down on entering, in order: dependents first.
        up: brought up on leaving, in order: dependencies first. A view that retires by hand-over is in `down` only;
            its successor, created for the first time, in `up` only.
    """

    down: tuple[str, ...] = ()
    up: tuple[str, ...] = ()


class ViewChanges(Struct, frozen=True):
    """What one step of a run does to the views that exist.

    Attributes:
        down: existing views it takes down, dependents first.
        up: views it brings up, dependencies first.
        new: of those brought up, the ones that did not exist before.
        retired: views that are not wanted any more afterwards: their window closes, or a successor takes over. One whose window
            closes exists on where views do not go down by their windows, unless the body drops it.
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
        order: migrations in the order in which they run; only `during`, `after` and `brought_up` need it.
    """

    def __init__(self, graph: MigrationGraph, order: Iterable[str] = ()) -> None:
        self.graph = graph
        self.views = graph.views
        self.places = {name: place for place, name in enumerate(order)}
        # Cached here for all moments, view by view as they are asked for.
        self.successors = cache(self._successors)
        self.relatives = cache(self._relatives)
        self.readers = cache(lambda name: tuple(graph.uses.successors(name)))
        self.predecessors = cache(self._predecessors)

    def _successors(self, name: str) -> tuple[str, ...]:
        """Return the views that name a view in `replaces`; on a ring of `replaces` no view is the successor of another one."""
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

    def _predecessors(self, name: str) -> tuple[str, ...]:
        """Return the declared views that a view takes over from, the nearest first; a ring is followed once."""
        found: dict[str, None] = {}
        before = self.views[name].replaces
        while before is not None and before in self.views and before != name and before not in found:
            found[before] = None
            before = self.views[before].replaces
        return tuple(found)

    def moment(self, *, applied: Container[str], running: str | None = None) -> Moment:
        """Return the views as they are while `running` runs after `applied`, or, without it, between two migrations."""
        return Moment(self, applied, running)

    def living(self, applied: Container[str]) -> frozenset[str]:
        """Return the views that live when just these migrations are applied: their window is open, and that of no successor is."""
        moment = self.moment(applied=applied)
        return frozenset(name for name in self.views if moment.active(name))

    def block(self, *opened: str, applied: Container[str], running: str) -> ViewBlock:
        """Return what opening these managers inside a migration takes down and brings up.

        Args:
            opened: the managers; names that are not declared are ignored.
            applied: migrations that are installed.
            running: the migration that opens them.
        """
        return self.moment(applied=applied, running=running).block(opened)

    def turn(
        self, name: str, *, applied: Container[str], built: AbstractSet[str], late: Iterable[str] = ()
    ) -> ViewBlock:
        """Return what goes down and comes up after the body of a migration, because of the windows that it opens and closes.

        Args:
            name: of the migration.
            applied: migrations that are installed.
            built: views that exist then.
            late: views that may come up as well, though it is not their `since`; see `overdue`.
        """
        now = self.moment(applied=applied, running=name)
        then = self.moment(applied=_And(applied, name))
        bound = self.graph.bounds.get(name, ())
        closed = [view for view in bound if view in built and not then.in_window(view)]
        # Where the window of a successor closes before that of the view that it replaced, the replaced view comes back.
        back = [view for one in closed for view in self.predecessors(one)]
        wanted = {view for view in (*bound, *back, *late) if view not in built and then.active(view)}
        wanted |= {view for view in then.used_by(wanted) if view not in built}
        replaced = {each for one in wanted for each in self.predecessors(one) if each in built}
        gone = replaced.union(closed)
        moved = gone | self._readers_of(gone, built)
        # down() is also called for a view that does not exist yet: the body may have created it by hand. It is not called where
        # another version of the view drops it.
        versions = gone.union(*map(self.predecessors, closed))
        first = {one for one in wanted - versions if replaced.isdisjoint(self.predecessors(one))}
        return ViewBlock(
            down=tuple(reversed(now.dependencies_first(moved | first))),
            up=tuple(then.dependencies_first(wanted | {view for view in moved if then.active(view)})),
        )

    def overdue(self, name: str, *, applied: Container[str], built: AbstractSet[str]) -> tuple[str, ...]:
        """Return the views that come up late with a migration: their windows opened before it, but they never came up.

        Views without `since` may read anything: they come up with the last migration that is left to run.

        Args:
            name: of the migration.
            applied: migrations that are installed.
            built: views that exist.
        """
        missing = [view for view in self.views.values() if view.name not in built]
        is_last = any(view.since is None for view in missing) and all(
            each == name or each in applied for each in self.graph.migrations
        )
        return tuple(view.name for view in missing if (is_last if view.since is None else view.since in applied))

    def _readers_of(self, names: AbstractSet[str], built: AbstractSet[str]) -> set[str]:
        """Return the existing views that read some views, or versions of them, directly or through others."""

        def readers(name: str) -> set[str]:
            return self.views.keys() & set(self.readers(name))

        reached = closure(names, lambda name: readers(name).union(self.relatives(name)))
        return {view for name in reached for view in readers(name) if view in built}

    def during(self, name: str) -> Moment:
        """Return the views while a migration of the order runs."""
        return self.moment(applied=_Prefix(self.places, self.places[name]), running=name)

    def after(self, name: str) -> Moment:
        """Return the views when a migration of the order has just been applied."""
        return self.moment(applied=_Prefix(self.places, self.places[name] + 1))

    @cached_property
    def sound_views(self) -> dict[str, View]:
        """The views whose `since` and `until` are declared and have a place in the order; when other views live is not known."""
        graph = self.graph

        def known(bound: str | None) -> bool:
            return bound is None or (bound in graph.migrations and bound not in graph.unsortable)

        return {name: view for name, view in self.views.items() if known(view.since) and known(view.until)}

    @cached_property
    def brought_up(self) -> dict[str, tuple[str, ...]]:
        """For each migration that touches views and has a place in the order: the views that come up in it."""
        found: dict[str, tuple[str, ...]] = {}
        if not self.views:  # then no body needs to be read for the views that it opens
            return found
        if self.graph.registry.windows:
            course = Course(self, frozenset())
            runs = {name: course.run(self.graph.migrations[name]) for name in self.places if self._has_place(name)}
            return {name: changes.up for name, changes in runs.items() if changes.up}
        for name in self.places:
            touches = self.graph.migrations[name].touches
            if touches and self._has_place(name):
                moment = self.during(name)
                found[name] = tuple(view for view in moment.affected(touches) if moment.active(view))
        return found

    def _has_place(self, name: str) -> bool:
        return name not in self.graph.unsortable


class Moment:
    """The views at one moment. It keeps its answers, so make a new one for each moment.

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
        """Whether the window of a declared view is open, whether or not a successor has taken over."""
        if name not in self._open:
            self._open[name] = self._views[name].in_window(self._applied, running=self._running)
        return self._open[name]

    def active_version(self, name: str) -> str:
        """Return the last view in the chain of successors whose window is open; the view itself when there is none.

        A successor whose window is closed still counts when the window of one of its own successors is open.
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

        def is_current(name: str) -> bool:
            return self.active_version(name) == name

        def related(name: str) -> tuple[str, ...]:
            is_read = self.in_window(name) or not is_current(name)
            return self._timeline.relatives(name) + (self._timeline.readers(name) if is_read else ())

        reached = closure((name for name in opened if name in self._views), related)
        return {name for name in reached if self.in_window(name) and (is_current(name) or self.retiring(name))}

    def used_by(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the living views that these views read, directly or through others, without these themselves; dependencies first."""

        def read_by(name: str) -> set[str]:
            return self._views.keys() & set(self._views[self.active_version(name)].uses)

        given = set(names)
        below = closure({name for each in given for name in read_by(each)}, read_by)
        living = {self.active_version(name) for name in below} - given
        return tuple(self.dependencies_first({name for name in living if self.active(name)}))

    def living_versions(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the living versions of some views, dependencies first; those that have none are left out.

        Where the window of a successor is closed, that is the view that it had replaced, if its window is still open.
        """
        ends = {self.active_version(name) for name in names}
        living = {next(filter(self.active, (end, *self._timeline.predecessors(end))), None) for end in ends}
        return tuple(self.dependencies_first({name for name in living if name is not None}))

    def block(self, opened: Iterable[str]) -> ViewBlock:
        """Return what goes down and what comes up when these views are opened."""
        ordered = self.dependencies_first(self.affected(opened))
        handed_over = {name for name in ordered if not self.active(name)}
        # Both versions have the same relation: at a hand-over the predecessor's manager drops it, the successor's creates it.
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
                # A view that reads a successor was built on the predecessor's relation: it goes down before the predecessor.
                needs.update(self._timeline.predecessors(used))
        return needs


class Course:
    """Which views exist, followed migration by migration.

    Args:
        timeline: of the graph.
        applied: names that count as installed before the first migration is followed.
        built: views that exist then.
        late: views that did not come up when their window opened come up later; see `Timeline.overdue`.
    """

    def __init__(
        self, timeline: Timeline, applied: AbstractSet[str], built: Iterable[str] = (), *, late: bool = True
    ) -> None:
        self._timeline = timeline
        self._windows = timeline.graph.registry.windows
        self._applied = set(applied)
        self._built = {name for name in built if name in timeline.views}
        self._late = late
        self._is_first = True
        self._left = len(timeline.graph.migrations.keys() - self._applied)
        self._closed_by: dict[str, list[str]] = {}
        for view in timeline.views.values():
            if view.until is not None:
                self._closed_by.setdefault(view.until, []).append(view.name)

    @property
    def built(self) -> frozenset[str]:
        """The views that exist now."""
        return frozenset(self._built)

    def run(self, migration: Migration) -> ViewChanges:
        """Note that a migration runs, and return what it does to views."""
        changes = self._body(migration)
        if self._windows and self._timeline.views:
            changes = self._and_windows(migration.name, changes)
        self._applied.add(migration.name)
        return changes

    def _body(self, migration: Migration) -> ViewChanges:
        """Return what the managers do that the body of a migration opens."""
        block = self._timeline.block(*migration.touches, applied=self._applied, running=migration.name)
        # As in 2.1.0, down() is also called for a view that does not exist yet; then nothing goes down.
        down = tuple(name for name in block.down if name in self._built)
        new = tuple(name for name in block.up if name not in self._built)
        up = set(block.up)
        replaced = [name for name in down if name not in up]
        self._built |= up
        closed = [] if self._windows else self._closed_by.get(migration.name, ())
        retired = tuple(dict.fromkeys([*replaced, *(name for name in closed if name in self._built)]))
        self._built.difference_update(retired)
        return ViewChanges(down, block.up, new, retired, self._heirs(replaced, block.up))

    def _and_windows(self, name: str, body: ViewChanges) -> ViewChanges:
        """Return what a body does, together with what the windows of its migration do after it."""
        timeline = self._timeline
        self._left -= name not in self._applied
        late: tuple[str, ...] = ()
        if self._late and (self._is_first or not self._left):
            late = timeline.overdue(name, applied=self._applied, built=self._built)
        self._is_first = False
        if not late and name not in timeline.graph.bounds:
            return body
        turn = timeline.turn(name, applied=self._applied, built=self._built, late=late)
        down = [view for view in turn.down if view in self._built]
        new = [view for view in turn.up if view not in self._built]
        retired = [view for view in down if view not in turn.up]
        self._built.update(turn.up)
        self._built.difference_update(retired)
        return ViewChanges(
            down=tuple(dict.fromkeys([*body.down, *(view for view in down if view not in body.new)])),
            up=tuple(dict.fromkeys([*body.up, *turn.up])),
            new=(*body.new, *new),
            retired=(*body.retired, *retired),
            handed_over=(*body.handed_over, *self._heirs(retired, turn.up)),
        )

    def _heirs(self, replaced: Iterable[str], up: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Return which view takes over from each: the first one in `up` that replaces it, directly or through other versions."""
        graph = self._timeline.graph
        heirs = {name: heir for name in replaced for heir in reversed(up) if nx.has_path(graph.replaces, name, heir)}
        return tuple(heirs.items())


def overdue_views(graph: MigrationGraph, history: History) -> frozenset[str]:
    """Return the living views that the database never had; empty where views do not come up by their windows."""
    if not graph.registry.windows:
        return frozenset()
    known = frozenset(history.view_texts) if history.views_there is None else history.views_there
    return Timeline(graph).living(history.applied) - known


class _And:
    """The applied migrations and one more, as a container that costs nothing to make."""

    def __init__(self, applied: Container[str], name: str) -> None:
        self._applied = applied
        self._name = name

    def __contains__(self, name: object) -> bool:
        return name == self._name or name in self._applied


class _Prefix:
    """The first `length` migrations of an order, as a container that costs nothing to make."""

    def __init__(self, places: Mapping[str, int], length: int) -> None:
        self._places = places
        self._length = length

    def __contains__(self, name: object) -> bool:
        return self._places.get(name, self._length) < self._length  # type: ignore[call-overload, no-any-return]
