"""Every format, on a small graph kept as golden files, on a broken one, and on names that mean harm."""

import io
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import networkx as nx
import pytest
import wasmtime
from drawing import drawn, graph_of, history_of, migration_of

from migrate_graph.core.graph import build_graph
from migrate_graph.core.history import History, Record
from migrate_graph.core.model import Registry, View
from migrate_graph.core.plan import build_plan
from migrate_graph.core.rules import check
from migrate_graph.errors import UsageError
from migrate_graph.render import FORMATS, PictureOptions, Renderer, format_of, render
from migrate_graph.render.formats.dot import to_dot
from migrate_graph.render.formats.lanes import to_lines, to_text
from migrate_graph.render.formats.mermaid import MOST_CHARACTERS, MOST_OF_A_COMMENT
from migrate_graph.render.formats.svg import to_svg
from migrate_graph.render.layout import engine as layout
from migrate_graph.render.layout import worker
from migrate_graph.render.layout.engine import LayoutTimeout, lay_out
from migrate_graph.render.picture import Picture, Question
from migrate_graph.user_files import SourceLocation

GOLDEN = Path(__file__).with_name("golden")
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    'a"b',
    "back\\slash",
    "ends\\",
    "<script>alert(1)</script>",
    "</title><script>alert(2)</script>",
    "]]>",
    "-->",
    "%%{init: {'securityLevel': 'loose'}}%%",
    "new\nline",
    "nul\x00byte",
    "\x1b[31mred\x1b[0m",
    "\u202eevil\u202c",
    "עברית",
    "日本語",
    "x:y:n",
    "x]; evil [label=owned",
    "a&b;",
    "&lt;",
    "`tick`",
    "[red]bold[/red]",
    "<b>html</b>",
    "<>",
    "emoji 🎉",
    "end",
    "graph",
    "#quot;",
    "--",
    "%0A",
    "{{x}}",
    '" onload="alert(3)',
    "javascript:alert(4)",
    "N" * 300,
    "\\N\\G\\E",
    " leading and  double ",
    "a|b",
]


def shop() -> Picture:
    graph = graph_of(
        "create_orders_20260105_001 < add_status_20260126_002 < drop_legacy_20260330_001",
        "create_orders_20260105_001 < create_lines_20260105_002 < in_cents_20260309_001",
        migrations={
            "in_cents_20260309_001": {"touches": ["OrderTotals_V1"], "module": "orders.py"},
        },
        views={
            "OrderTotals_V1": {"since": "create_lines_20260105_002"},
            "OrderTotals_V2": {"since": "in_cents_20260309_001", "replaces": "OrderTotals_V1"},
            "Dashboard": {"uses": "OrderTotals_V2", "until": "drop_legacy_20260330_001"},
        },
    )
    history = history_of(
        "create_orders_20260105_001 create_lines_20260105_002 gone_20200101_001", failed="add_status_20260126_002"
    )
    options = PictureOptions(title="shop · sqlite:///shop.db")
    return drawn(Question.PLAN, graph, build_plan(graph, history), history, check(graph, history), options=options)


def broken() -> Picture:
    graph = graph_of("x < a < b < a", "(missing) < a", views={"V": {"uses": "W"}, "W": {"uses": "V"}})
    return drawn(Question.CHECK, graph, findings=check(graph))


def hostile() -> Picture:
    migrations = tuple(
        migration_of(name, HOSTILE[place - 1 : place], place, source=SourceLocation(name, 1), module=name)
        for place, name in enumerate(HOSTILE)
    )
    views = tuple(
        View(
            name,
            type("V", (), {}),
            since=name,
            description=name,
            source=SourceLocation(name, 1),
            module=name,
            position=place,
        )
        for place, name in enumerate(HOSTILE)
    )
    graph = build_graph(Registry(migrations, views))
    records = {name: Record(name, installed=True) for name in [HOSTILE[0], *(f"{name} gone" for name in HOSTILE[:3])]}
    history = History(records)
    options = PictureOptions(title="".join(HOSTILE), everything=True, link_template="https://x/{file}#L{line}")
    return drawn(Question.GRAPH, graph, build_plan(graph, history), history, check(graph, history), options=options)


