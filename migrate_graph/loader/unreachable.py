"""Files that declare migrations or views and are imported by nobody."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from migrate_graph.authoring import Collector, ViewMigrationManager, declared_at
from migrate_graph.core.model import UnreachedFile
from migrate_graph.loader.declarations import declarations_in
from migrate_graph.loader.paths import Places

# A migrations file may lie in somebody's home directory: looking around must stay cheap.
_MOST_FILES = 2_000
_MOST_DIRECTORIES = 2_000
_SKIPPED_DIRECTORIES = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages", "test", "tests"})
_SKIPPED_FILES = re.compile(r"(test_.*|.*_test|conftest|setup)\.py")
# What makes a directory another project, or an environment.
_ROOT_MARKS = frozenset({"pyvenv.cfg", "pyproject.toml", "setup.py", ".git", "conda-meta"})


def unreached_files(file: Path, places: Places, collector: Collector) -> tuple[UnreachedFile, ...]:
    """Find Python files below a migrations file's directory that declare something and were not executed.

    Args:
        file: the migrations file; it was just executed.
        places: how files are shown.
        collector: what was declared.
    """
    reached = {file.resolve(), *_executed(), *_declaring(collector)}
    hooks = _known_managers(collector)
    words = re.compile(rb"\b(?:%s)\b" % b"|".join(re.escape(name).encode() for name in (*hooks, *_PACKAGES)))
    found = []
    for path in _python_files(file.parent):
        if path.resolve() in reached:
            continue
        text = _read(path)
        if words.search(text) and (names := declarations_in(text, hooks)):
            found.append(UnreachedFile(places.shown(str(path)), names))
    return tuple(found)


_PACKAGES = ("migrate_graph", "edwh_migrate")


def _executed() -> Iterator[Path]:
    for module in list(sys.modules.values()):
        name = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(name, str):
            yield Path(name).resolve()


def _declaring(collector: Collector) -> Iterator[Path]:
    """Yield the files that declared something, however they were executed."""
    for declared in collector.migrations:
        yield Path(declared.source.path).resolve()
    for manager in collector.managers:
        yield Path(declared_at(manager).path).resolve()


def _known_managers(collector: Collector) -> dict[str, frozenset[str]]:
    """Return the classes that other files may derive view managers from, with the hooks that each has."""
    kinds = {
        kind for manager in collector.managers for kind in manager.__mro__ if issubclass(kind, ViewMigrationManager)
    }
    kinds |= {kind for kind in ViewMigrationManager.__subclasses__() if inspect.isabstract(kind)}
    abstract = {kind: getattr(kind, "__abstractmethods__", frozenset[str]()) for kind in kinds - {ViewMigrationManager}}
    return {kind.__name__: frozenset({"up", "down"}) - missing for kind, missing in abstract.items()}


def _python_files(directory: Path) -> Iterator[Path]:
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""
