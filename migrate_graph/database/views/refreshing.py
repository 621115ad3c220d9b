"""Refreshes the materialized views that were created without rows, each in its own transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Observer, ViewRefreshed, ViewRefreshing, Warned
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.views.block import is_unmanaged
from migrate_graph.database.views.catalog import ViewCatalog


class Unfilled(Struct, frozen=True):
    """A materialized view that could not be filled.

    Attributes:
        manager: name of its manager.
        relation: identity of the materialized view.
        error: the exception of the database.
    """

    manager: str
    relation: str
    error: Exception


class Refresher(Struct, frozen=True):
    """Refreshes the materialized views that are marked as unfilled in the view ledger.

    The mark is removed in the transaction that fills the view. So a run that is killed before the commit leaves the mark.

    Attributes:
        catalog: the catalog, on the connection that fills the views.
        ledger: the view ledger, on the same connection.
        commit: commits after each view.
        observer: gets an event for each view.
        only: only the views of these managers; None: all.
    """

    catalog: ViewCatalog
    ledger: ViewLedger
    commit: Callable[[], object]
    observer: Observer
    only: Collection[str] | None

    def run(self) -> tuple[Unfilled, ...]:
        """Fill one view after another, those that others read first; return those that could not be filled."""
        waiting = self._waiting()
        while True:
            left = tuple(filter(None, [self._one(manager, relation) for manager, relation in waiting]))
            # The order of creation is mostly right. A view that reads an unfilled one fails at once, and is tried again in the next round.
            if len(left) in {0, len(waiting)}:
                return left
            waiting = [(each.manager, each.relation) for each in left]

    def _waiting(self) -> list[tuple[str, str]]:
        """Return the managers and their unfilled views: first the views that no longer exist, then the others, oldest first."""
        rows = self.ledger.read_unfilled().items()
        asked = [row for name, row in rows if self.only is None or name in self.only]
        owners = {relation: row.manager for row in asked for relation in row.unfilled}
        there = self.catalog.contents(owners) if owners else {}
        gone = [relation for relation in owners if relation not in there]
        return [(owners[relation], relation) for relation in (*gone, *there)]

    def _one(self, manager: str, relation: str) -> Unfilled | None:
        try:
            with self.catalog.atomic():
                told = list(self._fill(manager, relation))
                self._settle(manager, relation)
            self.commit()
        except Exception as error:  # noqa: BLE001 - a query of the project can raise anything; the other views are filled nevertheless
            return Unfilled(manager, relation, error)
        for event in told:
            self.observer(event)
        return None

    def _fill(self, manager: str, relation: str) -> Iterator[ViewRefreshed | Warned]:
        """Fill one view, if it still needs it; yield the events that are reported after the commit."""
        found = self.catalog.contents([relation]).get(relation)
        if found is None:
            yield Warned(f"{relation} was to be refreshed, and is there no longer")
        elif not found.populated:  # else somebody has refreshed it meanwhile
            self.observer(ViewRefreshing(manager, relation))
            started = time.monotonic()
            self.catalog.fill(relation, role=found.role)
            yield ViewRefreshed(manager, relation, time.monotonic() - started)

    def _settle(self, manager: str, relation: str) -> None:
        """Remove the mark of one view; a row of a view without a manager is deleted when no mark is left."""
        row = self.ledger.read([manager]).get(manager)
        if row is None:
            return
        left = tuple(each for each in row.unfilled if each != relation)
        if left or not is_unmanaged(manager):
            self.ledger.write([replace(row, unfilled=left)])
        else:
            self.ledger.forget([manager])
