"""One open block of views: its state, which manager owns each object that was dropped, and the rows of the view ledger for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.events import Observer, ignore_events
from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.relation import NOT_POPULATED, Relation
from migrate_graph.database.views.beside import Built
from migrate_graph.database.views.catalog import Key, Manager, Observation, Reached, top_of
from migrate_graph.database.views.claims import Claims, name_of
from migrate_graph.errors import ViewError


class Block(Struct):
    """One open `with V(db)`: what this block itself took down and brings up.

    Attributes:
        down: managers that went down, dependents first.
        up: managers that come up, dependencies first.
        migration: name of the running migration; empty outside of one.
        observer: gets an event for each view that goes down or comes up.
        texts: fingerprints of the managers' texts, by name.
        used: returns the living managers that those in `up` use, dependencies first.
        deferred: names of the managers whose materialized views are created without rows, and filled after the commit.
        beside: names of the managers whose materialized views are built before the old ones are dropped.
        instead: set while the block waits, with nothing dropped, so that views can be built beside the old ones; opens the block
            in the usual way. None: the block is open.
        built: the views that were built beside the old ones, by manager.
        is_blind: views may come up that cannot be read yet (SQLite): nothing that they use is left to create.
        before: what was read before anything was dropped.
        place: the search_path (PostgreSQL) at that time.
    """

    down: list[Manager]
    up: list[Manager]
    migration: str = ""
    observer: Observer = ignore_events
    texts: Mapping[str, str] = field(default_factory=dict)
    used: Callable[[], Sequence[Manager]] = tuple
    deferred: Container[str] = ()
    beside: Collection[str] = ()
    instead: Callable[[], object] | None = None
    built: dict[str, Built] = field(default_factory=dict)
    is_blind: bool = False
    before: Observation = field(default_factory=Observation)
    place: str = ""

    @property
    def names(self) -> list[str]:
        """Names of the block's managers."""
        return list(dict.fromkeys(name_of(manager) for manager in [*self.down, *self.up]))


class Gone(Struct):
    """What was dropped in one pass, sorted by owner.

    Attributes:
        captured: objects of managers, by the manager's name, in order of creation.
        lost: objects of no manager.
        unread: objects that were not read before they were dropped: the pass must be undone.
    """

    captured: dict[str, list[Relation]] = field(default_factory=dict)
    lost: list[Relation] = field(default_factory=list)
    unread: set[Key] = field(default_factory=set)


def sort_gone(steps: Mapping[Key, str], before: Observation, claims: Claims, *, ignored: bool) -> Gone:
    """Find the owner of every object that was dropped.

    Args:
        steps: the dropped objects, each with the manager whose `down()` dropped it; empty where that is not known.
        before: what was read before.
        claims: what the managers of the block make and drop.
        ignored: an object that was not read before is ignored: `down()` itself has made it.
    """
    gone = Gone()
    lost: dict[Key, Relation] = {}
    reached = before.reached
    tops = {key: top_of(key, reached, steps) for key in reached}
    units = {key: _unit(top, reached, steps) for key, top in tops.items()}
    along = {
        units[key]
        for key, each in reached.items()
        if any(_went_together(units[key], units.get(on, on), steps) for on in each.reasons)
    }
    for key in sorted(steps, key=_by_age):
        thing = before.relations.get(key) or (reached[key].thing if key in reached else None)
        if thing is None:
            if not ignored:
                gone.unread.add(key)
            continue
        if tops.get(key, key) != key:
            continue  # a part of an object that was dropped, too
        owner = claims.owner(thing, before=before, key=key) or (steps[key] if units.get(key, key) not in along else "")
        suspect = "" if owner else claims.suspect(thing, steps[key])
        if not owner and not suspect and not steps[key]:
            # No manager names it: the next pass looks which down() drops it, and whether it is dropped with another object.
            gone.unread.add(key)
        elif not owner and not suspect:
            lost[key] = thing
        elif thing.is_view and key not in before.relations:
            gone.unread.add(key)
        else:
            gone.captured.setdefault(owner or suspect, []).append(thing if owner else replace(thing, certain=False))
    # Of an extension and its members only the extension is reported.
    gone.lost += [thing for key, thing in lost.items() if key not in reached or reached[key].extension not in lost]
    return gone


