"""What the names of a function stand for, as far as can be told without running it."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import CellType, FunctionType, ModuleType
from typing import Any

from migrate_graph import authoring

_loaded: ContextVar[Mapping[str, ModuleType] | None] = ContextVar("loaded modules", default=None)


def loaded_modules() -> Mapping[str, ModuleType]:
    """Return the modules in which names are looked up: those that `as_loaded` was given, or else the present ones."""
    return _loaded.get() or sys.modules


@contextmanager
def as_loaded(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Look names up in the modules of an earlier moment: after the loading, a project's own modules are removed from the process."""
    token = _loaded.set(modules)
    try:
        yield
    finally:
        _loaded.reset(token)


class Reader:
    """Reads one function, or a module's own statements.

    Attributes:
        scope: the names of the module.
        local: names that the function binds itself.
        closure: names that it takes from the function around it.
        imported: what its own imports bind, as far as `note_import` was called for them.
    """

    def __init__(self, function: FunctionType) -> None:
        self.function: FunctionType | None = function
        self.scope: Mapping[str, Any] = function.__globals__
        code = function.__code__
        self.local: set[str] = {*code.co_varnames, *code.co_cellvars}
        self.closure: dict[str, CellType] = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
        self.imported: dict[str, object] = {}

    @classmethod
    def of_module(cls, scope: Mapping[str, Any]) -> Reader:
        """Return a reader of the statements of a module itself, where no name is local.

        Args:
            scope: the names of the module.
        """
        reader = cls.__new__(cls)
        reader.function, reader.scope = None, scope
        reader.local, reader.closure, reader.imported = set(), {}, {}
        return reader

    def is_local(self, name: str) -> bool:
        """Return whether a name is bound in the function itself."""
        return name in self.local or name in self.imported

    def meaning(self, node: ast.expr) -> object:
        """Return what a dotted name stands for; None when that is known only at run time."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        value = self.named(node.id) if isinstance(node, ast.Name) else None
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

    def named(self, name: str) -> object:
        """Return what a name stands for; None for a local one."""
        if name in self.imported:
            return self.imported[name]
        if name in self.local:
            return None
        if name in self.closure:
            try:
                return self.closure[name].cell_contents
            except ValueError:  # not bound yet
                return None
        return self.scope.get(name)

    def note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Note what an import inside a body binds, as far as it is loaded already; a view that is not loaded is not declared."""
        for alias in node.names:
            if isinstance(node, ast.Import):
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                self.imported[alias.asname or name] = loaded_modules().get(name)
                continue
            try:
                package = self.scope.get("__package__") or ""
                name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:
                continue
            value = getattr(loaded_modules().get(name), "__dict__", {}).get(alias.name)
            self.imported[alias.asname or alias.name] = value or loaded_modules().get(f"{name}.{alias.name}")


def is_manager(value: object) -> bool:
    """Return whether a value is a concrete view manager."""
    return (
        isinstance(value, type) and issubclass(value, authoring.ViewMigrationManager) and not inspect.isabstract(value)
    )
