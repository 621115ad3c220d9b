"""What of an exception a user wants to see: the user's own frames, and the line where it went wrong."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from migrate_graph.core.model import SourceLocation

_OURS = str(Path(__file__).parent) + os.sep
_LIBRARIES = tuple({sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def user_frames(error: BaseException) -> traceback.StackSummary:
    """Give the frames of an exception that stand in the user's files; frames of ours and of libraries are left out."""
    frames = traceback.extract_tb(error.__traceback__)
    return traceback.StackSummary.from_list([frame for frame in frames if _is_the_users(frame.filename)])


def user_traceback(error: BaseException) -> str:
    """Write an exception as Python does, with the user's frames only; chained exceptions included."""
    told = traceback.TracebackException.from_exception(error)
    seen: set[int] = set()
    waiting = [told]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack = traceback.StackSummary.from_list([frame for frame in one.stack if _is_the_users(frame.filename)])
        waiting += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
    return "".join(told.format())


def user_location(error: BaseException, *, root: str = "") -> SourceLocation | None:
    """Give the innermost line of the user's that the exception passed through; None when there is none.

    Args:
        error: the exception.
        root: directory that paths are shown relative to; empty shows them as they are.
    """
    frames = user_frames(error)
    if not frames:
        return None
    path, line = frames[-1].filename, frames[-1].lineno or 1
    if root and Path(path).is_relative_to(root):
        path = str(Path(path).relative_to(root))
    return SourceLocation(path, line)


def _is_the_users(filename: str) -> bool:
    return not filename.startswith(("<frozen", _OURS, *_LIBRARIES))
