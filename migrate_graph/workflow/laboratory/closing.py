"""Run each migration after only its requirements: when it fails or acts differently there, a requirement is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from migrate_graph.core.events import Outcome, Result
from migrate_graph.core.footprint import Fact, Footprint
from migrate_graph.errors import DatabaseRefused
from migrate_graph.workflow.laboratory.scratch_runs import on_scratch
from migrate_graph.workflow.project import read_history

if TYPE_CHECKING:
    from migrate_graph.database.scratch_database import ScratchDatabase
    from migrate_graph.workflow.laboratory.laboratory import Laboratory, Watched


class Alone(Struct, frozen=True, kw_only=True):
    """A migration that fails, or acts differently, when only its requirements ran before it.

    Attributes:
        name: name of the migration.
        order: its direct and indirect requirements and itself, in the order in which they ran; it can be run again.
        failed: how it failed, with the error of the database; None when it did not.
        differences: what it did differently, in words.
    """

    name: str
    order: tuple[str, ...]
    failed: Result | None = None
    differences: tuple[str, ...] = ()


class Closure(Struct, frozen=True, kw_only=True):
    """The result of running each migration after only its requirements.

    Attributes:
        found: the migrations that failed or acted differently, in the order of the project.
        behind: the migrations that could not be tried, each with the name of the requirement that failed.
        tried: how many migrations were tried.
        runs: how many bodies ran for that.
        databases: how many databases existed at the same time, at most.
    """

    found: tuple[Alone, ...] = ()
    behind: Mapping[str, str] = field(default_factory=dict)
    tried: int = 0
    runs: int = 0
    databases: int = 0


def close(
    laboratory: Laboratory, watched: Watched, *, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> Closure:
    """Run each migration after only its requirements.

    Requirements that several migrations have in common run once for all of them: the database is copied where their sequences differ.

    Args:
        laboratory: makes the databases.
        watched: what each migration did when all ran in the order of the project.
        progress: called with the number of tried migrations, and the number of all.

    Raises:
        Stopped: a signal arrived.
        MigrateGraphError: no database can be made.
    """
    order = [name for name in laboratory.order if name in watched.footprints]
    places = {name: place for place, name in enumerate(laboratory.order)}
    root = _Node("")
    for name in order:
        root.add([*sorted(laboratory.ancestors(name), key=places.__getitem__), name])
    search = _Search(laboratory, watched, len(order), progress)
    for child in root.lightest_first():
        search.explore(child, laboratory.new(), [])
    return Closure(
        found=tuple(sorted(search.found, key=lambda one: places[one.name])),
        behind={name: search.behind[name] for name in order if name in search.behind},
        tried=search.tried,
        runs=search.runs,
        databases=search.most,
    )


class _Node:
    """A node of a tree of sequences: a migration that runs after those above it. A common beginning is stored once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: dict[str, _Node] = {}
        self.is_wanted = False
        self.size = 1

    def add(self, names: Sequence[str]) -> None:
        """Add a sequence of migrations; the last one is to be tried."""
        path: list[_Node] = [self]
        for name in names:
            path.append(path[-1].children.setdefault(name, _Node(name)))
        path[-1].is_wanted = True
        for node in reversed(path):
            node.size = 1 + sum(child.size for child in node.children.values())

    def lightest_first(self) -> list[_Node]:
        """Return the children, the smallest subtree first: so only few copies of databases exist at the same time."""
        return sorted(self.children.values(), key=lambda child: (child.size, child.name))

    def below(self) -> Iterator[str]:
        """Yield the migrations that are to be tried at this node and below it."""
        ahead = [self]
        while ahead:
            node = ahead.pop()
            ahead += node.children.values()
            if node.is_wanted:
                yield node.name


