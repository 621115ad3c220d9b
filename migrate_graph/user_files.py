"""Which files are the user's, and a place in one of them."""

from __future__ import annotations

import functools
import os
import sysconfig
from pathlib import Path

from msgspec import Struct


class SourceLocation(Struct, frozen=True, order=True):
    """A line of a user's file.

    Attributes:
        path: as it should be shown: relative to the project where that is possible.
        line: counted from 1.
    """

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


_INSTALLED = {"site-packages", "dist-packages"}
_NOT_THEIRS = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(__file__).parent)}
_FOREIGN_ROOTS = tuple(Path(root).resolve() for root in _NOT_THEIRS)

# Hundreds of modules are asked about, and nearly all are Python's: to follow the links of each takes longer than to load a project.
_FOREIGN_BEGINNINGS = tuple(f"{root}{os.sep}" for root in {*_NOT_THEIRS, *map(str, _FOREIGN_ROOTS)})


@functools.lru_cache(maxsize=4096)
def is_user_file(name: str) -> bool:
    """Return whether a file is somebody's project: neither Python's, nor an installed package, nor ours."""
    if name.startswith("<") or (name.startswith(_FOREIGN_BEGINNINGS) and os.pardir not in name):
        return False
    path = Path(name)
    if not _INSTALLED.isdisjoint(path.parts):
        return False
    resolved = path.resolve()
    return not any(resolved.is_relative_to(root) for root in _FOREIGN_ROOTS)


def shown_from(path: str | Path, root: Path) -> str:
    """Return how a file is called when it is shown: relative to a directory that it lies below, by its path or by where links lead.

    Args:
        path: of the file; what begins with `<` is no path, and stays as it is.
        root: the directory.
    """
    if str(path).startswith("<"):
        return str(path)
    for found in (Path.absolute, Path.resolve):
        file, directory = found(Path(path)), found(root)
        if file.is_relative_to(directory):
            return file.relative_to(directory).as_posix()
    return Path(path).as_posix()
