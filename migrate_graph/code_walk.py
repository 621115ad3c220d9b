"""Walk the compiled code of functions: nested code objects, and the present values of the global names in them."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from inspect import getattr_static
from types import CodeType, FunctionType
from typing import Any


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code, and the code of all functions, lambdas and comprehensions inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from codes_of(const)


def reached(*functions: object) -> Iterator[Any]:
    """Yield, once each, the code objects and the values that functions can reach by global names, also through functions that they call.

    What a function encloses is reached, too: a decorator leaves the function that it wraps there. Compiled code only is read: names and
    texts that a function builds while it runs are not seen.
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
            waiting += [(each, {}) for each in _enclosed(value)]
            continue
        yield value
        if isinstance(value, CodeType):
            waiting += [(const, scope) for const in value.co_consts if isinstance(const, CodeType)]
            waiting += [(scope.get(name), {}) for name in value.co_names]


def reached_in(kinds: Sequence[type], *names: str) -> Iterator[Any]:
    """Yield what methods of a class can reach (see `reached`), also through other methods and attributes of the class.

    Args:
        kinds: the class and those of its bases that are looked at.
        names: names of the methods.
    """
    waiting, seen = [*names], {*names}
    while waiting:
        name = waiting.pop()
        for value in (vars(kind)[name] for kind in kinds if name in vars(kind)):
            functions = tuple(functions_of(value))
            for each in reached(*functions) if functions else (value,):
                yield each
                more = set(each.co_names) - seen if isinstance(each, CodeType) else set()
                seen |= more
                waiting += sorted(more)


def _enclosed(function: FunctionType) -> Iterator[object]:
    """Yield the function that a decorator has put aside, and the values that a function encloses."""
    yield getattr_static(function, "__wrapped__", None)
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is empty
            yield cell.cell_contents


def functions_of(value: object) -> Iterator[FunctionType]:
    """Yield the function of a method or of any kind of property, also the one that a decorator has put aside."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif not isinstance(value, FunctionType):
        # `classproperty`, `cached_property`, `partialmethod` and decorators keep it there.
        places = ("fget", "func", "__wrapped__")
        value = next((each for place in places if (each := getattr_static(value, place, None))), None)
    while isinstance(value, FunctionType):
        yield value
        value = getattr_static(value, "__wrapped__", None)


@cache
def classes_of_users(kind: type) -> tuple[type, ...]:
    """Return a class and its bases, the class first, without `object` and without the classes of this package."""
    package = f"{__package__}."
    return tuple(each for each in kind.__mro__ if each is not object and not each.__module__.startswith(package))


def texts_of(code: CodeType) -> tuple[str, ...]:
    """Return the strings in the constants of a function, without its docstring and without functions inside it."""
    has_docstring = code.co_consts and isinstance(code.co_consts[0], str) and code.co_name != "<lambda>"
    loaded = {step.argval for step in dis.get_instructions(code) if isinstance(step.argval, str)}
    consts = (
        const
        for place, const in enumerate(code.co_consts)
        if not (place == 0 and has_docstring and const not in loaded)
    )
    return tuple(text for const in consts for text in strings_in(const))


def strings_in(value: Any, depth: int = 3) -> Iterator[str]:
    """Yield the strings in a constant; containers are searched to a depth of three."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, tuple | list | set | frozenset | dict):
        each: Any
        for each in value.items() if isinstance(value, dict) else value:
            yield from strings_in(each, depth - 1)


def texts_reached(*functions: object) -> Iterator[str]:
    """Yield the strings in all code that functions reach, and in the values of the global names used there."""
    for value in reached(*functions):
        yield from texts_of(value) if isinstance(value, CodeType) else strings_in(value)
