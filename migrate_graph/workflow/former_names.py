"""The names that tables and columns have before a revert, while its steps rename some of them and make others."""

from __future__ import annotations

from migrate_graph.core.footprint import Footprint
from migrate_graph.core.traces import relation_and_part


class FormerNames:
    """What is called how before the first of some steps: their data has to be counted under these names.

    `note` is called with the footprint of each step, in order.
    """

    def __init__(self) -> None:
        self._former: dict[str, str | None] = {}

    def of(self, name: str, *, column: bool = False) -> str | None:
        """Return the former name of a table or a column; None: a step has made it, so that it holds no data of before."""
        if name in self._former or not column:
            return self._former.get(name, name)
        table, part = relation_and_part(name)
        former = self.of(table)
        return None if former is None else f"{former}.{part}"

    def note(self, step: Footprint) -> None:
        """Take in what a step has renamed and made; afterwards, `of` is asked with the names that follow this step."""
        made = [fact for fact in step.added if fact.kind in {"table", "column"}]
        found: dict[str, str | None] = {fact.identity: None for fact in made}
        columns = {fact.identity for fact in made if fact.kind == "column"}
        found |= {new: self.of(old, column=new in columns) for old, new in step.called.items()}
        self._former |= found
