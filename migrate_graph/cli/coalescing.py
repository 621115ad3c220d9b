"""The output of `migrate plan --coalesce`: which steps share a transaction, and for which views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from migrate_graph.cli.text import MOST, listed
from migrate_graph.redaction import one_line

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.plan import Plan


def segments_text(segments: Sequence[Segment], plan: Plan, style: TextStyle, *, is_rehearsed: bool) -> Iterator[str]:
    """Yield lines that say which steps share a transaction.

    Args:
        segments: the groups of steps that share a transaction.
        plan: the whole plan.
        style: how text is written.
        is_rehearsed: whether a rehearsal has shown which views are in the way of statements.
    """
    if not segments:
        yield from style.lines("together: no two steps in a row need the same views", indent=4)
    for segment in segments:
        first, last = (plan.places[segment.names[at]] for at in (0, -1))
        views = listed([one_line(name) for name in segment.views], most=MOST)
        text = f"together: {first} to {last} are one transaction, in which {views} go down once and come up once"
        yield from style.lines(text, indent=4)
    if not is_rehearsed:
        note = "views that nobody opens, and that step aside, are known after a rehearsal: add --rehearse"
        yield from style.lines(note, indent=4)


def segments_document(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Return the same for JSON."""
    return [{"steps": list(each.names), "views": list(each.views)} for each in segments]
