"""Whether steps that need the same views share a transaction (`--coalesce`), and the segments of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from migrate_graph.errors import UsageError

if TYPE_CHECKING:
    from migrate_graph.config import Config
    from migrate_graph.core.coalescing import Segment
    from migrate_graph.core.plan import Plan
    from migrate_graph.workflow.rehearse import Rehearsal


def coalesces(
    config: Config, *, coalesce: bool | None = None, atomic: bool | None = None, jobs: int | None = None
) -> bool:
    """Return whether consecutive steps that need the same views share a transaction.

    Args:
        config: the settings.
        coalesce: True: `--coalesce` was typed, False: `--no-coalesce`, None: neither.
        atomic: True: `--atomic` was typed, False: `--no-atomic`, None: neither.
        jobs: the typed value of `--jobs`; None: it was not typed.

    Raises:
        UsageError: another setting says that steps run side by side, or that the whole run is one transaction.
    """
    if not (config.coalesce if coalesce is None else coalesce):
        return False
    how = f"`coalesce` is set ({config.sources['coalesce']})" if coalesce is None else "--coalesce was given"
    if config.atomic if atomic is None else atomic:
        if coalesce is None:
            return False  # the whole run is one transaction, in which views go down once
        raise UsageError(
            f"{how}, and `atomic` is set ({config.sources['atomic']}): the whole run is one transaction already",
            hint="leave out --coalesce, or add --no-atomic",
        )
    if (config.jobs if jobs is None else jobs) > 1:
        also = f"`jobs` is set ({config.sources['jobs']})" if jobs is None else "--jobs was given"
        raise UsageError(
            f"steps that share a transaction run one after another: {how}, and {also}",
            hint="add --no-coalesce, or --jobs 1",
        )
    return True


def segments_in(plan: Plan, rehearsal: Rehearsal | None = None) -> tuple[Segment, ...]:
    """Return the segments of a plan; a rehearsal tells also which views block statements."""
    from migrate_graph.core.coalescing import segments_of

    return segments_of(plan, {} if rehearsal is None else seen_in_the_way(rehearsal))


def seen_in_the_way(rehearsal: Rehearsal) -> Mapping[str, tuple[str, ...]]:
    """Return the managers whose views blocked statements in a rehearsal, by the migration's name."""
    return {each.name: each.stepped_aside for each in rehearsal.results if each.stepped_aside}
