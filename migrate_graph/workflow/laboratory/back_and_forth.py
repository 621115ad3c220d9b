"""Apply, undo and apply again on a scratch database: what a `down` leaves behind or drops in addition, and deriving a missing `down`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.drift import Drifted, Inventory, drift_between
from migrate_graph.core.events import Observer, Result, ignore_events
from migrate_graph.core.model import Migration, TransactionMode
from migrate_graph.core.plan import Plan, Reason, ReasonKind, Step
from migrate_graph.core.states import State
from migrate_graph.core.undoing import changes_of, undoing
from migrate_graph.core.way_back import Objection, drops, objections, ties
from migrate_graph.database import backend_class, open_backend
from migrate_graph.database.contents import Contents
from migrate_graph.database.scratch_database import PREFIX
from migrate_graph.errors import DatabaseError
from migrate_graph.workflow.laboratory.derived_down import DerivedDown, FindingDown, gone_with
from migrate_graph.workflow.laboratory.laboratory import laboratory, place_of, respelled

if TYPE_CHECKING:
    from migrate_graph.core.footprint import Footprint
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.history import History
    from migrate_graph.database import Settings
    from migrate_graph.database.scratch_database import ScratchDatabase
    from migrate_graph.workflow.laboratory.laboratory import Laboratory
    from migrate_graph.workflow.laboratory.trial_run import TrialResult
    from migrate_graph.workflow.project import Project

_Value = TypeVar("_Value")


def undo_step(
    graph: MigrationGraph,
    order: Sequence[str],
    applied: Collection[str],
    migration: Migration,
    after: Sequence[str] = (),
) -> Step:
    """Return the step of a plan that undoes a migration.

    Args:
        graph: what is declared.
        order: names of all declared migrations, in the order of the graph.
        applied: names of the other migrations that are installed.
        migration: the migration that is undone, with its `down`.
        after: names of the migrations that are undone before it, since they require it.
    """
    changes = changes_of(undoing(graph, order, frozenset(applied), migration.name))
    kind = ReasonKind.AFTER if after else ReasonKind.ROOT
    return Step(migration, Reason(kind, tuple(after), State.APPLIED), changes)


class Trip(Struct, frozen=True, kw_only=True):
    """The result of applying a migration, undoing it and applying it again.

    Attributes:
        migration: the migration.
        down: the derived `down`; None when its `down` is written, or none could be derived.
        objections: why no `down` could be derived.
        failed: the result that did not succeed: of applying, of undoing or of applying again; None when all succeeded.
        again: the second applying failed, or had another result than the first.
        differences: what is different after undoing than before applying, or after the second applying than after the first, in words.
        changes: what the migration has changed in the database.
        managed: relations that view managers have created.
    """

    migration: Migration
    down: DerivedDown | None = None
    objections: tuple[Objection, ...] = ()
    failed: Result | None = None
    again: bool = False
    differences: tuple[str, ...] = ()
    changes: tuple[Drifted, ...] = ()
    managed: frozenset[str] = frozenset()

    @property
    def is_round(self) -> bool:
        """Whether undoing restored the database, and applying again had the same result."""
        return not (self.objections or self.failed or self.differences)


class _Look(Struct, frozen=True):
    """The state of a database at one moment."""

    contents: Contents
    inventory: Inventory
    managed: frozenset[str]


class BackAndForth:
    """A scratch database on which migrations are applied in the order of the project; some of them are undone and applied again.

    Args:
        laboratory: makes the databases.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._graph = laboratory.project.graph
        self._order = self._graph.order(laboratory.project.ordering)
        self._applied: list[str] = []
        self._made: ScratchDatabase | None = None
        self._there: Settings

    def close(self) -> None:
        """Drop the database."""
        if self._made is not None:
            self._laboratory.scratch.drop(self._made)
            self._made = None

    def apply(self, names: Sequence[str]) -> Result | None:
        """Apply migrations, unwatched; return the first result that did not succeed, or None."""
        _, failed = self._up(names)
        return failed

    def try_out(self, name: str) -> Trip:
        """Apply a migration, undo it, and apply it again."""
        migration = self._graph.migrations[name]
        is_derived = isinstance(migration.down, str)
        before = self._look()
        trial, failed = self._up([name], is_watched=is_derived)
        if failed is not None:
            return Trip(migration=migration, failed=failed)
        after = self._look()
        changes = self._changes(before.inventory, after.inventory)
        managed = before.managed | after.managed
        if is_derived and (found := self._objections(migration, changes, trial.footprints[name], managed)):
            return Trip(migration=migration, objections=found)
        trip = self._back(migration, changes, before, after)
        if trip.is_round:
            trip = self._again(trip, after)
        if not trip.is_round:
            self._renew()
        return replace(trip, changes=self._spelled(tuple(changes)), managed=self._spelled(managed))

    def _objections(
        self, migration: Migration, changes: Sequence[Drifted], seen: Footprint, managed: frozenset[str]
    ) -> tuple[Objection, ...]:
        kind = backend_class(self._there.uri)
        found = objections(changes, seen, drop_of=kind.drop_of, managed=managed, at=migration.source)
        return self._spelled(found)

    def _back(self, migration: Migration, changes: Sequence[Drifted], before: _Look, after: _Look) -> Trip:
        """Undo an applied migration, and compare the database with the one before it."""
        finding: FindingDown | None = None
        managed = before.managed | after.managed
        tried = migration
        if isinstance(migration.down, str):
            drop_of = backend_class(self._there.uri).drop_of
            statements = drops(changes, drop_of=drop_of, managed=managed)
            finding = FindingDown(
                statements, ties(changes, after.inventory, drop_of=drop_of), gone_with(changes, managed)
            )
            tried = replace(migration, down=finding, transaction=TransactionMode.OWN)
        failed = self._down(tried)
        if failed is not None:
            return Trip(migration=migration, failed=failed)
        differences = self._spelled(before.contents.differences(self._look().contents))
        if finding is None:
            return Trip(migration=migration, differences=differences)
        if differences:
            why = next(iter(finding.left.values()), "")
            told = f": {' '.join(why.split())}" if why else f" ({', '.join(differences)})"
            objection = Objection(f"what it adds cannot be dropped again{told}", migration.source)
            return Trip(migration=migration, objections=self._spelled((objection,)))
        down = DerivedDown(migration, self._spelled(tuple(finding.done)), gone_with(changes, managed))
        return Trip(migration=migration, down=down)

    def _again(self, trip: Trip, after: _Look) -> Trip:
        _, failed = self._up([trip.migration.name])
        if failed is not None:
            return replace(trip, failed=failed, again=True)
        differences = self._spelled(after.contents.differences(self._look().contents))
        return replace(trip, differences=differences, again=bool(differences))

    # -- on the database ---------------------------------------------------------------------------------------------------

    def _database(self) -> Settings:
        if self._made is None:
            self._made = self._laboratory.new()
            self._there = self._laboratory.settings_of(self._made)
        return self._there

    def _renew(self) -> None:
        """Replace the database, whose state is not known any more, by a new one with the same migrations applied.

        Raises:
            DatabaseError: a migration that has succeeded before fails now.
        """
        self.close()
        applied, self._applied = self._applied, []
        failed = self.apply(applied)
        if failed is not None:
            raise DatabaseError(
                f"{failed.name} succeeded on one new database and failed on another: {failed.error or failed.outcome}",
                hint="find out what it depends on besides its database",
            )

    def _up(self, names: Sequence[str], *, is_watched: bool = False) -> tuple[TrialResult, Result | None]:
        there = self._database()
        history = self._history(there)
        plan = self._laboratory.in_order(names, history)
        trial = self._laboratory.run(there, plan, is_watched=is_watched, history=history)
        failed = next((each for each in trial.results if not each.outcome.succeeded), None)
        done = [each.name for each in trial.results if each.outcome.succeeded]
        self._applied += [name for name in done if name not in self._applied]
        return trial, failed

    def _down(self, migration: Migration) -> Result | None:
        there = self._database()
        history = self._history(there)
        applied = history.applied - {migration.name}
        plan = Plan(steps=(undo_step(self._graph, self._order, applied, migration),), order=self._order)
        trial = self._laboratory.run(there, plan, history=history, reverts=True)
        return next((each for each in trial.results if not each.outcome.succeeded), None)

    @staticmethod
    def _history(there: Settings) -> History:
        with open_backend(there) as backend:
            return backend.read_history()

    def _look(self) -> _Look:
        there = self._database()
        managers = {name: view.manager for name, view in self._graph.views.items()}
        contents = self._laboratory.contents(there)
        with open_backend(there) as backend:
            return _Look(contents, backend.read_inventory(), backend.managed_relations(managers))

    def _changes(self, before: Inventory, after: Inventory) -> list[Drifted]:
        """Return the differences, without those in scratch schemas that other processes have made in the same database."""
        place = place_of(self._there)
        found = drift_between(before, after).changes
        return [each for each in found if not (each.fact.identity.startswith(PREFIX) and not _is_in(each, place))]

    def _spelled(self, value: _Value) -> _Value:
        """Return a value in which the name of the scratch schema is replaced by that of the project's own schema."""
        place = place_of(self._there)
        return respelled(value, place, self._laboratory.own_schema) if place else value


