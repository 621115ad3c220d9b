"""The output of `migrate plan --jobs`: which migrations run at the same time, the critical path, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from migrate_graph.cli.text import MOST, listed
from migrate_graph.messages import counted, lasting

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.core.lanes import Forecast


def lanes_text(found: Forecast, style: TextStyle) -> Iterator[str]:
    """Yield lines with the lanes of a run, the critical path, and the migrations that cannot run beside others."""
    for sentence in _sentences(found):
        yield from style.lines(sentence, indent=10)


def _sentences(found: Forecast) -> Iterator[str]:
    jobs = counted(found.jobs, "job")
    if found.order.is_a_row:
        yield f"side by side, {jobs}: nothing, each step waits for the one before it{_duration(found)}"
    else:
        yield f"side by side, {jobs}{_duration(found)}"
        for number, lane in enumerate(found.lanes, start=1):
            yield f"    lane {number}  {listed((slot.name for slot in lane), most=MOST)}"
        way = listed(found.critical, most=MOST).replace(", ", " → ")
        lasts = f" ({lasting(found.critical_seconds)})" if found.known else ""
        yield f"  critical path: {way}{lasts}"
    if found.order.alone:
        yield f"  alone, transaction='none': {listed(found.order.alone, most=MOST)}"
    if found.order.keeps_place:
        names = listed(found.order.keeps_place, most=MOST)
        yield f"  wait for what stands before them: {names}; declare what they require, or independent=True"


def _duration(found: Forecast) -> str:
    """Return how long the run takes, as text; or that it is not known."""
    if not found.known:
        return "; how long is not known (--timings)"
    guessed = len(found.slots) - found.known
    sure = f"; {counted(guessed, 'step')} guessed" if guessed else ""
    return f": about {lasting(found.seconds)}, one after another {lasting(found.in_a_row)}{sure}"


def lanes_document(found: Forecast) -> dict[str, Any]:
    """Return the same for JSON."""
    is_known = bool(found.known)
    return {
        "jobs": found.jobs,
        "seconds": found.seconds if is_known else None,
        "seconds_in_a_row": found.in_a_row if is_known else None,
        "known": found.known,
        "critical_path": list(found.critical),
        "critical_seconds": found.critical_seconds if is_known else None,
        "lanes": [
            {
                "number": number,
                "steps": [
                    {
                        "name": slot.name,
                        "start": slot.start if is_known else None,
                        "seconds": slot.seconds if slot.is_known else None,
                    }
                    for slot in lane
                ],
            }
            for number, lane in enumerate(found.lanes, start=1)
        ],
        "waits": [
            {"name": name, "for": before, "why": str(kind)}
            for name, waits in found.order.waits.items()
            for before, kind in waits.items()
        ],
        "alone": list(found.order.alone),
        "keeps_place": list(found.order.keeps_place),
    }
