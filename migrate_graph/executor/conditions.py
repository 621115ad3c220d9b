"""Judges the answer to the condition of a migration (`after=`)."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

from migrate_graph.foreign_text import shown
from migrate_graph.messages import counted

if TYPE_CHECKING:
    from migrate_graph.core.model import Condition


def unmet(condition: Condition, answer: Any) -> str:
    """Return why a condition does not hold, in words; empty when it does.

    Args:
        condition: the condition that was asked.
        answer: the value that its `ask` returned.
    """
    why = _of_rows(answer) if condition.is_sql else _of_value(answer)
    return f"its condition does not hold: {condition.text} gave {why} ({condition.source})" if why else ""


def _of_rows(rows: Sequence[Sequence[Any]] | None) -> str:
    if not rows:
        return "no row"
    if len(rows) > 1:
        return f"{counted(len(rows), 'row')}, where one is wanted"
    value = rows[0][0]
    if isinstance(value, Number) or value is None:
        return "" if value else shown(value)
    return f"{shown(value)}, which is neither true nor false"


def _of_value(value: Any) -> str:
    return "" if value else shown(value)
