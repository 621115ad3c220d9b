"""Write the graph for other programs: node-link JSON as networkx reads it, and GraphML for yEd, Gephi and the like."""

from __future__ import annotations

import json
from typing import Any

from migrate_graph.render.picture import Picture, PictureNode

SCHEMA_VERSION = 1
"""The version of the JSON: it grows when a program that reads the old one would go wrong; new keys alone do not count."""


def to_json(picture: Picture) -> bytes:
    """Write node-link JSON of everything a picture is about; never cut, whatever the size.

    `networkx.node_link_graph(document, edges="links")` reads it. Nodes and links of the drawn part have `drawn: true`.
    """
    document = {"schema_version": SCHEMA_VERSION, **_node_link(picture)}
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def to_graphml(picture: Picture) -> bytes:
    """Write GraphML of everything a picture is about."""
    import networkx as nx

    document = _node_link(picture)
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for node in document["nodes"]:
        graph.add_node(node["id"], **{key: _flat(value) for key, value in node.items() if key != "id"})
    for link in document["links"]:
        attributes = {key: _flat(value) for key, value in link.items() if key not in {"source", "target", "key"}}
        graph.add_edge(link["source"], link["target"], key=link["kind"], **attributes)
    return "\n".join(nx.generate_graphml(graph)).encode() + b"\n"


def _node_link(picture: Picture) -> dict[str, Any]:
    whole = picture.whole or picture
    drawn = {node.key for node in picture.nodes}
    arrows = {(edge.before, edge.after, kind) for edge in picture.edges for kind in edge.kinds}
    return {
        "directed": True,
        "multigraph": True,
        "graph": {
            "title": picture.title,
            "subtitle": picture.subtitle,
            "question": str(picture.question),
            "nodes": picture.total,
            "shown": picture.shown,
        },
        "nodes": [_node(node, drawn=node.key in drawn) for node in whole.nodes],
        "links": [
            {
                "source": edge.before,
                "target": edge.after,
                "key": str(edge.kind),
                "kind": str(edge.kind),
                "implied": edge.implied,
                "ring": edge.ring,
                "count": edge.count,
                "drawn": (edge.before, edge.after, edge.kind) in arrows,
            }
            for edge in whole.links
        ],
    }


def _node(node: PictureNode, *, drawn: bool) -> dict[str, Any]:
    return {
        "id": node.key,
        "name": node.name,
        "kind": node.kind,
        "state": str(node.state),
        "notes": list(node.notes),
        "sentence": node.sentence,
        "accused": node.accused,
        "place": node.place,
        "module": node.module,
        "source": node.source,
        "description": node.description,
        "details": dict(node.details),
        "drawn": drawn,
    }


def _flat(value: Any) -> Any:
    """Return lists and dictionaries as lines of text, because GraphML has neither."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {text}" for key, text in value.items())
    return "\n".join(value) if isinstance(value, list) else value
