"""Graphs for the rules, and what the rules say of them."""

from __future__ import annotations

from typing import Any

from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.history import History
from migrate_graph.core.model import UnreachedFile
from migrate_graph.core.rules import Finding, RuleSettings, check

OPENS = {"touches": ["V"]}


BILLING = UnreachedFile("app/billing.py", (("invoice", 14), ("refund", 30)))


def judged(code: str, graph: MigrationGraph, history: History | None = None, **values: Any) -> list[Finding]:
    """Return the findings of one rule."""
    settings = RuleSettings(select=(code,))
    return [each for each in check(graph, history, settings=settings, **values) if each.code == code]


def told(code: str, graph: MigrationGraph, history: History | None = None, **values: Any) -> list[tuple[str, str, str]]:
    found = judged(code, graph, history, **values)
    return [(each.subject.name, each.message, each.hint.removesuffix(", if it is not applied yet")) for each in found]
