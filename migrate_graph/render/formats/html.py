"""Write a picture as one HTML page to explore: pan, zoom, search, filters, details; nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from xml.etree import ElementTree as ET

from msgspec.structs import replace

from migrate_graph.core.states import State
from migrate_graph.render import Renderer
from migrate_graph.render.formats.svg import style_of, to_svg
from migrate_graph.render.layout.engine import LayoutTimeout
from migrate_graph.render.picture import Picture, PictureNode
from migrate_graph.render.style import DARK, LIGHT, PageStyle

MOST_OF_ALL = 1000
"""Up to so many nodes, the picture of everything is on the page as well, in a second tab."""

_DRAWING = Template('<template id="view-$name">$drawing</template>\n')
_ASSETS = Path(__file__).parent.with_name("assets")


def to_html(picture: Picture, *, renderer: Renderer = Renderer.AUTO) -> bytes:
    """Write a self-contained page: the picture, and in a second tab the picture of everything where that differs.

    Raises:
        UsageError: no renderer for the layout.
        LayoutTimeout: the layout of the picture itself took too long.
    """
    views = {str(picture.question): picture}
    if picture.whole is not None and len(picture.whole.nodes) <= MOST_OF_ALL:
        views["all"] = picture.whole
    drawings = _drawn(views, renderer)
    views = {name: views[name] for name in drawings}
    style = _colours() + _asset("page.css")
    library, script = _asset("panzoom.min.js"), _asset("page.js")
    nodes = {node.key: node for view in views.values() for node in view.nodes}
    left_out = "" if picture.whole is None or "all" in views else f"; all {picture.total:,} are too many for one page"
    page = Template(_asset("page.html")).substitute(
        policy=_policy(scripts=[library, script], styles=[style, *dict.fromkeys(map(style_of, views.values()))]),
        title=escape(picture.title),
        subtitle=escape(picture.subtitle + left_out),
        style=style,
        tabs="".join(_tab(name, len(view.nodes)) for name, view in views.items()) + _tab("list", len(nodes)),
        filters=_markup(_filters(nodes.values())),
        drawings="".join(_DRAWING.substitute(name=name, drawing=drawing) for name, drawing in drawings.items()),
        data=_data(views),
        library=library,
        script=script,
    )
    return page.encode()


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _policy(*, scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Return the page's content security policy: only scripts and styles inside the page, named by their hashes."""
    return f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; base-uri 'none'; form-action 'none'"


def _drawn(views: dict[str, Picture], renderer: Renderer) -> dict[str, str]:
    """Lay out all views at once; the picture of everything is left out if it is not ready in time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = {
            name: pool.submit(to_svg, _without_links(view), renderer=renderer, zoomable=True)
            for name, view in views.items()
        }
        drawings: dict[str, str] = {}
        for name, future in waiting.items():
            try:
                drawings[name] = future.result().decode().strip()
            except LayoutTimeout:
                if name != "all":
                    raise
    return drawings


def _without_links(picture: Picture) -> Picture:
    """On the page a click on a node selects it; the link to its source stands in the panel."""
    return replace(picture, nodes=tuple(replace(node, link="") for node in picture.nodes))


def _markup(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode", method="html")


def _tab(name: str, number: int) -> str:
    button = ET.Element("button", {"type": "button", "data-view": name, "aria-pressed": "false"})
    button.text = f"{name} "
    ET.SubElement(button, "small").text = str(number)
    return _markup(button)


def _filters(nodes: Iterable[PictureNode]) -> ET.Element:
    """Return boxes for the states and kinds there are, and a list of modules where there are several."""
    nodes = list(nodes)
    found = {
        "state": [str(state) for state in State if any(node.state is state for node in nodes)],
        "kind": sorted({node.kind for node in nodes}),
    }
    modules = sorted({node.module for node in nodes if node.module})
    filters = ET.Element("fieldset", {"aria-label": "Filter"})
    choice = ET.SubElement(filters, "select", {"id": "module", "aria-label": "Module"})
    if len(modules) < 2:
        choice.set("hidden", "hidden")
    ET.SubElement(choice, "option", {"value": ""}).text = "all modules"
    for module in modules:
        ET.SubElement(choice, "option", {"value": module}).text = module
    for what, values in found.items():
        for value in values if len(values) > 1 else ():
            label = ET.SubElement(filters, "label")
            box = {"type": "checkbox", "checked": "checked", "data-filter": what, "value": value}
            ET.SubElement(label, "input", box).tail = value
    return filters


def _data(views: dict[str, Picture]) -> str:
    """Return the data of the page, as JSON that cannot end its script element."""
    nodes: dict[str, Any] = {}
    links: dict[tuple[str, str, str], None] = {}
    for view in views.values():
        # The data of the first view wins: only its notes tell how much it leaves out.
        for node in view.nodes:
            nodes.setdefault(node.key, _node(node))
        links |= dict.fromkeys((link.before, link.after, str(link.kind)) for link in view.links)
    known = [list(link) for link in links if link[0] in nodes and link[1] in nodes]
    text = json.dumps(
        {"order": list(nodes), "nodes": nodes, "links": known},
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    )
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _node(node: PictureNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "state": str(node.state),
        "notes": list(_notes(node)),
        "place": node.place,
        "module": node.module,
        "source": node.source,
        "link": node.link,
        "details": [list(pair) for pair in node.details],
    }


def _notes(node: PictureNode) -> Iterator[str]:
    """Yield what the words of a box say besides its kind, state and place, which have places of their own on the page."""
    state = str(node.state)
    said = {node.kind, state, state.upper(), f"#{node.place} {state}"}
    for note in node.notes:
        words = note.removeprefix(f"{node.kind} · ").removeprefix(f"{state.upper()}, ")
        if words not in said:
            yield words


def _colours() -> str:
    def of(style: PageStyle, *, field: str, accent: str) -> str:
        chosen = f"color-mix(in srgb, {accent} 15%, {style.background})"
        return (
            f"--page:{style.background};--ink:{style.ink};--muted:{style.muted};--control:{style.muted};"
            f"--line:{style.cluster_stroke};--field:{field};--accent:{accent};--chosen:{chosen}"
        )

    light = of(LIGHT, field=LIGHT.background, accent="#0B57D0")
    dark = of(DARK, field=DARK.cluster_fill, accent="#6CA8FF")
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _hashes(texts: Iterable[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
