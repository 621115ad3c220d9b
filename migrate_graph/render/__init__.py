"""Pictures: one function per format, one dictionary that names them."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from migrate_graph.core.graph import Node
    from migrate_graph.render.picture import Picture


class Renderer(StrEnum):
    """Which program lays a picture out."""

    AUTO = "auto"
    """The embedded Graphviz; the system's `dot` for what that lacks (PDF), or where it is not installed."""
    EMBEDDED = "embedded"
    DOT = "dot"


class Grouping(StrEnum):
    """How modules (the files that declare) are shown."""

    AUTO = "auto"
    """As frames around their nodes, where that helps reading."""
    MODULE = "module"
    """As nodes: one per module, an overview."""
    NONE = "none"
    """Not at all."""


class PictureOptions(Struct, frozen=True):
    """What the user asked for.

    Attributes:
        title: project and database, redacted.
        everything: show all nodes whatever their number.
        focus: names of migrations or views to look at.
        hops: how far from `focus` to look, in edges, both ways.
        selected: exactly the nodes to show; None: the question decides.
        grouping: see `Grouping`.
        link_template: URL of a source line, with `{file}` and `{line}`; empty for no links.
        limit: how many migrations of a longer plan are drawn; 0 for all.
    """

    title: str = "migrate"
    everything: bool = False
    focus: tuple[str, ...] = ()
    hops: int = 2
    selected: AbstractSet[Node] | None = None
    grouping: Grouping = Grouping.AUTO
    link_template: str = ""
    limit: int = 100


class Format(Struct, frozen=True):
    """A format a picture can be written in.

    Attributes:
        name: as given to `--format`.
        suffixes: of files that hold it; the first is the usual one.
        summary: what it is good for.
        file: the file in `formats/` whose function `to_NAME` writes it.
        is_laid_out: that function takes a `Renderer`.
        text: it is UTF-8 text that a terminal may show.
    """

    name: str
    suffixes: tuple[str, ...]
    summary: str
    file: str
    is_laid_out: bool = False
    text: bool = True

    def write(self, picture: Picture, renderer: Renderer) -> bytes:
        """Write a picture; only this format's file is imported: a Mermaid diagram needs no Graphviz."""
        writer = getattr(import_module(f"{__name__}.formats.{self.file}"), f"to_{self.name}")
        written: str | bytes = writer(picture, renderer=renderer) if self.is_laid_out else writer(picture)
        return written if isinstance(written, bytes) else written.encode()


FORMATS: Final[dict[str, Format]] = {
    each.name: each
    for each in (
        Format("svg", (".svg",), "a picture for browsers and documents", "svg", is_laid_out=True),
        Format("png", (".png",), "a picture for everything else", "png", is_laid_out=True, text=False),
        Format(
            "pdf", (".pdf",), "a picture for printing (needs a system Graphviz)", "dot", is_laid_out=True, text=False
        ),
        Format("html", (".html", ".htm"), "a page to explore: search, filters, details", "html", is_laid_out=True),
        Format("dot", (".dot", ".gv"), "Graphviz source", "dot"),
        Format("mermaid", (".mmd", ".mermaid"), "a diagram that code hosts draw", "mermaid"),
        Format("markdown", (".md",), "a report for job summaries and pull requests", "mermaid"),
        Format("json", (".json",), "node-link data for programs", "node_link"),
        Format("graphml", (".graphml",), "for yEd, Gephi and the like", "node_link"),
        Format("text", (".txt",), "lanes for a terminal", "lanes"),
    )
}


def format_of(path: Path) -> str:
    """Return the format of a file's name.

    Raises:
        UsageError: no format has this suffix; the message lists those there are.
    """
    suffixes = {suffix: each.name for each in FORMATS.values() for suffix in each.suffixes}
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return suffixes[suffix]
    near = (path.with_suffix(other).name for other in similar(suffix, suffixes, most=1))
    hint = did_you_mean(near, f"known: {', '.join(sorted(suffixes))}")
    raise UsageError(f"no picture format is called '{suffix or path.name}'", hint=hint)


def render(picture: Picture, wanted: str, *, renderer: str = "auto") -> bytes:
    """Write a picture.

    Args:
        picture: from `build_picture`.
        wanted: a key of `FORMATS`.
        renderer: what lays it out, where that is needed: `auto`, `embedded`, or `dot` (the system's).

    Raises:
        UsageError: an unknown format or renderer, or a renderer that is absent.
    """
    from migrate_graph.render.layout.engine import LayoutTimeout

    if wanted not in FORMATS:
        raise UsageError(f"no format is called '{wanted}'", hint=f"known: {', '.join(FORMATS)}")
    if renderer not in set(Renderer):
        raise UsageError(f"no renderer is called '{renderer}'", hint=f"known: {', '.join(Renderer)}")
    try:
        return FORMATS[wanted].write(picture, Renderer(renderer))
    except LayoutTimeout:
        hint = "show less: --focus NAME, --select, or without --all; .dot and .json are written at any size"
        raise UsageError(f"laying out {len(picture.nodes)} nodes took too long", hint=hint) from None
