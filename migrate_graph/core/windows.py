"""Which views live at one moment, and what opening one of them takes down and brings up."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from heapq import heappop, heappush

from migrate_graph.core.model import View


class Moment:
    """The views while `running` runs on top of `applied`; it remembers its answers, so make a new one per moment.

    Args:
        views: the managers by name, in order of declaration.
        successors: of each view, the ones that name it in `replaces`.
        relatives: of each view, its successors and the declared view it replaces.
        readers: of each view, the ones that name it in `uses`.
        applied: migrations that are installed.
        running: the migration that is running; None between two.
    """

    def __init__(
        self,
        views: Mapping[str, View],
        *,
        successors: Mapping[str, tuple[str, ...]],
        relatives: Mapping[str, tuple[str, ...]],
        readers: Mapping[str, tuple[str, ...]],
        applied: Container[str],
        running: str | None,
    ) -> None:
        self._views = views
        self._successors = successors
        self._relatives = relatives
        self._readers = readers
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
        if not self._successors[name]:
            return name
        stack = [] if name in self._ends else [name]
        entered = {name}
        while stack:
            current = stack[-1]
            todo = [after for after in self._successors[current] if after not in entered and after not in self._ends]
            if todo:
                stack += todo[::-1]
                entered.update(todo)
                continue
            stack.pop()
            ends = (self._ends.get(after, after) for after in self._successors[current])
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
                self._views[after].since == self._running and self.in_window(after) for after in self._successors[name]
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
            related = self._relatives[name]
            if self.in_window(name) or not current:
                related += self._readers[name]
            for other in related:
                if other not in visited:
                    visited.add(other)
                    stack.append(other)
        return affected

    def block(self, opened: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what goes down, dependents first, and what comes up, dependencies first, when these views are opened."""
        ordered = self._dependencies_first(self.affected(opened))
        handed_over = {name for name in ordered if not self.active(name)}
        # Both versions name one relation: at a hand-over the installed predecessor drops, the successor creates.
        down = tuple(name for name in reversed(ordered) if self._views[name].replaces not in handed_over)
        return down, tuple(name for name in ordered if name not in handed_over)

    def _dependencies_first(self, names: set[str]) -> list[str]:
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
            if self._relatives.get(used):
                needs.add(self.active_version(used))
                # What reads a successor was built on the predecessor's relation: it goes down before that.
                needs.add(self._views[used].replaces or used)
        return needs
