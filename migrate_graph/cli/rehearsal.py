"""Rehearsals on the command line: their options, and the messages while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate_graph.cli.command import Condition, Together, Typed

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.core.events import Event
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.place import Place
    from migrate_graph.workflow.rehearse import Rehearsal, RehearseOptions


def _asks(typed: Typed) -> bool:
    return bool({"--rehearse", "--sql"} & typed.keys()) or "sql" in typed.get("--format", ())


ASKED = Condition("--rehearse", _asks)
"""The condition that a rehearsal was asked for: by `--rehearse`, `--sql` or `--format sql`."""

OPTIONS = (
    *(Together(option, needs=(ASKED,)) for option in ("--on", "--data", "--no-values", "--allow-outside")),
    Together("--data", excludes=("--on=scratch", "--on=here")),
)
"""The rules about options of every command that rehearses."""


def options_of(place: Place, data: int | None, *, no_values: bool, allow_outside: bool) -> RehearseOptions:
    """Return the options of a rehearsal from the typed values."""
    from migrate_graph.workflow.rehearse import RehearseOptions

    return RehearseOptions(on=place, data=data or 0, values=not no_values, allow_outside=allow_outside)


def rehearse_on(session: Session, found: Assessment, options: RehearseOptions) -> tuple[Assessment, Rehearsal]:
    """Rehearse the plan; return the assessment with the findings of the rehearsal, and the rehearsal.

    Meanwhile, waiting, prints of user code and warnings are shown on stderr.
    """
    from migrate_graph.core.events import Connecting, LockWaiting, Printed, Warned
    from migrate_graph.workflow.rehearsed import rehearse_plan

    def tell(event: Event) -> None:
        if isinstance(event, Connecting | LockWaiting | Printed | Warned):
            session.remark(event)

    return rehearse_plan(found, options, tell)
