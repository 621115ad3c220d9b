"""Directories that killed restores have left beside a database; in its own file, since every run looks for them, and few restore."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def prefix(path: Path) -> str:
    """Return the beginning of the name of each directory that a restore of this database makes beside it."""
    return f".{path.name}.migrate-restore-"


def remove_leftovers(path: Path) -> None:
    """Remove the directories that killed restores of this database have left beside it; call this only under the lock.

    Links are not followed.
    """
    with os.scandir(path.parent) as entries:
        found = [entry for entry in entries if entry.name.startswith(prefix(path))]
    for entry in found:
        if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
            shutil.rmtree(entry.path, ignore_errors=True)
