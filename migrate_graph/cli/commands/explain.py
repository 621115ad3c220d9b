"""`migrate explain`: the page of a rule, or all rules."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import typer

from migrate_graph.cli.command import Section, command, session_of
from migrate_graph.cli.delivery import deliver_lines
from migrate_graph.cli.options import CodeArgument, JsonOption
from migrate_graph.columns import table
from migrate_graph.errors import UsageError
from migrate_graph.reports.document import document, fields_of

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.rules import Rule


@command(Section.LOOK, "migrate explain MG101", "migrate explain dependency-cycle", "migrate explain")
def explain(context: typer.Context, code: CodeArgument = None, *, json: JsonOption = False) -> None:
    """Show the page of a rule; without a code, list them all."""
    from migrate_graph.core.rules import RULES
    from migrate_graph.workflow.check import explain as look_up

    session = session_of(context)
    rules = [look_up(code)] if code is not None else list(RULES.values())
    if not all(rule.page for rule in rules):
        raise UsageError(
            "the pages of rules are docstrings, which Python leaves out with -OO", hint="run it without -OO"
        )
    if json:
        session.console.show_json(rule_document(*rules))
    elif code is not None:
        deliver_lines(session, rule_text(rules[0], session.console.style))
    else:
        rows = [(rule.code, rule.name, str(rule.severity), rule.summary) for rule in rules]
        deliver_lines(session, chain.from_iterable(table(rows, session.console.width)))


def rule_text(rule: Rule, style: TextStyle) -> Iterator[str]:
    """Yield the page of a rule."""
    yield f"{style.paint(f'{rule.code} {rule.name}', 'bold')}  ({rule.severity})"
    yield ""
    for line in rule.page.rstrip().splitlines():
        if line.startswith("#"):
            yield style.paint(line.lstrip("# "), "heading")
        elif line.startswith(("    ", "`")):  # code
            yield line
        else:
            yield from style.lines(line, indent=0)


def rule_document(*rules: Rule) -> dict[str, Any]:
    """Return the pages of rules."""
    return document("rules", {"rules": [fields_of(rule, "code name severity page") for rule in rules]})
