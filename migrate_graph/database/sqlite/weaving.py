"""Sends a statement of a body on SQLite again after views have stepped aside for it, and finds the views that a body has broken."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from migrate_graph.database.sqlite.obstacles import SqliteObstacles
from migrate_graph.database.views.weaving import MOST_REFUSALS, Company, NotWoven, Weaver
from migrate_graph.sql_space import SPACE

if TYPE_CHECKING:
    from migrate_graph.database.books.view_ledger import ViewLedger
    from migrate_graph.database.sqlite.catalog import SqliteCatalog
    from migrate_graph.database.sqlite.work import WorkConnection
    from migrate_graph.database.views.keeper import ViewKeeper

_BREAKS: Final = re.compile(rf"(?:{SPACE}|;)*+(?:ALTER|DROP)\b", re.IGNORECASE | re.DOTALL)
_REFUSED: Final = "error in "

_OUTSIDE: Final = (
    "views can step aside for a statement of a transaction only: open their manager around it (`with V(db):`), "
    "or leave transaction='none' away, and executescript()"
)


class SqliteWeaver(Weaver):
    """Lets views step aside for the statements of an attempt on SQLite.

    Args:
        keeper: the view keeper of the attempt.
        ledger: the view ledger, on the attempt's connection.
        catalog: the catalog, on the same connection.
        company: knows the managers.
        connection: returns the present connection of the attempt.
    """

    def __init__(
        self,
        keeper: ViewKeeper,
        ledger: ViewLedger,
        catalog: SqliteCatalog,
        company: Company,
        connection: Callable[[], WorkConnection],
    ) -> None:
        self._looks = SqliteObstacles(catalog, connection)
        super().__init__(keeper, ledger, self._looks, company)
        self._connection = connection

    def can_bring_up(self) -> bool:
        """See `Weaver`."""
        return not self._connection().is_closed

    def _misses_a_relation(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.Error) and "no such table" in str(error)

    def send(self, connection: WorkConnection, statement: str, call: Callable[[], object]) -> None:
        """Send a statement of the body.

        Args:
            connection: connection of the attempt.
            statement: text of the statement.
            call: sends the statement.
        """
        if self.is_at_work:
            call()
            return
        if self.is_named_in(statement):
            with connection.unheard():
                self.try_to_bring_up()
        if not _BREAKS.match(statement):
            call()
            return
        with connection.unheard(), self._keeper.working():
            self._looks.look(statement)
        self.must_look = True
        self._send(connection, call)

    def _send(self, connection: WorkConnection, call: Callable[[], object]) -> None:
        """Send a statement, and send it again each time views have stepped aside for it; a statement that SQLite refuses changes nothing."""
        for _ in range(MOST_REFUSALS):
            try:
                call()
            except sqlite3.OperationalError as error:
                if not str(error).startswith(_REFUSED):
                    raise
                refused = self._step_aside_in(connection, str(error))
                if refused is None:
                    continue
                self.note_refused(error, refused)
                raise
            return
        call()

    def _step_aside_in(self, connection: WorkConnection, message: str) -> NotWoven | None:
        if not connection.in_transaction:
            return NotWoven(_OUTSIDE)
        with connection.unheard():
            return self._step_aside(message)
