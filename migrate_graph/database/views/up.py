"""Brings the views of one block up, and restores their stored properties, as a whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec.structs import replace

from migrate_graph.core.events import Observer, ViewCreated, Warned
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.block import Block, filled, losses_error, outline, sort_gone
from migrate_graph.database.views.catalog import (
    Changes,
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
from migrate_graph.database.views.passes import PASSES, Again, Pass, Unreadable, and_said
from migrate_graph.errors import ViewError


class RolledBack(Exception):  # noqa: N818 - names what happened
    """The migration rolled back inside a block."""


class Up(Pass):
    """Brings blocks up.

    Attributes:
        doubtful: the views that came up although they could not be read then, by identity.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger) -> None:
        super().__init__(catalog, ledger)
        self.doubtful: dict[str, Relation] = {}

    def run(
        self, block: Block, rows: Mapping[str, LedgerRow] | None = None, *, taken: Collection[str] = ()
    ) -> list[str]:
        """Run every `up()` of a block and restore what its rows in the view ledger store, as a whole or not at all.

        Args:
            block: the block that comes up.
            rows: its rows in the view ledger; None to read them: then all of them must be down.
            taken: names of the managers of the open blocks: their views come up when these blocks are left.

        Returns:
            The managers of the materialized views that came up without rows.

        Raises:
            RolledBack: a row is not down.
            ViewError: a view did not come up, or a property of it cannot be restored.
        """
        seen: Observation | None = None
        unfilled = set[str]()
        careful, brief = False, block.before.is_brief
        for _ in range(PASSES):
            try:
                with self._catalog.atomic(ours=True), self._catalog.standing_at(block.place):
                    # A view comes up in its former schema, also when the body has changed the search_path.
                    rows = self._rows_down(block) if rows is None else rows
                    unfilled = self._pass_up(block, rows, seen, careful=careful, brief=brief and not careful)
            except Unseen:
                brief, seen = False, None
                continue
            except Again as again:
                if not again.keys:
                    careful = True
                    continue
                with self._catalog.atomic(ours=True):
                    seen = self._catalog.observe(Concern(keys=frozenset(again.keys)))
                continue
            except Unprepared:
                continue
            except Exception as error:
                cannot_be_read = isinstance(error, Unreadable)
                unmade = self._unmade(block, taken) if cannot_be_read or self._catalog.is_undefined(error) else []
                if not unmade:
                    if not cannot_be_read:
                        raise
                    block.is_blind = True
                    continue
                block.up = [*unmade, *block.up]
                rows = {name_of(each): LedgerRow(name_of(each), ViewState.DOWN, "") for each in unmade} | dict(
                    rows or {}
                )
                continue
            names = [name_of(manager) for manager in block.up]
            for name in names:
                block.observer(ViewCreated(block.migration, name, unfilled=name in unfilled))
            return [name for name in names if name in unfilled]
        raise ViewError(
            f"bringing up {', '.join(block.names)} drops something else each time it is tried",
            hint="let up() create what down() drops, and drop nothing else",
        )

    def _unmade(self, block: Block, taken: Collection[str]) -> list[Manager]:
        """Return the managers that the views of a block use, and whose views were never made in this database: these come up first."""
        used = {name_of(each): each for each in block.used() if name_of(each) not in {*taken, *block.names}}
        known = self._ledger.read(used)
        written = {name: names_created(type(each)) for name, each in used.items() if name not in known}
        there = self._catalog.look_up([each for names in written.values() for each in names])
        return [used[name] for name, names in written.items() if names and not any(each in there for each in names)]

    def _rows_down(self, block: Block) -> dict[str, LedgerRow]:
        rows = self._ledger.read(block.names)
        if any(name not in rows or rows[name].state is not ViewState.DOWN for name in block.names):
            raise RolledBack
        return rows

    def _pass_up(
        self, block: Block, rows: Mapping[str, LedgerRow], seen: Observation | None, *, careful: bool, brief: bool
    ) -> set[str]:
        """Run every `up()` once; return the managers of the materialized views that came up without rows."""
        claims = Claims(block.up, rows, block.texts)
        stored = [relation for name in block.names if name in rows for relation in rows[name].relations]
        brief = brief and claims.are_plain and not block.built
        changes, steps = self._create(block, claims, careful=careful, brief=brief)
        dropped: list[Relation] = []
        if changes.gone:  # up() has dropped something: it is treated as if down() had dropped it
            dropped = self._dropped_by_up(block, changes.gone, claims, seen)
            if seen:
                self._catalog.confirm(seen, changes.gone, is_plain=False)
            stored += dropped
        made = self._made(changes, claims, steps)
        unreadable = self._catalog.unreadable(relation for _, relation in made.values())
        if unreadable and not block.is_blind:
            raise Unreadable
        self.doubtful.update((each.identity, each) for _, each in made.values() if each.identity in unreadable)
        there = self._catalog.find([each for each in stored if not each.is_view])
        self._restore(block, claims, stored, made, there)
        self._refuse_broken(block)
        self._refuse_missing(block, rows, made, there)
        self._tell_dropped(block, dropped, {relation.identity for _, relation in made.values()} | there.keys())
        return self._settle(block, rows, made, there, claims)

    def _create(self, block: Block, claims: Claims, *, careful: bool, brief: bool) -> tuple[Changes, dict[Key, str]]:
        moment = self._catalog.moment(block.before, brief=brief)
        changes, steps = Changes(), dict[Key, str]()
        looked = not block.up
        said: list[str] | None = []
        for manager in block.up:
            name = name_of(manager)
            manager.deferred = name in block.deferred
            built = block.built.get(name)
            heard = self.call(built.put_in_place if built else manager.up, f"{name}.up()", block)
            claims.hear(name, built.plan.says if built else heard)
            said = None if built else and_said(said, heard)
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
            raise Again(gone)
        sorted_out = sort_gone(dict.fromkeys(gone, name_of(block.up[-1])), seen, claims, ignored=True)
        if sorted_out.lost:
            self.refuse_losses(block, Observation(), sorted_out.lost)
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
        """Return each new view with its manager: the one in whose `up()` it was created, or whose text names it.

        Raises:
            Again: no text names a new view, so the next pass must look at the database after each `up()`.
        """
        unknown = [key for key in changes.made if key not in changes.known]
        relations = {**changes.known, **(self._catalog.describe(unknown) if unknown else {})}
        owners = {key: steps.get(key) or claims.owner(relations[key]) for key in changes.made}
        if not all(owners.values()):
            raise Again(())
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
        for key, relation, name in new:  # in the order of creation: filling a view reads earlier ones
            fills = name in fill and relation.kind == "MATERIALIZED VIEW" and name not in block.deferred
            if relation.identity in was or fills:
                text = claims.texts.get(name) or next(iter(claims.texts.values()))
                before = was.get(relation.identity) or filled(relation)
                again.append(Restorable(key, relation, before, text, fills))
        for warning in self._catalog.restore(again):
            block.observer(Warned(warning))

    def _refuse_broken(self, block: Block) -> None:
        if broken := self._catalog.broken(block.before):
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
        """Raise when a relation that the `down()` of a living manager has dropped did not come up again."""
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
        """Change the rows of a block from down to up; delete the rows of managers whose views do not come up any more.

        Returns:
            The managers of the materialized views that came up without rows.
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
        """Return the materialized views that came up without rows and need a refresh; one that was empty before stays empty."""
        empty = {each.identity for row in rows.values() for each in row.relations if each.is_empty}
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

    def bring_back(self, row: LedgerRow, manager: Manager, texts: Mapping[str, str], observer: Observer) -> None:
        """Bring up the views of a row that is down, outside of a migration; if they exist already, only their properties are restored.

        Args:
            row: the row of the view ledger.
            manager: makes the views.
            texts: fingerprints of the managers' texts, by name; they are stored in the view ledger.
            observer: gets the warnings.

        Raises:
            ViewError: a view did not come up, or a property of it cannot be restored.
        """
        block = Block([], [manager], texts=texts, observer=observer, place=self._catalog.place())
        there = self._catalog.find(row.relations)
        if not row.relations or len(there) < len(row.relations):
            self.run(block, {row.manager: row})
            return
        # Somebody else has created them already; their stored properties are restored.
        views = self._catalog.describe([key for key, each in there.values() if each.is_view])
        made = {key: (row.manager, relation) for key, relation in views.items()}
        others = {identity: each for identity, each in there.items() if not each[1].is_view}
        claims = Claims(block.up, {row.manager: row}, texts)
        self._restore(block, claims, row.relations, made, others)
        self._settle(block, {row.manager: row}, made, others, claims)
