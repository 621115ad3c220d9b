"""What a migration prints: taken line by line, and told as events."""

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
"""Whether this thread is telling an event: what an observer prints is no output of the migration."""


class BodyOutput(io.TextIOWrapper):
    """The `sys.stdout` of a body: whole lines are told, also those written to `sys.stdout.buffer`.

    Args:
        tell: told every line, without its end.
        outside: where an observer prints while it is told.
    """

    def __init__(self, tell: Callable[[str], None], outside: TextIO) -> None:
        self._lines = _Lines(tell)
        self._outside = outside
        super().__init__(self._lines, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)

    def write(self, text: str, /) -> int:
        """Write text of the body."""
        return self._outside.write(text) if getattr(_telling, "now", False) else super().write(text)

    def close_line(self) -> None:
        """Report what was printed without a newline at its end."""
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
        """Return a child process that inherits it the stream of progress, not that of results."""
        return sys.stderr.fileno()

    def write(self, data: ReadableBuffer, /) -> int:
        content = bytes(data)
        # In a forked child, locks that others held while it was forked are never opened.
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
    """A stream of the process, lent to a body: whatever is asked is asked of the stream, but it is not closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def close(self) -> None:
        """Do nothing: the run still has something to say."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing, as `close` does."""


def tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Report an exception that ended a thread of a body, as Python does, without our frames."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        name = failed.thread.name if failed.thread else "without a name"
        print(f"exception in the thread {name}:\n{user_traceback(failed.exc_value)}", file=sys.stderr)  # noqa: T201 - of the body


def kept_apart(observer: Observer) -> Observer:
    """Return an observer that cannot disturb the run.

    What it prints is not the migration's; a terminal that is gone stops nothing; and a forked child tells nothing.
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
