"""Finds out from the code of `up()` whether a view manager can create its view without the rows."""

from __future__ import annotations

import re
from types import CodeType

from migrate_graph.code_walk import reached_in, strings_in, texts_of

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
    for value in reached_in([kind for kind in manager.__mro__ if kind not in base.__mro__], "up"):
        if isinstance(value, CodeType) and _ASKS in value.co_names:
            return True
        texts = texts_of(value) if isinstance(value, CodeType) else tuple(strings_in(value))
        if any(text == _ASKS or _LEAVES_OUT.search(text) for text in texts):
            return True
        creates = creates or any(map(_CREATES.search, texts))
    return not creates
