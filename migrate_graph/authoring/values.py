"""Makes the value of a declaration: its name, its requirements, its kind and its place in the source."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from migrate_graph.core.model import Migration, kind_of
from migrate_graph.errors import DeclarationError
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from types import FrameType

Body: TypeAlias = Callable[[Any], Any]
Requirement: TypeAlias = "str | Migration | Body"


def migration_of(
    body: Body, requires: Requirement | Iterable[Requirement] | None, *, position: int, **more: Any
) -> Migration:
    """Return the migration that a function is declared as.

    Args:
        body: the function, or a migration that was made of it.
        requires: what must be installed before it.
        position: how many migrations were declared before it.
        more: further fields of `Migration`.

    Raises:
        DeclarationError: something that is not a migration is required, or what is declared has no name.
    """
    body = body_of(body)
    return Migration(
        name=name_of(body, what="a migration"),
        function=body,
        requires=names_of(requires, what="requires"),
        position=position,
        source=source_of(body),
        kind=kind_of(body),
        **more,
    )


def body_of(body: Any) -> Body:
    """Return the function of what is declared as a migration: a function, or a migration that was made of it.

    Raises:
        DeclarationError: it is no function, or one without a name.
    """
    if isinstance(body, Migration):
        return body.function
    if isinstance(body, classmethod):
        hint = "remove @classmethod: a migration is a function of `db`; in a class, `@staticmethod` stands below `@migration`"
        raise DeclarationError(f"a migration: {body.__name__} is a class method", hint=hint)
    if not callable(body):
        raise DeclarationError(
            f"a migration: {_told(body)} is no function", hint=f"write `@migration(requires={body!r})`"
        )
    name_of(body, what="a migration")
    return body  # type: ignore[no-any-return] # it can be called


def name_of(value: object, *, what: str) -> str:
    """Return the name of a migration, a view manager or a function; a text is its own name.

    Args:
        value: what has a name.
        what: the name of the argument, for messages.

    Raises:
        DeclarationError: it has no name.
    """
    if isinstance(value, str):
        return value
    while isinstance(value, functools.partial) and not hasattr(value, "__name__"):
        value = value.func  # a partial has a name only when somebody has set one
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return name
    message = f"{what}: {_told(value)} is neither a name nor something that has one"
    raise DeclarationError(message, hint=_hint_for_nameless(value, what))


def _told(value: object) -> str:
    """Return a value as a message tells it: without the address that Python writes for an object."""
    kind = type(value)
    return f"an object of {kind.__name__}" if kind.__repr__ is object.__repr__ else repr(value)


def _hint_for_nameless(value: object, what: str) -> str:
    from migrate_graph.authoring.views import ViewMigrationManager  # imported here: that module needs this one

    if what == "a migration":
        return "declare a function: `@migration`, and `def add_total_20260401_001(db):` below it"
    if isinstance(value, ViewMigrationManager):
        return f"name the class, {type(value).__name__}, instead of an object of it"
    if isinstance(value, bytes):
        return f"write it without the b: {value.decode(errors='replace')!r}"
    if value is None:
        return "take None out of the list"
    return "write one list of names" if isinstance(value, Iterable) else "write a name, or the function or class itself"


def names_of(values: object, *, what: str) -> tuple[str, ...]:
    """Return the names of one or several declared things, each once (`requires=['a', 'a']` needs `a` only once).

    Raises:
        DeclarationError: something that has no name is among them.
    """
    if values is None or values == "":
        return ()
    if isinstance(values, str | bytes) or callable(values) or not isinstance(values, Iterable):
        values = (values,)
    return tuple(dict.fromkeys(name_of(value, what=what) for value in values))


def words_of(values: object, *, what: str) -> tuple[str, ...]:
    """Return one word, several, or none, as texts.

    Raises:
        DeclarationError: something else is among them.
    """
    if not values:
        return ()
    words = (values,) if isinstance(values, str) or not isinstance(values, Iterable) else tuple(values)
    for word in words:
        if not isinstance(word, str):
            raise DeclarationError(f"{what}: {word!r} is no text", hint="write it in quotes")
    return words


def truth_of(value: object, *, what: str) -> bool:
    """Return a value that is True or False.

    Raises:
        DeclarationError: it is something else, such as a text: `"no"` would count as true.
    """
    if not isinstance(value, bool):
        raise DeclarationError(
            f"{what}: {value!r} is neither True nor False", hint="write True or False, without quotes"
        )
    return value


def source_of(body: Body) -> SourceLocation:
    """Return where the body's code starts; without code (a partial, a C function): where it is declared."""
    inner: Any = body
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inspect.unwrap(inner), "__code__", None)
    if code is not None:
        return SourceLocation(code.co_filename, code.co_firstlineno)
    return calling_line()


def calling_line() -> SourceLocation:
    """Return the line outside of this package that is being executed."""
    return declaring_line(lambda frame: not str(frame.f_globals.get("__name__")).startswith(__package__))


def declaring_line(wanted: Callable[[FrameType], bool]) -> SourceLocation:
    """Return the line that the innermost frame is executing for which `wanted` returns True."""
    frame = inspect.currentframe()
    while frame is not None and not wanted(frame):
        frame = frame.f_back
    return SourceLocation("<unknown>", 1) if frame is None else SourceLocation(frame.f_code.co_filename, frame.f_lineno)