def _unit(key: Key, reached: Mapping[Key, Reached], gone: Collection[Key]) -> Key:
    """Return the extension that an object belongs to, if that was dropped as well; else the object itself."""
    extension = reached[key].extension if key in reached else None
    return extension if extension is not None and extension in gone else key


def _went_together(one: Key, reason: Key, steps: Mapping[Key, str]) -> bool:
    """Return whether an object may have been dropped with one that it depends on: by the same `down()`, or it is not known by which."""
    return one != reason and reason in steps and (not steps.get(one) or steps[one] == steps[reason])


def _by_age(key: Key) -> tuple[int, str]:
    return (0, key) if isinstance(key, str) else (key[1], "")


def rows_down(
    block: Block, captured: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]
) -> Iterator[LedgerRow]:
    """Yield the rows of a block that is down.

    A materialized view that still needs a refresh is stored as a filled one: it was not meant to be empty, and whether it needs a
    refresh again is decided when it comes up.
    """
    for name in block.names:
        unfilled = rows[name].unfilled if name in rows else ()
        relations = [filled(each) if each.identity in unfilled else each for each in captured.get(name, ())]
        identities = {relation.identity for relation in relations}
        # A view that was already down (its last migration was killed) cannot be read again: what was stored of it stays.
        earlier = rows[name].relations if name in rows and rows[name].state is ViewState.DOWN else ()
        kept = [relation for relation in earlier if relation.identity not in identities]
        text = rows[name].text if name in rows else ""
        yield LedgerRow(name, ViewState.DOWN, block.migration, (*kept, *relations), text)


def filled(relation: Relation) -> Relation:
    """Return a materialized view without the item that says it has no rows."""
    return replace(relation, items=tuple(item for item in relation.items if item.aspect != NOT_POPULATED))


def is_unmanaged(manager: str) -> bool:
    """Return whether a row of the view ledger is that of a view without a manager.

    Such a row has the name of the view with its schema, and the name of a class has no dot.
    """
    return "." in manager


def outline(relation: Relation) -> Relation:
    """Return a relation without what only restoring it needs."""
    definition = relation.definition if relation.is_view else ""
    return replace(relation, definition=definition, items=(), grants=(), columns=())


class StillRead(ViewError):  # noqa: N818 - names what happened
    """An object that no manager of the block owns depends on the views of the block; all of them are up again.

    Attributes:
        managers: names of the managers of the block.
    """

    def __init__(self, message: str, *, hint: str = "", managers: Collection[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.managers = frozenset(managers)


def losses_error(block: Block, losses: Mapping[str, str]) -> StillRead:
    """Return the error that names what would be lost, with the manager of each where there is one."""
    names = ", ".join(map(name_of, block.down or block.up))
    what = "; ".join(
        f"{description} (managed by {owner})" if owner else description for description, owner in losses.items()
    )
    owner = next((owner for owner in losses.values() if owner), "")
    hint = (
        "give it a manager with `uses` (`migrate views adopt` writes one), drop it first, or do without CASCADE in "
        "down(); what a manager itself creates must be named in its up()"
    )
    if owner:
        hint = (
            f"add what it reads to {owner}.uses; where no class is called so any longer, give the view a manager "
            "(`migrate views adopt` writes one)"
        )
    return StillRead(
        f"taking down {names} in {block.migration} would lose what no manager of this block owns: {what}",
        hint=hint,
        managers=block.names,
    )


def committed_error(method: str, names: Iterable[str]) -> ViewError:
    """Return the error of an `up()` or `down()` with a COMMIT in it."""
    return ViewError(
        f"{method}() of {', '.join(dict.fromkeys(names)) or 'a view manager'} commits by itself",
        hint=f"no COMMIT in {method}(): the drop and its record must be one transaction",
    )
