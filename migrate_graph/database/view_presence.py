"""Compares what the view ledger remembers of managed views with what the database has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrate_graph.database.view_ledger import LedgerRow, Relation, ViewState
from migrate_graph.database.views import ViewCatalog


@dataclass(frozen=True, slots=True)
class ViewPresence:
    """What has become of the relations that a manager made last.

    A manager that this tool has never run (a database taken over) has none of these.

    Attributes:
        relations: identities, as they were made.
        missing: those that are not in the database.
        changed: those whose definition is another than the one they were made with.
        down: it was taken down and not brought back.
    """

    relations: tuple[str, ...]
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    down: bool = False


def view_presences(catalog: ViewCatalog, rows: Mapping[str, LedgerRow]) -> dict[str, ViewPresence]:
    """Look at every relation in the view ledger; writes nothing.

    Args:
        catalog: of the database.
        rows: of the view ledger, by manager.
    """
    there = catalog.find([relation.identity for row in rows.values() for relation in row.relations])
    now = {relation.identity: relation for relation in catalog.describe(there.values()).values()}
    return {name: _presence(row, now) for name, row in rows.items()}


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
    """Tell whether two definitions differ; those written by two versions of the server are not comparable."""
    comparable = made.fingerprint.partition(":")[0] == now.fingerprint.partition(":")[0]
    return comparable and made.fingerprint != now.fingerprint
