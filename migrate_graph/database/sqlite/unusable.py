"""Why an SQLite file cannot be used: what stands at its path, which right is missing, or what SQLite says of it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from shlex import quote

from migrate_graph.errors import DatabaseError, DatabaseRefused, DatabaseUnreachable
from migrate_graph.messages import typed

_NOT_AS_EXPECTED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}
"""The codes of a statement of ours that the tables do not fit: somebody else has made or changed them."""


def no_directory(path: Path, label: str) -> DatabaseError:
    """Return what to say of a file whose directory is none.

    Args:
        path: of the file.
        label: what to call it.
    """
    there = path.parent
    if there.exists():
        return DatabaseUnreachable(
            f"{label} is in no directory: {there} is a file", hint="name another file in migrate_uri"
        )
    return DatabaseUnreachable(f"the directory of {label} does not exist: {there}", hint=typed("mkdir -p", str(there)))


def hidden(path: Path, label: str) -> DatabaseError:
    """Return what to say of a file that this user may not even look for."""
    return DatabaseRefused(
        f"{label} is in a directory that this user may not enter", hint=f"namei -l {quote(str(path))} shows all rights"
    )


def unusable(error: sqlite3.Error, path: Path, label: str) -> DatabaseError:
    """Return what to say of a file that SQLite does not open, or does not read.

    Args:
        error: what it said.
        path: of the file.
        label: what to call it.
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
    """Return what to say of what is there and is no file; None where there is a file, or nothing."""
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
