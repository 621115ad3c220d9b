"""What a scratch database (a database for one use) is, and how all of them are named."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

PREFIX = "migrate_graph_test_"
"""The names of all scratch databases and schemas start with this; any of them may be dropped while no tests run."""


class ScratchDatabase(Struct, frozen=True):
    """A database for one use.

    Attributes:
        name: name of the database, the schema or the directory.
        uri: how to reach it.
        schema: its search_path; None: as configured.
        folder: its own directory for pyDAL's files.
    """

    name: str
    uri: str
    folder: Path
    schema: str | None = None

    __repr__ = object.__repr__  # a traceback with values would show the fields, which hold secrets


class Scratch(Protocol):
    """A place that makes scratch databases."""

    can_copy: bool
    """Whether a migrated database can be copied, so that migrating once is enough."""

    def create(self) -> ScratchDatabase:
        """Make an empty database.

        Raises:
            DatabaseError: the server does not answer, or does not permit it.
        """

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """Make a copy of `source`; no session may be connected to `source` meanwhile."""

    def drop(self, database: ScratchDatabase) -> None:
        """Remove a database, and end the sessions that are still connected to it."""


def uri_of(server: str, database: str) -> str:
    """Return the URI of the database named `database` on the server of the URI `server`."""
    scheme, _, rest = server.partition("://")
    address, mark, parameters = rest.partition("?")
    return f"{scheme}://{address.partition('/')[0]}/{database}{mark}{parameters}"


def new_folder(directory: Path) -> Path:
    """Make a directory with the name of a new scratch database."""
    folder = directory / f"{PREFIX}{uuid.uuid4().hex[:16]}"
    folder.mkdir(parents=True)
    return folder


@contextmanager
def kept(scratch: Scratch) -> Iterator[Scratch]:
    """Return a place like `scratch`; when the block ends, drop the databases that were made there and not dropped."""
    keeper = _Kept(scratch)
    try:
        yield keeper
    finally:
        for database in [*keeper.alive]:
            keeper.drop(database)


class _Kept:
    """See `kept`."""

    def __init__(self, scratch: Scratch) -> None:
        self.can_copy = scratch.can_copy
        self.alive: list[ScratchDatabase] = []
        self._scratch = scratch

    def create(self) -> ScratchDatabase:
        """See `Scratch`."""
        self.alive.append(self._scratch.create())
        return self.alive[-1]

    def copy(self, source: ScratchDatabase) -> ScratchDatabase:
        """See `Scratch`."""
        self.alive.append(self._scratch.copy(source))
        return self.alive[-1]

    def drop(self, database: ScratchDatabase) -> None:
        """See `Scratch`."""
        self._scratch.drop(database)
        self.alive.remove(database)
