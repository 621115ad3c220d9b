"""Compares what the view ledger remembers of managed views, or their text says, with what the database has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import ViewCatalog
from migrate_graph.database.views.manager_text import names_created


@dataclass(frozen=True, slots=True)
class ViewPresence:
    """What has become of the relations that a manager made last.

    Attributes:
        relations: identities, as they were made; of a manager that never ran here (a database taken over), as it writes them.
        missing: those that are not in the database.
        changed: those whose definition is another than the one they were made with.
        down: it was taken down and not brought back.
    """

    relations: tuple[str, ...]
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    down: bool = False


def view_presences(
    catalog: ViewCatalog, rows: Mapping[str, LedgerRow], managers: Mapping[str, type]
) -> dict[str, ViewPresence]:
    """Look for every relation of some managers; writes nothing.

    Args:
        catalog: of the database.
        rows: of the view ledger, by manager.
        managers: by name; one that never ran here is known when the SQL in its `up()` says what it creates.
    """
    known = {name: row for name, row in rows.items() if name in managers}
    written = {name: names_created(kind) for name, kind in managers.items() if name not in rows}
    there = catalog.find([relation for row in known.values() for relation in row.relations])
    now = {relation.identity: relation for relation in catalog.describe([key for key, _ in there.values()]).values()}
    found = catalog.find([Relation(each, each, "VIEW") for names in written.values() for each in names])
    return {name: _presence(row, now) for name, row in known.items()} | {
        name: ViewPresence(names, missing=tuple(each for each in names if each not in found))
        for name, names in written.items()
        if names
    }


def _presence(row: LedgerRow, now: Mapping[str, Relation]) -> ViewPresence:
    return ViewPresence(
        relations=tuple(each.identity for each in row.relations),
        missing=tuple(each.identity for each in row.relations if each.identity not in now),
        changed=tuple(
            each.identity for each in row.relations if each.identity in now and _differs(each, now[each.identity])
        ),
        down=row.state is ViewState.DOWN,
    )


def _differs(made: Relation, now: Relation) -> bool:
    """Return whether two definitions differ; those written by two versions of the server are not comparable."""
    comparable = made.fingerprint.partition(":")[0] == now.fingerprint.partition(":")[0]
    return comparable and made.fingerprint != now.fingerprint
