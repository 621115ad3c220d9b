"""Fills, after a commit, the materialized views that came up without their rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.core.events import Observer, Result, Warned
from migrate_graph.database.driver_errors import AttemptFailed, Trouble, TroubleKind
from migrate_graph.errors import MigrateGraphError, Stopped
from migrate_graph.executor import checkpoints
from migrate_graph.executor.checkpoints import Checkpoint
from migrate_graph.executor.pauses import Pauses

if TYPE_CHECKING:
    from migrate_graph.database import Backend, Work
    from migrate_graph.database.views.refreshing import Unfilled
    from migrate_graph.executor.pauses import Patience
    from migrate_graph.executor.watch import Watch
    from migrate_graph.signals import Interruption

NAME = "refresh of views"


class Refreshing(Struct, frozen=True):
    """Fills views.

    Attributes:
        backend: the database; the lock is held.
        observer: called when a view is filled, or cannot be filled.
        interruption: knows whether a signal has arrived.
        patience: how often it is tried when another session blocks it.
        watch: asks what the statement waits for.
        is_seated: other workers run beside it (`--jobs`): only views that came up in its own migration are filled. Until the migration
            has ended, no other worker uses these or views related to them; a view that is not related may be in use.
        reverts: the run undoes migrations; then no hint says to run `migrate apply`, which would apply them again.
    """

    backend: Backend
    observer: Observer
    interruption: Interruption
    patience: Patience
    watch: Watch
    is_seated: bool = False
    reverts: bool = False

    def after(self, results: Iterable[Result]) -> None:
        """Fill the views that came up without their rows in some migrations; report those that cannot be filled.

        These stay in the view ledger, and a later run tries again.
        """
        managers = frozenset(name for each in results for name in each.unfilled)
        if managers and not self.interruption.signal:
            try:
                self.run(managers if self.is_seated else None)
            except Stopped:
                return  # the run ends with the signal
            except (MigrateGraphError, AttemptFailed) as error:
                self.observer(Warned(f"views are not refreshed yet: {error.message}", error.hint))

    def run(self, only: Collection[str] | None = None) -> bool:
        """Fill the views that came up without their rows; return whether none is left.

        Args:
            only: names of the managers whose views are filled; None: all.

        Raises:
            Stopped: a signal arrived; the views that are not filled stay in the view ledger.
            DatabaseError: the database does not answer.
        """
        pauses = Pauses(self.patience, self.interruption, self.observer)
        while True:
            left = [(each, self.backend.explain(each.error)) for each in self._try(only)]
            waits = next((trouble for _, trouble in left if trouble.kind is not TroubleKind.OTHER), None)
            if waits is None or not pauses.pause(NAME, waits.message):
                break
        for unfilled, trouble in left:
            self._tell(unfilled, trouble)
        self.interruption.check()
        return not left

    def _try(self, only: Collection[str] | None) -> tuple[Unfilled, ...]:
        work = self.backend.own_work(NAME)
        try:
            with (
                self.interruption.stopping(work.cancel, work.hang_up),
                self.watch.on(NAME, lambda: self.backend.waiting_for(work)),
            ):
                left = work.views.refresh(self.observer, commit=lambda: _commit(work), only=only)
                self.interruption.check()  # when a signal has cancelled a statement, its error says nothing about the view
                return left
        finally:
            work.close()

    def _tell(self, unfilled: Unfilled, trouble: Trouble) -> None:
        self.observer(
            Warned(
                why_unfilled(unfilled, trouble.message),
                hint="it has no rows, and whoever reads it is told so; mend what the message names, then "
                f"{'' if self.reverts else 'run migrate apply again, or '}REFRESH MATERIALIZED VIEW {unfilled.relation} by hand",
            )
        )


def why_unfilled(unfilled: Unfilled, message: str) -> str:
    """Return in words which view could not be filled, and the error of the database."""
    return f"{unfilled.relation} ({unfilled.manager}) could not be refreshed: {message}"


def _commit(work: Work) -> None:
    checkpoints.reached(Checkpoint.VIEW_FILLED)
    work.db.commit()
    checkpoints.reached(Checkpoint.VIEW_REFRESHED)
