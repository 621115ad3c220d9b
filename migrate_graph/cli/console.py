"""The only file that prints: two streams, colour, redaction, and text that is safe on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from migrate_graph.redaction import one_line, redact

if TYPE_CHECKING:
    from migrate_graph.errors import MigrateGraphError

Paint: TypeAlias = Callable[[str, str], str]
"""Give a text in a style: `paint("3 to run", "bold")`."""

_STYLES = {
    "bold": "1",
    "muted": "2",
    "good": "32",
    "warning": "33",
    "error": "1;31",
    "info": "36",
    "heading": "1;36",
}

# What the texts draw with, for streams that cannot encode it (LANG=C in cron and containers).
_ASCII = str.maketrans(
    {
        "·": "-",
        "…": "...",
        "→": "->",
        "←": "<-",
        "✓": "+",
        "✗": "x",
        "▶": ">",
        "⊘": "o",
        "↻": "@",
        "│": "|",
        "─": "-",
        "├": "|",
        "╭": ".",
        "╮": ".",
        "╯": "'",
        "╰": "`",
        "┬": "-",
        "┴": "-",
        "┼": "+",
        "━": "=",
    }
)


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def plain(text: str, style: str) -> str:
    """Return the text as it is: how a stream without colour paints."""
    del style
    return text


def painted(text: str, style: str) -> str:
    """Return the text with the terminal's codes for a style around it."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text else text


def wants_color(choice: Color, environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Decide whether to colour: `--color` > NO_COLOR > FORCE_COLOR > being a terminal.

    NO_COLOR wins over FORCE_COLOR because it is the accessibility switch.
    """
    if choice is not Color.AUTO:
        return choice is Color.ALWAYS
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return terminal and environ.get("TERM") != "dumb"


class Console:
    """Where everything goes out: results to stdout, progress and errors to stderr.

    Attributes:
        secrets: passwords that no text may carry; set as soon as the settings are known.
        json: the command was asked for JSON, so an error is told as JSON too.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        color: Color = Color.AUTO,
        out: TextIO | None = None,
        err: TextIO | None = None,
    ) -> None:
        self.environ = environ
        self.out = out if out is not None else sys.stdout
        self.err = err if err is not None else sys.stderr
        self.secrets: tuple[str, ...] = ()
        self.json = False
        self.recolor(color)

    def recolor(self, color: Color) -> None:
        """Take another choice of colour, as soon as the command line has told it."""
        colors = (wants_color(color, self.environ, terminal=stream.isatty()) for stream in (self.out, self.err))
        self.paint_out, self.paint_err = (painted if wanted else plain for wanted in colors)

    @property
    def interactive(self) -> bool:
        """Whether progress may be redrawn in place: stderr is a terminal that can, and nobody records it."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb" and not self.environ.get("CI")

    @property
    def draws(self) -> bool:
        """Whether stdout can encode the characters that lines and glyphs are drawn with."""
        try:
            "│├╯✓▶✗⊘↻○…".encode(self.out.encoding or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    @property
    def width(self) -> int | None:
        """How many columns a result has; None where nobody looks at columns (a pipe, a file)."""
        return get_terminal_size().columns if self.out.isatty() else None

    def clean(self, text: str) -> str:
        """Return foreign text without secrets, control characters or direction overrides, on one line."""
        return one_line(redact(text, *self.secrets))

    def show(self, text: str = "") -> None:
        """Print a result on stdout."""
        _write(self.out, redact(text, *self.secrets) + "\n")

    def show_bytes(self, content: bytes) -> None:
        """Print a result that is not text on stdout."""
        self.out.flush()
        self.out.buffer.write(content)
        self.out.buffer.flush()

    def show_json(self, document: Mapping[str, Any], *, indent: int | None = 2) -> None:
        """Print a JSON document on stdout; indent None makes it one line."""
        _write(self.out, self.json_text(document, indent=indent) + "\n")
        self.out.flush()

    def show_event(self, document: Mapping[str, Any]) -> None:
        """Print a line of a JSON stream on stdout, at once; as with `tell`, a reader that went away stops no migration."""
        try:
            self.show_json(document, indent=None)
        except (OSError, ValueError):
            forsake(self.out)
            self.out = _Nowhere()

    def json_text(self, document: Mapping[str, Any], *, indent: int | None = 2) -> str:
        """Return a JSON document as text, without secrets."""
        return json.dumps(self._redacted(document), ensure_ascii=True, indent=indent, default=str)

    def tell(self, text: str = "") -> None:
        """Print progress or a remark on stderr, at once.

        A reader that went away (`2>&1 | head`, a closed terminal) must not stop a migration in the middle: what cannot be
        written is dropped.
        """
        try:
            _write(self.err, redact(text, *self.secrets) + "\n")
            self.err.flush()
        except (OSError, ValueError):
            forsake(self.err)
            self.err = _Nowhere()

    def tell_error(self, error: MigrateGraphError) -> None:
        """Print what happened, where, and what to do about it."""
        where = f"{self.clean(str(error.source))}: " if error.source else ""
        first, *more = error.message.splitlines() or [""]
        self.tell(f"{self.paint_err('error:', 'error')} {where}{self.clean(first)}")
        for line in more:
            self.tell(f"  {self.clean(line)}")
        for line in getattr(error, "details", "").rstrip().splitlines():
            self.tell(self.paint_err(f"  {self.clean(line)}", "muted"))
        for line in error.hint.splitlines():
            self.tell(f"{self.paint_err('hint:', 'info')} {self.clean(line)}")

    def _redacted(self, value: Any) -> Any:
        # Value by value: redacting the finished text could eat a closing quote.
        if isinstance(value, str):
            return redact(value, *self.secrets)
        if isinstance(value, Mapping):
            return {str(key): self._redacted(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._redacted(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
        return value


class _Nowhere:
    """A stream whose reader has gone."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        return False


def _write(stream: Any, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text)


def forsake(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: Python would write it at exit, fail, and end with 120."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def let_go(*streams: TextIO) -> None:
    """Write what streams still hold, at the end of the process; what nobody reads any more goes nowhere."""
    for stream in streams:
        try:
            stream.flush()
        except (OSError, ValueError):
            forsake(stream)
