"""The site in a real browser: light and dark, by keyboard, on a telephone, with its code uncut, and without anything from elsewhere."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from site_stand import build_site

pytestmark = pytest.mark.browser

COLUMNS = """() => {
    const code = document.querySelector(".md-typeset pre > code"), ruler = document.createElement("span")
    ruler.textContent = "x".repeat(100)
    code.append(ruler)
    const style = getComputedStyle(code)
    const room = code.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
    return Math.floor(100 * room / ruler.getBoundingClientRect().width)
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are no output of a test."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The built site behind a server: a browser lets no page that is a file search."""
    pytest.importorskip("material", reason="mkdocs-material builds the site, and is not installed here")
    site: Path = build_site(tmp_path_factory.mktemp("site"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Any]:
    """Open a page in a window of its own; nothing may go wrong on it, and nothing may come from elsewhere."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, *, width: int = 1280, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("request", lambda asked: asked.url.startswith(address) or complaints.append(asked.url))
        page.goto(f"{address}/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_it_follows_the_system_and_can_be_switched(visit: Any, scheme: str, other: str) -> None:
    names = {"light": "default", "dark": "slate"}
    page = visit("", scheme=scheme)
    colours = page.locator("body")
    assert colours.get_attribute("data-md-color-scheme") == names[scheme]
    page.locator("form.md-header__option label:visible").click()
    page.wait_for_function("name => document.body.dataset.mdColorScheme === name", arg=names[other])
    page.goto(page.url + "views/")
    assert colours.get_attribute("data-md-color-scheme") == names[other], "and the next page knows"


@pytest.mark.parametrize(("width", "columns"), [(1280, 100), (1440, 110), (1920, 110)])
def test_code_has_room(visit: Any, width: int, columns: int) -> None:
    assert visit("views/", width=width).evaluate(COLUMNS) >= columns


@pytest.mark.parametrize("path", ["", "views/", "cli/", "rules/", "configuration/", "troubleshooting/", "pictures/"])
def test_no_page_is_wider_than_a_telephone(visit: Any, path: str) -> None:
    page = visit(path, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_option_is_found_by_keyboard_alone(visit: Any) -> None:
    page = visit("")
    page.keyboard.press("s")
    page.wait_for_function("document.activeElement.name === 'query'")
    page.keyboard.type("--sql")
    page.wait_for_selector(".md-search-result__item a")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rehearsing/**")
