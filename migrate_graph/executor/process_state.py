"""What of the process belongs to everybody in it: noted before a body, put back after it."""

from __future__ import annotations

import builtins
import contextlib
import gc
import json
import locale
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from itertools import takewhile
from operator import is_
from socket import getdefaulttimeout, setdefaulttimeout
from typing import Any

from migrate_graph import forks
from migrate_graph.loader.imports import KeptFinders

# The functions of C: Python's make an enumeration of each answer, and there are 128 of them to a migration.
_signal = import_module("_signal")
_handler_of: Callable[[int], Any] = _signal.getsignal

# Not every system has timers and masks.
_TIMERS = tuple(
    getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)
)
_HAS_MASKS = hasattr(signal, "pthread_sigmask")
_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "excepthook")
_SIGNALS = tuple(map(int, signal.valid_signals()))
_DESCRIPTORS = (0, 1, 2)
_MODULES = (builtins, time, os, signal, threading, contextlib, sys, gc, locale, json)

# What of them a run sets itself, for each body anew.
_OURS = {
    sys: ("stdout", "stderr", "__stdout__", "__stderr__"),
    os: ("execv", "execve"),
    threading: ("excepthook",),
}

# Under these names a body that has replaced them among the builtins has not.
_all, _map, _len, _is = all, map, len, is_

# A handler that a body has left may raise while things are put back; each time one thing more is in order.
_TRIES = 20


class _Entries:
    """What stands in one dictionary of the process: the names of a module, or the modules that are loaded.

    Args:
        names: the dictionary.
        ours: those that we set ourselves, each time.

    Attributes:
        names: as above.
        before: what it held; put back where anything was replaced or taken away.
        values: the same, in a row; empty where that has to be noted anew.
        places: of our own, with their names.
        last: names of the last value, and our own: where one of these goes and another comes, the row may stay as it is.
    """

    __slots__ = ("before", "last", "names", "ours", "places", "values")

    def __init__(self, names: dict[str, Any], ours: Collection[str] = ()) -> None:
        self.names, self.ours = names, ours
        self.before: dict[str, Any] = {}
        self.values: list[Any] = []
        self.places: list[tuple[int, str]] = []
        self.last: frozenset[str] = frozenset()

    def note(self) -> None:
        """Note all of it, in one step: a thread that a body has left may import something meanwhile."""
        self.before = self.names.copy()
        self.values = [*self.before.values()]
        alike = takewhile(lambda name: self.before[name] is self.values[-1], reversed(self.before))
        self.last = frozenset((*alike, *self.ours))
        self.places = [(place, name) for place, name in enumerate(self.before) if name in self.ours]


class KeptModules:
    """Puts back, right after each body, what it has replaced in modules of the standard library that we use (a test's `time.sleep`).

    Also the modules that it has taken out of `sys.modules`, and what finds modules: we import as late as we can. What a body has
    added stays: a library that was imported in it works in the next one.

    Between two bodies of a run nobody replaces any of this, but for what a run sets itself: so it is noted again only where something
    was added or put back. That everything is the same is seen in less time than it takes to write it.
    """

    def __init__(self) -> None:
        self._all = [*(_Entries(module.__dict__, _OURS.get(module, ())) for module in _MODULES), _Entries(sys.modules)]

    def __enter__(self) -> None:
        for each in self._all:
            if len(each.values) != len(each.names):
                each.note()
            for place, name in each.places:
                each.values[place] = each.before[name] = each.names[name]
        self._finders = KeptFinders()

    def __exit__(self, *_: object) -> None:
        """Leave it: no name of these modules is looked up before that is done, since any may mean something else by then."""
        for each in self._all:
            names, values = each.names, each.values
            if _len(names) < _len(values) or not (
                _all(_map(_is, values, names.values())) and each.last <= names.keys()
            ):
                names.update(each.before)
                each.values = []
        self._finders.put_back()


