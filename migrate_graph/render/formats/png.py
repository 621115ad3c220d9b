"""Write a picture as PNG: the SVG, drawn with the letters that come with this package."""

from __future__ import annotations

from pathlib import Path

from migrate_graph.errors import UsageError
from migrate_graph.render import Renderer
from migrate_graph.render.formats.svg import to_svg
from migrate_graph.render.picture import Picture

_FONTS = Path(__file__).parent.with_name("assets") / "fonts"
_FAMILY = "DejaVu Sans Mono"
# Screens show 96 dots per inch and a picture's sizes are in points; twice that is sharp where it is looked at closely.
_DPI = 96.0
_SHARP = 2.0
_MOST_PIXELS = 24_000_000.0
"""About 100 MB and two seconds to draw; larger pictures get fewer dots per inch, not less graph."""
_DEJAVU_ENDS = 0x2E80
"""From this character on DejaVu Sans Mono has hardly any (Chinese, Japanese, Korean, emoji): the machine's fonts are used too."""


def to_png(picture: Picture, *, renderer: Renderer = Renderer.AUTO) -> bytes:
    """Draw the SVG as PNG.

    Raises:
        UsageError: resvg-py is not installed, or no renderer for the layout.
        LayoutTimeout: the layout took too long.
    """
    return png_of(to_svg(picture, renderer=renderer))


def png_of(svg: bytes) -> bytes:
    """Draw an SVG made by `to_svg` as PNG, in light colours."""
    try:
        import resvg_py
    except ImportError:
        raise UsageError("PNG needs resvg-py", hint="pip install resvg-py, or write .svg") from None
    text = svg.decode()
    ours = max(text, default="") < chr(_DEJAVU_ENDS)
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=text,
            dpi=_DPI,
            zoom=_zoom(text),
            skip_system_fonts=ours,
            font_files=[str(_FONTS / name) for name in ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf")],
            font_family=_FAMILY,
            monospace_family=_FAMILY,
        )
    )


def _zoom(svg: str) -> float:
    """Return the factor of enlargement: 2, or less where the picture would have too many pixels."""
    box = svg.partition('viewBox="')[2].partition('"')[0].split()
    pixels = float(box[2]) * float(box[3]) * (_DPI / 72) ** 2
    return float(min(_SHARP, (_MOST_PIXELS / pixels) ** 0.5))
