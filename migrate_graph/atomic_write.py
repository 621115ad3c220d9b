"""Write a file completely or not at all: no reader sees half of it, and nobody can redirect it by a planted symbolic link."""

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

_BINARY = getattr(os, "O_BINARY", 0)  # without it Windows changes line ends
_MOST_LINKS = 40
_SCRATCH = re.compile(r"\.migrate-(?P<host>.*)-(?P<pid>\d+)-[0-9a-f]{16}\.tmp", re.DOTALL)
_STALE_AFTER = 3600.0
"""Age in seconds after which a scratch file is removed, even if its process may still run (on another machine, for example)."""


def write_whole(path: Path, content: bytes, *, mode: int | None = None, follow: bool = True) -> None:
    """Write a temporary file in the same directory, and move it to its place when it is on the disk.

    Something that is not a regular file (`/dev/stdout`, a pipe) is written to directly: a move would replace it for everybody.

    Args:
        path: of the file. A symbolic link stays, and its target is written. A link in a directory that everybody may write to is
            refused: another user may have planted it.
        content: the whole content.
        mode: permissions; None keeps those of an existing file, or uses the usual ones for a new file. The permissions of an
            existing file of this user or of root are never widened.
        follow: whether the last part of the path may be a link; otherwise the link itself is replaced.

    Raises:
        OSError: it cannot be written; an existing file is unchanged.
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
    """Resolve every link in a path; return the resulting path, or the file descriptor that it names (`/dev/stdout`)."""
    current = Path(path.absolute().anchor)
    waiting = list(reversed(path.absolute().parts[1:]))
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            current = current.parent
            continue
        # The descriptor itself, not a new `open` of `/proc/self/fd/1`: that would overwrite a log written to with `>> log`.
        if current == Path(f"/proc/{os.getpid()}/fd") and part.isdigit():
            return int(part)
        try:
            target = Path(current / part).readlink()
        except (OSError, ValueError):  # not a link, or it does not exist
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
        # Not by `tempfile`: its files are private, and the usual permissions could only be found out by changing the process's umask.
        # From the beginning the new file has no more permissions than the file that it replaces.
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
    """Copy the owner and the permissions of the old file to the new one, unless another user may have planted the old file.

    An explicit `mode` comes first; it never widens the permissions of an old file of this user or of root.
    """
    if not hasattr(os, "fchmod"):  # Windows
        return
    kept = 0o777 if before is None else stat.S_IMODE(before.st_mode) & 0o777
    if mode is not None:
        os.fchmod(handle, mode if before is None or is_foreign(before) else mode & kept)
    elif before is not None and not (is_foreign(before) and is_open_to_all(place.parent.stat())):
        if before.st_uid != os.geteuid():
            with contextlib.suppress(OSError):  # only root may change the owner
                os.fchown(handle, before.st_uid, before.st_gid)
        os.fchmod(handle, kept)


def _scratch_name() -> str:
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:60]
    return f".migrate-{host}-{os.getpid()}-{os.urandom(8).hex()}.tmp"


def _sweep(directory: Path) -> None:
    """Remove scratch files that killed processes left in this directory; a file's name contains the host and the process id."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            match = _SCRATCH.fullmatch(entry.name)
            if match and not is_foreign(entry.stat(follow_symlinks=False)) and _is_stale(match, entry):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()


def _is_stale(match: re.Match[str], entry: os.DirEntry[str]) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_AFTER:
        return True
    return f".migrate-{match['host']}-" == _scratch_name().partition(f"{os.getpid()}-")[0] and not _is_alive(
        int(match["pid"])
    )


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # on Windows `os.kill` ends the process instead of asking whether it exists
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user
        return True
    return True
