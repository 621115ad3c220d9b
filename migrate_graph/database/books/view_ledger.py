"""What the database itself remembers of managed views: which are down, and how each was when it went."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from migrate_graph.core.history import StoredView
from migrate_graph.database.books.ledger import Execute, Rows
from migrate_graph.database.names import TableNames
from migrate_graph.database.relation import Relation


class ViewState(StrEnum):
    """Where a manager's relations are."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One manager's row.

    Attributes:
        manager: its name.
        state: UP with the relations it made last, DOWN with the relations it took down.
        migration: in which migration; empty after a repair.
        relations: everything captured; an UP row's stand without items and grants.
    """

    manager: str
    state: ViewState
    migration: str
    relations: tuple[Relation, ...] = ()


class ViewLedger:
    """The table `<migrate_table>_views`, through whatever connection `execute` stands for."""

    def __init__(
        self, names: TableNames, execute: Execute, *, locate: Callable[[TableNames], TableNames] = lambda names: names
    ) -> None:
        self._names = names
        self._dialect = names.dialect
        self._execute = execute
        self._locate = locate

    @cached_property
    def _table(self) -> str:
        names = self._locate(self._names)
        return names.quoted(names.views)

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        return self._execute(self._dialect.sql(statement), parameters)

    def create(self) -> None:
        """Create the table, which must be missing."""
        moment = self._dialect.moment
        self._run(
            f'CREATE TABLE {self._table} ("manager" TEXT PRIMARY KEY NOT NULL, "state" VARCHAR(8) NOT NULL, '
            f'"migration" TEXT NOT NULL, "relations" TEXT NOT NULL, "changed" {moment} NOT NULL)'
        )

    def read(self) -> dict[str, LedgerRow]:
        """Return every row by manager."""
        rows = self._run(f"SELECT manager, state, migration, relations FROM {self._table} ORDER BY manager")
        return {
            manager: LedgerRow(
                manager,
                ViewState(state),
                migration,
                tuple(Relation.from_json(value) for value in json.loads(relations)),
            )
            for manager, state, migration, relations in rows
        }

    def read_down(self) -> tuple[StoredView, ...]:
        """Return what is down: one value per relation, or one without a relation for a view that never came up."""
        return tuple(
            StoredView(relation.identity, row.manager, row.migration, json.dumps(relation.to_json()))
            if relation
            else StoredView("", row.manager, row.migration)
            for row in self.read().values()
            if row.state is ViewState.DOWN
            for relation in (row.relations or (None,))
        )

    def write(self, rows: Iterable[LedgerRow]) -> None:
        """Write rows, each in the place of its manager's earlier one."""
        statement = (
            f'INSERT INTO {self._table} ("manager", "state", "migration", "relations", "changed") '
            "VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (manager) DO UPDATE SET state = excluded.state, migration = excluded.migration, "
            "relations = excluded.relations, changed = excluded.changed"
        )
        now: Any = datetime.now(UTC)
        changed = now if self._dialect.folds_case else now.isoformat(sep=" ")
        for row in rows:
            relations = json.dumps([relation.to_json() for relation in row.relations])
            self._run(statement, (row.manager, row.state.value, row.migration, relations, changed))

    def forget(self, managers: Iterable[str]) -> None:
        """Delete rows: of views that have retired."""
        for manager in managers:
            self._run(f"DELETE FROM {self._table} WHERE manager = ?", (manager,))
