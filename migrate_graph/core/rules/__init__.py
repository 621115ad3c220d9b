"""What is wrong with a graph: one function per rule, each with its code, its page and its hint."""

from __future__ import annotations

# Importing a module of rules fills RULES.
from migrate_graph.core.rules import (
    bodies,
    changes,
    commuting,
    history,
    migrations,
    rehearsal,
    reverting,
    uses,
    views,
    windows,
)
from migrate_graph.core.rules.check import RuleSettings, check
from migrate_graph.core.rules.rule import RULES, Context, Doing, Finding, Hit, Needs, Related, Rule, Severity, rule

__all__ = [
    "RULES",
    "Context",
    "Doing",
    "Finding",
    "Hit",
    "Needs",
    "Related",
    "Rule",
    "RuleSettings",
    "Severity",
    "check",
    "rule",
]

_CATALOGUE = (migrations, views, windows, bodies, history, changes, rehearsal, commuting, reverting, uses)

# Modules enter their rules as they are imported, in the order of their names; readers want the order of the codes.
for _code in sorted(RULES):
    RULES[_code] = RULES.pop(_code)
