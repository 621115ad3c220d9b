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
from collections.abc import Callable, Iterator
from importlib import import_module
from socket import getdefaulttimeout, setdefaulttimeout
from typing import Any

from migrate_graph import forks
from migrate_graph.loader.imports import KeptImports

# The function of C: Python's makes an enumeration of each answer, and there are 128 of them to a migration.
_handler_of: Callable[[int], Any] = import_module("_signal").getsignal

# Not every system has timers and masks.
_TIMERS = tuple(
    getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)
)
_HAS_MASKS = hasattr(signal, "pthread_sigmask")
_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "excepthook")
_SIGNALS = tuple(map(int, signal.valid_signals()))
_DESCRIPTORS = (0, 1, 2)
_MODULES = (builtins, time, os, signal, threading, contextlib, sys, gc, locale, json)

# A handler that a body has left may raise while things are put back; each time one thing more is in order.
_TRIES = 20


class KeptModules:
    """Puts back, right after the body, what it has replaced in modules of the standard library that we use (a test's `time.sleep`).

    Also the modules that it has taken out of `sys.modules`, and what finds modules: we import as late as we can. What a body has
    added stays: a library that was imported in it works in the next one.

    Leaving it looks up no name before that is done, since any may mean something else by then.
    """

    def __enter__(self) -> None:
        self._before = [(module.__dict__, module.__dict__.copy()) for module in _MODULES]
        self._imports = KeptImports()

    def __exit__(self, *_: object) -> None:
        for names, before in self._before:
            names.update(before)
        self._imports.put_back()


@contextlib.contextmanager
def kept(listen_again: Callable[[], None]) -> Iterator[None]:
    """Restore at the end what the body may have changed: signals, timers, streams, directory, umask, locale, paths.

    An alarm that the body has set goes off in it, or never: it does not interrupt what is recorded about the body.

    Args:
        listen_again: takes the run's own signals back.
    """
    state = _State(listen_again)
    try:
        yield
    finally:
        state.put_back()


class _State:
    """What was there before."""

    def __init__(self, listen_again: Callable[[], None]) -> None:
        self._listen_again = listen_again
        self._main = threading.current_thread() is threading.main_thread()
        self._handlers = list(map(_handler_of, _SIGNALS))
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if _HAS_MASKS else None
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
        self._libpq = _libpq_settings()

    def put_back(self) -> None:
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
        # A session that is opened later would be given another search_path.
        if (now := _libpq_settings()) != self._libpq:
            for name in now.keys() - self._libpq.keys():
                del os.environ[name]  # noqa: TID251 - as above
            os.environ.update(self._libpq)  # noqa: TID251 - as above


def _libpq_settings() -> dict[str, str]:
    """Return what libpq reads from the environment."""
    names = [name for name in os.environ if name.startswith("PG")]  # noqa: TID251 - nothing of ours is read
    return {name: os.environ[name] for name in names}  # noqa: TID251 - as above


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
