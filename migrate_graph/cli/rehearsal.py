"""A rehearsal on the command line: what is told meanwhile, and its results in each format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from migrate_graph.cli.command import Condition, Together, Typed

if TYPE_CHECKING:
    from migrate_graph.cli.console import TextStyle
    from migrate_graph.cli.session import Session
    from migrate_graph.core.events import Event
    from migrate_graph.workflow.assessment import Assessment
    from migrate_graph.workflow.place import Place
    from migrate_graph.workflow.rehearse import Rehearsal, RehearseOptions


def _asks(typed: Typed) -> bool:
    return bool({"--rehearse", "--sql"} & typed.keys()) or "sql" in typed.get("--format", ())


ASKED = Condition("--rehearse", _asks)
"""A rehearsal is asked for, in one of its spellings."""

OPTIONS = (
    *(Together(option, needs=(ASKED,)) for option in ("--on", "--data", "--no-values", "--allow-outside")),
    Together("--data", excludes=("--on=scratch", "--on=here")),
)
"""What goes together in every command that rehearses."""


def options_of(place: Place, data: int | None, *, no_values: bool, allow_outside: bool) -> RehearseOptions:
    """Return how a rehearsal behaves, as it was typed."""
    from migrate_graph.workflow.rehearse import RehearseOptions

    return RehearseOptions(on=place, data=data or 0, values=not no_values, allow_outside=allow_outside)


def rehearse_on(session: Session, found: Assessment, options: RehearseOptions) -> tuple[Assessment, Rehearsal]:
    """Rehearse what would run; what there is to tell meanwhile goes to stderr, and how the steps end stands in the result."""
    from migrate_graph.core.events import Connecting, LockWaiting, Printed, Warned
    from migrate_graph.workflow.rehearsed import rehearse_plan

    def tell(event: Event) -> None:
        if isinstance(event, Connecting | LockWaiting | Printed | Warned):
            session.remark(event)

    return rehearse_plan(found, options, tell)


def script(found: Assessment, rehearsal: Rehearsal) -> Iterator[str]:
    """Yield a rehearsal as a SQL script."""
    from migrate_graph.cli.rehearsal_text import script_lines
    from migrate_graph.workflow.rehearsed import is_file

    heading = (" · ".join(part for part in (found.project.name, found.reading.database) if part),)
    return script_lines(rehearsal, heading, is_file=is_file(found))


def markdown(session: Session, found: Assessment, rehearsal: Rehearsal) -> bytes:
    """Return a rehearsal as Markdown."""
    from migrate_graph.cli.rehearsal_text import findings_about, markdown_lines
    from migrate_graph.workflow.rehearsed import is_file

    lines = markdown_lines(rehearsal, findings_about(rehearsal.plan, found.findings), is_file=is_file(found))
    return "".join(f"{session.console.redact(line)}\n" for line in lines).encode("utf-8", "replace")


def verdict(found: Assessment, rehearsal: Rehearsal, style: TextStyle) -> Iterator[str]:
    """Yield what there is to say of a rehearsal below the plan; a failure stands at its step already."""
    from migrate_graph.cli.rehearsal_text import closing_lines, findings_about
    from migrate_graph.workflow.rehearsed import is_file

    findings = [each for each in findings_about(rehearsal.plan, found.findings) if each.code != "MG612"]
    return closing_lines(rehearsal, findings, style, is_file=is_file(found))


def headline(found: Assessment, rehearsal: Rehearsal) -> str:
    """Return on one line how a rehearsal ended."""
    from migrate_graph.cli.rehearsal_text import summary
    from migrate_graph.workflow.rehearsed import is_file

    return summary(rehearsal, is_file=is_file(found))
