"""Takes managed views down and brings them up again without losing anything, in the migration's own transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from migrate_graph.core.events import Observer, ViewBuilt, ViewFellBack, ignore_events
from migrate_graph.core.model import Way
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.ahead import look_ahead
from migrate_graph.database.views.beside import Beside, Builder
from migrate_graph.database.views.block import Block, StillRead, committed_error, outline
from migrate_graph.database.views.catalog import CommittedInside, Key, Manager, NotThatWay, Observation, ViewCatalog
from migrate_graph.database.views.claims import name_of
from migrate_graph.database.views.down import Down
from migrate_graph.database.views.manager_text import names_created
from migrate_graph.database.views.refreshing import Refresher, Unfilled
from migrate_graph.database.views.repair import Repair, Unrepaired
from migrate_graph.database.views.replacing import Renewal, Replaced, replaced
from migrate_graph.database.views.up import RolledBack, Up
from migrate_graph.database.views.uses_seen import uses_seen
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line


class ViewKeeper:
    """Takes the views of one attempt at a migration down and brings them up.

    A block is a `with V(db)` of the migration. Blocks may be nested; the views of each manager go down and come up only once.
    Everything happens on the migration's own connection, in its open transaction. So the drop of a view and its row in the view
    ledger are committed together.

    Attributes:
        unfilled: names of the managers whose materialized views came up without rows, in this order; the view ledger names the views.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger, builder: Builder | None = None) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._down = Down(catalog, ledger)
        self._up = Up(catalog, ledger)
        self._beside = Beside(catalog, builder) if builder else None
        self._blocks: list[Block] = []
        self._rolled_back: list[str] = []
        self._opened = set[str]()
        self._at_work = False
        self.unfilled: dict[str, None] = {}

    @property
    def is_at_work(self) -> bool:
        """Whether statements are sent by this keeper now, or by a manager that it calls; else by the body."""
        return self._at_work

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark the statements that are sent inside the `with` block as the keeper's own."""
        before, self._at_work = self._at_work, True
        try:
            yield
        finally:
            self._at_work = before

    # -- a block ----------------------------------------------------------------------------------------------------

    def take_down(
        self,
        down: Sequence[Manager],
        up: Sequence[Manager],
        *,
        migration: str,
        observer: Observer = ignore_events,
        texts: Mapping[str, str] | None = None,
        used: Callable[[], Sequence[Manager]] = tuple,
        deferred: Container[str] = (),
        beside: Collection[str] = (),
        instead: Callable[[], object] | None = None,
    ) -> None:
        """Open a block: run every `down()` once and write the view ledger.

        Where views are to be built beside the old ones, nothing is dropped until the block is left or its body sends a statement.

        Views that an outer block has already taken down are left to that block. Nothing stays dropped when this raises. When a
        `down()` drops an object that neither the view ledger nor the manager's text names, everything is undone, the object is
        read, and every `down()` runs again.

        Args:
            down: managers to take down, dependents first.
            up: managers that come up when the block is left, dependencies first.
            migration: name of the running migration.
            observer: gets an event for each view that goes down and, later, comes up.
            texts: fingerprints of the managers' texts, by name; they are stored in the view ledger.
            used: returns the living managers that those in `up` use, dependencies first; called when a relation is missing.
            deferred: names of the managers whose materialized views are created without rows.
            beside: names of the managers whose materialized views are built beside the old ones, where that is possible.
            instead: opens the same block without building anything beside; called when that is not possible.

        Raises:
            ViewError: an object that no manager of this block owns depends on one of these views, or was dropped with it.
        """
        if not self._taken().issuperset(map(name_of, (*down, *up))):
            self._open_waiting()
        taken = self._taken()
        downs, ups = ([each for each in some if name_of(each) not in taken] for some in (down, up))
        block = Block(downs, ups, migration, observer, texts or {}, used, deferred)
        self._opened.update(block.names)
        if beside and self._beside and not taken and (possible := self._look_ahead(block, beside, self._beside)):
            block.beside, block.instead = possible, instead
        else:
            self._begin(block)
        self._blocks.append(block)

    def _begin(self, block: Block) -> None:
        """Take down the views of a block."""
        if block.names:
            with self.working():
                self._down.run(block)

    def _look_ahead(self, block: Block, wanted: Collection[str], beside: Beside) -> list[str]:
        """Return the managers whose views can be built beside the old ones, as far as that is known beforehand.

        Raises:
            ViewError: an object that no manager of the block owns depends on its views; raised before anything is built.
        """
        with self.working():
            ahead = look_ahead(self._catalog, self._ledger, beside, block, wanted)
            self._fall_back(block, ahead.reasons)
            if ahead.possible:
                self._down.refuse_losses(block, Observation(), ahead.lost)
        return ahead.possible

    @staticmethod
    def _fall_back(block: Block, reasons: Mapping[str, str]) -> None:
        for name, why in reasons.items():
            if why:
                block.observer(ViewFellBack(block.migration, name, Way.BESIDE, why))

    def before_statement(self, text: str = "") -> None:  # noqa: ARG002 - `HeldKeeper` needs it
        """Take down the views of waiting blocks: the body sends a statement inside the block, and may need the old views gone.

        A block waits when its views are to be built beside the old ones. `text` is the statement.
        """
        self._open_waiting()

    def _open_waiting(self) -> None:
        waiting = [] if self._at_work else [block for block in self._blocks if block.instead]
        for block in waiting:
            self._fall_back(block, dict.fromkeys(block.beside, "the migration goes on while its block is open"))
            self._open_instead(block)

    def _open_instead(self, block: Block) -> None:
        """Take down the views of a block that has waited so that new views could be built beside them."""
        at, instead = next(at for at, each in enumerate(self._blocks) if each is block), block.instead
        del self._blocks[at]
        try:
            if instead is not None:
                instead()
                block = self._blocks.pop()
        finally:  # after an error the waiting block is put back: leaving it raises the same error again
            self._blocks.insert(at, block)

    def _taken(self) -> set[str]:
        """Return the names of the managers of all open blocks."""
        return {name for block in self._blocks for name in block.names}

    def bring_up(self) -> None:
        """Leave the innermost block: run every `up()` once, restore grants, comments and so on, and update the view ledger.

        Raises:
            ViewError: a view did not come up, or a property of it cannot be restored.
        """
        block = self._blocks.pop()
        if block.instead and self._beside and not self._exchange(block, self._beside):
            block.instead()
            block = self._blocks.pop()
        if block.names and not block.instead:
            with self.working():
                self._leave(block)

    def _exchange(self, block: Block, beside: Beside) -> bool:
        """Build views beside the old ones, and exchange them; return whether that was possible. If not, everything is as before."""
        try:
            with self.working(), self._catalog.atomic():
                self._build(block, beside)
                try:
                    self._down.run(block)
                except StillRead as error:
                    raise NotThatWay(error.message) from error
                self._run_up(block)
        except NotThatWay as error:
            self._fall_back(block, dict.fromkeys(block.beside, error.why))
            return False
        except CommittedInside as error:
            with self.working():
                beside.clear(block.built.values())
            raise committed_error("up", block.names) from error
        except ViewError as error:
            if isinstance(error.__cause__, CommittedInside):
                with self.working():
                    beside.clear(block.built.values())
            raise
        return True

    def _build(self, block: Block, beside: Beside) -> None:
        for manager in block.up:
            if (name := name_of(manager)) not in block.beside:
                continue
            started = time.monotonic()
            try:
                built = beside.build(manager, partial(self._down.call, what=f"{name}.up()", block=block))
            except Exception as error:
                if self._catalog.is_undefined(error):  # the view reads one that does not exist yet
                    raise NotThatWay(first_line(error)) from error
                raise
            block.built[name] = built
            block.observer(ViewBuilt(block.migration, name, time.monotonic() - started))

    @property
    def replaces(self) -> bool:
        """Whether the database can give a view another definition without dropping it."""
        return self._catalog.in_place() is not None

    def replace(self, renewal: Renewal) -> Replaced:
        """Replace views without dropping them, all or none.

        Raises:
            ViewError: the text of a manager ends the transaction.
        """
        if self.is_open(renewal.block.names):
            return Replaced(why_not="it is open in a block around this one")
        with self.working():
            try:
                return replaced(self._catalog, self._ledger, renewal)
            except CommittedInside as error:
                raise committed_error("up", renewal.block.names) from error

    def _run_up(self, block: Block, rows: Mapping[str, LedgerRow] | None = None) -> None:
        self.unfilled |= dict.fromkeys(self._up.run(block, rows, taken=self._taken()))

    def _leave(self, block: Block) -> None:
        try:
            self._run_up(block)
        except RolledBack:  # the views are as they were before the block; `check_complete` raises
            self._rolled_back += block.names
        except CommittedInside as error:  # the new views and the rows are committed: a repair corrects the rows
            raise committed_error("up", block.names) from error

    def is_open(self, names: Iterable[str]) -> bool:
        """Return whether any of these managers belongs to an open block."""
        return not self._taken().isdisjoint(names)

    def step_aside(self, block: Block) -> None:
        """Take down a block that the body has not opened; it stays down until `come_back`, whatever blocks are opened and left meanwhile.

        Raises:
            ViewError: an object that no manager of this block owns depends on one of these views, or was dropped with it.
        """
        self._opened.update(block.names)
        with self.working():
            self._down.run(block)

    def stays_down(self, block: Block, rows: Mapping[str, LedgerRow]) -> bool:  # noqa: ARG002 - `HeldKeeper` needs it
        """Return whether such a block is left down when the migration ends, since a later migration would take it down again.

        That happens only where several migrations share one transaction (`HeldKeeper`).
        """
        return False

    def come_back(self, block: Block, rows: Mapping[str, LedgerRow]) -> None:
        """Bring up a block that `step_aside` has taken down.

        Args:
            block: its managers whose views are down.
            rows: their rows in the view ledger; all of them are down.
        """
        with self.working():
            try:
                self._run_up(block, rows)
            except CommittedInside as error:
                raise committed_error("up", block.names) from error

    def remembered(self) -> frozenset[str]:
        """Return the managers that the view ledger knows: their views exist, or will be brought back."""
        return frozenset(self._ledger.read_texts())

    def unrecorded(self, managers: Mapping[str, type]) -> frozenset[str]:
        """Return those of these managers whose views exist, judged by the names in their text, while the view ledger has no row with them."""
        written = {name: names_created(kind) for name, kind in managers.items()}
        there = self._catalog.look_up([each for names in written.values() for each in names])
        keys = {each: there[each][0] for names in written.values() for each in names if each in there}
        now = self._catalog.definitions(keys.values())
        identities = {key: relation.identity for key, relation in now.items() if relation is not None}
        rows = self._ledger.read_naming(set(identities.values()))
        made = {each.identity for row in rows.values() for each in row.relations}
        return frozenset(
            name
            for name, names in written.items()
            if any(each in keys and identities.get(keys[each], "") not in made for each in names)
        )

    def dropped_by_hand(self, names: Collection[str]) -> frozenset[str]:
        """Return those of these managers whose views are up according to the view ledger, although not one of them exists."""
        rows = {name: row for name, row in self._ledger.read(names).items() if row.state is ViewState.UP}
        views = {name: [each.identity for each in row.relations if each.is_view] for name, row in rows.items()}
        there = self._catalog.look_up([identity for some in views.values() for identity in some])
        return frozenset(name for name, some in views.items() if some and not any(each in there for each in some))

    def forget(self, names: Collection[str]) -> None:
        """Delete the rows of these managers from the view ledger."""
        self._ledger.forget(names)

    def uses_seen(self, migration: str | None = None) -> dict[str, frozenset[str]]:
        """Return which managers each manager uses; only of those that came up in `migration`, if given. See `uses_seen.uses_seen`."""
        with self.working(), self._catalog.atomic(ours=True):
            rows = self._ledger.read()
            return uses_seen(self._catalog, rows, lambda row: migration is None or row.migration == migration)

    def unreadable(self) -> dict[str, str]:
        """Return the views that came up in this attempt and cannot be read, each with the reason; SQLite creates such views."""
        with self.working():
            return self._catalog.unreadable(self._up.doubtful.values())

    def misses_something(self, error: BaseException) -> bool:
        """Return whether an error of the database says that a statement names something that does not exist."""
        return self._catalog.is_undefined(error)

    def abandon(self) -> None:
        """Leave the innermost block, which failed, without bringing anything up."""
        self._blocks.pop()

    def check_complete(self) -> None:
        """Raise when views are missing, so that the migration does not count as successful.

        Views that it has not opened are not its fault: a migration that runs beside it may have them down now, or one that failed.

        Raises:
            ViewError: views that it opened are down, or the migration rolled back inside a block.
        """
        if self._rolled_back:
            raise ViewError(
                f"the migration rolled back inside `with {self._rolled_back[0]}(db)`, so its views were not rebuilt",
                hint="call db.rollback() only outside of the block",
            )
        missing = self._missing()
        if missing:
            raise ViewError(
                f"views are still down: {', '.join(missing)}",
                hint="an exception inside `with V(db)` must leave the block and the migration",
            )

    def _missing(self) -> list[str]:
        """Return the managers whose views this attempt has opened, and which are down."""
        return sorted(self._opened.intersection(stored.manager for stored in self._ledger.read_down()))

    def refresh(
        self, observer: Observer, *, commit: Callable[[], object], only: Collection[str] | None = None
    ) -> tuple[Unfilled, ...]:
        """Refresh every materialized view that was created without rows, one after another; return those that could not be filled.

        Args:
            observer: gets an event for each view.
            commit: commits after each view.
            only: only the views of these managers; None: all.
        """
        with self.working():
            return Refresher(self._catalog, self._ledger, commit, observer, only).run()

    # -- repair -----------------------------------------------------------------------------------------------------

    def repair(
        self,
        living: Sequence[Manager],
        *,
        declared: AbstractSet[str],
        observer: Observer = ignore_events,
        texts: Mapping[str, str] | None = None,
    ) -> tuple[Unrepaired, ...]:
        """Bring back the views that are down according to the view ledger: by their manager, or else from the stored definition.

        Runs outside of a migration; the caller commits.

        Args:
            living: an instance of every manager whose view exists after the applied migrations, dependencies first.
            declared: names of all declared managers. The row of a declared manager that does not live is deleted, since its view is
                not wanted now. The row of a manager that is not declared any more (its class was renamed, or deleted) goes to the
                living manager that makes its views.
            observer: gets an event for each view that comes up.
            texts: fingerprints of the managers' texts, by name; they are stored in the view ledger.

        Returns:
            The managers whose views could not be brought back.
        """
        repair = Repair(self._catalog, self._ledger, self._up.bring_back, texts or {}, observer)
        return repair.run(living, declared=declared)

    def renew(self) -> None:
        """Store every view that is up in the view ledger as it is now; called after a restore, which changes how the server writes definitions."""
        rows = self._ledger.read()
        found = self._catalog.look_up(
            [each.identity for row in rows.values() for each in row.relations if each.is_view]
        )
        now = self._catalog.describe([key for key, _ in found.values()])
        self._ledger.write(
            replace(row, relations=tuple(self._renewed(each, found, now) for each in row.relations))
            for row in rows.values()
            if row.state is ViewState.UP
        )

    @staticmethod
    def _renewed(relation: Relation, found: Mapping[str, tuple[Key, str]], now: Mapping[Key, Relation]) -> Relation:
        there = now.get(found[relation.identity][0]) if relation.identity in found else None
        return outline(there) if there else relation
