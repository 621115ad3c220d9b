"""Finds what was probably meant to be declared: files that are not imported, functions without `@migration`, decorators above it."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

from migrate_graph.authoring import Collector, ViewMigrationManager, declared_at
from migrate_graph.authoring.declare import migration
from migrate_graph.code_walk import reached
from migrate_graph.core.model import DecoratedAbove, Migration, UnreachedFile
from migrate_graph.loader.declarations import (
    declarations_in,
    mentions_of,
    python_files,
    read_bytes,
    undecorated_in,
)
from migrate_graph.loader.paths import Places
from migrate_graph.loader.sources import Sources, chain_of
from migrate_graph.user_files import SourceLocation, is_user_file


def unreached_files(file: Path, places: Places, collector: Collector) -> tuple[UnreachedFile, ...]:
    """Find Python files below a migrations file's directory that declare something and were not executed.

    Args:
        file: the migrations file; it was just executed.
        places: how files are shown.
        collector: what was declared.
    """
    reached = {_identity(name) for name in (str(file), *_executed(), *_declaring(collector))}
    managers = _known_managers(collector)
    words = mentions_of(managers)
    found = []
    for path in python_files(file.parent):
        if _identity(str(path)) in reached:
            continue
        text = read_bytes(path)
        if words.search(text) and (names := declarations_in(text, managers)):
            found.append(UnreachedFile(places.shown(str(path)), names))
    return tuple(found)


def undecorated_functions(file: Path, places: Places, collector: Collector) -> tuple[UnreachedFile, ...]:
    """Find functions that seem to lack `@migration`, in the files that declare migrations.

    Args:
        file: the migrations file.
        places: how files are shown.
        collector: what was declared.
    """
    paths = [Path(name) for name in dict.fromkeys([str(file), *(each.source.path for each in collector.migrations)])]
    texts = {path: undecorated_in(read_bytes(path)) for path in paths if is_user_file(str(path))}
    return tuple(UnreachedFile(places.shown(str(path)), names) for path, names in texts.items() if names)


def decorators_above(places: Places, collector: Collector) -> tuple[DecoratedAbove, ...]:
    """Find the decorators above `@migration` that return something else than the migration: it runs without them.

    Args:
        places: how files are shown.
        collector: what was declared.
    """
    sources, found = Sources(), []
    for declared in collector.migrations:
        for function in chain_of(declared.function)[-1:]:
            bound = function.__globals__.get(function.__name__)
            # A module that has the migration under the name of its function is nearly every one: no text is read for it.
            if bound is None or bound is function or isinstance(bound, Migration):
                continue
            node = sources.node_of(function)
            above = _above_migration(getattr(node, "decorator_list", ()), function.__globals__)
            if above:
                line = SourceLocation(function.__code__.co_filename, above[0].lineno)
                found.append(DecoratedAbove(declared.name, tuple(map(ast.unparse, above)), places.place(line)))
    return tuple(found)


def _above_migration(decorators: Sequence[ast.expr], scope: Mapping[str, Any]) -> Sequence[ast.expr]:
    """Return the decorators that stand above `@migration`, whatever it is called there; none where it is not among them."""
    for is_meant in (_is_migration, _calls_migration):
        for at, each in enumerate(decorators):
            if is_meant(each.func if isinstance(each, ast.Call) else each, scope):
                return decorators[:at]
    return ()


def _is_migration(decorator: ast.expr, scope: Mapping[str, Any]) -> bool:
    """Return whether a decorator is `@migration`, also under another name or with arguments that are given already."""
    is_named_so = isinstance(decorator, ast.Attribute) and decorator.attr == migration.__name__
    return is_named_so or any(each is migration for each in chain_of(_meant(decorator, scope)))


def _calls_migration(decorator: ast.expr, scope: Mapping[str, Any]) -> bool:
    """Return whether a decorator is a function of the user that declares migrations."""
    declares = migration.__code__.co_filename
    reaches = reached(*chain_of(_meant(decorator, scope)))
    return any(isinstance(each, CodeType) and each.co_filename == declares for each in reaches)


def _meant(expression: ast.expr, scope: Mapping[str, Any]) -> Any:
    """Return what a name, or an attribute of a name, stands for; None where that is not known."""
    if isinstance(expression, ast.Attribute):
        return inspect.getattr_static(_meant(expression.value, scope), expression.attr, None)
    return scope.get(expression.id) if isinstance(expression, ast.Name) else None


def _identity(file: str) -> tuple[int, int] | str:
    """Return what identifies a file whatever its path is; the path where there is no such file."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of hundreds of modules: a Path of each takes longer than all else here
    except OSError:
        return file
    return found.st_dev, found.st_ino


def _executed() -> Iterator[str]:
    for module in list(sys.modules.values()):
        name = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(name, str):
            yield name


def _declaring(collector: Collector) -> Iterator[str]:
    """Yield the files that declared something, however they were executed."""
    for declared in collector.migrations:
        yield declared.source.path
    for manager in collector.managers:
        yield declared_at(manager).path


def _known_managers(collector: Collector) -> dict[str, frozenset[str]]:
    """Return, by name, the classes that view managers of other files may derive from, with the methods and attributes that each lacks.

    Of several classes of one name: what all of them lack.
    """
    kinds = {
        kind for manager in collector.managers for kind in manager.__mro__ if issubclass(kind, ViewMigrationManager)
    }
    kinds |= {kind for kind in ViewMigrationManager.__subclasses__() if inspect.isabstract(kind)}
    known: dict[str, frozenset[str]] = {}
    for kind in kinds - {ViewMigrationManager}:
        lacks = getattr(kind, "__abstractmethods__", frozenset[str]())
        known[kind.__name__] = known.get(kind.__name__, lacks) & lacks
    return known
