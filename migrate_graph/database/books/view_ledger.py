"""What the database itself remembers of managed views: which are down, and how each was when it went."""

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
"""Rows of one statement; old versions of SQLite take 999 parameters."""


class ViewState(StrEnum):
    """Where a manager's relations are."""

    UP = "up"
    DOWN = "down"


class LedgerRow(Struct, frozen=True):
    """One manager's row.

    Attributes:
        manager: its name.
        state: UP with the relations it made last, DOWN with the relations it took down.
        migration: in which migration; empty after a repair.
        relations: everything captured; an UP row's stand without items and grants.
        text: fingerprint of the manager's `up()` and `down()` when it last came up; empty when it is not known.
        unfilled: identities of materialized views that came up without their rows, which a refresh is still to bring.
    """

    manager: str
    state: ViewState
    migration: str
    relations: tuple[Relation, ...] = ()
    text: str = ""
    unfilled: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return what is stored of it besides its columns; ASCII, whatever bytes the database holds."""
        unfilled = {"unfilled": self.unfilled} if self.unfilled else {}
        return json.dumps({"text": self.text} | unfilled | {"relations": [each.to_json() for each in self.relations]})

    @classmethod
    def from_json(cls, manager: str, state: str, migration: str, stored: str) -> LedgerRow:
        """Read back what `to_json` gave, and the bare list of relations that stood there before."""
        value = json.loads(stored)
        value = {"relations": value} if isinstance(value, list) else value
        relations = tuple(Relation.from_json(each) for each in value["relations"])
        unfilled = tuple(map(str, value.get("unfilled", ())))
        return cls(manager, ViewState(state), migration, relations, value.get("text", ""), unfilled)


class ViewLedger:
    """The table `<migrate_table>_views`, through whatever connection `execute` stands for."""

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
        """Its name with its schema, quoted."""
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
            statement += f" WHERE state {self._dialect.op('<>')} '{ViewState.UP}'"  # one that is neither is told, too
        rows = self._run(f"{statement} ORDER BY manager", wanted or ())
        return {row[0]: self._row(*row) for row in rows}

    def read_naming(self, identities: Iterable[str]) -> dict[str, LedgerRow]:
        """Return the rows of managers that one of these relations may be of; the others are not read."""
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
            # Whatever operators stand in the migration's search_path.
            return f"manager OPERATOR(pg_catalog.=) ANY (ARRAY[{places}]::pg_catalog.text[])"
        return f"manager IN ({places})"

    def read_down(self) -> tuple[StoredView, ...]:
        """Return what is down: one value per relation, or one without a relation for a view that never came up."""
        return tuple(
            StoredView(relation.identity, row.manager, row.migration, json.dumps(relation.to_json()))
            if relation
            else StoredView("", row.manager, row.migration)
            for row in self.read(down=True).values()
            for relation in (row.relations or (None,))
        )

    def read_texts(self) -> dict[str, str]:
        """Return the fingerprint of each manager's text when it last came up, empty where it is not known; nothing else of a row is read."""
        return self._read_heads()[0]

    def read_unfilled(self) -> dict[str, LedgerRow]:
        """Return the rows of managers that have something to be filled still."""
        return self.read(self._read_heads()[1])

    def read_texts_and_unfilled(self) -> tuple[dict[str, str], tuple[StoredView, ...]]:
        """Return what `read_texts` gives, and what is to be filled still; mostly by one query."""
        texts, unfilled = self._read_heads()
        rows = self.read(unfilled).values()
        return texts, tuple(StoredView(each, row.manager, row.migration) for row in rows for each in row.unfilled)

    def _read_heads(self) -> tuple[dict[str, str], list[str]]:
        """Return the text of each manager, and those of which something is to be filled still."""
        rows = self._run(
            f"SELECT manager, {self._dialect.function('substr')}(relations, 1, {_HEAD}) FROM {self.table} ORDER BY manager"
        )
        heads = {manager: _TEXT.match(head) for manager, head in rows}
        texts = {manager: head[1] if head else "" for manager, head in heads.items()}
        return texts, [manager for manager, head in heads.items() if head and head[2]]

    def write(self, rows: Iterable[LedgerRow]) -> None:
        """Write rows, each in the place of its manager's earlier one."""
        changed = datetime.now(UTC).isoformat(sep=" ")  # as a text: a driver would write the name of a type
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
        """Take relations out of the rows of all managers but some; a row that is up and empty then is deleted.

        Args:
            identities: of the relations.
            keepers: the managers that have them now.
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
        """Delete rows: of views that have retired."""
        names = sorted(managers)
        if names:
            self._run(f"DELETE FROM {self.table} WHERE {self._named(len(names))}", names)
