"""Checks the arguments of `@migration(after=…, down=…)`, and makes the condition and the function of them."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal, TypeAlias

from migrate_graph.authoring.values import calling_line, name_of, source_of
from migrate_graph.core.model import AUTO, BodyKind, Condition, Migration, kind_of, unfit_arguments
from migrate_graph.errors import DeclarationError
from migrate_graph.user_files import SourceLocation

Asked: TypeAlias = "str | Callable[[Any], Any]"
"""SQL, or a function of `db`."""


def condition_of(after: Asked) -> Condition:
    """Return the condition that `after` declares.

    Raises:
        DeclarationError: it is neither SQL nor a function, or a function that does nothing when it is called (a generator, a coroutine).
    """
    if isinstance(after, str) and after.strip():
        source = calling_line()
        return Condition(" ".join(after.split()), _sender_of(after, source), is_sql=True, source=source)
    if isinstance(after, str) or not callable(after):
        raise DeclarationError(
            f"after: {after!r} is neither SQL nor a function of db",
            hint='write SQL that gives one true value: `after="SELECT count(*) > 0 FROM invoice"`',
        )
    function_of(after, what="after")
    return Condition(name_of(after, what="after"), after, source=source_of(after))


def way_back_of(down: Callable[[Any], Any] | str) -> Callable[[Any], Any] | Literal["auto"]:
    """Return the value of `down` after checking it.

    Raises:
        DeclarationError: it is neither `"auto"` nor a function that does its work when it is called.
    """
    if down == AUTO:
        return AUTO
    if isinstance(down, str):
        raise DeclarationError(
            f'down: {down!r} is neither a function of db nor "auto"',
            hint='name the function itself, or write `down="auto"`',
        )
    if isinstance(down, Migration):
        raise DeclarationError(
            f"down: {down.name} is a migration, which `migrate apply` runs as well",
            hint=f"remove @migration above it; if it is both, write `down={down.name}.body`",
        )
    return function_of(down, what="down")


def function_of(value: Any, *, what: str) -> Callable[[Any], Any]:
    """Return a value when it is a function that can be called with `db` and does its work then.

    Args:
        value: the value.
        what: name of the argument, for messages.

    Raises:
        DeclarationError: it is not such a function.
    """
    if not callable(value):
        raise DeclarationError(f"{what}: {value!r} is no function of db")
    if kind_of(value) is not BodyKind.FUNCTION:
        raise DeclarationError(
            f"{what}: {name_of(value, what=what)} is a {kind_of(value)}, which does nothing when it is called"
        )
    if arguments := unfit_arguments(value):
        raise DeclarationError(
            f"{what}: {name_of(value, what=what)} cannot be called with db: its arguments are {arguments}"
        )
    return value  # type: ignore[no-any-return] # it can be called


def _sender_of(sql: str, source: SourceLocation) -> Callable[[Any], Any]:
    """Return a function that sends the SQL and whose code is at the line of the declaration: errors and rehearsals name that line."""
    send = lambda db: db.executesql(sql)  # noqa: E731 - one line, so that the place is that of the declaration
    code = send.__code__.replace(co_filename=source.path, co_firstlineno=source.line)
    return FunctionType(code, send.__globals__, send.__name__, None, send.__closure__)
