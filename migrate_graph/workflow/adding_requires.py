"""Write requirements into the user's files: each edit keeps every other byte, and is tried before it is written."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

from msgspec import Struct, field

from migrate_graph.core.graph import Edge, EdgeKind, MigrationGraph
from migrate_graph.core.model import Migration
from migrate_graph.errors import LoadError, UsageError
from migrate_graph.loader import load, with_texts
from migrate_graph.loader.meanings import Reader
from migrate_graph.user_files import is_user_file, shown_from
from migrate_graph.workflow.git import Git
from migrate_graph.workflow.plan import write_file
from migrate_graph.workflow.project import Project
from migrate_graph.workflow.user_text import UserText

_GENERATED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.AsyncFor, ast.While)
_BETWEEN = frozenset({tokenize.NL, tokenize.COMMENT, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})


class Unable(Struct, frozen=True):
    """A migration whose requirements somebody must add by hand.

    Attributes:
        migration: the migration.
        why: why its declaration cannot be edited.
        line: the argument to add by hand.
    """

    migration: Migration
    why: str
    line: str


class Added(Struct, frozen=True):
    """The result of adding requirements.

    Attributes:
        files: paths of the files that were written, as they are shown.
        names: names of the migrations that have more requirements now.
        unable: the migrations whose requirements must be added by hand.
    """

    files: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unable: tuple[Unable, ...] = ()


class Snapshot(Struct, frozen=True):
    """The files of a project as they were when it was loaded.

    Attributes:
        contents: content of each file that declares a migration, by its path.
        head: hash of the commit that was checked out; empty outside of git.
    """

    contents: Mapping[Path, bytes]
    head: str = ""


def take_snapshot(project: Project, environ: Mapping[str, str]) -> Snapshot:
    """Read the files of a project, so that it can be seen later whether somebody has changed them."""
    files = {path for migration in project.graph.migrations.values() if (path := _file_of(migration)) is not None}
    contents = {}
    for path in sorted(files):
        with suppress(OSError):
            contents[path] = path.read_bytes()
    return Snapshot(contents, _head(project, environ))


def _head(project: Project, environ: Mapping[str, str]) -> str:
    try:
        return Git(project.path.parent, environ).head()
    except UsageError:  # no git, or no repository
        return ""


def requires_line(names: Iterable[str]) -> str:
    """Return the argument `requires=…` of `@migration` as source text."""
    quoted = [_quoted(name) for name in names]
    return f"requires={quoted[0]}" if len(quoted) == 1 else f"requires=[{', '.join(quoted)}]"


def _quoted(name: str, quote: str = '"') -> str:
    return f"{quote}{name}{quote}" if name.isidentifier() else ascii(name)


def add_requires(
    project: Project, additions: Mapping[str, Iterable[str]], snapshot: Snapshot, environ: Mapping[str, str]
) -> Added:
    """Add requirements to the declarations of migrations; none is ever removed.

    Before anything is written, the project is loaded with the new texts, and its graph must be exactly the wanted one.

    Args:
        project: the project as it was loaded.
        additions: names of the requirements to add, by the migration's name.
        snapshot: the files when the project was loaded.
        environ: the environment that git gets.

    Raises:
        UsageError: a file or the checked-out commit has changed since the project was loaded, or the new texts do not give the
            wanted graph. Nothing was written.
    """
    edits, unable = _planned(project, additions, snapshot)
    texts = {path: file.edited() for path, file in edits.items()}
    names = [name for file in edits.values() for name in file.names]
    if texts:
        _require_unchanged(project, snapshot, texts, environ)
        _try_out(project, {name: tuple(additions[name]) for name in names}, texts)
        _require_unchanged(project, snapshot, texts, environ)
        _write_all(texts, snapshot)
    in_order = [name for name in project.graph.migrations if name in names]
    return Added(tuple(shown_from(path, project.root) for path in texts), tuple(in_order), tuple(unable))


def _planned(
    project: Project, additions: Mapping[str, Iterable[str]], snapshot: Snapshot
) -> tuple[dict[Path, _File], list[Unable]]:
    """Return the files with their edits, and the migrations that must be edited by hand."""
    files: dict[Path, _File] = {}
    unable = []
    for name, wanted in additions.items():
        migration = project.graph.migrations[name]
        try:
            path = _place_of(migration, project)
            if path not in files:
                files[path] = _File(path, snapshot.contents.get(path, b""))
            files[path].add(migration, list(wanted))
        except _ByHandError as error:
            line = requires_line([*migration.requires, *wanted])
            unable.append(Unable(migration, str(error), line))
    return {path: file for path, file in files.items() if file.names}, unable


class _ByHandError(Exception):
    """Why a declaration cannot be edited."""


def _function_of(migration: Migration) -> FunctionType | None:
    with suppress(ValueError):  # a chain of wrappers that leads back to itself
        inner = inspect.unwrap(migration.function)
        return inner if isinstance(inner, FunctionType) else None
    return None


def _file_of(migration: Migration) -> Path | None:
    function = _function_of(migration)
    if function is None or not is_user_file(function.__code__.co_filename):
        return None
    return Path(function.__code__.co_filename)


def _place_of(migration: Migration, project: Project) -> Path:
    """Return the file that declares a migration.

    Raises:
        _ByHandError: there is no such file, it belongs to an installed package, or several migrations are declared by the same function.
    """
    function, path = _function_of(migration), _file_of(migration)
    if function is None:
        raise _ByHandError("it is not declared by a function")
    if path is None:
        raise _ByHandError("it is declared by an installed package")
    others = (_function_of(each) for each in project.graph.migrations.values())
    if sum(other is not None and other.__code__ is function.__code__ for other in others) > 1:
        raise _ByHandError("several migrations are declared there by a loop or a function")
    return path


def _try_out(project: Project, additions: Mapping[str, tuple[str, ...]], texts: Mapping[Path, bytes]) -> None:
    """Load the project with new texts, and compare its graph with the wanted one.

    Raises:
        UsageError: it does not load, or its graph is not the wanted one.
    """
    try:
        with with_texts(texts):
            graph = project.declaring(load(project.path, root=project.root)).graph
    except LoadError as error:
        raise UsageError(
            f"the files are not changed: with the new requirements they would not load: {error.message}",
            hint="add them by hand",
        ) from error
    wanted = {
        name: {*migration.requires, *additions.get(name, ())} for name, migration in project.graph.migrations.items()
    }
    found = {name: set(migration.requires) for name, migration in graph.migrations.items()}
    if list(found) != list(wanted) or found != wanted or _of_views(project.graph) != _of_views(graph):
        different = sorted(name for name in wanted if found.get(name) != wanted[name])
        raise UsageError(
            "the files are not changed: the new text would not give the wanted graph"
            + (f" ({', '.join(different[:3])})" if different else ""),
            hint="add the requirements by hand",
        )


def _of_views(graph: MigrationGraph) -> set[Edge]:
    return {edge for edge in graph.edges() if edge.kind is not EdgeKind.REQUIRES}


def _require_unchanged(project: Project, snapshot: Snapshot, texts: Iterable[Path], environ: Mapping[str, str]) -> None:
    """Refuse to write when the files were changed since they were loaded.

    Raises:
        UsageError: a file has another content, or another commit is checked out.
    """
    again = "run migrate verify --infer again"
    if _head(project, environ) != snapshot.head:
        raise UsageError("another commit is checked out than when the migrations were loaded", hint=again)
    for path in texts:
        try:
            is_same = path.read_bytes() == snapshot.contents[path]
        except OSError:
            is_same = False
        if not is_same:
            raise UsageError(
                f"{shown_from(path, project.root)} was changed while the migrations were verified", hint=again
            )


def _write_all(texts: Mapping[Path, bytes], snapshot: Snapshot) -> None:
    """Write all files; when one cannot be written, restore the others.

    Raises:
        UsageError: a file cannot be written.
    """
    written = []
    try:
        for path, content in texts.items():
            write_file(path, content)
            written.append(path)
    except UsageError:
        for path in written:
            write_file(path, snapshot.contents[path])
        raise


# -- one file -----------------------------------------------------------------------------------------------------------------


class _File(Struct, dict=True):
    """A file whose declarations get more requirements.

    Attributes:
        path: its path.
        content: its content when it was loaded.
        names: names of the migrations that were edited.
    """

    path: Path
    content: bytes
    names: list[str] = field(default_factory=list)
    _edits: list[tuple[int, str]] = field(default_factory=list)

    @cached_property
    def _written(self) -> UserText:
        try:
            written = UserText.of_python(self.content, name=self.path.name)
            is_kept = written.encoded(written.text) == self.content
        except UsageError:
            is_kept = False
        if not is_kept or re.search(r"\r(?!\n)", written.text):
            raise _ByHandError("its encoding or its line ends are of a kind that cannot be kept")
        return written

    @cached_property
    def _tree(self) -> ast.Module:
        try:
            return ast.parse(self._written.text)
        except (SyntaxError, ValueError, RecursionError):
            raise _ByHandError("its file cannot be parsed") from None

    @cached_property
    def _tokens(self) -> list[tokenize.TokenInfo]:
        try:
            return list(tokenize.generate_tokens(io.StringIO(self._written.text).readline))
        except (tokenize.TokenError, SyntaxError):
            raise _ByHandError("its file cannot be parsed") from None

    @cached_property
    def _lines(self) -> list[str]:
        return self._written.text.split("\n")

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line) + 1)
        return starts

    def edited(self) -> bytes:
        """Return the file with all edits."""
        text = self._written.text
        for at, more in sorted(self._edits, key=lambda edit: edit[0], reverse=True):
            text = f"{text[:at]}{more}{text[at:]}"
        return self._written.encoded(text)

    def add(self, migration: Migration, wanted: list[str]) -> None:
        """Note the edit that adds requirements to a migration.

        Raises:
            _ByHandError: its declaration is written in a way that cannot be edited.
        """
        function = _function_of(migration)
        assert function is not None  # noqa: S101 - a migration with a file has a function
        node = self._declaration(function)
        edits = list(self._edits_of(node, function, wanted))
        encoded = "".join(text for _, text in edits)
        try:
            self._written.encoded(encoded)
        except UsageError:
            raise _ByHandError("its file is written in an encoding that has not all letters of the names") from None
        self._edits += edits
        self.names.append(migration.name)

    def _declaration(self, function: FunctionType) -> ast.expr:
        """Return the decorator that declares a function as a migration."""
        code, reader = function.__code__, Reader(function)
        for node, generated in _functions(self._tree):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if (node.name, first) == (code.co_name, code.co_firstlineno):
                if generated:
                    raise _ByHandError("it is declared within a loop, a function or a class")
                found = [each for each in node.decorator_list if reader.is_declaration(each)]
                if len(found) == 1:
                    return found[0]
        raise _ByHandError("no @migration stands above a function of its name")

    def _edits_of(self, node: ast.expr, function: FunctionType, wanted: list[str]) -> Iterator[tuple[int, str]]:
        if not isinstance(node, ast.Call):
            yield self._end(node), f"({requires_line(wanted)})"
            return
        if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            raise _ByHandError("its arguments are filled in by * or **")
        given = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "requires")]
        if not given:
            yield from self._append(node, requires_line(wanted), is_empty=not (node.args or node.keywords))
            return
        (value,) = given
        if isinstance(value, ast.List | ast.Tuple | ast.Set):
            yield from self._append_all(value, value.elts, self._spelled(value.elts, function, wanted))
        else:
            yield from self._instead_of(value, function, wanted)

    def _append_all(self, node: ast.expr, there: list[ast.expr], items: list[str]) -> Iterator[tuple[int, str]]:
        """Yield the edits that add items to a list, a tuple or a set."""
        if isinstance(node, ast.Tuple) and self._written.text[self._start(node)] != "(":
            raise _ByHandError("its requirements are a tuple without parentheses")
        text = ", ".join(items)
        if isinstance(node, ast.Tuple) and not there and len(items) == 1:
            text += ","
        if len(items) > 1 and there and self._is_upright(node):
            text = f",{_BREAK}".join(items)
        yield from self._append(node, text, is_empty=not there)

    def _instead_of(self, value: ast.expr, function: FunctionType, wanted: list[str]) -> Iterator[tuple[int, str]]:
        """Yield the edits that turn a single requirement into a list."""
        start, end = self._start(value), self._end(value)
        items = ", ".join(self._spelled([value], function, wanted))
        if isinstance(value, ast.Constant) and value.value in {None, ""}:
            raise _ByHandError("its requirements are written as nothing at all")
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            star = ""
        elif isinstance(value, ast.Name | ast.Attribute):
            meant = Reader(function).meaning(value)
            if meant is None:
                raise _ByHandError("what its requirements are is known only at run time")
            star = "" if isinstance(meant, str) or callable(meant) else "*"
        else:
            raise _ByHandError("its requirements are computed")
        yield start, f"[{star}"
        yield end, f", {items}]"

    def _spelled(self, there: list[ast.expr], function: FunctionType, wanted: list[str]) -> list[str]:
        """Return names as source text in the style of the requirements beside them: as functions, or as texts in the same quotes."""
        texts = [each for each in there if isinstance(each, ast.Constant)]
        quote = self._written.text[self._start(texts[0])] if texts else '"'
        quote = quote if quote in {'"', "'"} else '"'
        by_name = bool(there) and all(isinstance(each, ast.Name) for each in there)
        return [name if by_name and self._is_known(name, function) else _quoted(name, quote) for name in wanted]

    def _is_known(self, name: str, function: FunctionType) -> bool:
        """Return whether a name means a migration that is declared in this file, above the given function."""
        meant: Any = function.__globals__.get(name)
        if not isinstance(meant, Migration) or meant.name != name or _file_of(meant) != self.path:
            return False
        other = _function_of(meant)
        return other is not None and other.__code__.co_firstlineno < function.__code__.co_firstlineno

    # -- places -----------------------------------------------------------------------------------------------------------

    def _append(self, node: ast.expr, item: str, *, is_empty: bool) -> Iterator[tuple[int, str]]:
        """Yield the edits that add an item after the last one in brackets, in the layout of that bracket."""
        closing = self._position(node.end_lineno or 0, (node.end_col_offset or 0) - 1)
        place = next(index for index, token in enumerate(self._tokens) if token.start == closing)
        before = next(token for token in reversed(self._tokens[:place]) if token.type not in _BETWEEN)
        at = self._offset(before.end)
        has_comma = before.string == "," and not is_empty
        if is_empty:
            yield at, item.replace(_BREAK, " ")
        elif before.end[0] == closing[0]:
            yield at, (" " if has_comma else ", ") + item.replace(_BREAK, " ")
        else:
            if not has_comma:
                yield at, ","
            indent = self._indent(node, closing)
            below = self._written.newline
            text = f"{indent}{item.replace(_BREAK, below + indent)}{',' if has_comma else ''}{below}"
            yield self._starts[before.end[0]], text

    def _indent(self, node: ast.expr, closing: tuple[int, int]) -> str:
        """Return the indentation of the items of a bracket that spans several lines."""
        items: list[ast.expr | ast.keyword] = []
        if isinstance(node, ast.Call):
            items = [*node.args, *node.keywords]
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            items = [*node.elts]
        for each in reversed(items):
            row, column = self._position(each.lineno, each.col_offset)
            before = self._lines[row - 1][:column]
            if not before.strip():
                return before
        line = self._lines[closing[0] - 1]
        indent = line[: len(line) - len(line.lstrip())]
        return indent + ("\t" if "\t" in indent else "    ")

    def _is_upright(self, node: ast.expr) -> bool:
        """Return whether each item of a bracket stands on its own line."""
        items = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else []
        rows = {each.lineno for each in items}
        return len(rows) == len(items) and node.lineno not in rows

    def _start(self, node: ast.expr) -> int:
        return self._offset(self._position(node.lineno, node.col_offset))

    def _end(self, node: ast.expr) -> int:
        return self._offset(self._position(node.end_lineno or 0, node.end_col_offset or 0))

    def _position(self, row: int, column: int) -> tuple[int, int]:
        """Return a place of the syntax tree in characters; the syntax tree counts bytes."""
        return row, len(self._lines[row - 1].encode()[:column].decode(errors="ignore"))

    def _offset(self, position: tuple[int, int]) -> int:
        return self._starts[position[0] - 1] + position[1]


_BREAK = "\0"
"""Separates items that may be written on lines of their own."""


def _functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Yield every function, and whether it stands in code that may run more than once, or never."""
    stack: list[tuple[ast.AST, bool]] = [(tree, False)]
    while stack:
        node, generated = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, generated
        inner = generated or isinstance(node, _GENERATED)
        stack += [
            (child, inner) for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.excepthandler)
        ]
