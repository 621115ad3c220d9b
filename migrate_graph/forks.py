"""Detach forked children from what belongs to this process only (connections, locked files, signal handlers) before they run any code."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol
from weakref import WeakKeyDictionary

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""The signals that end a run, as far as this operating system has them."""


class HasDescriptor(Protocol):
    """An open file, socket or connection."""

    def fileno(self) -> int:
        """Return its file descriptor."""


# Each hidden object, with the file that its descriptor meant when `hide` was called. User code may close the descriptor by its number;
# the same number may then mean another file, which must not be replaced.
_hidden: WeakKeyDictionary[HasDescriptor, tuple[int, int]] = WeakKeyDictionary()
_actions: dict[object, Callable[[], None]] = {}
_masks = threading.local()


def hide(thing: HasDescriptor) -> None:
    """Replace the descriptor of an open object by /dev/null in every forked child, as long as the object exists.

    A child inherits the socket or the locked file. The server would take what the child sends for messages of this process, and the file
    would stay locked as long as the child lives. The descriptor is replaced, not closed: a free number could get a new meaning.
    """
    _hidden[thing] = file_of(thing.fileno())


def file_of(descriptor: int) -> tuple[int, int]:
    """Return device and inode of an open file, which are equal for two descriptors of the same file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def on_fork(action: Callable[[], None]) -> Callable[[], None]:
    """Call `action` in every forked child; return a function that unregisters it.

    Args:
        action: called in the child while SIGTERM, SIGINT and SIGHUP are blocked.
    """
    key = object()
    _actions[key] = action
    return lambda: _actions.pop(key, None) and None


def _before() -> None:
    # Signals are blocked during the fork. The child still shares the wakeup pipe at first: a signal to the child would reach this process.
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
        with suppress(Exception):  # a failing action must not keep the child from running
            action()
    _hidden.clear()
    _actions.clear()
    _after()


def _replace(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
