"""Which rows go, or lose a value, when rows that they refer to are deleted, as foreign keys say it."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from migrate_graph.core.drift import Described, Inventory
from migrate_graph.core.footprint import Fact
from migrate_graph.database.sqlite.facts import spelled

_NAMES: Final = r'(?:"(?:[^"]|"")*"|[^"()])+'
_KEY: Final = re.compile(
    rf"FOREIGN KEY \((?P<columns>{_NAMES})\) REFERENCES (?P<table>{_NAMES})\(.*\).* ON DELETE (?P<does>CASCADE|SET NULL|SET DEFAULT)"
)
_COLUMN: Final = re.compile(r'(?:"(?:[^"]|"")*"|[^",])+')


class Cascade(Struct, frozen=True):
    """What a foreign key does when a row is deleted that it refers to.

    Attributes:
        above: the table of that row.
        below: the table that refers to it.
        columns: of that table, which lose their values; empty where its rows go.
    """

    above: str
    below: str
    columns: tuple[str, ...] = ()


def dropping_deletes(inventory: Inventory) -> bool:
    """Return whether dropping a table deletes its rows first, with what refers to them, as SQLite does."""
    return inventory.server.startswith("sqlite")


def cascades_of(inventory: Inventory) -> Iterator[Cascade]:
    """Yield what the foreign keys of a database do when rows are deleted."""
    read = _on_sqlite if inventory.server.startswith("sqlite") else _on_postgres
    for fact, described in inventory.facts.items():
        if fact.kind == "constraint" and described.relation:
            yield from read(fact, described)


def _on_postgres(_: Fact, described: Described) -> Iterator[Cascade]:
    if found := _KEY.match(described.definition):
        columns = (
            () if found["does"] == "CASCADE" else tuple(each.strip() for each in _COLUMN.findall(found["columns"]))
        )
        yield Cascade(found["table"], described.relation, columns)


def _on_sqlite(fact: Fact, described: Described) -> Iterator[Cascade]:
    if " foreign key (" in fact.identity:
        parts = literal_eval(described.definition)
        does = parts[0][-1]
        if does in {"CASCADE", "SET NULL", "SET DEFAULT"}:
            columns = () if does == "CASCADE" else tuple(spelled(part[2]) for part in parts)
            yield Cascade(spelled(parts[0][1]), described.relation, columns)
