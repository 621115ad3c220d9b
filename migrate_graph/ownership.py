"""Who owns a file, and whether every user of the machine may write to it."""

from __future__ import annotations

import os
import stat


def is_foreign(status: os.stat_result) -> bool:
    """Return whether a file belongs to neither this user nor root; always False on systems without user ids (Windows)."""
    return hasattr(os, "geteuid") and status.st_uid not in {os.geteuid(), 0}


def is_open_to_all(status: os.stat_result, *, sticky: bool = True) -> bool:
    """Return whether every user may write to a file or directory.

    Args:
        status: of the file or the directory.
        sticky: also count a directory like /tmp, where every user may create files, but may replace only their own.
    """
    return bool(status.st_mode & stat.S_IWOTH) and (sticky or not status.st_mode & stat.S_ISVTX)
