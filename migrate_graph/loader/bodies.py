"""What the body of a migration tells by its text: how it ends, which views it opens, its fingerprint."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

from migrate_graph import authoring
from migrate_graph.core.model import BodyFacts, Migration
from migrate_graph.user_files import SourceLocation, is_user_file

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class Sources:
    """The files of one loading: each is read and parsed once, each helper function is looked through once.

    Args:
        shown: gives the path that people are shown for a file name.
    """

    def __init__(self, shown: Callable[[str], str] = str) -> None:
        self.shown = shown
        self._files: dict[str, dict[tuple[str, int], FunctionNode]] = {}
        self._mentions: dict[FunctionType, tuple[str | FunctionType, ...]] = {}

    def node_of(self, function: FunctionType) -> FunctionNode | None:
        """Return the syntax tree of a function; None when its source cannot be read."""
        code = function.__code__
        if code.co_filename not in self._files:
            self._files[code.co_filename] = _functions_in(_text_of(function))
        return self._files[code.co_filename].get((code.co_name, code.co_firstlineno))

    def mentions_of(self, function: FunctionType) -> tuple[str | FunctionType, ...]:
        """Return what a function itself mentions, in order: names of view managers, and functions that it calls."""
        if function not in self._mentions:
            node = self.node_of(function)
            self._mentions[function] = () if node is None else tuple(_Reader(function).mentions(node))
        return self._mentions[function]


def facts_of(function: Callable[..., Any], sources: Sources | None = None) -> BodyFacts:
    """Return what the source text of a migration's body says.

    Args:
        function: the body, decorated or not.
        sources: of this loading; None reads the file for this question only.
    """
    sources = sources or Sources()
    chain = _chain(function)
    nodes = [(each, node) for each in chain if (node := sources.node_of(each)) is not None]
    views = _opened_views(chain, sources)
    if not chain or not nodes or nodes[-1][0] is not chain[-1]:
        return BodyFacts(opened_views=views)
    inner, node = nodes[-1]
    line = _commit_before_return(node)
    commit = None if line is None else SourceLocation(sources.shown(inner.__code__.co_filename), line)
    return BodyFacts(
        fingerprint=_fingerprint(inner, node),
        returns_value=_returns_value([node for _, node in nodes]),
        commits_before_return=commit,
        opened_views=views,
    )


def definition_of(function: Callable[..., Any], sources: Sources) -> SourceLocation | None:
    """Return the line of a body's `def`, below its decorators; None when it has no code of its own."""
    chain = _chain(function)
    if not chain:
        return None
    code, node = chain[-1].__code__, sources.node_of(chain[-1])
    return SourceLocation(code.co_filename, code.co_firstlineno if node is None else node.lineno)


# --- finding a function's text -----------------------------------------------------------------------------------


def _chain(function: object) -> list[FunctionType]:
    """Return the functions behind a callable: wrappers first, what they wrap last."""
    chain: list[FunctionType] = []
    while function is not None and not any(function is known for known in chain):
        if isinstance(function, FunctionType):
            chain.append(function)
            function = getattr(function, "__wrapped__", None)
        else:
            function = _behind(function)
    return chain


def _behind(function: object) -> object:
    if isinstance(function, Migration):
        return function.function
    if isinstance(function, functools.partial):
        return function.func
    if isinstance(function, MethodType | staticmethod | classmethod):
        return function.__func__
    return inspect.getattr_static(function, "__wrapped__", None) if callable(function) else None


def _text_of(function: FunctionType) -> bytes | str:
    """Read the file of a function; through linecache when it is no file (a zip, a notebook's cell)."""
    name = function.__code__.co_filename
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError):
        return "".join(linecache.getlines(name, function.__globals__))


