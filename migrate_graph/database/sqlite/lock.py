"""The lock of a run on SQLite: on the database file itself, and on a lock file beside it, which says who holds the lock."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import sys
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from socket import gethostname
from typing import Any

from migrate_graph import forks
from migrate_graph.core.events import LockHolder
from migrate_graph.errors import DatabaseRefused

try:
    import fcntl as _fcntl
except ImportError:  # not a POSIX system
    fcntl: Any = None
else:
    fcntl = _fcntl

# O_NONBLOCK: if the path is a pipe, opening it would wait for ever.
_OPENING = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

# The byte of the database file that is locked, far behind those that SQLite locks. Such a lock is on the file itself, so that runs meet
# at it that use different names of it (hard links, mounts); Linux only.
_BYTE = (1 << 62) - 1
_HAS_OPEN_FILE_LOCKS = hasattr(fcntl, "F_OFD_SETLK") and sys.maxsize > 1 << 32

# Database files that were opened to be locked, by device and inode. They are not closed after a run: closing one would release all locks
# that SQLite holds on that file in this process.
_opened: OrderedDict[tuple[int, int], FileIO] = OrderedDict()
_MOST_OPENED = 32

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_OWNER_MODE = 0o600


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None when it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class FileLock:
    """The lock on one database file, and its lock file.

    Args:
        database: the database file.
        beside: the lock file.
        writable: whether the database may be written; if not, no lock file is created.

    Raises:
        DatabaseRefused: this system has no such locks, or the lock file cannot be opened.
    """

    def __init__(self, database: Path, beside: Path, *, writable: bool) -> None:
        self._database = database
        self._beside = beside
        self._since = ""
        if fcntl is None:
            raise DatabaseRefused(
                "migrations of an SQLite database need file locks of POSIX, which this system does not have",
                hint="run migrate apply where it has them (Linux, macOS, a container, WSL); reading commands work here",
            )
        self._open_database = _opened_again(database) if writable and _HAS_OPEN_FILE_LOCKS else None
        self._file = self._open(create=writable)
        if self._file is not None:
            forks.hide(self._file)  # a child that outlives the run would keep the lock

    def _open(self, *, create: bool) -> FileIO | None:
        """Open the lock file; a new one gets the mode and owner of the database, as SQLite does with its journals."""
        flags = _OPENING
        try:
            with suppress(FileNotFoundError):
                return _open_existing(self._beside, flags)
            if not create:
                return None
            return self._create(flags)
        except OSError as error:
            raise DatabaseRefused(
                f"cannot open the lock file {self._beside}: {error.strerror}",
                hint=f"check the rights on {self._beside} and its directory",
            ) from None

    def _create(self, flags: int) -> FileIO:
        try:
            status = self._database.stat()
            mode = stat.S_IMODE(status.st_mode) | _OWNER_MODE
        except FileNotFoundError:
            status, mode = None, 0o666
        try:
            file = os.open(self._beside, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:  # another process has just created it
            return _open_existing(self._beside, flags)
        if status is not None:
            os.fchmod(file, mode)
            if os.geteuid() == 0:
                with suppress(OSError):
                    os.fchown(file, status.st_uid, status.st_gid)
        return FileIO(file, "r+")

    def take(self) -> bool:
        """Take both locks if they are free; return whether they were taken.

        Raises:
            DatabaseRefused: the file system does not support locks.
        """
        if not self._take_database():
            return False
        if self._file is None or flock(self._beside, self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
        self._release_database()
        return False

    def is_current(self) -> bool:
        """Return whether the paths still name the locked files; if not, another run can lock the new files."""
        return (self._file is None or _means(self._beside, self._file)) and (
            self._open_database is None or _means(self._database, self._open_database)
        )

    def sign(self, migration: str = "") -> None:
        """Write into the lock file who holds the lock and which migration runs, if that file can be written."""
        self._since = self._since or datetime.now(UTC).isoformat(" ", "seconds")
        text = {"pid": os.getpid(), "host": gethostname(), "since": self._since, "migration": migration}
        self._write(json.dumps(text).encode())

    def release(self) -> None:
        """Release both locks."""
        self._write(b"")
        if self._file is not None:
            with suppress(OSError):  # a body may have closed all open files
                self._file.close()
        self._file = None
        self._release_database()

    def _write(self, text: bytes) -> None:
        if self._file is not None:
            with suppress(OSError):  # the file of another user may be open only for reading, which is enough to lock it
                os.ftruncate(self._file.fileno(), 0)
                os.pwrite(self._file.fileno(), text, 0)

    def _take_database(self) -> bool:
        return self._open_database is None or _lock_byte(self._database, self._open_database, fcntl.F_WRLCK)

    def _release_database(self) -> None:
        if self._open_database is not None:
            with suppress(OSError, DatabaseRefused):
                _lock_byte(self._database, self._open_database, fcntl.F_UNLCK)


def _open_existing(path: Path, flags: int) -> FileIO:
    try:
        return FileIO(os.open(path, flags | os.O_RDWR), "r+")
    except PermissionError:
        return FileIO(os.open(path, flags | os.O_RDONLY), "r")


def flock(path: Path, file: int, how: int) -> bool:
    """Take or release a lock on an open file; return False when another process holds it.

    Raises:
        DatabaseRefused: the file system does not support locks.
    """
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _no_locks(path, error) from None
    return True


def _lock_byte(path: Path, file: FileIO, kind: int) -> bool:
    try:
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, _BYTE, 1, 0))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
        return False
    except OSError as error:
        if error.errno == errno.EINVAL:  # an old kernel; the lock file is locked nevertheless
            return True
        raise _no_locks(path, error) from None
    return True


def _no_locks(path: Path, error: OSError) -> DatabaseRefused:
    if error.errno not in _NO_LOCKS:
        return DatabaseRefused(f"cannot lock {path}: {error.strerror}", hint="check the file system it lies on")
    return DatabaseRefused(
        f"the file system of {path} knows no locks ({error.strerror}), so that two runs could not be kept apart",
        hint="move the database to a local file system, or mount this one with locks",
    )


def _opened_again(database: Path) -> FileIO | None:
    found = identity(database)
    if found is None:
        return None
    known = _opened.pop(found, None)
    if known is not None and _means(database, known):  # a body, or a fork, may have closed it
        _opened[found] = known
        return known
    try:
        # closefd=False: if a body has closed the descriptor, its number may belong to another file, which must not be closed.
        file = FileIO(os.open(database, os.O_RDWR | getattr(os, "O_CLOEXEC", 0)), "r+", closefd=False)
    except OSError:
        return None
    forks.hide(file)
    _opened[forks.file_of(file.fileno())] = file
    if len(_opened) > _MOST_OPENED:  # the oldest one is not in use any more
        _close_if_unchanged(*_opened.popitem(last=False))
    return file


def _close_if_unchanged(found: tuple[int, int], file: FileIO) -> None:
    """Close a file, unless a body has closed its descriptor: then the number may belong to another file."""
    with suppress(OSError):
        if forks.file_of(file.fileno()) == found:
            os.close(file.fileno())
    file.close()


def _means(path: Path, file: FileIO) -> bool:
    """Return whether a path still names the open file."""
    with suppress(OSError, ValueError):  # the file is gone, or a body has closed the descriptor
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def holder_of(beside: Path) -> LockHolder | None:
    """Return who holds the lock, according to its lock file; None when the lock is free, or the file cannot be read."""
    try:
        file = os.open(beside, os.O_RDONLY | _OPENING)
    except OSError:
        return None
    try:
        if fcntl is None or flock(beside, file, fcntl.LOCK_SH | fcntl.LOCK_NB):
            return None
        said = json.loads(os.read(file, 10_000) or b"{}")
        told = {key: str(said.get(key, "")) for key in ("host", "since", "migration")}
        return LockHolder(int(said["pid"]), told["host"], "", told["since"], migration=told["migration"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DatabaseRefused):
        return None
    finally:
        os.close(file)
