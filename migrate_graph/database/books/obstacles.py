"""Why migrations could not be recorded in a database, as far as reading it tells: `plan` says it, and `apply` refuses for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from migrate_graph.database.names import TableNames
from migrate_graph.errors import DatabaseError, DatabaseRefused
from migrate_graph.quoting import quote_identifier, quote_text

_FAULTS = 3
"""How many reasons are reported at most why records cannot be written: mostly it is one reason, repeated for each name."""


class Fault(NamedTuple):
    """Something in a database that must be mended by hand.

    Attributes:
        message: what is wrong.
        mend: what mends it: a statement that can be typed, where there is one.
    """

    message: str
    mend: str


class Obstacles(Struct, frozen=True, kw_only=True):
    """Why migrations could not be recorded in a database, as far as reading it tells.

    Attributes:
        label: what to call the database in output.
        names: names of the tool's tables; None: there is no ledger.
        refused: why no writing command runs, whatever it would record; None: there is no such reason.
        faults: why nothing can be recorded.
        width: how many characters a name may have in the ledger; None: any number.
        tries: tries beside the database whether records of these names stand, as installed or not, and returns why they do not; None: that
            is not needed, or impossible without writing.
    """

    label: str = ""
    names: TableNames | None = None
    refused: DatabaseRefused | None = None
    faults: tuple[Fault, ...] = ()
    width: int | None = None
    tries: Callable[[Sequence[str], bool], list[Fault]] | None = None

    def faults_of(self, names: Sequence[str]) -> list[Fault]:
        """Return why these migrations cannot be recorded; without any, nothing is recorded, so nothing is in the way."""
        if not names:
            return []
        too_long = [name for name in names if self.width and len(name) > self.width]
        if self.names is None or not too_long:
            return [*self.faults]
        ledger, longest = self.names.ledger, max(map(len, too_long))
        mend = f"ALTER TABLE {self.names.quoted(ledger)} ALTER COLUMN name TYPE varchar({max(512, longest)});"
        return [
            *self.faults,
            *(
                Fault(f"the name of {name!r} is longer than the {self.width} characters of {ledger}.name", mend)
                for name in too_long
            ),
        ]

    def refusal(self, names: Sequence[str], *, installed: bool = True) -> DatabaseRefused | None:
        """Return the error with which `apply` ends before it runs any of these migrations; None: nothing is in the way.

        Args:
            names: of the migrations.
            installed: they are to be recorded as installed; False: as undone.
        """
        faults = self.faults_of(names)
        if not faults and self.tries is not None:
            faults = self.tries(names, installed)
        return self.refused or (cannot_record(self.label, faults) if faults else None)


def tried(names: Sequence[str], try_one: Callable[[str], str]) -> list[Fault]:
    """Return why records of these names cannot be written.

    Args:
        names: of the migrations.
        try_one: writes the record of one, takes it back, and returns why it does not stand, or raises a `DatabaseError`; empty: it stands.
    """
    faults: dict[str, Fault] = {}
    for name in names:
        try:
            why = try_one(name)
        except DatabaseError as error:
            why = error.message
        if why:
            told = f"the record of {name!r} does not stand: {why}"
            faults.setdefault(why, Fault(told, "drop or change what refuses the record"))
    return [*faults.values()][:_FAULTS]


def twice(names: TableNames, duplicates: Sequence[str]) -> list[Fault]:
    """Return the faults of a ledger that has these names in more than one row.

    The statement keeps one row of a name, and one that says installed where there is one: that is how the ledger is read.
    """
    table = names.quoted(names.ledger)
    row = "ctid" if names.dialect.folds_case else "rowid"

    def mend(name: str) -> str:
        is_it = f"name = {quote_text(name)}"
        kept = f"SELECT {row} FROM {table} WHERE {is_it} ORDER BY installed DESC NULLS LAST LIMIT 1"
        return f"DELETE FROM {table} WHERE {is_it} AND {row} <> ({kept});"

    return [Fault(f"{names.ledger} has more than one row for {name!r}", mend(name)) for name in duplicates]


def unfilled(names: TableNames, columns: Sequence[str], *, fixed: Sequence[str] = ()) -> list[Fault]:
    """Return the faults of a ledger with columns that need a value, and that nothing fills in.

    Args:
        names: names of the tool's tables.
        columns: the columns.
        fixed: those of them that must stay NOT NULL: columns of a primary key or of a domain.
    """
    table = names.quoted(names.ledger)

    def mend(column: str) -> str:
        name = quote_identifier(column)
        if not names.dialect.folds_case:
            return f"ALTER TABLE {table} DROP COLUMN {name}; (its values are lost; else make the table anew with a default)"
        if column in fixed:
            return f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT …; (a value, or nextval of a sequence)"
        return f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL;"

    return [Fault(f"{names.ledger}.{column} is NOT NULL and has no default", mend(column)) for column in columns]


def mends(faults: Sequence[Fault]) -> str:
    """Return what mends these faults, each on a line of its own, once."""
    return "\n".join(dict.fromkeys(fault.mend for fault in faults if fault.mend))


def cannot_record(label: str, faults: Sequence[Fault]) -> DatabaseRefused:
    """Return the refusal of a database in which migrations cannot be recorded.

    Args:
        label: name of the database in output.
        faults: the reasons.
    """
    return DatabaseRefused(
        f"{label} cannot record migrations: " + "; ".join(fault.message for fault in faults),
        hint=f"nothing was run; mend this and run again:\n{mends(faults)}",
    )
