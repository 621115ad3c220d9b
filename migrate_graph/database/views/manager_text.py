"""Tells from the text of a view manager which relations it speaks of: what its database cannot know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_NAME = r'(?:(?!IF\b)[^\W\d]\w*|"(?:[^"\0]|"")+")'
_STATEMENT = re.compile(
    r"\b(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP(?:ORARY)?\s+)?(?:RECURSIVE\s+)?(?:MATERIALIZED\s+)?VIEW\s+"
    r"(?:IF\s+NOT\s+EXISTS\s+)?)"
    rf"(?P<name>{_NAME}(?:\s*\.\s*{_NAME})?)(?![\w.{{%]|\s*\.)",
    re.IGNORECASE,
)


def speaks_of(kind: type, name: str) -> bool:
    """Return whether `up()` of a manager's class, or a text or function it refers to, names something: then it owns it."""
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    return any(pattern.search(text) for text in _texts(kind))


def names_created(kind: type) -> tuple[str, ...]:
    """Return the views that `up()` of a manager's class creates, as the SQL writes them; empty when it puts them together."""
    texts = (text.replace("%%", "%") for text in _texts(kind))
    return tuple(sorted({match["name"] for text in texts for match in _STATEMENT.finditer(text)}))


def _texts(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        # Not its docstring or module: what is told about it is not what it does.
        yield from (value for name, value in vars(base).items() if isinstance(value, str) and not name.startswith("__"))
    waiting: list[tuple[Any, dict[str, Any]]] = [(getattr(kind, "up", None), {})]
    seen: set[int] = set()
    while waiting:
        value, scope = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, str):
            yield value
        elif isinstance(value, FunctionType):
            waiting.append((value.__code__, value.__globals__))
        elif isinstance(value, CodeType):
            waiting += [(const, scope) for const in value.co_consts if isinstance(const, str | CodeType)]
            waiting += [(scope.get(name), {}) for name in value.co_names]
