"""Draw pictures for commands: compose the picture, choose the format, write it to a file or to stdout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.cli.command import Condition, Typed
from migrate_graph.cli.delivery import deliver_document, deliver_lines, is_stdout, is_stream, style_for
from migrate_graph.cli.redacted import redacted_picture
from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.render import FORMATS, PictureOptions, Renderer, format_of

if TYPE_CHECKING:
    from migrate_graph.cli.session import Session
    from migrate_graph.core.graph import Edge
    from migrate_graph.core.history import Attempt
    from migrate_graph.render.picture import Picture
    from migrate_graph.workflow.assessment import Assessment


PICTURES = [name for name in FORMATS if name not in {"text", "json", "markdown"}]


def _drawn_as(words: str, formats: Iterable[str], *, beside: bool = True) -> Condition:
    """Return the condition that the typed options ask for a picture in one of some formats.

    Args:
        words: the name of the condition in messages.
        formats: the names of the formats.
        beside: whether a picture that `--graph` writes in addition to the result counts.
    """
    wanted = frozenset(formats)

    def holds(typed: Typed) -> bool:
        named = typed.get("--format", ())
        files = (*(typed.get("--graph", ()) if beside else ()), *(() if named else typed.get("-o", ())))
        suffixes = {suffix: name for name in FORMATS for suffix in FORMATS[name].suffixes}
        return not wanted.isdisjoint({*named, *(suffixes.get(Path(file).suffix.lower(), "") for file in files)})

    return Condition(words, holds)


PICTURE = _drawn_as("a picture (--graph plan.svg)", [*PICTURES, "json", "markdown"])
NOTHING_ELSE = _drawn_as("a picture in the place of the text", [*PICTURES, "markdown"], beside=False)
LAID_OUT = _drawn_as("a picture that is laid out (.svg, .png, .pdf, .html)", ("svg", "png", "pdf", "html"))
LINKED = _drawn_as("a picture with links (.svg, .pdf, .html, .dot)", ("svg", "pdf", "html", "dot"))
NO_LANES = _drawn_as("another format than text", [name for name in FORMATS if name != "text"])


_PIPE_WIDTH = 140
"""Columns of a text drawing in a pipe or a file."""


class Drawing(Struct, frozen=True, kw_only=True):
    """A picture that was asked for.

    Attributes:
        question: what the picture is about (`graph`, `plan`, `check`, `change` or `run`).
        renderer: which program lays it out.
        options: what is shown, and how.
        select: selectors of the nodes to draw; empty for all.
        exclude: selectors of the nodes to leave out.
        run: the attempts of the run to draw.
        took: seconds that each step took before, by name.
        seen: the edges that `migrate verify` has seen.
    """

    question: str
    renderer: Renderer = Renderer.AUTO
    options: PictureOptions = field(default_factory=PictureOptions)
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    run: tuple[Attempt, ...] = ()
    took: Mapping[str, float] = field(default_factory=dict)
    seen: tuple[Edge, ...] = ()

    def draw(self, session: Session, found: Assessment, format_name: str) -> bytes:
        """Return the picture in a format."""
        from migrate_graph.render import render

        return render(self.compose(session, found), format_name, renderer=self.renderer)

    def compose(self, session: Session, found: Assessment) -> Picture:
        """Return the picture before it is written in a format; the secrets in it are masked."""
        from migrate_graph.workflow.plan import picture_of

        project, database = found.project, found.reading.database
        options = replace(
            self.options,
            title=session.console.clean(" · ".join(part for part in (project.name, database) if part)),
            selected=found.drawn(self.select, self.exclude) if self.select or self.exclude else None,
            link_template=project.config.link_template,
        )
        picture = picture_of(
            found, question=self.question, options=options, run=self.run, took=self.took, seen=self.seen
        )
        return redacted_picture(picture, session.console.redact)

    def write(self, session: Session, found: Assessment, file: Path, format_name: str | None = None) -> None:
        """Write the picture into a file; without a format, the file's suffix decides."""
        chosen = format_name or format_of(file)
        deliver_document(session, self.draw(session, found, chosen), file)
        if not is_stream(file):
            session.console.tell(f"drawn: {session.console.clean(str(file))}")

    def show(
        self, session: Session, found: Assessment, format_name: str, output: Path | None, *, ascii_only: bool = False
    ) -> None:
        """Write the picture to stdout, or into a file with any suffix."""
        if format_name == "text":
            deliver_lines(session, self._lanes(session, found, output, ascii_only=ascii_only), output)
            return
        to_terminal = (output is None or is_stdout(output)) and session.console.out.isatty()
        if to_terminal and not FORMATS[format_name].text:
            raise UsageError(f"a terminal cannot show {format_name}", hint=f"add -o graph.{format_name}")
        deliver_document(session, self.draw(session, found, format_name), output)

    def _lanes(self, session: Session, found: Assessment, output: Path | None, *, ascii_only: bool) -> Iterator[str]:
        """Yield the lines of the picture as text, fitted to the width and the colours of the terminal."""
        from migrate_graph.core.states import WORDINGS
        from migrate_graph.render.formats.lanes import to_lines

        style = style_for(session, output)
        picture = self.compose(session, found)
        for line in to_lines(picture, width=style.width or _PIPE_WIDTH, ascii_only=ascii_only or style.ascii_only):
            yield style.paint(line.text, WORDINGS[line.state].tone) if line.state else line.text


def format_told_by(output: Path | None) -> str:
    """Return the format for a file's suffix; text for other suffixes, and without a file."""
    suffix = output.suffix.lower() if output is not None else ""
    return next((name for name, each in FORMATS.items() if suffix in each.suffixes), "text")


def require_format(chosen: str, own: set[str], graph: Path | None, output: Path | None) -> None:
    """Raise, before any work is done, if a format does not exist or a picture cannot be written into a file.

    Args:
        chosen: the format that was asked for.
        own: the formats of the command that are not pictures.
        graph: the file of a picture that is written in addition to the result.
        output: the file of the result.

    Raises:
        UsageError: the format is unknown, or does not go with the file.
    """
    from migrate_graph.workflow.plan import picture_format

    if chosen not in own and chosen not in FORMATS:
        known = list(dict.fromkeys([*sorted(own), *FORMATS]))
        hint = did_you_mean(similar(chosen, known, most=1), f"known: {', '.join(known)}")
        raise UsageError(f"no format is called '{chosen}'", hint=hint)
    for file, name in ((graph, None), (output, chosen)):
        if file is not None and not is_stream(file):
            picture_format(file, name)
