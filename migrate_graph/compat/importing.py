"""Two functions of edwh-migrate about imports, which tests of other programs use."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module


def temporary_import(name: str) -> None:
    """Import a module and forget it, so that the next import runs it again.

    Args:
        name: name of the module.
    """
    import_module(name)
    del sys.modules[name]


def print_trimmed_exception(error: BaseException) -> None:
    """Write an exception's traceback to stderr, from the first line after the import machinery on.

    Args:
        error: the exception.
    """
    told = traceback.TracebackException.from_exception(error)
    inside = [place for place, frame in enumerate(told.stack) if "importlib._bootstrap" in frame.filename]
    told.stack = traceback.StackSummary.from_list(told.stack[inside[-1] + 1 if inside else 0 :])
    sys.stderr.write("".join(told.format()))
