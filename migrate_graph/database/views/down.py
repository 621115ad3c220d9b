"""Takes the views of one block down: each is read before it is dropped, and stored in the view ledger in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from migrate_graph.core.events import ViewDropped
from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.block import Block, committed_error, rows_down, sort_gone
from migrate_graph.database.views.catalog import (
    ChangedMeanwhile,
    Changes,
    CommittedInside,
    Key,
    Manager,
    Observation,
    Unprepared,
    Unseen,
)
from migrate_graph.database.views.claims import Claims, name_of
from migrate_graph.database.views.passes import PASSES, Again, Pass, and_said
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line


class Down(Pass):
    """Takes blocks down."""

    def run(self, block: Block) -> None:
        """Run every `down()` of a block; undo and repeat that while something is dropped that was not read before.

        Raises:
            ViewError: something would be lost, or another session changes it each time.
        """
        unread = set[Key]()
        brief = True
        changed: ChangedMeanwhile | None = None
        for _ in range(PASSES):
            try:
                captured = self._pass_down(block, unread, brief=brief)
            except Again as again:
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
                # The unread objects did not exist before: down() itself created and dropped them, a temporary table for example.
                ignored = bool(unread) and not any(key in before.reached or key in before.relations for key in unread)
                gone = sort_gone(steps, before, claims, ignored=ignored)
                if gone.unread:
                    raise Again(gone.unread)
                self.refuse_losses(block, before, gone.lost)
                self._ledger.write(rows_down(block, gone.captured, self._and_waiting(gone.captured, rows)))
                self._take_over(gone.captured, rows)
        except CommittedInside as error:
            # A COMMIT inside a `down()`: the drop may be committed, so the row is committed first of all.
            # Drops after that COMMIT were rolled back, so those views still exist; a repair finds that out.
            claims = Claims(block.down, rows, block.texts)
            captured = sort_gone(dict.fromkeys(before.relations, ""), before, claims, ignored=True).captured
            self._ledger.write(rows_down(block, captured, self._and_waiting(captured, rows)))
            self._catalog.commit()
            raise committed_error("down", captured or map(name_of, block.down)) from error
        return gone.captured

    def _and_waiting(
        self, captured: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]
    ) -> Mapping[str, LedgerRow]:
        """Return the rows of managers with the identities of unfilled views, also those that another manager's row names."""
        known = {identity for row in rows.values() for identity in row.unfilled}
        empty = {each.identity for some in captured.values() for each in some if each.is_empty} - known
        others = self._ledger.read_naming(empty).values() if empty else ()
        waiting = known | {identity for row in others for identity in row.unfilled}
        if not waiting:
            return rows
        names = captured.keys() | rows.keys()
        return {
            name: replace(rows.get(name, LedgerRow(name, ViewState.UP, "")), unfilled=tuple(waiting)) for name in names
        }

    def _drop(self, block: Block, before: Observation, claims: Claims, *, careful: bool) -> dict[Key, str]:
        """Run every `down()`; return what was dropped, each with the manager whose `down()` dropped it, or nothing where that was not looked up."""
        steps: dict[Key, str] = {}
        looked = False
        said: list[str] | None = []
        changes = Changes()
        for manager in block.down:
            name = name_of(manager)
            said = and_said(said, self._take(manager, block))
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
            ChangedMeanwhile: another session was changing what it drops.
        """
        try:
            return self.call(manager.down, f"{name_of(manager)}.down()", block)
        except Exception as error:
            if self._catalog.is_race(error):
                raise ChangedMeanwhile(str(error)) from error
            raise
