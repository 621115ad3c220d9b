"""The base class of attempts that share one session on PostgreSQL, in an atomic run or in a rehearsal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from migrate_graph.database.books.view_ledger import ViewLedger
from migrate_graph.database.dal import DalSource, forget
from migrate_graph.database.driver_errors import AttemptFailed, require_whole
from migrate_graph.database.owner import Owner
from migrate_graph.database.postgres.session.as_ourselves import AsOurselves
from migrate_graph.database.postgres.session.connection import INERROR
from migrate_graph.database.postgres.session.opening import pydal_uri
from migrate_graph.database.postgres.session.patience import cut
from migrate_graph.database.postgres.views.catalog import PostgresCatalog
from migrate_graph.database.postgres.views.weaving import PostgresWeaver

if TYPE_CHECKING:
    from migrate_graph.database import Settings
    from migrate_graph.database.names import TableNames
    from migrate_graph.database.spare_dal import SpareDal
    from migrate_graph.database.views.keeper import ViewKeeper
    from migrate_graph.database.views.weaving import Company


class SharedWork(ABC):
    """See `database.Work`; several of them share one session.

    Args:
        connection: the connection that all of them share.
        settings: the settings of the database.
        names: the names of the tool's tables.
        dals: makes the `DAL`.
        patiently: runs a call that may block on a connection, and reports what it waits for.
        name: name of the migration.
    """

    views: ViewKeeper

    def __init__(
        self,
        connection: Any,
        settings: Settings,
        names: TableNames,
        *,
        dals: SpareDal,
        patiently: Callable[..., Any],
        name: str,
    ) -> None:
        self._connection = connection
        self._dals = dals
        self._wait = patiently
        self._owner = Owner()
        self._succeeded = self._ended = False
        uri, finds = pydal_uri(settings.uri), "SELECT to_regclass(%s) IS NOT NULL"
        source = DalSource(uri, self._connector, while_made=True, finds_table=finds, sets_up=False)
        connection.being_greeted = True
        self.db = self.patiently(f"opening a session for {name}", partial(dals.take, source))
        connection.being_greeted = False
        dals.note(self)
        self._catalog = PostgresCatalog(lambda: self._connection)
        run_as_ourselves = AsOurselves(lambda: self._connection, self._catalog.run)
        self._view_ledger = ViewLedger(names, run_as_ourselves, locate=self._catalog.locate)

    def _connector(self, *_dsn: Any, **_options: Any) -> Any:
        """Return the shared connection to pyDAL, which calls this in every thread and process that uses the `DAL`."""
        self._owner.check()
        return self._connection

    def patiently(self, doing: str, call: Callable[[], Any]) -> Any:
        return self._wait(self._connection, doing, call)

    def listen(self, hear: Callable[[str], None] | None) -> None:
        self._connection.hears = hear

    def weave(self, company: Company) -> PostgresWeaver:
        weaver = PostgresWeaver(self.views, self._view_ledger, self._catalog, company, lambda: self._connection)
        self._connection.weaver = weaver
        return weaver

    def _require_whole(self, lost: str, *, is_closed: bool, single: bool, of_what: str) -> None:
        """Raise if the work of the body is not complete.

        Args:
            lost: why work of the body was rolled back, in words; empty when none was.
            is_closed: the body has closed the connection.
            single: the migration is one transaction.
            of_what: what is lost with an aborted transaction, for the message.

        Raises:
            AttemptFailed: it is not complete.
        """
        lost = f"{lost}, which is rolled back" if lost else ""
        require_whole(refused=self._owner.refused, lost=lost, is_closed=is_closed, single=single)
        if self._connection.info.transaction_status == INERROR:
            raise AttemptFailed(
                f"it swallowed an SQL error: the transaction is aborted, so nothing of {of_what} was kept",
                hint="let the exception pass, or wrap the statement in a savepoint",
            )

    def leftovers(self) -> list[str]:
        """Return an empty list: in one transaction nothing is left that a rollback does not remove."""
        return []

    def is_lost(self) -> bool:
        return bool(self._connection.is_broken())

    def is_unsure(self) -> bool:
        return False

    def close(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._leave()
        if self._succeeded:
            self._dals.keep(self)
        forget(self.db)
        del self.db

    @abstractmethod
    def _leave(self) -> None:
        """Roll back what is open, and leave the session to the next migration."""

    def hang_up(self) -> None:
        cut(self._connection)

    def cancel(self) -> None:
        self._connection.cancel()
