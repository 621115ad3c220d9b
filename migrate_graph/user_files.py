"""Which files belong to the user's project, and a line in one of them."""

from __future__ import annotations

import functools
import os
import sysconfig
from pathlib import Path

from msgspec import Struct


class SourceLocation(Struct, frozen=True, order=True):
    """A line of a user's file.

    Attributes:
        path: as it is shown to people: relative to the project if possible.
        line: counted from 1.
    """

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARY_ROOTS = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(__file__).parent)}
_FOREIGN_ROOTS = tuple(Path(root).resolve() for root in _LIBRARY_ROOTS)

# `is_user_file` is called for hundreds of modules, and most belong to Python. A comparison of texts decides for these: to resolve the
# links of each path would take longer than to load a project.
_LIBRARY_PREFIXES = tuple(f"{root}{os.sep}" for root in {*_LIBRARY_ROOTS, *map(str, _FOREIGN_ROOTS)})


@functools.lru_cache(maxsize=4096)
def is_user_file(name: str) -> bool:
    """Return whether a file belongs to the user's project: not to Python, nor to an installed package, nor to migrate_graph."""
    if name.startswith("<") or (name.startswith(_LIBRARY_PREFIXES) and os.pardir not in name):
        return False
    path = Path(name)
    if not _INSTALLED.isdisjoint(path.parts):
        return False
    resolved = path.resolve()
    return not any(resolved.is_relative_to(root) for root in _FOREIGN_ROOTS)


def shown_from(path: str | Path, root: Path) -> str:
    """Return the path of a file as it is shown: relative to a directory if the file is below it (also after links are resolved).

    Args:
        path: of the file; a text that begins with `<` is not a path, and is returned unchanged.
        root: the directory.
    """
    if str(path).startswith("<"):
        return str(path)
    for found in (Path.absolute, Path.resolve):
        file, directory = found(Path(path)), found(root)
        if file.is_relative_to(directory):
            return file.relative_to(directory).as_posix()
    return Path(path).as_posix()
