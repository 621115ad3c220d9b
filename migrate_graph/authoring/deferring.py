"""Finds out from the code of `up()` whether a view manager can create its view without the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import CodeType
from typing import Any

from migrate_graph.code_walk import functions_of, reached, strings_in, texts_of

_ASKS = "deferred"
_CREATES = re.compile(r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:MATERIALIZED\s+)?VIEW\b", re.IGNORECASE)
_LEAVES_OUT = re.compile(r"\bWITH\s+NO\s+DATA\b", re.IGNORECASE)


def can_leave_rows_out(manager: type, *, base: type) -> bool:
    """Return whether `up()`, or code that it calls, reads `self.deferred` or contains WITH NO DATA.

    True also when no CREATE VIEW is found: then the view is created in a way that cannot be seen here.

    Args:
        manager: the class.
        base: the base class of all managers, whose own methods are not looked at.
    """
    creates = False
    for value in _reached_from_up(manager, base):
        if isinstance(value, CodeType) and _ASKS in value.co_names:
            return True
        texts = texts_of(value) if isinstance(value, CodeType) else tuple(strings_in(value))
        if any(text == _ASKS or _LEAVES_OUT.search(text) for text in texts):
            return True
        creates = creates or any(map(_CREATES.search, texts))
    return not creates


def _reached_from_up(manager: type, base: type) -> Iterator[Any]:
    """Yield the code and the values that `up()` uses, also through other methods and attributes of the class."""
    kinds = [kind for kind in manager.__mro__ if kind not in base.__mro__]
    waiting, seen = ["up"], {"up"}
    while waiting:
        name = waiting.pop()
        for value in (vars(kind)[name] for kind in kinds if name in vars(kind)):
            functions = tuple(functions_of(value))
            for each in reached(*functions) if functions else (value,):
                yield each
                more = set(each.co_names) - seen if isinstance(each, CodeType) else set()
                seen |= more
                waiting += sorted(more)