def _functions_in(text: bytes | str) -> dict[tuple[str, int], FunctionNode]:
    """Index the functions of a file as code objects name them: by name and first line, decorators included."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    functions: dict[tuple[str, int], FunctionNode] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            functions.setdefault(("<lambda>", node.lineno), node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions.setdefault((node.name, first), node)
    return functions


# --- facts about one body ----------------------------------------------------------------------------------------


def _own_nodes(node: FunctionNode) -> Iterator[ast.AST]:
    """Walk a body without the functions and classes defined in it."""
    stack: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    while stack:
        found = stack.pop()
        yield found
        if not isinstance(found, _SCOPES):
            stack.extend(ast.iter_child_nodes(found))


def _returns_value(chain: list[FunctionNode]) -> bool:
    """Return whether a body can give a value: its own, or the one that a wrapper around it gives on its own account."""
    *wrappers, body = chain
    if isinstance(body, ast.Lambda) or list(_returned(body)):
        return True
    return any(not isinstance(value, ast.Call) for wrapper in wrappers for value in _returned(wrapper))


def _returned(node: FunctionNode) -> Iterator[ast.expr]:
    for found in _own_nodes(node):
        if isinstance(found, ast.Return) and found.value is not None and not _is_constant(found.value, value=None):
            yield found.value


def _is_constant(node: object, *, value: object) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def _commit_before_return(node: FunctionNode) -> int | None:
    """Return the line of a `….commit()` that stands directly before `return True`."""
    if isinstance(node, ast.Lambda):
        return None
    blocks = [node.body]
    for found in _own_nodes(node):
        if not isinstance(found, _SCOPES):
            blocks += [getattr(found, name, []) for name in ("body", "orelse", "finalbody")]
    for block in blocks:
        if isinstance(block, list):  # an expression's `body` is one expression
            for before, after in pairwise(block):
                if isinstance(after, ast.Return) and _is_constant(after.value, value=True) and _is_commit(before):
                    return int(before.lineno)
    return None


def _is_commit(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "commit"
    )


# What does not change what a body does: formatting, types, spelling of strings, and whatever another version of
# Python adds to its trees as an empty field.
_SILENT_FIELDS = frozenset({"annotation", "returns", "type_comment", "type_params", "ctx", "kind"})


def _fingerprint(function: FunctionType, node: FunctionNode) -> str:
    """Hash what a body does: 16 hex digits; its name, its docstring and `@migration(…)` are not part of that."""
    if isinstance(node, ast.Lambda):
        parts: list[Any] = [node.args, node.body]
    else:
        read = _Reader(function)
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        kept = [decorator for decorator in node.decorator_list if not read.is_declaration(decorator)]
        parts = [type(node).__name__, kept, node.args, body]
    return hashlib.sha256("\n".join(_flattened(parts)).encode(errors="surrogatepass")).hexdigest()[:16]


def _flattened(tree: object) -> Iterator[str]:
    """Yield a tree's words in order; without recursion, for an expression may be a thousand levels deep."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.AST):
            fields = [(name, value) for name, value in ast.iter_fields(item) if name not in _SILENT_FIELDS]
            if isinstance(item, ast.JoinedStr):  # Python 3.12.0 and .1 end a format with an empty text
                fields = [("values", [part for part in item.values if not _is_constant(part, value="")])]
            yield f"({type(item).__name__}"
            stack.append(_END)
            for name, value in reversed(fields):
                if value is not None and value != []:
                    stack += [value, _Word(name)]
        elif isinstance(item, list):
            yield "["
            stack += [_END, *reversed(item)]
        else:
            yield item if isinstance(item, _Word) else repr(item)


class _Word(str):
    """A name of the tree itself, told apart from a string in the program."""

    __slots__ = ()


_END = _Word(")")


# --- views opened by a body --------------------------------------------------------------------------------------


def _opened_views(roots: Iterable[FunctionType], sources: Sources) -> tuple[str, ...]:
    """Follow a body and the helper functions it calls, each once, in the order in which they are met."""
    found: dict[str, None] = {}
    seen: set[FunctionType] = set()
    for root in roots:
        seen.add(root)
        stack = [iter(sources.mentions_of(root))]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, str):
                found[item] = None
            elif item not in seen:
                seen.add(item)
                stack.append(iter(sources.mentions_of(item)))
    return tuple(found)


