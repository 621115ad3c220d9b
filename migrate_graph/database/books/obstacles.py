"""Why migrations could not be recorded in a database, as far as reading it tells: `plan` says it, and `apply` refuses for it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from migrate_graph.errors import DatabaseRefused


class Obstacles(Struct, frozen=True, kw_only=True):
    """Why migrations could not be recorded in a database, as far as reading it tells.

    Attributes:
        label: what to call the database in output.
        ledger: name of the ledger.
        refused: why no writing command runs, whatever it would record; None: there is no such reason.
        faults: why nothing can be recorded.
        width: how many characters a name may have in the ledger; None: any number.
    """

    label: str = ""
    ledger: str = ""
    refused: DatabaseRefused | None = None
    faults: tuple[str, ...] = ()
    width: int | None = None

    def faults_of(self, names: Sequence[str]) -> list[str]:
        """Return why these migrations cannot be recorded; without any, nothing is recorded, so nothing is in the way."""
        if not names:
            return []
        too_long = [
            f"the name of {name!r} is longer than the {self.width} characters of {self.ledger}.name"
            for name in names
            if self.width and len(name) > self.width
        ]
        return [*self.faults, *too_long]

    def refusal(self, names: Sequence[str]) -> DatabaseRefused | None:
        """Return the error with which `apply` ends before it runs any of these migrations; None: nothing is in the way."""
        faults = self.faults_of(names)
        return self.refused or (cannot_record(self.label, faults) if faults else None)


def twice(ledger: str, duplicates: Sequence[str]) -> list[str]:
    """Return the faults of a ledger that has these names in more than one row."""
    return [f"{ledger} has more than one row for {name!r}" for name in duplicates]


def unfilled(ledger: str, columns: Sequence[str]) -> list[str]:
    """Return the faults of a ledger with columns that need a value, and that nothing fills in."""
    return [f"{ledger}.{column} is NOT NULL and has no default" for column in columns]


def cannot_record(label: str, faults: Sequence[str]) -> DatabaseRefused:
    """Return the refusal of a database in which migrations cannot be recorded.

    Args:
        label: name of the database in output.
        faults: the reasons.
    """
    return DatabaseRefused(
        f"{label} cannot record migrations: " + "; ".join(faults), hint="nothing was run; mend this and run again"
    )
