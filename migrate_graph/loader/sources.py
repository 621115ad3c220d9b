"""The texts of one loading: each file is read once and parsed a piece at a time; functions are found in it by their code objects."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from importlib.util import decode_source
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeAlias

from msgspec import Struct, field

from migrate_graph.core.model import Migration
from migrate_graph.loader.declarations import SCOPES, module_statements
from migrate_graph.loader.pieces import Piece, pieces_of

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_MOST_LINES_OF_DECORATORS = 200
_MOST_PIECES = 16
_DEFINITION = re.compile(r"\s*(?:async\s+)?def\s+([^\s(\[:]+)")


class _Parsed(Struct):
    """What the syntax tree of a piece of a file holds.

    Attributes:
        functions: by name and first line, decorators included, as code objects have them; several lambdas may share a line.
        bindings: the statements of the module itself that give a name its value, in order.
        stars: `from … import *` of the module itself, in order.
    """

    functions: dict[tuple[str, int], list[FunctionNode]] = field(default_factory=dict)
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    stars: list[ast.ImportFrom] = field(default_factory=list)


class ParsedFile:
    """A file that is parsed only as far as it is asked for; of its syntax tree only a few pieces are kept.

    The tree of a file takes fifty times the memory of its text, and the part of most functions is needed only once.

    Args:
        text: of the file; empty when it cannot be read.
        kept: the pieces that were asked for last, of all files.
    """

    def __init__(self, text: str, kept: OrderedDict[tuple[ParsedFile, int], _Parsed]) -> None:
        self._text = text
        self._kept = kept
        self._coming = pieces_of(text, _parsed)
        self._pieces: list[Piece[None]] = []
        self._lines: list[int] = []
        self._parsed_to = 0
        self._binding: dict[str, list[int]] = {}
        self._starred: list[int] = []

    def functions(self, name: str, line: int) -> list[FunctionNode]:
        """Return the functions of a name that begin in a line, decorators included."""
        while self._parsed_to <= line and self._parse_next():
            pass
        at = bisect_right(self._lines, line) - 1
        return self._piece(at).functions.get((name, line), []) if at >= 0 else []

    def bindings(self, name: str) -> list[ast.stmt]:
        """Return the statements of the module itself that give a name its value, in order."""
        self._parse_all()
        return [each for at in self._binding.get(name, ()) for each in self._piece(at).bindings[name]]

    def stars(self) -> list[ast.ImportFrom]:
        """Return each `from … import *` of the module itself, in order."""
        self._parse_all()
        return [each for at in self._starred for each in self._piece(at).stars]

    def _parse_all(self) -> None:
        while self._parse_next():
            pass

    def _parse_next(self) -> bool:
        """Parse the next piece, and note what it binds; return whether there was one."""
        try:
            piece = next(self._coming, None)
        except SyntaxError:  # the file is not the one that was loaded
            return False
        if piece is None:
            return False
        at, parsed = len(self._pieces), piece.read
        self._parsed_to = piece.line + self._text.count("\n", piece.start, piece.end)
        self._pieces.append(Piece(piece.line, piece.start, piece.end, None))
        self._lines.append(piece.line)
        for name in parsed.bindings:
            self._binding.setdefault(name, []).append(at)
        if parsed.stars:
            self._starred.append(at)
        self._keep(at, parsed)
        return True

    def _piece(self, at: int) -> _Parsed:
        parsed = self._kept.pop((self, at), None)
        return self._keep(at, _parsed(self._pieces[at].of(self._text)) if parsed is None else parsed)

    def _keep(self, at: int, parsed: _Parsed) -> _Parsed:
        self._kept[self, at] = parsed
        if len(self._kept) > _MOST_PIECES:
            self._kept.popitem(last=False)
        return parsed


class Sources:
    """The files of one loading.

    Args:
        shown: returns the path that people are shown for a file name.

    Attributes:
        mentions: a cache of the view managers and functions that each function names; see `loader.bodies`.
        units: a cache of what functions, classes and names of modules say and use; see `loader.fingerprints`.
    """

    def __init__(self, shown: Callable[[str], str] = str) -> None:
        self.shown = shown
        self.mentions: dict[FunctionType, tuple[str | FunctionType, ...]] = {}
        self.units: dict[Any, Any] = {}
        self._files: dict[str, ParsedFile] = {}
        self._kept: OrderedDict[tuple[ParsedFile, int], _Parsed] = OrderedDict()
        self._texts: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}

    def file(self, name: str, scope: Mapping[str, Any]) -> ParsedFile:
        """Return a file; an empty one when its text cannot be read.

        Args:
            name: as code objects name it.
            scope: the names of its module.
        """
        if name not in self._files:
            self._files[name] = ParsedFile(self._text(name, scope), self._kept)
        return self._files[name]

    def _text(self, name: str, scope: Mapping[str, Any]) -> str:
        if name not in self._texts:
            self._texts[name] = _text_of(name, scope)
        return self._texts[name]

    def line_of_def(self, function: FunctionType) -> int:
        """Return the line of a function's `def`, below its decorators; its first line where there is none.

        The text is kept as it is now, and is not parsed for this.
        """
        code = function.__code__
        name, first = code.co_filename, code.co_firstlineno
        if name not in self._lines:
            self._lines[name] = self._text(name, function.__globals__).split("\n")
        for line, text in enumerate(self._lines[name][first - 1 : first - 1 + _MOST_LINES_OF_DECORATORS], first):
            if (found := _DEFINITION.match(text)) and found[1] == code.co_name:
                return line
        node = self.node_of(function)
        return first if node is None else node.lineno

    def forget_lines(self) -> None:
        """Release the memory that only `line_of_def` needs: it is called while a project is loaded, and the texts are kept longer."""
        self._lines.clear()

    def node_of(self, function: FunctionType) -> FunctionNode | None:
        """Return the syntax tree of a function; None when its source cannot be read."""
        code = function.__code__
        found = self.file(code.co_filename, function.__globals__).functions(code.co_name, code.co_firstlineno)
        if len(found) > 1 and isinstance(found[0], ast.Lambda):
            return next((node for node in found if _is_at(code, node)), found[0])
        return found[0] if found else None


def _is_at(code: CodeType, node: FunctionNode) -> bool:
    """Return whether a code object is that of this lambda: several lambdas may stand on one line."""
    body = node.body if isinstance(node, ast.Lambda) else node.body[0]
    places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column]
    ends = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    return bool(places) and all(ends[0] <= place <= ends[1] for place in places)


def _text_of(name: str, scope: Mapping[str, Any]) -> str:
    """Return the text of a file; from linecache where there is no such file (a module in a zip, a cell of a notebook)."""
    try:
        return decode_source(Path(name).read_bytes())
    except (SyntaxError, UnicodeError):
        return ""
    except (OSError, ValueError):
        return "".join(linecache.getlines(name, dict(scope)))


def _parsed(text: str) -> _Parsed:
    """Parse a piece; one that Python cannot parse for lack of memory or depth counts as empty.

    Raises:
        SyntaxError: it is not Python.
    """
    parsed = _Parsed()
    try:
        tree = ast.parse(text)
    except (ValueError, RecursionError, MemoryError):
        return parsed
    for node in ast.walk(tree) if "lambda" in text else _statements_in(tree):
        if isinstance(node, ast.Lambda):
            parsed.functions.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            parsed.functions.setdefault((node.name, first), []).append(node)
    for statement in module_statements(tree):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            parsed.stars.append(statement)
        for name in names_bound_by(statement):
            parsed.bindings.setdefault(name, []).append(statement)
    return parsed


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _statements_in(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield every statement of a tree in the order of `ast.walk`, without walking through expressions, where most nodes are."""
    level: list[ast.AST] = [tree]
    while level:
        yield from level
        level = [each for node in level for block in _BLOCKS for each in getattr(node, block, ())]


