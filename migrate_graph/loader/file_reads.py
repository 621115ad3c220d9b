"""Which files of the project a function reads, as far as its text shows their paths."""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from migrate_graph.loader.meanings import Reader, loaded_modules
from migrate_graph.user_files import is_user_file

_READING = frozenset({"read_text", "read_bytes", "read_binary", "open_text", "open_binary", "get_data", "open"})
_LISTING = frozenset({"glob", "rglob", "iterdir"})
# A text that looks like the name of a data file: a helper function may read it.
_DATA_FILE = re.compile(
    r"[\w ./-]{1,150}\.(?:sql|psql|pgsql|ddl|txt|csv|tsv|jsonl?|ya?ml|toml|xml|j2|jinja2?|te?mpl|tpl|html|md|ini)"
)
# Methods of a path, and whether their arguments count; functions that make a path of their first argument.
_OF_A_PATH = {"resolve": False, "absolute": False, "joinpath": True, "with_name": True, "with_suffix": True}
_OF_ITS_ARGUMENT = frozenset(
    {"Path", "PurePath", "PosixPath", "join", "dirname", "abspath", "realpath", "normpath", "as_file", "str", "fspath"}
)
# Stands in a path for a part that is known only at run time: a parameter, an attribute of `self`.
_HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"
_FIELD = re.compile(r"\{[^{}]*\}")
_PERCENT = re.compile(r"%[sd]")
_MOST_BYTES = 16 * 1024 * 1024
_MOST_FILES = 1_000
_MOST_HOLES = 2
_DEEPEST = 50
"""How deeply the expressions of a path may be nested."""
_LONGEST = 1_000
_LONGEST_NAME = 255