class _Search:
    """Runs all sequences of the tree, each node once."""

    def __init__(
        self, laboratory: Laboratory, watched: Watched, total: int, progress: Callable[[int, int], None]
    ) -> None:
        self._laboratory, self._watched = laboratory, watched
        self._total, self._progress = total, progress
        self.found: list[Alone] = []
        self.behind: dict[str, str] = {}
        self.tried = self.runs = self.most = self._alive = 0

    def explore(self, node: _Node, made: ScratchDatabase, applied: list[str]) -> None:
        """Run a node and everything below it in a database, which is dropped at the end.

        Args:
            node: the node that runs next.
            made: the database.
            applied: names of the migrations that have run in it.
        """
        self._alive += 1
        self.most = max(self.most, self._alive)
        try:
            while True:
                node = self._run(node, made, applied)
                following = node.lightest_first()
                if not following:
                    return
                for child in following[:-1]:
                    self.explore(child, self._copy(made, applied), [*applied])
                node = following[-1]
        finally:
            self._alive -= 1
            self._laboratory.scratch.drop(made)

    def _copy(self, made: ScratchDatabase, applied: Sequence[str]) -> ScratchDatabase:
        laboratory = self._laboratory
        if laboratory.scratch.can_copy:
            with suppress(DatabaseRefused):  # as in `Laboratory.new`
                return laboratory.scratch.copy(made)
        anew = laboratory.new()
        laboratory.run(laboratory.settings_of(anew), laboratory.in_order(applied))
        self.runs += len(applied)
        return anew

    def _run(self, node: _Node, made: ScratchDatabase, applied: list[str]) -> _Node:
        """Run a node and those below it as long as each has one child; return the last one, without children when it failed."""
        laboratory = self._laboratory
        nodes = [node]
        while len(nodes[-1].children) == 1:
            nodes += nodes[-1].children.values()
        there = laboratory.settings_of(made)
        history = read_history(on_scratch(laboratory.project, made).config).history
        plan = laboratory.in_order([each.name for each in nodes], history)
        trial = laboratory.run(there, plan, is_watched=True, history=history)
        footprints = laboratory.spelled(trial.footprints, there)
        results = {result.name: result for result in trial.results}
        for each in nodes:
            result = results.get(each.name)
            self.runs += result is not None
            if result is None or result.outcome is not Outcome.APPLIED:
                self._note_failure(each, result, applied)
                return _Node(each.name)
            applied.append(each.name)
            if each.is_wanted:
                self._note(
                    Alone(name=each.name, order=tuple(applied), differences=self._differences(each.name, footprints))
                )
        return nodes[-1]

    def _note(self, alone: Alone) -> None:
        self.tried += 1
        self._progress(self.tried + len(self.behind), self._total)
        if alone.failed or alone.differences:
            self.found.append(alone)

    def _note_failure(self, node: _Node, result: Result | None, applied: Sequence[str]) -> None:
        if node.is_wanted:
            self._note(Alone(name=node.name, order=(*applied, node.name), failed=result))
        for name in node.below():
            if name != node.name or not node.is_wanted:
                self.behind[name] = node.name

    def _differences(self, name: str, footprints: Mapping[str, Footprint]) -> tuple[str, ...]:
        """Return what a migration did differently here. Views are left out: which migration creates them depends on the order."""
        alone, among = footprints.get(name, Footprint()), self._watched.footprints[name]
        opens_views = bool(self._laboratory.project.graph.migrations[name].touches)
        told = []
        for word, mine, others in (
            ("adds", alone.added, among.added),
            ("changes", alone.changed, among.changed),
            ("removes", alone.removed, among.removed),
        ):
            views = {fact.identity for fact in mine | others if fact.kind in {"view", "matview"}}
            for fact in sorted(mine ^ others):
                if not _is_of_views(fact, views, opens_views=opens_views):
                    told.append(f"{word} {'' if fact in mine else 'no '}{fact}")
        return tuple(told)


_OF_TABLES_ALONE: Final = frozenset(
    {"table", "column", "constraint", "type", "function", "procedure", "aggregate", "schema", "extension", "sequence"}
)


def _is_of_views(fact: Fact, views: set[str], *, opens_views: bool) -> bool:
    if fact.identity in views or any(fact.identity.startswith(f"{view}.") for view in views):
        return True
    return opens_views and fact.kind not in _OF_TABLES_ALONE
