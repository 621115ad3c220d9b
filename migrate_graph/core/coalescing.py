"""Which steps of a plan share one transaction, so that the views that they need go down once and come up once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec import Struct, field

from migrate_graph.core.model import TransactionMode

if TYPE_CHECKING:
    from migrate_graph.core.model import Migration
    from migrate_graph.core.plan import Plan, Step
    from migrate_graph.user_files import SourceLocation

_NOTHING: Mapping[str, Collection[str]] = MappingProxyType({})


class Segment(Struct, frozen=True):
    """Consecutive steps that share one transaction.

    Attributes:
        steps: at least two.
        views: managers whose views go down once for all of them, sorted.
        woven: managers whose views will block statements of a migration, by the migration's name.
    """

    steps: tuple[Step, ...]
    views: tuple[str, ...]
    woven: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its migrations."""
        return tuple(step.migration.name for step in self.steps)


def why_apart(migration: Migration) -> tuple[str, SourceLocation] | None:
    """Return why a migration cannot share a transaction with others, and where that is written; None when it can."""
    if migration.transaction is TransactionMode.NONE:
        return "transaction='none' runs outside of any transaction", migration.source
    if (ends := migration.facts.ends_transaction) is not None:
        source, what = ends
        return f"it {what}", source
    return None


def segments_of(plan: Plan, woven: Mapping[str, Collection[str]] = _NOTHING) -> tuple[Segment, ...]:
    """Return the segments of a plan: each step after the first takes down a view that the step before it brings up.

    Args:
        plan: what runs.
        woven: managers whose views blocked statements of a migration in a rehearsal, by the migration's name.
    """
    return tuple(
        Segment(
            steps, tuple(sorted(views)), {step.migration.name: woven.get(step.migration.name, ()) for step in steps}
        )
        for steps, views in _groups(plan, woven)
        if len(steps) > 1
    )


def _groups(plan: Plan, woven: Mapping[str, Collection[str]]) -> Iterator[tuple[tuple[Step, ...], set[str]]]:
    """Yield all steps in groups that can share a transaction, each group with the views that its steps share."""
    group: list[Step] = []
    shared: set[str] = set()
    for step in plan.steps:
        both = _brought_up(group[-1], woven) & _taken_down(step, woven) if group else set()
        if both and _lets_join(group[-1].migration) and _fits(step.migration):
            group.append(step)
            shared |= both
            continue
        yield tuple(group), shared
        group, shared = [step], set()
    yield tuple(group), shared


def _fits(migration: Migration) -> bool:
    """Return whether a migration may share a transaction. A resumable one may not: it continues from its own commits."""
    return not migration.resumable and why_apart(migration) is None


def _lets_join(migration: Migration) -> bool:
    """Return whether the next step may join a migration's transaction. A new enum value cannot be used before that has ended."""
    return _fits(migration) and migration.facts.adds_enum_value is None


def _brought_up(step: Step, woven: Mapping[str, Collection[str]]) -> set[str]:
    return {*step.views.up, *woven.get(step.migration.name, ())}


def _taken_down(step: Step, woven: Mapping[str, Collection[str]]) -> set[str]:
    return {*step.views.down, *woven.get(step.migration.name, ())}
