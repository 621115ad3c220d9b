"""Control how the process ends: exit code 0 only if the command has reported it, and no endless wait for threads of user code."""

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

_SYSTEM: Any = import_module(os.name)  # `posix` or `nt`: the module that `os` takes its functions from

really_exit = os._exit
"""The original `os._exit`: ends the process without asking a `Guard`."""

_EXECS = ("execv", "execve")
"""The other `os.exec…` functions call these two."""

_LAST_WAIT = 3.0
"""Seconds that threads and exit functions of user code get after the command is done."""


class Guard:
    """Keeps user code from ending the process with a wrong exit code.

    Before `finish` is called, `os._exit` in user code ends the process with 1, whatever number it got. After `finish`, `os._exit(0)`
    cannot replace the exit code of the command. An end from outside Python (a native library, `kill -9`) is not noticed here.

    Args:
        tell: writes a line for people.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._process = os.getpid()
        self._code: int | None = None

    @contextlib.contextmanager
    def standing(self) -> Iterator[None]:
        """Replace `os._exit` inside the block; if `finish` was called, also after it, since exit functions of user code run later."""
        _set_exit(self._exit)
        try:
            yield
        finally:
            if self._code is None:
                _set_exit(really_exit)

    def finish(self, code: int) -> None:
        """Set the exit code, and end the process within a few seconds, even if threads of user code do not end.

        Args:
            code: the exit code of the process.
        """
        self._code = code
        try:
            # Not `threading.Thread`: its start waits for the new thread, which may never run when memory is short.
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
            supervisor.end_watch()
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
    """Forbid `os.exec…` in this process inside the block: the exit code of the other program would be taken for that of the run.

    Forked children may call it.
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
