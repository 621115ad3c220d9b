"""Where boxes would be too small to read, pictures are rows: a line each, lanes at the left, what is said of it at the right."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from drawing import drawn, graph_of, history_of, registry_of

from migrate_graph.core.graph import build_graph
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
from migrate_graph.render import Grouping, PictureOptions
from migrate_graph.render.formats.svg import to_svg
from migrate_graph.render.picture import Picture
from migrate_graph.render.style import TIMES

SVG = "{http://www.w3.org/2000/svg}"
COLUMN = 838
"""Pixels that a code host gives a picture."""
GALLERY = sorted((Path(__file__).parents[2] / "docs" / "pictures").glob("*.svg"))
LEAST = 7
"""Pixels of a letter that can be read."""


def plan_of(*paths: str, applied: str = "", options: PictureOptions | None = None, **fields: Any) -> Picture:
    graph = graph_of(*paths, **fields)
    history = history_of(applied)
    return drawn("plan", graph, build_plan(graph, history), history, options=options)


def chain(size: int) -> str:
    return " < ".join(f"step_{number:03d}_of_the_rename_20260101_{number:03d}" for number in range(size))


def least_letter(svg: bytes) -> float:
    """Return the height of the smallest letters, in pixels of a column of a code host."""
    root = ET.fromstring(svg)
    shown = min(1.0, COLUMN / (float(root.get("viewBox", "").split()[2]) * 96 / 72))
    return min(float(text.get("font-size", "")) * 96 / 72 * shown for text in root.iter(f"{SVG}text"))


def is_rows(svg: bytes) -> bool:
    """Return whether it is rows: Graphviz writes sizes with two digits."""
    return b'font-size="10.00"' not in svg


def texts(svg: bytes, name: str) -> list[str]:
    root = ET.fromstring(svg)
    group = next(each for each in root.iter(f"{SVG}g") if each.get("id") == name)
    return [text.text or "" for text in group.iter(f"{SVG}text")]


def fan(size: int) -> Picture:
    return plan_of(*(f"root < leaf_{number:03d}_of_the_fan" for number in range(size)))


def views(size: int) -> Picture:
    names = {f"OneOfVeryManyViews{number:04d}": {"since": "opener"} for number in range(size)}
    return plan_of("opener", views=names, migrations={"opener": {"touches": names}})


def modules(size: int) -> Picture:
    paths = [
        f"m{number}_{step} < m{other}_{step + 1}"
        for number in range(size)
        for step in range(3)
        for other in (number, (number * 7 + 1) % size)
    ]
    graph = build_graph(
        registry_of(
            *paths,
            migrations={
                f"m{number}_{step}": {"module": f"application_{number:02d}.py"}
                for number in range(size)
                for step in range(4)
            },
        )
    )
    return drawn("graph", graph, options=PictureOptions(grouping=Grouping.MODULE))


def braid(lanes: int, length: int) -> Picture:
    return plan_of(
        *(
            f"lane_{lane:02d}_step_{step:03d} < lane_{lane:02d}_step_{step + 1:03d}"
            for lane in range(lanes)
            for step in range(length)
        )
    )


def long_names(size: int) -> Picture:
    return plan_of(
        *(f"{'a_very_long_name_' * 4}{number} < {'a_very_long_name_' * 4}{number + 1}" for number in range(size))
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: plan_of(chain(4)),
        lambda: plan_of(chain(9)),
        lambda: plan_of(chain(300)),
        lambda: fan(5),
        lambda: fan(60),
        lambda: fan(400),
        lambda: views(30),
        lambda: views(600),
        lambda: modules(4),
        lambda: modules(29),
        lambda: braid(3, 3),
        lambda: braid(12, 8),
        lambda: braid(60, 3),
        lambda: long_names(5),
        lambda: long_names(40),
    ],
)
def test_no_letter_is_too_small_to_be_read_on_a_page(make: Any) -> None:
    assert least_letter(to_svg(make())) >= LEAST


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_no_letter_of_the_gallery_is_too_small(path: Path) -> None:
    assert least_letter(path.read_bytes()) >= LEAST


def test_a_short_plan_is_boxes_and_a_chain_is_rows() -> None:
    assert not is_rows(to_svg(plan_of("a < b < d", "a < c < d")))
    assert is_rows(to_svg(plan_of(chain(20))))
    assert not is_rows(to_svg(plan_of(chain(20)), zoomable=True))


def test_a_row_says_its_place_its_name_and_what_it_does_to_views() -> None:
    picture = plan_of(
        chain(12),
        applied="step_000_of_the_rename_20260101_000",
        views={"Totals": {"since": "step_003_of_the_rename_20260101_003"}},
        migrations={"step_003_of_the_rename_20260101_003": {"touches": ["Totals"]}},
    )
    svg = to_svg(picture)
    assert is_rows(svg)
    assert texts(svg, "m.step_003_of_the_rename_20260101_003") == [
        "▶ step_003_of_the_rename_20260101_003",
        "views +1; creates Totals",
    ]
    assert texts(svg, "v.Totals") == ["+ Totals", "new ↑#3; since step_003_of_the_rename_20260101_003"]
    numbers = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert numbers == [str(place) for place in range(1, 12)]


def test_every_requirement_is_a_lane_or_a_word() -> None:
    svg = to_svg(braid(12, 8))
    lanes = re.findall(rb'data-before="m\.(\w+)" data-after="m\.(\w+)"', svg)
    assert len(set(lanes)) == 12 * 8 == len(lanes)
    wide = to_svg(plan_of(*(f"root_{number:02d} < last" for number in range(60))))
    assert b"data-before" not in wide  # more lanes than there is room for
    assert texts(wide, "m.last")[1] == "after #1, #2, #3, #4, #5, #6 and 54 more"


def test_lanes_end_where_their_rows_are() -> None:
    root = ET.fromstring(to_svg(braid(12, 8)))
    dots: dict[str, tuple[float, float]] = {}
    for group in root.iter(f"{SVG}g"):
        if group.get("class", "").startswith("node"):
            *_, dot = group.iter(f"{SVG}polygon")
            corners = [tuple(map(float, pair.split(","))) for pair in dot.get("points", "").split()]
            dots[group.get("id", "")] = tuple(sum(pair[axis] for pair in corners) / len(corners) for axis in (0, 1))  # type: ignore[assignment]
    for group in root.iter(f"{SVG}g"):
        if group.get("class", "").startswith("edge"):
            path = next(group.iter(f"{SVG}path")).get("d", "")
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
            assert tuple(numbers[:2]) == pytest.approx(dots[group.get("data-before", "")], abs=0.1)
            end = dots[group.get("data-after", "")]
            assert numbers[-1] == pytest.approx(end[1], abs=0.1)


def test_a_ring_among_many_says_what_should_come_first() -> None:
    graph = graph_of(chain(30), "step_020_of_the_rename_20260101_020 < step_010_of_the_rename_20260101_010")
    picture = drawn("graph", graph, findings=check(graph), options=PictureOptions(everything=True))
    told = texts(to_svg(picture), "m.step_010_of_the_rename_20260101_010")
    assert any("below it, but first: step_020_of_the_rename_20260101_020" in line for line in told)


def test_a_wide_overview_counts_what_stands_between_modules() -> None:
    svg = to_svg(modules(29))
    assert is_rows(svg)
    assert any(
        re.fullmatch(rf"(\d+ migrations.*; )?after application_\d\d.py {TIMES}\d.*", line)
        for line in texts(svg, "f.application_08.py")
    )


def test_of_very_many_views_the_first_are_drawn_and_the_rest_counted() -> None:
    picture = views(600)
    assert len(picture.nodes) == 101
    assert "first 100 of 600 views" in picture.subtitle
    assert any("and 594 more" in line for line in texts(to_svg(picture), "m.opener"))
    every = plan_of(
        "opener",
        views={f"V{number}": {"since": "opener"} for number in range(600)},
        migrations={"opener": {"touches": [f"V{number}" for number in range(600)]}},
        options=PictureOptions(everything=True),
    )
    assert len(every.nodes) == 601


def test_a_graph_of_very_many_views_shows_the_newest() -> None:
    names = {f"V{number}": {"since": "opener"} for number in range(600)}
    picture = drawn("graph", graph_of("opener", views=names, migrations={"opener": {"touches": names}}))
    assert len(picture.nodes) <= 100
    assert "V599" in {node.name for node in picture.nodes}
