"""Write a picture as one HTML page to explore: pan, zoom, search, filters, details; nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from migrate_graph.core.states import State
from migrate_graph.render.formats.svg import style_of, to_svg
from migrate_graph.render.layout.engine import LayoutTimeout, Renderer
from migrate_graph.render.picture import Picture, PictureNode
from migrate_graph.render.style import DARK, LIGHT, PageStyle

MOST_OF_ALL = 1000
"""Nodes up to which the picture of everything comes along in a second tab."""

_ASSETS = Path(__file__).parent.with_name("assets")


def to_html(picture: Picture, *, renderer: Renderer = Renderer.AUTO) -> bytes:
    """Write a self-contained page: the picture, and beside it the picture of everything where that is another one.

    Raises:
        UsageError: no renderer for the layout.
        LayoutTimeout: the layout of the picture itself took too long.
    """
    views = {str(picture.question): picture}
    if picture.whole is not None and len(picture.whole.nodes) <= MOST_OF_ALL:
        views["all"] = picture.whole
    drawings = _drawn(views, renderer)
    views = {name: views[name] for name in drawings}
    style = _colours() + (_ASSETS / "page.css").read_text(encoding="utf-8")
    panzoom = (_ASSETS / "panzoom.min.js").read_text(encoding="utf-8")
    script = (_ASSETS / "page.js").read_text(encoding="utf-8")
    styles = [style, *dict.fromkeys(style_of(view) for view in views.values())]
    return _page(
        picture=picture,
        policy=f"default-src 'none'; script-src {_hashes([panzoom, script])}; style-src {_hashes(styles)}; base-uri 'none'; form-action 'none'",
        style=style,
        scripts=(panzoom, script),
        drawings=drawings,
        views=views,
    ).encode()


def _drawn(views: dict[str, Picture], renderer: Renderer) -> dict[str, str]:
    """Lay out all views at once; the second one may fail to be ready in time, and is left out then."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = {name: pool.submit(to_svg, _without_links(view), renderer=renderer) for name, view in views.items()}
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


def _page(
    *,
    picture: Picture,
    policy: str,
    style: str,
    scripts: Iterable[str],
    drawings: dict[str, str],
    views: dict[str, Picture],
) -> str:
    tabs = "".join(
        f'<button type="button" data-view="{name}" aria-pressed="false">{name} <small>{len(view.nodes)}</small></button>'
        for name, view in views.items()
    )
    templates = "".join(f'<template id="view-{name}">{drawing}</template>\n' for name, drawing in drawings.items())
    nodes = {node.key: node for view in views.values() for node in view.nodes}
    left_out = "" if picture.whole is None or "all" in views else f"; all {picture.total:,} are too many for one page"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(picture.title)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1 title="{escape(picture.subtitle + left_out)}">{escape(picture.title)}</h1>
<div class="tabs" role="group" aria-label="What to show">{tabs}</div>
<div class="search"><label for="search">Find</label>
<input id="search" type="search" placeholder="name, file, state" autocomplete="off" spellcheck="false">
<span id="hits" class="hits" aria-live="polite"></span></div>
<div class="zoom" role="group" aria-label="Zoom"><button type="button" id="out" aria-label="Zoom out">&minus;</button>
<button type="button" id="in" aria-label="Zoom in">+</button><button type="button" id="fit">Fit</button></div>
{_filters(nodes.values())}
<div class="keys"><kbd>/</kbd> find <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> zoom <kbd>Esc</kbd> clear</div>
</header>
<main aria-label="Graph"></main>
<aside hidden aria-label="Details"></aside>
<div id="said" role="status" aria-live="polite" class="hits" hidden></div>
{templates}<script type="application/json" id="data">{_data(views)}</script>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>
"""


def _filters(nodes: Iterable[PictureNode]) -> str:
    """Return boxes for the states and kinds there are, and a list of modules where there are several."""
    nodes = list(nodes)
    states = [state for state in State if any(node.state is state for node in nodes)]
    kinds = sorted({node.kind for node in nodes})
    boxes = [("state", str(state)) for state in states if len(states) > 1] + [
        ("kind", kind) for kind in kinds if len(kinds) > 1
    ]
    labels = "".join(
        f'<label><input type="checkbox" checked data-filter="{what}" value="{value}">{value}</label>'
        for what, value in boxes
    )
    modules = sorted({node.module for node in nodes if node.module})
    options = "".join(f'<option value="{escape(module)}">{escape(module)}</option>' for module in modules)
    hidden = "" if len(modules) > 1 else " hidden"
    choice = f'<select id="module" aria-label="Module"{hidden}><option value="">all modules</option>{options}</select>'
    return f'<fieldset aria-label="Filter">{choice}{labels}</fieldset>'


def _data(views: dict[str, Picture]) -> str:
    """Return what the page knows, as JSON that cannot end its script element."""
    nodes: dict[str, Any] = {}
    links: dict[tuple[str, str, str], None] = {}
    for view in views.values():
        # The first view comes first and says most: it knows what is folded.
        for node in view.nodes:
            nodes.setdefault(node.key, _node(node))
        links |= dict.fromkeys((link.before, link.after, str(link.kind)) for link in view.links)
    known = [list(link) for link in links if link[0] in nodes and link[1] in nodes]
    text = json.dumps({"nodes": nodes, "links": known}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _node(node: PictureNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "state": str(node.state),
        "notes": list(node.notes),
        "place": node.place,
        "module": node.module,
        "source": node.source,
        "link": node.link,
        "details": [list(pair) for pair in node.details],
    }


def _colours() -> str:
    def of(style: PageStyle, *, field: str, accent: str) -> str:
        return (
            f"--page:{style.background};--ink:{style.ink};--muted:{style.muted};"
            f"--line:{style.cluster_stroke};--field:{field};--accent:{accent}"
        )

    light = of(LIGHT, field=LIGHT.background, accent="#0B57D0")
    dark = of(DARK, field=DARK.cluster_fill, accent="#6CA8FF")
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _hashes(texts: Iterable[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
