"""How states and edges look on a light and on a dark page: shapes, lines, glyphs and words tell them apart, also without colour."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from migrate_graph.core.graph import EdgeKind
from migrate_graph.core.states import WORDINGS, State


class EdgeState(StrEnum):
    """How much an edge matters."""

    LIVE = "live"
    OLD = "old"
    """Between two nodes that are already applied."""
    CYCLE = "ring"


class Colours(Struct, frozen=True):
    """Colours of a node: its inside, its border and its letters."""

    fill: str
    stroke: str
    text: str


class StateStyle(Struct, frozen=True):
    """How nodes of one state look; the words for the state are in `core.states.WORDINGS`.

    Attributes:
        light: on a white page.
        dark: on a dark page.
        line: of the border: solid, dashed or dotted.
        width: of the border, in points.
        bold: whether the letters are bold.
        double: whether the border is double.
        struck: whether the letters are struck through.
    """

    light: Colours
    dark: Colours
    line: str = "solid"
    width: float = 1.0
    bold: bool = False
    double: bool = False
    struck: bool = False


class EdgeStyle(Struct, frozen=True):
    """How edges of one kind look.

    Attributes:
        light: colour on a white page.
        dark: colour on a dark page.
        line: solid, dashed or dotted.
        head: Graphviz' name of the arrow head.
        width: of the line, in points.
        weight: how much the layout keeps it short and straight; 0: the layout ignores it.
        legend: what the edge means.
    """

    light: str
    dark: str
    line: str
    head: str
    width: float
    weight: int
    legend: str

    @property
    def open_head(self) -> bool:
        """Whether the head is an outline."""
        return self.head in {"empty", "odiamond"}


class PageStyle(Struct, frozen=True):
    """Colours of a page: of its background, its texts, its frames and its unusual edges."""

    background: str
    ink: str
    muted: str
    cluster_fill: str
    cluster_stroke: str
    old_edge: str
    cycle_edge: str


LIGHT: Final = PageStyle("#FFFFFF", "#1F2937", "#5B6472", "#F8FAFC", "#C5CCD6", "#8B95A5", "#99147E")
DARK: Final = PageStyle("#0D1117", "#E6EDF3", "#9AA4B2", "#12171E", "#3A4350", "#6B7685", "#F47BD8")


def _look(light: str, dark: str, **border: Any) -> StateStyle:
    """Return how nodes look: what is inside, the border and the letters, on a light and on a dark page."""
    return StateStyle(Colours(*light.split()), Colours(*dark.split()), **border)


_OWN: Final[dict[State, StateStyle]] = {
    State.DECLARED: _look("#FFFFFF #5B6472 #1F2937", "#0D1117 #9AA4B2 #E6EDF3"),
    State.APPLIED: _look("#F1F3F5 #7A8494 #414B5A", "#1D232C #77818F #B6C0CC"),
    State.PENDING: _look("#DCEBFF #0B57D0 #0A3A86", "#0C2D5E #6CA8FF #CFE3FF", width=2.2, bold=True),
    State.REVERTED: _look("#FFFFFF #0B57D0 #0A3A86", "#0D1117 #6CA8FF #CFE3FF", line="dashed", width=2.2),
    State.FAILED: _look("#B3261E #7A120C #FFFFFF", "#FF8A7A #FFD0C8 #2B0603", width=2.6, bold=True),
    State.INTERRUPTED: _look("#FFFFFF #7A120C #7A120C", "#0D1117 #FFD0C8 #FFD0C8", line="dashed", width=2.6, bold=True),
    State.RUNNING: _look("#E4E0FF #4B3FB0 #2C2372", "#221C57 #A79BFF #DDD8FF", line="dashed", width=2.2, bold=True),
    State.DOWN: _look("#B3261E #7A120C #FFFFFF", "#FF8A7A #FFD0C8 #2B0603", line="dashed", width=3.0, bold=True),
    State.BLOCKED: _look("#FFF0C2 #9A6700 #573A00", "#3F2C00 #E3A72F #FFE7B3", line="dashed", width=1.8),
    State.ORPHAN: _look("#1F2937 #000000 #FFFFFF", "#E6EDF3 #FFFFFF #0D1117", line="dotted", width=2.8, bold=True),
    State.CYCLE: _look("#FBE3F4 #99147E #6B0B57", "#4A0F3D #F47BD8 #FFD6F3", width=1.8, bold=True, double=True),
    State.RETIRED: _look("#FFFFFF #8B95A5 #5B6472", "#0D1117 #6B7685 #9AA4B2", line="dashed", struck=True),
    State.REBUILT: _look("#E8F1FF #0B57D0 #0A3A86", "#0E2444 #6CA8FF #CFE3FF", width=1.6),
    State.ADDED: _look("#DDF4E4 #1A7F37 #0B4F22", "#0B3A1C #57C27A #C9F2D6", width=2.4, bold=True),
    State.CHANGED: _look("#FFF0C2 #9A6700 #573A00", "#3F2C00 #E3A72F #FFE7B3", width=2.0),
    State.REMOVED: _look("#FFFFFF #B3261E #7A120C", "#0D1117 #FF8A7A #FFD0C8", line="dashed", width=2.4, struck=True),
}
_OF_TONE: Final = {
    "good": _OWN[State.APPLIED],
    "info": _OWN[State.PENDING],
    "warning": _OWN[State.BLOCKED],
    "error": _OWN[State.FAILED],
    "muted": _OWN[State.RETIRED],
}
STATES: Final[dict[State, StateStyle]] = {state: _OWN.get(state, _OF_TONE[WORDINGS[state].tone]) for state in State}
"""How each state looks; one without a look of its own has that of its tone."""


class AccusedLook(Struct, frozen=True):
    """The border of a box with a finding, where the look of its state does not already stand out.

    Attributes:
        name: of its class.
        light: colour on a white page.
        dark: colour on a dark page.
        width: in points.
        legend: what it means.
    """

    name: str
    light: str
    dark: str
    width: float
    legend: str


ACCUSED: Final = {
    "error": AccusedLook("accused", "#B3261E", "#FF8A7A", 3.0, "has an error"),
    "warning": AccusedLook("warned", "#9A6700", "#E3A72F", 2.4, "has a warning"),
}


def accused_look(accused: str, state: State) -> AccusedLook | None:
    """Return the border of a box with a finding; None without a finding, or where the state stands out already."""
    return ACCUSED.get(accused) if state in {State.DECLARED, State.APPLIED, State.RETIRED} else None


def glyph_of(state: State) -> str:
    """Return the sign before the name in a box; nothing for one that is only declared."""
    return "" if state is State.DECLARED else WORDINGS[state].glyph


EDGES: Final[dict[EdgeKind, EdgeStyle]] = {
    EdgeKind.REQUIRES: EdgeStyle("#3F4957", "#AEB8C4", "solid", "normal", 1.4, 8, "requires (runs first → runs after)"),
    EdgeKind.SINCE: EdgeStyle("#00695C", "#4DC3B0", "dashed", "empty", 1.2, 2, "since (the view exists from then)"),
    EdgeKind.UNTIL: EdgeStyle("#8F5B00", "#E0A63A", "dashed", "tee", 1.2, 1, "until (the view ends there)"),
    EdgeKind.USES: EdgeStyle("#0B57D0", "#6CA8FF", "solid", "vee", 1.1, 2, "uses (is read by)"),
    EdgeKind.READS: EdgeStyle("#0B57D0", "#6CA8FF", "dashed", "vee", 1.1, 2, "is read by (not declared)"),
    EdgeKind.REPLACES: EdgeStyle("#7B2FB5", "#C58CFF", "solid", "odiamond", 2.0, 4, "replaces (hands over to)"),
    EdgeKind.TOUCHES: EdgeStyle("#B3401E", "#FF9A76", "dotted", "dot", 1.8, 0, "touches (drops and recreates)"),
    EdgeKind.NEEDS: EdgeStyle("#B3261E", "#FF8A7A", "dashed", "normal", 1.8, 4, "is needed by (not declared)"),
    EdgeKind.CONFLICTS: EdgeStyle("#8A4B00", "#F0B45A", "dotted", "normal", 1.8, 2, "conflicts with (in no order)"),
}

TIMES: Final = "\N{MULTIPLICATION SIGN}"
"""Stands before the number of edges that an arrow stands for."""

FONT_STACK: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"


def edge_colour(kind: EdgeKind, state: EdgeState) -> str:
    """Return the colour of an edge on a light page; `dark_mode` changes it."""
    if state is EdgeState.OLD:
        return LIGHT.old_edge
    return LIGHT.cycle_edge if state is EdgeState.CYCLE else EDGES[kind].light


def edge_width(kind: EdgeKind, state: EdgeState) -> float:
    """Return the width of an edge in points."""
    return round(EDGES[kind].width * {EdgeState.LIVE: 1.0, EdgeState.OLD: 0.7, EdgeState.CYCLE: 2.0}[state], 2)


def dark_mode(states: Iterable[State], kinds: Iterable[EdgeKind], edge_states: Iterable[EdgeState]) -> str:
    """Return the CSS that turns a light picture dark, with rules only for what occurs in it."""
    rules = [
        f".page{{fill:{DARK.background}}}",
        f"text{{fill:{DARK.ink}}}",
        f".quiet{{fill:{DARK.muted}}}",
        f".ink{{stroke:{DARK.ink};fill:{DARK.background}}}",
        f".cluster path{{fill:{DARK.cluster_fill};stroke:{DARK.cluster_stroke}}}",
        f".cluster text{{fill:{DARK.muted}}}",
    ]
    rules += [
        rule for kind in kinds for rule in _dark_edge(str(kind), EDGES[kind].dark, open_head=EDGES[kind].open_head)
    ]
    extra = {EdgeState.OLD: DARK.old_edge, EdgeState.CYCLE: DARK.cycle_edge}
    rules += [
        rule
        for state in edge_states
        if state in extra
        for rule in _dark_edge(str(state), extra[state], open_head=False)
    ]
    rules += [f".{kind} polygon{{fill:{DARK.background}}}" for kind in kinds if EDGES[kind].open_head]
    for state in states:
        colours = STATES[state].dark
        rules += [
            f".{state} polygon,.{state} path,.{state} polyline{{stroke:{colours.stroke}}}",
            f".{state} polygon:not([fill=none]),.{state} path:not([fill=none]){{fill:{colours.fill}}}",
            f".{state} text{{fill:{colours.text}}}",
        ]
    rules += [f".{look.name} polygon,.{look.name} path{{stroke:{look.dark}}}" for look in ACCUSED.values()]
    return f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"


def _dark_edge(name: str, colour: str, *, open_head: bool) -> list[str]:
    head = (
        f".{name} polygon{{stroke:{colour}}}"
        if open_head
        else f".{name} polygon,.{name} ellipse{{stroke:{colour};fill:{colour}}}"
    )
    return [f".{name} path,.{name} polyline{{stroke:{colour}}}", head, f".{name} text{{fill:{colour}}}"]
