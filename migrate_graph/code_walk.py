"""What the code of functions leads to: code inside code, and what the names in it stand for now."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """Return a function's code, and that of all functions, lambdas and comprehensions inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from codes_of(const)


def reached(*functions: object) -> Iterator[Any]:
    """Return what functions lead to by global names: each code, also of functions that they call, and each other value, once.

    It looks at code, not at source: what is put together when the function runs is not seen.
    """
    waiting: list[tuple[Any, dict[str, Any]]] = [(function, {}) for function in functions]
    seen: set[int] = set()
    while waiting:
        value, scope = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            waiting.append((value.__code__, value.__globals__))
            continue
        yield value
        if isinstance(value, CodeType):
            waiting += [(const, scope) for const in value.co_consts if isinstance(const, CodeType)]
            waiting += [(scope.get(name), {}) for name in value.co_names]
