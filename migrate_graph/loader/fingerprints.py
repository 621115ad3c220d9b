"""What a migration or a view manager does, as a fingerprint: its own text, and what it uses of the project."""

from __future__ import annotations

import abc
import ast
import datetime as dt
import enum
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, cached_property
from importlib.util import resolve_name
from itertools import zip_longest
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Generic, Protocol, TypeAlias

from migrate_graph.authoring import SqlView, ViewMigrationManager
from migrate_graph.authoring.sql_view import relation_name
from migrate_graph.loader.file_reads import FileReads, words_of_files
from migrate_graph.loader.meanings import Reader, is_manager, loaded_modules
from migrate_graph.loader.sources import FunctionNode, Sources, chain_of, is_constant, parts_of
from migrate_graph.user_files import is_user_file

# Fields that do not change what a body does: types, the spelling of strings, and fields that are empty but exist
# only in some versions of Python.
SILENT_FIELDS = frozenset({"annotation", "returns", "type_comment", "type_params", "ctx", "kind"})


def fingerprint_of(function: FunctionType, sources: Sources, *, with_files: bool = True) -> str:
    """Return the fingerprint of a body; empty when its text cannot be read.

    It is `own` or `own+used`, each of 16 hex digits. `own` is a hash of the function's text, without its name, its
    docstring and `@migration(…)`. `used` is a hash of what its names stand for in the files of the project: constants,
    functions, classes, and the files that it reads by a path that the text shows. Of view managers only the name counts:
    they have a fingerprint of their own.

    Args:
        function: the body.
        sources: of this loading.
        with_files: whether the contents of the files that it reads count.
    """
    if sources.node_of(function) is None:
        return ""
    _, *own = _unit_of(function, sources).words  # without its name
    return _joined(own, _reached_from([function], sources, words=(function.__name__,) if with_files else None))


def fingerprint_of_manager(manager: type[ViewMigrationManager], sources: Sources | None = None) -> str:
    """Return the fingerprint of a view manager's `up` and `down`, with all that they use of the project.

    What only decides when the view lives (`uses`, `since`, `until`, `replaces`), `ignore` and the docstring are not part of it.

    Args:
        manager: a concrete class.
        sources: of this loading; None reads the files for this question only.
    """
    sources = sources or Sources()
    kinds = [*_own_classes(manager)]
    own = [word for kind in kinds for word in _unit_of(kind, sources).words]
    name = manager.__name__
    return _joined(own, _reached_from(kinds, sources, words=(name, name.lower(), relation_name(name))))


_PLACING = frozenset({"uses", "since", "until", "replaces", "ignore"})
# Attributes that `abc` and `SqlView` derive from the others.
_DERIVED = frozenset({"_abc_impl", "_statements"})
_MEANT_TO_ACT = frozenset({"__init__", "__enter__", "__exit__", "__call__"})


_NOBODYS = frozenset({object, SqlView, ViewMigrationManager, abc.ABC, Generic, Protocol})


def _own_classes(kind: type) -> Iterator[type]:
    """Yield a class and its bases, the class first, without those that every view manager has."""
    return (each for each in kind.__mro__ if each not in _NOBODYS)


def _joined(own: Iterable[str], used: Iterable[str]) -> str:
    used = list(used)
    return f"{_hashed(own)}+{_hashed(used)}" if used else _hashed(own)