class _Reader:
    """Reads one function: what its names mean, as far as can be told without running it."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        code = function.__code__
        self._local = {*code.co_varnames, *code.co_cellvars}
        self._closure: dict[str, CellType] = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
        self._imported: dict[str, object] = {}

    def mentions(self, node: FunctionNode) -> Iterator[str | FunctionType]:
        """Yield names of view managers and user functions called, in the order of the text."""
        stack: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(reversed(node.body))
        while stack:
            found = stack.pop()
            if isinstance(found, ast.Import | ast.ImportFrom):
                self._note_import(found)
            elif isinstance(found, ast.Name | ast.Attribute):
                value = self.meaning(found)
                yield from _managers_in(value)
                if isinstance(found, ast.Attribute) and not _is_manager(self.meaning(found.value)):
                    stack.append(found.value)
            else:
                if isinstance(found, ast.Call):
                    yield from self._called(found)
                stack.extend(reversed(list(self._parts(found))))

    def meaning(self, node: ast.expr) -> object:
        """Return what a dotted name stands for; None when that is known only at run time."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        value = self._named(node.id) if isinstance(node, ast.Name) else None
        for name in reversed(path):
            # Modules and classes only, and statically: reading an attribute must not run anybody's code.
            value = inspect.getattr_static(value, name, None) if isinstance(value, ModuleType | type) else None
            value = value.__func__ if isinstance(value, staticmethod) else value
        return value

    def is_declaration(self, decorator: ast.expr) -> bool:
        """Return whether a decorator is `@migration`, under whatever name it was imported."""
        word = decorator.func if isinstance(decorator, ast.Call) else decorator
        return self.meaning(word) is authoring.migration or (
            isinstance(word, ast.Attribute) and word.attr == "migration"
        )

    def _named(self, name: str) -> object:
        if name in self._imported:
            return self._imported[name]
        if name in self._local:
            return None
        if name in self._closure:
            try:
                return self._closure[name].cell_contents
            except ValueError:  # not bound yet
                return None
        return self._function.__globals__.get(name)

    def _note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Understand an import inside a body by what is already loaded; a view that is not loaded is not declared."""
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                self._imported[alias.asname or name] = sys.modules.get(name)
                continue
            try:
                package = self._function.__globals__.get("__package__") or ""
                name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            value = getattr(sys.modules.get(name), "__dict__", {}).get(alias.name)
            self._imported[alias.asname or alias.name] = value or sys.modules.get(f"{name}.{alias.name}")

    def _called(self, node: ast.Call) -> Iterator[FunctionType]:
        for function in _chain(self.meaning(node.func)):
            name = function.__code__.co_filename
            if name == self._function.__code__.co_filename or is_user_file(name):
                yield function

    def _parts(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the parts of a node that may open a view: types and `isinstance` only talk about it."""
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"isinstance", "issubclass"}
        ):
            return
        for name, value in ast.iter_fields(node):
            if name not in _SILENT_FIELDS and name != "decorator_list":
                values = value if isinstance(value, list) else [value]
                yield from (each for each in values if isinstance(each, ast.AST))


def _is_manager(value: object) -> bool:
    return (
        isinstance(value, type) and issubclass(value, authoring.ViewMigrationManager) and not inspect.isabstract(value)
    )


def _managers_in(value: object) -> Iterator[str]:
    """Yield the names of one view manager, or of several kept together in a tuple, list, set or dict."""
    if isinstance(value, tuple | list | set | frozenset | dict):
        values = list(value.values() if isinstance(value, dict) else value)
        if all(map(_is_manager, values)):
            values = sorted(values, key=lambda kind: kind.__name__) if isinstance(value, set | frozenset) else values
            yield from (kind.__name__ for kind in values)
    elif _is_manager(value):
        yield value.__name__  # type: ignore[attr-defined] # a class
