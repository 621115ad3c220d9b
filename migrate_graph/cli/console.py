"""The only file that prints: results on stdout, messages on stderr, with colours, without secrets and control characters."""

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

# Replacements for the drawing characters, for streams that cannot encode them (LANG=C in cron and containers).
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
    """Return the replacements for characters that cannot be encoded, with those for the signs of states."""
    from migrate_graph.core.states import WORDINGS

    return _ASCII | {ord(each.glyph): each.ascii for each in WORDINGS.values()}


class Color(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def painted(text: str, style: str) -> str:
    """Return a text between the terminal's escape codes for a style."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text else text


def wants_color(choice: Color, environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Return whether to use colours. The first of these decides: `--color`, NO_COLOR, FORCE_COLOR, whether it is a terminal.

    NO_COLOR wins over FORCE_COLOR, since people need it for accessibility.
    """
    if choice is not Color.AUTO:
        return choice is Color.ALWAYS
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return terminal and environ.get("TERM") != "dumb"


class TextStyle(Struct, frozen=True):
    """How text is written to a stream.

    Attributes:
        paint: returns a text in a style.
        width: columns of the terminal; None for a pipe or a file.
        ascii_only: whether the stream can show only ASCII. Single characters are replaced when they are printed; drawings are made with
            ASCII characters from the beginning.
    """

    paint: Paint
    width: int | None = None
    ascii_only: bool = False

    def lines(self, text: str, *, head: str = "", indent: int | None = None, tone: str = "") -> list[str]:
        """Return the lines of a text that follows a heading on the same line, broken between words.

        Args:
            text: on one line.
            head: the heading; it may contain colours.
            indent: of the further lines; None for the column where the text begins.
            tone: the style of the text.
        """
        paint = (lambda line: self.paint(line, tone)) if tone else str
        return behind(head, text, self.width, indent=indent, paint=paint)

    def mark(self, state: State) -> str:
        """Return the sign of a state, in its colour."""
        from migrate_graph.core.states import WORDINGS

        wording = WORDINGS[state]
        return self.paint(wording.glyph, wording.tone)


IN_A_FILE = TextStyle(plain)
"""The style of text in a file."""


class Console:
    """Writes everything: results to stdout, progress and errors to stderr.

    Attributes:
        secrets: passwords to mask in every text; set as soon as the settings are known.
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
        """Keep stdout for results: redirect descriptor 1 to stderr, so that prints of user code and its child processes go there.

        If `sys.stdout` is captured (by a test, for example), nothing is changed.
        """
        with suppress(OSError, ValueError, AttributeError):
            if self.out is sys.stdout and self.out.fileno() == 1:
                self.out.flush()
                kept = os.dup(1)
                self.out = open(kept, "w", encoding=self.out.encoding, errors=self.out.errors)  # noqa: PTH123, SIM115 - a descriptor
                forks.hide(self.out)  # otherwise the reader of stdout would wait for a forked child too
                os.dup2(2, 1)

    def return_stdout(self) -> None:
        """Undo `take_stdout`, for a program that goes on after a command."""
        if self.out is not sys.stdout and sys.stdout is not None and not isinstance(self.out, NullStream):
            flush_at_exit(sys.stdout, self.out)
            with suppress(OSError, ValueError):
                os.dup2(self.out.fileno(), 1)
                self.out.close()
                self.out = sys.stdout

    def take_stderr(self) -> None:
        """Mask secrets also in text that user code writes to `sys.stderr`: warnings, logging, prints while a file is loaded."""
        if sys.stderr is self.err:
            sys.stderr = MaskedStream(self.err, lambda text: redact(text, *self.secrets))

    def return_stderr(self) -> None:
        """Undo `take_stderr`."""
        if isinstance(sys.stderr, MaskedStream):
            sys.stderr.flush()
            sys.stderr = self.err

    def recolor(self, color: Color) -> None:
        """Set whether to use colours; called when the command line is parsed."""
        colors = (wants_color(color, self.environ, terminal=stream.isatty()) for stream in (self.out, self.err))
        self.paint_out, self.paint_err = (painted if wanted else plain for wanted in colors)

    @property
    def interactive(self) -> bool:
        """Whether progress may be redrawn in place: stderr is a capable terminal, and the program does not run in CI."""
        return self.err.isatty() and self.environ.get("TERM") != "dumb" and not self.environ.get("CI")

    @property
    def style(self) -> TextStyle:
        """How text is written on stdout."""
        return TextStyle(self.paint_out, self.width, ascii_only=not _can_encode(self.out, _DRAWN))

    @property
    def width(self) -> int | None:
        """The columns of the terminal on stdout; None for a pipe or a file."""
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
        """Print a finished document on stdout unchanged: its values were redacted before."""
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
        """Flush stdout."""
        with self._delivering(), suppress(ValueError):  # user code has closed it
            self.out.flush()

    @contextmanager
    def _delivering(self) -> Iterator[None]:
        """Turn an error while writing to stdout into `ResultLost`, so that an incomplete result is never taken for the whole one.

        Raises:
            ResultLost: stdout cannot be written: its disk is full, for example.
            BrokenPipeError: the reader of stdout has closed it.
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
        """Print a line of a JSON stream on stdout and flush it; as in `tell`, a closed stream does not stop a migration."""
        try:
            _write(self.out, self.json_text(document, indent=None) + "\n")
            self.out.flush()
        except (OSError, ValueError):
            discard(self.out)
            self.out = NullStream()

    def json_text(self, document: Mapping[str, Any], *, indent: int | None = 2) -> str:
        """Return a JSON document as text, without secrets."""
        if indent is not None:
            from migrate_graph.cli.json_text import indented  # imported here: help, errors and plain text need no JSON

            return indented(document, self.redact)
        import json

        return json.dumps(self.redacted(document), ensure_ascii=True, default=str)

    def tell(self, text: str = "") -> None:
        """Print progress or a remark on stderr, and flush it.

        A closed stream (`2>&1 | head`, a closed terminal) must not stop a migration in the middle: text that cannot be written is
        dropped.
        """
        try:
            _write(self.err, redact(text, *self.secrets) + "\n")
            self.err.flush()
        except (OSError, ValueError):
            discard(self.err)
            self.err = NullStream()

    def tell_error(self, error: MigrateGraphError) -> None:
        """Print an error: what happened, where, and what to do about it."""
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
        """Return a text in which characters that a stream cannot encode are replaced."""
        return _fitting(text, stream)

    def redact(self, text: str) -> str:
        """Return a text without secrets."""
        return redact(text, *self.secrets)

    def redacted(self, value: Any) -> Any:
        """Return a value with the secrets masked in all its texts, also inside mappings, sequences and structs.

        It is done value by value before a document is written: in finished JSON, masking could also remove a closing quote.
        """
        return redacted(value, self.redact)


class NullStream:
    """Stands in for a stream that was closed from the start, or that its reader has closed."""

    encoding = "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        """A buffer for bytes that nobody reads."""
        return BytesIO()

    def write(self, text: str) -> int:
        """Drop a text; return its length, as streams do."""
        return len(text)

    def flush(self) -> None:
        """Do nothing: no text is kept."""

    def isatty(self) -> bool:
        """Return False."""
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
    """Redirect a stream, with its unwritten text, to the null device: otherwise Python would try to flush it at exit, and end with 120."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def flush_at_exit(*streams: Any) -> None:
    """Flush streams at the end of the process; text for a closed stream is dropped."""
    for stream in streams:
        if stream is None:  # the descriptor was closed from the start
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def open_what_is_closed() -> None:
    """Open the null device for standard descriptors that are closed.

    Otherwise the next file or socket that the program opens would be stdout, for example, for every child process.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is `descriptor`
            os.set_inheritable(null, True)  # noqa: FBT003 - it takes no keyword