def _is_in(change: Drifted, place: str) -> bool:
    return bool(place) and change.fact.identity.partition(".")[0] == place


def all_trips(place: Laboratory, progress: Callable[[int, int], None] = lambda _done, _of: None) -> tuple[Trip, ...]:
    """Apply, undo and apply again each migration that has a `down`; return the results.

    Args:
        place: makes the databases; migrations in the configured backup are not tried.
        progress: called with the number of migrations that are done, and the number of all.
    """
    migrations, found = place.project.graph.migrations, []
    wanted = {name for name in place.order if migrations[name].down is not None}
    with closing(_trips(place, wanted, among=place.order)) as trips:
        for trip in trips:
            found.append(trip)
            progress(len(found), len(wanted))
    return tuple(found)


def _trips(place: Laboratory, wanted: Collection[str], *, among: Collection[str]) -> Generator[Trip, None, None]:
    """Yield the results of trying migrations one after another, in the order of the project; the others are only applied.

    Args:
        place: makes the databases.
        wanted: names of the migrations that are tried.
        among: names of the migrations that are applied.

    Raises:
        DatabaseError: a migration that comes before a wanted one cannot be applied.
    """
    with closing(BackAndForth(place)) as tries:
        waiting: list[str] = []
        for name in (each for each in place.order if each in among):
            if name not in wanted:
                waiting.append(name)
                continue
            if failed := tries.apply(waiting):
                raise DatabaseError(
                    f"{failed.name} could not be applied on a new database: {failed.error or failed.outcome}",
                    hint="migrate verify tells what fails on a new database",
                )
            waiting = []
            yield tries.try_out(name)


def trips_of(
    project: Project, names: Collection[str], *, among: Collection[str], observer: Observer = ignore_events
) -> Mapping[str, Trip]:
    """Apply, undo and apply again some migrations, after those that come before them; return the results by name.

    Args:
        project: what is declared.
        names: names of the migrations that are tried.
        among: names of the migrations that are applied.
        observer: called while something is waited for.

    Raises:
        DatabaseError: no database can be made, or a migration that comes before one of them cannot be applied.
    """
    found: dict[str, Trip] = {}
    with laboratory(project, observer=observer) as place:
        for name in place.history.applied & set(names):
            why = "is in the configured backup, so that what it does cannot be seen"
            migration = project.graph.migrations[name]
            found[name] = Trip(migration=migration, objections=(Objection(why, migration.source),))
        found |= {trip.migration.name: trip for trip in _trips(place, names, among=among)}
    return found
