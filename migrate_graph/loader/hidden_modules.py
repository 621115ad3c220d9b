"""Recognise exceptions that come of a file that was imported in the place of a module that this package needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from migrate_graph.errors import ConfigError
from migrate_graph.loader.imports import NEEDED
from migrate_graph.user_files import is_user_file


def hidden(error: BaseException) -> ConfigError | None:
    """Return a `ConfigError` that names the file; None for every other exception.

    Where `PYTHONPATH` has the directory of a program, its `redis.py` comes before the installed package.
    """
    known = _at_fault(error)
    name, file = known.get("__name__"), known.get("__file__")
    if name not in NEEDED or not isinstance(file, str) or not is_user_file(file):
        return None
    return ConfigError(
        f"{file} was imported in the place of {name}, which migrate_graph needs ({type(error).__name__}: {error})",
        hint="rename the file, or take its directory out of PYTHONPATH",
    )


def _at_fault(error: BaseException) -> Mapping[str, Any]:
    """Return the names of the module that lacks what was looked for, or else of the one whose code has raised the exception."""
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return vars(error.obj)
    if isinstance(error, ImportError) and (root := str(error.name).partition(".")[0]) in sys.modules:
        return vars(sys.modules[root])
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame.tb_frame.f_globals if frame is not None else {}
