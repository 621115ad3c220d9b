"""Takes down the views that block a statement of a body, and sends the statement again."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg2

from migrate_graph.database.postgres.session.connection import IDLE, INTRANS
from migrate_graph.database.postgres.session.statements import first_words, split
from migrate_graph.database.postgres.views.blockers import REFUSALS
from migrate_graph.database.postgres.views.obstacles import PostgresObstacles
from migrate_graph.database.savepoints import Savepoint
from migrate_graph.database.views.weaving import MOST_REFUSALS, Company, NotWoven, Weaver
from migrate_graph.errors import ViewError
from migrate_graph.sql_space import SPACE

if TYPE_CHECKING:
    from migrate_graph.database.books.view_ledger import ViewLedger
    from migrate_graph.database.postgres.session.connection import WorkConnection
    from migrate_graph.database.postgres.views.catalog import PostgresCatalog
    from migrate_graph.database.views.keeper import ViewKeeper

_WORDS = r"(?:ALTER|DROP|DO|CALL|CREATE\s+OR\s+REPLACE)\b"
_BEGINNING = re.compile(rf"(?:\A|;)\s*{_WORDS}", re.IGNORECASE)
_ANYWHERE = re.compile(rf"\b{_WORDS}", re.IGNORECASE)
# These may drop objects that the text does not name.
_CASCADING = re.compile(rf"\bCASCADE\b|(?:\A|;){SPACE}*+(?:DO|CALL)\b", re.IGNORECASE | re.DOTALL)
# After one of these, the savepoint set here may not be the innermost one any more.
_SAVEPOINTS = re.compile(rf"(?:\A|;){SPACE}*+(?:SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE | re.DOTALL)

_NOWHERE = "migrate_graph_not_woven"

_OUTSIDE = (
    "views can step aside for a statement of a transaction only: open their manager around it (`with V(db):`), "
    "or leave transaction='none', and autocommit, away"
)


def may_block(text: str) -> bool:
    """Return whether a view may block a statement of this text; judged by the first words of its statements."""
    if "--" not in text and "/*" not in text:
        return (_BEGINNING.search(text) if ";" in text else _BEGINNING.match(text)) is not None
    return _ANYWHERE.search(text) is not None and any(
        _BEGINNING.match(" ".join(first_words(each.text, most=3))) for each in split(text)
    )


class PostgresWeaver(Weaver):
    """Lets views step aside for the statements of one attempt.

    Args:
        keeper: takes views of the attempt down and brings them up.
        ledger: the view ledger, on the attempt's connection.
        catalog: the catalog of views, on the attempt's connection.
        company: knows the managers of the run's views.
        connection: returns the present connection of the attempt.
    """

    def __init__(
        self,
        keeper: ViewKeeper,
        ledger: ViewLedger,
        catalog: PostgresCatalog,
        company: Company,
        connection: Callable[[], WorkConnection],
    ) -> None:
        super().__init__(keeper, ledger, PostgresObstacles(catalog), company)
        self._connection = connection
        self._thread = threading.get_ident()

    def can_bring_up(self) -> bool:
        """See `Weaver`."""
        connection = self._connection()
        return not connection.closed and connection.info.transaction_status in {IDLE, INTRANS}

    def _misses_a_relation(self, error: BaseException) -> bool:
        return getattr(error, "pgcode", None) == "42P01"

    def may_weave(self, text: str) -> bool:
        """Return whether views may step aside for a statement of the body."""
        return not self.is_at_work and may_block(text)

    def send(self, connection: WorkConnection, query: Any, call: Callable[[], object]) -> None:
        """Send a statement of the body.

        Args:
            connection: the connection of the attempt; the marker is written in its transaction.
            query: the statement.
            call: sends it.
        """
        if self.is_at_work or threading.get_ident() != self._thread:
            call()
            return
        text = connection.text_of(query)
        if self._company.guards_only:
            self._send_guarded(connection, text, call)
            return
        if connection.weaves and self.is_named_in(text):
            self.try_to_bring_up()
        if not may_block(text) or _SAVEPOINTS.search(text):
            call()
        elif connection.weaves:
            self._send(connection, text, call)
        else:
            self._send_outside(call)

    def _send_guarded(self, connection: WorkConnection, text: str, call: Callable[[], object]) -> None:
        """Send a statement; undo it and fail if it has dropped a managed view.

        Raises:
            ViewError: it has dropped one.
        """
        before = self.managed() if connection.weaves and may_block(text) and _CASCADING.search(text) else {}
        if not before:
            call()
            return
        mark = None if _SAVEPOINTS.search(text) else Savepoint("migrate_graph_guard", connection.say)
        if mark:
            mark.set()
        call()
        if not connection.weaves:
            return
        taken = self.gone(before, text)
        if mark:
            mark.remove() if taken else mark.keep()
        if taken:
            raise ViewError(
                f"CASCADE would drop {', '.join(sorted(taken.values()))}, which a manager makes, and no view steps aside "
                "while others run beside it (--jobs)",
                hint="open the manager around the statement (`with V(db):`), or apply it without --jobs",
            )

    def _send_outside(self, call: Callable[[], object]) -> None:
        try:
            call()
        except psycopg2.Error as error:
            if error.pgcode == "2BP01":
                self.note_refused(error, NotWoven(_OUTSIDE))
            raise

    def _send(self, connection: WorkConnection, text: str, call: Callable[[], object]) -> None:
        """Send a statement; as long as views block it, take them down and send it again."""
        mark = Savepoint("migrate_graph_weave", connection.say)
        before = self.managed() if _CASCADING.search(text) else {}
        for _ in range(MOST_REFUSALS):
            mark.set()
            try:
                connection.asked += 1
                call()
            except psycopg2.Error as error:
                if error.pgcode not in REFUSALS or connection.closed:
                    raise
                mark.remove()
                refused = self._step_aside(error.diag.message_detail or "")
                if refused is None:
                    continue
                connection.abort(_NOWHERE)  # the body must see an aborted transaction, as after any SQL error
                self.note_refused(error, refused)
                raise
            if before and connection.weaves and (taken := self.gone(before, text)):
                mark.remove()
                self._save(taken)
                continue
            if connection.weaves:
                mark.keep()
            return
        call()

    def _save(self, taken: Mapping[int, str]) -> None:
        """Take down the views that CASCADE would drop, so that their privileges and comments are not lost.

        Raises:
            ViewError: they cannot be taken down.
        """
        try:
            self.take_down(lambda: taken)
        except NotWoven as refused:
            raise ViewError(
                f"CASCADE would drop {', '.join(sorted(taken.values()))}, which a manager makes: {refused.hint}",
                hint="open the manager around the statement (`with V(db):`), or declare that the window ends here (`until`)",
            ) from refused
