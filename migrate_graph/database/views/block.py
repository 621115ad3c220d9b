"""One open block of views: what is in it, whose is what went, and what the view ledger is told of that."""

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
        deferred: names of the managers whose materialized views come up without their rows, to be filled after the commit.
        beside: names of the managers whose materialized views are built before the old ones go.
        instead: nothing has gone yet, since something is to be built before; opens the block as if nothing were. None: it is open.
        built: what waits for its place.
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
    before: Observation = field(default_factory=Observation)
    place: str = ""

    @property
    def names(self) -> list[str]:
        """Names of its managers."""
        return list(dict.fromkeys(name_of(manager) for manager in [*self.down, *self.up]))


class Gone(Struct):
    """What went in one pass, sorted by whose it is.

    Attributes:
        captured: what is a manager's, by its name, in order of creation.
        lost: what is nobody's.
        unread: what must be read before it goes: the pass is undone.
    """

    captured: dict[str, list[Relation]] = field(default_factory=dict)
    lost: list[Relation] = field(default_factory=list)
    unread: set[Key] = field(default_factory=set)


def sort_gone(steps: Mapping[Key, str], before: Observation, claims: Claims, *, ignored: bool) -> Gone:
    """Find out whose everything is that went.

    Args:
        steps: what went, with the manager whose `down()` it went in, where that is known.
        before: what was there.
        claims: of the managers of the block.
        ignored: what was not there before came and went, and is nobody's loss.
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
            continue  # it is a part of something that went too
        owner = claims.owner(thing, before=before, key=key) or (steps[key] if units.get(key, key) not in along else "")
        suspect = "" if owner else claims.suspect(thing, steps[key])
        if not owner and not suspect and not steps[key]:
            gone.unread.add(
                key
            )  # nobody announced it: the next pass looks in whose down() it goes, and whether by itself
        elif not owner and not suspect:
            lost[key] = thing
        elif thing.is_view and key not in before.relations:
            gone.unread.add(key)
        else:
            gone.captured.setdefault(owner or suspect, []).append(thing if owner else replace(thing, certain=False))
    # Of what goes with an extension, that is told.
    gone.lost += [thing for key, thing in lost.items() if key not in reached or reached[key].extension not in lost]
    return gone


def _unit(key: Key, reached: Mapping[Key, Reached], gone: Collection[Key]) -> Key:
    """Return what can only go as a whole: an extension with its members."""
    extension = reached[key].extension if key in reached else None
    return extension if extension is not None and extension in gone else key


def _went_together(one: Key, reason: Key, steps: Mapping[Key, str]) -> bool:
    """Return whether something may have gone because what it depends on went: both in one `down()`, or nobody knows in which."""
    return one != reason and reason in steps and (not steps.get(one) or steps[one] == steps[reason])


def _by_age(key: Key) -> tuple[int, str]:
    return (0, key) if isinstance(key, str) else (key[1], "")


def rows_down(
    block: Block, captured: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]
) -> Iterator[LedgerRow]:
    """Yield the rows of a block that is down.

    What waits to be filled is stored as if it were: it was not meant to be empty, and how it comes up decides whether it waits again.
    """
    for name in block.names:
        unfilled = rows[name].unfilled if name in rows else ()
        relations = [filled(each) if each.identity in unfilled else each for each in captured.get(name, ())]
        identities = {relation.identity for relation in relations}
        # A view that was down already (its last migration died) is not captured again: its earlier capture stays.
        earlier = rows[name].relations if name in rows and rows[name].state is ViewState.DOWN else ()
        kept = [relation for relation in earlier if relation.identity not in identities]
        text = rows[name].text if name in rows else ""
        yield LedgerRow(name, ViewState.DOWN, block.migration, (*kept, *relations), text)


def filled(relation: Relation) -> Relation:
    """Return a materialized view as if it had its rows."""
    return replace(relation, items=tuple(item for item in relation.items if item.aspect != NOT_POPULATED))


def is_of_nobody(manager: str) -> bool:
    """Return whether a row of the view ledger is of a view that has no manager, and is called as the view is: no class has a dot in its name."""
    return "." in manager


def outline(relation: Relation) -> Relation:
    """Leave out what only a restore needs."""
    definition = relation.definition if relation.is_view else ""
    return replace(relation, definition=definition, items=(), grants=(), columns=())


class StillRead(ViewError):  # noqa: N818 - names what happened
    """Something that no manager of the block has made depends on what goes down; all of it is up again."""


def losses_error(block: Block, losses: Mapping[str, str]) -> StillRead:
    """Return the refusal that names what would be lost, with the manager of each where there is one."""
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
        f"taking down {names} in {block.migration} would lose what no manager of this block owns: {what}", hint=hint
    )


def committed_error(method: str, names: Iterable[str]) -> ViewError:
    """Return the refusal of an `up()` or `down()` with a COMMIT in it."""
    return ViewError(
        f"{method}() of {', '.join(dict.fromkeys(names)) or 'a view manager'} commits by itself",
        hint=f"no COMMIT in {method}(): the drop and its record must be one transaction",
    )
