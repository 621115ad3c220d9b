"""Compares the statements that a migration sends with those that it sent when its plan was rehearsed and approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct, field

from migrate_graph.database.driver_errors import AttemptFailed

_MOST = 3
"""How many statements a message shows at most."""


class Approved(Struct, frozen=True):
    """The statements that a sealed plan was approved with.

    Attributes:
        shapes: by the migration's name, the statements that it sent in the rehearsal of the plan, without values.
        strict: any other statement is refused; otherwise it is only reported.
    """

    shapes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strict: bool = False

    def listener(self, name: str) -> StatementListener | None:
        """Return the listener for the statements of a migration; None when the plan does not say what it sent."""
        shapes = self.shapes.get(name)
        if shapes is None:
            return None
        from migrate_graph.core.sealed import comparable  # most runs have no sealed plan

        return StatementListener(name, frozenset(map(comparable, shapes)), comparable, strict=self.strict)


class StatementListener:
    """Compares each statement of one migration with the approved ones.

    Args:
        name: name of the migration.
        known: the statements that it sent in the rehearsal.
        comparable: brings a statement into the form that it has in `known`.
        strict: see `Approved`.
    """

    def __init__(self, name: str, known: frozenset[str], comparable: Callable[[str], str], *, strict: bool) -> None:
        self._name = name
        self._known = known
        self._comparable = comparable
        self._strict = strict
        self._others: dict[str, None] = {}

    def hear(self, shape: str) -> None:
        """Note a statement; called before it is sent.

        Args:
            shape: the statement without its values.

        Raises:
            AttemptFailed: the statement was not approved, and such a statement is refused.
        """
        if self._comparable(shape) not in self._known:
            self._others[shape] = None
            self.refuse()

    def refuse(self) -> None:
        """Raise when the body wanted to send a statement that is refused; called also after the body, which may have caught the exception.

        Raises:
            AttemptFailed: its message shows the statements.
        """
        if self._strict and self._others:
            raise AttemptFailed(
                f"{self._name} sends what it did not send when the plan was approved: {self._told()}",
                hint="rehearse it anew, migrate plan --rehearse -o plan.json; or leave --strict out",
            )

    def remark(self) -> str:
        """Return a warning that shows the statements that were not approved; empty when there are none."""
        if not self._others:
            return ""
        return f"{self._name} has sent what it did not send when the plan was approved: {self._told()}"

    def _told(self) -> str:
        shown = [" ".join(each.split())[:200] for each in self._others][:_MOST]
        more = len(self._others) - len(shown)
        return "; ".join(shown) + (f"; and {more} more" if more else "")
