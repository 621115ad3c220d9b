"""What is wrong with a graph: one function per rule, each with its code, its page and its hint."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

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

# A file enters its rules when it is imported; readers want them in the order of their codes.
for _file in Path(__file__).parent.glob("[a-z]*.py"):
    import_module(f"{__name__}.{_file.stem}")
for _code in sorted(RULES):
    RULES[_code] = RULES.pop(_code)
