"""Forked children: what belongs to this process alone is put aside in them before they run a line."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from weakref import WeakKeyDictionary

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""The signals that end a run, as far as this system knows them."""


class HasDescriptor(Protocol):
    """Something that is open: a file, a socket, a connection."""

    def fileno(self) -> int:
        """Return its descriptor."""


# What is hidden, and which file it was then: once somebody has closed a descriptor by its number, that may mean another one.
_hidden: WeakKeyDictionary[HasDescriptor, tuple[int, int]] = WeakKeyDictionary()
_actions: dict[object, Callable[[], None]] = {}
_masks = threading.local()


def hide(thing: HasDescriptor) -> None:
    """Open /dev/null in forked children in the place of what is open here, until it is garbage.

    A child has the same socket, or the same locked file: what it said there the server would hear from us, and what is locked would
    stay locked as long as the child lives. The descriptor is replaced, not closed: its number must not mean another file.
    """
    _hidden[thing] = file_of(thing.fileno())


def file_of(descriptor: int) -> tuple[int, int]:
    """Return device and inode of an open file: two descriptors of one file have the same."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def on_fork(action: Callable[[], None]) -> Callable[[], None]:
    """Call `action` in every forked child; return what ends that.

    Args:
        action: called while SIGTERM, SIGINT and SIGHUP wait.
    """
    key = object()
    _actions[key] = action
    return lambda: _actions.pop(key, None) and None


def _before() -> None:
    # A signal that the child receives before its handlers are its own would be told to this process, through the shared pipe.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if _actions else None


def _after() -> None:
    if getattr(_masks, "before", None) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _after_in_child() -> None:
    for thing, known in list(_hidden.items()):
        with suppress(Exception):  # it may be closed
            if file_of(thing.fileno()) == known:
                _replace(thing.fileno())
    for action in list(_actions.values()):
        with suppress(Exception):  # what cannot be put aside must not keep the child from running
            action()
    _hidden.clear()
    _actions.clear()
    _after()


def _replace(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


if hasattr(os, "register_at_fork"):  # a system without forks needs none of this
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
