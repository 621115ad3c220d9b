"""Show the user the useful part of an exception: the user's own frames, and the line where it was raised."""

from __future__ import annotations

import traceback
from pathlib import Path

from migrate_graph.foreign_text import bounded, kind_of
from migrate_graph.user_files import SourceLocation, is_user_file, shown_from

# With more frames of user code than this, it is a recursion; further frames show nothing new.
_MOST_FRAMES = 20

_LONGEST = 100_000


def user_location(error: BaseException, *, root: str = "") -> SourceLocation | None:
    """Return the line of user code that an exception is about; None if there is none.

    It is the line of the syntax error, or the innermost line of user code in the traceback.

    Args:
        error: the exception.
        root: directory that paths are shown relative to; empty leaves paths unchanged.
    """
    if isinstance(error, SyntaxError) and error.filename:
        path, line = error.filename, error.lineno or 1
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_file(frame.filename)]
        if not frames:
            return None
        path, line = frames[-1].filename, frames[-1].lineno or 1
    return SourceLocation(shown_from(path, Path(root)) if root else path, line)


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an exception as Python writes it, with chained ones, but without frames of this package and of `importlib`.

    The time and the length are bounded, even if the exception's own methods raise or do not end.
    """
    return bounded(lambda: _written(error)[:_LONGEST], f"{kind_of(error)} (its traceback cannot be written)")


def _written(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    seen = set()
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        last = list(part.stack)[-1:]
        frames = [frame for frame in part.stack if is_user_file(frame.filename)][-_MOST_FRAMES:]
        # The frame of a library that raised the exception helps the reader; a frame of the import system does not.
        foreign = [frame for frame in last if frame not in frames and not _is_machinery(frame.filename)]
        part.stack = traceback.StackSummary.from_list([*frames, *foreign])
        waiting += [part.__cause__, part.__context__]
    return "".join(told.format()).rstrip()


def _is_machinery(file: str) -> bool:
    path = Path(file)
    return file.startswith("<frozen ") or "importlib" in path.parts or path.is_relative_to(Path(__file__).parent)
