"""What undoing applied migrations includes: undoing those that require them, and bringing back the views as they were before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from migrate_graph.core.graph import MigrationGraph, Ordering
from migrate_graph.core.timeline import Course, Moment, Timeline, ViewBlock, ViewChanges


def undone_with(graph: MigrationGraph, name: str, applied: AbstractSet[str], ordering: Ordering) -> tuple[str, ...]:
    """Return a migration and everything applied that requires it, directly or not, in the order in which they are undone.

    Args:
        graph: what is declared.
        name: of a declared migration.
        applied: what is installed.
        ordering: how ties are broken.
    """
    meant = {name} | (graph.descendants(name) & applied)
    return tuple(each for each in reversed(graph.order(ordering)) if each in meant)


class Undoing(Struct, frozen=True):
    """The views while one applied migration is undone.

    Attributes:
        now: the views as long as it is applied.
        then: the views when it is not.
        existed: views that exist when all others are applied and it is not.
        changes: what it did to the views when it was applied, on paper.
        opened: the views that go down around its `down` in any case.
        left_over: views whose window it closed, and that exist all the same, on paper.
    """

    now: Moment
    then: Moment
    existed: frozenset[str]
    changes: ViewChanges
    opened: tuple[str, ...]
    left_over: frozenset[str] = frozenset()

    def block(self, opened: Iterable[str], left_over: AbstractSet[str] | None = None) -> ViewBlock:
        """Return what goes down, and what comes up again, when these views are opened: as they are, and as they were.

        A view that the migration has created does not come up again. One that it has retired or replaced does.

        Args:
            opened: the views.
            left_over: views that exist although their window is closed; None: as on paper.
        """
        names = tuple(opened)
        touched = self.now.affected(names) | self.then.affected(names)
        living = {name for name in touched if self.now.active(name)}
        existed = self.existed | (living - set(self.changes.new))
        back = {name for name in touched if self.then.active(name) and name in existed}
        down = living | (back & (self.left_over if left_over is None else left_over))
        return ViewBlock(
            down=tuple(reversed(self.now.dependencies_first(down))), up=tuple(self.then.dependencies_first(back))
        )


def undoing(graph: MigrationGraph, order: Sequence[str], applied: AbstractSet[str], name: str) -> Undoing:
    """Return what undoing a migration does to the views.

    Args:
        graph: what is declared.
        order: all declared migrations in the order of the graph.
        applied: what is installed besides it.
        name: of the migration.
    """
    timeline, migration = Timeline(graph), graph.migrations[name]
    # A view that came up late came up with this migration by chance: it stays when the migration is undone.
    course = Course(timeline, applied - graph.migrations.keys(), late=False)
    for each in order:
        if each in applied:
            course.run(graph.migrations[each])
    existed = course.built
    changes = course.run(migration)
    now = timeline.moment(applied={*applied, name})
    return Undoing(
        now=now,
        then=timeline.moment(applied=applied),
        existed=existed,
        changes=changes,
        opened=tuple(dict.fromkeys((*migration.touches, *graph.bounds.get(name, ()), *changes.new, *changes.retired))),
        left_over=frozenset(view for view in changes.up if not now.in_window(view)),
    )


def changes_of(found: Undoing) -> ViewChanges:
    """Return what undoing it does to the views that exist."""
    block = found.block(found.opened)
    exist = (found.existed | set(found.changes.new)) - set(found.changes.retired)
    down = tuple(name for name in block.down if name in exist)
    return ViewChanges(
        down=down,
        up=block.up,
        new=tuple(name for name in block.up if name not in down),
        retired=tuple(name for name in down if name not in block.up),
    )
