"""Which relations the body of a migration creates, as far as its text tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

from migrate_graph.code_walk import texts_reached
from migrate_graph.loader.sources import Sources, chain_of, own_nodes
from migrate_graph.quoting import bare

_NAME = r'(?:[^\W\d]\w*|"(?:[^"\0]|"")+"|\[[^\]]+\]|`[^`]+`)'
_CREATE = re.compile(
    r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:UNLOGGED\s+)?(?:RECURSIVE\s+)?(?:FOREIGN\s+)?(?:VIRTUAL\s+)?(?:MATERIALIZED\s+)?(?:TABLE|VIEW)\s+"
    rf"(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_NAME}(?:\s*\.\s*{_NAME})?)(?![\w.{{%]|\s*\.)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def relations_created(function: Callable[..., Any], sources: Sources | None = None) -> frozenset[str]:
    """Return the tables and views that a body creates, without schema; plain names in lower case, quoted ones as they are.

    Temporary tables do not count. Names that are built when the body runs are not found, so it may create more than these.

    Args:
        function: the body, decorated or not.
        sources: of this loading; None reads the file for this question only.
    """
    chain = chain_of(function)
    if not chain:
        return frozenset()
    found = {
        _plain(match["name"])
        for text in texts_reached(chain[-1])
        for match in _CREATE.finditer(_COMMENT.sub(" ", text))
    }
    return frozenset(found | {_plain(name) for name in _defined(chain[-1], sources or Sources())})


def _defined(function: Any, sources: Sources) -> Iterator[str]:
    """Yield the tables that the body defines for pyDAL: `db.define_table("name", …)`."""
    node = sources.node_of(function)
    for found in own_nodes(node) if node else ():
        if isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute) and found.func.attr == "define_table":
            first = found.args[0] if found.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _plain(name: str) -> str:
    return bare(re.split(r"\s*\.\s*(?=[^\W\d]\w*$|[\"\[`])", name)[-1])
