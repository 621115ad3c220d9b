"""Compares what a migration sends with what it sent when its plan was approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from migrate_graph.database.driver_errors import AttemptFailed

_MOST = 3
"""Statements that one message names."""


class Approved(Struct, frozen=True):
    """What was approved.

    Attributes:
        shapes: statements without values, by the migration that sent them in the rehearsal of the plan.
        strict: others are refused; else they are told.
    """

    shapes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strict: bool = False

    def ear(self, name: str) -> Ear | None:
        """Return what listens to a migration; None when it is not known what it sent."""
        shapes = self.shapes.get(name)
        if shapes is None:
            return None
        from migrate_graph.core.sealed import comparable  # most runs have no sealed plan

        return Ear(name, frozenset(map(comparable, shapes)), comparable, strict=self.strict)


class Ear:
    """Listens to one migration.

    Args:
        name: of it.
        known: what it sent in the rehearsal.
        comparable: gives a statement the form that it has in `known`.
        strict: as in `Approved`.
    """

    def __init__(self, name: str, known: frozenset[str], comparable: Callable[[str], str], *, strict: bool) -> None:
        self._name = name
        self._known = known
        self._comparable = comparable
        self._strict = strict
        self._others: dict[str, None] = {}

    def hear(self, shape: str) -> None:
        """Note a statement before it is sent.

        Args:
            shape: of it; without values.

        Raises:
            AttemptFailed: it was not approved, and such a statement is refused.
        """
        if self._comparable(shape) not in self._known:
            self._others[shape] = None
            self.refuse()

    def refuse(self) -> None:
        """Raise when something was sent that is refused, also where the body has caught that.

        Raises:
            AttemptFailed: with what it is.
        """
        if self._strict and self._others:
            raise AttemptFailed(
                f"{self._name} sends what it did not send when the plan was approved: {self._told()}",
                hint="rehearse it anew, migrate plan --rehearse -o plan.json; or leave --strict out",
            )

    def remark(self) -> str:
        """Return in words what was sent besides; empty when nothing was."""
        if not self._others:
            return ""
        return f"{self._name} has sent what it did not send when the plan was approved: {self._told()}"

    def _told(self) -> str:
        shown = [" ".join(each.split())[:200] for each in self._others][:_MOST]
        more = len(self._others) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")
