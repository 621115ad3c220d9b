"""The HTML page in a real browser: offline, by mouse and by keyboard, light and dark, with harmless and with harmful names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawing import drawn, graph_of, history_of, migration_of

from migrate_graph.core.graph import MigrationGraph, build_graph
from migrate_graph.core.history import Attempt, AttemptState, History, Record
from migrate_graph.core.model import Registry
from migrate_graph.core.plan import build_plan
from migrate_graph.render import PictureOptions, render
from migrate_graph.render.picture import Question
from migrate_graph.user_files import SourceLocation

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "a\"b'c",
    "javascript:alert(3)",
    "x&y;",
    "\u202eevil",
    "%41:#/",
]


PATIENCE = 120_000
"""Milliseconds that a busy machine may take to do what is waited for."""


class Visit:
    """One page in one browser window, with everything that went wrong on it.

    Args:
        counted: `work` says what its scripts do.
    """

    def __init__(
        self, browser: Any, path: Path, *, scheme: str = "light", fragment: str = "", counted: bool = False
    ) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": 1400, "height": 860})
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        if counted:
            self._tools = self.context.new_cdp_session(self.page)
            self._tools.send("Performance.enable")
            self._tools.send("Profiler.enable")
            self._tools.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": True})
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._requested)
        self.page.goto(path.as_uri() + fragment)
        self.page.wait_for_selector("html[data-ready]")
        self.settle()

    def _requested(self, request: Any) -> None:
        if not request.url.startswith("file:"):
            self.complaints.append(f"requested {request.url}")

    def node(self, key: str) -> Any:
        return self.page.locator(f'main [id="{key}"]')

    def classes(self, key: str) -> set[str]:
        return set((self.node(key).get_attribute("class") or "").split())

    def settle(self) -> None:
        """Wait until the page has done what it does a moment later: what it has put off, and the next picture on the screen."""
        self.page.evaluate("() => new Promise(done => setTimeout(() => requestAnimationFrame(() => setTimeout(done))))")

    def choose(self, key: str) -> None:
        """Go to a node by the address of the page, and wait until its panel is open."""
        self.page.evaluate("key => { location.hash = encodeURIComponent(key); }", key)
        self.page.wait_for_function("key => document.querySelector('g.node.selected')?.id === key", arg=key)
        self.settle()

    def work(self) -> tuple[int, int]:
        """Return what was done since it was last asked: blocks of code that scripts ran, and how often the page was laid out."""
        scripts = self._tools.send("Profiler.takePreciseCoverage")["result"]
        blocks = sum(
            part["count"] for script in scripts for function in script["functions"] for part in function["ranges"]
        )
        metrics = {each["name"]: each["value"] for each in self._tools.send("Performance.getMetrics")["metrics"]}
        layouts, self._layouts = metrics["LayoutCount"] - getattr(self, "_layouts", 0), metrics["LayoutCount"]
        return blocks, int(layouts)

    def transform(self) -> str:
        self.settle()
        return str(self.page.locator("g.scene").evaluate("element => element.style.transform"))


def large() -> MigrationGraph:
    path = " < ".join(f"m{number:03d}_20260101_{number:03d}" for number in range(80))
    return graph_of(
        path,
        "m070_20260101_070 < side_20260301_001",
        migrations={"m078_20260101_078": {"touches": ["Report"]}},
        views={"Report": {"since": "m010_20260101_010"}, "Dashboard": {"uses": "Report"}},
    )


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = large()
    applied = [name for name in graph.migrations if name < "m076"]
    records = {name: Record(name, installed=True) for name in applied}
    failed = Attempt(1, "m076_20260101_076", "run", AttemptState.FAILED, error='column "vat" already exists')
    history = History({**records, failed.name: Record(failed.name, installed=False)}, (failed,))
    options = PictureOptions(title="shop", link_template="https://code.example/{file}#L{line}")
    picture = drawn(Question.PLAN, graph, build_plan(graph, history), history, options=options)
    path = tmp_path_factory.mktemp("page") / "plan.html"
    path.write_bytes(render(picture, "html"))
    return path


@pytest.fixture
def visit(chromium: Any, page_path: Path) -> Iterator[Visit]:
    visited = Visit(chromium, page_path)
    yield visited
    assert visited.complaints == []
    visited.context.close()


FAILED = "m.m076_20260101_076"


def test_two_pictures_in_two_tabs(visit: Visit) -> None:
    assert visit.page.locator("main g.node").count() < 20
    visit.page.get_by_role("button", name="all").click()
    assert visit.page.locator("main g.node").count() == 83


def test_a_click_opens_the_panel_and_escape_closes_it(visit: Visit) -> None:
    visit.node(FAILED).click()
    panel = visit.page.locator("aside").inner_text()
    assert "failed · again as #" in panel
    assert 'column "vat" already exists' in panel
    assert "migrations.py:761" in panel
    assert "runs after (76 in all)" in panel
    assert visit.page.url.endswith(f"#{FAILED}")
    assert visit.page.locator("aside a").get_attribute("href") == "https://code.example/migrations.py#L761"
    assert "selected" in visit.classes(FAILED)
    assert "faded" in visit.classes("m.side_20260301_001")
    assert "faded" not in visit.classes("m.m077_20260101_077")
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("aside").is_visible()
    assert "#" not in visit.page.url
    assert "faded" not in visit.classes("m.side_20260301_001")


def test_a_link_in_the_panel_walks_also_into_the_other_tab(visit: Visit) -> None:
    visit.node(FAILED).click()
    visit.page.locator("aside li button").first.click()
    assert "m075_20260101_075" in visit.page.locator("aside h2").inner_text()
    visit.page.locator("aside li button").first.click()
    assert "m074_20260101_074" in visit.page.locator("aside h2").inner_text()
    assert visit.page.locator("main g.node").count() == 83


def test_wheel_drag_and_keys_move_the_picture(visit: Visit) -> None:
    seen = [visit.transform()]
    visit.page.mouse.move(600, 400)
    visit.page.mouse.wheel(0, -300)
    seen.append(visit.transform())
    visit.page.mouse.down()
    visit.page.mouse.move(700, 460, steps=4)
    visit.page.mouse.up()
    seen.append(visit.transform())
    for key in ("+", "ArrowLeft", "-"):
        visit.page.keyboard.press(key)
        seen.append(visit.transform())
    assert all(one != other for one, other in zip(seen, seen[1:], strict=False)), seen  # noqa: RUF007
    assert not visit.page.locator("aside").is_visible()
    visit.page.keyboard.press("0")
    assert visit.transform() == seen[0]


def test_search_counts_and_enter_walks(visit: Visit) -> None:
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("pending migration")
    assert re.fullmatch(r"\d+ found", visit.page.locator("#hits").inner_text())
    visit.page.keyboard.press("Enter")
    first = visit.page.locator("aside h2").inner_text()
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("aside h2").inner_text() != first
    assert visit.page.locator("#hits").inner_text().startswith("2 of ")
    visit.page.locator("#search").fill("nothing is called this")
    assert visit.page.locator("#hits").inner_text() == "none found"


def test_filters_hide_nodes_and_their_arrows(visit: Visit) -> None:
    before = visit.page.locator("main g.edge:not(.gone)").count()
    visit.page.get_by_role("checkbox", name="applied").uncheck()
    assert visit.page.locator("main g.node.applied:not(.gone)").count() == 0
    assert visit.page.locator("main g.edge:not(.gone)").count() < before
    visit.page.get_by_role("checkbox", name="applied").check()
    visit.page.get_by_role("checkbox", name="view").uncheck()
    assert visit.page.locator("main g.node.view:not(.gone)").count() == 0
    assert visit.page.locator("main g.edge:not(.gone)").count() < before


def inside(visit: Visit, element: Any) -> bool:
    """Return whether an element lies inside the part of the page that shows the picture."""
    stage, box = visit.page.locator("main").bounding_box(), element.bounding_box()
    return bool(
        box["x"] >= stage["x"] - 1
        and box["y"] >= stage["y"] - 1
        and box["x"] + box["width"] <= stage["x"] + stage["width"] + 1
        and box["y"] + box["height"] <= stage["y"] + stage["height"] + 1
    )


def test_filter_by_module_brings_what_is_left_into_sight(visit: Visit) -> None:
    visit.page.get_by_role("button", name="all").click()
    visit.page.locator("#module").select_option("views.py")
    assert visit.page.locator("main g.node.migration:not(.gone)").count() == 0
    left = visit.page.locator("main g.node.view:not(.gone)")
    assert left.count() == 2
    visit.settle()
    assert all(inside(visit, each) for each in left.all())


def test_where_nothing_passes_the_filters_the_page_says_so(visit: Visit) -> None:
    visit.page.locator("#module").select_option("views.py")
    visit.page.get_by_role("checkbox", name="view").uncheck()
    assert visit.page.locator(".nothing").inner_text() == "Nothing in this view passes the filters."
    visit.page.get_by_role("checkbox", name="view").check()
    assert not visit.page.locator(".nothing").is_visible()


def test_fit_shows_all_of_a_picture_however_large(visit: Visit) -> None:
    visit.page.get_by_role("button", name="all").click()
    visit.page.get_by_role("button", name="Fit").click()
    visit.settle()
    assert all(inside(visit, each) for each in visit.page.locator("main g.node").all())


def focused(visit: Visit) -> str:
    return str(visit.page.evaluate("() => document.activeElement.id || document.activeElement.tagName"))


def test_the_picture_is_one_stop_and_arrow_keys_walk_along_the_edges(visit: Visit) -> None:
    assert (
        visit.page.locator('main g.node[role="button"][aria-label]').count()
        == visit.page.locator("main g.node").count()
    )
    assert visit.page.locator('main g.node[tabindex="0"]').count() == 1
    visit.page.locator('main g.node[tabindex="0"]').focus()
    visit.node(FAILED).focus()
    visit.page.keyboard.press("ArrowRight")
    assert focused(visit) == "m.m077_20260101_077"
    visit.page.keyboard.press("ArrowLeft")
    assert focused(visit) == FAILED
    assert visit.page.locator('main g.node[tabindex="0"]').count() == 1, "Tab comes back to where one was"
    visit.page.keyboard.press("Tab")
    assert not visit.page.evaluate("() => document.activeElement.closest('g.node')")


def test_what_has_the_focus_is_in_sight(visit: Visit) -> None:
    visit.page.get_by_role("button", name="all").click()
    visit.node("m.m000_20260101_000").focus()
    for _ in range(12):
        visit.page.keyboard.press("ArrowDown")
        visit.page.keyboard.press("ArrowRight")
    visit.settle()
    assert focused(visit) != "m.m000_20260101_000"
    assert inside(visit, visit.page.locator("main g.node:focus"))


def test_enter_goes_into_the_panel_and_escape_back(visit: Visit) -> None:
    visit.node(FAILED).focus()
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("aside h2").inner_text() == FAILED[2:]
    assert focused(visit) == "H2"
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("() => !!document.activeElement.closest('aside')")
    visit.page.keyboard.press("Escape")
    assert focused(visit) == FAILED
    assert not visit.page.locator("aside").is_visible()


def test_the_first_stop_skips_to_the_graph(visit: Visit) -> None:
    visit.page.keyboard.press("Tab")
    assert visit.page.locator(".skip:focus").is_visible()
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("() => !!document.activeElement.closest('g.node')")


def test_the_list_says_in_words_what_the_picture_shows(visit: Visit) -> None:
    visit.page.get_by_role("button", name="list").click()
    rows = visit.page.locator("tbody tr")
    assert rows.count() == 83
    first = [cell.inner_text() for cell in rows.first.locator("td").all()]
    assert first[:4] == ["1", FAILED[2:], "failed · again as #1", "m075_20260101_075"]
    assert first[5] == 'column "vat" already exists'
    assert not visit.page.locator("main svg").is_visible()
    rows.first.locator("button").click()
    assert visit.page.locator("aside h2").inner_text() == FAILED[2:]
    assert visit.page.locator("tr.selected").count() == 1
    visit.page.locator("#search").fill("report")
    assert visit.page.locator("tbody tr:not(.gone)").count() == 1
    assert visit.page.locator("#hits").inner_text() == "1 found"
    visit.page.locator("#search").fill("")
    visit.page.locator("#module").select_option("views.py")
    assert visit.page.locator("tbody tr:not(.gone)").count() == 2
    visit.page.locator("#module").select_option("")
    visit.page.get_by_role("button", name="plan").click()
    assert "selected" in visit.classes(FAILED), "what is chosen in the list is chosen in the picture"


def test_no_word_of_the_list_is_broken_beside_the_panel(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 980, "height": 860})
    visit.choose(FAILED)
    visit.page.get_by_role("button", name="list").click()
    heads, places = (visit.page.locator(name) for name in ("th", "td:first-child"))
    lines = "all => all.map(each => Math.round(each.clientHeight / parseFloat(getComputedStyle(each).lineHeight)))"
    assert set(heads.evaluate_all(lines)) == {1}
    one_line = "all => all.map(each => { const text = document.createRange(); text.selectNodeContents(each); return text.getClientRects().length; })"
    assert set(places.evaluate_all(one_line)) <= {0, 1}


def test_the_panel_covers_nothing(chromium: Any, page_path: Path) -> None:
    for width, height in ((1400, 860), (700, 900), (390, 780)):
        visited = Visit(chromium, page_path)
        visited.page.set_viewport_size({"width": width, "height": height})
        visited.settle()
        visited.choose(FAILED)
        panel, stage = (visited.page.locator(name).bounding_box() for name in ("aside", "main"))
        beside = panel["x"] >= stage["x"] + stage["width"] - 1 or panel["y"] >= stage["y"] + stage["height"] - 1
        assert beside, (width, panel, stage)
        assert visited.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), width
        visited.context.close()


def test_what_is_found_differs_by_more_than_a_border(visit: Visit) -> None:
    visit.page.locator("#search").fill("m077")
    found = visit.node("m.m077_20260101_077").locator("text").first
    assert "underline" in found.evaluate("element => getComputedStyle(element).textDecorationLine")
    assert float(visit.node(FAILED).evaluate("element => getComputedStyle(element).opacity")) < 0.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_borders_of_controls_can_be_seen(chromium: Any, page_path: Path, scheme: str) -> None:
    visited = Visit(chromium, page_path, scheme=scheme)
    look = "element => [getComputedStyle(element).borderTopColor, getComputedStyle(document.body).backgroundColor]"
    for name in ("#search", "#fit", "#module"):
        border, page = visited.page.locator(name).evaluate(look)
        assert contrast(border, page) >= 3, (name, border, page)
    visited.context.close()


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours of CSS, as WCAG 2 counts it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["plan", "all", "list"])
def test_axe_finds_nothing(chromium: Any, page_path: Path, scheme: str, tab: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    visited = Visit(chromium, page_path, scheme=scheme)
    visited.page.get_by_role("button", name=tab).click()
    visited.choose(FAILED)
    found = axe.Axe().run(visited.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["target"], each["help"]) for each in found] == []
    visited.context.close()


def test_what_was_left_out_is_said_on_the_page(visit: Visit) -> None:
    assert "of 83 shown" in visit.page.locator(".sub").inner_text()


def test_a_deep_link_opens_its_node(chromium: Any, page_path: Path) -> None:
    visited = Visit(chromium, page_path, fragment="#m.m003_20260101_003")
    assert visited.page.locator("aside h2").inner_text() == "m003_20260101_003"
    box = visited.node("m.m003_20260101_003").bounding_box()
    assert 0 <= box["x"] <= 1400
    assert 0 <= box["y"] <= 860
    visited.page.goto(page_path.as_uri() + "#m.nothing%E0%A4%A")
    assert not visited.page.locator("aside").is_visible()
    assert visited.complaints == []
    visited.context.close()


def test_no_letter_leaves_its_box(visit: Visit) -> None:
    visit.page.get_by_role("button", name="all").click()
    outside = visit.page.evaluate(
        """() => [...document.querySelectorAll('main g.node')].flatMap((node) => {
          const box = node.querySelector('polygon').getBBox();
          return [...node.querySelectorAll('text')].filter((text) => {
            const { x, width } = text.getBBox();
            return x < box.x || x + width > box.x + box.width;
          }).map((text) => text.textContent);
        })"""
    )
    assert outside == []


@pytest.mark.parametrize(("scheme", "colour"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(13, 17, 23)")])
def test_the_page_follows_the_reader(chromium: Any, page_path: Path, scheme: str, colour: str) -> None:
    visited = Visit(chromium, page_path, scheme=scheme)
    assert visited.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == colour
    fill = visited.node(FAILED).locator("polygon").first.evaluate("element => getComputedStyle(element).fill")
    assert fill == {"light": "rgb(179, 38, 30)", "dark": "rgb(255, 138, 122)"}[scheme]
    assert visited.complaints == []
    visited.context.close()


def test_print_shows_the_whole_picture_alone(visit: Visit) -> None:
    visit.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    visit.page.emulate_media(media="print")
    assert not visit.page.locator("header").is_visible()
    assert visit.page.locator("main svg").get_attribute("viewBox")
    visit.page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert visit.page.locator("main svg").get_attribute("viewBox") is None


def test_hostile_names_are_only_text(chromium: Any, tmp_path: Path) -> None:
    migrations = tuple(
        migration_of(name, HOSTILE[place - 1 : place], place, source=SourceLocation(name, 1), module=name)
        for place, name in enumerate(HOSTILE)
    )
    graph = build_graph(Registry(migrations))
    history = history_of()
    picture = drawn(
        Question.GRAPH, graph, build_plan(graph, history), history, options=PictureOptions(title=HOSTILE[1])
    )
    path = tmp_path / "page.html"
    path.write_bytes(render(picture, "html"))
    visited = Visit(chromium, path)
    assert visited.page.locator("main g.node").count() == len(HOSTILE)
    for node in picture.nodes:
        visited.choose(node.key)
        assert visited.page.locator("aside h2").inner_text() == node.name
    assert visited.complaints == []
    visited.context.close()


def test_a_picture_by_itself_is_safe_and_dark_too(chromium: Any, tmp_path: Path) -> None:
    graph = graph_of("a < b")
    path = tmp_path / "plan.svg"
    path.write_bytes(render(drawn(Question.PLAN, graph, build_plan(graph, History()), History()), "svg"))
    context = chromium.new_context(offline=True, color_scheme="dark")
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("() => getComputedStyle(document.querySelector('rect.page')).fill") == "rgb(13, 17, 23)"
    context.close()


def test_work_grows_with_the_picture_and_no_more(chromium: Any, tmp_path: Path) -> None:
    small, large = (work_by_act(chromium, tmp_path, lanes) for lanes in (10, 40))
    for act, (blocks, layouts) in large.items():
        assert blocks <= 4 * 1.3 * small[act][0], (
            f"{act}: four times the nodes, {small[act][0]} and {blocks} blocks of code"
        )
        assert layouts <= small[act][1] + 1, f"{act}: the page is laid out anew for each node"
    assert large["turn the wheel"][0] <= small["turn the wheel"][0] + 10, "zooming asks no node"


def work_by_act(chromium: Any, tmp_path: Path, lanes: int) -> dict[str, tuple[int, int]]:
    """Return what a page with fifty nodes to a lane does for each thing that a reader does."""
    paths = [" < ".join(f"m{lane:02d}_{number:03d}" for number in range(50)) for lane in range(lanes)]
    picture = drawn(Question.GRAPH, graph_of(*paths), options=PictureOptions(everything=True))
    path = tmp_path / f"page_{lanes}.html"
    path.write_bytes(render(picture, "html"))
    visited = Visit(chromium, path, counted=True)
    took = {"open": visited.work()}
    acts = {
        "search": "() => { search.value = 'm07'; search.dispatchEvent(new Event('input')); }",
        "turn the wheel": """() => document.querySelector('main svg').dispatchEvent(
            new WheelEvent('wheel', { deltaY: -100, clientX: 600, clientY: 400, bubbles: true, cancelable: true }))""",
        "filter": "() => { document.getElementById('module').dispatchEvent(new Event('change')); }",
        "choose": "() => { location.hash = document.querySelectorAll('main g.node')[25].id; }",
        "list": "() => { document.querySelector('.tabs button[data-view=list]').click(); }",
    }
    for act, script in acts.items():
        visited.page.evaluate(script)
        visited.settle()
        took[act] = visited.work()
    assert visited.page.locator("tbody tr").count() == 50 * lanes
    assert visited.page.locator("#hits").inner_text() == "50 found"
    assert visited.page.locator("tr.selected").count() == 1
    assert visited.complaints == []
    visited.context.close()
    return took
