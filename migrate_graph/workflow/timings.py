"""How long the steps of a plan took earlier: in this database, or in another one whose log was saved to a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

from migrate_graph.core.history import Attempt, AttemptState
from migrate_graph.core.plan import Plan
from migrate_graph.errors import UsageError

_HINT = "save it there with: migrate log --json > timings.json"


def timings_of(plan: Plan, attempts: Iterable[Attempt], elsewhere: Path | None = None) -> dict[str, float]:
    """Return, by the migration's name, the seconds that each step took when it was last applied, as far as that is known.

    Args:
        plan: the plan.
        attempts: the attempts of this database, oldest first.
        elsewhere: a file that `migrate log --json` wrote about another database; its times are preferred.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    known = {each.name: each.duration for each in attempts if each.state is AttemptState.APPLIED}
    known |= _read(elsewhere) if elsewhere else {}
    names = (step.migration.name for step in plan.steps)
    return {name: seconds for name in names if (seconds := known.get(name)) is not None}


def _read(file: Path) -> dict[str, float]:
    try:
        log = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint=_HINT) from None
    except (ValueError, RecursionError):
        raise UsageError(f"{file} is not JSON", hint=_HINT) from None
    try:
        applied = [each for each in log["attempts"] if each["state"] == AttemptState.APPLIED]
        found = {str(each["name"]): float(each["duration"]) for each in applied if each["duration"] is not None}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UsageError(f"{file} is not what `migrate log --json` writes", hint=_HINT) from None
    if not all(0 <= seconds < math.inf for seconds in found.values()):
        raise UsageError(f"{file} holds durations that are none", hint=_HINT)
    return found
