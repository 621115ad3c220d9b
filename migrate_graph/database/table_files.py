"""What pyDAL remembers of the tables that it has made, in files beside the database: forgotten when these are dropped by others."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from migrate_graph.atomic_write import write_whole


class TableFiles:
    """The files that were changed, and what stood in them before."""

    def __init__(self) -> None:
        self._before: dict[Path, bytes] = {}
        self._database = ""

    def forget(self, db: Any, gone: Mapping[str, Iterable[str]]) -> None:
        """Remove tables and columns from what pyDAL remembers, so that it makes them anew when it is asked to.

        Args:
            db: a `DAL`; its own files are meant.
            gone: by the plain name of a table, its columns that are gone; none: the whole table is.
        """
        folder, database = _folder_of(db), db._uri_hash  # noqa: SLF001 - pyDAL has no public name for it
        if self._database != database:  # that was a copy, which is gone
            self._before, self._database = {}, database
        for table, columns in gone.items():
            file = folder / f"{database}_{table}.table"
            try:
                known = file.read_bytes()
            except OSError:
                continue  # most tables are not made by pyDAL
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
        """Write what stood there before: the tables are there still."""
        for file, known in self._before.items():
            write_whole(file, known)


def _folder_of(db: Any) -> Path:
    """Return where pyDAL keeps them: beside a file that is named by its whole path, whatever the folder."""
    uri = str(db._uri)  # noqa: SLF001 - as above
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite://")).parent
    return Path(db._folder or ".")  # noqa: SLF001 - as above
