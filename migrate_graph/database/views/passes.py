"""What taking a block down and bringing it up have in common: calling a manager, and refusing to lose objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from migrate_graph.core.model import is_left_undone
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.block import Block, StillRead, losses_error
from migrate_graph.database.views.catalog import Key, Observation, ViewCatalog
from migrate_graph.errors import ViewError
from migrate_graph.foreign_text import shown

PASSES = 4
"""How often a block is tried at most, when each try drops an object that no manager names."""


def and_said(before: list[str] | None, more: list[str] | None) -> list[str] | None:
    """Return both lists of statements in one; None where one of them was not recorded."""
    return None if before is None or more is None else before + more


class Again(Exception):  # noqa: N818 - names what is to be done
    """Undo a pass and try again, with these objects read before; without keys: look at the database after each manager."""

    def __init__(self, keys: Collection[Key]) -> None:
        super().__init__()
        self.keys = keys


class Unreadable(Exception):  # noqa: N818 - names what happened
    """A view has come up that cannot be read: undo the pass, and try again with what it uses created before it."""


class Pass:
    """The base of `Down` and `Up`.

    Args:
        catalog: the catalog, on the migration's connection.
        ledger: the view ledger, on the same connection.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger) -> None:
        self._catalog = catalog
        self._ledger = ledger

    def call(self, method: Callable[[], object], what: str, block: Block) -> list[str] | None:
        """Run `up()` or `down()`; return the statements that it sent, None where they cannot be recorded.

        Raises:
            StillRead: the database refuses to drop a view that another object depends on.
            ViewError: the method swallowed an SQL error, or returned a generator or coroutine, which nobody runs.
        """
        try:
            with self._catalog.commits_held() as heard:
                given = method()
        except Exception as error:
            refused = self._catalog.refusal(error)
            if refused is None:
                raise
            raise StillRead(
                f"{what} in {block.migration} is refused: no manager of this block owns what depends on it: {refused}",
                hint="give it a manager with `uses` (`migrate views adopt` writes one), or drop it first",
                managers=block.names,
            ) from error
        if is_left_undone(given):
            raise ViewError(
                f"{what} gave {shown(given)}, which nobody runs", hint="write it as a plain method that does its work"
            )
        if self._catalog.is_aborted():
            raise ViewError(f"{what} swallowed an SQL error", hint="let the exception pass")
        return heard

    def refuse_losses(self, block: Block, before: Observation, lost: Iterable[Relation]) -> None:
        """Raise when objects that no manager of this block owns were dropped by CASCADE (SQLite: do not work any more)."""
        losses = {relation.label: relation.identity for relation in lost}
        losses |= dict.fromkeys(self._catalog.broken(before), "")
        if not losses:
            return
        owners = {relation.identity: row.manager for row in self._ledger.read().values() for relation in row.relations}
        raise losses_error(block, {label: owners.get(identity, "") for label, identity in losses.items()})

    def _take_over(self, relations: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]) -> None:
        """Remove the relations of these managers from the rows of all others, for example of a class that was renamed or deleted."""
        known = {name: {each.identity for each in row.relations} for name, row in rows.items()}
        new = {each.identity for name, some in relations.items() for each in some} - {
            identity for name in relations for identity in known.get(name, ())
        }
        if new:
            self._ledger.release(new, keepers=relations)