def _hashed(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()[:16]


# --- what is used ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Binding:
    """A name of a module of the project."""

    file: str
    name: str
    scope: Mapping[str, Any] = field(compare=False, hash=False, repr=False)


_Thing: TypeAlias = "FunctionType | type | _Binding"


def _reached_from(roots: list[Any], sources: Sources, words: Iterable[str] | None) -> Iterator[str]:
    """Yield a word for each thing that some things use, directly or through others, then for each file that these read.

    Args:
        roots: the things to start from.
        sources: of this loading.
        words: words that may be a part of a file's name; None where files do not count.
    """
    units = [_unit_of(root, sources) for root in roots]
    seen: set[_Thing] = set(roots)
    for unit in units:  # the list grows meanwhile; recursion would fail at a chain of a thousand helpers
        for thing in unit.uses:
            if thing not in seen:
                seen.add(thing)
                units.append(_unit_of(thing, sources))
    for root, unit in zip_longest(roots, units):
        if root is None and unit.words:
            yield unit.digest
        yield from unit.data
    if words is not None:
        yield from words_of_files([unit.reads for unit in units], words)


def _unit_of(thing: _Thing, sources: Sources) -> _Unit:
    """Return the text and the names of one thing; each thing is read once in a loading."""
    if thing not in sources.units:
        unit = _Unit(sources)
        if isinstance(thing, FunctionType):
            unit.read_function(thing)
        elif isinstance(thing, _Binding):
            unit.read_binding(thing)
        else:
            unit.read_class(thing)
        sources.units[thing] = unit
    found: _Unit = sources.units[thing]
    return found


class _Unit:
    """One function, class or name of a module.

    Attributes:
        words: its own text, as words.
        data: plain data that it takes from a closure, as words.
        uses: the things of the project that it names.
        reads: the files that it reads.
    """

    def __init__(self, sources: Sources) -> None:
        self.words: list[str] = []
        self.data: list[str] = []
        self.uses: dict[_Thing, None] = {}
        self.reads = FileReads()
        self._sources = sources

    @cached_property
    def digest(self) -> str:
        """A hash of its words."""
        return _hashed(self.words)

    def read_function(self, function: FunctionType) -> None:
        """Read a function's own text, and what it names."""
        if (node := self._sources.node_of(function)) is not None:
            self.words += [function.__name__, *_own_words(function, node)]
            self._references([*_kept_decorators(function, node), node.args, *_statements(node)], Reader(function))

    def read_class(self, kind: type) -> None:
        """Read the members of a class itself, without those of its bases."""
        directory = Path(getattr(loaded_modules().get(kind.__module__), "__file__", None) or ".").parent
        for name, value in sorted(vars(kind).items()):
            if name in _PLACING | _DERIVED or (name.startswith("__") and name not in _MEANT_TO_ACT):
                continue
            inner = next((found for word in ("fget", "func") if (found := getattr(value, word, None))), value)
            functions = chain_of(inner)
            for function in functions:
                if (node := self._sources.node_of(function)) is not None:
                    self.words += [name, *_own_words(function, node)]
                    self.uses[function] = None
            if not functions and not callable(value):
                self.words += [name, _data_word(value, directory)]
                for text in _texts(value):
                    self.reads.note_text(text)

    def read_binding(self, binding: _Binding) -> None:
        """Read the statements that give a name its value."""
        scope, name = binding.scope, binding.name
        parsed = self._sources.file(binding.file, scope)
        value, statements = scope.get(name), parsed.bindings(name)
        if is_manager(value):
            self.words.append(name)
            return
        for statement in statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._imported(statement, scope, only=name)
            elif isinstance(statement, _DEFINITIONS) and (isinstance(value, type) or chain_of(value)):
                self._value(value, name, scope)
            else:
                self.words += [name, *flattened(statement)]
                self._references([statement], Reader.of_module(scope))
        for star in parsed.stars() if not statements else ():
            if (module := _module_of(star, scope)) is not None:
                self._use(vars(module), name)

    def _references(self, nodes: list[ast.AST], names: Reader) -> None:
        stack = list(reversed(nodes))
        while stack:
            node = stack.pop()
            self.reads.look_at(node, names)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.note_import(node)
                self._imported(node, names.scope)
            elif isinstance(node, ast.Attribute):
                holder = names.meaning(node.value)
                if isinstance(holder, ModuleType):
                    self._use(vars(holder), node.attr)
                else:
                    stack.append(node.value)
            elif isinstance(node, ast.Name):
                self._name(node.id, names)
            else:
                stack += reversed(parts_of(node, without=SILENT_FIELDS))

    def _name(self, name: str, names: Reader) -> None:
        if name in names.closure:
            self._value(names.named(name), name, names.scope)
        elif not names.is_local(name):
            self._use(names.scope, name)

    def _use(self, scope: Mapping[str, Any], name: str) -> None:
        """Note a name of a module, if the module is one of the project."""
        file = scope.get("__file__")
        if name in scope and isinstance(file, str) and is_user_file(file):
            self.uses[_Binding(file, name, scope)] = None

    def _imported(self, node: ast.Import | ast.ImportFrom, scope: Mapping[str, Any], only: str = "") -> None:
        """Note what an import takes out of a module of the project."""
        if isinstance(node, ast.ImportFrom) and (module := _module_of(node, scope)) is not None:
            for alias in node.names:
                if not only or only == (alias.asname or alias.name):
                    self._use(vars(module), alias.name)

    def _value(self, value: object, name: str, scope: Mapping[str, Any]) -> None:
        """Note an object: a function, a class, or plain data that a closure holds."""
        if is_manager(value):
            self.data.append(name)
        elif isinstance(value, type):
            if value.__module__ == scope.get("__name__"):
                self.uses.update(dict.fromkeys(_own_classes(value)))
        elif functions := chain_of(value):
            own = (each for each in functions if is_user_file(each.__code__.co_filename))
            self.uses.update(dict.fromkeys(own))
        elif not isinstance(value, ModuleType):
            self.data += [name, _data_word(value, Path(str(scope.get("__file__", ""))).parent)]


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _module_of(node: ast.ImportFrom, scope: Mapping[str, Any]) -> ModuleType | None:
    try:
        name = resolve_name("." * node.level + (node.module or ""), scope.get("__package__") or "")
    except ImportError:
        return None
    module = loaded_modules().get(name)
    return module if isinstance(module, ModuleType) else None


def _statements(node: FunctionNode) -> list[ast.AST]:
    if isinstance(node, ast.Lambda):
        return [node.body]
    return list(node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body)


def _kept_decorators(function: FunctionType, node: FunctionNode) -> list[ast.expr]:
    """Return a function's decorators without `@migration`, which decides when it runs, but not what it does."""
    if isinstance(node, ast.Lambda):
        return []
    reader = Reader(function)
    return [decorator for decorator in node.decorator_list if not reader.is_declaration(decorator)]


# --- words -------------------------------------------------------------------------------------------------------


def _own_words(function: FunctionType, node: FunctionNode) -> Iterator[str]:
    if isinstance(node, ast.Lambda):
        return flattened([node.args, node.body])
    return flattened([type(node).__name__, _kept_decorators(function, node), node.args, _statements(node)])


def flattened(tree: object) -> Iterator[str]:
    """Yield a tree's words in order; without recursion, for an expression may be a thousand levels deep."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.AST):
            yield f"({type(item).__name__}"
            stack.append(_END)
            if isinstance(item, ast.JoinedStr):  # Python 3.12.0 and .1 end a format with an empty text
                if kept := [part for part in item.values if not is_constant(part, value="")]:
                    stack += [kept, _Word("values")]
                continue
            for name, word in _words_of_fields(type(item)):  # type: ignore[arg-type] # a class can be hashed
                value = getattr(item, name, None)
                if value is not None and value != []:
                    stack += [value, word]
        elif isinstance(item, list):
            yield "["
            stack += [_END, *reversed(item)]
        else:
            yield item if isinstance(item, _Word) else repr(item)


@cache
def _words_of_fields(kind: type[ast.AST]) -> tuple[tuple[str, _Word], ...]:
    """Return the fields of a kind of node that count, the last first."""
    return tuple((name, _Word(name)) for name in reversed(kind._fields) if name not in SILENT_FIELDS)


class _Word(str):
    """A name of the tree itself, told apart from a string in the program."""

    __slots__ = ()


_END = _Word(")")


_PLAIN = (str, bytes, int, float, complex, bool, type(None), Decimal, dt.date, dt.time, dt.timedelta)


def _texts(value: object, depth: int = 3) -> Iterator[str]:
    """Yield the texts in plain data."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping | tuple | list | set | frozenset):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each, depth - 1)


def _data_word(value: object, directory: Path) -> str:
    """Return plain data as a word that is the same in every checkout; for anything else, the name of its type."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (*_PLAIN, os.PathLike)):
        return repr(str(value)).replace(str(directory), ".") if isinstance(value, os.PathLike | str) else repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{_data_word(key, directory)}: {_data_word(each, directory)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_data_word(each, directory) for each in value))}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_data_word(each, directory) for each in value)}]"
    return type(value).__name__
