"""The contents of a database, in a form that can be compared: facts with their definitions, and digests of rows."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from migrate_graph.core.footprint import Fact


class Rows(Struct, frozen=True):
    """The rows of one table; their order does not count.

    Attributes:
        count: number of rows.
        columns: a digest of the values of each column, by the column's name.
        numbered: columns with a counter (identity, serial), and columns that refer to one: their values depend on the order of inserts.
        digest: digest of whole rows, without the columns that were left out.
    """

    count: int
    columns: Mapping[str, str] = field(default_factory=dict)
    numbered: frozenset[str] = frozenset()
    digest: str = ""


class Contents(Struct, frozen=True):
    """The contents of a database, without the tool's own tables.

    Attributes:
        facts: its objects with their definitions. The order of columns is left out: it only tells which column was added first.
        rows: the rows of each table, by the table's name.
    """

    facts: Mapping[Fact, str] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)

    def differences(self, other: Contents) -> tuple[str, ...]:
        """Return, in words, how the facts of the other database differ from the facts of this one."""
        mine, others = self.facts, other.facts
        return (
            *(f"no {fact}" for fact in sorted(mine.keys() - others.keys())),
            *(f"{fact}, too" for fact in sorted(others.keys() - mine.keys())),
            *(
                f"{fact} is {others[fact] or 'otherwise'}, not {mine[fact] or 'as it was'}"
                for fact in sorted(mine.keys() & others.keys())
                if mine[fact] != others[fact]
            ),
        )

    def other_rows(self, other: Contents, *, unstable: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
        """Return, in words, which tables of the other database hold other rows.

        Args:
            other: the other database.
            unstable: columns that do not count, by table: they differ between two runs of the same order.
        """
        told = []
        for name in sorted(self.rows.keys() & other.rows.keys()):
            mine, others = self.rows[name], other.rows[name]
            if mine.count != others.count:
                told.append(f"{name} has {others.count} rows, not {mine.count}")
            elif mine.digest != others.digest:
                left_out = unstable.get(name, frozenset()) | mine.numbered
                columns = [
                    each
                    for each, digest in mine.columns.items()
                    if each not in left_out and others.columns.get(each) != digest
                ]
                told.append(f"other values stand in {name} ({', '.join(columns) or 'in other rows'})")
        return tuple(told)

    def unstable(self, again: Contents) -> dict[str, frozenset[str]]:
        """Return the columns whose values differ between two runs of the same order (times, random values), by table."""
        return {
            name: frozenset(
                each for each, digest in rows.columns.items() if again.rows[name].columns.get(each) != digest
            )
            for name, rows in self.rows.items()
            if name in again.rows
        }
