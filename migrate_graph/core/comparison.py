"""What changed between two graphs: added, removed, renamed, edited, re-parented, another window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from migrate_graph.core.graph import MigrationGraph, Named, Node, NodeKind
from migrate_graph.core.model import Migration, View, same_fingerprint


class Reparented(Struct, frozen=True):
    """A migration that waits for more than before.

    Attributes:
        migration: as it is now.
        added: requirements that the graph before did not imply.
    """

    migration: Migration
    added: tuple[str, ...]


class Rewindowed(Struct, frozen=True):
    """A view that lives at other times than before.

    Attributes:
        view: as it is now.
        before: as it was.
        changed: which of `since`, `until` and `replaces` differ.
    """

    view: View
    before: View
    changed: tuple[str, ...]


class Comparison(Struct, frozen=True):
    """The difference of two graphs.

    Attributes:
        added: only in the graph after; without the new names of renamed migrations.
        removed: only in the graph before; without the old names of renamed migrations.
        renamed: pairs of a migration before and one after with the same body.
        edited: migrations of both whose body differs; as they are now.
        reparented: migrations of both that wait for more.
        rewindowed: views of both that live at other times.
        rewritten: views of both whose `up` or `down` does something else; as they are now.
    """

    added: tuple[Node, ...]
    removed: tuple[Node, ...]
    renamed: tuple[tuple[Migration, Migration], ...]
    edited: tuple[Migration, ...]
    reparented: tuple[Reparented, ...]
    rewindowed: tuple[Rewindowed, ...]
    rewritten: tuple[View, ...] = ()

    def __bool__(self) -> bool:
        return any(
            (self.added, self.removed, self.renamed, self.edited, self.reparented, self.rewindowed, self.rewritten)
        )


def compare(*, before: MigrationGraph, after: MigrationGraph) -> Comparison:
    """Return what a change does to a graph."""
    renamed = tuple(_renamed(before, after))
    migrations = [*_in_both(before.migrations, after.migrations)]
    views = [*_in_both(before.views, after.views)]
    old_names, new_names = {old.name for old, _ in renamed}, {new.name for _, new in renamed}
    return Comparison(
        added=tuple(node for node in _only(after, before) if node.name not in new_names),
        removed=tuple(node for node in _only(before, after) if node.name not in old_names),
        renamed=renamed,
        edited=tuple(
            now for was, now in migrations if not same_fingerprint(was.facts.fingerprint, now.facts.fingerprint)
        ),
        reparented=tuple(_reparented(before, migrations)),
        rewindowed=tuple(_rewindowed(before, views)),
        rewritten=tuple(now for was, now in views if not same_fingerprint(was.fingerprint, now.fingerprint)),
    )


def _only(this: MigrationGraph, other: MigrationGraph) -> Iterator[Node]:
    yield from (Node(NodeKind.MIGRATION, name) for name in this.migrations if name not in other.migrations)
    yield from (Node(NodeKind.VIEW, name) for name in this.views if name not in other.views)


def _renamed(before: MigrationGraph, after: MigrationGraph) -> Iterator[tuple[Migration, Migration]]:
    """Yield each migration that is gone with the new one that has the same body; a body that several share is left out."""
    gone = [each for name, each in before.migrations.items() if name not in after.migrations]
    new: dict[str, list[Migration]] = {}
    for name, each in after.migrations.items():
        if name not in before.migrations and each.facts.fingerprint:
            new.setdefault(each.facts.fingerprint, []).append(each)
    bodies = Counter(each.facts.fingerprint for each in gone)
    for old in gone:
        candidates = new.get(old.facts.fingerprint, [])
        if bodies[old.facts.fingerprint] == 1 and len(candidates) == 1:
            yield old, candidates[0]


def _in_both(before: Mapping[str, Named], after: Mapping[str, Named]) -> Iterator[tuple[Named, Named]]:
    return ((before[name], now) for name, now in after.items() if name in before)


def _reparented(before: MigrationGraph, both: Iterable[tuple[Migration, Migration]]) -> Iterator[Reparented]:
    for was, now in both:
        if set(now.requires) <= set(was.requires):
            continue
        implied = before.ancestors(was.name) | set(was.requires)
        added = tuple(needed for needed in now.requires if needed not in implied)
        if added:
            yield Reparented(now, added)


def _rewindowed(before: MigrationGraph, both: Iterable[tuple[View, View]]) -> Iterator[Rewindowed]:
    for was, now in both:
        changed = tuple(word for word in ("since", "until", "replaces") if getattr(was, word) != getattr(now, word))
        # To close an open window with a migration that this change adds is how a view is retired.
        retired = (
            changed == ("until",) and was.until is None and now.until is not None and now.until not in before.migrations
        )
        if changed and not retired:
            yield Rewindowed(now, was, changed)
