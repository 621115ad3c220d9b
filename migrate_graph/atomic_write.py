"""A file, written whole or not at all: no reader ever sees half of it, and no link leads it elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import time
from pathlib import Path

from migrate_graph.ownership import is_foreign, is_open_to_all

_BINARY = getattr(os, "O_BINARY", 0)  # Windows changes line ends otherwise
_MOST_LINKS = 40
_SCRATCH = re.compile(r"\.migrate-(?P<host>.*)-(?P<pid>\d+)-[0-9a-f]{16}\.tmp", re.DOTALL)
_FORGOTTEN = 3600.0
"""Seconds after which a scratch file of another machine is nobody's any more."""


def write_whole(path: Path, content: bytes, *, mode: int | None = None, follow: bool = True) -> None:
    """Write a file beside its place, and move it there when it is on the disk.

    What is no regular file (`/dev/stdout`, a pipe) is written to as it is: moved over, it would be gone for everybody.

    Args:
        path: of the file. A symbolic link stays, and what it leads to is written, but never in a directory that everybody may
            write: there it may be a trap.
        content: all of it.
        mode: permissions; None keeps those of the file that was there, or gives what any new file gets. Those of a file of ours
            are never widened.
        follow: whether the last part of the path may be a link; otherwise the link is replaced.

    Raises:
        OSError: it cannot be written; a file that was there is as it was.
    """
    place = _followed(path if follow else path.parent)
    if isinstance(place, int):
        _write_all(place, content)
        return
    if not follow:
        place = place / path.name
    try:
        before = place.lstat()
    except FileNotFoundError:
        before = None
    if before is not None and not (stat.S_ISREG(before.st_mode) or (stat.S_ISLNK(before.st_mode) and not follow)):
        _write_into(place, before, content)
        return
    _sweep(place.parent)
    _replace(place, content, mode, before if before is not None and stat.S_ISREG(before.st_mode) else None)


def _followed(path: Path) -> Path | int:
    """Follow every link of a path; return where it leads, or the number of the open file that it names (`/dev/stdout`)."""
    current = Path(path.absolute().anchor)
    waiting = list(reversed(path.absolute().parts[1:]))
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            current = current.parent
            continue
        # To open `/proc/self/fd/1` would begin the file anew; what stands in `>> log` must stay.
        if current == Path(f"/proc/{os.getpid()}/fd") and part.isdigit():
            return int(part)
        try:
            target = Path(current / part).readlink()
        except (OSError, ValueError):  # no link, or nothing at all
            current = current / part
            continue
        if is_open_to_all(current.stat()):
            raise OSError(
                errno.ELOOP, "a link in a directory that everybody may write is not followed", str(current / part)
            )
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if target.is_absolute():
            current = Path(target.anchor)
        waiting += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return current


def _write_into(place: Path, before: os.stat_result, content: bytes) -> None:
    if is_foreign(before) and is_open_to_all(place.parent.stat()):
        raise PermissionError(
            errno.EACCES, "it belongs to another user, in a directory that everybody may write", str(place)
        )
    handle = os.open(place, os.O_WRONLY | _BINARY | getattr(os, "O_NOFOLLOW", 0))
    try:
        _write_all(handle, content)
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _replace(place: Path, content: bytes, mode: int | None, before: os.stat_result | None) -> None:
    scratch = place.with_name(_scratch_name())
    kept = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o777
    try:
        # Not by `tempfile`: its files are private, and what is usual could only be learnt by changing the process's umask.
        # From its first moment on it is no wider than the file that it replaces.
        handle = os.open(
            scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, kept & (0o666 if mode is None else mode)
        )
        with os.fdopen(handle, "wb") as file:
            _set_rights(file.fileno(), place, mode, before)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error tells why
            scratch.unlink()
        raise
    with contextlib.suppress(OSError):  # some file systems do not sync directories
        directory = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _set_rights(handle: int, place: Path, mode: int | None, before: os.stat_result | None) -> None:
    """Set the new file's owner and the permissions of the old one, as far as both can be trusted."""
    if not hasattr(os, "fchmod"):  # Windows
        return
    kept = 0o777 if before is None else stat.S_IMODE(before.st_mode) & 0o777
    if mode is not None:
        os.fchmod(handle, mode if before is None or is_foreign(before) else mode & kept)
    elif before is not None and not (is_foreign(before) and is_open_to_all(place.parent.stat())):
        if before.st_uid != os.geteuid():
            with contextlib.suppress(OSError):  # only root may
                os.fchown(handle, before.st_uid, before.st_gid)
        os.fchmod(handle, kept)


def _scratch_name() -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:60]
    return f".migrate-{host}-{os.getpid()}-{os.urandom(8).hex()}.tmp"


def _sweep(directory: Path) -> None:
    """Remove what killed processes left here; their names say whose it was."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            match = _SCRATCH.fullmatch(entry.name)
            if match and not is_foreign(entry.stat(follow_symlinks=False)) and _is_forgotten(match, entry):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _is_forgotten(match: re.Match[str], entry: os.DirEntry[str]) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _FORGOTTEN:
        return True
    return f".migrate-{match['host']}-" == _scratch_name().partition(f"{os.getpid()}-")[0] and not _is_alive(
        int(match["pid"])
    )


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # Windows would not ask the process, but end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user
        return True
    return True