@cache
def written(make: Callable[[], Picture], name: str) -> bytes:
    """Write a picture once for all tests that look at it: a layout costs a process."""
    return render(make(), name)


# Golden files -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dot", "mermaid", "json", "text", "markdown"])
@pytest.mark.parametrize("make", [shop, broken])
def test_text_formats_stay_as_they_are(name: str, make: Any) -> None:
    path = GOLDEN / f"{make.__name__}{FORMATS[name].suffixes[0]}"
    found = render(make(), name)
    if os.environ.get("GOLDEN_UPDATE"):  # noqa: TID251 - the switch of this test
        path.write_bytes(found)
    assert found.decode() == path.read_text(), f"look at it, then: GOLDEN_UPDATE=1 pytest {__file__}"


def test_hash_seeds_and_processes_change_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, hashlib; sys.path[:0] = sys.argv[1:]\n"
        "from test_render_formats import shop, hostile\n"
        "from migrate_graph.render import render\n"
        "for make in (shop, hostile):\n"
        "    for name in ('dot', 'mermaid', 'json', 'text', 'graphml', *(['svg'] if make is shop else [])):\n"
        "        print(hashlib.sha256(render(make(), name)).hexdigest())\n"
    )
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, str(here), str(here.parent)]
    outputs = {
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},  # noqa: TID251 - a child needs its parent's environment
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1


# Every format -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [shop, broken, hostile])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_draws_every_graph(name: str, make: Any) -> None:
    if name == "pdf" and layout.shutil.which("dot") is None:
        pytest.skip("PDF needs a system Graphviz, and there is none here")
    content = written(make, name)
    assert len(content) > 100
    if FORMATS[name].text:
        content.decode()


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_format_follows_the_suffix(name: str) -> None:
    for suffix in FORMATS[name].suffixes:
        assert format_of(Path(f"out{suffix.upper()}")) == name


