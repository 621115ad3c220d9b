"""A stream that masks secrets in every line written to it; it replaces `sys.stderr` while user code runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LONGEST = 1 << 16


class MaskedStream(io.TextIOWrapper):
    """A text stream that passes masked lines on to another stream; bytes written to its `buffer` are masked too.

    Args:
        inner: the stream that gets the masked lines.
        mask: gets a text and returns it without secrets.
    """

    def __init__(self, inner: Any, mask: Callable[[str], str]) -> None:
        encoding, errors = getattr(inner, "encoding", None) or "utf-8", getattr(inner, "errors", None)
        self._bytes = _MaskedBytes(inner, mask, encoding)
        super().__init__(
            self._bytes, encoding=encoding, errors=errors or "backslashreplace", newline="", write_through=True
        )

    def flush(self) -> None:
        """Pass on an unfinished line too."""
        super().flush()
        self._bytes.flush()


class _MaskedBytes(io.BufferedIOBase):
    name = "<stderr>"

    def __init__(self, inner: Any, mask: Callable[[str], str], encoding: str) -> None:
        self._inner = inner
        self._mask = mask
        self._encoding = encoding
        self._rest = b""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return the descriptor of the inner stream, for child processes; their output cannot be masked."""
        return int(self._inner.fileno())

    def isatty(self) -> bool:
        return bool(self._inner.isatty())

    def write(self, data: ReadableBuffer, /) -> int:
        content = bytes(data)
        whole, newline, rest = (self._rest + content).rpartition(b"\n")
        self._rest = rest
        if newline:
            self._pass_on(whole + newline)
        if len(self._rest) > _LONGEST:
            self.flush()
        return len(content)

    def flush(self) -> None:
        # Of a stream that somebody keeps until the inner one is closed, Python 3.13 reports the error at its end.
        if getattr(self._inner, "closed", False):
            return
        rest, self._rest = self._rest, b""
        if rest:
            self._pass_on(rest)
        self._inner.flush()

    def _pass_on(self, content: bytes) -> None:
        self._inner.write(self._mask(content.decode(self._encoding, "backslashreplace")))
        self._inner.flush()
