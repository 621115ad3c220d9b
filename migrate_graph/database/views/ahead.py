"""Looks, before a view is built beside another, whether it can take the place of that."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct, field

from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.beside import Beside, NotBeside
from migrate_graph.database.views.block import Block
from migrate_graph.database.views.catalog import Observation, Unprepared, Unseen, ViewCatalog, taken_back, top_of
from migrate_graph.database.views.claims import Claims, name_of


class Ahead(Struct):
    """What there is to see.

    Attributes:
        wanted: names of the managers whose views are to be built.
        reasons: for each of those that cannot be, why; empty where there is nothing yet.
        lost: what depends on the views of the block, and belongs to none of its managers.
    """

    wanted: Collection[str]
    reasons: dict[str, str] = field(default_factory=dict)
    lost: list[Relation] = field(default_factory=list)

    @property
    def possible(self) -> list[str]:
        """Names of the managers whose views can be built."""
        return [name for name in self.wanted if name not in self.reasons]


def look_ahead(
    catalog: ViewCatalog, ledger: ViewLedger, beside: Beside, block: Block, wanted: Collection[str]
) -> Ahead:
    """Return what can be seen before anything is built; no lock is kept, and where nothing can be seen it is found out later."""
    ahead = Ahead(wanted)
    try:
        with taken_back(catalog):
            _look(ahead, catalog, ledger, beside, block)
    except (Unprepared, Unseen):
        return Ahead(wanted)
    return ahead


def _look(ahead: Ahead, catalog: ViewCatalog, ledger: ViewLedger, beside: Beside, block: Block) -> None:
    for manager in block.up:
        if (name := name_of(manager)) in ahead.wanted:
            try:
                beside.look(manager)
            except NotBeside as error:
                ahead.reasons[name] = error.why
    if ahead.possible:
        claims = Claims(block.down, ledger.read(block.names), block.texts)
        ahead.lost = _unowned(catalog.observe(claims.concern()), claims)


def _unowned(seen: Observation, claims: Claims) -> list[Relation]:
    """Return what depends on the views of a block, is no part of one, and belongs to none of its managers."""
    things = {
        key: seen.relations.get(key) or each.thing
        for key, each in seen.reached.items()
        if top_of(key, seen.reached, seen.reached) == key
    }
    return [
        thing
        for key, thing in things.items()
        if not claims.owner(thing, before=seen, key=key) and not claims.suspect(thing, "")
    ]