@pytest.mark.parametrize(
    ("path", "hint"), [("out.xyz", ".svg"), ("out", ".svg"), ("plan.svgg", "did you mean plan.svg")]
)
def test_an_unknown_suffix_lists_the_known_ones(path: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        format_of(Path(path))
    assert hint in caught.value.hint


def test_an_unknown_format_or_renderer_is_an_error() -> None:
    with pytest.raises(UsageError, match="no format is called 'bmp'"):
        render(shop(), "bmp")
    with pytest.raises(UsageError, match="no renderer is called 'neato'"):
        render(shop(), "svg", renderer="neato")


# DOT --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_dot_holds_what_the_embedded_graphviz_can_draw(make: Any) -> None:
    dot = to_dot(make())
    assert not re.search(r"(?:label|tooltip|URL)=<", dot), "HTML-like labels degrade silently: built without expat"
    assert set(re.findall(r"fontname=(\S+?)[\] ,]", dot)) == {"Courier"}
    assert "\x00" not in dot


@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_graphviz_reads_back_as_many_nodes_and_edges(make: Any) -> None:
    picture = make()
    laid_out = json.loads(lay_out(to_dot(picture), wanted="json"))
    nodes = [each for each in laid_out["objects"] if "nodes" not in each]
    assert len(nodes) == len(picture.nodes)
    visible = [each for each in laid_out.get("edges", []) if each.get("style") != "invis"]
    assert len(visible) == len(picture.edges)


# SVG --------------------------------------------------------------------------------------------------------------------------


def boxes_of(make: Callable[[], Picture]) -> bytes:
    """Draw boxes whatever their number, as the page does."""
    return to_svg(make(), zoomable=True)


@pytest.mark.parametrize("draw", [lambda make: written(make, "svg"), boxes_of])
@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_svg_is_what_a_page_may_embed(make: Any, draw: Any) -> None:
    picture = make()
    svg = draw(make).decode()
    root = ET.fromstring(svg)
    groups = [group.get("class", "") for group in root.iter(f"{SVG}g")]
    assert sum(name.startswith("node ") for name in groups) == len(picture.nodes)
    if make is not hostile or draw is boxes_of:  # rows say what leads to a view in words
        assert sum(name.startswith("edge ") for name in groups) >= len(picture.edges)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == picture.title  # type: ignore[union-attr]
    assert root.find(f"{SVG}desc").text.startswith(picture.subtitle)  # type: ignore[union-attr]
    for element in root.iter():
        assert element.tag not in {f"{SVG}script", f"{SVG}foreignObject", f"{SVG}image", f"{SVG}use"}
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            if name.endswith("href"):
                assert value.startswith("https://x/")
    assert "@import" not in svg
    assert "url(" not in svg


@pytest.mark.parametrize("draw", [lambda make: written(make, "svg"), boxes_of])
def test_every_node_says_its_whole_name(draw: Any) -> None:
    picture = hostile()
    root = ET.fromstring(draw(hostile))
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    for node in picture.nodes:
        inside = [text.text or "" for text in groups[node.key].iter(f"{SVG}text")]
        joined = "".join(inside).replace(" ", "")
        assert "".join(node.label).replace(" ", "") in joined
        assert groups[node.key].find(f"{SVG}title").text == node.tooltip  # type: ignore[union-attr]


def test_who_hears_a_picture_is_told_what_runs_and_what_is_stuck() -> None:
    description = ET.fromstring(written(shop, "svg")).find(f"{SVG}desc").text  # type: ignore[union-attr]
    assert description.endswith(
        "named, but not in the code: gone_20200101_001. "
        "Runs 1 add_status_20260126_002, 2 drop_legacy_20260330_001, 3 in_cents_20260309_001"
    )


def test_the_legend_holds_what_occurs_and_no_more() -> None:
    graph = graph_of("a < b")
    plain = render(drawn(Question.GRAPH, graph), "svg").decode()
    assert "requires (runs first" in plain
    for absent in ("touches", "failed", "in a cycle", "octagon", ">view<"):
        assert absent not in plain
    assert "in a cycle" in written(broken, "svg").decode()


def test_links_are_drawn_only_when_asked_for() -> None:
    assert b"<a " not in written(shop, "svg")


@pytest.mark.parametrize("draw", [lambda make: written(make, "svg"), boxes_of])
def test_letters_fit_their_boxes(draw: Any) -> None:
    picture = hostile()
    root = ET.fromstring(draw(hostile))
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    for node in picture.nodes:
        group = groups[node.key]
        points = next(group.iter(f"{SVG}polygon")).get("points", "").split()
        left, right = (pick(float(point.split(",")[0]) for point in points) for pick in (min, max))
        for text in group.iter(f"{SVG}text"):
            start = float(text.get("x", ""))
            assert left <= start
            assert start + 6 * len(text.text or "") <= right + 0.5


# PNG, PDF, renderers ----------------------------------------------------------------------------------------------------------


def test_png_is_a_picture_with_letters() -> None:
    with_names = written(shop, "png")
    assert with_names.startswith(b"\x89PNG")
    width, height = (int.from_bytes(with_names[place : place + 4], "big") for place in (16, 20))
    assert width > 1000
    assert height > 300


def test_a_layout_over_the_limit_is_ended_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_run", lambda *_: (_ for _ in ()).throw(LayoutTimeout))
    with pytest.raises(UsageError, match="took too long") as caught:
        render(shop(), "html")
    assert "--focus" in caught.value.hint
    assert b"create_orders_20260105_001" in render(shop(), "svg")  # rows need no layout


def test_the_limit_really_ends_the_process() -> None:
    tangle = "".join(f"a{one} -> a{(one * 37 + step * 101) % 700};" for one in range(700) for step in range(1, 4))
    with pytest.raises(LayoutTimeout):
        lay_out(f"digraph {{ {tangle} }}", limit=1)


def test_time_on_the_clock_of_a_busy_machine_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dot").write_text("#!/bin/sh\nsleep 1.5\nexec cat\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert lay_out("digraph {}", renderer=Renderer.DOT, limit=1) == b"digraph {}"


def test_graphviz_is_compiled_once_for_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    svg = lay_out("digraph {}")
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 100_000]
    assert len(kept) == 1
    inode = kept[0].stat()
    assert lay_out("digraph {}") == svg
    assert kept[0].stat().st_ino == inode.st_ino
    assert kept[0].stat().st_mtime_ns == inode.st_mtime_ns


