"""SQLite files for one use."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from migrate_graph.database.scratch_database import ScratchDatabase, new_folder


class ScratchFiles:
    """SQLite files, each in a directory of its own."""

    can_copy = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self) -> ScratchDatabase:
        """See `Scratch`; the first connection creates the file."""
        folder = new_folder(self._directory)
        return ScratchDatabase(folder.name, f"sqlite://{_file_in(folder)}", folder)

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        made = self.create()
        with (
            closing(sqlite3.connect(_file_in(source.folder))) as old,
            closing(sqlite3.connect(_file_in(made.folder))) as new,
        ):
            old.backup(new)
        return made

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        shutil.rmtree(database.folder, ignore_errors=True)


def _file_in(folder: Path) -> Path:
    return folder / "database.sqlite"
