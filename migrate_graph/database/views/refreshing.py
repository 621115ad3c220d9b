"""Fills the materialized views that came up without their rows, each in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Observer, ViewRefreshed, ViewRefreshing, Warned
from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.views.block import is_of_nobody
from migrate_graph.database.views.catalog import ViewCatalog


class Unfilled(Struct, frozen=True):
    """A materialized view that could not be filled.

    Attributes:
        manager: its name.
        relation: the materialized view.
        error: what the database has said.
    """

    manager: str
    relation: str
    error: Exception


class Refresher(Struct, frozen=True):
    """Fills what the view ledger says is to be filled.

    The word of the ledger goes in the transaction in which the rows come: whoever dies before its commit has forgotten nothing.

    Attributes:
        catalog: on the connection that does it.
        ledger: through the same.
        commit: makes one of them durable.
        observer: told what is filled.
        only: what these managers wait for alone; None: everything.
    """

    catalog: ViewCatalog
    ledger: ViewLedger
    commit: Callable[[], object]
    observer: Observer
    only: Collection[str] | None

    def run(self) -> tuple[Unfilled, ...]:
        """Fill one after another, what others read first; return those that could not be filled."""
        waiting = self._waiting()
        while True:
            left = tuple(filter(None, [self._one(manager, relation) for manager, relation in waiting]))
            # One that reads another says so at once, and has its turn when that is filled: the order of creation is mostly right.
            if len(left) in {0, len(waiting)}:
                return left
            waiting = [(each.manager, each.relation) for each in left]

    def _waiting(self) -> list[tuple[str, str]]:
        """Return the managers and their views, oldest views first; what is there no longer comes first."""
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
        except Exception as error:  # noqa: BLE001 - whatever a query of the project's raises; the others are filled nevertheless
            return Unfilled(manager, relation, error)
        for event in told:
            self.observer(event)
        return None

    def _fill(self, manager: str, relation: str) -> Iterator[ViewRefreshed | Warned]:
        """Fill one, where that is to be done still; yield what is to be told when it is durable."""
        found = self.catalog.contents([relation]).get(relation)
        if found is None:
            yield Warned(f"{relation} was to be refreshed, and is there no longer")
        elif not found.populated:  # else somebody was faster
            self.observer(ViewRefreshing(manager, relation))
            started = time.monotonic()
            self.catalog.fill(relation, role=found.role)
            yield ViewRefreshed(manager, relation, time.monotonic() - started)

    def _settle(self, manager: str, relation: str) -> None:
        """Forget that one is to be filled; of what nobody manages nothing else is to be known."""
        row = self.ledger.read([manager]).get(manager)
        if row is None:
            return
        left = tuple(each for each in row.unfilled if each != relation)
        if left or not is_of_nobody(manager):
            self.ledger.write([replace(row, unfilled=left)])
        else:
            self.ledger.forget([manager])
