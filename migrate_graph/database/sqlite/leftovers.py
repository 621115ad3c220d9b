"""What restores that were killed have left beside a database; every run looks for it, and most run no restore."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def prefix(path: Path) -> str:
    """Return how the name of a directory begins that a restore of this database makes beside it."""
    return f".{path.name}.migrate-restore-"


def remove_leftovers(path: Path) -> None:
    """Remove what restores of this database that were killed have left beside it, no links; to be called under the lock only."""
    with os.scandir(path.parent) as entries:
        found = [entry for entry in entries if entry.name.startswith(prefix(path))]
    for entry in found:
        if entry.stat(follow_symlinks=False).st_uid == os.geteuid():
            shutil.rmtree(entry.path, ignore_errors=True)
