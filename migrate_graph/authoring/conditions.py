"""Makes the value of `@migration(after=…)`: how it is asked, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeAlias

from migrate_graph.authoring.values import declaring_line, kind_of, name_of, source_of
from migrate_graph.core.model import BodyKind, Condition
from migrate_graph.user_files import SourceLocation

Asked: TypeAlias = "str | Callable[[Any], Any]"
"""SQL, or a function of `db`."""


def condition_of(after: Asked) -> Condition:
    """Return the condition that is declared.

    Raises:
        TypeError: it can not be asked: neither SQL nor a function, or a function that does nothing when it is called.
    """
    if isinstance(after, str) and after.strip():
        source = declaring_line(lambda frame: not str(frame.f_globals.get("__name__")).startswith(__package__))
        return Condition(" ".join(after.split()), _sender_of(after, source), is_sql=True, source=source)
    if isinstance(after, str) or not callable(after):
        raise TypeError(f"after: {after!r} is neither SQL nor a function of db")
    if kind_of(after) is not BodyKind.FUNCTION:
        raise TypeError(
            f"after: {name_of(after, what='after')} is a {kind_of(after)}, which does nothing when it is called"
        )
    return Condition(name_of(after, what="after"), after, source=source_of(after))


def _sender_of(sql: str, source: SourceLocation) -> Callable[[Any], Any]:
    """Return what sends the SQL as if the line that declares it did: errors and rehearsals name that line."""
    send = lambda db: db.executesql(sql)  # noqa: E731 - one line, so that the place is that of the declaration
    code = send.__code__.replace(co_filename=source.path, co_firstlineno=source.line)
    return FunctionType(code, send.__globals__, send.__name__, None, send.__closure__)
