"""Mask secrets in values (structs, mappings, sequences), before documents and pictures are written from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

if TYPE_CHECKING:
    from migrate_graph.render.picture import Picture, PictureNode

Redact = Callable[[str], str]

# Most values in a document have one of these types. They are tested first, since the test for an abstract class (Mapping) is slow.
_NO_TEXT = frozenset({type(None), bool, int, float})


def redacted(value: Any, redact: Redact) -> Any:
    """Return a value with every text in it redacted.

    Args:
        value: nested texts, mappings, sequences, sets and structs; anything else is returned unchanged.
        redact: masks secrets in one text.
    """
    kind = type(value)
    if kind is str:  # not a member of a StrEnum: that is a word of this program
        return redact(value)
    if kind in _NO_TEXT:
        return value
    if isinstance(value, (set, frozenset, list, tuple)):
        return _with_items(value, redact)
    if kind is dict or isinstance(value, Mapping):
        return {redacted(key, redact): redacted(item, redact) for key, item in value.items()}
    if isinstance(value, Struct):
        return _with_fields(value, redact)
    return value


def _with_items(value: Any, redact: Redact) -> Any:
    items = [redacted(item, redact) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    return tuple(items) if isinstance(value, tuple) else items


def _with_fields(value: Any, redact: Redact) -> Any:
    changed = {}
    for name, before in asdict(value).items():
        after = redacted(before, redact)
        if after != before:
            changed[name] = after
    return replace(value, **changed) if changed else value


def redacted_picture(picture: Picture, redact: Redact, keys: dict[str, str] | None = None) -> Picture:
    """Return a picture with every text in it redacted.

    Args:
        picture: the composed picture.
        redact: masks secrets in one text.
        keys: new keys for nodes whose name contains a secret; shared with the second picture that shows everything.
    """
    renamed: dict[str, str] = {} if keys is None else keys
    for node in picture.nodes:
        if redact(node.name) != node.name:
            renamed.setdefault(node.key, f"redacted-{len(renamed) + 1}")
    rest = picture.rest
    return replace(
        picture,
        title=redact(picture.title),
        subtitle=redact(picture.subtitle),
        nodes=tuple(_node(node, redact, renamed) for node in picture.nodes),
        edges=tuple(_ends(edge, renamed) for edge in picture.edges),
        links=tuple(_ends(link, renamed) for link in picture.links),
        clusters=tuple(
            replace(each, label=redact(each.label), keys=tuple(renamed.get(key, key) for key in each.keys))
            for each in picture.clusters
        ),
        rest=None if rest is None else lambda: redacted_picture(rest(), redact, renamed),
    )


def _node(node: PictureNode, redact: Redact, renamed: dict[str, str]) -> PictureNode:
    changed: PictureNode = redacted(node, redact)
    if changed.name != node.name:
        return replace(changed, key=renamed[node.key], label=(changed.name,))
    return replace(changed, key=node.key, label=node.label)


def _ends(edge: Any, renamed: dict[str, str]) -> Any:
    if edge.before in renamed or edge.after in renamed:
        return replace(edge, before=renamed.get(edge.before, edge.before), after=renamed.get(edge.after, edge.after))
    return edge
