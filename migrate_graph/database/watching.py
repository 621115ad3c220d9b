"""What it takes to watch migrations, whatever the database: who speaks to it, what is kept, and what was seen."""

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

# These stand between whoever speaks and the driver; that they speak themselves is not seen here.
_BETWEEN = frozenset(
    str(Path(__file__).parent / name)
    for name in (
        "watching.py",
        "dal.py",
        "postgres/connection.py",
        "postgres/recorder.py",
        "postgres/recording.py",
        "postgres/guarded.py",
        "postgres/rehearsal.py",
        "sqlite/recorder.py",
        "sqlite/weaving.py",
        "sqlite/work.py",
    )
)

_CALLER_OF_BODIES = (f"{_OURS}/executor/attempt.py", "_call")


class Keeping(Enum):
    """What of a migration stays when it is done."""

    EVERYTHING = "commits are commits"
    BY_STEP = "each migration is committed, unless it writes what all databases of the server share"
    NOTHING = "all of it is one transaction that is rolled back"


Outside: TypeAlias = Callable[[str], AbstractContextManager[list[OutsideAct]]]
"""Stands around a body, which is named to it; gives a list, which holds when the block ends what the body did beside its database."""


@contextmanager
def nobody_looks(_name: str) -> Iterator[list[OutsideAct]]:
    """Stand around a body and look at nothing."""
    yield []


class Watching(Struct, frozen=True, kw_only=True):
    """How migrations are watched.

    Attributes:
        root: directory that places in files are shown relative to.
        keeping: what of a migration stays.
        values: statements are told with their values.
        outside: stands around each body.
        sizes: of relations, where the migrations will really run; None where that is the database itself.
        closely: it is also asked what hangs on what, and what is reached beyond the words of the statements.
    """

    root: Path
    keeping: Keeping
    values: bool = True
    outside: Outside = nobody_looks
    sizes: Mapping[str, Size] | None = None
    closely: bool = False


class Clone(Struct, frozen=True):
    """A copy of a database that is made to be dropped.

    Attributes:
        settings: how to reach it.
        sizes: of the relations of the original, by name.
        remarks: what it has not, in words.
    """

    settings: Settings
    sizes: Mapping[str, Size] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class Cloning(Struct, frozen=True, kw_only=True):
    """How a copy is made.

    Attributes:
        server: URI of a database on the server of copies; empty: the server of the original.
        data: so many rows of each table come along.
        folder: a directory for files of the copy.
        observer: told what is waited for.
        interruption: ends the waiting.
    """

    server: str
    data: int
    folder: Path
    observer: Observer
    interruption: Interruption


class Difference(Struct, frozen=True):
    """What a database is made of otherwise than before.

    Attributes:
        added: facts that were not there.
        changed: facts whose definition is another.
        removed: facts that are gone.
        renamed: of those, what stands there still under another name.
    """

    added: frozenset[Fact] = frozenset()
    changed: frozenset[Fact] = frozenset()
    removed: frozenset[Fact] = frozenset()
    renamed: frozenset[Fact] = frozenset()


class Speaker(Struct, frozen=True):
    """Who speaks to the database: code of the project, or what it calls.

    Attributes:
        source: the line of the user's that it comes from; None where it is none of his.
    """

    source: SourceLocation | None


def speaker(root: Path, start: FrameType | None = None) -> Speaker | None:
    """Return who speaks; None when it is this package for itself. The nearest frame that is the user's or ours decides.

    Args:
        root: directory that the place is shown relative to.
        start: the innermost frame that is looked at; None: the caller's.
    """
    frame: FrameType | None = start or sys._getframe(1)  # noqa: SLF001 - the way to one's callers
    called: FrameType | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if is_user_file(name):
            return Speaker(_place(frame, root))
        if name.startswith(_OURS) and name not in _BETWEEN:
            is_body = (name, frame.f_code.co_name) == _CALLER_OF_BODIES
            return Speaker(_place(called, root)) if is_body and called is not None else None
        if not name.startswith(_OURS):
            called = frame  # of an installed package: a body may come from there
        frame = frame.f_back
    return Speaker(None)  # a thread of the body's: its frames end where it was started


def is_from_user(start: FrameType) -> bool:
    """Return whether code of the project speaks, or what it calls, by the innermost frame that is looked at."""
    return speaker(_ANYWHERE, start) is not None


def _place(frame: FrameType, root: Path) -> SourceLocation:
    return SourceLocation(shown_from(frame.f_code.co_filename, root), frame.f_lineno)
