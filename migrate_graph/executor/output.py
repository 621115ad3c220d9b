"""Takes what a migration prints line by line, and turns each line into an event."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TextIO

from migrate_graph.tracebacks import user_traceback

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from migrate_graph.core.events import Event, Observer

_telling = threading.local()
"""Whether this thread is calling an observer: what an observer prints is not output of the migration."""


class BodyOutput(io.TextIOWrapper):
    """The `sys.stdout` of a body: it passes on whole lines, also those written to `sys.stdout.buffer`.

    Args:
        tell: called with each line, without its newline.
        outside: the stream that observers print to.
    """

    def __init__(self, tell: Callable[[str], None], outside: TextIO) -> None:
        self._lines = _Lines(tell)
        self._outside = outside
        super().__init__(self._lines, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)

    def write(self, text: str, /) -> int:
        """Write text; what an observer prints goes to `outside`."""
        return self._outside.write(text) if getattr(_telling, "now", False) else super().write(text)

    def close_line(self) -> None:
        """Pass on the last line when it has no newline at its end."""
        self._lines.close_line()


class _Lines(io.BufferedIOBase):
    """The bytes behind `BodyOutput`, cut into lines."""

    name = "<stdout of a migration>"

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._process = os.getpid()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return the descriptor of stderr: a child process must not write to stdout, where only results go."""
        return sys.stderr.fileno()

    def write(self, data: ReadableBuffer, /) -> int:
        content = bytes(data)
        # In a forked child, use no stream: a lock that another thread held at the fork is never released.
        if os.getpid() != self._process:
            with contextlib.suppress(OSError):
                os.write(2, content)
            return len(content)
        *lines, self._rest = (self._rest + self._decode(content)).split("\n")
        for line in lines:
            self._tell(line)
        return len(content)

    def close_line(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, ""
            self._tell(rest)


class KeptOpen:
    """A stream of the process for the use of a body: it does what the stream does, but the body cannot close it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def close(self) -> None:
        """Do nothing: the run still needs the stream."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing, as `close` does."""


def tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Print an exception that ended a thread of a body, as Python does, without the frames of this package."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        name = failed.thread.name if failed.thread else "without a name"
        print(f"exception in the thread {name}:\n{user_traceback(failed.exc_value)}", file=sys.stderr)  # noqa: T201 - of the body


def isolated(observer: Observer) -> Observer:
    """Return an observer that cannot disturb the run.

    What the observer prints does not count as output of the migration, errors of a closed terminal are ignored, and in a forked
    child the observer is not called.
    """
    process = os.getpid()

    def tell(event: Event) -> None:
        if os.getpid() != process:
            return
        _telling.now = True
        try:
            with contextlib.suppress(OSError, ValueError):  # ValueError: its stream is closed
                observer(event)
        finally:
            _telling.now = False

    return tell
