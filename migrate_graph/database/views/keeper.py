"""Takes managed views down and brings them up again without losing anything, in the migration's own transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from migrate_graph.core.events import Observer, ViewBuilt, ViewCreated, ViewDropped, Warned, ignore_events
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.beside import Beside, Builder, NotBeside
from migrate_graph.database.views.block import (
    Block,
    StillRead,
    committed_error,
    filled,
    losses_error,
    outline,
    rows_down,
    sort_gone,
)
from migrate_graph.database.views.catalog import (
    ChangedMeanwhile,
    Changes,
    CommittedInside,
    Concern,
    Key,
    Manager,
    Observation,
    Restorable,
    Unprepared,
    Unseen,
    ViewCatalog,
)
from migrate_graph.database.views.claims import Claims, name_of
from migrate_graph.database.views.manager_text import names_created
from migrate_graph.database.views.refreshing import Refresher, Unfilled
from migrate_graph.database.views.repair import Repair, Unrepaired
from migrate_graph.database.views.replacing import Renewal, replaced
from migrate_graph.database.views.uses_seen import uses_seen
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line

_PASSES = 4
"""How often a block is begun anew at most, because something went that nobody had announced."""


def _and_said(before: list[str] | None, more: list[str] | None) -> list[str] | None:
    return None if before is None or more is None else before + more


class _Again(Exception):  # noqa: N818 - names what is to be done
    """Undo a pass, read this as well (nothing: look after each manager), and go again."""

    def __init__(self, keys: Collection[Key]) -> None:
        super().__init__()
        self.keys = keys


class _RolledBack(Exception):  # noqa: N818 - names what happened
    """The migration rolled back inside a block."""


class ViewKeeper:
    """Keeps the views of one attempt at a migration: blocks may be nested, each manager goes down and up once.

    Everything happens on the migration's own connection and in its open transaction: what is down stands in the view
    ledger as soon, and only then, as its drop is durable.

    Attributes:
        unfilled: names of the managers whose materialized views came up without their rows, in this order; the view ledger knows which.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger, builder: Builder | None = None) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._beside = Beside(catalog, builder) if builder else None
        self._blocks: list[Block] = []
        self._rolled_back: list[str] = []
        self._at_work = False
        self.unfilled: dict[str, None] = {}

    @property
    def is_at_work(self) -> bool:
        """Whether what is sent now is sent by this keeper, or by a manager that it calls."""
        return self._at_work

    @contextmanager
    def working(self) -> Iterator[None]:
        """Send statements of ours."""
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

        Where views are to be built beside the old ones, nothing goes until the block is left, or its body sends a statement.

        What an outer block has taken down already is left to it. Nothing stays dropped when this raises. When something goes that
        neither the view ledger nor the text of a manager announced, everything is undone, that is read, and every `down()` runs again.

        Args:
            down: instances, dependents first.
            up: instances that come up when the block is left, dependencies first.
            migration: the running migration.
            observer: told what goes down and, later, what comes up.
            texts: fingerprints of the managers' texts, by name, to be remembered.
            used: gives instances of what those that come up use and that lives, dependencies first; asked when something is missing.
            deferred: names of the managers whose materialized views come up without their rows.
            beside: names of the managers whose materialized views are built beside the old ones, where that is possible.
            instead: opens the block without them.

        Raises:
            ViewError: something that no manager of this block owns depends on one of these views, or was dropped along.
        """
        taken = self._taken()
        if any(name_of(manager) not in taken for manager in (*down, *up)):
            self.before_statement()
            taken = self._taken()
        block = Block(
            [manager for manager in down if name_of(manager) not in taken],
            [manager for manager in up if name_of(manager) not in taken],
            migration,
            observer,
            texts or {},
            used,
            deferred,
        )
        if beside and self._beside and not taken:
            block.beside, block.instead = beside, instead
        elif block.names:
            with self.working():
                self._run_down(block)
        self._blocks.append(block)

    def before_statement(self, text: str = "") -> None:  # noqa: ARG002 - of views that are held
        """Take down what waits for something to be built beside it: the body goes on inside of the block, and may need it gone."""
        waiting = [] if self._at_work else [block for block in self._blocks if block.instead]
        for block in waiting:
            self._open_instead(block)

    def _open_instead(self, block: Block) -> None:
        """Take down what a block names, which has waited for what would have been built before."""
        at, instead = next(at for at, each in enumerate(self._blocks) if each is block), block.instead
        del self._blocks[at]
        try:
            if instead is not None:
                instead()
                block = self._blocks.pop()
        finally:
            self._blocks.insert(
                at, block
            )  # after an error the one that waits: what is wrong is said again when it is left

    def _taken(self) -> set[str]:
        return {name for block in self._blocks for name in block.names}

    def bring_up(self) -> None:
        """Leave the innermost block: run every `up()` once, restore what was captured, clear the view ledger.

        Raises:
            ViewError: a view did not come up, or something cannot be restored.
        """
        block = self._blocks.pop()
        if block.instead and self._beside and not self._exchange(block, self._beside):
            block.instead()
            block = self._blocks.pop()
        if block.names and not block.instead:
            with self.working():
                self._leave(block)

    def _exchange(self, block: Block, beside: Beside) -> bool:
        """Build views beside the old ones, and put them in their places; return whether that was possible: else all is as before."""
        try:
            with self.working(), self._catalog.atomic():
                self._build(block, beside)
                try:
                    self._run_down(block)
                except StillRead as error:
                    raise NotBeside from error
                self._run_up(block)
        except NotBeside:
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
                built = beside.build(manager, partial(self._call, what=f"{name}.up()", block=block))
            except Exception as error:
                if self._catalog.is_undefined(error):  # another view of the block makes it, or it was never made here
                    raise NotBeside from error
                raise
            block.built[name] = built
            block.observer(ViewBuilt(block.migration, name, time.monotonic() - started))

    def replace(self, renewal: Renewal) -> tuple[str, ...]:
        """Replace views as they stand; return the names of their managers: if there are none, nothing was done, and they must go down and come up.

        Raises:
            ViewError: a text ends the transaction.
        """
        if self.is_open(renewal.block.names):
            return ()
        with self.working():
            try:
                return replaced(self._catalog, self._ledger, renewal)
            except CommittedInside as error:
                raise committed_error("up", renewal.block.names) from error

    def _leave(self, block: Block) -> None:
        try:
            self._run_up(block)
        except _RolledBack:  # the views are as they were; judged by `check_complete`
            self._rolled_back += block.names
        except CommittedInside as error:  # what came up is durable, and so are the rows: a repair pass sorts it out
            raise committed_error("up", block.names) from error

    def is_open(self, names: Iterable[str]) -> bool:
        """Return whether some of these managers belong to a block that is open."""
        return not {name for block in self._blocks for name in block.names}.isdisjoint(names)

    def step_aside(self, block: Block) -> None:
        """Take a block down that nobody has opened; it stays down until `come_back`, whatever is opened and left meanwhile.

        Raises:
            ViewError: something that no manager of this block owns depends on one of these views, or was dropped along.
        """
        with self.working():
            self._run_down(block)

    def stays_down(self, block: Block, rows: Mapping[str, LedgerRow]) -> bool:  # noqa: ARG002 - of a larger transaction
        """Return whether such a block is left down when the migration ends: the next one of its transaction would take it down again."""
        return False

    def come_back(self, block: Block, rows: Mapping[str, LedgerRow]) -> None:
        """Bring such a block up.

        Args:
            block: what is down of it.
            rows: of the view ledger; all of them are down.
        """
        with self.working():
            try:
                self._run_up(block, rows)
            except CommittedInside as error:
                raise committed_error("up", block.names) from error

    def remembered(self) -> frozenset[str]:
        """Return the managers that the view ledger knows: what they have made is there, or will be again."""
        return frozenset(self._ledger.read_texts())

    def unrecorded(self, managers: Mapping[str, type]) -> frozenset[str]:
        """Return those of some managers whose views are there, by their texts, while the view ledger knows of nobody who made these."""
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
        """Return those of some managers whose views are up as far as the view ledger knows, and are not there, none of them."""
        rows = {name: row for name, row in self._ledger.read(names).items() if row.state is ViewState.UP}
        views = {name: [each.identity for each in row.relations if each.is_view] for name, row in rows.items()}
        there = self._catalog.look_up([identity for some in views.values() for identity in some])
        return frozenset(name for name, some in views.items() if some and not any(each in there for each in some))

    def forget(self, names: Collection[str]) -> None:
        """Forget what some managers have made."""
        self._ledger.forget(names)

    def uses_seen(self, migration: str | None = None) -> dict[str, frozenset[str]]:
        """Return the managers that each of those uses which came up in a migration, or of all; see `uses_seen`."""
        with self.working(), self._catalog.atomic(ours=True):
            rows = self._ledger.read()
            return uses_seen(self._catalog, rows, lambda row: migration is None or row.migration == migration)

    def misses_something(self, error: BaseException) -> bool:
        """Return whether the database says that something which a statement names is not there."""
        return self._catalog.is_undefined(error)

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
        missing = self._missing()
        if missing:
            raise ViewError(
                f"views are still down: {', '.join(missing)}",
                hint="an exception inside `with V(db)` must leave the block and the migration",
            )

    def _missing(self) -> list[str]:
        """Return the managers whose views are down and should not be."""
        return sorted({stored.manager for stored in self._ledger.read_down()})

    # -- down -------------------------------------------------------------------------------------------------------

    def _run_down(self, block: Block) -> None:
        unread = set[Key]()
        brief = True
        changed: ChangedMeanwhile | None = None
        for _ in range(_PASSES):
            try:
                captured = self._pass_down(block, unread, brief=brief)
            except _Again as again:
                unread |= set(again.keys)
                continue
            except (Unprepared, Unseen) as error:
                changed = error if isinstance(error, ChangedMeanwhile) else None
                brief = brief and isinstance(error, (Unprepared, ChangedMeanwhile))
                continue
            for manager in block.down:
                if captured.get(name_of(manager)):  # down() is called before a first creation too
                    block.observer(ViewDropped(block.migration, name_of(manager)))
            return
        what = ", ".join(map(name_of, block.down))
        if changed:
            cause = changed.__cause__
            words = f" ({first_line(cause)})" if cause is not None and self._catalog.is_race(cause) else ""
            raise ViewError(
                f"somebody else changes what {what} takes down, or its privileges or comments, each time it is tried{words}",
                hint="run it again when they are done",
            ) from changed
        raise ViewError(
            f"taking down {what} drops something else each time it is tried",
            hint="let down() drop what up() creates, by name",
        )

    def _pass_down(self, block: Block, unread: Collection[Key], *, brief: bool) -> dict[str, list[Relation]]:
        before = Observation()
        rows: dict[str, LedgerRow] = {}
        try:
            with self._catalog.atomic(ours=True):
                rows = self._ledger.read(block.names)
                claims = Claims(block.down, rows, block.texts)
                before = self._catalog.observe(claims.concern().and_also(unread), brief=brief and claims.are_plain)
                block.before, block.place = before, before.place
                steps = self._drop(block, before, claims, careful=bool(unread))
                # Nothing of what went unread was there before: it came and went in down(), a temporary table for example.
                ignored = bool(unread) and not any(key in before.reached or key in before.relations for key in unread)
                gone = sort_gone(steps, before, claims, ignored=ignored)
                if gone.unread:
                    raise _Again(gone.unread)
                self._refuse_losses(block, before, gone.lost)
                self._ledger.write(rows_down(block, gone.captured, self._and_waiting(gone.captured, rows)))
                self._take_over(gone.captured, rows)
        except CommittedInside as error:
            # A raw COMMIT inside a `down()`: the drop may be durable, so the row must be too, before anything else.
            # What of it came after the COMMIT is there again; a repair finds that out.
            claims = Claims(block.down, rows, block.texts)
            captured = sort_gone(dict.fromkeys(before.relations, ""), before, claims, ignored=True).captured
            self._ledger.write(rows_down(block, captured, self._and_waiting(captured, rows)))
            self._catalog.commit()
            raise committed_error("down", captured or map(name_of, block.down)) from error
        return gone.captured

    def _and_waiting(
        self, captured: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]
    ) -> Mapping[str, LedgerRow]:
        """Return the rows of managers, each with what of its views waits to be filled, also where that stands in the row of another class."""
        known = {identity for row in rows.values() for identity in row.unfilled}
        empty = {each.identity for some in captured.values() for each in some if filled(each) != each} - known
        others = self._ledger.read_naming(empty).values() if empty else ()
        waiting = known | {identity for row in others for identity in row.unfilled}
        if not waiting:
            return rows
        names = captured.keys() | rows.keys()
        return {
            name: replace(rows.get(name, LedgerRow(name, ViewState.UP, "")), unfilled=tuple(waiting)) for name in names
        }

    def _drop(self, block: Block, before: Observation, claims: Claims, *, careful: bool) -> dict[Key, str]:
        """Run every `down()`; return what went, each with the manager whose `down()` it went in where that had to be looked up."""
        steps: dict[Key, str] = {}
        looked = False
        said: list[str] | None = []
        changes = Changes()
        for manager in block.down:
            name = name_of(manager)
            said = _and_said(said, self._take(manager, block))
            looked = careful or not claims.is_predictable(name)
            if looked:
                changes = self._catalog.changes(before.moment, before)
                steps |= dict.fromkeys(changes.gone - steps.keys(), name)
        if not looked:
            changes = self._catalog.changes(before.moment, before, said)
            steps |= dict.fromkeys(changes.gone - steps.keys(), "")
        self._catalog.confirm(before, steps, is_plain=changes.is_plain)
        return steps

    def _take(self, manager: Manager, block: Block) -> list[str] | None:
        """Run a `down()`.

        Raises:
            ChangedMeanwhile: somebody else has changed at this moment what it drops.
        """
        try:
            return self._call(manager.down, f"{name_of(manager)}.down()", block)
        except Exception as error:
            if self._catalog.is_race(error):
                raise ChangedMeanwhile(str(error)) from error
            raise

    def _call(self, method: Callable[[], None], what: str, block: Block) -> list[str] | None:
        """Run `up()` or `down()`, and see to it that it neither commits nor swallows an SQL error; return what it sent, where that is heard."""
        try:
            with self._catalog.commits_held() as heard:
                method()
        except Exception as error:
            refused = self._catalog.refusal(error)
            if refused is None:
                raise
            raise StillRead(
                f"{what} in {block.migration} is refused: no manager of this block owns what depends on it: {refused}",
                hint="give it a manager with `uses` (`migrate views adopt` writes one), or drop it first",
            ) from error
        if self._catalog.is_aborted():
            raise ViewError(f"{what} swallowed an SQL error", hint="let the exception pass")
        return heard

    def _refuse_losses(self, block: Block, before: Observation, lost: Iterable[Relation]) -> None:
        """Refuse what went along by CASCADE (SQLite: what no longer works) and belongs to no manager of this block."""
        losses = {relation.label: relation.identity for relation in lost}
        losses |= {description: "" for description, _ in self._catalog.broken(before)}
        if not losses:
            return
        owners = {relation.identity: row.manager for row in self._ledger.read().values() for relation in row.relations}
        raise losses_error(block, {label: owners.get(identity, "") for label, identity in losses.items()})

    # -- up ---------------------------------------------------------------------------------------------------------

    def _run_up(self, block: Block, rows: Mapping[str, LedgerRow] | None = None) -> None:
        """Run every `up()` of a block and restore what its rows remember, as a whole or not at all.

        Args:
            block: what comes up.
            rows: of the view ledger; None to read them, which must all be down.

        Raises:
            _RolledBack: they are not.
        """
        seen: Observation | None = None
        unfilled = set[str]()
        careful, brief = False, block.before.is_brief
        for _ in range(_PASSES):
            try:
                with self._catalog.atomic(ours=True), self._catalog.standing_at(block.place):
                    # A view comes up where it was, wherever the body went meanwhile.
                    rows = self._rows_down(block) if rows is None else rows
                    unfilled = self._pass_up(block, rows, seen, careful=careful, brief=brief and not careful)
            except Unseen:
                brief, seen = False, None
                continue
            except _Again as again:
                if not again.keys:
                    careful = True
                    continue
                with self._catalog.atomic(ours=True):
                    seen = self._catalog.observe(Concern(keys=frozenset(again.keys)))
                continue
            except Unprepared:
                continue
            except Exception as error:
                unmade = self._unmade(block) if self._catalog.is_undefined(error) else []
                if not unmade:
                    raise
                block.up = [*unmade, *block.up]
                rows = {name_of(each): LedgerRow(name_of(each), ViewState.DOWN, "") for each in unmade} | dict(
                    rows or {}
                )
                continue
            for name in map(name_of, block.up):
                self.unfilled |= {name: None} if name in unfilled else {}
                block.observer(ViewCreated(block.migration, name, unfilled=name in unfilled))
            return
        raise ViewError(
            f"bringing up {', '.join(block.names)} drops something else each time it is tried",
            hint="let up() create what down() drops, and drop nothing else",
        )

    def _unmade(self, block: Block) -> list[Manager]:
        """Return what the views of a block use and no migration has made here yet: they come up first then, as in a new database."""
        taken = {name for each in (*self._blocks, block) for name in each.names}
        used = {name_of(each): each for each in block.used() if name_of(each) not in taken}
        known = self._ledger.read(used)
        written = {name: names_created(type(each)) for name, each in used.items() if name not in known}
        there = self._catalog.look_up([each for names in written.values() for each in names])
        return [used[name] for name, names in written.items() if names and not any(each in there for each in names)]

    def _rows_down(self, block: Block) -> dict[str, LedgerRow]:
        rows = self._ledger.read(block.names)
        if any(name not in rows or rows[name].state is not ViewState.DOWN for name in block.names):
            raise _RolledBack
        return rows

    def _pass_up(
        self, block: Block, rows: Mapping[str, LedgerRow], seen: Observation | None, *, careful: bool, brief: bool
    ) -> set[str]:
        """Run every `up()` once; return the managers of what has come up without its rows."""
        claims = Claims(block.up, rows, block.texts)
        stored = [relation for name in block.names if name in rows for relation in rows[name].relations]
        brief = brief and claims.are_plain and not block.built
        changes, steps = self._create(block, claims, careful=careful, brief=brief)
        dropped: list[Relation] = []
        if changes.gone:  # up() drops something first: it is kept as if down() had done it
            dropped = self._dropped_by_up(block, changes.gone, claims, seen)
            if seen:
                self._catalog.confirm(seen, changes.gone, is_plain=False)
            stored += dropped
        made = self._made(changes, claims, steps)
        there = self._catalog.find([each for each in stored if not each.is_view])
        self._restore(block, claims, stored, made, there)
        self._refuse_broken(block)
        self._refuse_missing(block, rows, made, there)
        self._tell_dropped(block, dropped, {relation.identity for _, relation in made.values()} | there.keys())
        return self._settle(block, rows, made, there, claims)

    def _create(self, block: Block, claims: Claims, *, careful: bool, brief: bool) -> tuple[Changes, dict[Key, str]]:
        moment = self._catalog.moment(brief=brief)
        changes, steps = Changes(), dict[Key, str]()
        looked = not block.up
        said: list[str] | None = []
        for manager in block.up:
            name = name_of(manager)
            manager.deferred = name in block.deferred
            built = block.built.get(name)
            heard = self._call(built.put_in_place if built else manager.up, f"{name}.up()", block)
            claims.hear(name, built.plan.says if built else heard)
            said = None if built else _and_said(said, heard)
            looked = careful or not claims.is_predictable(name)
            if looked:
                changes = self._catalog.changes(moment, block.before)
                steps |= dict.fromkeys([key for key in changes.made if key not in steps], name)
        if not looked:
            changes = self._catalog.changes(moment, block.before, said)
        there = {each.key: each.manager for each in block.built.values()}
        return replace(changes, made=(*there, *changes.made)), steps | there

    def _dropped_by_up(
        self, block: Block, gone: Collection[Key], claims: Claims, seen: Observation | None
    ) -> list[Relation]:
        if seen is None:
            raise _Again(gone)
        sorted_out = sort_gone(dict.fromkeys(gone, name_of(block.up[-1])), seen, claims, ignored=True)
        if sorted_out.lost:
            self._refuse_losses(block, Observation(), sorted_out.lost)
        return [relation for relations in sorted_out.captured.values() for relation in relations]

    def _tell_dropped(self, block: Block, dropped: Iterable[Relation], there: Collection[str]) -> None:
        missing = [each for each in dropped if each.identity not in there]
        found = self._catalog.find(missing) if missing else {}
        for each in missing:
            if each.identity not in found:
                block.observer(
                    Warned(
                        f"while {', '.join(map(name_of, block.up))} came up, {each.label} was dropped",
                        hint="let up() create it again, if that is not meant",
                    )
                )

    def _made(self, changes: Changes, claims: Claims, steps: Mapping[Key, str]) -> dict[Key, tuple[str, Relation]]:
        """Return each new view with its manager: the one in whose `up()` it came, or whose text announced it.

        Raises:
            _Again: nobody announced one, so the next pass must look after each `up()`.
        """
        unknown = [key for key in changes.made if key not in changes.known]
        relations = {**changes.known, **(self._catalog.describe(unknown) if unknown else {})}
        owners = {key: steps.get(key) or claims.owner(relations[key]) for key in changes.made}
        if not all(owners.values()):
            raise _Again(())
        return {key: (owner, relations[key]) for key, owner in owners.items()}

    def _restore(
        self,
        block: Block,
        claims: Claims,
        stored: Iterable[Relation],
        made: Mapping[Key, tuple[str, Relation]],
        there: Mapping[str, tuple[Key, Relation]],
    ) -> None:
        was = {each.identity: each for each in stored}
        new = [(key, relation, name) for key, (name, relation) in made.items()]
        new += [(key, thing, claims.owner(thing)) for key, thing in there.values()]
        fill = {name_of(manager) for manager in block.up if getattr(manager, "fill_as_owner", False)}
        again = []
        for key, relation, name in new:  # in the order of their creation: who fills one reads what was made before it
            fills = name in fill and relation.kind == "MATERIALIZED VIEW" and name not in block.deferred
            if relation.identity in was or fills:
                text = claims.texts.get(name) or next(iter(claims.texts.values()))
                before = was.get(relation.identity) or filled(relation)
                again.append(Restorable(key, relation, before, text, fills))
        for warning in self._catalog.restore(again):
            block.observer(Warned(warning))

    def _refuse_broken(self, block: Block) -> None:
        broken = [description for description, _ in self._catalog.broken(block.before)]
        if broken:
            raise ViewError(
                f"after {block.migration} this works no longer: {'; '.join(broken)}",
                hint="give it a manager, or drop it",
            )

    def _refuse_missing(
        self,
        block: Block,
        rows: Mapping[str, LedgerRow],
        made: Mapping[Key, tuple[str, Relation]],
        there: Mapping[str, tuple[Key, Relation]],
    ) -> None:
        """Recreate everything that a `down()` of a manager that lives has dropped."""
        new = {relation.identity for _, relation in made.values()} | there.keys()
        wanted = [
            (name, relation)
            for name in map(name_of, block.up)
            for relation in rows[name].relations
            if relation.identity not in new
        ]
        found = self._catalog.find([relation for _, relation in wanted])
        creators = {name for name, _ in made.values()}
        for name, relation in sorted(wanted, key=lambda each: each[1].identity):
            if relation.identity in found:
                continue
            if relation.is_view and relation.certain and name in creators:
                block.observer(
                    Warned(
                        f"{name}.up() no longer creates {relation.identity}",
                        hint="drop it from down() if that is meant",
                    )
                )
            elif not relation.certain:
                raise losses_error(block, {relation.label: ""})
            else:
                created = "did not create it again" if name in creators else "created nothing"
                what = relation.identity if relation.is_view else relation.label
                raise ViewError(
                    f"{name}.down() dropped {what}, and {name}.up() {created}",
                    hint=f"let {name}.up() create what {name}.down() drops",
                )

    def _settle(
        self,
        block: Block,
        rows: Mapping[str, LedgerRow],
        made: Mapping[Key, tuple[str, Relation]],
        there: Mapping[str, tuple[Key, Relation]],
        claims: Claims,
    ) -> set[str]:
        """Turn the rows of a block from down to up; views that retired are forgotten.

        Returns:
            The managers of what has come up without its rows.
        """
        relations: dict[str, list[Relation]] = {name_of(manager): [] for manager in block.up}
        for name, relation in [*made.values(), *((claims.owner(thing), thing) for _, thing in there.values())]:
            if name in relations:
                relations[name].append(relation)
        unfilled = self._unfilled(block, rows, relations)
        self._ledger.write(
            LedgerRow(
                name, ViewState.UP, block.migration, tuple(map(outline, each)), block.texts.get(name, ""),
                tuple(relation.identity for relation in each if relation.identity in unfilled),
            )
            for name, each in relations.items()
        )  # fmt: skip
        self._ledger.forget(name for name in block.names if name not in relations)
        self._take_over(relations, rows)
        return {name for name, each in relations.items() if any(relation.identity in unfilled for relation in each)}

    def _unfilled(
        self, block: Block, rows: Mapping[str, LedgerRow], relations: Mapping[str, Sequence[Relation]]
    ) -> set[str]:
        """Return what has come up without its rows and is to have them; what was empty before stays so."""
        empty = {each.identity for row in rows.values() for each in row.relations if filled(each) != each}
        waits = {
            name_of(manager)
            for manager in block.up
            if name_of(manager) in block.deferred and getattr(manager, "with_data", True)
        }
        wanted = {
            each.identity: name
            for name in relations.keys() & waits
            for each in relations[name]
            if each.kind == "MATERIALIZED VIEW" and each.identity not in empty
        }
        found = self._catalog.contents(wanted) if wanted else {}
        for name in sorted({wanted[identity] for identity, each in found.items() if each.populated}):
            block.observer(
                Warned(
                    f"{name} came up with its rows, inside of {block.migration}, although it is deferred",
                    hint="declare it as a SqlView, or let up() create it WITH NO DATA where self.deferred is true",
                )
            )
        return {identity for identity, each in found.items() if not each.populated}

    def _take_over(self, relations: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]) -> None:
        """Take what these managers have made out of the rows of all others: of a class that was renamed, or withdrawn."""
        known = {name: {each.identity for each in row.relations} for name, row in rows.items()}
        new = {each.identity for name, some in relations.items() for each in some} - {
            identity for name in relations for identity in known.get(name, ())
        }
        if new:
            self._ledger.release(new, keepers=relations)

    def refresh(
        self, observer: Observer, *, commit: Callable[[], object], only: Collection[str] | None = None
    ) -> tuple[Unfilled, ...]:
        """Fill every materialized view that waits for it, one after another; return those that could not be filled.

        Args:
            observer: told what is filled.
            commit: makes one of them durable.
            only: those of these managers; None: all.
        """
        with self.working():
            return Refresher(self._catalog, self._ledger, commit=commit, observer=observer, only=only).run()

    # -- repair -----------------------------------------------------------------------------------------------------

    def repair(
        self,
        living: Sequence[Manager],
        *,
        declared: AbstractSet[str],
        observer: Observer = ignore_events,
        texts: Mapping[str, str] | None = None,
    ) -> tuple[Unrepaired, ...]:
        """Bring back what the view ledger says is down: by its manager, or else from the stored definition.

        Runs outside of a migration; the caller commits.

        Args:
            living: instances of every manager that lives with the applied migrations, dependencies first.
            declared: names of all declared managers: a row of one that does not live is settled, its window is closed. A row of
                one that is not declared (its class was renamed, or taken out) belongs to the living manager that makes its views.
            observer: told what comes up.
            texts: fingerprints of the managers' texts, by name, to be remembered.

        Returns:
            What could not be brought back.
        """
        repair = Repair(self._catalog, self._ledger, self._bring_back, texts or {}, observer)
        return repair.run(living, declared=declared)

    def renew(self) -> None:
        """Remember every view that is up as it is now: the database was restored, and the server has read all definitions anew."""
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

    def _bring_back(self, row: LedgerRow, manager: Manager, texts: Mapping[str, str]) -> None:
        block = Block([], [manager], texts=texts, place=self._catalog.place())
        there = self._catalog.find(row.relations)
        if not row.relations or len(there) < len(row.relations):
            self._run_up(block, {row.manager: row})
            return
        # Somebody was faster; what he left out is restored.
        views = self._catalog.describe([key for key, each in there.values() if each.is_view])
        made = {key: (row.manager, relation) for key, relation in views.items()}
        others = {identity: each for identity, each in there.items() if not each[1].is_view}
        claims = Claims(block.up, {row.manager: row}, texts)
        self._restore(block, claims, row.relations, made, others)
        self._settle(block, {row.manager: row}, made, others, claims)
