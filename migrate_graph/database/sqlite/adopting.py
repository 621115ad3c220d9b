"""Writes the statements that make what an SQLite database has: its own text, where it keeps one."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from migrate_graph.core.adopting import Making
from migrate_graph.core.drift import Described, Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.database.sqlite.facts import VIRTUAL

INCLUDED = frozenset({"column", "constraint", "text"})
"""What stands in the text of a table or view."""

_WITH_A_TEXT = frozenset({"table", "view", "index", "trigger"})


class Definitions:
    """What is known of one database.

    Args:
        facts: as they are now.
    """

    def __init__(self, facts: Mapping[Fact, Described]) -> None:
        self._facts = facts

    def made(self, change: Drifted, fact: Fact) -> Making:
        """Return the statements that make a thing; none where that cannot be written."""
        if self._is_of_virtual(change):
            return Making()
        is_new = change.fact != fact or change.before is None
        text = self._facts[Fact("text", fact.identity) if fact.kind == "table" else fact].definition
        if fact.kind == "column" and is_new:
            return _column(change, text)
        if fact.kind not in _WITH_A_TEXT:
            return Making()
        return Making([text] if is_new else [self.dropped(change), text])

    def dropped(self, change: Drifted) -> str:
        """Return the statement that drops a thing; empty where that cannot be written."""
        return "" if self._is_of_virtual(change) else _dropped(change, if_there=" IF EXISTS")

    def _is_of_virtual(self, change: Drifted) -> bool:
        """Return whether it is a column of a virtual table, which no `ALTER TABLE` changes."""
        table = self._facts.get(Fact("text", change.relation))
        return change.fact.kind == "column" and table is not None and table.definition.startswith(VIRTUAL)


def drop_of(change: Drifted) -> str:
    """Return the statement that drops what a migration has added, and nothing else; empty where it has none of its own."""
    return _dropped(change, if_there="")


def _dropped(change: Drifted, *, if_there: str) -> str:
    kind, name = change.fact.kind, change.fact.identity
    if kind == "column":
        return f"ALTER TABLE {change.relation} DROP COLUMN {name.removeprefix(f'{change.relation}.')}"
    if kind not in _WITH_A_TEXT:
        return ""
    part = name.removeprefix(f"{change.relation}.") if kind == "trigger" else name
    return f"DROP {kind.upper()}{if_there} {part}"


def _column(change: Drifted, text: str) -> Making:
    """Return what adds a column; none where SQLite cannot add it: a part of a key, a computed one."""
    kind, is_needed, default, key, hidden = ast.literal_eval(text)
    if key or hidden or (is_needed and default is None):
        return Making()
    name = change.fact.identity.removeprefix(f"{change.relation}.")
    says = (name, kind, "NOT NULL" if is_needed else "", "" if default is None else f"DEFAULT {default}")
    return Making([f"ALTER TABLE {change.relation} ADD COLUMN {' '.join(filter(None, says))}"])
