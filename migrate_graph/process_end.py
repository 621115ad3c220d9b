"""How the process ends: with 0 only if the one who has looked says so, and not later than it should."""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn

from migrate_graph import supervisor

_SYSTEM: Any = import_module(os.name)  # `posix` or `nt`: where `os` has its functions from

really_exit = os._exit
"""Ends the process, whoever stands guard."""

_EXECS = ("execv", "execve")
"""All others of the family call these two."""

_LAST_WAIT = 3.0
"""Seconds that threads and exit functions of user code get when everything of ours is done."""


class Guard:
    """Stands between user code and the end of the process.

    Until `finish` an end by `os._exit` counts as a failure, whatever number it was given; afterwards a 0 does not hide our number.
    What ends the process below Python (a native library, a `kill -9`) is not seen; the shell sees a signal then.

    Args:
        tell: writes a line for people.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._process = os.getpid()
        self._code: int | None = None

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """Stand there while inside, and after it too if `finish` was called: exit functions of user code run later still."""
        _set_exit(self._exit)
        try:
            yield
        finally:
            if self._code is None:
                _set_exit(really_exit)

    def finish(self, code: int) -> None:
        """Set the exit code, and end the process soon, whatever user code has left running.

        Args:
            code: what it ends with.
        """
        self._code = code
        try:
            # Not `threading.Thread`, whose start waits for the new thread: there may be no memory for one.
            _thread.start_new_thread(self._end_at_last, (code,))
        except RuntimeError:
            really_exit(code)

    def _exit(self, status: int) -> NoReturn:
        if os.getpid() != self._process:
            really_exit(status)
        if self._code is None:
            self._tell(
                f"error: the process was ended from inside by os._exit({status}), before the work was done; what was not committed is "
                "rolled back, and migrate status tells the rest"
            )
            supervisor.let_go()
            really_exit(1)
        really_exit(self._code or status)

    def _end_at_last(self, code: int) -> None:
        time.sleep(_LAST_WAIT)
        left = [each.name for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
        what = f"the thread {', '.join(left)}" if left else "what runs at exit (atexit)"
        self._tell(f"note: {what} was left by user code and does not end; the process ends without it")
        really_exit(code)


@contextlib.contextmanager
def in_body() -> Iterator[None]:
    """While inside, this process is not replaced by another program: that one's exit code would stand for ours.

    A forked child may be.
    """
    process = os.getpid()
    real = {name: getattr(_SYSTEM, name) for name in _EXECS}

    def guarded(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if os.getpid() == process:
                raise RuntimeError(f"os.{name} would end the run in the middle of a migration: use subprocess.run")
            return real[name](*arguments)

        return call

    try:
        for name in _EXECS:
            _set(name, guarded(name))
        yield
    finally:
        for name, call in real.items():
            _set(name, call)


def _set(name: str, call: Callable[..., Any]) -> None:
    setattr(os, name, call)
    setattr(_SYSTEM, name, call)


def _set_exit(call: Callable[[int], NoReturn]) -> None:
    _set("_exit", call)
