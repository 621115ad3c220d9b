"""What files would declare, found in their text without running them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from migrate_graph.edwh_names import MODULES, PACKAGE

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_WORD_MODULES = frozenset({"migrate_graph", "migrate_graph.authoring", *MODULES})
# What a class that derives from one of ours must define or inherit to be a view manager; without it, it is only a base class.
_BASES = {"ViewMigrationManager": frozenset({"up", "down"}), "SqlView": frozenset({"query"})}
_WORDS = ("migration", *_BASES)
_DATED = re.compile(r"_(19|20)\d{6}_\d{1,4}$")


Declared: TypeAlias = tuple[tuple[str, int], ...]
"""Name and line of each migration and each concrete view manager of a file, in order."""


def declarations_in(text: bytes, managers: Mapping[str, frozenset[str]]) -> Declared:
    """Return what a file would declare, from its text; a file that is not valid Python declares nothing.

    Args:
        text: of the file.
        managers: classes known to be view managers, with what each lacks: `up`, `down`, `query`.
    """
    return _found_in(_statements_of(text), dict(managers))


def undecorated_in(text: bytes) -> Declared:
    """Return the functions of a file that are named like migrations, have no decorator, and are used nowhere in it.

    Args:
        text: of a file that declares migrations.
    """
    if not _may_lack_decorators(text):
        return ()
    statements = _statements_of(text)
    used = {
        node.id if isinstance(node, ast.Name) else node.attr
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    functions = (each for each in statements if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return tuple(
        (each.name, each.lineno)
        for each in functions
        if _DATED.search(each.name) and not each.decorator_list and each.name not in used
    )


_DATED_DEF = re.compile(rb"^[ \t]*(?:async[ \t]+)?def[ \t]+[^\s(\[]*_(?:19|20)\d{6}_\d{1,4}\b", re.MULTILINE)


def _may_lack_decorators(text: bytes) -> bool:
    """Return whether a function that is named like a migration has no line `@…` just above it: only then the file must be parsed."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for found in _DATED_DEF.finditer(text):
        end = max(found.start() - 1, 0)
        above = text[text.rfind(b"\n", 0, end) + 1 : end]
        if not above.lstrip().startswith(b"@"):
            return True
    return False


def names_below(directory: Path, *, most_files: int) -> list[str]:
    """Return the names that the files below a directory would declare, sorted.

    Args:
        directory: looked through, without environments, other projects and tests.
        most_files: no more files than this are looked at.
    """
    texts = {path: read_bytes(path) for path in islice(python_files(directory), most_files)}
    parsed: dict[Path, list[ast.stmt]] = {}
    managers: dict[str, frozenset[str]] = {}
    while True:  # a manager may derive from one in a file that comes later
        known, words = len(managers), mentions_of(managers)
        for path, text in texts.items():
            if path not in parsed and words.search(text):
                parsed[path] = _statements_of(text)
        found = [name for statements in parsed.values() for name, _ in _found_in(statements, managers)]
        if len(managers) == known:
            return sorted({*found})


def mentions_of(managers: Iterable[str]) -> re.Pattern[bytes]:
    """Return a pattern that quickly tells whether a text can declare anything: it matches our packages and known view managers."""
    words = (*managers, "migrate_graph", PACKAGE)
    return re.compile(rb"\b(?:%s)\b" % b"|".join(re.escape(name).encode() for name in words))


def _found_in(statements: list[ast.stmt], known: dict[str, frozenset[str]]) -> Declared:
    """Return what the statements of a file declare; the view managers among them are added to those known."""
    words = _imported_words(statements)
    known.update({name: _BASES[word] for name, word in words.items() if word in _BASES})
    found: list[tuple[str, int]] = []
    for node in statements:
        if isinstance(node, ast.ClassDef):
            bases = [known[name] for base in node.bases if (name := _manager_name(base, words, known))]
            if bases:
                known[node.name] = bases[0].intersection(*bases) - _hooks_of(node)
                found += [(node.name, node.lineno)] if not known[node.name] else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            declared = any(_is_migration_word(decorator, words) for decorator in node.decorator_list)
            found += [(node.name, node.lineno)] if declared else []
        else:
            found += _direct_declarations(node, words)
    return tuple(found)


def _statements_of(text: bytes) -> list[ast.stmt]:
    try:
        return list(module_statements(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def module_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, also those under `if`, `try`, `with` and loops."""
    stack: list[ast.AST] = list(reversed(tree.body))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, (*SCOPES, ast.expr)):
            stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _imported_words(statements: Iterable[ast.stmt]) -> dict[str, str]:
    """Return the names that our words have in a file: `{"migration": "migration", "mg": "*"}`; `*` stands for a whole module."""
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
    if (word := _word_of(base, words)) in _BASES:
        known.setdefault(word, _BASES[word])
        return word
    name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else None
    return name if name in known else None


def _hooks_of(node: ast.ClassDef) -> frozenset[str]:
    names: set[str] = set()
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            abstract = any("abstractmethod" in ast.unparse(decorator) for decorator in item.decorator_list)
            names |= set() if abstract else {item.name}
        elif isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names)


def _direct_declarations(node: ast.stmt, words: Mapping[str, str]) -> list[tuple[str, int]]:
    """Find `migration(body)` and `migration(requires=…)(body)`, assigned or not."""
    value = node.value if isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign) else None
    if not (isinstance(value, ast.Call) and _is_migration_word(value, words)):
        return []
    return [(argument.id, value.lineno) for argument in value.args[:1] if isinstance(argument, ast.Name)]


# --- the files of a project ----------------------------------------------------------------------------------------

# A migrations file may lie in a home directory with very many files: the search must stay fast.
_MOST_FILES = 2_000
_MOST_DIRECTORIES = 2_000
_SKIPPED_DIRECTORIES = frozenset(
    {
        *("node_modules", "__pycache__", "site-packages", "dist-packages", "build", "dist"),
        *(
            "test",
            "tests",
            "testing",
            "bench",
            "benchmarks",
            "example",
            "examples",
            "sample",
            "samples",
            "demo",
            "docs",
        ),
    }
)
_SKIPPED_FILES = re.compile(r"(test_.*|.*_test|conftest|setup)\.py")
# A directory with one of these is another project, or an environment.
_ROOT_MARKS = frozenset(
    {
        *("pyvenv.cfg", "conda-meta", ".git", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile"),
        *("poetry.lock", "uv.lock", ".env", "Dockerfile", "package.json", "manage.py", "alembic.ini"),
    }
)


def python_files(directory: Path) -> Iterator[Path]:
    """Yield the Python files below a directory in a fixed order, without environments, other projects and tests."""
    files = directories = 0
    for folder, below, names in os.walk(directory):
        directories += 1
        if directories > _MOST_DIRECTORIES:
            return
        if Path(folder) != directory and _ROOT_MARKS & {*below, *names}:
            below.clear()
            continue
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _SKIPPED_DIRECTORIES)
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith(".") and not _SKIPPED_FILES.fullmatch(name):
                files += 1
                if files > _MOST_FILES:
                    return
                yield Path(folder) / name


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; nothing when it cannot be read."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""
