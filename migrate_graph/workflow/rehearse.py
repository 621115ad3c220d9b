"""Rehearse: run the pending migrations where it cannot hurt, and ask the database what each of them did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from migrate_graph.core.events import Outcome, Result
from migrate_graph.errors import ExitCode

if TYPE_CHECKING:
    from migrate_graph.core.plan import Plan


class Place(StrEnum):
    """Where a rehearsal happens."""

    CLONE = "clone"
    """In an empty copy of the schema, which is dropped afterwards."""
    SCRATCH = "scratch"
    """In a database made for it: what is applied is replayed there, then everything is really committed."""
    HERE = "here"
    """In the database itself, in one transaction that is rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearseOptions:
    """How a rehearsal behaves.

    Attributes:
        on: where it happens.
        data: rows of each touched table that are copied into a clone.
        values: statements are told with their values; False: `?` stands for each literal.
        allow_outside: acts outside of the database are not refused.
    """

    on: Place = Place.CLONE
    data: int = 0
    values: bool = True
    allow_outside: bool = False


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What was seen.

    Attributes:
        on: where it happened.
        plan: what would run; each step that was rehearsed carries its footprint.
        results: how each step ended, and what is blocked.
        cut: why it ended before its end; empty when it did not.
        remarks: what is not as it will be, or was not undone: sequences advanced, `now()` stood still.
    """

    on: Place
    plan: Plan
    results: tuple[Result, ...] = ()
    cut: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """What a command that only rehearses ends with: 1 when a migration failed, or the rehearsal ended before its end."""
        failed = any(result.outcome is not Outcome.APPLIED for result in self.results)
        return ExitCode.FAILED if self.cut or failed else ExitCode.OK
