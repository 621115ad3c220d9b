"""Pictures and reports: one function per format, one dictionary that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from migrate_graph.errors import UsageError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.render.choices import Renderer

if TYPE_CHECKING:
    from migrate_graph.render.picture import Picture


@dataclass(frozen=True, slots=True)
class Format:
    """A format a picture can be written in.

    Attributes:
        name: as given to `--format`.
        suffixes: of files that hold it; the first is the usual one.
        summary: what it is good for.
        write: writes it.
        text: it is UTF-8 text that a terminal may show.
    """

    name: str
    suffixes: tuple[str, ...]
    summary: str
    write: Callable[[Picture, Renderer], bytes]
    text: bool = True


# Each writer imports what it needs when it is called: `migrate --help` and a Mermaid diagram need no Graphviz.
def _svg(picture: Picture, renderer: Renderer) -> bytes:
    from migrate_graph.render.formats.svg import to_svg

    return to_svg(picture, renderer=renderer)


def _png(picture: Picture, renderer: Renderer) -> bytes:
    from migrate_graph.render.formats.png import to_png

    return to_png(picture, renderer=renderer)


def _pdf(picture: Picture, renderer: Renderer) -> bytes:
    from migrate_graph.render.formats.dot import to_dot
    from migrate_graph.render.layout.engine import lay_out

    return lay_out(to_dot(picture, titled=True), wanted="pdf", renderer=renderer)


def _dot(picture: Picture, _: Renderer) -> bytes:
    from migrate_graph.render.formats.dot import to_dot

    return to_dot(picture).encode()


def _mermaid(picture: Picture, _: Renderer) -> bytes:
    from migrate_graph.render.formats.mermaid import to_mermaid

    return to_mermaid(picture).encode()


def _markdown(picture: Picture, _: Renderer) -> bytes:
    from migrate_graph.render.formats.mermaid import to_markdown

    return to_markdown(picture).encode()


def _text(picture: Picture, _: Renderer) -> bytes:
    from migrate_graph.render.formats.lanes import to_text

    return to_text(picture).encode()


def _json(picture: Picture, _: Renderer) -> bytes:
    from migrate_graph.render.formats.node_link import to_json

    return to_json(picture)


def _graphml(picture: Picture, _: Renderer) -> bytes:
    from migrate_graph.render.formats.node_link import to_graphml

    return to_graphml(picture)


def _html(picture: Picture, renderer: Renderer) -> bytes:
    from migrate_graph.render.formats.html import to_html

    return to_html(picture, renderer=renderer)


FORMATS: Final[dict[str, Format]] = {
    each.name: each
    for each in (
        Format("svg", (".svg",), "a picture for browsers and documents", _svg),
        Format("png", (".png",), "a picture for everything else", _png, text=False),
        Format("pdf", (".pdf",), "a picture for printing (needs a system Graphviz)", _pdf, text=False),
        Format("html", (".html", ".htm"), "a page to explore: search, filters, details", _html),
        Format("dot", (".dot", ".gv"), "Graphviz source", _dot),
        Format("mermaid", (".mmd", ".mermaid"), "a diagram that code hosts draw", _mermaid),
        Format("markdown", (".md",), "a report for job summaries and pull requests", _markdown),
        Format("json", (".json",), "node-link data for programs", _json),
        Format("graphml", (".graphml",), "for yEd, Gephi and the like", _graphml),
        Format("text", (".txt",), "lanes for a terminal", _text),
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
        renderer: who lays out, where that is needed: `auto`, `embedded`, or `dot` (the system's).

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