class FileReads:
    """Collects the files that a function reads; `look_at` is called with its nodes in order.

    Attributes:
        files: the files that are read; the value is the directory of the module that reads it.
        directories: directories that may hold such files; values as above.
        names: names that such files may have.
        patterns: paths of files that are read, with a hole for each part that is known only at run time; values as above.
        texts: words in the code that may fill such a hole.
    """

    def __init__(self) -> None:
        self.files: dict[Path, Path] = {}
        self.patterns: dict[Path, Path] = {}
        self.texts: set[str] = set()
        self._fills = False
        self._depth = 0
        self.directories: dict[Path, Path] = {}
        self.names: dict[str, None] = {}
        self._assigned: dict[tuple[int, str], ast.expr] = {}
        self._readers: dict[int, Reader] = {}

    def look_at(self, node: ast.AST, names: Reader) -> None:
        """Note what a node tells: a file that is read, a directory that files may be in, a name that one may have."""
        home = _directory_of(names.scope)
        if home is None:
            return
        self.directories.setdefault(home, home)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                self.note_text(node.value)
        elif isinstance(node, ast.Assign | ast.withitem):
            self._note_assignment(node, names)
        elif isinstance(node, ast.Call):
            for read in self._read_by(node, names):
                kind = self.patterns if _HOLE in str(read) else self.files
                kind.setdefault(read, home)
        if isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.BinOp):
            place = self._path(node, names)
            if place is not None and place.is_dir():
                self.directories.setdefault(place, home)

    def note_text(self, text: str) -> None:
        """Note a text that may be the name of a file, or a part of one."""
        if _DATA_FILE.fullmatch(text):
            self.names[text] = None
        if len(text) <= _LONGEST_NAME and not any(map(str.isspace, text)):
            self.texts.add(text)

    def _note_assignment(self, node: ast.Assign | ast.withitem, names: Reader) -> None:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.optional_vars
        value = node.value if isinstance(node, ast.Assign) else node.context_expr
        if isinstance(target, ast.Name) and names.is_local(target.id):
            self._readers[id(names)] = names  # kept, so that no other reader gets its number
            self._assigned[id(names), target.id] = value

    def _read_by(self, node: ast.Call, names: Reader) -> Iterable[Path]:
        """Return the files that a call reads."""
        word = _last_word(node.func)
        if word == "open" and _writes(node):
            return
        if word in _LISTING and isinstance(node.func, ast.Attribute):
            yield from self._listed_by(node, node.func, names)
        elif word in _READING:
            holder = node.func.value if isinstance(node.func, ast.Attribute) else None
            paths: list[PurePath | None] = [] if holder is None else [self._path(holder, names)]
            if node.args:
                paths += [self._anchored(node.args, names), self._path(node.args[0], names)]
            found = [Path(path) for path in paths if path is not None and Path(path).is_file()]
            yield from found or self._patterns([*([] if holder is None else [holder]), *node.args[:1]], names)

    def _patterns(self, nodes: Iterable[ast.expr], names: Reader) -> Iterator[Path]:
        """Yield the paths that some expressions mean, with a hole for each part that is known only at run time."""
        self._fills = True
        try:
            paths = [self._path(node, names) for node in nodes]
        finally:
            self._fills = False
        # A path of one part tells nothing but its hole.
        yield from (path for path in paths if path is not None and _HOLE in str(path) and path.parts[-1:] != path.parts)

    def _listed_by(self, node: ast.Call, function: ast.Attribute, names: Reader) -> Iterable[Path]:
        directory = self._path(function.value, names)
        pattern = self._text(node.args[0], names) if node.args else "*"
        if directory is None or not directory.is_dir() or not pattern or PurePath(pattern).is_absolute():
            return
        found = directory.rglob(pattern) if function.attr == "rglob" else directory.glob(pattern)
        yield from sorted(path for path in found if path.is_file() and path.suffix not in {".py", ".pyc"})

    # --- paths -----------------------------------------------------------------------------------------------

    def _path(self, node: ast.expr, names: Reader) -> Path | None:
        """Return the path that an expression means; None when that is known only at run time."""
        text = self._evaluated(node, names)
        if text is None or len(str(text)) > _LONGEST or not str(text).isprintable():  # SQL, for example
            return None
        path = Path(text)
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):  # the system would raise
            return None
        home = _directory_of(names.scope)
        if not path.is_absolute() and home is not None:  # of the working directory, which is mostly one of these
            path = next((each for base in (home, *home.parents[:2]) if (each := base / text).exists()), home / text)
        return path if is_user_file(str(path)) else None

    def _text(self, node: ast.expr, names: Reader) -> str | None:
        found = self._evaluated(node, names)
        return None if found is None else str(found)

    def _evaluated(self, node: ast.expr, names: Reader) -> str | PurePath | None:
        if self._depth == _DEEPEST:
            return None
        self._depth += 1
        try:
            found = self._meant(node, names)
        finally:
            self._depth -= 1
        return _HOLE if found is None and self._fills else found

    def _meant(self, node: ast.expr, names: Reader) -> str | PurePath | None:
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.Name(id=name):
                return self._named(name, names)
            case ast.JoinedStr(values=parts):
                return self._joined(parts, names)
            case ast.BinOp():
                return self._operation(node, names)
            case ast.Attribute() | ast.Subscript() | ast.Call():
                return self._derived(node, names)
        return None

    def _operation(self, node: ast.BinOp, names: Reader) -> str | PurePath | None:
        left, right = node.left, node.right
        if isinstance(node.op, ast.Mod):
            values = right.elts if isinstance(right, ast.Tuple) else [right]
            return self._filled(self._evaluated(left, names), _PERCENT, values, names)
        if isinstance(node.op, ast.Div | ast.Add):
            return _combined(self._evaluated(left, names), self._evaluated(right, names), node.op)
        return None

    def _derived(self, node: ast.Attribute | ast.Subscript | ast.Call, names: Reader) -> str | PurePath | None:
        if isinstance(node, ast.Attribute):
            return self._attribute(node, names)
        return self._ancestor(node, names) if isinstance(node, ast.Subscript) else self._call(node, names)

    def _joined(self, parts: Iterable[ast.expr], names: Reader) -> str | None:
        """Return the text of an f-string; format specifications are ignored."""
        texts = [self._text(part.value if isinstance(part, ast.FormattedValue) else part, names) for part in parts]
        return None if None in texts else "".join(map(str, texts))

    def _filled(
        self, text: str | PurePath | None, place: re.Pattern[str], values: list[ast.expr], names: Reader
    ) -> str | None:
        """Return a text with some values filled into its places, in order; None where one is unknown or their number differs."""
        if not isinstance(text, str) or len(place.findall(text)) != len(values):
            return None
        given = [self._text(value, names) for value in values]
        waiting = iter(given)
        return None if None in given else place.sub(lambda _: str(next(waiting)), text)

    def _named(self, name: str, names: Reader) -> str | PurePath | None:
        if (value := self._assigned.pop((id(names), name), None)) is not None:
            try:
                return self._evaluated(value, names)  # it was popped because `path = path / "x"` names itself
            finally:
                self._assigned[id(names), name] = value
        if names.is_local(name):
            return None
        value_now = names.named(name)
        return value_now if isinstance(value_now, str | PurePath) else None

    def _attribute(self, node: ast.Attribute, names: Reader) -> str | PurePath | None:
        if node.attr == "parent":
            path = self._evaluated(node.value, names)
            return None if path is None or _HOLE in PurePath(path).name else PurePath(path).parent
        value = names.meaning(node)
        return value if isinstance(value, str | PurePath) else None

    def _ancestor(self, node: ast.Subscript, names: Reader) -> PurePath | None:
        """Return what `path.parents[1]` means."""
        holder, index = node.value, node.slice
        if not (isinstance(holder, ast.Attribute) and holder.attr == "parents" and isinstance(index, ast.Constant)):
            return None
        path = self._evaluated(holder.value, names)
        if path is None or not isinstance(index.value, int) or not 0 <= index.value < len(PurePath(path).parents):
            return None
        return PurePath(path).parents[index.value]

    def _call(self, node: ast.Call, names: Reader) -> str | PurePath | None:
        word = _last_word(node.func)
        if word == "files":
            return self._anchored(node.args, names)
        if isinstance(node.func, ast.Attribute) and word == "format" and not node.keywords:
            return self._filled(self._evaluated(node.func.value, names), _FIELD, node.args, names)
        if isinstance(node.func, ast.Attribute) and word in _OF_A_PATH:
            path = self._evaluated(node.func.value, names)
            return self._with_parts(word, path, node.args, names) if _OF_A_PATH[word] else path
        first = self._evaluated(node.args[0], names) if node.args else None
        if first is None or word not in _OF_ITS_ARGUMENT:
            return None
        if word == "dirname":
            return None if _HOLE in PurePath(first).name else PurePath(first).parent
        return self._with_parts("joinpath", first, node.args[1:], names)

    def _with_parts(
        self, word: str, path: str | PurePath | None, parts: Iterable[ast.expr], names: Reader
    ) -> PurePath | None:
        texts = [self._text(part, names) for part in parts]
        if path is None or None in texts:
            return None
        try:
            changed: PurePath = getattr(PurePath(path), word)(*texts)
        except (TypeError, ValueError):  # with_name("")
            return None
        return changed

    def _anchored(self, arguments: list[ast.expr], names: Reader) -> PurePath | None:
        """Return what `files(package)` means, or `read_text(package, name)`."""
        if not arguments:
            return _directory_of(names.scope)
        anchor: object = names.meaning(arguments[0])
        anchor = anchor if isinstance(anchor, ModuleType) else self._text(arguments[0], names)
        module = loaded_modules().get(anchor) if isinstance(anchor, str) else anchor
        home = _directory_of(vars(module)) if isinstance(module, ModuleType) else None
        return None if home is None else self._with_parts("joinpath", home, arguments[1:], names)


