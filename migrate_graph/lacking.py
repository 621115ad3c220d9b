"""Recognise exceptions that say that the machine has run out of memory, threads, open files or disk space."""

from __future__ import annotations

import errno

from migrate_graph.errors import NoRoom

_MEMORY = "raise the limit on memory (ulimit -v), or give the machine more"
_FILES = "raise the limit on open files (ulimit -n), or close what holds them"
_DISK = "make room on the disk"

_BY_NUMBER = {
    number: (what, hint)
    for name, what, hint in (
        ("ENOMEM", "there is no memory left", _MEMORY),
        ("EMFILE", "no more files can be opened", _FILES),
        ("ENFILE", "no more files can be opened", _FILES),
        ("ENOSPC", "the disk is full", _DISK),
        ("EDQUOT", "the disk is full", _DISK),
    )
    if (number := getattr(errno, name, None)) is not None
}

_NO_THREAD = "start new thread"
"""A part of Python's message, which is the same in every language."""


def lacking(error: BaseException) -> NoRoom | None:
    """Return a `NoRoom` for an exception that says that the machine has run out of something; None for every other exception."""
    if isinstance(error, NoRoom):
        return error
    if isinstance(error, MemoryError):
        return NoRoom("there is no memory left", hint=_MEMORY)
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        what, hint = _BY_NUMBER[error.errno]
        where = f": {error.filename}" if isinstance(error.filename, str) and error.filename else ""
        return NoRoom(f"{what}{where}", hint=hint)
    # Libraries that start threads themselves raise Python's own error.
    return no_thread(error) if isinstance(error, RuntimeError) and _NO_THREAD in str(error) else None


def no_thread(error: RuntimeError) -> NoRoom:
    """Return the `NoRoom` for Python's error that no thread can be started."""
    return NoRoom(
        f"no thread can be started: {error}", hint="raise the limits on memory and on threads (ulimit -v, ulimit -u)"
    )
