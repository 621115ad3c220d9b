"""Text of objects that are not ours: had in bounded time and length, whatever they do, and fit to be stored."""

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
    """Return what a function of somebody else's gives; something else if it raises, or takes longer than two seconds.

    It runs in a thread of its own: what does not end cannot be ended in Python, only left alone.
    """
    made: list[T] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        with suppress(BaseException):
            made.append(make())
        done.release()

    with suppress(RuntimeError):  # no memory for a thread: nothing is known then
        _thread.start_new_thread(run, ())
        done.acquire(timeout=_PATIENCE)
    return made[0] if made else otherwise


def kind_of(error: BaseException) -> str:
    """Return the name of an exception's class, as `class` wrote it."""
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name


def text_of(error: BaseException) -> str:
    """Return what an exception says, cut to a length that can be shown."""
    if type(type(error).__str__) is WrapperDescriptorType and all(type(one) in _PLAIN for one in error.args):
        return str(error)[:_LONGEST]
    return bounded(lambda: _exactly(str(error)), f"<a {kind_of(error)} that does not say what it is about>")


def shown(value: object) -> str:
    """Return how Python shows a value, in at most sixty characters."""
    text = bounded(lambda: _exactly(repr(value)), f"<a {type(value).__name__} that cannot be shown>")
    return text if len(text) <= 60 else f"{text[:57]}…"


def storable(text: str, encoding: str = "utf-8") -> str:
    r"""Return a text that a database takes: no NUL, no half of a surrogate pair, nothing that its encoding lacks.

    Args:
        text: any text.
        encoding: Python's name of the database's encoding.
    """
    return text.replace("\x00", "\\x00").encode(encoding, "backslashreplace").decode(encoding)


def _exactly(text: str) -> str:
    """Return a real `str`: a class of somebody's own could do anything in its methods."""
    return str.__getitem__(text, slice(_LONGEST)) + ""
