"""What a run needs to know to have its steps run side by side, and whether that is possible."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from migrate_graph.core.lanes import Order
    from migrate_graph.database import Settings
    from migrate_graph.executor.fork_server import ForkServer

PROGRAM = Path(__file__).with_name("fork_server_program.py")
"""What the process runs that workers are forked from."""


def workers_can_be_had() -> bool:
    """Return whether processes of ours can be started here."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False) and PROGRAM.is_file()


class Team(Struct, frozen=True):
    """What a run needs to have its steps run by other processes.

    Attributes:
        jobs: how many at once.
        order: what each step waits for.
        settings: which database.
        server: where they are forked.
        path: the migrations file, or the directory of numbered files.
        root: the directory that shown paths are relative to.
        arguments: `sys.argv` as it was when the files were loaded.
        directory: the working directory then; empty for the one of now.
    """

    jobs: int
    order: Order
    settings: Settings
    server: ForkServer
    path: Path
    root: Path
    arguments: list[str]
    directory: str
