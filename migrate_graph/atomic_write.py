"""A file, written whole or not at all: no reader ever sees half of it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file beside its place, and move it there when it is on the disk.

    What is no regular file (`/dev/stdout`, a pipe) is written to as it is: moved over, it would be gone for everybody.

    Args:
        path: of the file; a symbolic link stays, and what it leads to is written.
        content: all of it.
        mode: permissions; None keeps those of the file that was there, or gives what any new file gets.

    Raises:
        OSError: it cannot be written; a file that was there is as it was.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    if mode is None and path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
    scratch = path.with_name(f".migrate-{os.urandom(8).hex()}")
    try:
        # Not by `tempfile`: its files are private, and what is usual could only be learnt by changing the process's umask.
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error tells why
            scratch.unlink()
        raise
    with contextlib.suppress(OSError):  # some file systems do not sync directories
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
