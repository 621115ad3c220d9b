"""What a run and the processes that work for it say to each other."""

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
    """What a worker is told first.

    Attributes:
        arguments: `sys.argv` there, as it was when the run loaded the files: they may change it.
        directory: where it works then, for the same reason; empty where it is.
        settings: which database.
        seat: under whose lock; see `Backend.seat`.
        path: the migrations file, or the directory of numbered files.
        root: the directory that shown paths are relative to.
        names: of the migrations that may run.
        code: what `code_of` says of them.
        run: identifies the run.
        patience: with what somebody is in the way of.
        watch_every: seconds between questions what a running statement waits for.
        shown_root: directory that paths in messages are relative to.
        windows: views come up and go down by their windows; see `Registry`.
        uses: what the run knows of views that leave `uses` out, by name: part of it stands in a file that no worker reads.
        overdue: of each migration: the views that come up with it although their windows opened before.
        unrecorded: see `Walk`.
        weaves: views would step aside if nothing ran beside: a worker guards them.
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
        key: what it writes about itself.
    """

    key: AttemptKey


class Heard(Struct, frozen=True):
    """That a signal wants the run to end has arrived."""


class Told(Struct, frozen=True):
    """Something happened.

    Attributes:
        event: what.
    """

    event: Event


class Ended(Struct, frozen=True):
    """A migration has ended.

    Attributes:
        result: how.
        broken: why the world does not let the run go on; None where it does.
        signal: number of the signal that the worker has heard; 0 for none.
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


def packed(word: object) -> bytes:
    """Return a word as bytes, whatever a body has done to `sys.modules` meanwhile."""
    written = io.BytesIO()
    _Packer(written, pickle.HIGHEST_PROTOCOL).dump(word)
    return written.getvalue()


def unpacked(content: bytes) -> Any:
    """Return the word that was packed."""
    return _Unpacker(io.BytesIO(content)).load()


class _Packer(pickle.Pickler):
    """Names classes and functions by where they were made: pickle itself looks for them there, and a body may have them removed."""

    def persistent_id(self, obj: Any, /) -> tuple[str, str] | None:
        return (obj.__module__, obj.__qualname__) if isinstance(obj, type | FunctionType) else None


class _Unpacker(pickle.Unpickler):
    def persistent_load(self, pid: Any, /) -> Any:
        known = _ORDERS.get(pid)
        return known if known is not None else self.find_class(*pid)


_ORDERS = {(kind.__module__, kind.__qualname__): kind for kind in (Begin, Stop, Leave)}
"""What is heard while a body runs."""


# -- one code -----------------------------------------------------------------------------------------------------------------


def code_of(graph: MigrationGraph, names: Iterable[str]) -> str:
    """Return what tells one graph from another: a worker loads the files again, and they may have changed meanwhile.

    Args:
        graph: what was loaded.
        names: of the migrations that may run; of these, what they do counts, too.
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
