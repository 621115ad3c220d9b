"""Brings back views that a killed or failed run has left down: by their manager, or else from the stored definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.events import Event, Observer, ViewCreated, Warned
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.views.block import is_unmanaged, outline
from migrate_graph.database.views.catalog import Manager, ViewCatalog
from migrate_graph.database.views.claims import Claims, name_of
from migrate_graph.messages import first_line


class Unrepaired(Struct, frozen=True):
    """A manager whose views are still down after a repair pass.

    Attributes:
        manager: name of the manager.
        relations: identities of the missing relations.
        error: why they could not be brought back.
    """

    manager: str
    relations: tuple[str, ...]
    error: str


def _unrepaired(row: LedgerRow, error: str) -> Unrepaired:
    return Unrepaired(row.manager, tuple(relation.identity for relation in row.relations), error)


def _heir(row: LedgerRow, managers: Mapping[str, Manager], rows: Mapping[str, LedgerRow]) -> Manager | None:
    """Return the living manager that makes the views of a row and has no row yet; None where there is none.

    It is asked for a row whose own manager is not living, for example because its class was renamed.
    """
    for name, manager in managers.items():
        claims, views = Claims([manager], {}), [each for each in row.relations if each.is_view]
        if name not in rows and views and all(map(claims.owner, views)):
            return manager
    return None


class Repair(Struct, frozen=True):
    """Repairs the views of a database, outside of a migration; the caller commits.

    Attributes:
        catalog: catalog of the database.
        ledger: the view ledger, which says which views are down.
        bring_back: lets a manager create its views, and restores their stored properties.
        texts: fingerprints of the managers' texts, by name; they are stored in the view ledger.
        observer: gets an event for each view that comes up.
    """

    catalog: ViewCatalog
    ledger: ViewLedger
    bring_back: Callable[[LedgerRow, Manager, Mapping[str, str], Observer], None]
    texts: Mapping[str, str]
    observer: Observer

    def run(self, living: Sequence[Manager], *, declared: AbstractSet[str]) -> tuple[Unrepaired, ...]:
        """Bring back as much as possible; return the managers whose views could not be brought back.

        Args:
            living: see `ViewKeeper.repair`.
            declared: see `ViewKeeper.repair`.
        """
        down = self.ledger.read(down=True)
        managers = {name_of(manager): manager for manager in living}
        settled = [name for name in down if name in declared and name not in managers]
        for name, row in down.items():
            if name not in declared and not row.relations:
                settled.append(name)
                self.observer(Warned(f"{name} is declared no longer and never came up: there is nothing to bring back"))
        self.ledger.forget(settled)
        place = {name: at for at, name in enumerate(managers)}
        waiting = sorted(down.keys() - set(settled), key=lambda name: (place.get(name, len(place)), name))
        errors: dict[str, str] = {}
        doubt = self.catalog.distrust(self.ledger.table) if waiting else ""
        if doubt:  # stored SQL would run with the rights of this session's role
            return tuple(_unrepaired(down[name], f"nothing stored is run: {doubt}") for name in waiting)
        before = len(waiting) + 1
        while 0 < len(waiting) < before:
            # The order of stored definitions is not known: a view that comes up in this round may be read by one that failed.
            before = len(waiting)
            waiting = [name for name in waiting if not self._succeeds(name, managers, errors)]
        return tuple(_unrepaired(down[name], errors[name]) for name in waiting)

    def _succeeds(self, name: str, managers: Mapping[str, Manager], errors: dict[str, str]) -> bool:
        errors.pop(name, None)  # the error of the last round, when a view that it reads was missing
        row = self.ledger.read([name])[name]
        if row.state is ViewState.UP:
            return True
        if not row.relations and name not in managers:  # another manager has brought up its views
            self.ledger.forget([name])
            return True
        heir = managers.get(name) or _heir(row, managers, self.ledger.read())
        ways: list[Callable[[Observer], None]] = [partial(self._recreate, row)] if row.relations else []
        if heir is not None:
            ways.insert(0, partial(self.bring_back, replace(row, manager=name_of(heir)), heir, self.texts))
        for way in ways:
            told: list[Event] = []  # what a way that fails says is undone with it
            try:
                with self.catalog.atomic(ours=True):
                    way(told.append)
                    if heir is not None and way is ways[0] and name_of(heir) != name:
                        self.ledger.forget([name])
            except Exception as error:  # noqa: BLE001 - a user's up() may raise anything; the next way may work
                errors.setdefault(name, first_line(error))
            else:
                for event in told:
                    if isinstance(event, Warned):
                        self.observer(event)
                self.observer(ViewCreated("", name))
                return True
        return False

    def _recreate(self, row: LedgerRow, observer: Observer) -> None:
        there = self.catalog.find(row.relations)
        for relation in row.relations:
            if relation.identity not in there:
                for warning in self.catalog.recreate(relation):
                    observer(Warned(warning))
        if is_unmanaged(row.manager):
            self.ledger.forget([row.manager])
            return
        found = self.catalog.find(row.relations)
        views = self.catalog.describe([key for key, each in found.values() if each.is_view])
        relations = [views.get(key, each) for key, each in found.values()]
        self.ledger.write([LedgerRow(row.manager, ViewState.UP, "", tuple(map(outline, relations)), row.text)])
