"""Why an SQLite file cannot be used: its path is something else, a right is missing, or SQLite reports an error."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from shlex import quote

from migrate_graph.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from migrate_graph.messages import typed

_NOT_AS_EXPECTED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}
"""Error codes when the tool's tables do not fit its statements: another program has made or changed these tables."""


def no_directory(path: Path, label: str) -> DatabaseError:
    """Return the error for a file whose directory does not exist or is not a directory.

    Args:
        path: path of the file.
        label: name of the database in messages.
    """
    there = path.parent
    if there.exists():
        return DatabaseUnreachable(
            f"{label} is in no directory: {there} is a file", hint="name another file in migrate_uri"
        )
    return DatabaseUnreachable(f"the directory of {label} does not exist: {there}", hint=typed("mkdir -p", str(there)))


def hidden(path: Path, label: str) -> DatabaseError:
    """Return the error for a file in a directory that this user may not enter."""
    return DatabaseRefused(
        f"{label} is in a directory that this user may not enter", hint=f"namei -l {quote(str(path))} shows all rights"
    )


def unusable(error: sqlite3.Error, path: Path, label: str) -> DatabaseError:
    """Return the error for a file that SQLite cannot open or read.

    Args:
        error: the exception of SQLite.
        path: path of the file.
        label: name of the database in messages.
    """
    message = str(error)
    if "locked" in message or "busy" in message:
        return DatabaseUnreachable(
            f"{label} is locked by another program", hint="close it, or wait until its transaction ends"
        )
    if (found := no_file(path, label) or _no_right(path, label)) is not None:
        return found
    if "readonly" in message or "read-only" in message:
        return DatabaseRefused(f"{label} is read-only", hint=f"check the rights on {path} and its directory")
    if any(words in message for words in ("not a database", "malformed", "unsupported file format")):
        return DatabaseUnreachable(f"{path} is not an SQLite database, or is damaged", hint="check migrate_uri")
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_AS_EXPECTED:
        hint = f"sqlite3 {quote(str(path))} .schema shows what its tables are made of"
        return DatabaseUnreachable(f"cannot use {label}: {message}", hint=hint)
    return DatabaseUnreachable(f"cannot use {label}: {message}", hint=_rights(path.parent, path))


def no_file(path: Path, label: str) -> DatabaseError | None:
    """Return the error for a path that exists and is not a file; None where it is a file, or does not exist."""
    if path.is_dir():
        return DatabaseUnreachable(
            f"{label} is a directory, not an SQLite file", hint=f"name a file in it: sqlite://{path / 'app.db'}"
        )
    if path.exists() and not path.is_file():
        return DatabaseUnreachable(
            f"{label} is a pipe, a device or a socket, not an SQLite file", hint="name a file in migrate_uri"
        )
    return None


def _no_right(path: Path, label: str) -> DatabaseError | None:
    if path.exists():
        if os.access(path, os.R_OK):
            return None
        return DatabaseRefused(f"{label} may not be read by this user", hint=_rights(path.parent, path))
    if os.access(path.parent, os.W_OK | os.X_OK):
        return None
    told = f"{label} does not exist, and this user may not make it in {path.parent}"
    return DatabaseRefused(told, hint=_rights(path.parent))


def _rights(*paths: Path) -> str:
    return f"ls -ld {' '.join(quote(str(path)) for path in paths)} shows the rights"
