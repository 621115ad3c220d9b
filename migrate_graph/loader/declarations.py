"""What a file would declare, found in its text without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_WORD_MODULES = frozenset(
    {
        "migrate_graph",
        "migrate_graph.authoring",
        "edwh_migrate",
        "edwh_migrate.migrate",
        "edwh_migrate.view_migration_manager",
    }
)
_WORDS = ("migration", "ViewMigrationManager")
_HOOKS = frozenset({"up", "down"})


def declarations_in(text: bytes, managers: Mapping[str, frozenset[str]]) -> tuple[tuple[str, int], ...]:
    """Find what a file would declare, from its text; a file that is no Python declares nothing.

    Args:
        text: of the file.
        managers: classes known to be view managers, with which of `up` and `down` each has.

    Returns:
        Name and line of each migration and each concrete view manager, in order.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    statements = list(_module_statements(tree))
    words = _imported_words(statements)
    known = {**managers, **{name: frozenset[str]() for name, word in words.items() if word == "ViewMigrationManager"}}
    found: list[tuple[str, int]] = []
    for node in statements:
        if isinstance(node, ast.ClassDef):
            bases = [known[name] for base in node.bases if (name := _manager_name(base, words, known))]
            if bases:
                known[node.name] = frozenset().union(*bases, _hooks_of(node))
                found += [(node.name, node.lineno)] if known[node.name] >= _HOOKS else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            declared = any(_is_migration_word(decorator, words) for decorator in node.decorator_list)
            found += [(node.name, node.lineno)] if declared else []
        else:
            found += _direct_declarations(node, words)
    return tuple(found)


def _module_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, also those under `if`, `try`, `with` and loops."""
    stack: list[ast.AST] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, (*_SCOPES, ast.expr)):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _imported_words(statements: Iterable[ast.stmt]) -> dict[str, str]:
    """Return what our words are called in a file: `{"migration": "migration", "mg": "*"}`; `*` is a whole module."""
    words: dict[str, str] = {}
    for node in statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in _WORD_MODULES:
                    words[alias.asname or alias.name] = "*"
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in _WORD_MODULES:
            for alias in node.names:
                if alias.name == "*":
                    words.update({word: word for word in _WORDS})
                elif alias.name in _WORDS:
                    words[alias.asname or alias.name] = alias.name
                elif f"{node.module}.{alias.name}" in _WORD_MODULES:
                    words[alias.asname or alias.name] = "*"
    return words


def _word_of(node: ast.expr, words: Mapping[str, str]) -> str | None:
    """Return the word that a name or a dotted name stands for."""
    if isinstance(node, ast.Call):
        return _word_of(node.func, words)
    if isinstance(node, ast.Name):
        return words.get(node.id)
    if isinstance(node, ast.Attribute) and node.attr in _WORDS:
        return node.attr if words.get(ast.unparse(node.value)) == "*" else None
    return None


def _is_migration_word(node: ast.expr, words: Mapping[str, str]) -> bool:
    return _word_of(node, words) == "migration"


def _manager_name(base: ast.expr, words: Mapping[str, str], known: dict[str, frozenset[str]]) -> str | None:
    """Return the name under which a base class is known as a view manager."""
    if isinstance(base, ast.Call):
        return None
    if _word_of(base, words) == "ViewMigrationManager":
        known.setdefault("ViewMigrationManager", frozenset())
        return "ViewMigrationManager"
    name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else None
    return name if name in known else None


def _hooks_of(node: ast.ClassDef) -> frozenset[str]:
    names: set[str] = set()
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            abstract = any("abstractmethod" in ast.unparse(decorator) for decorator in item.decorator_list)
            names |= set() if abstract else {item.name}
        elif isinstance(item, ast.Assign):
            names |= {target.id for target in item.targets if isinstance(target, ast.Name)}
    return frozenset(names & _HOOKS)


def _direct_declarations(node: ast.stmt, words: Mapping[str, str]) -> list[tuple[str, int]]:
    """Find `migration(body)` and `migration(requires=…)(body)`, assigned or not."""
    value = node.value if isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign) else None
    if not (isinstance(value, ast.Call) and _is_migration_word(value, words)):
        return []
    return [(argument.id, value.lineno) for argument in value.args[:1] if isinstance(argument, ast.Name)]
