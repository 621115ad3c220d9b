"""The `down` functions of a revert: derive those that are not written, and find what they leave behind or drop in addition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Event, Observer, Outcome, StepFinished
from migrate_graph.core.way_back import ADVICE
from migrate_graph.errors import UsageError
from migrate_graph.user_files import SourceLocation, shown_from
from migrate_graph.workflow.laboratory.back_and_forth import Trip, trips_of
from migrate_graph.workflow.laboratory.derived_down import DerivedDown

if TYPE_CHECKING:
    from migrate_graph.core.drift import Drifted
    from migrate_graph.core.footprint import Fact, Footprint
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.project import Project

_SAID = frozenset({"comment", "grants", "label", "column order", "text"})
"""Kinds of facts that disappear together with others, or that a rehearsal does not see."""


def tried_on_new_database(found: Assessment, observer: Observer, *, derived_only: bool) -> Mapping[str, Trip]:
    """Apply, undo and apply again the migrations of a revert on a new database; return the results by name.

    Args:
        found: the result of `plan_revert`.
        observer: called while something is waited for.
        derived_only: only migrations with `down="auto"`.

    Raises:
        DatabaseError: no database can be made.
        UsageError: for a migration with `down="auto"`, no statements can be derived.
    """
    steps = [step.migration for step in found.planned.steps]
    names = {each.name for each in steps if isinstance(each.down, str) or not derived_only}
    if not names:
        return {}
    trips = trips_of(found.project, names, among=found.reading.history.applied, observer=observer)
    refused = [_refusal(trip) for name, trip in trips.items() if name in names and isinstance(trip.migration.down, str)]
    if told := list(filter(None, refused)):
        raise UsageError("\n".join(told), hint=ADVICE)
    return trips


def _refusal(trip: Trip) -> str:
    """Return why no `down` was derived; empty when one was."""
    name = trip.migration.name
    if trip.objections:
        return f"no way back can be derived for '{name}': {'; '.join(map(str, trip.objections))}"
    if trip.failed is not None:
        when = "when it is applied again after its way back" if trip.again else "on a new database"
        return f"no way back can be derived for '{name}': it fails {when}: {trip.failed.error or trip.failed.outcome}"
    if trip.differences:
        return f"no way back can be derived for '{name}': applied again after it, {', '.join(trip.differences)}"
    return ""


def with_ways_back(plan: Plan, trips: Mapping[str, Trip]) -> Plan:
    """Return the plan of a revert with the derived `down` in each step for which one was derived."""
    steps = []
    for step in plan.steps:
        trip = trips.get(step.migration.name)
        down = trip.down if trip is not None else None
        steps.append(step if down is None else replace(step, migration=down.as_undoing()))
    return replace(plan, steps=tuple(steps))


class Told(Struct, frozen=True):
    """What undoes a migration, for texts and documents.

    Attributes:
        statements: the derived statements; None when a function undoes it.
        function: name of the function; empty when statements undo it.
        source: place of the function.
    """

    statements: tuple[str, ...] | None
    function: str = ""
    source: SourceLocation | None = None


def told_of(project: Project, migration: Migration) -> Told:
    """Return what undoes a migration in the plan of a revert, for texts and documents."""
    down = migration.down
    if isinstance(down, DerivedDown):
        return Told(down.statements)
    code = getattr(inspect.unwrap(down), "__code__", None) if callable(down) else None
    place = SourceLocation(shown_from(code.co_filename, project.root), code.co_firstlineno) if code else None
    return Told(None, getattr(down, "__name__", type(down).__name__), place)


def putting_back(plan: Plan, observer: Observer) -> Observer:
    """Return an observer of a revert that restores pyDAL's table files when a migration was certainly not undone."""
    downs = {step.migration.name: step.migration.down for step in plan.steps}

    def observe(event: Event) -> None:
        if isinstance(event, StepFinished):
            down, result = downs.get(event.result.name), event.result
            if isinstance(down, DerivedDown) and result.outcome is not Outcome.REVERTED and result.commits == 0:
                down.put_back()
        observer(event)

    return observe


def deviations(
    trips: Mapping[str, Trip], footprints: Mapping[str, Footprint], there: Callable[[], AbstractSet[Fact]]
) -> tuple[str, ...]:
    """Return, in words, the differences between the database before a migration and after its `down`.

    Args:
        trips: by name, the results of trying the migrations on a new database.
        footprints: by name and in the order of the revert, what each `down` did in a copy of the database itself.
        there: reads what the database itself is made of, before the revert; called only where it matters, and then once.
    """
    read = cache(there)

    def stays(name: str) -> AbstractSet[Fact]:
        """Return what there is after a `down`: what went before by another migration or by hand is not left by this one."""
        facts = set(read())
        for each, seen in footprints.items():
            facts = (facts - seen.removed) | seen.added
            if each == name:
                break
        return facts

    return tuple(text for name, trip in trips.items() for text in _deviations(name, trip, footprints.get(name), stays))


def _deviations(
    name: str, trip: Trip, seen: Footprint | None, stays: Callable[[str], AbstractSet[Fact]]
) -> Iterator[str]:
    if trip.differences:
        when = (
            "applied again after its way back" if trip.again else "its way back does not restore what was there before"
        )
        yield f"{name}: {when}: {', '.join(trip.differences)}"
    elif trip.failed is not None and trip.again:
        yield f"{name}: it cannot be applied again after its way back: {trip.failed.error or trip.failed.outcome}"
    elif seen is not None and not (trip.failed or trip.objections):
        added = {fact for change in trip.changes if change.before is None for fact in (change.fact, *change.parts)}
        gone = seen.removed - seen.renamed
        there = {fact for fact in seen.added | seen.changed | gone if fact.kind in {"view", "matview"}}
        own = trip.managed | {fact.identity for fact in there}
        was = {change.fact for change in trip.changes if change.before is not None}
        besides = sorted(_counting(gone - added - was, own, trip.changes))
        left = sorted(_counting(added - gone, own, trip.changes))
        if besides:
            yield f"{name}: its way back takes besides, here: {', '.join(map(str, besides))}"
        if left and (left := [fact for fact in left if fact in stays(name)]):
            yield f"{name}: its way back leaves, here: {', '.join(map(str, left))}"


def _counting(facts: Iterable[Fact], views: Iterable[str], changes: Iterable[Drifted]) -> Iterator[Fact]:
    """Yield the facts that are not part of a view, and of a kind that both a trip and a footprint show."""
    relation = {fact: change.relation for change in changes for fact in (change.fact, *change.parts)}
    skipped = set(views)
    for fact in facts:
        whole = relation.get(fact) or fact.identity
        inside = any(whole == view or whole.startswith(f"{view}.") for view in skipped)
        if fact.kind not in _SAID and not inside:
            yield fact
