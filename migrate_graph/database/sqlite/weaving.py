"""Sends the statements of a body on SQLite again when views were in their way, and finds the views that it has broken."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from migrate_graph.database.sqlite.obstacles import SqliteObstacles
from migrate_graph.database.views.weaving import Company, NotWoven, Weaver
from migrate_graph.sql_space import SPACE

if TYPE_CHECKING:
    from migrate_graph.database.books.view_ledger import ViewLedger
    from migrate_graph.database.sqlite.catalog import SqliteCatalog
    from migrate_graph.database.sqlite.work import WorkConnection
    from migrate_graph.database.views.keeper import ViewKeeper

_BREAKS: Final = re.compile(rf"(?:{SPACE}|;)*+(?:ALTER|DROP)\b", re.IGNORECASE | re.DOTALL)
_REFUSED: Final = "error in "

_MOST: Final = 100
"""Refusals of one statement."""

_OUTSIDE: Final = (
    "views can step aside for a statement of a transaction only: open their manager around it (`with V(db):`), "
    "or leave transaction='none' away, and executescript()"
)


class SqliteWeaver:
    """Weaves what one connection of an attempt sends.

    Args:
        keeper: of the attempt.
        ledger: the view ledger on its connection.
        catalog: on its connection.
        company: knows the managers.
        connection: returns the one that the attempt has now.
    """

    def __init__(
        self,
        keeper: ViewKeeper,
        ledger: ViewLedger,
        catalog: SqliteCatalog,
        company: Company,
        connection: Callable[[], WorkConnection],
    ) -> None:
        self._keeper = keeper
        self._connection = connection
        self._obstacles = SqliteObstacles(catalog, connection)
        self._weaver = Weaver(keeper, ledger, self._obstacles, company)
        self._may_have_broken = False

    @property
    def views(self) -> Weaver:
        """What is woven."""
        return self._weaver

    @property
    def must_look(self) -> bool:
        """Whether the body has sent something that a view may not have survived."""
        return self._may_have_broken

    def can_bring_up(self) -> bool:
        """Return whether the connection takes statements."""
        return not self._connection().is_closed

    def hint_for(self, error: BaseException) -> str:
        """Return what can be done about an error of a statement; empty when weaving has nothing to do with it."""
        if why := self._weaver.why_refused(error):
            return why.hint
        is_missing = isinstance(error, sqlite3.Error) and "no such table" in str(error)
        return self._weaver.what_is_down(error) if is_missing else ""

    def send(self, connection: WorkConnection, statement: str, call: Callable[[], object]) -> None:
        """Send a statement of the body.

        Args:
            connection: of the attempt.
            statement: its text.
            call: sends it.
        """
        if self._weaver.is_at_work:
            call()
            return
        if self._weaver.is_named_in(statement):
            with connection.unheard():
                self._weaver.try_to_bring_up()
        if not _BREAKS.match(statement):
            call()
            return
        with connection.unheard(), self._keeper.working():
            self._obstacles.look(statement)
        self._may_have_broken = True
        self._send(connection, call)

    def _send(self, connection: WorkConnection, call: Callable[[], object]) -> None:
        """Send it, and again as often as views have stepped aside for it; what SQLite refuses has done nothing."""
        for _ in range(_MOST):
            try:
                call()
            except sqlite3.OperationalError as error:
                if not str(error).startswith(_REFUSED):
                    raise
                refused = self._step_aside(connection, str(error))
                if refused is None:
                    continue
                self._weaver.note_refused(error, refused)
                raise
            return
        call()

    def _step_aside(self, connection: WorkConnection, message: str) -> NotWoven | None:
        """Take down what is in the way; return why that cannot be done."""
        if not connection.in_transaction:
            return NotWoven(_OUTSIDE)
        try:
            with connection.unheard():
                self._weaver.take_down(lambda: self._obstacles.blocking(message))
        except NotWoven as refused:
            return refused
        return None