class kept:  # noqa: N801 - a context manager
    """Restores at the end what the body may have changed: signals, timers, streams, directory, umask, locale, paths.

    An alarm that the body has set goes off in it, or never: it does not interrupt what is recorded about the body.

    Args:
        listen_again: takes the run's own signals back.
    """

    def __init__(self, listen_again: Callable[[], None]) -> None:
        self._listen_again = listen_again
        self._main = threading.current_thread() is threading.main_thread()
        self._handlers = list(map(_handler_of, _SIGNALS))
        self._mask = _signal.pthread_sigmask(signal.SIG_BLOCK, ()) if _HAS_MASKS else None
        self._timers = {timer: signal.getitimer(timer) for timer in _TIMERS}
        self._streams = {name: getattr(sys, name) for name in _STREAMS}
        self._descriptors = {number: copy for number in _DESCRIPTORS if (copy := _copy(number)) is not None}
        self._forget = forks.on_fork(self._close_copies)
        self._directory = _directory()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._locale = locale.setlocale(locale.LC_ALL)
        self._path, self._paths = sys.path, list(sys.path)
        self._arguments = list(sys.argv)
        self._recursion, self._switching = sys.getrecursionlimit(), sys.getswitchinterval()
        self._collecting = gc.isenabled()
        self._timeout = getdefaulttimeout()
        self._thread_hook = threading.excepthook
        self._environment = _environment()

    def __enter__(self) -> None:
        """Do nothing: everything was noted when this was made."""

    def __exit__(self, *_error: object) -> None:
        """Restore everything, whatever a handler of the body's raises meanwhile.

        Raises:
            KeyboardInterrupt: somebody pressed Ctrl-C, and no handler of ours is in place.
        """
        steps = [
            self._put_timers_back, self._put_handlers_back, self._listen_again, self._put_streams_back, self._put_descriptors_back,
            self._put_directory_back, self._put_rest_back,
        ]  # fmt: skip
        pressed: KeyboardInterrupt | None = None
        for _ in range(_TRIES):
            try:
                while steps:
                    steps[0]()
                    del steps[0]
                break
            except KeyboardInterrupt as error:
                pressed = error
            except BaseException:  # noqa: BLE001, S112 - the body is over, and so is what it wanted to interrupt
                continue
        if pressed is not None:
            raise pressed

    def _put_timers_back(self) -> None:
        for timer, before in self._timers.items():
            if signal.getitimer(timer) != before:
                signal.setitimer(timer, *before)

    def _put_handlers_back(self) -> None:
        if not self._main:
            return
        if list(map(_handler_of, _SIGNALS)) != self._handlers:
            for number, handler in zip(_SIGNALS, self._handlers, strict=True):
                if handler is not None and _handler_of(number) != handler:
                    signal.signal(number, handler)
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _put_streams_back(self) -> None:
        for name, stream in self._streams.items():
            if getattr(sys, name, None) is not stream:
                setattr(sys, name, stream)

    def _put_descriptors_back(self) -> None:
        self._forget()
        while self._descriptors:
            number, (copy, is_inherited) = next(iter(self._descriptors.items()))
            with contextlib.suppress(OSError):  # the body may have closed the copy, too
                os.dup2(copy, number, is_inherited)  # whatever it is now: to find that out would take longer
                os.close(copy)
            self._descriptors.pop(number)

    def _close_copies(self) -> None:
        """Keep a forked child from holding open what it has closed: who reads our output waits for all who can write it."""
        for copy, _ in self._descriptors.values():
            with contextlib.suppress(OSError):
                os.close(copy)
        self._descriptors = {}

    def _put_directory_back(self) -> None:
        if self._directory is not None and _directory() != self._directory:
            with contextlib.suppress(OSError):  # it may be gone
                os.chdir(self._directory)

    def _put_rest_back(self) -> None:
        os.umask(self._umask)
        with contextlib.suppress(locale.Error):  # a body may have made the machine's own unusable
            if locale.setlocale(locale.LC_ALL) != self._locale:
                locale.setlocale(locale.LC_ALL, self._locale)
        sys.path = self._path
        sys.path[:] = self._paths
        sys.argv[:] = self._arguments
        sys.setrecursionlimit(self._recursion)
        sys.setswitchinterval(self._switching)  # threads of ours hear signals
        (gc.enable if self._collecting else gc.disable)()
        setdefaulttimeout(self._timeout)
        threading.excepthook = self._thread_hook
        if _environment() != self._environment:
            _put_libpq_settings_back(_libpq_settings(self._environment))


def _environment() -> dict[Any, Any]:
    """Return the environment as the system has it: to decode it all takes longer than everything else that is noted."""
    data: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined] # noqa: SLF001, TID251 - nothing of ours is read
    return data.copy()


def _libpq_settings(environment: Mapping[Any, Any]) -> dict[str, str]:
    """Return what libpq reads from an environment."""
    decoded = ((os.fsdecode(name), value) for name, value in environment.items())
    return {name: os.fsdecode(value) for name, value in decoded if name.startswith("PG")}


def _put_libpq_settings_back(before: Mapping[str, str]) -> None:
    """Keep a session that is opened later from being given what a body has set, another search_path for example."""
    for name in _libpq_settings(_environment()).keys() - before.keys():
        del os.environ[name]  # noqa: TID251 - as above
    os.environ.update(before)  # noqa: TID251 - as above


def _copy(number: int) -> tuple[int, bool] | None:
    """Return a copy of a descriptor that no child inherits, and whether children inherit the descriptor itself; None where nothing is open."""
    try:
        return os.dup(number), os.get_inheritable(number)
    except OSError:
        return None


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a text, as chdir takes it
    except OSError:
        return None
