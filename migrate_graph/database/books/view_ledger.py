"""The view ledger: which managed views are down, and how each was when it was taken down."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from migrate_graph.core.history import StoredView
from migrate_graph.database.books.ledger import Execute, Rows
from migrate_graph.database.names import TableNames
from migrate_graph.database.relation import Relation
from migrate_graph.errors import DatabaseRefused
from migrate_graph.messages import first_line

_TEXT = re.compile(r'\{"text": "([^"\\]*)"(, "unfilled": \[)?')
_HEAD = 400

_TOGETHER = 150
"""Rows that are written by one statement; old versions of SQLite permit only 999 parameters."""


class ViewState(StrEnum):
    """Whether the relations of a manager exist, or were taken down."""

    UP = "up"
    DOWN = "down"


class LedgerRow(Struct, frozen=True):
    """One manager's row.

    Attributes:
        manager: name of the manager.
        state: UP: `relations` are those that the manager made last. DOWN: they are those that it took down.
        migration: the migration in which that happened; empty after a repair.
        relations: the relations as they were in the database; in an UP row without items and grants.
        text: fingerprint of the manager's `up()` and `down()` when the view last came up; empty when it is not known.
        unfilled: identities of materialized views that were created without rows and still need a refresh.
    """

    manager: str
    state: ViewState
    migration: str
    relations: tuple[Relation, ...] = ()
    text: str = ""
    unfilled: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the JSON for the table's column `relations`; only ASCII, so that every encoding can store it."""
        unfilled = {"unfilled": self.unfilled} if self.unfilled else {}
        return json.dumps({"text": self.text} | unfilled | {"relations": [each.to_json() for each in self.relations]})

    @classmethod
    def from_json(cls, manager: str, state: str, migration: str, stored: str) -> LedgerRow:
        """Read back what `to_json` wrote, or the bare list of relations that earlier versions wrote."""
        value = json.loads(stored)
        value = {"relations": value} if isinstance(value, list) else value
        relations = tuple(Relation.from_json(each) for each in value["relations"])
        unfilled = tuple(map(str, value.get("unfilled", ())))
        return cls(manager, ViewState(state), migration, relations, value.get("text", ""), unfilled)


