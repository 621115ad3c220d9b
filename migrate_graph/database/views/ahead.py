"""Looks, before a view is built beside the old one, whether it can replace it."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct, field

from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.beside import Beside
from migrate_graph.database.views.block import Block
from migrate_graph.database.views.catalog import (
    NotThatWay,
    Observation,
    Unprepared,
    Unseen,
    ViewCatalog,
    taken_back,
    top_of,
)
from migrate_graph.database.views.claims import Claims, name_of


class Ahead(Struct):
    """What was found before anything is built.

    Attributes:
        wanted: names of the managers whose views are to be built beside the old ones.
        reasons: why a view cannot be built, by its manager; an empty text where there is no old view.
        lost: objects that depend on the views of the block and belong to none of its managers.
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
    """Look before anything is built, and keep no lock. Where too little can be read, nothing is reported, and building finds it out."""
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
            except NotThatWay as error:
                ahead.reasons[name] = error.why
    if ahead.possible:
        claims = Claims(block.down, ledger.read(block.names), block.texts)
        ahead.lost = _unowned(catalog.observe(claims.concern()), claims)


def _unowned(seen: Observation, claims: Claims) -> list[Relation]:
    """Return the objects that depend on the views of a block, are no part of one, and belong to none of its managers."""
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
