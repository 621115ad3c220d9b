"""The messages between a run and its worker processes, and how they are written as bytes."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from migrate_graph.core.events import Event, Result
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.core.uses import KnownUses
    from migrate_graph.database import Settings
    from migrate_graph.database.books.ledger import AttemptKey
    from migrate_graph.errors import MigrateGraphError
    from migrate_graph.executor.pauses import Patience


# -- to a worker --------------------------------------------------------------------------------------------------------------


class Assignment(Struct, frozen=True):
    """The first message to a worker: everything that it needs to run migrations.

    Attributes:
        arguments: `sys.argv` of the run before it loaded the user's files, which may change it.
        directory: the working directory of the run before it loaded the user's files; empty: the current one.
        settings: how to connect to the database.
        seat: lets the worker work under the lock of the run; see `Backend.seat`.
        path: the migrations file, or the directory of numbered files.
        root: directory that the paths of declarations are relative to.
        names: names of the migrations that may run.
        code: hash of the graph, from `code_of`.
        run: identifies the run.
        patience: how often a migration is tried when another session blocks it.
        watch_every: the database is asked every so many seconds what a running statement waits for.
        shown_root: directory that the paths of errors in bodies are relative to.
        windows: views come up and go down by their windows; see `Registry`.
        uses: what the run knows of the views whose declaration leaves `uses` out, by name. A part of it comes from a file that
            no worker reads.
        overdue: by the migration's name, the views that come up with it although their windows opened before.
        unrecorded: see `Progress`.
        weaves: views step aside for statements that they block. In a worker they cannot: there such a statement is refused.
    """

    arguments: list[str]
    directory: str
    settings: Settings
    seat: Any
    path: Path
    root: Path
    names: tuple[str, ...]
    code: str
    run: str
    patience: Patience
    watch_every: float
    shown_root: str
    windows: bool
    uses: Mapping[str, KnownUses]
    overdue: Mapping[str, frozenset[str]]
    unrecorded: frozenset[str]
    weaves: bool


class Begin(Struct, frozen=True):
    """Run a migration.

    Attributes:
        name: its name.
    """

    name: str


class Stop(Struct, frozen=True):
    """A signal wants the run to end.

    Attributes:
        signal: its number.
    """

    signal: int


class Leave(Struct, frozen=True):
    """There is nothing more to do."""


# -- from a worker ------------------------------------------------------------------------------------------------------------


class Begun(Struct, frozen=True):
    """An attempt begins.

    Attributes:
        key: identifies the attempt in the journal.
    """

    key: AttemptKey


class StopConfirmed(Struct, frozen=True):
    """The worker has received `Stop`."""


class Observed(Struct, frozen=True):
    """Something happened in the worker.

    Attributes:
        event: the event, for the observer of the run.
    """

    event: Event


class Ended(Struct, frozen=True):
    """A migration has ended.

    Attributes:
        result: how it ended.
        broken: why the run cannot continue (see `Progress`); None when it can.
        signal: number of the signal that the worker has received; 0 for none.
    """

    result: Result
    broken: MigrateGraphError | None
    signal: int


class Unfit(Struct, frozen=True):
    """The worker cannot work.

    Attributes:
        error: why.
    """

    error: MigrateGraphError


# -- as bytes -----------------------------------------------------------------------------------------------------------------


def packed(message: object) -> bytes:
    """Return a message as bytes; this works also when a body has removed modules from `sys.modules`."""
    written = io.BytesIO()
    _Packer(written, pickle.HIGHEST_PROTOCOL).dump(message)
    return written.getvalue()


def unpacked(content: bytes) -> Any:
    """Return the message that was packed."""
    return _Unpacker(io.BytesIO(content)).load()


class _Packer(pickle.Pickler):
    """Writes classes and functions as their module and name, without looking there: a body may have removed the module."""

    def persistent_id(self, obj: Any, /) -> tuple[str, str] | None:
        return (obj.__module__, obj.__qualname__) if isinstance(obj, type | FunctionType) else None


class _Unpacker(pickle.Unpickler):
    def persistent_load(self, pid: Any, /) -> Any:
        known = _ORDERS.get(pid)
        return known if known is not None else self.find_class(*pid)


_ORDERS = {(kind.__module__, kind.__qualname__): kind for kind in (Begin, Stop, Leave)}
"""The messages that a worker may receive while a body runs: their classes are found without an import."""


# -- one code -----------------------------------------------------------------------------------------------------------------


def code_of(graph: MigrationGraph, names: Iterable[str]) -> str:
    """Return a hash of a graph. A worker loads the files again; the hash shows whether it got the same declarations.

    Args:
        graph: what was loaded.
        names: names of the migrations that may run; the code of their bodies is part of the hash.
    """
    declared = [
        (
            each.name,
            each.requires,
            str(each.transaction),
            each.touches if graph.views else (),
            each.resumable,
            each.defers,
        )
        for each in graph.migrations.values()
    ]
    views = [
        (each.name, each.uses, each.since, each.until, each.replaces, each.fingerprint, str(each.rebuild))
        for each in graph.views.values()
    ]
    bodies = [(name, graph.migrations[name].facts.code) for name in names if name in graph.migrations]
    return hashlib.sha256(repr((declared, views, bodies)).encode("utf-8", "backslashreplace")).hexdigest()
