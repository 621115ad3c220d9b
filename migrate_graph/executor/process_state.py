"""The state that all code of a process shares (signals, streams, modules, …): noted before a body, restored after it."""

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

# The C functions behind `signal`: those of Python make an enum member of each answer, and a migration needs 128 answers.
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

# Names in these modules that the run itself replaces before each body.
_OURS = {
    sys: ("stdout", "stderr", "__stdout__", "__stderr__"),
    os: ("execv", "execve"),
    threading: ("excepthook",),
}

# Kept under other names: a body may have replaced the builtins.
_all, _map, _len, _is = all, map, len, is_

# A signal handler of the body may raise while the state is restored. How often the rest is then tried again.
_TRIES = 20


class _Entries:
    """The content of one dictionary of the process: the names of a module, or `sys.modules`.

    Args:
        names: the dictionary.
        ours: names that the run itself sets before each body.

    Attributes:
        names: the dictionary.
        ours: names that the run itself sets before each body.
        before: a copy of the dictionary; put back when the body has replaced or removed something.
        values: the values of the copy, in order; empty when the copy must be made again.
        places: index and name of each of `ours` in `values`.
        last: `ours`, and the names at the end whose value is the last one. Only when one of these is removed and another name is
            added can `values` look unchanged.
    """

    __slots__ = ("before", "last", "names", "ours", "places", "values")

    def __init__(self, names: dict[str, Any], ours: Collection[str] = ()) -> None:
        self.names, self.ours = names, ours
        self.before: dict[str, Any] = {}
        self.values: list[Any] = []
        self.places: list[tuple[int, str]] = []
        self.last: frozenset[str] = frozenset()

    def note(self) -> None:
        """Copy the dictionary in one step: a thread that a body has started may import something at the same time."""
        self.before = self.names.copy()
        self.values = [*self.before.values()]
        alike = takewhile(lambda name: self.before[name] is self.values[-1], reversed(self.before))
        self.last = frozenset((*alike, *self.ours))
        self.places = [(place, name) for place, name in enumerate(self.before) if name in self.ours]


class KeptModules:
    """Restores, right after each body, what it has replaced in modules of the standard library that the run uses (e.g. `time.sleep`).

    It also restores modules that the body has removed from `sys.modules`, and the finders of modules, since the run imports some
    modules late. What a body has added stays, so a library that one body has imported works in the next one.

    Between two bodies only the run itself changes any of this (`_OURS`). So a dictionary is copied again only when something was added
    or restored: to compare is faster than to copy.
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
        """Restore the modules. Until that is done no name of these modules is looked up: the body may have replaced it."""
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

    An alarm that the body has set is cancelled at its end, so it cannot interrupt the recording of the result.

    Args:
        listen_again: sets the wakeup pipe of the run's signal handlers again.
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
        """Restore everything, also when a signal handler of the body raises in between.

        Raises:
            KeyboardInterrupt: somebody pressed Ctrl-C, and the run's own signal handlers are not installed.
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
            except BaseException:  # noqa: BLE001, S112 - an exception of the body's handler means nothing after the body
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
                os.dup2(copy, number, is_inherited)  # always: to find out whether it was changed would take longer
                os.close(copy)
            self._descriptors.pop(number)

    def _close_copies(self) -> None:
        """Close the copies in a forked child: otherwise it holds the output open after closing it, and its reader waits for the end."""
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
        with contextlib.suppress(locale.Error):  # a body may have changed what the locale is read from
            if locale.setlocale(locale.LC_ALL) != self._locale:
                locale.setlocale(locale.LC_ALL, self._locale)
        sys.path = self._path
        sys.path[:] = self._paths
        sys.argv[:] = self._arguments
        sys.setrecursionlimit(self._recursion)
        sys.setswitchinterval(self._switching)  # threads of the run need their turn to notice signals
        (gc.enable if self._collecting else gc.disable)()
        setdefaulttimeout(self._timeout)
        threading.excepthook = self._thread_hook
        if _environment() != self._environment:
            _put_libpq_settings_back(_libpq_settings(self._environment))


def _environment() -> dict[Any, Any]:
    """Return the environment undecoded: to decode it takes longer than to note everything else."""
    data: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined] # noqa: SLF001, TID251 - no setting is read from it
    return data.copy()


def _libpq_settings(environment: Mapping[Any, Any]) -> dict[str, str]:
    """Return the variables of an environment that libpq reads: those that begin with `PG`."""
    decoded = ((os.fsdecode(name), value) for name, value in environment.items())
    return {name: os.fsdecode(value) for name, value in decoded if name.startswith("PG")}


def _put_libpq_settings_back(before: Mapping[str, str]) -> None:
    """Restore the variables that libpq reads: a later connection must not use what a body has set (another search_path, for example)."""
    for name in _libpq_settings(_environment()).keys() - before.keys():
        del os.environ[name]  # noqa: TID251 - no setting is read from it
    os.environ.update(before)  # noqa: TID251 - no setting is read from it


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
