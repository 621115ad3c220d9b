"""What the machine has no more of, where an exception says so: memory, threads, open files, room on a disk."""

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
"""Python's words, in every language."""


def lacking(error: BaseException) -> NoRoom | None:
    """Return what the machine has no more of, where that is what an exception says; None for every other one."""
    if isinstance(error, NoRoom):
        return error
    if isinstance(error, MemoryError):
        return NoRoom("there is no memory left", hint=_MEMORY)
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        what, hint = _BY_NUMBER[error.errno]
        where = f": {error.filename}" if isinstance(error.filename, str) and error.filename else ""
        return NoRoom(f"{what}{where}", hint=hint)
    # Of libraries, which start threads themselves.
    return no_thread(error) if isinstance(error, RuntimeError) and _NO_THREAD in str(error) else None


def no_thread(error: RuntimeError) -> NoRoom:
    """Return the error that no thread can be started, as Python has said it."""
    return NoRoom(
        f"no thread can be started: {error}", hint="raise the limits on memory and on threads (ulimit -v, ulimit -u)"
    )
