"""The text about views that a plan does not simply drop and create again: how each of them comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from migrate_graph.cli.text import listed

if TYPE_CHECKING:
    from migrate_graph.core.model import Way
    from migrate_graph.workflow.assessment import Assessment

_MOST = 6
"""The number of names in a line."""


def ways_by_step(planned: Assessment, *, together: Collection[str]) -> dict[str, dict[str, Way]]:
    """Return how the views of each step come back, by migration and view; empty if the database has only one way, or is not known.

    Args:
        planned: the assessed project.
        together: the migrations that share a transaction with others.
    """
    if not planned.has_ways:
        return {}
    from migrate_graph.core.ways import ways_of

    return {
        step.migration.name: ways_of(
            planned.graph, step.migration, step.views, alone=step.migration.name not in together
        )
        for step in planned.planned.steps
        if step.views.down
    }


def how_told(ways: Mapping[str, Way]) -> str:
    """Return text about the views that are not simply created again; empty if there are none."""
    from migrate_graph.core.model import Way

    words = {
        Way.IN_PLACE: "up all the time, where the server can replace what changes",
        Way.BESIDE: "built beside the old one",
        Way.DEFERRED: "rows after the commit",
    }
    some = {word: [name for name, its in ways.items() if its is way] for way, word in words.items()}
    return "; ".join(f"{listed(names, most=_MOST)}: {word}" for word, names in some.items() if names)
