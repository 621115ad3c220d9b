"""Values for watching migrations on any database: which code sends a statement, what is kept, and what changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct, field

from migrate_graph.core.footprint import Fact, OutsideAct, Size
from migrate_graph.user_files import SourceLocation, is_user_file, shown_from

if TYPE_CHECKING:
    from types import FrameType

    from migrate_graph.core.events import Observer
    from migrate_graph.database import Settings
    from migrate_graph.signals import Interruption

_ANYWHERE = Path("/")
_OURS = str(Path(__file__).resolve().parents[1])

# Statements of user code pass through these files on their way to the driver. `speaker` skips them, so it takes no statement for theirs.
_BETWEEN = frozenset(
    str(Path(__file__).parent / name)
    for name in (
        "watching.py",
        "dal.py",
        "postgres/session/connection.py",
        "postgres/rehearsal/recorder.py",
        "postgres/rehearsal/recording.py",
        "postgres/rehearsal/guarded.py",
        "postgres/rehearsal/one_transaction.py",
        "sqlite/recorder.py",
        "sqlite/weaving.py",
        "sqlite/work.py",
    )
)

_CALLER_OF_BODIES = (f"{_OURS}/executor/attempt.py", "_call")


class Keeping(Enum):
    """Which part of a migration's work stays when the migration is done."""

    EVERYTHING = "commits are commits"
    BY_STEP = "each migration is committed, unless it writes what all databases of the server share"
    NOTHING = "all of it is one transaction that is rolled back"


Outside: TypeAlias = Callable[[str], AbstractContextManager[list[OutsideAct]]]
"""Returns a `with` block to run a body in, given the migration's name. When the block ends, its list holds what the body did outside the database."""


@contextmanager
def watch_nothing(_name: str) -> Iterator[list[OutsideAct]]:
    """Watch nothing that a body does outside the database."""
    yield []


class Watching(Struct, frozen=True, kw_only=True):
    """How migrations are watched.

    Attributes:
        root: directory that places in files are shown relative to.
        keeping: which part of a migration's work stays.
        values: statements are shown with their values.
        outside: each body runs inside this block.
        sizes: sizes of the relations in the database where the migrations will really run; None where they run in it now.
        closely: also look which objects depend on which, and what statements touch without naming it.
    """

    root: Path
    keeping: Keeping
    values: bool = True
    outside: Outside = watch_nothing
    sizes: Mapping[str, Size] | None = None
    closely: bool = False


class Clone(Struct, frozen=True):
    """A temporary copy of a database.

    Attributes:
        settings: how to reach the copy.
        sizes: sizes of the relations of the original, by name.
        remarks: what the copy lacks, in words.
    """

    settings: Settings
    sizes: Mapping[str, Size] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class Cloning(Struct, frozen=True, kw_only=True):
    """How a copy is made.

    Attributes:
        server: URI of a database on the server where the copy is made; empty: the server of the original.
        data: how many rows of each table are copied.
        folder: a directory for files of the copy.
        observer: gets an event when something has to be waited for.
        interruption: ends the waiting when a signal arrives.
    """

    server: str
    data: int
    folder: Path
    observer: Observer
    interruption: Interruption


class Difference(Struct, frozen=True):
    """How the objects of a database differ from an earlier moment.

    Attributes:
        added: facts that were not there.
        changed: facts with another definition.
        removed: facts that are gone.
        renamed: those of the removed facts that still exist under another name.
        called: the new names of renamed tables and columns, by the old ones.
    """

    added: frozenset[Fact] = frozenset()
    changed: frozenset[Fact] = frozenset()
    removed: frozenset[Fact] = frozenset()
    renamed: frozenset[Fact] = frozenset()
    called: Mapping[str, str] = field(default_factory=dict)


class Speaker(Struct, frozen=True):
    """The code that sends a statement: code of the project, or a package that it calls.

    Attributes:
        source: the line of the user's code that the statement comes from; None where it comes from none.
    """

    source: SourceLocation | None


def speaker(root: Path, start: FrameType | None = None) -> Speaker | None:
    """Return which code sends the statement; None when this package sends it for itself.

    The innermost frame that belongs to the user's files or to this package decides.

    Args:
        root: directory that the place is shown relative to.
        start: the innermost frame that is looked at; None: the caller's.
    """
    frame: FrameType | None = start or sys._getframe(1)  # noqa: SLF001 - the only way to the callers
    called: FrameType | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if is_user_file(name):
            return Speaker(_place(frame, root))
        if name.startswith(_OURS) and name not in _BETWEEN:
            is_body = (name, frame.f_code.co_name) == _CALLER_OF_BODIES
            return Speaker(_place(called, root)) if is_body and called is not None else None
        if not name.startswith(_OURS):
            called = frame  # a frame of an installed package, which may hold the body
        frame = frame.f_back
    return Speaker(None)  # a thread that the body started: its frames do not lead back to the body


def is_from_user(start: FrameType) -> bool:
    """Return whether code of the project, or a package that it calls, sends the statement; `start` is the innermost frame."""
    return speaker(_ANYWHERE, start) is not None


def _place(frame: FrameType, root: Path) -> SourceLocation:
    return SourceLocation(shown_from(frame.f_code.co_filename, root), frame.f_lineno)
