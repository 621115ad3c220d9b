"""Finds what in the text of a body ends its transaction, or cannot run inside one, and so prevents `apply --atomic`."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator

from migrate_graph.loader.sources import FunctionNode, is_constant, own_nodes

_SENDING = {"executesql", "execute", "executemany", "executescript"}

# Statements that end a transaction, or cannot run inside one; `ROLLBACK TO` a savepoint does not count.
_ALONE = (
    r"COMMIT\b|ABORT\b|ROLLBACK\b(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b)|PREPARE\s+TRANSACTION\b|VACUUM\b|ALTER\s+SYSTEM\b|"
    r"(?:CREATE|DROP)\s+(?:DATABASE|TABLESPACE)\b|REINDEX\s+(?:DATABASE|SYSTEM)\b|REINDEX\b[^;]*\bCONCURRENTLY\b|"
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\b|DROP\s+INDEX\s+CONCURRENTLY\b|ATTACH\s+(?!PARTITION)|DETACH\s+(?!PARTITION)|"
    r"PRAGMA\s+(?:\w+\s*\.\s*)?foreign_keys\s*[=(]"
)
_FIRST = re.compile(rf"\s*({_ALONE}|END\s*;?\s*\Z)", re.IGNORECASE)
_LATER = re.compile(rf";\s*({_ALONE})", re.IGNORECASE)
_HAS_BODY = re.compile(r"\$|\b(?:FUNCTION|PROCEDURE|TRIGGER)\b", re.IGNORECASE)
_ENUM = re.compile(r"\s*ALTER\s+TYPE\b[^;]*\bADD\s+VALUE\b", re.IGNORECASE)

_METHODS = {"set_isolation_level", "set_session", "tpc_begin", "tpc_commit", "set_client_encoding"}


def what_ends(node: FunctionNode) -> tuple[int, str] | None:
    """Return the first line that ends the transaction of a body or cannot run inside one, and in words why; None without such a line."""
    found = own_nodes(node)
    db = node.args.args[0].arg if node.args.args else ""
    places = [*_statements(found, _sent_alone), *_calls(found, db), *_autocommits(found)]
    return min(places, default=None)


def what_adds_a_value(node: FunctionNode) -> int | None:
    """Return the line of an `ALTER TYPE … ADD VALUE`, whose value cannot be used before a commit."""
    lines = (line for line, _ in _statements(own_nodes(node), lambda text: "adds a value" if _ENUM.match(text) else ""))
    return min(lines, default=None)


def _sent_alone(text: str) -> str:
    match = _FIRST.match(text) or (None if _HAS_BODY.search(text) else _LATER.search(text))
    return f"sends {' '.join(match[1].split()).rstrip('=( ;')}" if match else ""


def _statements(nodes: Iterable[ast.AST], judge: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    for each in nodes:
        is_sent = isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in _SENDING
        if is_sent and each.args and (what := judge(_beginning(each.args[0]))):  # type: ignore[attr-defined] # see above
            yield each.lineno, what  # type: ignore[attr-defined] # as above


def _beginning(node: ast.expr) -> str:
    """Return a string as far as the source shows it: of an f-string, the part before its first `{…}`; empty for anything else."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _calls(nodes: Iterable[ast.AST], db: str) -> Iterator[tuple[int, str]]:
    for each in nodes:
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            name = each.func.attr
            if name in _METHODS:
                yield each.lineno, f"calls {name}()"
            elif name == "close" and isinstance(each.func.value, ast.Name) and each.func.value.id == db:
                yield each.lineno, f"calls {db}.close()"


def _autocommits(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for each in nodes:
        if isinstance(each, ast.Assign) and is_constant(each.value, value=True):
            for target in each.targets:
                if isinstance(target, ast.Attribute) and target.attr == "autocommit":
                    yield each.lineno, "sets autocommit"
