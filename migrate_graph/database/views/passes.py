"""What taking a block down and bringing it up share: managers are called with care, and what would be lost is refused."""

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
"""How often a block is begun anew at most, because something went that nobody had announced."""


def and_said(before: list[str] | None, more: list[str] | None) -> list[str] | None:
    """Return what was sent before and after, where both were heard."""
    return None if before is None or more is None else before + more


class Again(Exception):  # noqa: N818 - names what is to be done
    """Undo a pass, read this as well (nothing: look after each manager), and go again."""

    def __init__(self, keys: Collection[Key]) -> None:
        super().__init__()
        self.keys = keys


class Pass:
    """One direction of a block.

    Args:
        catalog: on the connection that does it.
        ledger: through the same.
    """

    def __init__(self, catalog: ViewCatalog, ledger: ViewLedger) -> None:
        self._catalog = catalog
        self._ledger = ledger

    def call(self, method: Callable[[], object], what: str, block: Block) -> list[str] | None:
        """Run `up()` or `down()`; return what it sent, where that is heard.

        Raises:
            StillRead: the database refuses it, because something depends on the view.
            ViewError: it swallowed an SQL error, or gave its work back undone.
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
            ) from error
        if is_left_undone(given):
            raise ViewError(
                f"{what} gave {shown(given)}, which nobody runs", hint="write it as a plain method that does its work"
            )
        if self._catalog.is_aborted():
            raise ViewError(f"{what} swallowed an SQL error", hint="let the exception pass")
        return heard

    def refuse_losses(self, block: Block, before: Observation, lost: Iterable[Relation]) -> None:
        """Refuse what went along by CASCADE (SQLite: what no longer works) and belongs to no manager of this block."""
        losses = {relation.label: relation.identity for relation in lost}
        losses |= dict.fromkeys(self._catalog.broken(before), "")
        if not losses:
            return
        owners = {relation.identity: row.manager for row in self._ledger.read().values() for relation in row.relations}
        raise losses_error(block, {label: owners.get(identity, "") for label, identity in losses.items()})

    def _take_over(self, relations: Mapping[str, Sequence[Relation]], rows: Mapping[str, LedgerRow]) -> None:
        """Take what these managers have made out of the rows of all others: of a class that was renamed, or withdrawn."""
        known = {name: {each.identity for each in row.relations} for name, row in rows.items()}
        new = {each.identity for name, some in relations.items() for each in some} - {
            identity for name in relations for identity in known.get(name, ())
        }
        if new:
            self._ledger.release(new, keepers=relations)
