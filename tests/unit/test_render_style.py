"""The palette, recomputed: contrast for weak eyes, distance for colour-blind ones, and no state told by colour alone."""

from itertools import combinations

import pytest

from migrate_graph.core.graph import EdgeKind
from migrate_graph.core.states import WORDINGS, State
from migrate_graph.render.style import DARK, EDGES, LIGHT, STATES, EdgeState, PageStyle, dark_mode

PAGES = [pytest.param("light", LIGHT, id="light"), pytest.param("dark", DARK, id="dark")]
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
# States whose border is a neutral grey are told apart by glyph and line, as the last test here demands of all.
COLOURED = [State.APPLIED, State.PENDING, State.FAILED, State.BLOCKED, State.ORPHAN, State.CYCLE]


def linear(colour: str) -> tuple[float, float, float]:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return red, green, blue


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = rgb
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
    )
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str, blindness: str) -> float:
    matrix = BLINDNESS[blindness]

    def seen(colour: str) -> tuple[float, float, float]:
        rgb = linear(colour)
        red, green, blue = (max(0.0, sum(a * b for a, b in zip(row, rgb, strict=True))) for row in matrix)
        return lab((red, green, blue))

    return sum((a - b) ** 2 for a, b in zip(seen(one), seen(other), strict=True)) ** 0.5


def test_the_measures_measure() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert distance("#FF0000", "#00FF00", "none") > 150
    assert distance("#808080", "#808080", "deuteranopia") == 0


@pytest.mark.parametrize(("theme", "page"), PAGES)
@pytest.mark.parametrize("state", State)
def test_letters_and_borders_have_contrast(theme: str, page: PageStyle, state: State) -> None:
    colours = getattr(STATES[state], theme)
    assert contrast(colours.text, colours.fill) >= 4.5
    assert contrast(colours.stroke, page.background) >= 3.0


@pytest.mark.parametrize(("theme", "page"), PAGES)
@pytest.mark.parametrize("kind", EdgeKind)
def test_arrows_have_contrast(theme: str, page: PageStyle, kind: EdgeKind) -> None:
    for colour in (getattr(EDGES[kind], theme), page.old_edge, page.cycle_edge):
        assert contrast(colour, page.background) >= 3.0


@pytest.mark.parametrize(("theme", "page"), PAGES)
def test_words_beside_the_graph_have_contrast(theme: str, page: PageStyle) -> None:
    assert contrast(page.ink, page.background) >= 7
    assert contrast(page.muted, page.background) >= 4.5
    assert contrast(page.muted, page.cluster_fill) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_coloured_states_are_told_apart_by_everybody(theme: str, blindness: str) -> None:
    for one, other in combinations(COLOURED, 2):
        strokes = [getattr(STATES[state], theme).stroke for state in (one, other)]
        assert distance(*strokes, blindness) >= 10, (one, other)


def test_states_differ_without_any_colour() -> None:
    def cues(state: State) -> dict[str, object]:
        style = STATES[state]
        return {
            "glyph": WORDINGS[state].glyph,
            "line": style.line,
            "width": style.width,
            "bold": style.bold,
            "double": style.double,
        }

    pairs = [pair for pair in combinations(State, 2) if set(pair) != {State.REBUILT, State.CHANGED}]
    for one, other in pairs:  # those two are never in one picture
        differing = [cue for cue, value in cues(one).items() if cues(other)[cue] != value]
        assert "glyph" in differing, (one, other)
        assert len(differing) >= 2 or {one, other} == {State.DECLARED, State.APPLIED}, (one, other)


def test_edges_differ_without_any_colour() -> None:
    looks = [(style.line, style.head) for style in EDGES.values()]
    assert len(set(looks)) == len(EdgeKind) == len(EDGES)


def test_dark_mode_holds_what_occurs_and_no_more() -> None:
    css = dark_mode([State.FAILED], [EdgeKind.SINCE], [EdgeState.LIVE])
    assert STATES[State.FAILED].dark.fill in css
    assert EDGES[EdgeKind.SINCE].dark in css
    assert ".pending" not in css
    assert ".touches" not in css
    assert css.count("{") == css.count("}")
