"""The picture of a change."""

from __future__ import annotations

import pytest
from drawing import graph_of

from migrate_graph.core.comparison import compare
from migrate_graph.core.graph import MigrationGraph
from migrate_graph.core.states import states_of
from migrate_graph.render import FORMATS, PictureOptions, render
from migrate_graph.render.compose.change import picture_of_change
from migrate_graph.render.picture import Picture, PictureInput


def graph(path: str, *others: str, **bodies: str) -> MigrationGraph:
    marks = {name: {"facts": {"fingerprint": mark}} for name, mark in bodies.items()}
    return graph_of(path, *others, views={'Q"]<script>': {"since": "d"}} if "d" in bodies else None, migrations=marks)


BEFORE = graph("a < b < c", "x", a="1", b="2", c="3", x="4")
AFTER = graph("a < b < d", "x", a="1", b="9", d="5", x="4")


def change(before: MigrationGraph, after: MigrationGraph) -> Picture:
    found = compare(before=before, after=after)
    given = PictureInput(after, states_of(after))
    options = PictureOptions(title="shop")
    return picture_of_change(
        found, given, before=PictureInput(before, states_of(before)), revision="main\x1b[31m", options=options
    )


def test_the_change_is_drawn_with_what_it_hangs_on() -> None:
    states = {node.name: str(node.state) for node in change(BEFORE, AFTER).nodes}
    assert "x" not in states, "it has nothing to do with it"
    assert {name: states[name] for name in "bcd"} == {"b": "changed", "c": "removed", "d": "added"}
    assert states['Q"]<script>'] == "added"
    assert set(states) == {"a", "b", "c", "d", 'Q"]<script>'}


def test_a_change_of_nothing_draws_nothing() -> None:
    assert change(BEFORE, BEFORE).nodes == ()


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].text and name not in {"svg", "html"}])
def test_every_text_format_takes_it_alike_each_time_and_without_markup(name: str) -> None:
    picture = change(BEFORE, AFTER)
    first = render(picture, name)
    assert first == render(change(BEFORE, AFTER), name)
    assert b"\x1b" not in first
    if name in {"mermaid", "markdown", "graphml"}:
        assert b"<script>" not in first
