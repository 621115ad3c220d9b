"""Whose a file is, and whether everybody on the machine could have put it there."""

from __future__ import annotations

import os
import stat


def is_foreign(status: os.stat_result) -> bool:
    """Return whether a file belongs to neither this user nor root; never on systems without such owners."""
    return hasattr(os, "geteuid") and status.st_uid not in {os.geteuid(), 0}


def is_open_to_all(status: os.stat_result, *, sticky: bool = True) -> bool:
    """Return whether everybody may write here.

    Args:
        status: of a file or a directory.
        sticky: count a directory like /tmp too, where everybody may make files, but replace only his own.
    """
    return bool(status.st_mode & stat.S_IWOTH) and (sticky or not status.st_mode & stat.S_ISVTX)