def names_bound_by(node: ast.stmt) -> Iterator[str]:
    """Yield the names that one statement itself binds, without those that statements inside of it bind."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (name for target in node.targets for name in _names_in(target))
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For | ast.AsyncFor):
        yield from _names_in(node.target)
    elif isinstance(node, ast.With | ast.AsyncWith):
        yield from (name for item in node.items if item.optional_vars for name in _names_in(item.optional_vars))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        # `TABLES.append("c")` changes what the name stands for.
        value = node.value.func
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
            yield value.value.id


def _names_in(target: ast.expr) -> Iterator[str]:
    while isinstance(target, ast.Subscript | ast.Attribute):
        target = target.value  # `TABLES[0] = …` as well
    yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


# Tells whether a name is read or set, which its surroundings tell as well. These are a third of the nodes of a body.
_CONTEXT = frozenset({"ctx"})


@functools.lru_cache(maxsize=8)
def own_nodes(node: FunctionNode) -> tuple[ast.AST, ...]:
    """Return the nodes of a body, without those of functions and classes in it; cached, since one body is read several times in a row."""
    stack: list[ast.AST] = [node.body] if isinstance(node, ast.Lambda) else list(node.body)
    walked = []
    while stack:
        found = stack.pop()
        walked.append(found)
        if not isinstance(found, SCOPES):
            stack += parts_of(found, without=_CONTEXT)
    return tuple(walked)


def parts_of(node: ast.AST, *, without: frozenset[str]) -> list[ast.AST]:
    """Return the child nodes of a node, in order, without those in some fields; `ast.iter_child_nodes` takes twice as long."""
    parts: list[ast.AST] = []
    for name in _fields_of(type(node), without):  # type: ignore[arg-type] # a class can be hashed
        value = getattr(node, name, None)
        if isinstance(value, list):
            parts += [each for each in value if isinstance(each, ast.AST)]
        elif isinstance(value, ast.AST):
            parts.append(value)
    return parts


@functools.cache
def _fields_of(kind: type[ast.AST], without: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in kind._fields if name not in without)


def is_constant(node: object, *, value: object) -> bool:
    """Return whether a node is a constant of this value and type: `True` is not 1."""
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


# --- the functions behind a callable -----------------------------------------------------------------------------


def chain_of(function: object) -> list[FunctionType]:
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
