"""Writes the statements that create or drop objects of an SQLite database, mostly from the text that SQLite stores."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from migrate_graph.core.adopting import Making
from migrate_graph.core.drift import Described, Drifted
from migrate_graph.core.footprint import Fact
from migrate_graph.database.sqlite.facts import VIRTUAL

INCLUDED = frozenset({"column", "constraint", "text"})
"""Kinds of facts that are part of the text of a table or view."""

_WITH_A_TEXT = frozenset({"table", "view", "index", "trigger"})


class Definitions:
    """Writes statements from the facts of one database.

    Args:
        facts: the present facts.
    """

    def __init__(self, facts: Mapping[Fact, Described]) -> None:
        self._facts = facts

    def made(self, change: Drifted, fact: Fact) -> Making:
        """Return the statements that create an object or repeat its change; none where that cannot be written."""
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
        """Return the statement that drops an object; empty where that cannot be written."""
        return "" if self._is_of_virtual(change) else _dropped(change, if_there=" IF EXISTS")

    def _is_of_virtual(self, change: Drifted) -> bool:
        """Return whether the change is about a column of a virtual table, which ALTER TABLE cannot change."""
        table = self._facts.get(Fact("text", change.relation))
        return change.fact.kind == "column" and table is not None and table.definition.startswith(VIRTUAL)


def drop_of(change: Drifted) -> str:
    """Return the statement that drops an added object and nothing else; empty where no statement drops it alone."""
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
    """Return the statement that adds a column; none where SQLite cannot add it (part of the primary key, generated, NOT NULL without default)."""
    kind, is_needed, default, key, hidden = ast.literal_eval(text)
    if key or hidden or (is_needed and default is None):
        return Making()
    name = change.fact.identity.removeprefix(f"{change.relation}.")
    says = (name, kind, "NOT NULL" if is_needed else "", "" if default is None else f"DEFAULT {default}")
    return Making([f"ALTER TABLE {change.relation} ADD COLUMN {' '.join(filter(None, says))}"])
