"""The `.table` files in which pyDAL remembers the tables that it has made: brought up to date when a table is dropped without pyDAL."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from migrate_graph.atomic_write import write_whole


class TableFiles:
    """Changes `.table` files, and keeps their former contents, so that they can be put back."""

    def __init__(self) -> None:
        self._before: dict[Path, bytes] = {}
        self._database = ""

    def forget(self, db: Any, gone: Mapping[str, Iterable[str]]) -> None:
        """Remove tables and columns from the files, so that pyDAL creates them again when they are defined again.

        Args:
            db: a `DAL`, whose files are changed.
            gone: the dropped columns of each table, by the table's plain name; without columns the whole table was dropped.
        """
        folder, database = _folder_of(db), db._uri_hash  # noqa: SLF001 - pyDAL has no public name for it
        if self._database != database:  # the earlier one was a copy of the database, which is gone
            self._before, self._database = {}, database
        for table, columns in gone.items():
            file = folder / f"{database}_{table}.table"
            try:
                known = file.read_bytes()
            except OSError:
                continue  # pyDAL has not made this table
            self._before.setdefault(file, known)
            lost = {column.lower() for column in columns}
            if lost:
                fields = pickle.loads(known)  # noqa: S301 - pyDAL itself reads its own file so
                left = {
                    name: field for name, field in fields.items() if field.get("raw_rname", name).lower() not in lost
                }
                write_whole(file, pickle.dumps(left))
            else:
                file.unlink(missing_ok=True)

    def put_back(self) -> None:
        """Write the former contents back; called when the tables still exist, for example after a rollback."""
        for file, known in self._before.items():
            write_whole(file, known)


def _folder_of(db: Any) -> Path:
    """Return the folder of pyDAL's files: that of the SQLite file when the URI has its absolute path, else the `DAL`'s folder."""
    uri = str(db._uri)  # noqa: SLF001 - as above
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite://")).parent
    return Path(db._folder or ".")  # noqa: SLF001 - as above
