"""Get text from foreign objects (exceptions and values of user code) in bounded time and length, and make text storable."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from contextlib import suppress
from types import NoneType, WrapperDescriptorType
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 2.0
_LONGEST = 10_000
_PLAIN = {str, int, float, bool, bytes, NoneType}


def bounded(make: Callable[[], T], otherwise: T) -> T:
    """Call a function that runs foreign code; return its result, or `otherwise` if it raises or takes longer than two seconds.

    It runs in its own thread: Python cannot stop a thread that does not end, so that thread is left behind.
    """
    made: list[T] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        with suppress(BaseException):
            made.append(make())
        done.release()

    with suppress(RuntimeError):  # no thread can be started: `otherwise` is returned
        _thread.start_new_thread(run, ())
        done.acquire(timeout=_PATIENCE)
    return made[0] if made else otherwise


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class, as its `class` statement wrote it, even if the class overrides `__name__`."""
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def text_of(error: BaseException) -> str:
    """Return the message of an exception, cut to a length that can be shown."""
    if type(type(error).__str__) is WrapperDescriptorType and all(type(one) in _PLAIN for one in error.args):
        return str(error)[:_LONGEST]
    return bounded(lambda: _plain_str(str(error)), f"<a {kind_of(error)} that does not say what it is about>")


def shown(value: object) -> str:
    """Return the `repr` of a value, in at most sixty characters."""
    text = bounded(lambda: _plain_str(repr(value)), f"<a {type(value).__name__} that cannot be shown>")
    return text if len(text) <= 60 else f"{text[:57]}…"


def storable(text: str, encoding: str = "utf-8") -> str:
    r"""Return a text that a database can store: NUL, lone surrogates and characters that its encoding lacks are escaped.

    Args:
        text: any text.
        encoding: Python's name of the database's encoding.
    """
    return text.replace("\x00", "\\x00").encode(encoding, "backslashreplace").decode(encoding)


def _plain_str(text: str) -> str:
    """Return a real `str` of limited length: a subclass of `str` in user code may override any method."""
    return str.__getitem__(text, slice(_LONGEST)) + ""