class ViewLedger:
    """The table `<migrate_table>_views`; `execute` runs the statements on a connection.

    `locate` finds the schema of the tables where the setting names none.
    """

    def __init__(
        self, names: TableNames, execute: Execute, *, locate: Callable[[TableNames], TableNames] = lambda names: names
    ) -> None:
        self._names = names
        self._dialect = names.dialect
        self._execute = execute
        self._locate = locate

    def _run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        return self._execute(self._dialect.sql(statement), parameters)

    @cached_property
    def table(self) -> str:
        """Name of the table with its schema, quoted."""
        names = self._locate(self._names)
        return names.quoted(names.views)

    def create(self) -> None:
        """Create the table, which must be missing."""
        moment = self._dialect.moment
        self._run(
            f'CREATE TABLE {self.table} ("manager" TEXT PRIMARY KEY NOT NULL, "state" VARCHAR(8) NOT NULL, '
            f'"migration" TEXT NOT NULL, "relations" TEXT NOT NULL, "changed" {moment} NOT NULL)'
        )

    def read(self, managers: Iterable[str] | None = None, *, down: bool = False) -> dict[str, LedgerRow]:
        """Return rows by manager: those of some managers, or of those that are down, or every one."""
        statement = f"SELECT manager, state, migration, relations FROM {self.table}"
        wanted = None if managers is None else sorted(managers)
        if wanted is not None:
            if not wanted:
                return {}
            statement += f" WHERE {self._named(len(wanted))}"
        elif down:
            statement += f" WHERE state {self._dialect.op('<>')} '{ViewState.UP}'"  # also a row with a wrong state, so that reading it raises
        rows = self._run(f"{statement} ORDER BY manager", wanted or ())
        return {row[0]: self._row(*row) for row in rows}

    def read_naming(self, identities: Iterable[str]) -> dict[str, LedgerRow]:
        """Return the rows of managers that may have one of these relations; other rows are not read."""
        named = sorted(json.dumps(identity) for identity in identities)
        if len(named) > _TOGETHER:
            return self.read()
        if not named:
            return {}
        place = self._dialect.function("strpos" if self._dialect.folds_case else "instr")
        mentions = " OR ".join([f"{place}(relations, ?) {self._dialect.op('>')} 0"] * len(named))
        rows = self._run(
            f"SELECT manager, state, migration, relations FROM {self.table} WHERE {mentions} ORDER BY manager", named
        )
        return {row[0]: self._row(*row) for row in rows}

    def _row(self, manager: str, state: str, migration: str, relations: str) -> LedgerRow:
        try:
            return LedgerRow.from_json(manager, state, migration, relations)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatabaseRefused(
                f"the row of {manager!r} in {self.table} cannot be read: {first_line(error)}",
                hint="mend or delete it; nothing was changed",
            ) from None

    def _named(self, count: int) -> str:
        places = ", ".join("?" * count)
        if self._dialect.folds_case:
            # With its schema: the search_path of the migration may have another operator of this name.
            return f"manager OPERATOR(pg_catalog.=) ANY (ARRAY[{places}]::pg_catalog.text[])"
        return f"manager IN ({places})"

    def read_down(self) -> tuple[StoredView, ...]:
        """Return the views that are down: one value per relation, or one without a relation for a view that never came up."""
        return tuple(
            StoredView(relation.identity, row.manager, row.migration, json.dumps(relation.to_json()))
            if relation
            else StoredView("", row.manager, row.migration)
            for row in self.read(down=True).values()
            for relation in (row.relations or (None,))
        )

    def read_texts(self) -> dict[str, str]:
        """Return the fingerprint of each manager's text when its view last came up, empty where it is not known.

        Only the beginning of each row's JSON is read.
        """
        return self._read_heads()[0]

    def read_unfilled(self) -> dict[str, LedgerRow]:
        """Return the rows of managers with views that still need a refresh."""
        return self.read(self._read_heads()[1])

    def read_texts_and_unfilled(self) -> tuple[dict[str, str], tuple[StoredView, ...]]:
        """Return the result of `read_texts`, and the views that still need a refresh; a second query is sent only if there are some."""
        texts, unfilled = self._read_heads()
        rows = self.read(unfilled).values()
        return texts, tuple(StoredView(each, row.manager, row.migration) for row in rows for each in row.unfilled)

    def _read_heads(self) -> tuple[dict[str, str], list[str]]:
        """Return the fingerprint of each manager's text, and the managers with views that still need a refresh."""
        rows = self._run(
            f"SELECT manager, {self._dialect.function('substr')}(relations, 1, {_HEAD}) FROM {self.table} ORDER BY manager"
        )
        heads = {manager: _TEXT.match(head) for manager, head in rows}
        texts = {manager: head[1] if head else "" for manager, head in heads.items()}
        return texts, [manager for manager, head in heads.items() if head and head[2]]

    def write(self, rows: Iterable[LedgerRow]) -> None:
        """Write rows; each replaces the earlier row of its manager."""
        changed = datetime.now(UTC).isoformat(sep=" ")  # as text: psycopg2 would add `::timestamptz` to a datetime
        values = [(row.manager, row.state.value, row.migration, row.to_json(), changed) for row in rows]
        for start in range(0, len(values), _TOGETHER):
            some = values[start : start + _TOGETHER]
            self._run(
                f'INSERT INTO {self.table} ("manager", "state", "migration", "relations", "changed") '
                f"VALUES {', '.join(['(?, ?, ?, ?, ?)'] * len(some))} "
                "ON CONFLICT (manager) DO UPDATE SET state = excluded.state, migration = excluded.migration, "
                "relations = excluded.relations, changed = excluded.changed",
                [value for row in some for value in row],
            )

    def release(self, identities: Collection[str], *, keepers: Collection[str]) -> None:
        """Remove relations from the rows of all managers except `keepers`; an UP row without relations is deleted.

        Args:
            identities: identities of the relations.
            keepers: the managers that have the relations now.
        """
        others = [row for name, row in self.read_naming(identities).items() if name not in keepers]
        left = {row.manager: tuple(each for each in row.relations if each.identity not in identities) for row in others}
        changed = [
            replace(
                row,
                relations=left[row.manager],
                unfilled=tuple(each for each in row.unfilled if each not in identities),
            )
            for row in others
            if left[row.manager] != row.relations
        ]
        self.write(row for row in changed if row.relations or row.state is ViewState.DOWN)
        self.forget(row.manager for row in changed if not row.relations and row.state is ViewState.UP)

    def forget(self, managers: Iterable[str]) -> None:
        """Delete the rows of managers."""
        names = sorted(managers)
        if names:
            self._run(f"DELETE FROM {self.table} WHERE {self._named(len(names))}", names)
