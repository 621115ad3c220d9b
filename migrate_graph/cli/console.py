"""The only file that prints: two streams, colour, redaction, and text that is safe on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import cache
from io import BytesIO
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from msgspec import Struct

from migrate_graph import forks
from migrate_graph.cli.redacted import redacted
from migrate_graph.columns import Paint, behind, plain
from migrate_graph.errors import ResultLost
from migrate_graph.masked_stream import MaskedStream
from migrate_graph.redaction import one_line, redact

if TYPE_CHECKING:
    from migrate_graph.core.states import State
    from migrate_graph.errors import MigrateGraphError

_STYLES = {
    "bold": "1",
    "muted": "2",
    "good": "32",
    "warning": "35",  # yellow cannot be read on white
    "error": "1;31",
    "info": "36",
    "heading": "1;36",
}

_DRAWN = "│├╯✓▶✗⊘↻○…━"

# What the texts draw with, for streams that cannot encode it (LANG=C in cron and containers).
_ASCII = str.maketrans(
    {
        "·": "-",
        "…": "...",
        "→": "->",
        "←": "<-",
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


@cache
def _signs() -> dict[int, str]:
    """Return what stands for what: the signs of states are those of the one table that pictures use too."""
    from migrate_graph.core.states import WORDINGS

    return _ASCII | {ord(each.glyph): each.ascii for each in WORDINGS.values()}


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


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


class TextStyle(Struct, frozen=True):
    """How text is written for those who read it there.

    Attributes:
        paint: gives a text in a style.
        width: columns of the terminal; None where nobody looks at columns (a pipe, a file).
        ascii_only: nothing else can be shown there; single signs are replaced as they are printed, drawings are made for it.
    """

    paint: Paint
    width: int | None = None
    ascii_only: bool = False

    def lines(self, text: str, *, head: str = "", indent: int | None = None, tone: str = "") -> list[str]:
        """Return a text behind a head, broken between words.

        Args:
            text: on one line.
            head: painted as it is to be seen.
            indent: of further lines; None for where the text begins.
            tone: of the text.
        """
        paint = (lambda line: self.paint(line, tone)) if tone else str
        return behind(head, text, self.width, indent=indent, paint=paint)

    def mark(self, state: State) -> str:
        """Return the sign of a state, from the one table of signs."""
        from migrate_graph.core.states import WORDINGS

        wording = WORDINGS[state]
        return self.paint(wording.glyph, wording.tone)


IN_A_FILE = TextStyle(plain)
"""Of what nobody reads on a terminal."""


class Console:
    """Where everything goes out: results to stdout, progress and errors to stderr.

    Attributes:
        secrets: passwords that no text may carry; set as soon as the settings are known.
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
        self.out: Any = out or sys.stdout or NullStream()  # Python has none where the descriptor was closed (`>&-`)
        self.err: Any = err or sys.stderr or NullStream()
        self.secrets: tuple[str, ...] = ()
        self.recolor(color)

    def take_stdout(self) -> None:
        """Keep stdout for results: from here on descriptor 1 leads to stderr, where user code and its child processes print.

        Where somebody captures `sys.stdout` there is nothing to protect, and nothing is changed.
        """
        with suppress(OSError, ValueError, AttributeError):
            if self.out is sys.stdout and self.out.fileno() == 1:
                self.out.flush()
                _open_what_is_closed()
                kept = os.dup(1)
                self.out = open(kept, "w", encoding=self.out.encoding, errors=self.out.errors)  # noqa: PTH123, SIM115 - a descriptor
                forks.hide(self.out)  # who reads our results waits for all who could write them, a forked child too
                os.dup2(2, 1)

    def return_stdout(self) -> None:
        """Lead descriptor 1 back to stdout, for a program that goes on after a command."""
        if self.out is not sys.stdout and sys.stdout is not None and not isinstance(self.out, NullStream):
            flush_at_exit(sys.stdout, self.out)
            with suppress(OSError, ValueError):
                os.dup2(self.out.fileno(), 1)
                self.out.close()
                self.out = sys.stdout

    def take_stderr(self) -> None:
        """Mask secrets in what user code writes to `sys.stderr` too: warnings, logging, prints while a file is loaded."""
        if sys.stderr is self.err:
            sys.stderr = MaskedStream(self.err, lambda text: redact(text, *self.secrets))

    def return_stderr(self) -> None:
        """Restore `sys.stderr`."""
        if isinstance(sys.stderr, MaskedStream):
            sys.stderr.flush()
            sys.stderr = self.err

    def recolor(self, color: Color) -> None:
        """Set the choice of colour, as soon as the command line has told it."""
        colors = (wants_color(color, self.environ, terminal=stream.isatty()) for stream in (self.out, self.err))
        self.paint_out, self.paint_err = (painted if wanted else plain for wanted in colors)

    @property
    def interactive(self) -> bool:
        """Whether progress may be redrawn in place: stderr is a terminal that can, and nobody records it."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb" and not self.environ.get("CI")

    @property
    def style(self) -> TextStyle:
        """How text is written on stdout."""
        return TextStyle(self.paint_out, self.width, ascii_only=not _can_encode(self.out, _DRAWN))

    @property
    def width(self) -> int | None:
        """How many columns a result has; None where nobody looks at columns (a pipe, a file)."""
        return get_terminal_size().columns if self.out.isatty() else None

    @property
    def style_err(self) -> TextStyle:
        """How text is written on stderr."""
        width = get_terminal_size().columns if self.err.isatty() else None
        return TextStyle(self.paint_err, width, ascii_only=not _can_encode(self.err, _DRAWN))

    def clean(self, text: str) -> str:
        """Return foreign text without secrets, control characters or direction overrides, on one line."""
        return one_line(redact(text, *self.secrets))

    def show(self, text: str = "") -> None:
        """Print a result on stdout."""
        with self._delivering():
            _write(self.out, redact(text, *self.secrets) + "\n")

    def show_document(self, content: bytes) -> None:
        """Print a finished document on stdout, byte by byte: its values were redacted before it was written."""
        with self._delivering():
            self.out.flush()
            self.out.buffer.write(content)
            self.out.buffer.flush()

    def show_json(self, document: Mapping[str, Any]) -> None:
        """Print a JSON document on stdout."""
        with self._delivering():
            _write(self.out, self.json_text(document) + "\n")
            self.out.flush()

    def flush(self) -> None:
        """Write what stdout still holds."""
        with self._delivering(), suppress(ValueError):  # user code has closed it
            self.out.flush()

    @contextmanager
    def _delivering(self) -> Iterator[None]:
        """While inside, stdout is written to: a result that cannot be is lost, and nobody may take what is there for all of it.

        Raises:
            ResultLost: stdout cannot be written: its disk is full, for example.
            BrokenPipeError: the reader of stdout has gone.
        """
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            discard(self.out)
            self.out = NullStream()
            raise ResultLost(
                f"cannot write the result to stdout: {error.strerror}",
                hint="make room there, or send it to another place; what the command did to a database is not undone",
            ) from error

    def show_event(self, document: Mapping[str, Any]) -> None:
        """Print a line of a JSON stream on stdout, at once; as with `tell`, a reader that went away stops no migration."""
        try:
            _write(self.out, self.json_text(document, indent=None) + "\n")
            self.out.flush()
        except (OSError, ValueError):
            discard(self.out)
            self.out = NullStream()

    def json_text(self, document: Mapping[str, Any], *, indent: int | None = 2) -> str:
        """Return a JSON document as text, without secrets."""
        if indent is not None:
            from migrate_graph.cli.json_text import indented  # help, errors and plain text need no JSON

            return indented(document, self.redact)
        import json

        return json.dumps(self.redacted(document), ensure_ascii=True, default=str)

    def tell(self, text: str = "") -> None:
        """Print progress or a remark on stderr, at once.

        A reader that went away (`2>&1 | head`, a closed terminal) must not stop a migration in the middle: what cannot be
        written is dropped.
        """
        try:
            _write(self.err, redact(text, *self.secrets) + "\n")
            self.err.flush()
        except (OSError, ValueError):
            discard(self.err)
            self.err = NullStream()

    def tell_error(self, error: MigrateGraphError) -> None:
        """Print what happened, where, and what to do about it."""
        where = f"{self.clean(str(error.source))}: " if error.source else ""
        first, *more = error.message.splitlines() or [""]
        style = self.style_err
        for line in style.lines(f"{where}{self.clean(first)}", head=f"{style.paint('error:', 'error')} ", indent=2):
            self.tell(line)
        for line in more:
            self.tell(f"  {self.clean(line)}")
        for line in getattr(error, "details", "").rstrip().splitlines():
            self.tell(style.paint(f"  {self.clean(line)}", "muted"))
        for hint in error.hint.splitlines():
            for line in style.lines(self.clean(hint), head=f"{style.paint('hint:', 'info')} "):
                self.tell(line)

    def fitting(self, text: str, stream: Any) -> str:
        """Return a text with plain characters in place of those that a stream cannot show."""
        return _fitting(text, stream)

    def redact(self, text: str) -> str:
        """Return a text without secrets."""
        return redact(text, *self.secrets)

    def redacted(self, value: Any) -> Any:
        """Return a value whose texts carry no secrets: mappings, sequences and structs are gone through.

        Value by value, before a document is written: in the finished one a closing quote could go with the secret.
        """
        return redacted(value, self.redact)


class NullStream:
    """A stream that nobody reads: it was closed from the start, or its reader has gone."""

    encoding = "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        """The same for bytes."""
        return BytesIO()

    def write(self, text: str) -> int:
        """Drop a text."""
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        """Return that nobody looks."""
        return False


def _can_encode(stream: Any, text: str) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _fitting(text: str, stream: Any) -> str:
    if _can_encode(stream, text):
        return text
    encoding = stream.encoding or "utf-8"
    return text.translate(_signs()).encode(encoding, "backslashreplace").decode(encoding)


def _write(stream: Any, text: str) -> None:
    stream.write(_fitting(text, stream))


def discard(stream: Any) -> None:
    """Lead a stream to the null device, with what it still holds: Python would write that at exit, fail, and end with 120."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def flush_at_exit(*streams: Any) -> None:
    """Write what streams still hold, at the end of the process; what nobody reads any more is dropped."""
    for stream in streams:
        if stream is None:  # it was closed from the start
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def _open_what_is_closed() -> None:
    """Lead standard descriptors that are closed to the null device: else the next file that is opened becomes stderr."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one, as the lower ones are open
            os.set_inheritable(null, True)  # noqa: FBT003 - the only argument it has
