"""The output of `migrate plan --atomic`: whether the plan can be one transaction, and what to do if it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from migrate_graph.cli.text import MOST, listed
from migrate_graph.redaction import one_line
from migrate_graph.reports.document import fields_of, place_document

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.plan import Plan


def atomic_text(plan: Plan, style: TextStyle) -> Iterator[str]:
    """Yield lines that say whether a plan can be one transaction, what prevents it, and which commands to use instead."""
    from migrate_graph.workflow.one_transaction import added_values, obstacles, told, way_around

    found = obstacles(plan)
    if not found and plan.undecided:
        yield from style.lines(
            f"one transaction: not before a decision about {listed(plan.undecided, most=MOST)}", indent=6
        )
        return
    if not found:
        yield from style.lines("one transaction: possible; all of it is kept, or nothing", indent=6)
        for name, source in added_values(plan):
            note = "adds a value to an enum, which nothing after it can use before the run has ended (PostgreSQL)"
            yield from style.lines(f"{one_line(name)} ({one_line(str(source))}) {note}", indent=6)
        return
    not_possible = f"one transaction: not possible, {len(found)} of {len(plan.steps)} migrations do not fit"
    yield from style.lines(not_possible, indent=4, tone="error")
    for each in told(found):
        yield from style.lines(f"    {one_line(each)}", indent=6)
    yield "  apply them by themselves, and the others in as few transactions as that allows:"
    for command in way_around(plan):
        yield f"    {one_line(command)}"


def atomic_document(plan: Plan) -> dict[str, Any]:
    """Return the same for JSON."""
    from migrate_graph.workflow.one_transaction import added_values, obstacles, way_around

    found = obstacles(plan)
    return {
        "possible": not found and not plan.undecided,
        "obstacles": [{**fields_of(each, "name why"), **place_document(each.source)} for each in found],
        "undecided": list(plan.undecided),
        "adds_enum_values": [{"name": name, **place_document(source)} for name, source in added_values(plan)],
        "commands": list(way_around(plan)),
    }