def words_of_files(reads: Iterable[FileReads], words: Iterable[str] = ()) -> Iterator[str]:
    """Yield the name and the content of each file that is read, in a fixed order; ends of lines do not count.

    Args:
        reads: of everything that is looked at.
        words: further words that may be a part of a file's name, besides those in the texts.
    """
    files: dict[Path, Path] = {}
    directories: dict[Path, Path] = {}
    names: dict[str, None] = {}
    patterns: dict[Path, Path] = {}
    texts = set(words)
    for each in reads:
        files |= each.files
        directories |= each.directories
        names |= each.names
        patterns |= each.patterns
        texts |= each.texts
    for name in names:  # most functions name none
        there = {directory / name: home for directory, home in directories.items()}
        files |= {path: home for path, home in there.items() if path.is_file()}
    for pattern, home in patterns.items():
        files |= dict.fromkeys(_filled_in(pattern, texts), home)
    named = {Path(os.path.relpath(path, home)).as_posix(): path for path, home in files.items()}
    for name in sorted(named)[:_MOST_FILES]:
        if (content := _content_of(named[name])) is not None:
            digest = hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()
            yield f"file {name} {digest}"


def _filled_in(pattern: Path, texts: Container[str]) -> Iterator[Path]:
    """Yield the files whose path is a pattern with some of these texts in its holes."""
    known = next(index for index, part in enumerate(pattern.parts) if _HOLE in part)
    directory, rest = Path(*pattern.parts[:known]), "/".join(pattern.parts[known:])
    unknown = sum(_HOLE in part for part in pattern.parts)
    if (
        directory == Path(directory.anchor)
        or unknown > _MOST_HOLES
        or not directory.is_dir()
        or any(sign in rest for sign in "*?[")
    ):
        return  # that could be any file of the machine
    shape = re.compile(re.escape(rest).replace(re.escape(_HOLE), "(.+?)"))
    for path in sorted(directory.glob(rest.replace(_HOLE, "*")))[:_MOST_FILES]:
        parts = shape.fullmatch(path.relative_to(directory).as_posix())
        if parts and path.is_file() and all(part in texts for part in parts.groups()):
            yield path


def _combined(
    left: str | PurePath | None, right: str | PurePath | None, operation: ast.operator
) -> str | PurePath | None:
    if left is None or right is None:
        return None
    return PurePath(left) / right if isinstance(operation, ast.Div) else f"{left}{right}"


def _directory_of(scope: Mapping[str, Any]) -> Path | None:
    file = scope.get("__file__")
    if isinstance(file, str):
        return _parent_of(file)
    return next((Path(entry) for entry in scope.get("__path__") or ()), None)


@lru_cache(maxsize=1024)
def _parent_of(file: str) -> Path:
    return Path(file).parent


def _last_word(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _writes(node: ast.Call) -> bool:
    """Return whether an `open` is for writing."""
    words = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    texts = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(re.fullmatch(r"[rwaxbt+]*[wax+][rwaxbt+]*", text) for text in texts)


def _content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.stat().st_size <= _MOST_BYTES else None
    except OSError:
        return None
