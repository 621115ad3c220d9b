"""Finds which view managers use which: by the dependencies that the database records between their views."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.views.catalog import ViewCatalog


def uses_seen(
    catalog: ViewCatalog, rows: Mapping[str, LedgerRow], asked_about: Callable[[LedgerRow], bool]
) -> dict[str, frozenset[str]]:
    """Return the managers that each manager uses; a manager whose dependencies the database does not record is left out.

    Args:
        catalog: catalog of the database.
        rows: rows of the view ledger, by manager.
        asked_about: tells of a row whether its manager is in the result.
    """
    made = {
        each.identity: (name, each) for name, row in rows.items() if row.state is ViewState.UP for each in row.relations
    }
    there = catalog.find([each for _, each in made.values()])
    owners = {key: made[identity][0] for identity, (key, _) in there.items()}
    asked = [key for key, name in owners.items() if asked_about(rows[name])]
    reads = catalog.reads_of(asked)
    found: dict[str, set[str]] = {owners[key]: set() for key in asked}
    for key in asked:
        if key not in reads:
            found.pop(owners[key], None)
    for key, read in reads.items():
        if owners[key] in found:
            found[owners[key]] |= {owners[each] for each in read if each in owners} - {owners[key]}
    return {name: frozenset(used) for name, used in found.items()}
