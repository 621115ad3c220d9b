"""Finds the migrations file that a path means, and makes the paths that people are shown."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct, field

from migrate_graph.errors import LoadError
from migrate_graph.messages import did_you_mean, similar
from migrate_graph.user_files import SourceLocation, shown_from

DEFAULT_FILE = "migrations.py"


class Places(Struct, frozen=True):
    """Makes the paths that people are shown.

    Attributes:
        root: shown paths are relative to it.
        directory: of the migrations file; modules are named relative to it.
    """

    root: Path
    directory: Path
    _known: dict[tuple[str, Path], str] = field(default_factory=dict)

    def shown(self, file: str) -> str:
        """Return a file's path relative to the root; unchanged where it lies elsewhere."""
        return self._relative(file, self.root)

    def module(self, file: str) -> str:
        """Return a file's path relative to the migrations file's directory."""
        return self._relative(file, self.directory)

    def place(self, source: SourceLocation) -> SourceLocation:
        """Return a place with the path that people are shown."""
        return SourceLocation(self.shown(source.path), source.line)

    def _relative(self, file: str, base: Path) -> str:
        if (file, base) not in self._known:
            self._known[file, base] = shown_from(file, base)
        return self._known[file, base]


def is_below(path: Path, directory: Path) -> bool:
    """Return whether a file lies below a directory, by its path or after following links."""
    return path.absolute().is_relative_to(directory.absolute()) or path.resolve().is_relative_to(directory.resolve())


def root_of(file: Path, root: Path | None) -> Path:
    """Return the directory that shown paths are relative to: the one asked for, the current one, or the file's own."""
    if root is not None:
        return root.absolute()
    return Path.cwd() if is_below(file, Path.cwd()) else file.parent


def file_at(path: Path) -> Path:
    """Return the migrations file that a path means, or the directory of numbered files; no other file is tried in its place.

    Raises:
        LoadError: there is none.
    """
    try:
        if path.is_dir():
            return _file_in(path)
        if path.is_file():
            return path
        if path.exists():
            raise LoadError(
                f"{path} is no file", hint=f"name a Python file, or a directory that holds a {DEFAULT_FILE}"
            )
        if path.name == DEFAULT_FILE and holds_numbered_files(path.with_suffix("")):
            return path.with_suffix("")
        if path.is_symlink():
            raise LoadError(f"{path} points to {path.readlink()}, which does not exist", hint="correct the link")
        hint = _nearest(path)
    except OSError as error:  # too long a name, or no right to look
        raise LoadError(
            f"{path} cannot be read: {error.strerror}", hint="name a Python file, or its directory"
        ) from error
    raise LoadError(f"{path} does not exist", hint=hint)


def _file_in(directory: Path) -> Path:
    file = directory / DEFAULT_FILE
    if file.is_file():
        return file
    if holds_numbered_files(directory):
        return directory
    others = sorted(other for other in directory.glob("*.py") if b"@migration" in _bytes_of(other))
    hint = f"name the file: migrate plan {others[0]}" if others else "migrate init writes a first one"
    raise LoadError(f"{directory} holds no {DEFAULT_FILE}", hint=hint)


_NUMBERED = re.compile(r"[A-Za-z]?_?\d{3,}\w*\.py")


def holds_numbered_files(directory: Path) -> bool:
    """Return whether a directory holds files like `0001_customers.py` or `20260401_001_total.py` with the word `migration` in them."""
    files = directory.glob("*.py") if directory.is_dir() else ()
    return any(_NUMBERED.fullmatch(file.name) and b"migration" in _bytes_of(file) for file in files)


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no directory {folder} either"
    names = [entry.name for entry in folder.iterdir() if entry.suffix == ".py" or entry.is_dir()]
    near = similar(path.name, names, most=1) or similar(f"{path.name}.py", names, most=1)
    return did_you_mean((str(folder / name) for name in near), "name a Python file; migrate init writes a first one")
