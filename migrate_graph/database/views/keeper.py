"""Takes managed views down and brings them up again without losing anything, in the migration's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial

from migrate_graph.core.events import Observer, ViewCreated, ViewDropped, Warned, ignore_events
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import CommittedInside, Key, Manager, Observation, ViewCatalog
from migrate_graph.database.views.manager_text import speaks_of
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line


@dataclass(slots=True)
class _Block:
    """One open `with V(db)`: what this block itself took down and brings up."""

    down: list[Manager]
    up: list[Manager]
    migration: str
    observer: Observer
    before: Observation = field(default_factory=lambda: Observation({}, ()))
    place: str = ""

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name_of(manager) for manager in [*self.down, *self.up]))


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """A manager whose views are still down after a repair pass.

    Attributes:
        manager: its name.
        relations: what is missing.
        error: why it could not be brought back.
    """

    manager: str
    relations: tuple[str, ...]
    error: str


def name_of(manager: Manager) -> str:
    """Return a manager's name."""
    return type(manager).__name__


class ViewKeeper:
    """Keeps the views of one attempt at a migration: blocks may be nested, each manager goes down and up once.

    Everything happens on the migration's own connection and in its open transaction: what is down stands in the view
    ledger as soon, and only then, as its drop is durable.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._blocks: list[_Block] = []
        self._rolled_back: list[str] = []

    # -- a block ----------------------------------------------------------------------------------------------------

    def take_down(
        self, down: Sequence[Manager], up: Sequence[Manager], *, migration: str, observer: Observer = ignore_events
    ) -> None:
        """Open a block: run every `down()` once and write the view ledger.

        What an outer block has taken down already is left to it. Nothing stays dropped when this raises.

        Args:
            down: instances, dependents first.
            up: instances that come up when the block is left, dependencies first.
            migration: the running migration.
            observer: told what goes down and, later, what comes up.

        Raises:
            ViewError: something that no manager of this block owns depends on one of these views, or was dropped along.
        """
        taken = {name for block in self._blocks for name in block.names}
        block = _Block(
            [manager for manager in down if name_of(manager) not in taken],
            [manager for manager in up if name_of(manager) not in taken],
            migration,
            observer,
        )
        if block.names:
            self._run_down(block)
        self._blocks.append(block)

    def bring_up(self) -> None:
        """Leave the innermost block: run every `up()` once, restore what was captured, clear the view ledger.

        Raises:
            ViewError: a view did not come up, or something cannot be restored.
        """
        block = self._blocks.pop()
        if not block.names:
            return
        rows = self._ledger.read()
        if any(name not in rows or rows[name].state is not ViewState.DOWN for name in block.names):
            # The migration rolled back inside the block, so the views are as they were; judged by `check_complete`.
            self._rolled_back += block.names
            return
        try:
            with self._catalog.atomic():
                self._run_up(block, rows)
        except CommittedInside as error:  # what came up is durable, and so are the rows: a repair pass sorts it out
            raise _committed("up", block.names) from error

    def abandon(self) -> None:
        """Leave the innermost block without bringing anything up: it failed."""
        self._blocks.pop()

    def check_complete(self) -> None:
        """Refuse to call a migration successful while views are missing.

        Raises:
            ViewError: views are down, or the migration rolled back inside a block.
        """
        if self._rolled_back:
            raise ViewError(
                f"the migration rolled back inside `with {self._rolled_back[0]}(db)`, so its views were not rebuilt",
                hint="call db.rollback() only outside of the block",
            )
        missing = sorted({stored.manager for stored in self._ledger.read_down()})
        if missing:
            raise ViewError(
                f"views are still down: {', '.join(missing)}",
                hint="an exception inside `with V(db)` must leave the block and the migration",
            )

    # -- down -------------------------------------------------------------------------------------------------------

    def _run_down(self, block: _Block) -> None:
        rows = self._ledger.read()
        before = block.before = self._catalog.observe()
        block.place = self._catalog.place()
        dropped: dict[Key, str] = {}
        try:
            with self._catalog.atomic():
                self._drop(block, before, dropped)
                self._refuse_losses(block, before, dropped, rows)
                self._ledger.write(_rows_down(block, before, dropped, rows))
        except CommittedInside as error:
            # A raw COMMIT inside a `down()`: the drop may be durable, so the row must be too, before anything else.
            self._ledger.write(_rows_down(block, before, dropped, rows))
            self._catalog.commit()
            raise _committed("down", dropped.values()) from error

    def _drop(self, block: _Block, before: Observation, dropped: dict[Key, str]) -> None:
        remaining = set(before.relations)
        for manager in block.down:
            self._call(manager.down, f"{name_of(manager)}.down()", block)
            gone = remaining - self._catalog.present()
            dropped.update(dict.fromkeys(gone, name_of(manager)))
            remaining -= gone
            if gone:  # down() is called before a first creation too
                block.observer(ViewDropped(block.migration, name_of(manager)))

    def _call(self, method: Callable[[], None], what: str, block: _Block) -> None:
        """Run `up()` or `down()`, and see to it that it neither commits nor swallows an SQL error."""
        try:
            with self._catalog.commits_held():
                method()
        except Exception as error:
            refused = self._catalog.refusal(error)
            if refused is None:
                raise
            raise ViewError(
                f"{what} in {block.migration} is refused: no manager of this block owns what depends on it: {refused}",
                hint="give it a manager with `uses` (`migrate views adopt` writes one), or drop it first",
            ) from error
        if self._catalog.is_aborted():
            raise ViewError(f"{what} swallowed an SQL error", hint="let the exception pass")

    def _refuse_losses(
        self, block: _Block, before: Observation, dropped: Mapping[Key, str], rows: Mapping[str, LedgerRow]
    ) -> None:
        """Find what went along by CASCADE (SQLite: what no longer works) and belongs to no manager of this block."""
        managers = {name_of(manager): manager for manager in block.down}
        owners = {relation.identity: row.manager for row in rows.values() for relation in row.relations}
        reads = {(each.relation, each.on) for each in before.dependents if each.is_relation}
        losses: dict[str, str] = {}
        for key, name in dropped.items():
            relation = before.relations[key]
            owner = owners.get(relation.identity)
            along = (
                any((key, other) in reads for other, by in dropped.items() if by == name) if owner is None else False
            )
            if (owner is not None and owner not in managers) or (
                along and not speaks_of(type(managers[name]), relation.name)
            ):
                losses[f"{relation.kind.lower()} {relation.identity}"] = owner or ""
        for each in self._catalog.lost(before):
            by = dropped.get(each.on)
            if by and each.relation not in dropped and not (each.name and speaks_of(type(managers[by]), each.name)):
                losses[each.description] = ""
        if losses:
            raise _losses(block, losses)

    # -- up ---------------------------------------------------------------------------------------------------------

    def _run_up(self, block: _Block, rows: Mapping[str, LedgerRow]) -> None:
        made: dict[Key, str] = {}
        known = self._catalog.present()
        with self._catalog.standing_at(block.place):  # a view comes up where it was, wherever the body went meanwhile
            for manager in block.up:
                self._call(manager.up, f"{name_of(manager)}.up()", block)
                now = self._catalog.present()
                made.update(dict.fromkeys(now - known, name_of(manager)))
                known = now
                block.observer(ViewCreated(block.migration, name_of(manager)))
        stored = {relation.identity: relation for name in block.names for relation in rows[name].relations}
        relations = self._catalog.describe(made)
        for relation in relations.values():
            if relation.identity in stored:
                for warning in self._catalog.restore(stored[relation.identity], relation):
                    block.observer(Warned(warning))
        broken = [each.description for each in self._catalog.broken(block.before)]
        if broken:
            raise ViewError(
                f"after {block.migration} this works no longer: {'; '.join(broken)}",
                hint="give it a manager, or drop it",
            )
        created: dict[str, list[Relation]] = {name_of(manager): [] for manager in block.up}
        for key, relation in relations.items():
            created[made[key]].append(relation)
        self._refuse_missing(block, rows, created)
        self._settle(block, created)

    def _refuse_missing(
        self, block: _Block, rows: Mapping[str, LedgerRow], created: Mapping[str, list[Relation]]
    ) -> None:
        wanted = {relation.identity: name for name in created for relation in rows[name].relations}
        for identity in sorted(wanted.keys() - self._catalog.find(wanted).keys()):
            name = wanted[identity]
            if not created[name]:
                raise ViewError(
                    f"{name}.down() dropped {identity}, and {name}.up() created nothing",
                    hint=f"let {name}.up() create what {name}.down() drops",
                )
            block.observer(
                Warned(f"{name}.up() no longer creates {identity}", hint="drop it from down() if that is meant")
            )

    def _settle(self, block: _Block, made: Mapping[str, list[Relation]]) -> None:
        """Turn the rows of a block from down to up; views that retired are forgotten."""
        self._ledger.write(
            LedgerRow(name, ViewState.UP, block.migration, tuple(_outline(relation) for relation in relations))
            for name, relations in made.items()
        )
        self._ledger.forget(name for name in block.names if name not in made)

    # -- repair -----------------------------------------------------------------------------------------------------

    def repair(
        self, living: Sequence[Manager], *, declared: AbstractSet[str], observer: Observer = ignore_events
    ) -> tuple[Unrepaired, ...]:
        """Bring back what the view ledger says is down: by its manager, or else from the stored definition.

        Runs outside of a migration; the caller commits.

        Args:
            living: instances of every manager that lives with the applied migrations, dependencies first.
            declared: names of all declared managers: a row of one that does not live is settled, its window is closed.
            observer: told what comes up.

        Returns:
            What could not be brought back.
        """
        down = {name: row for name, row in self._ledger.read().items() if row.state is ViewState.DOWN}
        managers = {name_of(manager): manager for manager in living}
        retired = [name for name in down if name in declared and name not in managers]
        self._ledger.forget(retired)
        place = {name: at for at, name in enumerate(managers)}
        waiting = sorted(down.keys() - set(retired), key=lambda name: (place.get(name, len(place)), name))
        errors: dict[str, str] = {}
        progress = True
        while waiting and progress:
            # Stored definitions have no order of their own: whatever works now may be what the next one reads.
            failed = [
                name for name in waiting if not self._repair_one(down[name], managers.get(name), errors, observer)
            ]
            progress = len(failed) < len(waiting)
            waiting = failed
        return tuple(
            Unrepaired(name, tuple(relation.identity for relation in down[name].relations), errors[name])
            for name in waiting
        )

    def _repair_one(self, row: LedgerRow, manager: Manager | None, errors: dict[str, str], observer: Observer) -> bool:
        ways: list[Callable[[], None]] = [partial(self._recreate, row)]
        if manager is not None:
            ways.insert(0, partial(self._bring_back, row, manager))
        for way in ways:
            try:
                with self._catalog.atomic():
                    way()
            except Exception as error:  # noqa: BLE001 - a user's up() may raise anything; the next way may work
                errors.setdefault(row.manager, first_line(error))
            else:
                observer(ViewCreated("", row.manager))
                return True
        return False

    def _bring_back(self, row: LedgerRow, manager: Manager) -> None:
        block = _Block([], [manager], "", ignore_events)
        there = self._catalog.find(relation.identity for relation in row.relations)
        if row.relations and len(there) == len(row.relations):  # somebody was faster; what they left out is restored
            relations = self._catalog.describe(there.values())
            for stored in row.relations:
                self._catalog.restore(stored, relations[there[stored.identity]])
            self._settle(block, {row.manager: list(relations.values())})
        else:
            self._run_up(block, {row.manager: row})

    def _recreate(self, row: LedgerRow) -> None:
        if not row.relations:
            raise ViewError(f"{row.manager} never came up and has no stored definition")
        there = self._catalog.find(relation.identity for relation in row.relations)
        for relation in row.relations:
            if relation.identity not in there:
                self._catalog.recreate(relation)
        keys = self._catalog.find(relation.identity for relation in row.relations)
        relations = self._catalog.describe(keys.values())
        self._settle(_Block([], [], "", ignore_events), {row.manager: list(relations.values())})


def _rows_down(
    block: _Block, before: Observation, dropped: Mapping[Key, str], rows: Mapping[str, LedgerRow]
) -> Iterator[LedgerRow]:
    captured: dict[str, list[Relation]] = {name: [] for name in block.names}
    for key, relation in before.relations.items():
        if key in dropped:
            captured[dropped[key]].append(relation)
    for name, relations in captured.items():
        identities = {relation.identity for relation in relations}
        # A view that was down already (its last migration died) is not captured again: its earlier capture stays.
        earlier = rows[name].relations if name in rows and rows[name].state is ViewState.DOWN else ()
        kept = [relation for relation in earlier if relation.identity not in identities]
        yield LedgerRow(name, ViewState.DOWN, block.migration, (*kept, *relations))


def _outline(relation: Relation) -> Relation:
    """Leave out what only a restore needs."""
    return replace(relation, items=(), grants=(), columns=())


def _losses(block: _Block, losses: Mapping[str, str]) -> ViewError:
    names = ", ".join(name_of(manager) for manager in block.down)
    what = "; ".join(
        f"{description} (managed by {owner})" if owner else description for description, owner in losses.items()
    )
    owner = next((owner for owner in losses.values() if owner), "")
    hint = (
        "give it a manager with `uses` (`migrate views adopt` writes one), drop it first, or do without CASCADE in "
        "down(); what a manager itself creates must be named in its up()"
    )
    if owner:
        hint = f"add what it reads to {owner}.uses"
    return ViewError(
        f"taking down {names} in {block.migration} would lose what no manager of this block owns: {what}", hint=hint
    )


def _committed(method: str, names: Iterable[str]) -> ViewError:
    return ViewError(
        f"{method}() of {', '.join(dict.fromkeys(names)) or 'a view manager'} commits by itself",
        hint=f"no COMMIT in {method}(): the drop and its record must be one transaction",
    )