def test_graphviz_is_compiled_quickly_for_a_small_picture_and_well_for_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def kept() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 100_000}

    dot = to_dot(shop())
    small = lay_out(dot)
    (quick,) = kept()
    large = lay_out(dot + " " * 120_000)
    (well,) = kept() - {quick}
    assert large == small
    assert quick.stat().st_size != well.stat().st_size
    assert lay_out(dot) == small
    assert kept() == {quick, well}


@pytest.mark.parametrize("machine", ["x86_64", "riscv64"])
def test_a_small_picture_is_compiled_by_the_quickest_compiler_that_the_processor_has(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the picture is the same, to the byte, as the one of the code that is compiled well."""
    if machine == "x86_64" and platform.machine() not in {"x86_64", "AMD64"}:
        pytest.skip("Winch is asked for on x86-64 only, and this is none")
    chosen: list[int] = []
    choose = wasmtime._ffi.wasmtime_config_strategy_set

    def chooses(config: object, strategy: int) -> None:
        chosen.append(strategy)
        choose(config, strategy)

    monkeypatch.setattr(wasmtime._ffi, "wasmtime_config_strategy_set", chooses)
    monkeypatch.setattr(worker.platform, "machine", lambda: machine)
    engine, dot = wasmtime.Engine, to_dot(shop())
    quick = worker._drawn(wasmtime, dot, "svg", quickly=True)
    winch = list(wasmtime._ffi.wasmtime_strategy_enum).index(wasmtime._ffi.wasmtime_strategy_enum[worker._WINCH])
    assert chosen == ([winch] if machine == "x86_64" else [])
    assert quick == worker._drawn(wasmtime, dot, "svg", quickly=False)
    assert len(chosen) <= 1
    assert wasmtime.Engine is engine


def test_what_the_quick_compiler_cannot_do_is_compiled_well(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    tried: list[bool] = []
    drawn_as_ever = worker._drawn

    def fails_when_quick(*words: Any, quickly: bool) -> bytes:
        tried.append(quickly)
        if quickly:
            raise wasmtime.WasmtimeError("Unimplemented")
        return drawn_as_ever(*words, quickly=quickly)

    monkeypatch.setattr(worker, "_drawn", fails_when_quick)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"digraph {}")))
    assert worker._embedded("svg") == 0
    assert tried == [True, False]
    out, err = capsysbinary.readouterr()
    assert b"<svg" in out
    assert not err


def test_where_no_cache_can_be_written_the_picture_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    svg = lay_out("digraph {}")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert lay_out("digraph {}") == svg


def test_a_second_try_takes_less_care(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = layout._run

    def slow_once(dot: str, limit: int, *words: str) -> subprocess.CompletedProcess[bytes]:
        seen.append(dot)
        if len(seen) == 1:
            raise LayoutTimeout
        return original(dot, limit, *words)

    monkeypatch.setattr(layout, "_run", slow_once)
    assert render(shop(), "svg").startswith(b"<svg")
    assert "nslimit" not in seen[0]
    assert "splines=line" in seen[1]


def test_without_a_system_graphviz_pdf_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout.shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="PDF needs a system Graphviz") as caught:
        render(shop(), "pdf")
    assert ".svg" in caught.value.hint
    with pytest.raises(UsageError, match="--renderer dot needs a system Graphviz"):
        render(shop(), "svg", renderer="dot")
    with pytest.raises(UsageError, match="cannot write PDF"):
        lay_out(to_dot(shop()), wanted="pdf", renderer=Renderer.EMBEDDED)


def test_what_graphviz_refuses_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout.shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="could not draw this"):
        lay_out("this is no graph {")


def test_a_system_graphviz_draws_the_same_nodes() -> None:
    if layout.shutil.which("dot") is None:
        pytest.skip("no system Graphviz here")
    picture = shop()
    ours, theirs = ET.fromstring(written(shop, "svg")), ET.fromstring(render(picture, "svg", renderer="dot"))
    ids = [{group.get("id") for group in root.iter(f"{SVG}g")} for root in (ours, theirs)]
    assert {node.key for node in picture.nodes} <= ids[0] & ids[1]


def test_a_module_of_the_users_cannot_stand_in_for_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported the wrong json')")
    (tmp_path / "struct.py").write_text("raise SystemExit('imported the wrong struct')")
    monkeypatch.chdir(tmp_path)
    assert render(shop(), "svg").startswith(b"<svg")


def test_a_program_without_a_main_guard_can_draw(tmp_path: Path) -> None:
    here = Path(__file__).parent
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]\n"
        "from test_render_formats import shop\nfrom migrate_graph.render import render\n"
        "print('started'); print(len(render(shop(), 'svg')) > 1000)\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", "True"]


# Mermaid and Markdown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_mermaid_keeps_the_count_and_nothing_leaves_its_quotes(make: Any) -> None:
    picture = make()
    lines = render(picture, "mermaid").decode().splitlines()
    boxes = [
        line for line in lines if re.fullmatch(r'  n\d+(?:\[|\{\{|\[\[|\[\()"[^"]*"(?:\]|\}\}|\]\]|\)\]):::\w+', line)
    ]
    arrows = [line for line in lines if re.fullmatch(r"  n\d+ \S+ n\d+", line)]
    assert len(boxes) == len(picture.nodes)
    assert len(arrows) == len(picture.edges)
    rest = [line for line in lines if line not in boxes and line not in arrows]
    assert all(re.match(r"flowchart |  classDef |  linkStyle ", line) for line in rest)
    for box in boxes:
        inside = box.split('"')[1].replace("<br/>", "")
        assert not re.search(r"[<>`]|%%", inside)
    assert not any(line.strip().startswith("%%") for line in lines)


def test_mermaid_folds_before_the_hosts_refuse() -> None:
    graph = graph_of(" < ".join(f"m{number:03d}" for number in range(200)))
    history = history_of([f"m{number:03d}" for number in range(180)])
    picture = drawn(Question.GRAPH, graph, build_plan(graph, history), history, options=PictureOptions(everything=True))
    mermaid = render(picture, "mermaid").decode()
    assert mermaid.count(":::pending") == 20
    assert ":::applied" not in mermaid
    large = drawn(Question.GRAPH, graph, options=PictureOptions(everything=True))
    assert "too many for Mermaid" in render(large, "mermaid").decode()


def test_mermaid_and_markdown_stay_within_their_limits() -> None:
    names = [f"{'long_name_' * 25}{number:03d}" for number in range(110)]
    graph = graph_of(" < ".join(names))
    picture = drawn(Question.PLAN, graph, build_plan(graph, History()), History())
    assert len(render(picture, "mermaid")) <= MOST_CHARACTERS
    markdown = render(picture, "markdown").decode()
    assert len(markdown) <= MOST_OF_A_COMMENT
    many = graph_of(" < ".join(f"{'long_name_' * 50}{number:03d}" for number in range(400)))
    picture = drawn(Question.PLAN, many, build_plan(many, History()), History(), options=PictureOptions(limit=0))
    markdown = render(picture, "markdown").decode()
    assert len(markdown) <= MOST_OF_A_COMMENT
    assert re.search(r"… and \d+ more", markdown)


def test_markdown_of_hostile_names_is_only_text() -> None:
    report = render(hostile(), "markdown").decode().partition("<details>")[0]
    outside = re.sub(r"`[^`\n]*`", "", report)
    assert not re.search(r"(?<!\\)<(?!summary|/summary)", outside)
    assert not re.search(r"(?<!\\)!\[", outside)


# JSON and GraphML -------------------------------------------------------------------------------------------------------------


def test_json_is_node_link_and_never_cut() -> None:
    graph = graph_of(" < ".join(f"m{number:03d}" for number in range(300)), "m000 < m002")
    history = history_of([f"m{number:03d}" for number in range(290)])
    document = json.loads(render(drawn(Question.PLAN, graph, build_plan(graph, history), history), "json"))
    assert document["schema_version"] == 1
    read = nx.node_link_graph(document, edges="links")
    assert read.number_of_nodes() == 300
    assert read.number_of_edges() == 300
    assert sum(attributes["drawn"] for _, attributes in read.nodes(data=True)) == document["graph"]["shown"] == 11
    implied = [pair for *pair, attributes in read.edges(data=True) if attributes["implied"]]
    assert implied == [["m.m000", "m.m002"]]


@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_graphml_reads_back(make: Any, tmp_path: Path) -> None:
    picture = make()
    path = tmp_path / "graph.graphml"
    path.write_bytes(render(picture, "graphml"))
    read = nx.read_graphml(path)
    whole = picture.whole or picture
    assert read.number_of_nodes() == len(whole.nodes)
    assert {attributes["name"] for _, attributes in read.nodes(data=True)} == {node.name for node in whole.nodes}


# Terminal ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_lanes_never_cut_a_name_and_otherwise_fit(make: Any, width: int) -> None:
    picture = make()
    lines = to_lines(picture, width=width)
    text = "\n".join(line.text for line in lines)
    for node in picture.nodes:
        assert node.name in text
    for line in lines:
        named = max((len(node.name) for node in picture.nodes if node.name in line.text), default=0)
        assert len(line.text) <= max(width, named + 50)


@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_the_terminal_gets_no_raw_control_character(make: Any) -> None:
    text = to_text(make())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@pytest.mark.parametrize("make", [shop, broken, hostile])
def test_ascii_is_ascii_and_says_the_same(make: Any) -> None:
    picture = make()
    plain, fancy = to_text(picture, ascii_only=True), to_text(picture)
    assert plain.isascii()
    assert len(plain.splitlines()) == len(fancy.splitlines())


def test_more_lanes_than_help_are_said_in_words() -> None:
    wide = graph_of(
        *(f"root < leaf{number:02d} < end{number:02d}" for number in range(20)),
        *(f"mid < end{n:02d}" for n in range(20)),
    )
    text = to_text(drawn(Question.GRAPH, wide, options=PictureOptions(everything=True)))
    assert "after #1" in text
    assert "│" not in text


def test_strangers_never_look_like_a_chain() -> None:
    lines = [line.text for line in to_lines(drawn(Question.GRAPH, graph_of("a", "b", "c")))]
    columns = [line.index("○") for line in lines if "○" in line]
    assert all(one != other for one, other in pairwise(columns))


def test_two_thousand_nodes_are_written_as_text_in_no_time() -> None:
    wide = graph_of(*(f"root < m{number:04d} < end{number // 50:04d}" for number in range(2000)))
    picture = drawn(Question.GRAPH, wide, options=PictureOptions(everything=True))
    started = time.process_time()
    to_text(picture)
    assert time.process_time() - started < 2, "it took 10 s when cutting a note was quadratic"


def test_the_plan_of_two_thousand_draws_what_runs() -> None:
    graph = graph_of(" < ".join(f"m{number:04d}" for number in range(2000)))
    history = history_of([f"m{number:04d}" for number in range(1960)])
    picture = drawn(Question.PLAN, graph, build_plan(graph, history), history)
    assert len(picture.nodes) == 41, "so it takes no longer than a small one"
    assert render(picture, "svg").count(b'class="node migration') == 41
